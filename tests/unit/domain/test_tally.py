"""The arithmetic of the roll-ups, against counting every single millisecond and value."""

from __future__ import annotations

import datetime as dt
import statistics
from collections import Counter
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.domain import tally
from portal.domain.rollup import Line
from portal.domain.tally import Stroke

ZONE = ZoneInfo("Asia/Makassar")
moments = st.integers(0, 60)
stays = st.lists(st.tuples(moments, moments), max_size=12)
cuts = st.lists(moments, min_size=1, max_size=6, unique=True).map(sorted)
strokes = st.lists(st.builds(Stroke, moments, moments, st.sampled_from(Line)), max_size=12)
online = st.dictionaries(st.integers(0, 9), st.integers(1, 50), max_size=6).map(Counter)
values = st.lists(st.integers(-50, 50), max_size=40).map(sorted)


@given(stays, cuts)
def test_how_long_so_many_were_online_is_what_counting_each_moment_gives(
    some: list[tuple[int, int]], at: list[int]
) -> None:
    found = tally.online_ms(some, at)
    assert len(found) == len(at) - 1
    for began, ended, part in zip(at, at[1:], found, strict=False):
        there = Counter(sum(first <= moment < last for first, last in some) for moment in range(began, ended))
        assert part == there
        assert tally.peak(part) == max(there)


@given(online)
def test_p95_is_the_smallest_number_not_exceeded_in_95_percent_of_the_time(some: Counter[int]) -> None:
    found = tally.p95(some)
    every_ms = sorted(some.elements())
    within = [number for number in range(10) if sum(one <= number for one in every_ms) * 100 >= 95 * len(every_ms)]
    assert found == min(within)


@given(values, st.sampled_from([1, 50, 95, 100]))
def test_a_percentile_is_the_smallest_value_that_so_many_percent_do_not_exceed(some: list[int], percent: int) -> None:
    fitting = [value for value in some if sum(one <= value for one in some) * 100 >= percent * len(some)]
    assert tally.percentile(some, percent) == (min(fitting) if some else None)


@given(values)
def test_the_median_is_that_of_the_library(some: list[int]) -> None:
    assert tally.median(some) == (statistics.median(some) if some else None)


@given(strokes, moments, moments)
def test_the_last_stroke_at_a_moment_is_seen_and_where_there_is_none_it_is_before(
    some: list[Stroke], one: int, other: int
) -> None:
    began, ended = sorted((one, other))
    found = tally.painted(some, began, ended)
    seen = [
        next((stroke.line for stroke in reversed(some) if stroke.from_ms <= moment < stroke.until_ms), Line.BEFORE)
        for moment in range(began, ended)
    ]
    assert [stroke.line for stroke in found for _ in range(stroke.from_ms, stroke.until_ms)] == seen
    assert all(first.until_ms == second.from_ms for first, second in pairwise(found))
    assert all(first.line is not second.line for first, second in pairwise(found))


@given(strokes, moments, moments)
def test_shares_of_the_line_add_up_to_the_time(some: list[Stroke], one: int, other: int) -> None:
    began, ended = sorted((one, other))
    found = tally.painted(some, 0, 60)
    shares = tally.shares(found, began, ended)
    assert sum(shares.values()) == ended - began
    for line in Line:
        times = [range(max(part.from_ms, began), min(part.until_ms, ended)) for part in found if part.line is line]
        assert shares[line] == sum(map(len, times))


@pytest.mark.parametrize(
    ("zone", "day", "lengths"),
    [
        (ZONE, dt.date(2026, 10, 14), [60] * 24),
        (ZoneInfo("Europe/Berlin"), dt.date(2026, 3, 29), [60] * 23),
        (ZoneInfo("Europe/Berlin"), dt.date(2026, 10, 25), [60] * 25),
        (ZoneInfo("Australia/Lord_Howe"), dt.date(2026, 4, 5), [60] * 2 + [30] + [60] * 22),
        (ZoneInfo("Australia/Lord_Howe"), dt.date(2026, 10, 4), [60] * 2 + [30] + [60] * 21),
    ],
)
def test_a_day_has_the_hours_that_its_clock_shows(zone: ZoneInfo, day: dt.date, lengths: list[int]) -> None:
    hours = tally.hours_of(day, zone)
    assert [(hour.until_ms - hour.from_ms) // 60_000 for hour in hours] == lengths
    assert (hours[0].from_ms, hours[-1].until_ms) == tally.day_ms(day, zone)
    assert [hour.hour for hour in hours] == [
        dt.datetime.fromtimestamp(hour.from_ms / 1000, zone).hour for hour in hours
    ]
