"""Answers what phones ask of others: 302 to the portal, whatever it was. It must not know pages.

Such a request is here because the kernel redirected it: the phone may not pass, or asked for a name that this site
blocks. Who may pass after all, on another address or by an operator's rule, is let in and sent where it wanted to go.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

import flask

from portal.blocklist import Blocklist, host_name
from portal.gatekeeper import GateError
from portal.guest.answers import answer, normal_ip, redirect, redirect_body
from portal.guest.arrivals import Arrivals, Complaints, Returns

# What a Host header may hold for us to repeat it in a Location: a name or IPv4 address, and a port (RFC 3986, 3.2).
_PLAIN_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,252})(?::[0-9]{1,5})?")


class Captive:
    """Of the gateway that is called ``ipv4`` and ``name``."""

    def __init__(self, arrivals: Arrivals, complaints: Complaints, blocked: Blocklist, ipv4: str, name: str) -> None:
        self._arrivals = arrivals
        self._complaints = complaints
        self._blocked = blocked
        self._ipv4 = ipv4
        self._name = name.lower()
        self._portal = f"http://{ipv4}/"
        self._portal_body = redirect_body(self._portal)
        self._returns = Returns()

    def redirect(self) -> flask.Response | None:
        """None: the request is for one of the gateway's own names."""
        host = flask.request.headers.get("Host", "").strip().lower()
        if self._is_own(host):
            return None
        name = host_name(host.partition(":")[0])
        if name is not None and self._blocked.covers(name):
            return redirect(302, f"{self._portal}blocked?{urlencode({'name': name})}")
        back = self._let_in(host)
        if back is not None:
            return redirect(302, back)
        return answer(302, self._portal_body, [("Location", self._portal)])

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this gateway, by whatever port.

        The LAN's IPv6 addresses come and go with the uplink's prefix, so a literal is compared with the address that
        the connection was made to; a literal that the redirect has changed gets one hop to the IPv4 address."""
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if not (name and (port.isdigit() or not port)):
            name = host
        if name in (self._ipv4, self._name):
            return True
        if name.startswith("["):
            return normal_ip(name.strip("[]")) == normal_ip(flask.request.environ.get("SERVER_NAME", ""))
        return False

    def _let_in(self, host: str) -> str | None:
        """The URL to send a device back to that may pass after all; None: it may not."""
        request = flask.request
        if request.method not in ("GET", "HEAD") or not _PLAIN_HOST.fullmatch(host):
            return None
        try:
            visit = self._arrivals.visit()
            if visit is None or (visit.session is None and visit.rule != "allow"):
                return None
            if not self._returns.may_return(visit.mac) or self._arrivals.online()[1] is None:
                return None
        except GateError as error:
            self._complaints.tell("a device could not be let back in", error)
            return None
        path = request.environ.get("RAW_URI") or request.full_path
        return f"http://{host}{path}" if path.startswith("/") else None
