"""A month at a glance: key figures beside those of the month before, the line, the days, busy hours, who got how far.

It must not know SQL, nor how a figure is made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import flask

from portal.domain import localtime, overview
from portal.domain.overview import HEAT_LEVELS, Heat
from portal.domain.rollup import DayFigures, HourFigures, Line, Stretch
from portal.domain.staff import Role
from portal.staff.auth import me, roles
from portal.staff.frame import language
from portal.staff.review import drawings, said
from portal.staff.review.door import READERS, blueprint, catch_up, code, month_of, parse_month, show, today
from portal.staff.review.exports import TABLES
from portal.staff.review.said import Compared
from portal.staff.review.strips import Strip, legend, strip
from portal.staff.shared import shared
from portal.store import rollups


@dataclass(frozen=True, slots=True)
class DayRow:
    """A day in the table; ``figures`` None: there is no log of it. ``remarks``: what else must be known of it."""

    day: dt.date
    name: str
    figures: DayFigures | None
    available: str
    strip: Strip
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A weekday (0: Monday); its 24 cells, None where nothing is known."""

    weekday: int
    name: str
    cells: list[Heat | None]


@blueprint.get("/review")
@roles(*READERS)
def start() -> flask.Response:
    """The month that was asked for by form, else the newest with a log."""
    asked = parse_month(flask.request.args.get("month", ""))
    if asked is not None:
        return flask.redirect(flask.url_for(".month", month=code(asked)), 303)  # type: ignore[return-value]
    late = catch_up()
    with shared().database.read() as db:
        months = rollups.months(db, shared().zone)
    if not months:
        return show("empty", language().text("review.title"), late=late)
    return _show(month_of(months[-1]), late)


@blueprint.get("/review/month/<month>")
@roles(*READERS)
def month(month: str) -> flask.Response:
    return _show(month_of(month), catch_up())


def _show(first: dt.date, late: str) -> flask.Response:
    zone, now = shared().zone, today()
    days = overview.month_days(first)
    before = overview.month_before(first)
    begin, end = localtime.day_start(first, zone), localtime.day_start(overview.next_month(first), zone)
    with shared().database.read() as db:
        months = rollups.months(db, zone)
        found = {one.day: one for one in rollups.days(db, zone, first, days[-1])}
        this = rollups.period(db, zone, first, days[-1])
        other = rollups.period(db, zone, before, first - dt.timedelta(days=1))
        hours = rollups.hours(db, zone, first, days[-1])
        stretches = rollups.stretches(db, zone, begin, end)
    rows = [_day_row(day, found.get(day), stretches, now) for day in days if day <= now]
    return show(
        "month",
        language().text("review.month-title", month=language().month(first)),
        late=late,
        month=code(first),
        first=first,
        last=days[-1],
        name=language().month(first),
        other=None if not other.days_with_log else other,
        other_name=language().month(before),
        earlier=_link(code(before), months),
        later=_link(code(overview.next_month(first)), months),
        months=_named(months),
        notes=_notes(first, found, rows, now),
        figures=_by_figure(said.compared(this, other)),
        this=this,
        has_log=bool(found),
        rows=rows,
        legend=legend(this.seconds),
        states=said.states(this.seconds),
        bytes=drawings.bytes_of_days(first, found),
        devices=drawings.devices_of_days(first, found),
        latency=drawings.latency_of_days(first, found),
        funnel=drawings.funnel(first, found),
        steps=drawings.funnel_rows(found.values()),
        heat=_heat(hours),
        busiest=_busiest(hours),
        lines=[(said.provider(one), seconds, quality) for one, (seconds, quality) in this.lines.items()],
        tables=TABLES,
        takes_away=me().role is Role.REVIEWER,
    )


def _link(month_code: str, months: Sequence[str]) -> tuple[str, str] | None:
    """(code, name) of a neighbouring month, if it has a log."""
    return next(iter(_named([month_code])), None) if month_code in months else None


def _named(months: Iterable[str]) -> list[tuple[str, str]]:
    return [(one, language().month(month_of(one))) for one in months]


def _by_figure(found: Iterable[Compared]) -> Mapping[str, Compared]:
    return {one.figure.value: one for one in found}


def _day_row(day: dt.date, figures: DayFigures | None, stretches: Sequence[Stretch], now: dt.date) -> DayRow:
    words, zone = language(), shared().zone
    begin, end = localtime.day_start(day, zone), localtime.day_start(day + dt.timedelta(days=1), zone)
    remarks = []
    if day == now:
        remarks.append(words.text("review.day-runs"))
    if figures is None:
        remarks.append(words.text("review.no-log"))
    else:
        if lost_s := figures.seconds.get(Line.LOST):
            remarks.append(words.text("review.day-lost", time=said.lasted(lost_s)))
        if not figures.certain:
            remarks.append(words.text("review.day-uncertain"))
    return DayRow(
        day=day,
        name=words.weekday(day),
        figures=figures,
        available=said.UNKNOWN if figures is None else said.available(figures.seconds),
        strip=strip(overview.within(stretches, begin, end), begin, end),
        remarks=remarks,
    )


def _notes(first: dt.date, found: Mapping[dt.date, DayFigures], rows: Sequence[DayRow], now: dt.date) -> list[str]:
    """What must be known before the month's figures are believed."""
    words = language()
    notes: list[str] = []
    if not found:
        return notes
    if code(first) == code(now):
        notes.append(words.text("review.month-runs", day=words.day(now)))
    if missing := sum(row.figures is None for row in rows):
        notes.append(words.counted("review.month-missing", missing))
    if lost := sum(one.seconds.get(Line.LOST, 0) > 0 for one in found.values()):
        notes.append(words.counted("review.month-lost", lost))
    uncertain = sum(not one.certain for one in found.values())
    if uncertain == len(found):
        notes.append(words.text("review.month-no-clock"))
    elif uncertain:
        notes.append(words.counted("review.month-uncertain", uncertain))
    return notes


def _heat(hours: Sequence[HourFigures]) -> list[HeatRow]:
    found = overview.heat(hours)
    if not found:
        return []
    return [
        HeatRow(weekday, name, [found.get((weekday, hour)) for hour in range(24)])
        for weekday, name in enumerate(language().weekdays())
    ]


def _busiest(hours: Sequence[HourFigures]) -> str:
    found = overview.heat(hours)
    if not any(one.level == HEAT_LEVELS for one in found.values()):
        return language().text("review.heat-nobody")
    weekday, hour = max(found, key=lambda at: found[at].online)
    return language().text(
        "review.heat-most",
        day=language().weekdays()[weekday],
        hour=said.hour(hour),
        online=said.number(found[weekday, hour].online),
    )
