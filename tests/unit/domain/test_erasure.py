"""When a date is believed, and what stands in the log in place of what was erased: portal.domain.erasure."""

from __future__ import annotations

import datetime as dt
import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from portal.domain.erasure import STEADY_DAYS, Seen, graves, over_by, see
from portal.domain.journal import GENESIS, Tomb, hash_of

TODAY = dt.date(2026, 11, 24)


def seen(*days: dt.date) -> Seen:
    found = Seen("", 0)
    for day in days:
        found = see(found, day)
    return found


def row(first: dt.date, count: int) -> list[dt.date]:
    return [first + dt.timedelta(days=number) for number in range(count)]


def test_a_date_is_believed_once_it_has_gone_on_for_a_week() -> None:
    assert not seen(*row(TODAY, STEADY_DAYS - 1)).steady
    assert seen(*row(TODAY, STEADY_DAYS)).steady


@given(st.integers(STEADY_DAYS + 1, 20_000), st.booleans())
def test_a_leap_is_not_believed_before_another_week_whichever_way(days: int, back: bool) -> None:
    leapt = row(TODAY, 9)[-1] + dt.timedelta(days=-days if back else days)
    assert not seen(*row(TODAY, 9), leapt).steady
    assert not seen(*row(TODAY, 9), *row(leapt, STEADY_DAYS - 1)).steady
    assert seen(*row(TODAY, 9), *row(leapt, STEADY_DAYS)).steady


@given(st.lists(st.integers(0, STEADY_DAYS), min_size=3, max_size=30))
def test_days_without_power_take_no_belief_away_and_give_none(steps: list[int]) -> None:
    days = [TODAY]
    for step in steps:
        days.append(days[-1] + dt.timedelta(days=step))
    assert seen(*days).days == min(len(set(days)), STEADY_DAYS)


LENGTH = 40
HASHES = [GENESIS]
for _seq in range(1, LENGTH + 1):
    HASHES.append(
        hash_of(HASHES[-1], "{}", seq=_seq, kind="sample", boot_id="b", boot_ms=_seq, wall_ms=_seq, trusted=True)
    )


def told_tombs(there: dict[int, Tomb]) -> list[Tomb]:
    return [there[first] for first in sorted(there)]


@given(st.lists(st.sets(st.integers(1, LENGTH), max_size=12), max_size=5))
def test_whatever_is_erased_in_whatever_order_the_chain_can_be_followed(rounds: list[set[int]]) -> None:
    there: dict[int, Tomb] = {}
    left = set(range(1, LENGTH + 1))
    for wanted in rounds:
        gone = sorted(wanted & left)
        plan = graves([(seq, HASHES[seq]) for seq in gone], told_tombs(there))
        for first in plan.replaced:
            del there[first]
        for tomb in plan.new:
            assert tomb.first not in there
            there[tomb.first] = tomb
        left -= set(gone)
        covered: list[int] = []
        for tomb in told_tombs(there):
            assert tomb.last_hash == HASHES[tomb.last]
            covered += range(tomb.first, tomb.last + 1)
        assert covered == sorted(set(range(1, LENGTH + 1)) - left)
        tombs = told_tombs(there)
        assert all(a.last + 1 < b.first for a, b in itertools.pairwise(tombs)), "those that touch are one"


DAY_S = 86_400.0
NOW_S = 2_000_000_000.0


@given(
    st.lists(st.tuples(st.floats(0, 40 * DAY_S), st.floats(0, DAY_S), st.sampled_from([0.0, 0.0, 0.0, -1.0, 1.0]))),
)
def test_nothing_is_over_before_it_was_whatever_its_clock_showed(some: list[tuple[float, float, float]]) -> None:
    """Each is (how long ago it began, how long it lasted, how its clock was wrong)."""
    true = sorted((NOW_S - 50 * DAY_S - ago, NOW_S - 50 * DAY_S - ago + length) for ago, length, _ in some)
    wrong = [error for *_, error in some]
    shown = [
        (began + error * 1e9 if error < 0 else began + error * 2e9, ended + (error * 1e9 if error < 0 else error * 2e9))
        for (began, ended), error in zip(true, wrong, strict=True)
    ]
    found = over_by(shown, NOW_S)
    for (began, ended), error, over_s in zip(true, wrong, found, strict=True):
        assert over_s >= (ended if error == 0 else began) - 0.001


def test_what_a_wrong_clock_wrote_is_over_when_the_next_began() -> None:
    began = NOW_S - 10 * DAY_S
    rows = [(began, began + 60), (1000.0, 1060.0), (NOW_S + 9e8, NOW_S + 9e8), (began + DAY_S, began + DAY_S + 60)]
    assert over_by(rows, NOW_S) == [began + 60, began + DAY_S, began + DAY_S, began + DAY_S + 60]
    assert over_by(rows[:2], NOW_S)[1] == math.inf
