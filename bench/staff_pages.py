"""How long each staff page takes over https, for each role, at a gateway with 500 devices known and 200 online.

It must not know what the pages show. Which pages there are, the application's own map of addresses says.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import ssl
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import flask

from bench.guest_pages import SITE
from bench.office import ONLINE, Office, check_grants, fill, furnish, office
from bench.result import Reach, Result
from netctl.api.client import Client
from portal import staffkey
from portal.domain.staff import Role
from portal.staff import frame
from portal.staff.app import create_app
from portal.staff.shared import Shared
from portal.staff.start import CERTIFICATE
from portal.store.db import Database
from tests.village.phone import Phone

REACH_MS = 100.0
ROUNDS = 15
USERS: Final[Mapping[Role, str]] = {
    Role.OPERATOR: "operator",
    Role.TECHNICIAN: "teknisi",
    Role.REVIEWER: "peninjau",
}
HOME = "/"  # leads to the role's first page
PASSWORD = "rumput-laut-dua-perahu"


@dataclass(slots=True)
class Browser:
    """Of one user, on a phone. Every request has a connection and a TLS handshake of its own."""

    phone: Phone
    at: Office
    tls: ssl.SSLContext
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, form: Mapping[str, str] | None = None) -> tuple[int, str, float]:
        """(status, text, milliseconds from the beginning of the connection to the last byte)."""
        name, port = self.at.config.portal.name, self.at.config.staff.port
        headers = {"Accept-Language": "id", "Referer": f"https://{name}:{port}/"}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{key}={value}" for key, value in self.cookies.items())
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        began_s = time.monotonic()
        raw = self.phone.connect(self.at.config.lan.address.partition("/")[0], port, timeout_s=20)
        connection = http.client.HTTPSConnection(name, port, context=self.tls)
        connection.sock = self.tls.wrap_socket(raw, server_hostname=name)
        with contextlib.closing(connection):
            connection.request(method, path, urlencode(form) if form is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        took_ms = (time.monotonic() - began_s) * 1000
        for cookie in answer.headers.get_all("Set-Cookie", []):
            key, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[key] = value
        return answer.status, text, took_ms

    def send(self, path: str, **form: str) -> None:
        """Fill in the form of a page; RuntimeError where that does not lead on."""
        _, page, _ = self.ask("GET", path)
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        status, text, _ = self.ask("POST", path, {"csrf_token": token[1] if token else "", **form})
        if status != 303:
            raise RuntimeError(f"{path} got {status}: {text[:300]}")


def staff_pages() -> Iterator[Result]:
    """The worst page's median of all pages of all roles; the slowest three by name."""
    with office(1, SITE) as at:
        fill(at, ONLINE)
        furnish(at)
        medians = {page: statistics.median(times) for page, times in look_at_all(at, ROUNDS).items()}
        check_grants(at.gateway, ONLINE)
    slowest = sorted(medians.items(), key=lambda one: -one[1])
    yield Result(
        "staff_pages_ms",
        slowest[0][1],
        "ms",
        Reach(at_most=REACH_MS),
        samples=list(medians.values()),
        note="the worst of each page's median, connection and TLS handshake included; "
        + ", ".join(f"{name} {took:.0f}" for name, took in slowest[:3]),
    )


def look_at_all(at: Office, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each page, by role and address, each role's user having logged in for the first time.

    The gateway must be new and furnished. RuntimeError where a page is not to be had.
    """
    tls = ssl.create_default_context(cafile=str(at.paths.staff / CERTIFICATE))
    found = {}
    for role, paths in _pages(at).items():
        browser = Browser(at.phones[0], at, tls)
        if role is not None:
            _log_in(browser, USERS[role])
        for path in paths:
            found[f"{role or 'nobody'} {path}"] = _times(browser, path, rounds)
    return found


def _times(browser: Browser, path: str, rounds: int) -> list[float]:
    times = []
    for _ in range(rounds):
        status, text, took_ms = browser.ask("GET", path)
        if status not in (200, 204) and (status, path) != (303, HOME):
            raise RuntimeError(f"{path} got {status}: {text[:300]}")
        times.append(took_ms)
    return times


def _log_in(browser: Browser, name: str) -> None:
    """With the first password, which must be changed, and then with another."""
    paper = browser.at.paths.staff_passwords.read_text()
    first = re.search(rf"^  {name} +(\S+)", paper, re.MULTILINE)
    if first is None:
        raise RuntimeError(f"there is no first password of {name}: {paper}")
    browser.send("/login", name=name, password=first[1])
    browser.send("/password", old=first[1], new=PASSWORD, again=PASSWORD)
    browser.cookies.clear()
    browser.send("/login", name=name, password=PASSWORD)


def _pages(at: Office) -> dict[Role | None, list[str]]:
    """Of this gateway, with one voucher batch, notice and device for those pages that are about one."""
    with contextlib.closing(Database(at.paths.database)) as database:
        key = staffkey.load(at.paths.staff)
        app = create_app(Shared(at.config, at.paths, key, database, Client(at.paths.netctl_socket)))
    parts = {"batch_id": 1, "notice_id": 1, "filename": next(iter(frame.of(app).statics))}
    parts |= {"month": "2026-10", "day": "2026-10-14", "name": "bytes", "of": "2026-10"}
    queries = {
        "technician.device": f"device={at.phones[0].mac}",
        "vouchers.sheet": "paper=receipt",
        "vouchers.vouchers": f"code={at.new_codes(at.config.plan[0].id, 1)[0]}",
        "today.today": "lang=en",
    }
    return pages(app, parts, queries)


def pages(app: flask.Flask, parts: Mapping[str, object], queries: Mapping[str, str]) -> dict[Role | None, list[str]]:
    """Every address that shows a page to a role, or to everybody (None).

    ``parts``: what stands for an address's variable parts, by name; KeyError where a new page has another.
    ``queries``: by endpoint, a question that a page is asked beside the plain address.
    """
    found: dict[Role | None, list[str]] = {None: [], **{role: [] for role in USERS}}
    addresses = app.url_map.bind("")
    for rule in app.url_map.iter_rules():
        if rule.methods is None or "GET" not in rule.methods:
            continue
        path = addresses.build(rule.endpoint, {name: parts[name] for name in rule.arguments})
        asked = [f"{path}?{queries[rule.endpoint]}"] if rule.endpoint in queries else []
        view: Any = app.view_functions[rule.endpoint]  # portal.staff.auth has marked it
        for role in view.roles or (None,):
            found[role] += [path, *asked]
    return found
