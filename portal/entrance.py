"""Decides each way in and writes what follows, in one transaction of the caller's. It must not know netctl or HTTP.

What is decided here is decided with the rows locked (BEGIN IMMEDIATE): two devices that enter at the same moment, in
whatever processes, come one after the other. Everything is checked before anything is written for the one who asks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from portal.config import Plan
from portal.domain import people as persons
from portal.domain import policy
from portal.domain import waiting as queueing
from portal.domain.model import DayUse, EndReason, Now, Person, Place, Refusal, Session, Visit
from portal.domain.office import Voucher
from portal.domain.people import Bound, Online, Way
from portal.domain.siterules import Moment, SiteRules
from portal.domain.waiting import Waiter
from portal.gatekeeper import GateError, Refused
from portal.store import accounts, closures, devices, people, pseudonyms, sessions, vouchers, waiting

MAX_SESSIONS: Final = policy.MAX_GRANTS
NOTHING_USED: Final = DayUse(0.0, 0, 0)


class Caller(NamedTuple):
    """The device that asks; ``ipv4`` None: it asks over IPv6."""

    mac: str
    ipv4: str | None


class Entered(NamedTuple):
    """``changed``: whether who is let in is another than before."""

    session: Session
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guest:
    """Who wants to come in, and as what. ``person`` None: nobody known yet; ``bound``: of a voucher, else None."""

    way: Way
    method: str
    plan: Plan
    devices: int
    person: Person | None
    voucher_id: int | None = None
    account_id: int | None = None
    bound: Sequence[Bound] | None = None


class Entrance:
    """Of one site. Every method raises Refused, before it has written anything of the entry."""

    def __init__(self, rules: SiteRules) -> None:
        self._rules = rules

    # --- the ways in ------------------------------------------------------------------------------------------------

    def by_terms(self, db: sqlite3.Connection, now: Now, caller: Caller, terms_version: str) -> Entered:
        _refuse_blocked(db, caller.mac)
        if "terms" not in self._rules.methods:
            raise Refused(Refusal.METHOD)
        plan = self._rules.access_plan
        guest = _Guest(
            way=Way.TAP,
            method="terms",
            plan=plan,
            devices=plan.devices,
            person=people.of_device(db, caller.mac, "terms"),
        )
        return self._admit(db, now, caller, guest, terms_version)

    def by_code(self, db: sqlite3.Connection, now: Now, caller: Caller, code: str) -> Entered:
        """``code`` as portal.domain.codes.parse gives it."""
        _refuse_blocked(db, caller.mac)
        if (voucher := vouchers.by_code(db, code)) is not None:
            guest = self._of_voucher(db, now, voucher, people.of_voucher(db, voucher.id), Way.VOUCHER)
        elif (person := people.by_code(db, code)) is not None:
            guest = self._of_person(db, now, person)
        else:
            raise Refused(Refusal.CODE_WRONG)
        return self._admit(db, now, caller, guest)

    def by_account(
        self, db: sqlite3.Connection, now: Now, caller: Caller, account_id: int, password_hash: str
    ) -> Entered:
        """The password has been found to be that of ``password_hash``; it must still be the account's."""
        _refuse_blocked(db, caller.mac)
        account = accounts.by_id(db, account_id)
        if account is None or account.disabled or account.password_hash != password_hash:
            raise Refused(Refusal.ACCOUNT_WRONG)
        plan = self._rules.plan_now("account", account.plan)
        guest = _Guest(
            way=Way.PASSWORD,
            method="account",
            plan=plan,
            devices=plan.devices,
            person=people.of_account(db, account.id),
            account_id=account.id,
        )
        return self._admit(db, now, caller, guest)

    def by_rule(self, db: sqlite3.Connection, now: Now, caller: Caller) -> Entered:
        _refuse_blocked(db, caller.mac)
        device = devices.by_mac(db, caller.mac)
        if device is None or device.rule != "allow":
            raise Refused(Refusal.METHOD)
        plan = self._rules.plan_now("rule", device.rule_plan)
        guest = _Guest(
            way=Way.RULE,
            method="rule",
            plan=plan,
            devices=plan.devices,
            person=people.of_device(db, caller.mac, "rule"),
        )
        return self._admit(db, now, caller, guest)

    def may_by_rule(self, db: sqlite3.Connection, moment: Moment, mac: str, rule_plan: str | None) -> bool:
        """Would `by_rule` let the device in? Only reads: for the meter, which asks at each tick."""
        plan = self._rules.plan_now("rule", rule_plan)
        try:
            self._refuse_closed_or_spent(db, moment, plan, people.of_device(db, mac, "rule"))
        except Refused:
            return False
        return True

    def renew(self, db: sqlite3.Connection, now: Now, session: Session, ipv4: str | None) -> Entered:
        found = sessions.by_id(db, session.id) or session
        return _at_address(db, found, ipv4) if policy.is_running(found, now) else Entered(found, changed=False)

    # --- who is it? -------------------------------------------------------------------------------------------------

    def _of_person(self, db: sqlite3.Connection, now: Now, person: Person) -> _Guest:
        """Who shows the return code of this person."""
        if person.voucher_id is not None:
            voucher = vouchers.by_id(db, person.voucher_id)
            if voucher is None:
                raise Refused(Refusal.CODE_WRONG)
            return self._of_voucher(db, now, voucher, person, Way.RETURN)
        if person.method not in self._rules.methods:  # a rule is on a MAC, so its return code opens nothing
            raise Refused(Refusal.CODE_WRONG)
        if person.account_id is not None:
            account = accounts.by_id(db, person.account_id)
            if account is None or account.disabled:
                raise Refused(Refusal.CODE_WRONG)
        plan = self._rules.plan_now(person.method, person.plan)
        return _Guest(
            way=Way.RETURN,
            method=person.method,
            plan=plan,
            devices=plan.devices,
            person=person,
            account_id=person.account_id,
        )

    def _of_voucher(
        self, db: sqlite3.Connection, now: Now, voucher: Voucher, person: Person | None, way: Way
    ) -> _Guest:
        if "voucher" not in self._rules.methods or voucher.voided_wall_s is not None:
            raise Refused(Refusal.CODE_WRONG)
        batch = voucher.batch
        wall_s = people.moment(db, now, self._rules.zone).wall_s
        if batch.valid_from_wall_s is not None and wall_s < batch.valid_from_wall_s:
            raise Refused(Refusal.CODE_EARLY, until_wall_s=batch.valid_from_wall_s)
        if batch.valid_until_wall_s is not None and wall_s >= batch.valid_until_wall_s:
            raise Refused(Refusal.CODE_LATE, until_wall_s=batch.valid_until_wall_s)
        return _Guest(
            way=way,
            method="voucher",
            plan=self._rules.plan_now("voucher", batch.plan),
            devices=batch.devices,
            person=person,
            voucher_id=voucher.id,
            bound=people.bound(db, voucher.id),
        )

    # --- letting in -------------------------------------------------------------------------------------------------

    def _admit(
        self, db: sqlite3.Connection, now: Now, caller: Caller, guest: _Guest, terms_version: str | None = None
    ) -> Entered:
        mac, ipv4 = caller
        own = self._ended_if_over(db, now, sessions.not_ended_of(db, mac))
        if own is not None and (
            guest.way in (Way.TAP, Way.RULE) or (guest.person is not None and own.person_id == guest.person.id)
        ):
            return _at_address(db, own, ipv4)
        moment = people.moment(db, now, self._rules.zone)
        self._refuse_closed_or_spent(db, moment, guest.plan, guest.person)
        others = {
            session.id: session
            for session in ([] if guest.person is None else sessions.not_ended_of_person(db, guest.person.id))
            if self._ended_if_over(db, now, session) is not None
        }
        online = [Online(session.id, session.mac, session.active_boot_s) for session in others.values()]
        joining = persons.join(mac, guest.way, guest.devices, online, guest.bound)
        if joining.refusal is not None:
            raise Refused(joining.refusal)
        if not joining.moved:  # else somebody leaves for it
            self._refuse_full(db, now, mac, guest, own)

        person = guest.person or people.create(
            db,
            method=guest.method,
            plan=guest.plan.id,
            now=now,
            voucher_id=guest.voucher_id,
            account_id=guest.account_id,
        )
        minutes = guest.plan.session_minutes
        limit_s = None if minutes is None else minutes * 60.0
        if joining.moved:
            limit_s = policy.remaining_s(others[joining.moved[0].session_id], now)
        for leaving in joining.moved:
            sessions.end(db, leaving.session_id, EndReason.MOVED, now, self._rules.zone)
            people.note_moved(db, leaving.mac, now)
        if own is not None:
            sessions.end(db, own.id, EndReason.LOGOUT, now, self._rules.zone)
        if joining.bind and guest.voucher_id is not None:
            _bind(db, guest.voucher_id, mac, joining.unbind, now)
        people.remember_device(db, mac, person, now)
        waiting.leave(db, mac)
        session = sessions.begin(
            db,
            mac=mac,
            ipv4=ipv4,
            plan=guest.plan.id,
            method=guest.method,
            terms_version=self._rules.terms_version if terms_version is None else terms_version,
            limit_s=limit_s,
            now=now,
            device=pseudonyms.of(db, mac, moment.day[:7]),
            person_id=person.id,
        )
        return Entered(session, changed=True)

    def _ended_if_over(self, db: sqlite3.Connection, now: Now, session: Session | None) -> Session | None:
        """The session where it runs; the end of one whose time is over is recorded, as the meter would."""
        if session is None or policy.is_running(session, now):
            return session
        sessions.end(db, session.id, EndReason.TIME, now, self._rules.zone)
        return None

    def _refuse_closed_or_spent(
        self, db: sqlite3.Connection, moment: Moment, plan: Plan, person: Person | None
    ) -> None:
        opening = self._rules.opening(plan, closures.acts(db, moment.wall_s), moment)
        if not opening.is_open:
            raise Refused(Refusal.CLOSED, until_wall_s=opening.until_wall_s, reason=opening.reason)
        if person is None or plan.after_budget != "stop":
            return
        left = self._rules.left(plan, people.day_use(db, person.id, moment), moment)
        if left.spent:
            raise Refused(Refusal.BUDGET, until_wall_s=left.renewed_wall_s)

    def _refuse_full(self, db: sqlite3.Connection, now: Now, mac: str, guest: _Guest, own: Session | None) -> None:
        """``own`` is the device's session that would end for the new one: its place is kept, if it came in by one."""
        running = sessions.count_not_ended(db) - (own is not None)
        if running >= MAX_SESSIONS:
            raise GateError("busy", f"{MAX_SESSIONS} devices are online; no more fit.", "Try again later.")
        if self._rules.capacity is None or not _needs_place(guest.method, guest.plan):
            return
        if own is not None and _needs_place(own.method, self._rules.plan(own.plan)):
            return
        if not queueing.may_enter(self.call(db, now), self._rules.capacity, running, mac):
            raise Refused(Refusal.FULL)

    # --- the queue --------------------------------------------------------------------------------------------------

    def wait(self, db: sqlite3.Connection, now: Now, mac: str) -> Place:
        _refuse_blocked(db, mac)
        if self._rules.capacity is None:
            return Place(ahead=0, called=True)
        waiting.join(db, mac, now)
        return queueing.place(self.call(db, now), mac) or Place(ahead=0, called=True)

    def turn(self, db: sqlite3.Connection, now: Now) -> tuple[list[Waiter], queueing.Turn]:
        """The queue as it is written, and what must change in it now."""
        queue = waiting.queue(db, now)
        if not queue:
            return queue, queueing.Turn((), ())
        return queue, queueing.turn(queue, self._rules.capacity, sessions.count_not_ended(db), now.boot_s)

    def call(self, db: sqlite3.Connection, now: Now) -> list[Waiter]:
        """Carry out what must change in the queue; the queue after that."""
        queue, turn = self.turn(db, now)
        if turn.lost or turn.called:
            waiting.carry_out(db, turn, now)
        return queueing.after(queue, turn, now.boot_s)

    # --- for a page -------------------------------------------------------------------------------------------------

    def visit(self, db: sqlite3.Connection, now: Now, mac: str) -> Visit:
        """Only reads."""
        session = sessions.not_ended_of(db, mac)
        if session is not None and not policy.is_running(session, now):
            session = None
        device = devices.by_mac(db, mac)
        person_id = None if device is None else device.person_id
        if session is not None:
            person_id = session.person_id
        person = None if person_id is None else people.by_id(db, person_id)
        spender = person
        plan = self._rules.access_plan
        if session is not None:
            plan = self._rules.plan(session.plan)
        elif device is not None and device.rule == "allow":
            plan = self._rules.plan_now("rule", device.rule_plan)
            spender = people.of_device(db, mac, "rule")
        elif "terms" in self._rules.methods:
            spender = people.of_device(db, mac, "terms")
        elif person is not None and person.method in self._rules.methods:
            plan = self._rules.plan_now(person.method, person.plan)
        moment = people.moment(db, now, self._rules.zone)
        use = NOTHING_USED if spender is None else people.day_use(db, spender.id, moment)
        place, full = None, False
        if self._rules.capacity is not None:
            queue, turn = self.turn(db, now)
            queue = queueing.after(queue, turn, now.boot_s)
            place = queueing.place(queue, mac)
            full = queueing.is_full(queue, self._rules.capacity, sessions.count_not_ended(db))
        return Visit(
            mac=mac,
            session=session,
            person=person,
            plan=plan.id,
            opening=self._rules.opening(plan, closures.acts(db, moment.wall_s), moment),
            left=self._rules.left(plan, use, moment),
            rule=None if device is None else device.rule,
            moved_wall_s=None if device is None else device.moved_wall_s,
            place=place,
            full=full,
        )


def _needs_place(method: str, plan: Plan) -> bool:
    """Those whom an operator allowed, and plans of priority ``high``, come in however full the site is."""
    return method != "rule" and plan.priority != "high"


def _refuse_blocked(db: sqlite3.Connection, mac: str) -> None:
    device = devices.by_mac(db, mac)
    if device is not None and device.rule == "block":
        raise Refused(Refusal.BLOCKED)


def _at_address(db: sqlite3.Connection, session: Session, ipv4: str | None) -> Entered:
    if ipv4 is None or ipv4 == session.ipv4:
        return Entered(session, changed=False)
    return Entered(sessions.move(db, session, ipv4), changed=True)


def _bind(db: sqlite3.Connection, voucher_id: int, mac: str, instead_of: str | None, now: Now) -> None:
    if instead_of is None:
        vouchers.bind(db, voucher_id, mac, now)
    else:
        vouchers.rebind(db, voucher_id, instead_of, mac, now)
        people.note_moved(db, instead_of, now)
