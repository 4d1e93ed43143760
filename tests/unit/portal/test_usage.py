"""No byte twice, none lost: properties of portal.domain.usage."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from netctl.api.types import Counter, Usage
from portal.domain import usage
from portal.domain.usage import NOTHING, CounterKey, Delta, Reading

KEY = CounterKey("boot", 1, "10.0.0.1")


@st.composite
def polls_of_a_growing_counter(draw: st.DrawFn) -> list[Reading]:
    """Polls by any number of processes: each asked at one moment and answered at another, read in between."""
    growth = draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=30))
    shown = [sum(growth[: n + 1]) for n in range(len(growth))]  # at moment n
    polls = []
    for _ in range(draw(st.integers(1, 15))):
        sent, read, received = sorted(draw(st.tuples(*[st.integers(0, len(shown) - 1)] * 3)))
        value = shown[read]
        # Between two moments anything may happen: read lies strictly after sent and before received.
        polls.append(Reading(value, value // 3, value // 100, value // 300, sent - 0.25, received + 0.25))
    return polls


def account(polls: list[Reading]) -> tuple[Delta, Reading | None]:
    """What portal.store.counters does with rows, on plain values."""
    total, last = NOTHING, None
    for poll in polls:
        if usage.is_younger(poll, last):
            new = usage.delta(last, poll)
            total, last = usage.total([total, new]), poll
    return total, last


@given(polls_of_a_growing_counter(), st.data())
def test_in_any_order_and_repeated_no_byte_counts_twice(polls: list[Reading], data: st.DataObject) -> None:
    order = data.draw(st.lists(st.sampled_from(polls), min_size=1, max_size=40))
    total, last = account(order)
    assert last is not None
    assert total == Delta(last.up_bytes, last.down_bytes)
    assert total.up_bytes <= max(poll.up_bytes for poll in order)


@given(polls_of_a_growing_counter(), st.data())
def test_after_the_next_poll_none_is_lost(polls: list[Reading], data: st.DataObject) -> None:
    order = data.draw(st.permutations(polls))
    end = max(poll.received_boot_s for poll in polls)
    final = replace(max(polls, key=lambda poll: poll.up_bytes), sent_boot_s=end + 1, received_boot_s=end + 2)
    total, _ = account([*order, final])
    assert total == Delta(final.up_bytes, final.down_bytes)


@given(st.data())
def test_each_life_of_a_counter_counts_once(data: st.DataObject) -> None:
    """A counter that shows less has begun again, and counts from 0: the sum of what each life showed last."""
    shown: list[int] = []
    expected, highest_first = 0, 10_000
    for _ in range(data.draw(st.integers(1, 6), "lives")):
        first = data.draw(st.integers(0, highest_first), "first value")
        life = list(itertools.accumulate(data.draw(st.lists(st.integers(0, 10_000)), "growth"), initial=first))
        shown += life
        expected += life[-1]
        if life[-1] == 0:
            break  # nothing is less
        highest_first = life[-1] - 1
    polls = [Reading(value, 2 * value, 1, 1, moment, moment + 0.5) for moment, value in enumerate(shown)]
    assert account(polls)[0] == Delta(expected, 2 * expected)


def test_a_direction_that_begins_again_leaves_the_other_alone() -> None:
    last = Reading(1000, 9000, 10, 90, 0.0, 1.0)
    assert usage.delta(last, Reading(1100, 50, 11, 1, 2.0, 3.0)) == Delta(100, 50)
    assert usage.delta(last, Reading(60, 9500, 1, 95, 2.0, 3.0)) == Delta(60, 500)


def test_a_counter_that_begins_again_leaves_the_others_alone() -> None:
    other = CounterKey("boot", 2, "10.0.0.2")
    last = {KEY: Reading(1000, 1000, 10, 10, 0.0, 1.0), other: Reading(500, 500, 5, 5, 0.0, 1.0)}
    seen = {KEY: Reading(10, 10, 1, 1, 2.0, 3.0), other: Reading(501, 502, 6, 7, 2.0, 3.0)}
    assert usage.deltas(last, seen) == {KEY: Delta(10, 10), other: Delta(1, 2)}


def test_packets_betray_a_counter_that_began_again_and_overtook() -> None:
    last = Reading(1000, 0, 100, 0, 0.0, 1.0)
    assert usage.delta(last, Reading(1500, 0, 1, 0, 2.0, 3.0)) == Delta(1500, 0)


def test_a_counter_that_is_not_in_the_answer_adds_nothing() -> None:
    assert usage.deltas({KEY: Reading(1000, 1000, 10, 10, 0.0, 1.0)}, {}) == {}


def test_readings_keep_addresses_of_one_grant_apart() -> None:
    answer = Usage(
        boot_id="boot",
        counters=tuple(
            Counter(grant=1, ip=ip, up_bytes=up, down_bytes=2, up_packets=1, down_packets=1)
            for ip, up in (("10.0.0.1", 5), ("fd00::1", 7))
        ),
    )
    seen = usage.readings(answer, 3.0, 4.0)
    assert seen[KEY] == Reading(5, 2, 1, 1, 3.0, 4.0)
    assert seen[CounterKey("boot", 1, "fd00::1")].up_bytes == 7
    assert usage.total(usage.deltas({}, seen).values()) == Delta(12, 4)
