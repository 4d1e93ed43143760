"""A usage log made up for tests of the reviewer pages: figures by formula, with the same interface as the roll-ups.

Whether figures are made rightly of a journal is the roll-ups' own test; here they are given.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from portal.domain import localtime
from portal.domain.rollup import (
    DayFigures,
    HourFigures,
    Line,
    PeriodFigures,
    Provider,
    Quality,
    SessionFilter,
    SessionRecord,
    Step,
    Stretch,
)

PROVIDER = Provider("Telkom & Anak", "satellite")
DAY = dt.timedelta(days=1)


def quality(number: int) -> Quality:
    return Quality(600.0 + number, 900.0 + 3 * number, 0.01, 0.05)


def funnel(number: int) -> dict[str, Step]:
    return {"android": Step(30 + number, 25 + number, 20 + number), "unknown": Step(6, 3, 2)}


def lasted(stretches: Iterable[Stretch]) -> dict[Line, float]:
    found: dict[Line, float] = {}
    for one in stretches:
        found[one.line] = found.get(one.line, 0.0) + one.until_wall_s - one.from_wall_s
    return found


@dataclass
class MadeUp:
    """A log from ``since`` to ``until``, both included, but for days ``without``. Day n (of the month) has 20 + n
    devices, 60 + n sessions, n GB down, a quarter of that up; from 6.00 to 7.00 the gateway is off, from 13.10 to
    13.50 the line is down.
    """

    since: dt.date = dt.date(2026, 9, 1)
    until: dt.date = dt.date(2026, 10, 31)
    without: set[dt.date] = field(default_factory=set)
    uncertain: set[dt.date] = field(default_factory=set)
    lost: set[dt.date] = field(default_factory=set)
    no_sessions: bool = False
    no_funnel: bool = False
    entries: int = 0  # that were not taken in yet
    CHUNK = 2000

    def behind(self, db: Any, zone: ZoneInfo) -> int:
        return self.entries

    def catch_up(self, db: Any, zone: ZoneInfo, limit: int | None = None) -> int:
        taken = min(self.entries, limit or self.entries)
        self.entries -= taken
        return taken

    def _has(self, day: dt.date) -> bool:
        return self.since <= day <= self.until and day not in self.without

    def days(self, db: Any, zone: ZoneInfo, first: dt.date, last: dt.date) -> list[DayFigures]:
        return [self._day(zone, day) for day in span(first, last) if self._has(day)]

    def _day(self, zone: ZoneInfo, day: dt.date) -> DayFigures:
        number = 0 if self.no_sessions else day.day
        return DayFigures(
            day=day,
            devices=number and 20 + number,
            sessions=number and 60 + number,
            median_session_s=4000.0 + 10 * number if number else None,
            ended=number and 60 + number,
            ended_since=day if number else None,
            peak_online=number and 10 + number % 7,
            p95_online=number and 8,
            up_bytes=number * 250_000_000,
            down_bytes=number * 1_000_000_000,
            funnel={} if self.no_funnel else funnel(day.day),
            seconds=lasted(self.stretches(None, zone, *bounds(day, zone))),
            quality=quality(day.day),
            certain=day not in self.uncertain,
        )

    def hours(self, db: Any, zone: ZoneInfo, first: dt.date, last: dt.date) -> list[HourFigures]:
        found = []
        for day in span(first, last):
            if not self._has(day):
                continue
            for hour in range(24):
                begin = bounds(day, zone)[0] + hour * 3600.0
                busy = 0 if self.no_sessions else max(0, 12 - abs(19 - hour) * 2)
                found.append(
                    HourFigures(
                        began_wall_s=begin,
                        day=day,
                        hour=hour,
                        devices=busy,
                        sessions=busy // 2,
                        peak_online=busy,
                        p95_online=busy,
                        up_bytes=busy * 1_000_000,
                        down_bytes=busy * 9_000_000,
                        seconds=lasted(self.stretches(None, zone, begin, begin + 3600)),
                        quality=Quality(None, None, None, None) if hour == 6 else quality(hour),
                        provider=PROVIDER,
                    )
                )
        return found

    def period(
        self, db: Any, zone: ZoneInfo, first: dt.date, last: dt.date, *, without: Collection[dt.date] = ()
    ) -> PeriodFigures:
        days = [one for one in self.days(db, zone, first, last) if one.day not in without]
        some = [one.devices for one in days if one.devices]
        seconds: dict[Line, float] = {}
        steps: dict[str, Step] = {}
        for one in days:
            for line, value in one.seconds.items():
                seconds[line] = seconds.get(line, 0.0) + value
            for family, step in one.funnel.items():
                old = steps.get(family, Step(0, 0, 0))
                steps[family] = Step(old.joined + step.joined, old.saw + step.saw, old.online + step.online)
        return PeriodFigures(
            first=first,
            last=last,
            days_with_log=len(days),
            devices_most=max((one.devices for one in days), default=0),
            devices_mean=sum(some) / len(some) if some else None,
            sessions=sum(one.sessions for one in days),
            median_session_s=4200.0 if some else None,
            peak_online=max((one.peak_online for one in days), default=0),
            p95_online=8 if some else 0,
            up_bytes=sum(one.up_bytes for one in days),
            down_bytes=sum(one.down_bytes for one in days),
            funnel=steps,
            seconds=seconds,
            quality=quality(0) if days else Quality(None, None, None, None),
            lines={PROVIDER: (seconds, quality(0))} if days else {},
        )

    def stretches(self, db: Any, zone: ZoneInfo, from_wall_s: float, until_wall_s: float) -> list[Stretch]:
        found = []
        for day in span(localtime.local_date(from_wall_s, zone), localtime.local_date(until_wall_s - 1, zone)):
            begin, end = bounds(day, zone)
            parts = [(0, Line.UP), (6, Line.OFF), (7, Line.UP), (13 + 1 / 6, Line.DOWN), (13 + 5 / 6, Line.UP)]
            if day in self.lost:
                parts += [(20, Line.LOST), (22, Line.DEGRADED), (23, Line.UNKNOWN)]
            if not self._has(day):
                parts = [(0, Line.BEFORE)]
            until = [begin + hour * 3600 for hour, _ in parts[1:]] + [end]
            found += [
                Stretch(begin + hour * 3600, end_s, line) for (hour, line), end_s in zip(parts, until, strict=True)
            ]
        return [
            Stretch(max(one.from_wall_s, from_wall_s), min(one.until_wall_s, until_wall_s), one.line)
            for one in found
            if one.from_wall_s < until_wall_s and one.until_wall_s > from_wall_s
        ]

    def _sessions(self, zone: ZoneInfo, asked: SessionFilter) -> list[SessionRecord]:
        found = []
        for day in span(asked.first, asked.last):
            if not self._has(day) or self.no_sessions:
                continue
            begin = bounds(day, zone)[0]
            for number in range(60 + day.day):
                found.append(
                    SessionRecord(
                        id=(day.month * 100 + day.day) * 1000 + number,
                        device=f"{day.month:02}-lopo-{number % 30:02}",
                        plan="kantor" if number % 9 == 0 else "warga",
                        method="voucher" if number % 5 == 0 else "terms",
                        began_wall_s=begin + 8 * 3600 + number * 300,
                        ended_wall_s=None if number % 20 == 19 else begin + 8 * 3600 + number * 300 + 3660,
                        up_bytes=number * 1_000_000,
                        down_bytes=number * 10_000_000,
                        reason=None if number % 20 == 19 else ("power" if number % 10 == 3 else "idle"),
                        continues=number if number % 10 == 4 else None,
                        certain=day not in self.uncertain,
                    )
                )
        return [
            one
            for one in reversed(found)
            if asked.plan in (None, one.plan)
            and asked.method in (None, one.method)
            and asked.reason in (None, one.reason)
            and asked.device in (None, one.device)
        ]

    def sessions(
        self, db: Any, zone: ZoneInfo, asked: SessionFilter, *, limit: int = 50, before: int | None = None
    ) -> list[SessionRecord]:
        return [one for one in self._sessions(zone, asked) if before is None or one.id < before][:limit]

    def session_count(self, db: Any, zone: ZoneInfo, asked: SessionFilter) -> int:
        return len(self._sessions(zone, asked))

    def first_day(self, db: Any, zone: ZoneInfo) -> dt.date | None:
        return next((day for day in span(self.since, self.until) if self._has(day)), None)

    def months(self, db: Any, zone: ZoneInfo) -> list[str]:
        return sorted({day.isoformat()[:7] for day in span(self.since, self.until) if self._has(day)})


def span(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + DAY * number for number in range((last - first).days + 1)]


def bounds(day: dt.date, zone: ZoneInfo) -> tuple[float, float]:
    return localtime.day_start(day, zone), localtime.day_start(day + DAY, zone)
