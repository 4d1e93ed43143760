"""Knows the device that asks, and has the kernel know where it is now. It must not know pages.

A device is known by the MAC that the kernel gives for its address. One that has a session but came on another address,
and one that an operator lets in without a tap, are let in by whatever they ask of the portal first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Final

import flask

from portal.domain import osfamily
from portal.domain.model import Session, Visit
from portal.gatekeeper import GateError, Gatekeeper, Refused
from portal.guest.answers import remote_ip, remote_ipv4

_SEEN: Final = {200, 403, 429}  # pages that say how to come in, or why not

log = logging.getLogger("gerbang.guest")


class Arrivals:
    """Each method is about the request that is being answered, and raises GateError where the gate cannot work."""

    def __init__(self, gate: Gatekeeper) -> None:
        self._gate = gate

    def mac(self) -> str | None:
        flask.g.mac = self._gate.whois(remote_ip())
        return flask.g.mac  # type: ignore[no-any-return]

    def note(self, response: flask.Response) -> flask.Response:
        """After each request: have the gate count the device. It saw a page where it got one, and no error."""
        mac = flask.g.get("mac")
        if mac is not None:
            request = flask.request
            os = osfamily.family(
                request.headers.get("Host", "").strip().lower(), request.path, request.headers.get("User-Agent", "")
            )
            is_page = response.mimetype == "text/html" and (response.status_code in _SEEN)
            self._gate.note_arrival(mac, os, saw=is_page)
        return response

    def visit(self) -> Visit | None:
        """None: the kernel does not know the device (yet)."""
        mac = self.mac()
        return None if mac is None else self._gate.visit(mac)

    def online(self) -> tuple[Visit | None, Session | None]:
        """The visit, and the running session, in force for the address that the request came from."""
        visit = self.visit()
        if visit is not None and visit.session is None and self.let_in_by_rule(visit):
            visit = self._gate.visit(visit.mac)
        if visit is None or visit.session is None:
            return visit, None
        session = visit.session
        if remote_ipv4() not in (None, session.ipv4):
            session = self._gate.renew(session, remote_ipv4())
        return visit, session if session.ended_wall_s is None else None

    def let_in_by_rule(self, visit: Visit) -> bool:
        """Whether an operator's word has let it in just now."""
        if visit.rule != "allow":
            return False
        try:
            self._gate.enter_by_rule(visit.mac, remote_ipv4())
        except Refused:
            return False
        return True


class Returns:
    """Counts how often a device was sent back to where it wanted to go, so that a kernel that still does not let it
    pass cannot make it run in a circle. A phone asks several hosts at once, so a few in a row are right."""

    WITHIN_S = 10.0
    AT_MOST = 3
    KEPT = 1024

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def may_return(self, mac: str) -> bool:
        now_s = time.monotonic()
        with self._lock:
            since_s, count = self._seen.get(mac, (now_s, 0))
            if now_s - since_s > self.WITHIN_S:
                since_s, count = now_s, 0
            self._seen[mac] = (since_s, count + 1)
            self._seen.move_to_end(mac)
            if len(self._seen) > self.KEPT:
                self._seen.popitem(last=False)
            return count < self.AT_MOST


class Complaints:
    """Logs what is wrong with the gate once a minute for each code, and how often it was: phones ask many times a
    second, and the log is on an SD card."""

    EVERY_S = 60.0

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def tell(self, what: str, error: GateError) -> None:
        now_s = time.monotonic()
        with self._lock:
            told_s, unsaid = self._told.get(error.code, (-self.EVERY_S, 0))
            quiet = now_s - told_s < self.EVERY_S
            self._told[error.code] = (told_s, unsaid + 1) if quiet else (now_s, 0)
        if not quiet:
            log.warning("%s: %s%s", what, error, f" ({unsaid} more since the last of these lines)" if unsaid else "")
