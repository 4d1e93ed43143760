"""Two months side by side: their key figures, their days as lines. It must not know SQL."""

from __future__ import annotations

import datetime as dt
import sqlite3

import flask

from portal.domain import overview
from portal.domain.rollup import DayFigures
from portal.reports.definitions import LINES
from portal.staff.auth import roles
from portal.staff.frame import language
from portal.staff.review import drawings, said
from portal.staff.review.door import READERS, blueprint, catch_up, code, month_of, parse_month, show, today
from portal.staff.shared import shared
from portal.store import rollups

Days = dict[dt.date, DayFigures]


@blueprint.get("/review/compare")
@roles(*READERS)
def compare() -> flask.Response:
    """``?a=`` and ``?b=`` months; without them the newest with a log, and the one before it."""
    late = catch_up()
    zone, args = shared().zone, flask.request.args
    with shared().database.read() as db:
        months = rollups.months(db, zone)
        newest = month_of(months[-1]) if months else today().replace(day=1)
        a = parse_month(args.get("a", "")) or newest
        b = parse_month(args.get("b", "")) or overview.month_before(a)
        this, other = (rollups.period(db, zone, one, overview.month_days(one)[-1]) for one in (a, b))
        days_a, days_b = days_of(db, a), days_of(db, b)
    names = language().month(a), language().month(b)
    return show(
        "compare",
        language().text("review.compare-title", a=names[0], b=names[1]),
        late=late,
        a=code(a),
        b=code(b),
        names=names,
        months=[(one, language().month(month_of(one))) for one in months],
        figures=said.compared(this, other),
        lines=[
            (figure, said.name(figure), *(said.lasted_or_zero(period.seconds.get(line)) for period in (this, other)))
            for line, figure in LINES.items()
        ],
        logs=(this.days_with_log, other.days_with_log),
        days=[(number, (_numbered(days_a, number), _numbered(days_b, number))) for number in range(1, 32)],
        bytes=drawings.two_of_bytes((a, days_a), (b, days_b)),
        devices=drawings.two_of_devices((a, days_a), (b, days_b)),
    )


def _numbered(days: Days, number: int) -> DayFigures | None:
    """The day of a month by its number."""
    return next((one for day, one in days.items() if day.day == number), None)


def days_of(db: sqlite3.Connection, first: dt.date) -> Days:
    """Those of a month of which there is a log."""
    return {one.day: one for one in rollups.days(db, shared().zone, first, overview.month_days(first)[-1])}
