"""Every administrative act: checks it, changes the rows, writes the audit trail, tells netctl. It must not know HTTP.

Nothing else in the portal changes what the office manages: staff pages and command line call this. One act is one
transaction, with its audit entry in it; neither holds a voucher's code, a return code, a password or its hash.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from netctl.api.client import Client
from netctl.api.errors import NetctlError
from portal import clock, passwords, sync
from portal.config import SiteConfig
from portal.domain import asking, codes
from portal.domain.asking import AdministrationError
from portal.domain.model import EndReason, Notice, Now
from portal.domain.office import Account, Batch, Closure, ClosureKind, Device, Voucher
from portal.domain.siterules import SiteRules
from portal.paths import Paths
from portal.store import accounts, audit, closures, devices, erasure, notices, sessions, vouchers
from portal.store.db import Database, StoreError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What an act gave. ``warning``: a sentence where it is done, but the kernel does not follow yet; else None."""

    value: T
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What one act changed: for its caller, for the audit trail, and whether somebody's way in may be another now."""

    value: T
    object: str
    before: Any = None
    after: Any = None
    moves_people: bool = False


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch and its vouchers, codes included: for printing."""

    batch: Batch
    vouchers: tuple[Voucher, ...]


class Administration:
    """The acts of one person, ``actor``, in one role: operator, technician, reviewer or cli.

    Who may do what is decided by the caller, who knows the role. Every act raises AdministrationError where what is
    asked for cannot be, and StoreError where the database does not do it; then nothing has changed.
    ``database`` and ``netctl`` may be shared among any number of these.
    """

    def __init__(
        self,
        config: SiteConfig,
        paths: Paths,
        actor: str,
        role: str,
        *,
        database: Database | None = None,
        netctl: sync.Netctl | None = None,
        read_clock: Callable[[], Now] = clock.now,
    ) -> None:
        self._rules = SiteRules(config)
        self._actor = actor
        self._role = role
        self._database = Database(paths.database) if database is None else database
        self._netctl = Client(paths.netctl_socket) if netctl is None else netctl
        self._read_clock = read_clock

    # --- vouchers ---------------------------------------------------------------------------------------------------

    def create_vouchers(
        self,
        count: int,
        plan: str,
        *,
        devices: int = 1,
        valid_from_wall_s: float | None = None,
        valid_until_wall_s: float | None = None,
        note: str = "",
    ) -> Done[NewBatch]:
        """A batch of new codes, each for so many devices."""
        asking.plan(self._rules.plans, plan)
        asking.number("count", count, asking.MAX_VOUCHERS)
        asking.number("devices", devices, asking.MAX_DEVICES)
        note = asking.line("note", note, asking.MAX_NOTE)

        def create(db: sqlite3.Connection, now: Now) -> Change[NewBatch]:
            asking.span(valid_from_wall_s, valid_until_wall_s, now.wall_s)
            batch, made = vouchers.create(
                db,
                count=count,
                plan=plan,
                devices=devices,
                valid_from_wall_s=valid_from_wall_s,
                valid_until_wall_s=valid_until_wall_s,
                note=note,
                created_by=self._actor,
                now=now,
            )
            return Change(NewBatch(batch, tuple(made)), f"batch {batch.id}", after=_batch(batch, len(made)))

        return self.perform("voucher.create", create)

    def void_voucher(self, voucher_id: int) -> Done[Voucher]:
        """Withdraw one voucher; who is online with it is cut off."""

        def void(db: sqlite3.Connection, now: Now) -> Change[Voucher]:
            if (voucher := vouchers.by_id(db, voucher_id)) is None:
                raise AdministrationError("voucher-unknown")
            if not vouchers.void(db, voucher_id, now):
                raise AdministrationError("done-already", object=f"voucher {voucher_id} is void")
            ended = self._end(db, vouchers.sessions_of(db, voucher_id), EndReason.VOIDED, now)
            said = {"batch": voucher.batch.id, "state": "void", "sessions_ended": ended}
            before = {"batch": voucher.batch.id, "state": voucher.state(now.wall_s).value}
            return Change(voucher, f"voucher {voucher_id}", before, said, moves_people=bool(ended))

        return self.perform("voucher.void", void)

    def void_batch(self, batch_id: int) -> Done[int]:
        """Withdraw all vouchers of a batch; how many that were. Who is online with one of them is cut off."""

        def void(db: sqlite3.Connection, now: Now) -> Change[int]:
            if vouchers.batch_by_id(db, batch_id) is None:
                raise AdministrationError("batch-unknown", id=batch_id)
            count = vouchers.void_batch(db, batch_id, now)
            if not count:
                raise AdministrationError("done-already", object=f"all vouchers of batch {batch_id} are void")
            ended = self._end(db, vouchers.sessions_of_batch(db, batch_id), EndReason.VOIDED, now)
            said = {"voided": count, "sessions_ended": ended}
            return Change(count, f"batch {batch_id}", {"voided": 0}, said, moves_people=bool(ended))

        return self.perform("voucher.void-batch", void)

    # --- accounts ---------------------------------------------------------------------------------------------------

    def add_account(self, name: str, password: str, plan: str, note: str = "") -> Done[Account]:
        """A name and password for an office."""
        name = asking.name(name)
        asking.plan(self._rules.plans, plan)
        note = asking.line("note", note, asking.MAX_NOTE)
        password_hash = _hash(password, name)

        def add(db: sqlite3.Connection, now: Now) -> Change[Account]:
            if accounts.by_name(db, name) is not None:
                raise AdministrationError("name-taken", name=name)
            account = accounts.add(db, name=name, password_hash=password_hash, plan=plan, note=note, now=now)
            return Change(account, f"account {name}", after=_account(account))

        return self.perform("account.add", add)

    def set_account_password(self, name: str, password: str) -> Done[Account]:
        """A new password. Whoever is online with the old one is cut off, and its return code is void."""
        password_hash = _hash(password, name)

        def change(db: sqlite3.Connection, now: Now) -> Change[Account]:
            account = _found_account(db, name)
            accounts.set_password(db, account.id, password_hash, now)
            accounts.renew_return_code(db, account.id)
            ended = self._end(db, accounts.sessions_of(db, account.id), EndReason.VOIDED, now)
            said = {"password": "changed", "sessions_ended": ended}
            return Change(account, f"account {account.name}", {"password": "old"}, said, moves_people=bool(ended))

        return self.perform("account.password", change)

    def set_account_disabled(self, name: str, disabled: bool) -> Done[Account]:
        """Disable an account, which cuts off who is online with it, or enable it again."""

        def change(db: sqlite3.Connection, now: Now) -> Change[Account]:
            account = _found_account(db, name)
            if account.disabled == disabled:
                raise AdministrationError("done-already", object=f"account {account.name}")
            accounts.set_disabled(db, account.id, disabled, now)
            ended = self._end(db, accounts.sessions_of(db, account.id), EndReason.VOIDED, now) if disabled else 0
            said = {"disabled": disabled, "sessions_ended": ended}
            before = {"disabled": account.disabled}
            return Change(account, f"account {account.name}", before, said, moves_people=bool(ended))

        return self.perform("account.disable" if disabled else "account.enable", change)

    # --- devices ----------------------------------------------------------------------------------------------------

    def disconnect(self, target: int | str) -> Done[int]:
        """End a running session, by its id or its device's MAC; the id. The device may come in again."""
        mac = asking.mac(target) if isinstance(target, str) else None

        def end(db: sqlite3.Connection, now: Now) -> Change[int]:
            found = sessions.by_id(db, int(target)) if mac is None else sessions.not_ended_of(db, mac)
            if found is None or not self._end(db, [found.id], EndReason.STAFF, now):
                raise AdministrationError("session-unknown", target=target)
            before = {"mac": found.mac, "plan": found.plan}
            after = {**before, "ended": EndReason.STAFF.value}
            return Change(found.id, f"session {found.id}", before, after, moves_people=True)

        return self.perform("session.end", end)

    def block(self, mac: str, note: str = "") -> Done[Device]:
        """Keep a device out, at once and until `unrule`."""
        return self._rule("device.block", mac, "block", None, note)

    def allow(self, mac: str, plan: str, note: str = "") -> Done[Device]:
        """Let a device in without a tap, under this plan, until `unrule`."""
        return self._rule("device.allow", mac, "allow", asking.plan(self._rules.plans, plan).id, note)

    def unrule(self, mac: str) -> Done[Device]:
        """Let what holds for everybody hold for this device again."""
        return self._rule("device.clear", mac, None, None, "")

    def _rule(
        self, action: str, mac: str, rule: Literal["allow", "block"] | None, plan: str | None, note: str
    ) -> Done[Device]:
        mac = asking.mac(mac)
        note = asking.line("note", note, asking.MAX_NOTE)

        def change(db: sqlite3.Connection, now: Now) -> Change[Device]:
            before = devices.by_mac(db, mac)
            if rule is None and (before is None or before.rule is None):
                raise AdministrationError("device-no-rule", mac=mac)
            devices.set_rule(db, mac, rule=rule, rule_plan=plan, note=note, ruled_by=self._actor, now=now)
            ended = 0
            session = sessions.not_ended_of(db, mac)
            if session is not None and rule == "block":
                ended = self._end(db, [session.id], EndReason.BLOCKED, now)
            elif session is not None and rule is None and session.method == "rule":
                ended = self._end(db, [session.id], EndReason.STAFF, now)
            after = devices.by_mac(db, mac)
            assert after is not None  # noqa: S101 - just written
            said = {**_rule_of(after), "sessions_ended": ended}
            return Change(after, f"device {mac}", before and _rule_of(before), said, moves_people=True)

        return self.perform(action, change)

    def erase_device(self, target: str) -> Done[int]:
        """Erase what is known of a device, or of all that came with a return code, at its owner's request.

        Returns how many rows went. Who is online there is cut off. The audit trail says that it was done, not for whom.
        """
        code = codes.parse(target)
        mac = asking.mac(target) if code is None else None

        def erase(db: sqlite3.Connection, now: Now) -> Change[int]:
            erasure.prepare(db)
            macs = erasure.macs_of(db, code) if mac is None else [mac]
            found = [devices.by_mac(db, one) for one in macs]
            if any(one is not None and one.rule is not None for one in found):
                raise AdministrationError("device-ruled")
            running = [session.id for one in macs if (session := sessions.not_ended_of(db, one)) is not None]
            ended = self._end(db, running, EndReason.STAFF, now)
            count = sum(erasure.device(db, one) for one in macs)
            if not count:
                raise AdministrationError("device-unknown", text=target)
            erasure.say(db, "request", "", count, now)
            said = {"devices": len(macs), "rows": count, "sessions_ended": ended}
            return Change(count, "device", after=said, moves_people=True)

        return self.perform("device.erase", erase)

    # --- hours ------------------------------------------------------------------------------------------------------

    def close(self, reason: str, from_wall_s: float | None = None, until_wall_s: float | None = None) -> Done[Closure]:
        """Close all plans but those that are always open, from a moment (None: now) until another (None: cancelled)."""
        return self._open_or_close(ClosureKind.CLOSE, reason, from_wall_s, until_wall_s)

    def open(self, reason: str, from_wall_s: float | None = None, until_wall_s: float | None = None) -> Done[Closure]:
        """Open beyond the ordinary hours and holidays, from a moment (None: now) until another (None: cancelled)."""
        return self._open_or_close(ClosureKind.OPEN, reason, from_wall_s, until_wall_s)

    def _open_or_close(
        self, kind: ClosureKind, reason: str, from_wall_s: float | None, until_wall_s: float | None
    ) -> Done[Closure]:
        reason = asking.line("reason", reason, asking.MAX_REASON, needed=kind == ClosureKind.CLOSE)

        def add(db: sqlite3.Connection, now: Now) -> Change[Closure]:
            asking.span(from_wall_s, until_wall_s, now.wall_s)
            made = closures.add(
                db,
                kind=kind,
                from_wall_s=from_wall_s,
                until_wall_s=until_wall_s,
                reason=reason,
                created_by=self._actor,
                now=now,
            )
            return Change(made, f"hours {made.id}", after=_closure(made), moves_people=True)

        return self.perform(f"hours.{kind.value}", add)

    def cancel(self, closure_id: int) -> Done[Closure]:
        """Take an opening or closing back: what held before holds again."""

        def cancel(db: sqlite3.Connection, now: Now) -> Change[Closure]:
            if (found := closures.by_id(db, closure_id)) is None:
                raise AdministrationError("closure-unknown", id=closure_id)
            if not closures.cancel(db, closure_id, now):
                raise AdministrationError("done-already", object=f"{found.kind.value} {closure_id} is cancelled")
            said = {**_closure(found), "cancelled": True}
            return Change(found, f"hours {closure_id}", _closure(found), said, moves_people=True)

        return self.perform("hours.cancel", cancel)

    # --- notices ----------------------------------------------------------------------------------------------------

    def write_notice(
        self,
        title: str,
        body: str,
        *,
        notice_id: int | None = None,
        from_wall_s: float | None = None,
        until_wall_s: float | None = None,
    ) -> Done[Notice]:
        """A new village notice, or with ``notice_id`` another text for one. ``body`` is Markdown."""
        title = asking.line("title", title, asking.MAX_TITLE, needed=True)
        body = asking.lines("body", body, asking.MAX_BODY)

        def write(db: sqlite3.Connection, now: Now) -> Change[Notice]:
            asking.span(from_wall_s, until_wall_s, now.wall_s)
            before = None
            if notice_id is None:
                if notices.count(db) >= asking.MAX_NOTICES:
                    raise AdministrationError("notices-full", high=asking.MAX_NOTICES)
            elif (before := notices.by_id(db, notice_id)) is None:
                raise AdministrationError("notice-unknown", id=notice_id)
            made = notices.write(
                db,
                notice_id,
                title=title,
                body=body,
                from_wall_s=from_wall_s,
                until_wall_s=until_wall_s,
                changed_by=self._actor,
                now=now,
            )
            return Change(made, f"notice {made.id}", before and _notice(before), _notice(made))

        return self.perform("notice.add" if notice_id is None else "notice.edit", write)

    def delete_notice(self, notice_id: int) -> Done[None]:
        def delete(db: sqlite3.Connection, _: Now) -> Change[None]:
            if (found := notices.by_id(db, notice_id)) is None:
                raise AdministrationError("notice-unknown", id=notice_id)
            notices.delete(db, notice_id)
            return Change(None, f"notice {notice_id}", _notice(found))

        return self.perform("notice.delete", delete)

    # --- how an act is done -----------------------------------------------------------------------------------------

    def perform(self, action: str, change: Callable[[sqlite3.Connection, Now], Change[T]]) -> Done[T]:
        """Do ``change`` in a transaction with its audit entry, then bring into force what it did to who may pass.

        For acts that belong to another part (staff users, say). ``action`` is ``thing.verb``.
        """
        with self._database.write() as db:
            now = self._read_clock()
            sessions.note_time(db, now)
            made = change(db, now)
            audit.write(
                db,
                actor=self._actor,
                role=self._role,
                action=action,
                object=made.object,
                before=made.before,
                after=made.after,
                now=now,
            )
            if not made.moves_people:
                return Done(made.value)
            sessions.next_generation(db)
            state = sync.snapshot(db, self._rules, now)
        try:
            sync.bring_into_force(self._database, self._netctl, state, self._rules, self._read_clock)
        except (NetctlError, StoreError) as error:
            return Done(made.value, f"It is done, but not in force yet: {error.message} The meter will see to it.")
        return Done(made.value)

    def record(self, action: str, object: str, before: Any = None, after: Any = None) -> None:
        """Only the audit entry, for an act that changes no rows: a configuration, a backup, a restart."""
        self.perform(action, lambda *_: Change(None, object, before, after))

    def _end(self, db: sqlite3.Connection, session_ids: Iterable[int], reason: EndReason, now: Now) -> int:
        return sum(sessions.end(db, session_id, reason, now, self._rules.zone) for session_id in session_ids)

    def close_database(self) -> None:
        """For a process that ends: SQLite's files beside the database go with the last connection."""
        self._database.close()


