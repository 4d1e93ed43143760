"""Codes as people type them: what portal.domain.codes takes, and that no slip of the finger passes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.domain import codes

data_parts = st.text(codes.ALPHABET, min_size=codes.LENGTH - 1, max_size=codes.LENGTH - 1)


@st.composite
def valid_codes(draw: st.DrawFn) -> str:
    """Any code, not only such as new_code's random happens to give: exactly one last character fits."""
    data = draw(data_parts)
    (code,) = [data + last for last in codes.ALPHABET if codes.parse(data + last)]
    return code


def test_no_letter_or_digit_that_looks_like_another() -> None:
    assert not set(codes.ALPHABET) & set("0O1I")
    assert len(set(codes.ALPHABET)) == len(codes.ALPHABET) == 32


@given(st.integers(0, 50))
def test_new_codes_are_codes_and_differ(_: int) -> None:
    found = [codes.new_code() for _ in range(20)]
    assert all(codes.parse(code) == code and len(code) == codes.LENGTH for code in found)
    assert len(set(found)) == len(found)


@given(valid_codes())
def test_every_wrong_character_is_noticed(code: str) -> None:
    for place, other in itertools.product(range(codes.LENGTH), codes.ALPHABET):
        if other != code[place]:
            assert codes.parse(code[:place] + other + code[place + 1 :]) is None


@given(valid_codes())
def test_every_exchange_of_neighbours_is_noticed(code: str) -> None:
    for place in range(codes.LENGTH - 1):
        left, right = code[place : place + 2]
        exchanged = code[:place] + right + left + code[place + 2 :]
        assert (codes.parse(exchanged) is None) == (left != right)


@given(valid_codes(), st.integers(1, codes.LENGTH - 1))
def test_a_character_too_few_or_too_many_is_noticed(code: str, place: int) -> None:
    assert codes.parse(code[:place] + code[place + 1 :]) is None
    assert codes.parse(code[:place] + code[place] + code[place:]) is None


@given(valid_codes(), st.data())
def test_it_is_read_however_it_is_typed(code: str, data: st.DataObject) -> None:
    typed = codes.shown(code)
    assert len(typed) == codes.LENGTH + 1
    spaces = st.sampled_from(["", " ", "-", " - ", ".", "\u00a0", "\u2013", "\n"])
    typed = "".join(data.draw(spaces) + data.draw(st.sampled_from([c, c.lower()])) for c in typed) + data.draw(spaces)
    assert codes.parse(typed) == code


@given(st.text(max_size=40))
def test_any_text_is_a_code_or_none(text: str) -> None:
    found = codes.parse(text)
    assert found is None or (codes.parse(found) == found and set(found) <= set(codes.ALPHABET))


@pytest.mark.parametrize("text", ["", "-", "ABCD-EFG", "ABCD-EFG0", "0000-0000", "AAAAAAAB", "🙂🙂🙂🙂🙂🙂🙂🙂"])
def test_what_is_no_code(text: str) -> None:
    assert codes.parse(text) is None
