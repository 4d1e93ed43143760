"""Turns figures into what is seen at a glance: strip, heat map, change. It must not know pages or SQL.

None is "not known" throughout, and never counts as 0.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from portal.domain.rollup import HourFigures, Line, Stretch

QUARTER_S: Final = 900.0
NOTICED_S: Final = 60.0
"""What lasted less within a quarter hour does not give it its state in the strip."""
HEAT_LEVELS: Final = 5

_WORST_FIRST: Final = (Line.OFF, Line.DOWN, Line.LOST, Line.DEGRADED, Line.UNKNOWN, Line.UP, Line.BEFORE)
_RUNNING: Final = (Line.UP, Line.DEGRADED, Line.DOWN, Line.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Run:
    """So many quarter hours on end that look alike in a strip; ``first`` counts from the strip's begin."""

    first: int
    quarters: int
    line: Line


def strip(stretches: Iterable[Stretch], from_wall_s: float, until_wall_s: float) -> list[Run]:
    """A time in quarter hours, each shown as the worst of what lasted a minute in it. Without gaps; what no stretch
    tells of is BEFORE."""
    count = math.ceil((until_wall_s - from_wall_s) / QUARTER_S)
    found: list[dict[Line, float]] = [{} for _ in range(count)]
    for stretch in stretches:
        begin, end = max(stretch.from_wall_s, from_wall_s), min(stretch.until_wall_s, until_wall_s)
        while begin < end:
            number = int((begin - from_wall_s) // QUARTER_S)
            until = min(end, from_wall_s + (number + 1) * QUARTER_S)
            found[number][stretch.line] = found[number].get(stretch.line, 0.0) + until - begin
            begin = until
    runs: list[Run] = []
    for number, seconds in enumerate(found):
        line = _shown(seconds)
        if runs and runs[-1].line is line:
            runs[-1] = Run(runs[-1].first, runs[-1].quarters + 1, line)
        else:
            runs.append(Run(number, 1, line))
    return runs


def _shown(seconds: Mapping[Line, float]) -> Line:
    noticed = [line for line, lasted_s in seconds.items() if lasted_s >= NOTICED_S]
    if noticed:
        return min(noticed, key=_WORST_FIRST.index)
    return max(seconds, key=lambda line: seconds[line], default=Line.BEFORE)


def within(stretches: Iterable[Stretch], from_wall_s: float, until_wall_s: float) -> list[Stretch]:
    """The stretches of a part of their time, cut to it."""
    return [
        Stretch(max(one.from_wall_s, from_wall_s), min(one.until_wall_s, until_wall_s), one.line)
        for one in stretches
        if one.from_wall_s < until_wall_s and one.until_wall_s > from_wall_s
    ]


@dataclass(frozen=True, slots=True)
class Heat:
    """Of one hour (0 to 23) of one weekday (0: Monday): the mean of the hours' most online, of how many hours, and the
    level of its colour from 0 (nobody) to HEAT_LEVELS (the busiest)."""

    online: float
    hours: int
    level: int


def heat(hours: Iterable[HourFigures]) -> dict[tuple[int, int], Heat]:
    """By (weekday, hour), those of which anything is known. Hours in which the gateway ran at no time are left out."""
    peaks: dict[tuple[int, int], list[int]] = {}
    for one in hours:
        if any(one.seconds.get(line, 0.0) > 0 for line in _RUNNING):
            peaks.setdefault((one.day.weekday(), one.hour), []).append(one.peak_online)
    means = {at: sum(found) / len(found) for at, found in peaks.items()}
    most = max(means.values(), default=0.0)
    return {
        at: Heat(mean, len(peaks[at]), math.ceil(HEAT_LEVELS * mean / most) if most else 0)
        for at, mean in means.items()
    }


def change(now: float | None, before: float | None) -> float | None:
    """By which share of ``before`` it grew (0.1: a tenth more). None: one of them is not known, or it was 0."""
    if now is None or not before:
        return None
    return now / before - 1


def per_day(total: float, days: int) -> float | None:
    """None where there is no day."""
    return total / days if days else None


def month_days(first: dt.date) -> list[dt.date]:
    """All days of the month that ``first`` begins."""
    return [first + dt.timedelta(days=number) for number in range((next_month(first) - first).days)]


def next_month(first: dt.date) -> dt.date:
    return (first + dt.timedelta(days=31)).replace(day=1)


def month_before(first: dt.date) -> dt.date:
    return (first - dt.timedelta(days=1)).replace(day=1)
