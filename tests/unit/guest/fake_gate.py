"""A gatekeeper in memory for the guest pages' tests. It refuses what the real one refuses, and knows no HTTP."""

from __future__ import annotations

import dataclasses
import re
import threading

from portal.domain import codes
from portal.domain.model import (
    BudgetLeft,
    EndReason,
    Notice,
    Now,
    Opening,
    Person,
    Place,
    Refusal,
    Session,
    Uplink,
    UplinkState,
    Visit,
)
from portal.gatekeeper import GateError, Refused

BOOT_ID = "00000000-0000-4000-8000-000000000001"
NOW = Now(BOOT_ID, 1000.0, 1_780_017_120.0)  # Friday 29 May 2026, 09.12 WITA
MIDNIGHT = 1_780_070_400.0  # the next one there
RETURN_CODE = "2222222Z"
VOUCHER = "ABCDEFGJ"
NO_LIMIT = BudgetLeft(None, None, False, MIDNIGHT)


class FakeGate:
    """``macs`` is the neighbour table, ``allowed`` the addresses that "the kernel" lets pass.

    ``opening``, ``left``, ``full``: how the site stands for everybody; ``rules``, ``moved``, ``places``: for a MAC.
    ``codes``: which codes open, and for how many devices; ``accounts``: passwords by name. ``refuses``: whatever
    anybody tries. ``broken``: the GateError that every method raises; ``login_broken``: that of those that change
    something.
    """

    def __init__(self, macs: dict[str, str] | None = None, methods: tuple[str, ...] = ("terms",)) -> None:
        self.macs = {} if macs is None else macs
        self.methods = methods
        self.plan = "warga"
        self.sessions: dict[str, Session] = {}
        self.people: dict[str, Person] = {}
        self.allowed: set[str] = set()
        self.used = (0, 0)
        self.left_s: float | None = 3600.0
        self.opening = Opening(True, None)
        self.left = NO_LIMIT
        self.full = False
        self.rules: dict[str, str] = {}
        self.moved: dict[str, float] = {}
        self.places: dict[str, Place] = {}
        self.codes: dict[str, int] = {}
        self.accounts: dict[str, str] = {}
        self.news: list[Notice] = []
        self.state = Uplink(UplinkState.UP, None)
        self.refuses: Refused | None = None
        self.broken: GateError | None = None
        self.login_broken: GateError | None = None
        self.logins: list[tuple[str, str | None, str, str]] = []
        self.told: list[str] = []
        self.waited: list[str] = []
        self.arrivals: list[tuple[str, str, bool]] = []
        self.started = False
        self._lock = threading.Lock()

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken

    def whois(self, ip: str) -> str | None:
        self._check()
        return self.macs.get(ip)

    def ip_of(self, mac: str) -> str | None:
        return next((ip for ip, found in self.macs.items() if found == mac), None)

    def visit(self, mac: str) -> Visit:
        self._check()
        session = self.sessions.get(mac)
        return Visit(
            mac=mac,
            session=session,
            person=self.people.get(mac),
            plan=self.plan if session is None else session.plan,
            opening=self.opening,
            left=self.left,
            rule=self.rules.get(mac),
            moved_wall_s=self.moved.get(mac),
            place=self.places.get(mac),
            full=self.full,
        )

    def session(self, mac: str) -> Session | None:
        self._check()
        return self.sessions.get(mac)

    def bytes_used(self, session: Session) -> tuple[int, int]:
        self._check()
        return self.used

    def remaining_s(self, session: Session) -> float | None:
        self._check()
        return self.left_s

    def enter_by_terms(self, mac: str, ipv4: str | None, terms_version: str) -> Session:
        if "terms" not in self.methods:
            raise Refused(Refusal.METHOD)
        return self._enter(mac, ipv4, "terms", terms_version)

    def enter_by_code(self, mac: str, ipv4: str | None, typed_text: str) -> Session:
        self._may_change()
        code = codes.parse(typed_text)
        if code is None or code not in self.codes:
            raise Refused(Refusal.CODE_WRONG)
        if self.codes[code] < 1:
            raise Refused(Refusal.CODE_USED)
        session = self._enter(mac, ipv4, "voucher", code)
        self.codes[code] -= 1
        return session

    def enter_by_account(self, mac: str, ipv4: str | None, name: str, password: str) -> Session:
        self._may_change()
        if "account" not in self.methods:
            raise Refused(Refusal.METHOD)
        if not password or self.accounts.get(name) != password:
            raise Refused(Refusal.ACCOUNT_WRONG)
        return self._enter(mac, ipv4, "account", name)

    def enter_by_rule(self, mac: str, ipv4: str | None) -> Session:
        self._may_change()
        if self.rules.get(mac) != "allow":
            raise Refused(Refusal.METHOD)
        return self._enter(mac, ipv4, "rule", "")

    def renew(self, session: Session, ipv4: str | None) -> Session:
        self._may_change()
        with self._lock:
            found = self.sessions.get(session.mac)
            if found is None:
                return dataclasses.replace(session, ended_wall_s=NOW.wall_s, end_reason=EndReason.TIME)
            return self._keep(dataclasses.replace(found, ipv4=ipv4 or found.ipv4))

    def wait(self, mac: str) -> Place:
        self._may_change()
        if self.rules.get(mac) == "block":
            raise Refused(Refusal.BLOCKED)
        self.waited.append(mac)
        return self.places.setdefault(mac, Place(ahead=len(self.places), called=False))

    def told_moved(self, mac: str) -> None:
        self._may_change()
        self.told.append(mac)
        self.moved.pop(mac, None)

    def notices(self) -> list[Notice]:
        self._check()
        return self.news

    def logout(self, session: Session) -> None:
        self._may_change()
        with self._lock:
            ended = self.sessions.pop(session.mac, None)
            if ended is not None:
                self.allowed.discard(ended.ipv4 or "")

    def uplink(self) -> Uplink:
        self._check()
        return self.state

    def note_arrival(self, mac: str, os: str, *, saw: bool) -> None:
        self.arrivals.append((mac, os, saw))

    def start(self) -> None:
        self.started = True

    def close(self) -> None:
        self.started = False

    def _may_change(self) -> None:
        self._check()
        if self.login_broken is not None:
            raise self.login_broken

    def _enter(self, mac: str, ipv4: str | None, method: str, shown: str) -> Session:
        self._may_change()
        if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac):
            raise ValueError(f"{mac!r} is no MAC")
        if ipv4 is not None and not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", ipv4):
            raise ValueError(f"{ipv4!r} is no IPv4 address")
        if self.rules.get(mac) == "block":
            raise Refused(Refusal.BLOCKED)
        if self.refuses is not None:
            raise self.refuses
        if not self.opening.is_open:
            raise Refused(Refusal.CLOSED, until_wall_s=self.opening.until_wall_s, reason=self.opening.reason)
        place = self.places.get(mac)
        if self.full and method != "rule" and mac not in self.sessions and not (place and place.called):
            raise Refused(Refusal.FULL)
        with self._lock:
            self.logins.append((mac, ipv4, method, shown))
            person = Person(len(self.logins), RETURN_CODE, method, self.plan, None, None)
            self.people[mac] = person
            session = self.sessions.get(mac) or Session(
                id=len(self.logins),
                mac=mac,
                ipv4=ipv4,
                plan=self.plan,
                method=method,
                terms_version=shown if method == "terms" else "3",
                started_wall_s=NOW.wall_s,
                boot_id=BOOT_ID,
                deadline_boot_s=None,
                remaining_s=self.left_s,
                active_boot_s=0.0,
                up_bytes=0,
                down_bytes=0,
                ended_wall_s=None,
                end_reason=None,
                person_id=person.id,
            )
            self.places.pop(mac, None)
            return self._keep(dataclasses.replace(session, ipv4=ipv4 or session.ipv4))

    def _keep(self, session: Session) -> Session:
        self.sessions[session.mac] = session
        if session.ipv4 is not None:
            self.allowed.add(session.ipv4)
        return session
