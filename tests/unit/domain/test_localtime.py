"""Local times and moments: properties of portal.domain.localtime, in zones whose clocks jump at odd hours too."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.domain import localtime

ZONES = [
    ZoneInfo(name)
    for name in (
        "Asia/Makassar",  # the programme's; no daylight saving
        "Europe/Berlin",
        "America/New_York",
        "America/Havana",  # jumps from 00:00 to 01:00, and from 01:00 to 00:00
        "Australia/Lord_Howe",  # jumps by half an hour
    )
]
zones = st.sampled_from(ZONES)
local_times = st.datetimes(dt.datetime(2015, 1, 1), dt.datetime(2036, 12, 31)).map(
    lambda found: found.replace(microsecond=0)
)
# Where it is hard: in the weeks in which these zones' clocks jump.
jumping_times = st.builds(
    lambda day, minute: dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=minute),
    st.sampled_from([dt.date(2026, month, day) for month in (3, 4, 10, 11) for day in (1, 5, 8, 25, 29)]),
    st.integers(0, 1439),
)


def clock(wall_s: float, zone: ZoneInfo) -> dt.datetime:
    """What a clock on the wall shows."""
    return dt.datetime.fromtimestamp(wall_s, zone).replace(tzinfo=None, fold=0)


@given(local_times | jumping_times, zones)
def test_a_moment_is_the_first_at_which_the_clock_has_come_so_far(local: dt.datetime, zone: ZoneInfo) -> None:
    first, last = localtime.moment(local, zone), localtime.moment(local, zone, last=True)
    assert clock(first - 1, zone) < local <= clock(first, zone)
    assert first <= last
    assert clock(last, zone) == clock(first, zone)
    if clock(first, zone) == local:
        assert all(clock(last + later, zone) != local for later in range(1800, 7201, 1800))


@pytest.mark.parametrize(
    ("local", "first", "last"),
    [
        ("2026-03-29T01:59", "2026-03-29T00:59Z", "2026-03-29T00:59Z"),
        ("2026-03-29T02:30", "2026-03-29T01:00Z", "2026-03-29T01:00Z"),  # never shown: the jump
        ("2026-10-25T02:30", "2026-10-25T00:30Z", "2026-10-25T01:30Z"),  # shown twice
    ],
)
def test_the_jumps_of_berlin(local: str, first: str, last: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    found = [localtime.moment(dt.datetime.fromisoformat(local), zone, last=last) for last in (False, True)]
    assert found == [dt.datetime.fromisoformat(text).timestamp() for text in (first, last)]


@given(st.dates(dt.date(2015, 1, 1), dt.date(2036, 12, 31)), zones)
def test_a_day_begins_with_its_first_second(day: dt.date, zone: ZoneInfo) -> None:
    begin = localtime.day_start(day, zone)
    assert localtime.local_date(begin, zone) == day
    assert localtime.local_date(begin - 1, zone) == day - dt.timedelta(days=1)


def test_a_day_that_a_zone_left_out_begins_with_the_next() -> None:
    zone = ZoneInfo("Pacific/Apia")  # crossed the date line: no 30 December 2011
    assert localtime.day_start(dt.date(2011, 12, 30), zone) == localtime.day_start(dt.date(2011, 12, 31), zone)
