"""Reads the figures of hours, days and periods that portal.store.daybook made. It must not know how they were made.

Whoever shows them calls portal.store.rollups.catch_up before. Every function works inside the transaction of the
connection it is given; ``zone`` is site.timezone, whose days these are.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from portal.domain import localtime, tally
from portal.domain.rollup import DayFigures, HourFigures, Line, PeriodFigures, Provider, Quality, Step, Stretch
from portal.store import daybook

# --- what there is --------------------------------------------------------------------------------------------------


def first_day(db: sqlite3.Connection, zone: ZoneInfo) -> dt.date | None:  # noqa: ARG001 - one interface for all
    """The first local day of which there is any log."""
    (found,) = db.execute("SELECT min(day) FROM day_figures").fetchone()
    return None if found is None else dt.date.fromisoformat(found)


def last_day(db: sqlite3.Connection, zone: ZoneInfo) -> dt.date | None:  # noqa: ARG001 - one interface for all
    (found,) = db.execute("SELECT max(day) FROM day_figures").fetchone()
    return None if found is None else dt.date.fromisoformat(found)


def months(db: sqlite3.Connection, zone: ZoneInfo) -> list[str]:  # noqa: ARG001 - one interface for all
    """The local months of which there is any log, in order: "2026-11"."""
    return [row[0] for row in db.execute("SELECT DISTINCT substr(day, 1, 7) FROM day_figures ORDER BY 1")]


def days(db: sqlite3.Connection, zone: ZoneInfo, first: dt.date, last: dt.date) -> list[DayFigures]:
    """Of the local days from ``first`` to ``last``, both included, those of which there is any log."""
    lines = {row[0]: row[1:] for row in _lines(db, "day", first, last)}
    rows = db.execute(
        """
        SELECT day, devices, sessions, lengths, online, up_bytes, down_bytes, certain, os
        FROM day_figures LEFT JOIN record_funnel USING (day) WHERE day BETWEEN ? AND ? ORDER BY day
        """,
        (first.isoformat(), last.isoformat()),
    )
    early = db.execute(
        "SELECT day, devices, min(began_wall_ms) FROM hour_figures WHERE day BETWEEN ? AND ? GROUP BY day",
        (first.isoformat(), last.isoformat()),
    )
    first_hours = {row[0]: row[1] for row in early}  # of the row with the minimum (SQLite, "bare columns")
    return [_day(zone, row, lines[row[0]], first_hours[row[0]]) for row in rows]


def _day(zone: ZoneInfo, row: tuple[Any, ...], line: Sequence[Any], devices_first_hour: int) -> DayFigures:
    text, devices, sessions, lengths_s, online, up_bytes, down_bytes, certain, funnel = row
    day, lengths, online_ms = dt.date.fromisoformat(text), json.loads(lengths_s), _online(online)
    return DayFigures(
        day=day,
        devices=devices,
        sessions=sessions,
        median_session_s=tally.median(lengths),
        ended=len(lengths),
        ended_since=_ended_since(zone, day, lengths, devices_first_hour),
        peak_online=tally.peak(online_ms),
        p95_online=tally.p95(online_ms),
        up_bytes=up_bytes,
        down_bytes=down_bytes,
        funnel=_funnel(funnel),
        seconds=_seconds(line),
        quality=_quality(line[-2], line[-1]),
        certain=bool(certain),
    )


def _ended_since(zone: ZoneInfo, day: dt.date, lengths: Sequence[int], devices_first_hour: int) -> dt.date | None:
    """No session that ended on ``day`` began before this one. From figures alone, which outlive the records."""
    if not lengths:
        return None
    if not devices_first_hour:
        return day  # nobody stayed over midnight
    return localtime.local_date(tally.day_ms(day, zone)[0] / 1000 - max(lengths) - 1, zone)


def hours(db: sqlite3.Connection, zone: ZoneInfo, first: dt.date, last: dt.date) -> list[HourFigures]:  # noqa: ARG001
    """Of the same days all hours, in their order."""
    rows = db.execute(
        f"""
        SELECT {_LINE}, latency, loss, day, began_wall_ms, hour, devices, sessions, peak_online, p95_online,
            up_bytes, down_bytes, provider, link
        FROM hour_figures WHERE day BETWEEN ? AND ? ORDER BY began_wall_ms
        """,  # noqa: S608 - constants of this module
        (first.isoformat(), last.isoformat()),
    )
    return [_hour(row[: len(Line)], *row[len(Line) :]) for row in rows]


def _hour(line: Sequence[int], latency: str, loss: str, day: str, began_wall_ms: int, *figures: Any) -> HourFigures:
    hour, devices, sessions, peak_online, p95_online, up_bytes, down_bytes, provider, link = figures
    return HourFigures(
        began_wall_s=began_wall_ms / 1000,
        day=dt.date.fromisoformat(day),
        hour=hour,
        devices=devices,
        sessions=sessions,
        peak_online=peak_online,
        p95_online=p95_online,
        up_bytes=up_bytes,
        down_bytes=down_bytes,
        seconds=_seconds(line),
        quality=_quality(latency, loss),
        provider=Provider(provider, link),
    )


def period(
    db: sqlite3.Connection,
    zone: ZoneInfo,  # noqa: ARG001
    first: dt.date,
    last: dt.date,
    *,
    without: Collection[dt.date] = (),
) -> PeriodFigures:
    """The same days together. What is of people leaves ``without`` out; the line's figures are of all days."""
    lines = {Provider(*row[:2]): row[2:] for row in _lines(db, "provider, link", first, last)}
    rows = db.execute(
        """
        SELECT devices, sessions, lengths, online, up_bytes, down_bytes, os, day
        FROM day_figures LEFT JOIN record_funnel USING (day) WHERE day BETWEEN ? AND ? ORDER BY day
        """,
        (first.isoformat(), last.isoformat()),
    ).fetchall()
    left_out = {day.isoformat() for day in without}
    rows = [row for row in rows if row[-1] not in left_out]
    online: Counter[int] = Counter()
    for row in rows:
        online.update(_online(row[3]))
    devices = [row[0] for row in rows if row[0]]
    return PeriodFigures(
        first=first,
        last=last,
        days_with_log=len(rows),
        devices_most=max(devices, default=0),
        devices_mean=sum(devices) / len(devices) if devices else None,
        sessions=sum(row[1] for row in rows),
        median_session_s=tally.median(sorted(length for row in rows for length in json.loads(row[2]))),
        peak_online=tally.peak(online),
        p95_online=tally.p95(online),
        up_bytes=sum(row[4] for row in rows),
        down_bytes=sum(row[5] for row in rows),
        funnel=_sum_of(_funnel(row[6]) for row in rows),
        seconds=_seconds([sum(row[number] for row in lines.values()) for number in range(len(Line))]),
        quality=_quality(*(",".join(row[at] for row in lines.values() if row[at]) for at in (-2, -1))),
        lines={one: (_seconds(row), _quality(row[-2], row[-1])) for one, row in lines.items()},
    )


