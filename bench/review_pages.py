"""How long the reviewer pages take with a year of one village behind them. It must not know what they show.

In the pages' own process, through the whole WSGI application, logged in: what the line and TLS add is staff_pages'.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from werkzeug.test import Client

from bench.result import Reach, Result
from bench.village_year import Year, make_year
from netctl.api.client import Client as NetctlClient
from portal import clock, passwords
from portal.domain.staff import Role
from portal.paths import Paths
from portal.staff.app import create_app
from portal.staff.shared import Shared
from portal.staffkey import StaffKey
from portal.store import rollups, staff
from portal.store.db import Database

REACH_MS: Final = 200
ROUNDS: Final = 9
NAME: Final = "peninjau"
PASSWORD: Final = "rumput-laut-dua-perahu"
MONTH: Final = "/review/month/2026-10"
OTHERS: Final = (
    "/review/day/2026-10-14",
    "/review/sessions?first=2026-01-01&last=2026-12-31",
    "/review/sessions?first=2026-10-01&last=2026-10-31&method=terms&reason=idle",
    "/review/compare?a=2026-10&b=2026-09",
    "/review/hours/2026-10",
    "/review/chart/bytes/2026-10.svg",
    "/review/chart/funnel/2026-10.svg",
    "/review/chart/latency/2026-10.svg",
    "/review/chart/two-bytes/2026-10,2026-09.svg",
)


@dataclass(frozen=True, slots=True)
class Desk:
    """A reviewer's browser; no network is between it and the application."""

    client: Client
    origin: str

    def ask(self, method: str, path: str, **form: str) -> tuple[str, float]:
        """(text, milliseconds until the last byte). RuntimeError: an error page."""
        began = time.monotonic()
        response = self.client.open(
            path, method=method, base_url=self.origin, data=form or None, headers={"Referer": f"{self.origin}/"}
        )
        text = response.get_data(as_text=True)
        took_ms = (time.monotonic() - began) * 1000
        if response.status_code not in (200, 303):
            raise RuntimeError(f"{path} got {response.status_code}: {text[:300]}")
        return text, took_ms


def review_pages() -> Iterator[Result]:
    """The month's page, and the worst of the others."""
    with tempfile.TemporaryDirectory() as directory:
        paths = Paths(Path(directory), Path(directory))
        year = make_year(paths.database)
        with closing(Database(paths.database)) as database:
            with database.write() as db:
                rollups.catch_up(db, ZoneInfo(year.config.site.timezone))
            yield from _measured(_logged_in(year, paths, database))


def _logged_in(year: Year, paths: Paths, database: Database) -> Desk:
    key = StaffKey(bytes(range(32)))
    with database.write() as db:
        password_hash = passwords.hash_new(key.password(NAME, Role.REVIEWER, PASSWORD))
        staff.add(db, NAME, Role.REVIEWER, password_hash, clock.now())
        db.execute("UPDATE staff_user SET must_change = 0")
    app = create_app(Shared(year.config, paths, key, database, NetctlClient(paths.netctl_socket)))
    desk = Desk(Client(app), f"https://{year.config.portal.name}:{year.config.staff.port}")
    token = re.search(r'name="csrf_token" value="([^"]+)"', desk.ask("GET", "/login")[0])
    desk.ask("POST", "/login", csrf_token=token[1] if token else "", name=NAME, password=PASSWORD)
    return desk


def _measured(desk: Desk) -> Iterator[Result]:
    month = [desk.ask("GET", MONTH)[1] for _ in range(ROUNDS)]
    note = "a year of 60 devices and 180 sessions a day"
    yield Result("month_view", statistics.median(month), "ms", Reach(at_most=REACH_MS), samples=month, note=note)
    medians = {path: statistics.median(desk.ask("GET", path)[1] for _ in range(ROUNDS)) for path in OTHERS}
    slowest = sorted(medians.items(), key=lambda one: -one[1])
    note = "the slowest by median: " + ", ".join(f"{path} {took:.0f}" for path, took in slowest[:4])
    worst, samples = slowest[0][1], list(medians.values())
    yield Result("review_pages", worst, "ms", Reach(at_most=REACH_MS), samples=samples, note=note)
