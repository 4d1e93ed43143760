"""The catalogue of what figures mean: whole in both languages, each id once, a definition for each state of the line."""

from __future__ import annotations

import re

import pytest

from portal.domain.definitions import BY_ID, DEFINITIONS, Definition
from portal.domain.rollup import Line


def test_every_id_is_there_once_and_fits_a_link() -> None:
    assert len(BY_ID) == len(DEFINITIONS)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", one) for one in BY_ID)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda one: one.id)
def test_both_languages_say_concept_definition_and_unit(definition: Definition) -> None:
    indonesian, english = definition.words("id"), definition.words("en")
    for words in (indonesian, english):
        assert words.concept
        assert words.definition.endswith(".")
    assert bool(indonesian.unit) == bool(english.unit)
    assert indonesian.definition != english.definition


def test_another_language_is_answered_in_bahasa_indonesia() -> None:
    assert BY_ID["devices"].words("kut") == BY_ID["devices"].words("id")


def test_every_state_of_the_line_is_defined() -> None:
    assert {line.value for line in Line} <= set(BY_ID)
