"""What is seen at a glance: strips show the worst of a quarter hour, heat leaves out what nobody knows, changes have a
base.
"""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.domain import overview
from portal.domain.overview import HEAT_LEVELS, QUARTER_S, Run
from portal.domain.rollup import HourFigures, Line, Provider, Quality, Stretch

DAY_S = 86_400.0


def hour_of(day: dt.date, hour: int, online: int, line: Line = Line.UP) -> HourFigures:
    quality = Quality(None, None, None, None)
    return HourFigures(0.0, day, hour, online, 0, online, online, 0, 0, {line: 3600.0}, quality, Provider("", "other"))


MONDAY = dt.date(2026, 10, 5)


class TestStrip:
    def test_a_quarter_shows_the_worst_that_lasted_a_minute(self) -> None:
        stretches = [
            Stretch(0, 1000, Line.UP),
            Stretch(1000, 1060, Line.DOWN),
            Stretch(1060, 2000, Line.UP),
            Stretch(2000, 2059, Line.OFF),
            Stretch(2059, 3600, Line.UP),
        ]
        assert overview.strip(stretches, 0, 3600) == [Run(0, 1, Line.UP), Run(1, 1, Line.DOWN), Run(2, 2, Line.UP)]

    def test_what_nothing_tells_of_is_outside_the_log(self) -> None:
        assert overview.strip([], 0, 3600) == [Run(0, 4, Line.BEFORE)]
        assert overview.strip([Stretch(900, 1800, Line.UP)], 0, 2700) == [
            Run(0, 1, Line.BEFORE),
            Run(1, 1, Line.UP),
            Run(2, 1, Line.BEFORE),
        ]

    def test_of_moments_alone_the_longest_counts(self) -> None:
        assert overview.strip([Stretch(0, 20, Line.UP), Stretch(20, 60, Line.DEGRADED)], 0, 900) == [
            Run(0, 1, Line.DEGRADED)
        ]

    @given(
        st.lists(
            st.tuples(st.floats(0.5, 30_000), st.sampled_from(list(Line))),
            max_size=12,
        )
    )
    def test_it_is_whole_without_gaps_and_neighbours_differ(self, parts: list[tuple[float, Line]]) -> None:
        stretches, at = [], -1000.0
        for lasted, line in parts:
            stretches.append(Stretch(at, at + lasted, line))
            at += lasted
        runs = overview.strip(stretches, 0, DAY_S)
        assert sum(run.quarters for run in runs) == DAY_S / QUARTER_S
        assert [run.first for run in runs] == [sum(one.quarters for one in runs[:at]) for at in range(len(runs))]
        assert all(a.line is not b.line for a, b in itertools.pairwise(runs))
        told = {line for _, line in parts} | {Line.BEFORE}
        assert {run.line for run in runs} <= told

    def test_a_part_of_stretches_is_cut_to_it(self) -> None:
        stretches = [Stretch(0, 100, Line.UP), Stretch(100, 200, Line.DOWN), Stretch(200, 300, Line.UP)]
        assert overview.within(stretches, 50, 200) == [Stretch(50, 100, Line.UP), Stretch(100, 200, Line.DOWN)]


class TestHeat:
    def test_it_is_the_mean_of_the_same_hour_of_the_same_weekday(self) -> None:
        week = dt.timedelta(days=7)
        found = overview.heat([hour_of(MONDAY, 19, 4), hour_of(MONDAY + week, 19, 7), hour_of(MONDAY, 20, 1)])
        assert found[0, 19].online == 5.5
        assert found[0, 19].hours == 2
        assert found[0, 19].level == HEAT_LEVELS
        assert found[0, 20].level == 1
        assert (1, 19) not in found

    @pytest.mark.parametrize("line", [Line.OFF, Line.LOST, Line.BEFORE])
    def test_hours_in_which_the_gateway_did_not_run_or_that_nobody_knows_are_left_out(self, line: Line) -> None:
        week = dt.timedelta(days=7)
        found = overview.heat([hour_of(MONDAY, 19, 4), hour_of(MONDAY + week, 19, 0, line)])
        assert found[0, 19].online == 4
        assert overview.heat([hour_of(MONDAY, 19, 0, line)]) == {}

    def test_nobody_is_level_zero(self) -> None:
        assert overview.heat([hour_of(MONDAY, 3, 0)])[0, 3].level == 0

    @given(st.lists(st.integers(0, 500), min_size=1, max_size=24))
    def test_levels_follow_the_figures(self, peaks: list[int]) -> None:
        found = overview.heat([hour_of(MONDAY, hour, peak) for hour, peak in enumerate(peaks)])
        ordered = [found[0, hour].level for hour in sorted(range(len(peaks)), key=lambda hour: peaks[hour])]
        assert ordered == sorted(ordered)
        assert all((found[0, hour].level == 0) == (peak == 0) for hour, peak in enumerate(peaks))


@pytest.mark.parametrize(
    ("now", "before", "grew"), [(110, 100, 0.1), (50, 100, -0.5), (1, 0, None), (None, 5, None), (5, None, None)]
)
def test_a_change_needs_two_figures_and_a_base(now: float | None, before: float | None, grew: float | None) -> None:
    assert overview.change(now, before) == pytest.approx(grew)


def test_months_have_their_days_and_neighbours() -> None:
    assert len(overview.month_days(dt.date(2026, 2, 1))) == 28
    assert len(overview.month_days(dt.date(2028, 2, 1))) == 29
    assert overview.next_month(dt.date(2026, 12, 1)) == dt.date(2027, 1, 1)
    assert overview.month_before(dt.date(2026, 1, 1)) == dt.date(2025, 12, 1)
    assert overview.per_day(10, 0) is None
