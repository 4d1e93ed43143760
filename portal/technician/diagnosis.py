"""Says why one device can, or cannot, get on the Internet: from its lease to the kernel, with one sentence at the end.

It sends no packet and changes nothing. It must not decide who may come in: it asks what the guest pages ask
(portal.entrance), netctl, and dnsmasq's leases.
"""

from __future__ import annotations

import contextlib
import ipaddress
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Protocol
from zoneinfo import ZoneInfo

from netctl.api.client import Client
from netctl.api.errors import NetctlError
from portal import clock, leases
from portal.config import SiteConfig
from portal.domain import asking, localtime
from portal.domain.asking import AdministrationError
from portal.domain.model import CLOCK_NOT_SET, Now, Session, Uplink, UplinkState, Visit
from portal.domain.office import AuditEntry, Device, Voucher
from portal.domain.siterules import SiteRules
from portal.entrance import Entrance
from portal.language import Language
from portal.leases import Lease
from portal.paths import Paths
from portal.staffkey import StaffKey
from portal.store import accounts, devices, facts, sessions, vouchers
from portal.store.db import Database


class Netctl(Protocol):
    """What is asked of netctl.api.client.Client. Every method raises NetctlError."""

    def whois(self, ip: str) -> str | None: ...

    def dump(self) -> tuple[str, ...]: ...


