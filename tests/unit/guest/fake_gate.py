"""A gatekeeper in memory for the guest pages' tests. It refuses what the real one refuses, and knows no HTTP."""

from __future__ import annotations

import dataclasses
import re
import threading

from portal.admission import GateError
from portal.config import Plan
from portal.domain.model import EndReason, Session, Uplink, UplinkState

BOOT_ID = "00000000-0000-4000-8000-000000000001"


class FakeGate:
    """``macs`` is the neighbour table, ``allowed`` the addresses that "the kernel" lets pass.

    ``broken``: the GateError that every method raises; ``login_broken``: the one that only login and logout raise.
    """

    def __init__(self, macs: dict[str, str] | None = None) -> None:
        self.macs = {} if macs is None else macs
        self.sessions: dict[str, Session] = {}
        self.allowed: set[str] = set()
        self.used = (0, 0)
        self.left_s: float | None = 3600.0
        self.state = Uplink(UplinkState.UP, None)
        self.broken: GateError | None = None
        self.login_broken: GateError | None = None
        self.logins: list[tuple[str, str | None, str, str]] = []
        self.started = False
        self._lock = threading.Lock()

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken

    def whois(self, ip: str) -> str | None:
        self._check()
        return self.macs.get(ip)

    def session(self, mac: str) -> Session | None:
        self._check()
        return self.sessions.get(mac)

    def bytes_used(self, session: Session) -> tuple[int, int]:
        self._check()
        return self.used

    def remaining_s(self, session: Session) -> float | None:
        self._check()
        return self.left_s

    def login(self, mac: str, ipv4: str | None, plan: Plan, terms_version: str) -> Session:
        self._check()
        if self.login_broken is not None:
            raise self.login_broken
        if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac):
            raise ValueError(f"{mac!r} is no MAC")
        if ipv4 is not None and not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", ipv4):
            raise ValueError(f"{ipv4!r} is no IPv4 address")
        with self._lock:
            self.logins.append((mac, ipv4, plan.id, terms_version))
            session = self.sessions.get(mac)
            if session is None:
                session = Session(
                    id=len(self.logins),
                    mac=mac,
                    ipv4=ipv4,
                    plan=plan.id,
                    method="terms",
                    terms_version=terms_version,
                    started_wall_s=1_780_000_000.0,
                    boot_id=BOOT_ID,
                    deadline_boot_s=None,
                    remaining_s=self.left_s,
                    active_boot_s=0.0,
                    up_bytes=0,
                    down_bytes=0,
                    ended_wall_s=None,
                    end_reason=None,
                )
            elif ipv4 is not None:
                session = dataclasses.replace(session, ipv4=ipv4)
            self.sessions[mac] = session
            if ipv4 is not None:
                self.allowed.add(ipv4)
        return session

    def logout(self, session: Session) -> None:
        self._check()
        if self.login_broken is not None:
            raise self.login_broken
        with self._lock:
            ended = self.sessions.pop(session.mac, None)
            if ended is not None:
                dataclasses.replace(ended, end_reason=EndReason.LOGOUT)
                self.allowed.discard(ended.ipv4 or "")

    def uplink(self) -> Uplink:
        self._check()
        return self.state

    def start(self) -> None:
        self.started = True

    def close(self) -> None:
        self.started = False
