"""The arithmetic of the roll-ups: who was online at once, for how long, what lay in the middle, how the line was.

Pure: it must not know SQL or the journal. Moments and lengths are whole milliseconds of the wall clock, so that sums
are exact; a stay or stretch lasts from its first moment until the one before its end.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from portal.domain import localtime
from portal.domain.rollup import Line

P95: Final = 95


class Stroke(NamedTuple):
    """The line was ``line`` from one moment until another."""

    from_ms: int
    until_ms: int
    line: Line


class Hour(NamedTuple):
    """One hour on the local clock. Where clocks are set back, ``hour`` comes twice."""

    from_ms: int
    until_ms: int
    hour: int


def day_ms(day: dt.date, zone: dt.tzinfo) -> tuple[int, int]:
    """The first moment of a local day, and that of the next."""
    began, ended = (localtime.day_start(one, zone) for one in (day, day + dt.timedelta(days=1)))
    return round(began * 1000), round(ended * 1000)


def hours_of(day: dt.date, zone: dt.tzinfo) -> list[Hour]:
    """A local day's hours in their order, without gaps: 24 of them, or as many as a day has on which clocks are set."""
    at_ms, end_ms = day_ms(day, zone)
    found = []
    while at_ms < end_ms:
        local = dt.datetime.fromtimestamp(at_ms / 1000, zone)
        next_ms = min(at_ms + 3_600_000 - (local.minute * 60 + local.second) * 1000, end_ms)
        found.append(Hour(at_ms, next_ms, local.hour))
        at_ms = next_ms
    return found


def online_ms(stays: Iterable[tuple[int, int]], cuts: Sequence[int]) -> list[Counter[int]]:
    """Between each two of ``cuts`` (moments in order): for how long so many stays, (from, until), ran at once.

    Nobody counts too, so that each adds up to the time between its cuts.
    """
    changes: Counter[int] = Counter()
    for began, ended in stays:
        if began < ended:
            changes[began] += 1
            changes[ended] -= 1
    found = [Counter[int]() for _ in cuts[1:]]
    if not found:
        return found
    moments = iter([*sorted(changes), cuts[-1]])
    moment, online, at = next(moments), 0, cuts[0]
    while moment <= at and moment < cuts[-1]:
        online += changes[moment]
        moment = next(moments)
    for number, cut in enumerate(cuts[1:]):
        while at < cut:
            until = min(moment, cut)
            if until > at:
                found[number][online] += until - at
            at = until
            while moment <= at and moment < cuts[-1]:
                online += changes[moment]
                moment = next(moments)
    return found


def peak(online: Counter[int]) -> int:
    """The most that were online at once; 0 where no time passed."""
    return max(online, default=0)


def p95(online: Counter[int]) -> int:
    """The smallest number that was not exceeded in 95 % of the time."""
    total, passed = sum(online.values()), 0
    for number in sorted(online):
        passed += online[number]
        if passed * 100 >= total * P95:
            return number
    return 0


def percentile(values: Sequence[int], percent: int) -> int | None:
    """The smallest of ``values`` (in order) that so many percent of them do not exceed; None of none."""
    return values[max(-(-len(values) * percent // 100), 1) - 1] if values else None


def median(values: Sequence[int]) -> float | None:
    """What lies in the middle of ``values`` (in order): of two, their mean; None of none."""
    if not values:
        return None
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def painted(strokes: Iterable[Stroke], from_ms: int, until_ms: int) -> list[Stroke]:
    """Strokes over one another, the later one in front, BEFORE where there is none. Without gaps, no two alike in a
    row."""
    begins, lines = [from_ms], [Line.BEFORE]
    for stroke in strokes:
        began, ended = max(stroke.from_ms, from_ms), min(stroke.until_ms, until_ms)
        if began >= ended:
            continue
        first, last = bisect_left(begins, began), bisect_left(begins, ended)
        goes_on = ended < until_ms and (last == len(begins) or begins[last] != ended)
        behind = lines[bisect_right(begins, ended) - 1]
        begins[first:last] = [began, ended] if goes_on else [began]
        lines[first:last] = [stroke.line, behind] if goes_on else [stroke.line]
    found: list[Stroke] = []
    for began, ended, line in zip(begins, [*begins[1:], until_ms], lines, strict=True):
        if found and found[-1].line is line:
            found[-1] = found[-1]._replace(until_ms=ended)
        elif began < ended:
            found.append(Stroke(began, ended, line))
    return found


def shares(strokes: Iterable[Stroke], from_ms: int, until_ms: int) -> Counter[Line]:
    """For how long the line was what, in a part of the time of ``strokes`` (without gaps)."""
    found: Counter[Line] = Counter()
    for stroke in strokes:
        lasted_ms = min(stroke.until_ms, until_ms) - max(stroke.from_ms, from_ms)
        if lasted_ms > 0:
            found[stroke.line] += lasted_ms
    return found
