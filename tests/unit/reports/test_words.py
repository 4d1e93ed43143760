"""The reports' catalogues: the same ids in both languages, a definition for every figure."""

from __future__ import annotations

import re

import pytest

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


def test_every_state_of_the_line_is_a_figure() -> None:
    assert set(LINES) == set(Line)
