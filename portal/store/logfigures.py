"""Reads the figures of hours, days and periods that portal.store.daybook made. It must not know how they were made.

Whoever shows them calls portal.store.rollups.catch_up before. Every function works inside the transaction of the
connection it is given; ``zone`` is site.timezone, whose days these are.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from portal.domain import tally
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


def days(db: sqlite3.Connection, zone: ZoneInfo, first: dt.date, last: dt.date) -> list[DayFigures]:  # noqa: ARG001
    """Of the local days from ``first`` to ``last``, both included, those of which there is any log."""
    hours: dict[str, list[_HourRow]] = {}
    for hour in _hour_rows(db, first, last):
        hours.setdefault(hour.day, []).append(hour)
    rows = db.execute(
        """
        SELECT day, devices, sessions, lengths, online, up_bytes, down_bytes, certain, os
        FROM day_figures LEFT JOIN record_funnel USING (day) WHERE day BETWEEN ? AND ? ORDER BY day
        """,
        (first.isoformat(), last.isoformat()),
    )
    return [_day(row, hours.get(row[0], [])) for row in rows]


def _day(row: tuple[Any, ...], hours: Sequence[_HourRow]) -> DayFigures:
    day, devices, sessions, lengths, online, up_bytes, down_bytes, certain, funnel = row
    online_ms = _online(online)
    return DayFigures(
        day=dt.date.fromisoformat(day),
        devices=devices,
        sessions=sessions,
        median_session_s=tally.median(json.loads(lengths)),
        peak_online=tally.peak(online_ms),
        p95_online=tally.p95(online_ms),
        up_bytes=up_bytes,
        down_bytes=down_bytes,
        funnel=_funnel(funnel),
        seconds=_seconds(hours),
        quality=_quality(hours),
        certain=bool(certain),
    )


def hours(db: sqlite3.Connection, zone: ZoneInfo, first: dt.date, last: dt.date) -> list[HourFigures]:  # noqa: ARG001
    """Of the same days all hours, in their order."""
    return [
        HourFigures(
            began_wall_s=one.began_wall_ms / 1000,
            day=dt.date.fromisoformat(one.day),
            hour=one.hour,
            devices=one.devices,
            sessions=one.sessions,
            peak_online=one.peak_online,
            p95_online=one.p95_online,
            up_bytes=one.up_bytes,
            down_bytes=one.down_bytes,
            seconds=_seconds([one]),
            quality=_quality([one]),
            provider=Provider(one.provider, one.link),
        )
        for one in _hour_rows(db, first, last)
    ]


def period(
    db: sqlite3.Connection,
    zone: ZoneInfo,  # noqa: ARG001
    first: dt.date,
    last: dt.date,
    *,
    without: Collection[dt.date] = (),
) -> PeriodFigures:
    """The same days together. What is of people leaves ``without`` out; the line's figures are of all days."""
    hours = list(_hour_rows(db, first, last))
    lines: dict[Provider, list[_HourRow]] = {}
    for hour in hours:
        lines.setdefault(Provider(hour.provider, hour.link), []).append(hour)
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
        seconds=_seconds(hours),
        quality=_quality(hours),
        lines={one: (_seconds(lines[one]), _quality(lines[one])) for one in lines},
    )


def stretches(db: sqlite3.Connection, zone: ZoneInfo, from_wall_s: float, until_wall_s: float) -> list[Stretch]:  # noqa: ARG001
    """How the line was from one moment to another, without gaps."""
    strip = daybook.strip(db, round(from_wall_s * 1000), round(until_wall_s * 1000))
    return [Stretch(stroke.from_ms / 1000, stroke.until_ms / 1000, stroke.line) for stroke in strip]


# --- rows -----------------------------------------------------------------------------------------------------------


class _HourRow(NamedTuple):
    """A row of hour_figures, in the order of its columns."""

    began_wall_ms: int
    day: str
    hour: int
    devices: int
    sessions: int
    peak_online: int
    p95_online: int
    up_bytes: int
    down_bytes: int
    off_ms: int
    down_ms: int
    degraded_ms: int
    up_ms: int
    unknown_ms: int
    lost_ms: int
    before_ms: int
    latency: str
    loss: str
    provider: str
    link: str


def _hour_rows(db: sqlite3.Connection, first: dt.date, last: dt.date) -> Iterator[_HourRow]:
    rows = db.execute(
        "SELECT * FROM hour_figures WHERE day BETWEEN ? AND ? ORDER BY began_wall_ms",
        (first.isoformat(), last.isoformat()),
    )
    return map(_HourRow._make, rows)


def _seconds(hours: Sequence[_HourRow]) -> dict[Line, float]:
    """How long the line was what, all states included that it never was."""
    return {line: sum(getattr(hour, f"{line.value}_ms") for hour in hours) / 1000 for line in Line}


def _quality(hours: Sequence[_HourRow]) -> Quality:
    latency = sorted(value for hour in hours for value in json.loads(hour.latency))
    loss = sorted(value for hour in hours for value in json.loads(hour.loss))
    return Quality(
        latency_p50_ms=_scaled(tally.percentile(latency, 50), 10),
        latency_p95_ms=_scaled(tally.percentile(latency, 95), 10),
        loss_p50=_scaled(tally.percentile(loss, 50), 1000),
        loss_p95=_scaled(tally.percentile(loss, 95), 1000),
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
