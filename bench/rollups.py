"""How long the figures of a year take to make, to keep up and to read, and how large its database is.

It must not know how the year was lived: bench.village_year makes it up.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from zoneinfo import ZoneInfo

from bench.result import Reach, Result
from bench.village_year import Year, make_year
from portal.domain import tally
from portal.domain.rollup import SessionFilter
from portal.store import journal, journalread, rollups
from portal.store.db import Database

_REPEAT = 9
_ONE_DAY = dt.timedelta(days=1)


def rollups_of_a_year() -> Iterator[Result]:
    """All of it, from one made-up year of 60 devices and 180 sessions a day."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gerbang.db"
        began = time.monotonic()
        year = make_year(path)
        made_s = time.monotonic() - began
        with closing(Database(path)) as database:
            yield from _measured(database, year, f"{len(year.stays)} sessions, made in {made_s:.0f} s")
        yield _size(path)


def _measured(database: Database, year: Year, note: str) -> Iterator[Result]:
    zone = ZoneInfo(year.config.site.timezone)
    with database.write() as db:
        began = time.monotonic()
        entries = rollups.rebuild(db, zone)
        rebuild_s = time.monotonic() - began
    yield Result("rollup_rebuild", rebuild_s, "s", Reach(at_most=60), note=f"a year: {entries} entries; {note}")
    yield _an_hour(database, zone)
    with database.read() as db:
        yield _timed("rollup_month_read", lambda: _month(db, zone), Reach(at_most=200), "all that a month's page shows")
        last = year.last
        whole_year = (year.first, last)
        yield _timed("rollup_year_read", lambda: rollups.days(db, zone, *whole_year), Reach(), "365 days' figures")
        chosen = SessionFilter(first=last, last=last)
        entries_of_day = lambda: rollups.sessions(db, zone, chosen)  # noqa: E731
        yield _timed("rollup_sessions_read", entries_of_day, Reach(), "50 sessions of the last day")
        yield _verified(db)


def _verified(db: sqlite3.Connection) -> Result:
    """As `gerbang journal verify` does."""
    began = time.monotonic()
    verdict = journalread.check(db)
    took_s = time.monotonic() - began
    if verdict.findings:
        raise RuntimeError(f"the made-up year's log is not whole: {verdict.findings[0]}")
    return Result("journal_verify", took_s, "s", Reach(at_most=10), note=f"a year: {verdict.entries} entries")


def _an_hour(database: Database, zone: ZoneInfo) -> Result:
    """Take the log's last hour in, as the hourly housekeeping does."""
    samples = []
    with database.read() as db:
        head, _ = journal.head(db)
        (before,) = db.execute(
            "SELECT max(seq) FROM journal WHERE wall_ms < (SELECT wall_ms FROM journal WHERE seq = ?) - 3600000",
            (head,),
        ).fetchone()
    for _ in range(3):
        with database.write() as db:
            rollups.begin_again(db, zone)
            rollups.catch_up(db, zone, limit=before)
        began = time.monotonic()
        with database.write() as db:
            rollups.catch_up(db, zone)
        samples.append((time.monotonic() - began) * 1000)
    note = f"{head - before} entries, the commit included"
    return Result(
        "rollup_catch_up_hour", statistics.median(samples), "ms", Reach(at_most=50), samples=samples, note=note
    )


def _month(db: sqlite3.Connection, zone: ZoneInfo) -> None:
    """October, beside September."""
    first, last = dt.date(2026, 10, 1), dt.date(2026, 10, 31)
    from_ms, until_ms = tally.day_ms(first, zone)[0], tally.day_ms(last, zone)[1]
    rollups.months(db, zone)
    rollups.days(db, zone, first, last)
    rollups.hours(db, zone, first, last)
    rollups.period(db, zone, first, last)
    rollups.period(db, zone, dt.date(2026, 9, 1), first - _ONE_DAY)
    rollups.stretches(db, zone, from_ms / 1000, until_ms / 1000)
    chosen = SessionFilter(first=first, last=last)
    rollups.session_count(db, zone, chosen)
    rollups.sessions(db, zone, chosen)


def _timed(name: str, work: Callable[[], object], reach: Reach, note: str) -> Result:
    samples = []
    for _ in range(_REPEAT):
        began = time.monotonic()
        work()
        samples.append((time.monotonic() - began) * 1000)
    return Result(name, statistics.median(samples), "ms", reach, samples=samples, note=note)


def _size(path: Path) -> Result:
    with closing(sqlite3.connect(path)) as db:
        parts = db.execute(
            "SELECT name, sum(pgsize) FROM dbstat GROUP BY name HAVING sum(pgsize) > 500000 ORDER BY 2 DESC"
        ).fetchall()
        (whole,) = db.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    note = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in parts)
    return Result("year_database", whole / 1e6, "MB", Reach(at_most=250), note=note)
