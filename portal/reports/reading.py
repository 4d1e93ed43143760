"""Reads from the store what a report is made of. It must not know formats; nothing else of the reports knows the store.

Call it in a read transaction, after portal.store.rollups.catch_up in a writing one. The rows of sessions are read while
they are written: the transaction lasts until then.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
import sqlite3
from collections.abc import Sequence
from typing import Final
from zoneinfo import ZoneInfo

from portal.config import SiteConfig
from portal.domain.rollup import PeriodFigures, SessionFilter, SessionRecord
from portal.domain.suppression import LEAD_DAYS
from portal.reports.report import Report
from portal.reports.tables import Source, make
from portal.store import journal, rollups

_ALL: Final = 1 << 31


def month(text: str) -> tuple[dt.date, dt.date] | None:
    """First and last day of a month like 2026-10; None where it is none."""
    found = re.fullmatch(r"(20[0-9]{2})-(0[1-9]|1[0-2])", text)
    if found is None:
        return None
    year, number = int(found[1]), int(found[2])
    return dt.date(year, number, 1), dt.date(year, number, calendar.monthrange(year, number)[1])


def year(text: str) -> tuple[dt.date, dt.date] | None:
    """First and last day of a year like 2026; None where it is none."""
    return (dt.date(int(text), 1, 1), dt.date(int(text), 12, 31)) if re.fullmatch("20[0-9]{2}", text) else None


def read(db: sqlite3.Connection, config: SiteConfig, first: dt.date, last: dt.date, now_wall_s: float) -> Report | None:
    """The report of these days, both included; None where there is no log of any of them that is over."""
    zone = ZoneInfo(config.site.timezone)
    lead = dt.timedelta(days=LEAD_DAYS)
    days = rollups.days(db, zone, first - lead, last + lead)

    def period(without: frozenset[dt.date]) -> PeriodFigures:
        return rollups.period(db, zone, first, source.until, without=without)

    def sessions_of(day: dt.date) -> Sequence[SessionRecord]:
        return rollups.sessions(db, zone, SessionFilter(first=day, last=day), limit=_ALL)[::-1]

    source = Source(
        config=config,
        first=first,
        last=last,
        days=days,
        period=period,
        sessions_of=sessions_of,
        head=journal.head(db)[1],
        made_wall_s=now_wall_s,
    )
    return make(source) if any(first <= one.day <= source.until for one in days) else None
