"""From sightings to spans, into a chunk and out of it, and who had an address when."""

from __future__ import annotations

import dataclasses
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netctl.api.types import Connection
from portal.domain import natlog
from portal.domain.natlog import REACH_MS, Answer, Head, Opened, Question, Span, Times

PORT = st.integers(0, 65535)
MINUTE_MS = 60_000
BASE = Head(1, "boot", 0, 600_000, 0, True, "stream", 1, 1, 0, 0, "office")


def span(first_ms: int, last_ms: int, *, begun: bool = True, ended: bool = True, **changes: object) -> Span:
    made = Span(41, 6, "10.77.1.5", 40_000, "198.18.0.2", 40_000, "203.0.113.9", 443, first_ms, last_ms, begun, ended)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def seen(flow: str, at_ms: int, **changes: object) -> Connection:
    values: dict[str, object] = {
        "flow": flow, "at_boot_ms": at_ms, "grant": 41, "protocol": 6, "inner": "10.77.1.5", "inner_port": 40_000,
        "outer": "198.18.0.2", "outer_port": 40_000, "remote": "203.0.113.9", "remote_port": 443,
    }  # fmt: skip
    return Connection(**(values | changes))  # type: ignore[arg-type]


def chunk(from_ms: int, until_ms: int, *spans: Span, number: int = 1, certain: bool = True) -> Opened:
    head = dataclasses.replace(BASE, number=number, from_boot_ms=from_ms, until_boot_ms=until_ms)
    return Opened(head, Times(0, certain), spans, {41: "a" * 16, 42: "b" * 16})


def asked(at_ms: int, window_ms: int = 1000, **changes: object) -> Question:
    return Question("198.18.0.2", at_ms - window_ms, at_ms + window_ms, **changes)  # type: ignore[arg-type]


# --- sightings --------------------------------------------------------------------------------------------------------


def test_a_beginning_and_an_end_are_one_span() -> None:
    assert natlog.spans([seen("begin", 5), seen("end", 9)]) == [span(5, 9)]


def test_what_is_seen_open_alone_has_neither_beginning_nor_end() -> None:
    assert natlog.spans([seen("open", 5)]) == [span(5, 5, begun=False, ended=False)]
    assert natlog.spans([seen("open", 5), seen("open", 8)]) == [span(5, 8, begun=False, ended=False)]


def test_a_port_used_again_is_another_span() -> None:
    again = [seen("begin", 1), seen("end", 2), seen("begin", 3)]
    assert natlog.spans(again) == [span(1, 2), span(3, 3, ended=False)]


def test_a_beginning_after_one_whose_end_was_lost_is_another_span() -> None:
    lost = [seen("begin", 1), seen("begin", 90_000, grant=42), seen("end", 90_001, grant=42)]
    assert natlog.spans(lost) == [span(1, 1, ended=False), span(90_000, 90_001, session=42)]


def test_a_beginning_right_after_it_was_listed_as_open_is_the_same_span() -> None:
    assert natlog.spans([seen("open", 10), seen("begin", 12)]) == [span(10, 12, ended=False)]


SPANS = st.builds(
    Span,
    st.integers(1, 1 << 32),
    st.integers(0, 255),
    st.ip_addresses().map(str),
    PORT,
    st.ip_addresses().map(str),
    PORT,
    st.ip_addresses().map(str),
    PORT,
    st.integers(0, 1 << 45),
    st.integers(0, 1 << 45),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(SPANS, max_size=30), st.dictionaries(st.integers(1, 1 << 32), st.text("0123456789abcdef")))
def test_what_is_packed_is_unpacked(several: list[Span], devices: dict[int, str]) -> None:
    found, names = natlog.unpack(natlog.pack(several, devices))
    assert found == sorted(several, key=lambda one: one.first_ms)
    assert names == devices


@given(st.binary(max_size=200))
def test_what_is_no_chunk_is_refused(content: bytes) -> None:
    for text in (content, zlib.compress(content)):
        with pytest.raises(ValueError):
            natlog.unpack(text)


def test_a_chunk_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than any chunk"):
        natlog.unpack(zlib.compress(bytes(natlog.MAX_CONTENT_BYTES + 1)))


# --- looking up -------------------------------------------------------------------------------------------------------


def found(question: Question, *chunks: Opened) -> list[Answer]:
    return natlog.answers(question, chunks)


def test_a_connection_is_found_at_each_of_its_moments_and_at_no_other() -> None:
    life = chunk(0, 600_000, span(100_000, 200_000))
    for at_ms, there in ((98_000, False), (99_500, True), (150_000, True), (200_500, True), (202_000, False)):
        assert bool(found(asked(at_ms), life)) is there


