"""Days, times and MACs as people write them. Pure."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.domain import asking
from portal.domain.asking import AdministrationError

WITA = ZoneInfo("Asia/Makassar")
NOON = dt.datetime(2026, 12, 30, 12, 0, tzinfo=WITA).timestamp()


def at(*parts: int) -> float:
    return dt.datetime(*parts, tzinfo=WITA).timestamp()  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        ("2026-12-31", False, at(2026, 12, 31)),
        ("2026-12-31", True, at(2027, 1, 1)),
        ("2028-02-29", True, at(2028, 3, 1)),
        ("2026-12-31T16:00", False, at(2026, 12, 31, 16)),
        (" 2026-12-31 16.30 ", True, at(2026, 12, 31, 16, 30)),
        ("16:00", False, at(2026, 12, 30, 16)),
        ("7.15", False, at(2026, 12, 31, 7, 15)),
        ("12:00", False, at(2026, 12, 31, 12)),
    ],
)
def test_moments(text: str, end: bool, expected: float) -> None:
    assert asking.moment(text, WITA, NOON, clock_ok=True, end=end) == expected


@pytest.mark.parametrize(
    "text", ["", "besok", "2026-02-29", "2026-12-31T24:01", "25:00", "12", "9999-12-31", "31-12-2026", "2026-12-31T7"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(AdministrationError) as raised:
        asking.moment(text, WITA, NOON, clock_ok=True, end=True)
    assert raised.value.code == "moment-wrong"


def test_the_time_alone_means_nothing_to_a_clock_that_is_not_set() -> None:
    with pytest.raises(AdministrationError) as raised:
        asking.moment("16:00", WITA, 60.0, clock_ok=False)
    assert raised.value.code == "clock-unset"
    assert asking.moment("2026-12-31T16:00", WITA, 60.0, clock_ok=False) == at(2026, 12, 31, 16)


@given(
    st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2060, 1, 1)),
    st.sampled_from(["Asia/Makassar", "Asia/Jakarta", "Europe/Berlin", "America/St_Johns"]),
    st.integers(0, 1439),
)
def test_a_time_alone_is_the_next_one_within_a_day_or_so(now: dt.datetime, zone_name: str, minute: int) -> None:
    zone = ZoneInfo(zone_name)
    now_s = now.replace(tzinfo=zone).timestamp()
    found = asking.moment(f"{minute // 60:02}:{minute % 60:02}", zone, now_s, clock_ok=True)
    assert now_s < found <= now_s + 26 * 3600
    shown = dt.datetime.fromtimestamp(found, zone)
    assert abs(shown.hour * 60 + shown.minute - minute) in (*range(61), *range(1380, 1440))  # a gap moves it by an hour


@given(st.binary(min_size=6, max_size=6), st.sampled_from([":", "-", ".", ""]), st.booleans())
def test_macs_in_any_spelling(octets: bytes, separator: str, upper: bool) -> None:
    text = octets.hex(separator) if separator else octets.hex()
    text = text.upper() if upper else text
    if octets[0] & 1 or not any(octets):
        with pytest.raises(AdministrationError):
            asking.mac(text)
    else:
        assert asking.mac(text) == octets.hex(":")


def test_a_cisco_spelling_is_a_mac() -> None:
    assert asking.mac("5ce9.1e00.0001") == "5c:e9:1e:00:00:01"
