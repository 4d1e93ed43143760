"""The technician's catalogues: the same ids in both languages, all that is used, nothing that is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import portal
from portal.domain.model import EndReason
from portal.domain.rollup import REASON_LOST
from portal.technician import words

ROOT = Path(portal.__file__).parent
SOURCES = [
    *(ROOT / "technician").glob("*.py"),
    *(ROOT / "staff").glob("technician*.py"),
    *(ROOT / "staff/templates/technician").glob("*.html"),
    ROOT / "report.py",
    ROOT / "language.py",
]
TEXT = "\n".join(path.read_text() for path in SOURCES)


def ids(code: str) -> set[str]:
    catalogue = words.like(code).messages._catalog  # type: ignore[attr-defined]
    return {key if isinstance(key, str) else key[0] for key in catalogue} - {""}


def literal(message_id: str) -> bool:
    """Does the source write this id, whole or by the part that it adds to a prefix?"""
    name = message_id.removeprefix("doctor.").removesuffix(".fix").removeprefix("why.").removeprefix("end.")
    return any(f"{quote}{part}{quote}" in TEXT for part in (message_id, name.removesuffix(".todo")) for quote in "'\"")


PARTS = (
    *("level.", "part.", "method.", "reason.", "page.", "speed.problem.", "config.last-", "wait."),
    *("why.voucher-", "why.rule-", "why.uplink-", "doctor.uplink-", "update.why-", "update.step-", "update.ended-"),
)


def test_both_languages_say_the_same_things() -> None:
    assert ids("id") == ids("en")


def test_every_id_that_is_written_has_words() -> None:
    used = set(re.findall(r"""\b(?:t|text)\(['"]([a-z-]+(?:\.[a-z-]*[a-z])+)['"]""", TEXT))
    used |= {f"doctor.{code}" for code in re.findall(r'tell\("[a-z]+", "[a-z]+", "([a-z-]+)"', TEXT)}
    used |= {f"doctor.{code}.fix" for code in re.findall(r'tell\("(?:warn|fail)", "[a-z]+", "([a-z-]+)"', TEXT)}
    assert len(used) > 100
    assert used - ids("en") == set()


def test_every_reason_for_an_end_has_words() -> None:
    assert {name for name in ids("en") if name.startswith("reason.")} == {
        f"reason.{reason}" for reason in (*EndReason, REASON_LOST)
    }


def test_no_words_are_left_that_nothing_says() -> None:
    assert {name for name in ids("en") if not literal(name) and not name.startswith(PARTS)} == set()


@pytest.mark.parametrize("code", ["id", "en"])
def test_every_sentence_can_be_filled_in(code: str) -> None:
    """A percent sign that is none of a placeholder would raise on the page."""
    for message_id in ids(code):
        text = words.like(code).messages.gettext(message_id)
        names = re.findall(r"%\((\w+)\)s", text)
        filled = text % dict.fromkeys(names, "x") if names else text
        assert "%(" not in filled