def test_a_connection_over_several_chunks_is_one_answer() -> None:
    chunks = [
        chunk(0, 10, span(5, 5, ended=False)),
        chunk(10, 20, number=2),
        chunk(20, 30, span(21, 25, begun=False), number=3),
    ]
    (one,) = found(asked(15, 1), *chunks)
    assert (one.first_wall_ms, one.last_wall_ms, one.begun, one.ended, one.seen) == (5, 25, True, True, True)


def test_a_port_that_changed_hands_is_each_holders_own_time() -> None:
    ours, theirs = span(1000, 2000), span(5000, 6000, session=42, inner="10.77.1.6")
    both = chunk(0, 600_000, ours, theirs)
    assert [one.span.session for one in found(asked(1500, 100), both)] == [41]
    assert [one.span.session for one in found(asked(5500, 100), both)] == [42]
    assert [one.device for one in found(asked(3500, 2500), both)] == ["a" * 16, "b" * 16]


def test_one_whose_end_nobody_saw_may_have_been_there_for_an_hour() -> None:
    cut = chunk(0, 600_000, span(1000, 1000, ended=False))
    assert [one.seen for one in found(asked(1500), cut)] == [True]
    assert [one.seen for one in found(asked(REACH_MS), cut)] == [False]
    assert found(asked(REACH_MS + 10 * MINUTE_MS), cut) == []


def test_one_whose_beginning_nobody_saw_may_have_been_there_before() -> None:
    late = chunk(0, 600_000, span(REACH_MS, REACH_MS, begun=False, ended=True))
    assert [one.seen for one in found(asked(10_000), late)] == [False]
    assert [one.seen for one in found(asked(REACH_MS), late)] == [True]


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"outer_port": 40_000, "protocol": 6, "remote": "203.0.113.9", "remote_port": 443}, True),
        ({"outer_port": 40_001}, False),
        ({"protocol": 17}, False),
        ({"remote": "203.0.113.8"}, False),
        ({"remote_port": 80}, False),
    ],
)
def test_only_what_was_asked_for_is_found(changes: dict[str, object], fits: bool) -> None:
    assert bool(found(asked(1500, **changes), chunk(0, 600_000, span(1000, 2000)))) is fits


def test_an_uncertain_clock_is_said() -> None:
    (one,) = found(asked(1500), chunk(0, 600_000, span(1000, 2000), certain=False))
    assert not one.certain


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60)), max_size=8), st.integers(0, 400))
def test_the_log_is_silent_of_exactly_what_no_chunk_covers(parts: list[tuple[int, int]], at: int) -> None:
    chunks = [chunk(first, first + length) for first, length in parts]
    question = asked(at, 20)
    gaps = natlog.uncovered(question, [(one.head, one.times) for one in chunks])
    for moment in range(question.from_wall_ms, question.until_wall_ms):  # each as a millisecond long
        covered = any(first <= moment and moment + 1 <= first + length for first, length in parts)
        silent = any(low <= moment and moment + 1 <= high for low, high in gaps)
        assert covered is not silent


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 400)), max_size=20),
    st.integers(0, 400),
)
def test_who_is_found_in_the_chunks_to_open_is_who_is_found_in_all(
    lives: list[tuple[int, int]], at_minutes: int
) -> None:
    """Connections of so many minutes, each on a port of its own, listed hourly as netctl does; chunks of 10 minutes."""
    sightings = []
    for port, (length, begin) in enumerate(lives, 1):
        first, last = begin * MINUTE_MS, (begin + length) * MINUTE_MS
        hours = range(first - first % 3_600_000 + 3_600_000, last, 3_600_000)
        sightings += [seen("begin", first, outer_port=port), seen("end", last + 1, outer_port=port)]
        sightings += [seen("open", hour, outer_port=port) for hour in hours]
    sightings.sort(key=lambda one: one.at_boot_ms)
    size = 10 * MINUTE_MS
    chunks = [
        chunk(
            at, at + size, *natlog.spans(s for s in sightings if at <= s.at_boot_ms < at + size), number=1 + at // size
        )
        for at in range(0, 500 * MINUTE_MS, size)
    ]
    question = asked(at_minutes * MINUTE_MS + 500, 400)
    numbers = natlog.needed(question, [(one.head, one.times) for one in chunks])
    few = natlog.answers(question, [one for one in chunks if one.head.number in numbers])
    expected = {
        port
        for port, (length, begin) in enumerate(lives, 1)
        if begin * MINUTE_MS <= question.until_wall_ms and (begin + length) * MINUTE_MS + 1 >= question.from_wall_ms
    }
    assert {one.span.outer_port for one in few if one.seen} == expected
