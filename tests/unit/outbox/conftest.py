"""A database, a site whose office has a key, and figures that a test chooses. It must not start processes."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from portal import outbox
from portal.config import Log, Office, Site, SiteConfig
from portal.domain import localtime
from portal.domain.journal import Entry, Kind
from portal.domain.model import Now
from portal.domain.rollup import (
    DayFigures,
    HourFigures,
    Line,
    Provider,
    Quality,
    SessionFilter,
    SessionRecord,
    Step,
    Stretch,
)
from portal.store import journal
from portal.store.db import Database
from tests.unit.outbox.making import GATEWAY, OFFICE, SITE

ZONE = ZoneInfo("Asia/Makassar")
BOOT = "5f3a1c9e-0b7d-4f7e-9a51-3f1f0f6f2c11"
FIRST = dt.date(2026, 11, 1)
QUALITY = Quality(41.5, 120.0, 0.0, 0.25)


def config(**log: int) -> SiteConfig:
    return SiteConfig(site=Site(code=SITE), office=Office(key=OFFICE.key.line), log=Log(**log))


def at(day: dt.date, hour: float = 3) -> Now:
    """That time on the site's clock."""
    wall_s = localtime.day_start(day, ZONE) + hour * 3600
    return Now(BOOT, wall_s - localtime.day_start(FIRST, ZONE) + 1000, wall_s)


@dataclass
class Figures:
    """What portal.store.rollups would give; by day the number of devices, and sessions that a test may change."""

    devices: dict[dt.date, int] = field(default_factory=dict)
    more: list[SessionRecord] = field(default_factory=list)
    lost_s: dict[dt.date, float] = field(default_factory=dict)
    ended_since: dict[dt.date, dt.date] = field(default_factory=dict)

    def catch_up(self, db: object, zone: dt.tzinfo, limit: int) -> int:
        return 0

    def first_day(self, db: object, zone: dt.tzinfo) -> dt.date | None:
        return min(self.devices, default=None)

    def days(self, db: object, zone: dt.tzinfo, first: dt.date, last: dt.date) -> list[DayFigures]:
        return [self._day(day, count) for day, count in sorted(self.devices.items()) if first <= day <= last]

    def _day(self, day: dt.date, devices: int) -> DayFigures:
        lost_s = self.lost_s.get(day, 0)
        return DayFigures(
            day=day,
            devices=devices,
            sessions=devices,
            median_session_s=1800.0 if devices else None,
            ended=devices,
            ended_since=self.ended_since.get(day, day) if devices else None,
            peak_online=devices,
            p95_online=devices,
            up_bytes=devices * 1000,
            down_bytes=devices * 9000,
            funnel={"android": Step(devices + 3, devices + 1, devices)} if devices else {},
            seconds={Line.UP: 86_400 - lost_s, Line.LOST: lost_s},
            quality=QUALITY,
            certain=True,
        )

    def hours(self, db: object, zone: dt.tzinfo, first: dt.date, last: dt.date) -> list[HourFigures]:
        begin = localtime.day_start(first, zone)
        return [
            HourFigures(
                began_wall_s=begin + hour * 3600,
                day=first,
                hour=hour,
                devices=self.devices[first] if hour == 19 else 0,
                sessions=self.devices[first] if hour == 19 else 0,
                peak_online=self.devices[first] if hour == 19 else 0,
                p95_online=self.devices[first] if hour == 19 else 0,
                up_bytes=self.devices[first] * 1000 if hour == 19 else 0,
                down_bytes=self.devices[first] * 9000 if hour == 19 else 0,
                seconds={Line.UP: 3600.0},
                quality=QUALITY,
                provider=Provider("Telkom", "radio"),
            )
            for hour in range(24)
        ]

    def sessions(
        self, db: object, zone: dt.tzinfo, wanted: SessionFilter, *, limit: int = 50, before: int | None = None
    ) -> list[SessionRecord]:
        found = [
            session(number, day, f"{number:016x}")
            for day, count in self.devices.items()
            for number in range(day.toordinal() * 100, day.toordinal() * 100 + count)
        ]
        replaced = {one.id: one for one in self.more}
        return [
            replaced.get(one.id, one)
            for one in reversed(found)
            if wanted.first <= localtime.local_date(one.began_wall_s, zone) <= wanted.last
        ]

    def entries_of(
        self, db: sqlite3.Connection, zone: ZoneInfo, day: dt.date, kinds: Collection[Kind]
    ) -> list[tuple[float, bool, Entry]]:
        return [
            (entry.wall_ms / 1000, True, entry)
            for entry in journal.of_kinds(db, kinds)
            if localtime.local_date(entry.wall_ms / 1000, zone) == day
        ]

    def stretches(self, db: object, zone: dt.tzinfo, from_wall_s: float, until_wall_s: float) -> list[Stretch]:
        middle = (from_wall_s + until_wall_s) / 2
        return [Stretch(from_wall_s, middle, Line.UP), Stretch(middle, until_wall_s, Line.DOWN)]


def session(number: int, day: dt.date, device: str, ended: bool = True) -> SessionRecord:
    began = localtime.day_start(day, ZONE) + 19 * 3600 + number % 100
    return SessionRecord(
        id=number,
        device=device,
        plan="warga",
        method="terms",
        began_wall_s=began,
        ended_wall_s=began + 1800 if ended else None,
        up_bytes=1000,
        down_bytes=9000,
        reason="logout" if ended else None,
        continues=None,
        certain=True,
    )


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Figures:
    given = Figures({FIRST + dt.timedelta(days=number): 8 for number in range(10)})
    monkeypatch.setattr(outbox, "rollups", given)
    return given


@pytest.fixture
def database(tmp_path: Path, pristine: Path) -> Iterator[Database]:
    """The clock is trusted in BOOT."""
    folder = tmp_path / "data"
    folder.mkdir()
    for file in pristine.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    database = Database(folder / "gerbang.db")
    with database.write() as db:
        db.execute("UPDATE meta SET boot_id = ?1, trusted_boot_id = ?1", (BOOT,))
    yield database
    database.close()


def fill(database: Database, now: Now, site: SiteConfig | None = None) -> outbox.Filled:
    return outbox.fill(database, site or config(), GATEWAY, now)
