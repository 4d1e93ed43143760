"""A day: its strip and what lasted how long, who was there in which hour, its sessions. It must not know SQL."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

import flask

from portal.domain import localtime
from portal.domain.rollup import Line, SessionFilter, Stretch
from portal.staff.auth import roles
from portal.staff.frame import language
from portal.staff.review import drawings, said
from portal.staff.review.door import READERS, blueprint, catch_up, code, day_of, show, today
from portal.staff.review.rows import session_rows
from portal.staff.review.strips import legend, strip
from portal.staff.shared import shared
from portal.store import rollups

SESSIONS: Final = 20
"""So many stand on the day's page; the rest are behind a link."""


@dataclass(frozen=True, slots=True)
class StretchRow:
    begin: str
    end: str
    line: str
    lasted: str


@blueprint.get("/review/day/<day>")
@roles(*READERS)
def day(day: str) -> flask.Response:
    asked, zone, words = day_of(day), shared().zone, language()
    late = catch_up()
    begin, end = localtime.day_start(asked, zone), localtime.day_start(asked + dt.timedelta(days=1), zone)
    filter_ = SessionFilter(first=asked, last=asked)
    with shared().database.read() as db:
        figures = next(iter(rollups.days(db, zone, asked, asked)), None)
        hours = rollups.hours(db, zone, asked, asked)
        stretches = rollups.stretches(db, zone, begin, end)
        found = rollups.sessions(db, zone, filter_, limit=SESSIONS)
        count = rollups.session_count(db, zone, filter_)
        months = rollups.months(db, zone)
    notes = []
    if figures is not None and asked == today():
        notes.append(words.text("review.day-runs-note"))
    if figures is not None and not figures.certain:
        notes.append(words.text("review.day-uncertain-note"))
    return show(
        "day",
        words.long_day(asked),
        late=late,
        day=asked.isoformat(),
        month=code(asked),
        month_name=words.month(asked),
        has_month=code(asked) in months,
        earlier=asked - dt.timedelta(days=1),
        later=asked + dt.timedelta(days=1) if asked < today() else None,
        figures=figures,
        notes=notes,
        strip=strip(stretches, begin, end),
        legend=legend(figures.seconds) if figures else [],
        stretches=[_stretch_row(one, begin, end) for one in stretches],
        online=drawings.online_of_hours(asked, hours),
        bytes=drawings.bytes_of_hours(asked, hours),
        hours=[(said.hour(one.hour), one, said.available(one.seconds)) for one in hours],
        steps=drawings.funnel_rows([figures]) if figures else [],
        sessions=session_rows(found),
        count=count,
    )


def _stretch_row(one: Stretch, begin: float, end: float) -> StretchRow:
    words, zone = language(), shared().zone

    def clock(wall_s: float) -> str:
        if wall_s >= end:
            return words.clock(1440)
        then = dt.datetime.fromtimestamp(wall_s, zone)
        return words.clock(then.hour * 60 + then.minute)

    from_s, until_s = max(one.from_wall_s, begin), min(one.until_wall_s, end)
    return StretchRow(clock(from_s), clock(until_s), said.line(Line(one.line)), said.lasted(until_s - from_s))
