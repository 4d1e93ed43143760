"""The report's value: rounded once, sums that add up, nothing of a hidden day in it, words for everything."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.config import Uplink
from portal.domain import localtime
from portal.domain.model import EndReason
from portal.domain.rollup import OS_FAMILIES, REASON_LOST, DayFigures, Line, PeriodFigures, Provider, SessionRecord
from portal.domain.suppression import Hidden
from portal.reports.report import Cell, Report, availability, decimal, whole
from portal.reports.tables import FAMILY_WORDS, LINK_WORDS, make
from portal.technician.words import like
from tests.unit.reports import sources


def value(report: Report, figure: str, part: str = "Penggunaan") -> Cell:
    (found,) = [row[2] for row in report.summary.rows() if row[:2] == (part, figure)]
    return found


def column(report: Report, heading: str) -> list[Cell]:
    (number,) = [number for number, one in enumerate(report.days.columns) if one.heading == heading]
    return [row[number] for row in report.days.rows()]


def test_the_summary_is_the_sum_of_the_days_that_are_shown() -> None:
    report = make(sources.source((60, 12, 3, 0, 41)))
    for figure in ("Sesi", "Unggah", "Unduh"):
        cells = column(report, figure)
        assert Hidden.WITHHELD in cells
        assert value(report, figure) == sum(cell for cell in cells if isinstance(cell, int))
    for figure in ("Jalur baik", "Jalur putus", "Gateway mati"):
        cells = column(report, figure)
        assert value(report, figure, "Jalur internet: @Telkom, satelit") == sum(map(int, cells))  # type: ignore[arg-type]
    assert value(report, "Perangkat, hari teramai") == 60
    assert value(report, "Perangkat, rata-rata per hari") == Decimal("37.7")


def test_every_day_is_as_long_as_it_is() -> None:
    report = make(sources.source((60, 12, 3, 0, 41), seed=5))
    first = [one.heading for one in report.days.columns].index("Jalur baik")
    for row in report.days.rows():
        assert sum(row[first : first + len(Line)]) == 86_400  # type: ignore[arg-type]


def test_days_without_a_log_are_outside_of_it() -> None:
    report = make(sources.source((60, 12)))
    assert value(report, "Di luar catatan", "Jalur internet: @Telkom, satelit") == 29 * 86_400


def test_nothing_of_a_hidden_day_is_in_a_report() -> None:
    """Another use of it gives the same report."""
    source = sources.source((60, 12, 3, 0, 41))
    hidden, rng = source.days[2], random.Random(7)
    other = sources.day(2, 2, rng)
    changed = replace(
        other, funnel=hidden.funnel, seconds=hidden.seconds, quality=hidden.quality, certain=hidden.certain
    )

    def sessions_of(day: dt.date) -> list[SessionRecord]:
        found = list(source.sessions_of(day))
        return [replace(found[0], device="0000000000000abc", down_bytes=5)] if day == hidden.day else found

    days: list[DayFigures] = [changed if one is hidden else one for one in source.days]
    one, two = make(source), make(replace(source, days=days, sessions_of=sessions_of))
    for name, table in one.tables.items():
        assert list(table.rows()) == list(two.tables[name].rows()), name


def test_a_median_into_which_a_hidden_day_has_run_is_not_told_and_left_out_of_the_periods() -> None:
    source = sources.source((60, 12, 3, 41))
    hidden, after = source.days[2].day, source.days[3]
    asked: list[frozenset[dt.date]] = []

    def period(without: frozenset[dt.date]) -> PeriodFigures:
        asked.append(without)
        return source.period(without)

    days = [*source.days[:3], replace(after, ended_since=hidden)]
    report = make(replace(source, days=days, period=period))
    medians = column(report, "Lama sesi (median)")
    assert medians[2:] == [Hidden.WITHHELD] * 2 and Hidden.WITHHELD not in medians[:2]
    assert asked == [{hidden, after.day}]
    assert value(report, "Sesi") == 3 * (60 + 12 + 41), "how many there were is told all the same"
    told = {row[0]: row[1] for row in report.about.rows()}
    left_out = ("Hari di luar median dan persentil ke-95", "Hari di luar jumlah sesi", "Hari yang disamarkan")
    assert [told[name] for name in left_out] == [2, 1, 1]
    assert any("2 hari tidak ikut dalam lama sesi (median)" in note for note in report.notes)


def test_where_every_median_is_hidden_that_of_the_period_is_not_nothing() -> None:
    source = sources.source((60, 12))
    report = make(replace(source, days=[replace(one, ended=4) for one in source.days]))
    assert value(report, "Lama sesi (median)") is value(report, "Bersamaan, persentil ke-95") is Hidden.WITHHELD
    assert value(report, "Sesi") == 3 * 72


def test_how_far_the_log_goes_is_told_by_a_hash_alone() -> None:
    """Two reports with the numbers of entries would tell how many of these are of a hidden day between them."""
    told = {row[0]: row[1] for row in make(sources.source()).about.rows()}
    assert told["Catatan: sidik terakhir"] == bytes(range(32)).hex()
    assert [name for name in told if str(name).startswith("Catatan:")] == ["Catatan: sidik terakhir"]


def test_a_day_of_sessions_is_told_whole_or_is_one_row_that_says_so() -> None:
    """In these sources one session of each day still runs, and with it all days after it."""
    told = list(make(sources.source((60, 12, 0, 41))).sessions.rows())
    assert [row[1] for row in told[:2]] == ["20261001-001", "20261001-002"] and len(told) == 60 + 12 + 41
    assert told[1][6:8] == (None, None) and told[0][7] == 600
    hidden = list(make(sources.source((60, 12, 3, 0, 41))).sessions.rows())
    withheld = (Hidden.WITHHELD,) * 12
    assert hidden == [(dt.date(2026, 10, number), *withheld) for number in (1, 2, 3, 5)]


def test_a_day_that_goes_on_is_not_told() -> None:
    """Nor are sessions that run into it while it has but few devices, since it may end so."""
    source = sources.source((60, 12, 41))
    noon_s = localtime.day_start(dt.date(2026, 10, 3), sources.WITA) + 43_200
    report = make(replace(source, made_wall_s=noon_s))
    assert [row[0] for row in report.days.rows()] == [dt.date(2026, 10, 1), dt.date(2026, 10, 2)]
    assert {row[0] for row in report.sessions.rows()} == {dt.date(2026, 10, 1), dt.date(2026, 10, 2)}
    assert any("sampai 2 Oktober 2026" in note for note in report.notes)
    few = make(replace(source, made_wall_s=noon_s, days=[*source.days[:2], replace(source.days[2], devices=3)]))
    assert [row[1] for row in few.sessions.rows()] == [Hidden.WITHHELD] * 2


def test_one_provider_is_told_once_and_several_each() -> None:
    source = sources.source((60,))
    period = source.period(frozenset())
    (figures,) = period.lines.values()
    two = replace(period, lines={Provider("Telkom", "fibre"): figures, Provider("", "other"): figures})
    parts = {row[0] for row in make(replace(source, period=lambda _: two)).summary.rows() if "Jalur" in str(row[0])}
    assert parts == {
        "Jalur internet, semua",
        "Jalur internet: Telkom, serat optik",
        "Jalur internet: jalur lain",
    }


@pytest.mark.parametrize(
    ("first", "last", "said", "stem"),
    [
        (dt.date(2026, 10, 1), dt.date(2026, 10, 31), "Oktober 2026", "gerbang-64.03.01.2001-2026-10"),
        (dt.date(2028, 2, 1), dt.date(2028, 2, 29), "Februari 2028", "gerbang-64.03.01.2001-2028-02"),
        (dt.date(2026, 1, 1), dt.date(2026, 12, 31), "Tahun 2026", "gerbang-64.03.01.2001-2026"),
        (
            dt.date(2026, 10, 1),
            dt.date(2026, 10, 30),
            "1 Oktober 2026 s.d. 30 Oktober 2026",
            "gerbang-64.03.01.2001-2026-10-01--2026-10-30",
        ),
    ],
)
def test_periods_in_words(first: dt.date, last: dt.date, said: str, stem: str) -> None:
    report = make(replace(sources.source(()), first=first, last=last, made_wall_s=2e9))
    assert (report.period, report.stem) == (said, stem)


@given(st.dictionaries(st.sampled_from(list(Line)), st.floats(0, 90_000), max_size=7))
def test_whole_seconds_add_up(seconds: dict[Line, float]) -> None:
    found = whole(seconds)
    assert sum(found.values()) == round(sum(seconds.values()))
    assert all(abs(found[line] - seconds[line]) <= 1 for line in seconds)


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_availability_is_never_more_than_it_was(up: int, degraded: int, down: int, off: int) -> None:
    found = availability({Line.UP: up, Line.DEGRADED: degraded, Line.DOWN: down, Line.OFF: off, Line.LOST: 99})
    if not up + degraded + down + off:
        assert found is None
        return
    exact = Fraction(100 * (up + degraded), up + degraded + down + off)
    assert found is not None and exact - Fraction(1, 10) < Fraction(found) <= exact
    assert (found == 100) == (down + off == 0)


@given(st.one_of(st.none(), st.floats(0, 10**9)), st.integers(0, 3))
def test_decimals_have_the_places_that_they_are_shown_with(number: float | None, places: int) -> None:
    found = decimal(number, places)
    if number is None:
        assert found is None
        return
    assert found is not None and found.as_tuple().exponent == -places
    assert abs(Fraction(found) - Fraction(number)) <= Fraction(1, 2 * 10**places)


def test_there_are_words_for_everything() -> None:
    assert set(OS_FAMILIES) < set(FAMILY_WORDS)
    assert set(get_args(_literal(Uplink, "link"))) == set(LINK_WORDS)
    words = like("id")
    for name in (*(f"reason.{one}" for one in (*EndReason, REASON_LOST)), *(f"method.{one}" for one in METHODS)):
        assert words.text(name) != name


METHODS = ("terms", "voucher", "account", "rule")


def _literal(struct: type[msgspec.Struct], field: str) -> object:
    return get_args(get_type_hints(struct, include_extras=True)[field])[0]
