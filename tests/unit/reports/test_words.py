"""The reports' catalogues: the same ids in both languages, a definition for every figure."""

from __future__ import annotations

import re

import pytest

from portal import logbook
from portal.domain import uplink
from portal.domain.rollup import Line
from portal.reports import words
from portal.reports.definitions import LINES, Figure, definitions


def ids(code: str) -> set[str]:
    catalogue = words.languages()[code].messages._catalog  # type: ignore[attr-defined]
    return {key if isinstance(key, str) else key[0] for key in catalogue} - {""}


def test_both_languages_say_the_same_things() -> None:
    assert ids("id") == ids("en")


@pytest.mark.parametrize("code", ["id", "en"])
def test_every_figure_is_defined(code: str) -> None:
    found = definitions(words.like(code))
    assert [one.figure for one in found] == list(Figure)
    for one in found:
        for text in (one.concept, one.definition, one.classification, one.measure, one.unit):
            assert text and not re.match(r"(figure|class|measure|unit)\.", text), one
    assert len({one.concept for one in found}) == len(found)


@pytest.mark.parametrize("code", ["id", "en"])
def test_what_is_called_bad_down_and_off_is_told_in_the_numbers_that_decide(code: str) -> None:
    """A provider that is told of its line's hours must be able to hold them against its own."""
    language = words.like(code)
    said = {one.figure: one.definition for one in definitions(language)}
    percents = {language.percent(share).replace("%", " %") for share in (uplink.BAD_LOSS, uplink.FAIR_LOSS)}
    seconds = {language.number(ms / 1000) for ms in (uplink.BAD_LATENCY_MS, uplink.FAIR_LATENCY_MS)}
    minute = language.number(uplink.QUALITY_OVER_S)
    for number in (*percents, *seconds, minute):
        assert f" {number}" in said[Figure.LINE_DEGRADED], number
    assert f" {language.number(uplink.CHECK_EVERY_S)} " in said[Figure.LINE_DOWN]
    assert f" {language.number(logbook.HEARTBEAT_S)} " in said[Figure.LINE_OFF]


def test_every_state_of_the_line_is_a_figure() -> None:
    assert set(LINES) == set(Line)