LAST: Final = 5  # sessions and acts of the staff that are shown
Level = Literal["ok", "info", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at. ``code`` is stable; ``message`` is in the language that was asked for."""

    level: Level
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """``well``: it can get on now. ``conclusion`` and ``todo``: a sentence each; ``code`` is the conclusion's name."""

    mac: str
    ip: str | None
    well: bool
    code: str
    conclusion: str
    todo: str
    steps: tuple[Step, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        lines = [f"{self.mac}  {self.ip or '-'}", ""]
        lines += [f"{step.level:<5} {step.message}" for step in self.steps]
        return "\n".join([*lines, "", self.conclusion, f"    {self.todo}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known of one device at one moment.

    ``members``: (address, class, whole) in the kernel's sets under this MAC. ``classes``: what each class lets through.
    ``netctl``: why it could not be asked, else None. ``neighbour``: the MAC that the kernel has for ``ip``.
    """

    mac: str
    ip: str | None
    lease: Lease | None
    neighbour: str | None
    netctl: str | None
    members: tuple[tuple[str, str, bool], ...]
    classes: Mapping[str, str]
    visit: Visit
    after_budget: str
    plan_name: str
    device: Device | None
    voucher: Voucher | None
    account_off: bool
    past: tuple[Session, ...]
    acts: tuple[AuditEntry, ...]
    uplink: Uplink
    capacity: int | None
    now: Now


# --- gathering ------------------------------------------------------------------------------------------------------


def diagnose(
    asked: str,
    config: SiteConfig,
    paths: Paths,
    database: Database,
    words: Language,
    *,
    key: StaffKey | None = None,
    netctl: Netctl | None = None,
    now: Now | None = None,
) -> Diagnosis | None:
    """The diagnosis of a MAC, an address, or an operator's name for a device (``key`` is needed for that); None: nobody
    known is called so. Raises StoreError."""
    gathering = _Gathering(config, netctl or Client(paths.netctl_socket, timeout_s=3), key, now or clock.now())
    with contextlib.suppress(OSError):
        gathering.leased = leases.read(paths.leases)
    with database.read() as db:
        mac = gathering.mac_of(asked.strip(), db)
        found = None if mac is None else gathering.facts(mac, db)
    return None if found is None else conclude(found, words, gathering.zone)


class _Gathering:
    """One look at everything that knows of devices."""

    def __init__(self, config: SiteConfig, netctl: Netctl, key: StaffKey | None, now: Now) -> None:
        self._netctl, self._key, self._now = netctl, key, now
        self._rules = SiteRules(config)
        self.zone = self._rules.zone
        self.leased: Mapping[str, Lease] = {}

    def mac_of(self, asked: str, db: sqlite3.Connection) -> str | None:
        """The device that somebody means by a MAC, an address or an operator's name."""
        try:
            return self._mac_at(str(ipaddress.ip_address(asked)))
        except ValueError:
            pass
        try:
            return asking.mac(asked)
        except AdministrationError:
            return self._mac_named(asked.upper(), db)

    def _mac_at(self, address: str) -> str | None:
        with contextlib.suppress(NetctlError):
            if (found := self._netctl.whois(address)) is not None:
                return found
        return next((mac for mac, lease in self.leased.items() if lease.ipv4 == address), None)

    def _mac_named(self, name: str, db: sqlite3.Connection) -> str | None:
        if self._key is None or len(name) != 5:
            return None
        month = localtime.local_date(self._now.wall_s, self.zone).isoformat()[:7]
        known = {*self.leased, *facts.macs(db)}
        return next((mac for mac in sorted(known) if self._key.pseudonym(mac, month) == name), None)

    def facts(self, mac: str, db: sqlite3.Connection) -> Facts:
        visit, lease = Entrance(self._rules).visit(db, self._now, mac), self.leased.get(mac)
        ip = (visit.session.ipv4 if visit.session else None) or (lease.ipv4 if lease else None)
        problem = neighbour = None
        dump: tuple[str, ...] = ()
        try:
            dump = self._netctl.dump()
            neighbour = self._netctl.whois(ip) if ip is not None else None
        except NetctlError as error:
            problem = error.message
        person, plan = visit.person, self._rules.plan(visit.plan)
        account = accounts.by_id(db, person.account_id) if person and person.account_id else None
        return Facts(
            mac=mac,
            ip=ip,
            lease=lease,
            neighbour=neighbour,
            netctl=problem,
            members=tuple(_members(dump, mac)),
            classes=_classes(dump),
            visit=visit,
            after_budget=plan.after_budget,
            plan_name=plan.name,
            device=devices.by_mac(db, mac),
            voucher=vouchers.by_id(db, person.voucher_id) if person and person.voucher_id else None,
            account_off=account is not None and account.disabled,
            past=tuple(facts.last_sessions(db, mac, LAST)),
            acts=tuple(facts.acts_on(db, mac, LAST)),
            uplink=sessions.uplink(db, self._now),
            capacity=self._rules.capacity,
            now=self._now,
        )


def _members(dump: Sequence[str], mac: str) -> Iterator[tuple[str, str, bool]]:
    """``member 10.77.0.9 02:00:... class 0x10 grant 7``, with ``incomplete`` behind it where one direction lacks it."""
    for line in dump:
        words = line.split()
        if words[:1] == ["member"] and words[2] == mac:
            yield words[1], words[4], "incomplete" not in words


def _classes(dump: Sequence[str]) -> dict[str, str]:
    """``class down 0x10 rate 64 ceil 5000 kbit ...`` of each class that has one for each direction."""
    found: dict[str, str] = {}
    for line in dump:
        words = line.split()
        if words[:1] == ["class"]:
            found[words[2]] = " / ".join(filter(None, (found.get(words[2]), f"{words[1]} {' '.join(words[3:])}")))
    return found


# --- judging --------------------------------------------------------------------------------------------------------


def conclude(found: Facts, words: Language, zone: ZoneInfo) -> Diagnosis:
    """Pure: the steps and the sentence at their end."""
    teller = _Teller(found, words, zone)
    steps = tuple(teller.steps())
    code, values = teller.verdict({step.code for step in steps})
    return Diagnosis(
        mac=found.mac,
        ip=found.ip,
        well=code in ("online", "slow"),
        code=code,
        conclusion=teller.say(f"end.{code}", **values),
        todo=words.text(f"why.end.{code}.todo"),
        steps=steps,
    )


class _Teller:
    def __init__(self, found: Facts, words: Language, zone: ZoneInfo) -> None:
        self._found, self._words, self._zone = found, words, zone

    def say(self, code: str, **values: str) -> str:
        return self._words.text(f"why.{code}", **values)

    def _step(self, level: Level, code: str, **values: str) -> Step:
        return Step(level, code, self.say(code, **values))

    def _when(self, wall_s: float) -> str:
        return self._words.moment(wall_s, self._found.now.wall_s, self._zone)

    def steps(self) -> Iterator[Step]:
        yield self._lease()
        if self._found.ip is not None and self._found.netctl is None:
            yield self._neighbour()
        yield self._rule()
        yield from self._person()
        yield from self._budget()
        yield self._hours()
        yield from self._room()
        yield self._session()
        yield from self._kernel()
        yield self._way_out()
        yield from self._past()

    def _lease(self) -> Step:
        lease = self._found.lease
        if lease is None:
            return self._step("warn", "lease-none")
        until = "-" if lease.expires in ("0", "") or not lease.expires.isdigit() else self._when(float(lease.expires))
        return self._step("ok", "lease", ip=lease.ipv4, until=until)

    def _neighbour(self) -> Step:
        found, ip = self._found, self._found.ip or ""
        if found.neighbour is None:
            return self._step("warn", "neighbour-none", ip=ip)
        if found.neighbour != found.mac:
            return self._step("fail", "neighbour-other", ip=ip, other=found.neighbour)
        return self._step("ok", "neighbour", ip=ip)

    def _rule(self) -> Step:
        rule, device = self._found.visit.rule, self._found.device
        if rule is None or device is None:
            return self._step("ok", "rule-none")
        by, note = device.ruled_by or "-", device.note or "-"
        return self._step("fail" if rule == "block" else "ok", f"rule-{rule}", by=by, note=note)

    def _person(self) -> Iterator[Step]:
        found, person = self._found, self._found.visit.person
        if person is None:
            yield self._step("info", "person-none", plan=found.plan_name)
            return
        yield self._step("ok", "person", method=self._words.text(f"method.{person.method}"), plan=found.plan_name)
        if found.voucher is not None:
            state = found.voucher.state(found.now.wall_s).value
            level: Level = "fail" if state in ("void", "expired") else "ok"
            yield self._step(level, f"voucher-{state}", batch=str(found.voucher.batch.id))
        if found.account_off:
            yield self._step("fail", "account-off")
        if found.visit.moved_wall_s is not None:
            yield self._step("warn", "moved", when=self._when(found.visit.moved_wall_s))

    def _budget(self) -> Iterator[Step]:
        left = self._found.visit.left
        if left.spent:
            level: Level = "fail" if self._found.after_budget == "stop" else "warn"
            code = "budget-stop" if self._found.after_budget == "stop" else "budget-slow"
            yield self._step(level, code, when=self._when(left.renewed_wall_s))
        elif left.seconds is not None or left.bytes is not None:
            parts = [] if left.seconds is None else [self._words.duration(left.seconds)]
            parts += [] if left.bytes is None else [self._words.size(left.bytes)]
            yield self._step("ok", "budget-left", left=", ".join(parts))

    def _hours(self) -> Step:
        opening = self._found.visit.opening
        if opening.is_open:
            return self._step("ok", "hours-open")
        if opening.reason == CLOCK_NOT_SET:
            return self._step("fail", "hours-clock")
        until = "-" if opening.until_wall_s is None else self._when(opening.until_wall_s)
        return self._step("fail", "hours-closed", until=until, reason=opening.reason or "-")

    def _room(self) -> Iterator[Step]:
        visit = self._found.visit
        if self._found.capacity is None or visit.session is not None:
            return
        if visit.place is not None:
            yield self._step(
                "warn", "room-called" if visit.place.called else "room-queue", ahead=str(visit.place.ahead)
            )
        elif visit.full:
            yield self._step("fail", "room-full", capacity=str(self._found.capacity))
        else:
            yield self._step("ok", "room")

    def _session(self) -> Step:
        session, past = self._found.visit.session, self._found.past
        if session is not None:
            return self._step("ok", "session", id=str(session.id), since=self._when(session.started_wall_s))
        ended = next((one for one in past if one.ended_wall_s is not None), None)
        if ended is None or ended.ended_wall_s is None or ended.end_reason is None:
            return self._step("info", "session-never")
        reason = self._words.text(f"reason.{ended.end_reason.value}")
        return self._step("info", "session-over", when=self._when(ended.ended_wall_s), reason=reason)

    def _kernel(self) -> Iterator[Step]:
        found = self._found
        if found.netctl is not None:
            yield self._step("fail", "netctl-away")
            return
        for address, number, whole in found.members:
            if not whole:
                yield self._step("fail", "member-half", ip=address)
            elif found.visit.session is None:
                yield self._step("warn", "member-stray", ip=address)
            elif number in found.classes:
                yield self._step("ok", "member", ip=address, rates=found.classes[number])
            else:
                yield self._step("fail", "class-none", ip=address)
        if not found.members and found.visit.session is not None:
            yield self._step("fail", "member-none")

    def _way_out(self) -> Step:
        uplink = self._found.uplink
        if uplink.state is not UplinkState.DOWN:
            return self._step("ok" if uplink.state is UplinkState.UP else "info", f"uplink-{uplink.state.value}")
        since = "-" if uplink.since_wall_s is None else self._when(uplink.since_wall_s)
        return self._step("fail", "uplink-down", since=since)

    def _past(self) -> Iterator[Step]:
        for session in self._found.past:
            if session.ended_wall_s is not None and session.end_reason is not None:
                used = self._words.size(session.up_bytes + session.down_bytes)
                reason = self._words.text(f"reason.{session.end_reason.value}")
                since, until = self._when(session.started_wall_s), self._when(session.ended_wall_s)
                yield self._step("info", "past", since=since, until=until, used=used, reason=reason)
        for act in self._found.acts:
            yield self._step("info", "act", when=self._when(act.wall_s), action=act.action, actor=act.actor)

    def verdict(self, codes: set[str]) -> tuple[str, dict[str, str]]:
        """What decides, the gravest thing first: the sentence's name, and what it is told of."""
        if "netctl-away" in codes:
            return "netctl", {}
        if "rule-block" in codes:
            return "blocked", {}
        if "neighbour-other" in codes:
            return "address", {"ip": self._found.ip or "-", "other": self._found.neighbour or "-"}
        return self._of_session(codes) if "session" in codes else self._of_nobody(codes)

    def _of_session(self, codes: set[str]) -> tuple[str, dict[str, str]]:
        if {"member-none", "member-half", "class-none"} & codes:
            return "kernel", {}
        if "uplink-down" in codes:
            return "uplink", {}
        if "neighbour-none" in codes and self._found.ip is not None:
            return "silent", {}
        return ("slow" if "budget-slow" in codes else "online"), {}

    def _of_nobody(self, codes: set[str]) -> tuple[str, dict[str, str]]:
        found = self._found
        if found.lease is None and found.device is None and not found.past and "hours-closed" not in codes:
            return "never", {"mac": found.mac}
        away = found.lease is None or "neighbour-none" in codes
        end = next((end for code, end in _IN_THE_WAY if code in codes), "away" if away else None)
        until_wall_s = found.visit.opening.until_wall_s
        values = {
            "closed": {"until": "-" if until_wall_s is None else self._when(until_wall_s)},
            "budget": {"when": self._when(found.visit.left.renewed_wall_s)},
        }
        return end or ("moved" if "moved" in codes else "tap"), values.get(end or "", {})


# What keeps somebody out who has no session, the gravest first: a step's code, and the conclusion that follows.
_IN_THE_WAY: Final = (
    ("hours-clock", "clock"),
    ("hours-closed", "closed"),
    ("budget-stop", "budget"),
    ("room-called", "called"),
    ("room-queue", "queue"),
    ("room-full", "full"),
    ("voucher-void", "voucher-void"),
    ("voucher-expired", "voucher-expired"),
    ("account-off", "account-off"),
)
