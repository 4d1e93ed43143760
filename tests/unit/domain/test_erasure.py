"""When a date is believed, and what stands in the log in place of what was erased: portal.domain.erasure."""

from __future__ import annotations

import datetime as dt
import itertools

from hypothesis import given
from hypothesis import strategies as st

from portal.domain.erasure import STEADY_DAYS, Seen, graves, see
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
