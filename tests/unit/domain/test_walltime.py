"""When entries of the log happened: before NTP had set the clock, after, and where it never did."""

from __future__ import annotations

from typing import Any

from portal.domain.journal import GENESIS, Entry, Kind
from portal.domain.walltime import Clocks, Corrected, moment_of


def entry(kind: Kind, boot_id: str, boot_ms: int, wall_ms: int, **body: Any) -> Entry:
    return Entry(1, kind, boot_id, boot_ms, wall_ms, trusted=False, body=body, hash=GENESIS)


def test_what_was_before_ntp_had_set_the_clock_is_corrected_by_what_it_set() -> None:
    clocks = Clocks(
        [
            entry(Kind.BOOT, "a", 10, 1_000),
            entry(Kind.CLOCK, "a", 500, 9_500, offset_ms=9_000),
            entry(Kind.CLOCK, "a", 800, 9_850, offset_ms=9_050),
        ]
    )
    assert clocks.corrected("a", 20) == Corrected(9_020, certain=True)
    assert clocks.corrected("a", 799) == Corrected(9_799, certain=True)
    assert clocks.corrected("a", 800) == Corrected(9_850, certain=True)
    assert clocks.corrected("a", 5_000) == Corrected(14_050, certain=True)


def test_a_boot_in_which_ntp_never_came_keeps_the_raw_time_of_its_start_and_is_uncertain() -> None:
    clocks = Clocks([entry(Kind.BOOT, "a", 10, 1_000), entry(Kind.START, "a", 20, 5_020)])
    assert clocks.corrected("a", 100) == Corrected(5_100, certain=False)
    assert Clocks([entry(Kind.BOOT, "a", 10, 1_010)]).corrected("a", 100) == Corrected(1_100, certain=False)


def test_each_boot_has_its_own_clock_and_an_unknown_one_has_none() -> None:
    clocks = Clocks([entry(Kind.CLOCK, "a", 0, 7, offset_ms=7), entry(Kind.BEGIN, "b", 0, 9)])
    assert clocks.corrected("a", 1) == Corrected(8, certain=True)
    assert clocks.corrected("b", 1) is None


def test_an_entry_tells_of_the_moment_that_its_body_names() -> None:
    assert moment_of(entry(Kind.SAMPLE, "b", 40, 0)) == ("b", 40)
    assert moment_of(entry(Kind.INTERIM, "b", 40, 0, at_ms=30)) == ("b", 30)
    assert moment_of(entry(Kind.END, "b", 40, 0, at_ms=30, boot="a")) == ("a", 30)