def _hash(password: str, name: str) -> str:
    if sentence := passwords.objection(password, name):
        raise AdministrationError("password-weak", sentence=sentence)
    return passwords.hash_new(password)  # before the transaction: it takes a tenth of a second on a small board


def _found_account(db: sqlite3.Connection, name: str) -> Account:
    if (account := accounts.by_name(db, name)) is None:
        raise AdministrationError("account-unknown", name=name)
    return account


# --- what the audit trail says of each thing ------------------------------------------------------------------------


def _batch(batch: Batch, count: int) -> dict[str, Any]:
    return {
        "count": count,
        "plan": batch.plan,
        "devices": batch.devices,
        "valid_from_wall_s": batch.valid_from_wall_s,
        "valid_until_wall_s": batch.valid_until_wall_s,
        "note": batch.note,
    }


def _account(account: Account) -> dict[str, Any]:
    return {"plan": account.plan, "note": account.note, "disabled": account.disabled}


def _rule_of(device: Device) -> dict[str, Any]:
    return {"rule": device.rule, "plan": device.rule_plan, "note": device.note}


def _closure(closure: Closure) -> dict[str, Any]:
    return {
        "kind": closure.kind.value,
        "from_wall_s": closure.from_wall_s,
        "until_wall_s": closure.until_wall_s,
        "reason": closure.reason,
    }


def _notice(notice: Notice) -> dict[str, Any]:
    return {
        "title": notice.title,
        "body": notice.body,
        "from_wall_s": notice.from_wall_s,
        "until_wall_s": notice.until_wall_s,
    }
