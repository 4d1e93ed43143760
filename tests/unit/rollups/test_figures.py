"""What the figures say of a village whose every login, byte and power cut is known."""

from __future__ import annotations

import datetime as dt
import statistics
from collections import Counter
from collections.abc import Iterator

import pytest

from bench.village_year import Stay, Year
from portal.domain import tally
from portal.domain.rollup import DayFigures, HourFigures, Line, PeriodFigures, SessionFilter, SessionRecord
from portal.store import rollups
from portal.store.db import Database
from tests.unit.rollups.conftest import ZONE

ONE_DAY = dt.timedelta(days=1)
CLOSE_S = 2.0
"""The log notes a clock that went wrong once it is wrong by more than this."""


class Told:
    """What the figures say."""

    def __init__(self, year: Year) -> None:
        database = Database(year.path)
        with database.write() as db:
            rollups.catch_up(db, ZONE)
        with database.read() as db:
            self.days: dict[dt.date, DayFigures] = {
                one.day: one for one in rollups.days(db, ZONE, year.first, year.last)
            }
            self.hours: list[HourFigures] = rollups.hours(db, ZONE, year.first, year.last)
            self.period: PeriodFigures = rollups.period(db, ZONE, year.first, year.last)
            chosen = SessionFilter(first=year.first, last=year.last)
            self.count: int = rollups.session_count(db, ZONE, chosen)
            self.sessions: list[SessionRecord] = rollups.sessions(db, ZONE, chosen, limit=100_000)[::-1]
        database.close()


@pytest.fixture(scope="module")
def told(village: Year) -> Told:
    return Told(village)


def days_of(year: Year) -> Iterator[tuple[dt.date, float, float]]:
    day = year.first
    while day <= year.last:
        began, ended = tally.day_ms(day, ZONE)
        yield day, began / 1000, ended / 1000
        day += ONE_DAY


def end_of(stay: Stay, year: Year) -> float:
    return tally.day_ms(year.last, ZONE)[1] / 1000 if stay.ended is None else stay.ended


def test_each_session_is_recorded_as_it_was(village: Year, told: Told) -> None:
    stays = sorted(village.stays, key=lambda stay: stay.began)
    assert told.count == len(told.sessions) == len(stays)
    in_order = sorted(told.sessions, key=lambda one: (one.began_wall_s, one.id))
    assert Counter(one.reason for one in in_order) == Counter(stay.reason for stay in stays)
    assert sum(one.continues is not None for one in in_order) == sum(stay.continues for stay in stays) > 0
    assert sorted((one.up_bytes, one.down_bytes) for one in in_order) == sorted(
        (stay.up_bytes, stay.down_bytes) for stay in stays
    )
    for one, stay in zip(in_order, stays, strict=True):
        assert one.began_wall_s == pytest.approx(stay.began, abs=2 * CLOSE_S)


def test_days_have_the_sessions_and_devices_that_were_there(village: Year, told: Told) -> None:
    for day, began, ended in days_of(village):
        there = [stay for stay in village.stays if stay.began < ended and end_of(stay, village) > began]
        figures = told.days[day]
        begun = sum(began <= stay.began < ended for stay in village.stays)
        assert figures.sessions == pytest.approx(begun, abs=1), "one may have begun at midnight itself"
        if day.day > 1:  # on a month's first, who was online at midnight has two names
            assert figures.devices == pytest.approx(len({stay.device for stay in there}), abs=1)


def test_no_byte_is_lost_or_counted_twice(village: Year, told: Told) -> None:
    moved = (sum(stay.up_bytes for stay in village.stays), sum(stay.down_bytes for stay in village.stays))
    assert (told.period.up_bytes, told.period.down_bytes) == moved
    assert sum(one.up_bytes for one in told.days.values()) == moved[0]
    assert sum(one.down_bytes for one in told.hours) == moved[1]


def test_the_line_was_off_and_the_rest_adds_up(village: Year, told: Told) -> None:
    assert village.off
    assert told.period.seconds[Line.OFF] == pytest.approx(
        sum(until - since for since, until in village.off), abs=CLOSE_S * 2 * len(village.off)
    )
    for day, began, ended in days_of(village):
        assert sum(told.days[day].seconds.values()) == ended - began
    for hour in told.hours:
        assert sum(hour.seconds.values()) == pytest.approx(3600)


def test_at_most_and_mostly_so_many_were_online(village: Year, told: Told) -> None:
    for day, began, ended in days_of(village):
        there = [(stay.began, end_of(stay, village)) for stay in village.stays]
        near = [(first, last) for first, last in there if first < ended and last > began]
        known = ended - began - told.days[day].seconds[Line.BEFORE]
        online = [sum(first <= at < last for first, last in near) for at in range(int(began), int(ended), 20)]
        assert told.days[day].peak_online >= max(online)
        assert told.days[day].peak_online <= max(online) + 2
        nobody = len(online) - round(known / 20)  # before the first entry
        expected = sorted(online)[nobody + int((len(online) - nobody) * 0.95)]
        assert told.days[day].p95_online == pytest.approx(expected, abs=1)


def test_the_median_length_is_that_of_the_sessions_that_ended(village: Year, told: Told) -> None:
    lengths = [stay.ended - stay.began for stay in village.stays if stay.ended is not None]
    assert told.period.median_session_s == pytest.approx(statistics.median(lengths), abs=CLOSE_S)
    for day, began, ended in days_of(village):
        here = [s.ended - s.began for s in village.stays if s.ended is not None and began <= s.ended < ended]
        assert told.days[day].median_session_s == pytest.approx(statistics.median(here), abs=60)


def test_samples_of_the_line_are_told_by_day_and_provider(told: Told) -> None:
    quality = told.period.quality
    assert quality.latency_p50_ms is not None
    assert quality.latency_p95_ms is not None
    assert 30 < quality.latency_p50_ms < 40 < quality.latency_p95_ms
    ((provider, (seconds, of_it)),) = told.period.lines.items()
    assert (provider.name, provider.link) == ("Telkom", "fibre")
    assert (seconds, of_it) == (told.period.seconds, quality)