def stretches(db: sqlite3.Connection, zone: ZoneInfo, from_wall_s: float, until_wall_s: float) -> list[Stretch]:  # noqa: ARG001
    """How the line was from one moment to another, without gaps."""
    strip = daybook.strip(db, round(from_wall_s * 1000), round(until_wall_s * 1000))
    return [Stretch(stroke.from_ms / 1000, stroke.until_ms / 1000, stroke.line) for stroke in strip]


# --- rows -----------------------------------------------------------------------------------------------------------


_LINE: Final = ", ".join(f"{line.value}_ms" for line in Line)
_LINE_SUMS: Final = ", ".join(f"sum({line.value}_ms)" for line in Line)


def _lines(db: sqlite3.Connection, by: str, first: dt.date, last: dt.date) -> sqlite3.Cursor:
    """The line by these columns: they, for how long it was what (in the order of Line), all latencies, all losses."""
    return db.execute(
        f"""
        SELECT {by}, {_LINE_SUMS}, group_concat(nullif(latency, '')), group_concat(nullif(loss, ''))
        FROM hour_figures WHERE day BETWEEN ? AND ? GROUP BY {by} ORDER BY {by}
        """,  # noqa: S608 - constants of this module
        (first.isoformat(), last.isoformat()),
    )


def _seconds(line: Sequence[Any]) -> dict[Line, float]:
    """For how long the line was what, those states included that it never was."""
    return {one: lasted_ms / 1000 for one, lasted_ms in zip(Line, line, strict=False)}


def _quality(latency: str | None, loss: str | None) -> Quality:
    tenths, thousandths = (sorted(map(int, text.split(","))) if text else [] for text in (latency, loss))
    return Quality(
        latency_p50_ms=_scaled(tally.percentile(tenths, 50), 10),
        latency_p95_ms=_scaled(tally.percentile(tenths, 95), 10),
        loss_p50=_scaled(tally.percentile(thousandths, 50), 1000),
        loss_p95=_scaled(tally.percentile(thousandths, 95), 1000),
    )


def _scaled(value: int | None, by: int) -> float | None:
    return None if value is None else value / by


def _online(text: str) -> Counter[int]:
    return Counter({int(number): lasted_ms for number, lasted_ms in json.loads(text).items()})


def _funnel(text: str | None) -> dict[str, Step]:
    return {} if text is None else {family: Step(*steps) for family, steps in json.loads(text).items()}


def _sum_of(funnels: Iterable[dict[str, Step]]) -> dict[str, Step]:
    total: dict[str, Step] = {}
    for funnel in funnels:
        for family, step in funnel.items():
            before = total.get(family, Step(0, 0, 0))
            total[family] = Step(before.joined + step.joined, before.saw + step.saw, before.online + step.online)
    return total
