"""Catalogues are complete and fit the pages, numbers and times read as people write them, a language is a file."""

from __future__ import annotations

import datetime
import functools
import io
import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from portal import language
from portal.guest import pages, words
from portal.language import Language, load_languages

GUEST = Path(pages.__file__).parent
CATALOGUES = {path.parents[1].name: path for path in GUEST.glob("translations/*/LC_MESSAGES/messages.po")}
LANGUAGES = load_languages("portal.guest")
NBSP = "\N{NO-BREAK SPACE}"
PLACEHOLDER = re.compile(r"%\((\w+)\)(.)")


@functools.cache
def catalogue(code: str) -> Catalog:
    return read_po(io.BytesIO(CATALOGUES[code].read_bytes()), locale=code, abort_invalid=True)


def strings(message: Message) -> tuple[str, ...]:
    return (message.string,) if isinstance(message.string, str) else tuple(message.string)


def ids(code: str) -> dict[str, Message]:
    return {
        message.id if isinstance(message.id, str) else message.id[0]: message
        for message in catalogue(code)
        if message.id
    }


def ids_in_use() -> set[str]:
    """Every message id that a template or module names, and those put together from a page's or problem's name."""
    found = {
        match
        for path in [*GUEST.glob("templates/*.html"), *GUEST.glob("*.py"), Path(language.__file__)]
        for match in re.findall(r"""(?:_|text|counted|ask)\((?:language, )?\s*['"]([a-z.-]+)['"]""", path.read_text())
    }
    found |= set(pages.TERMS)
    found |= {f"problem.{code}.{part}" for code in pages.PROBLEMS for part in ("what", "todo")}
    found |= {f"refused.{refusal}.title" for refusal in words._LINES}
    return found | {line for lines in words._LINES.values() for line in lines}


def test_english_is_complete_and_no_catalogue_has_ids_of_its_own() -> None:
    source = ids("id")
    assert ids("en").keys() == source.keys()
    for code in CATALOGUES:  # a third language may leave out what it cannot say
        assert ids(code).keys() <= source.keys(), code


def test_the_catalogue_holds_what_the_pages_say_and_nothing_else() -> None:
    assert set(ids("id")) == ids_in_use()


@pytest.mark.parametrize("code", CATALOGUES)
def test_every_message_is_translated_with_the_same_placeholders(code: str) -> None:
    source = ids("id")
    for message_id, message in ids(code).items():
        wanted = {match for text in strings(source[message_id]) for match in PLACEHOLDER.findall(text)}
        for text in strings(message):
            assert text.strip() == text != "", message_id
            assert set(PLACEHOLDER.findall(text)) == wanted, message_id
            assert "fuzzy" not in message.flags, message_id
        assert len(strings(message)) == (catalogue(code).num_plurals if message.pluralizable else 1), message_id


def test_a_third_language_is_a_file_even_one_that_babel_does_not_know(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for code, path in CATALOGUES.items():
        copy = tmp_path / "translations" / code / "LC_MESSAGES"
        copy.mkdir(parents=True)
        (copy / "messages.po").write_bytes(path.read_bytes())
    banjar = tmp_path / "translations/bjn/LC_MESSAGES"
    banjar.mkdir(parents=True)
    header = '"Content-Type: text/plain; charset=utf-8\\n"\n"Plural-Forms: nplurals=1; plural=0;\\n"'
    (banjar / "messages.po").write_text(
        f'msgid ""\nmsgstr ""\n{header}\n\nmsgid "language.name"\nmsgstr "Bahasa Banjar"\n\n'
        'msgid "landing.title"\nmsgstr "Selamat datang, dangsanak"\n\n'
        # a slip of the pen, a stray per cent sign, and a message that no page has
        'msgid "both-ways"\nmsgstr "%(hilir)s"\n\nmsgid "landing.intro"\nmsgstr "100% gratis"\n\n'
        'msgid "no.such"\nmsgstr "x"\n'
    )
    monkeypatch.setattr(language, "files", lambda _: tmp_path)
    found = load_languages("portal.guest")
    assert list(found) == ["id", "bjn", "en"]
    assert found["bjn"].name == "Bahasa Banjar"
    assert found["bjn"].text("landing.title") == "Selamat datang, dangsanak"
    assert found["bjn"].text("landing.connect") == "Masuk ke internet"  # from Bahasa Indonesia
    assert found["bjn"].number(1.5) == "1,5"
    assert found["bjn"].text("both-ways", down="a", up="b") == f"unduh{NBSP}a, unggah{NBSP}b"
    assert found["bjn"].text("landing.intro") == found["id"].text("landing.intro")
    assert found["bjn"].text("no.such") == "no.such"


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"this is no catalogue\n"])
def test_a_damaged_catalogue_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: bytes) -> None:
    folder = tmp_path / "translations/id/LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "messages.po").write_bytes(damage)
    monkeypatch.setattr(language, "files", lambda _: tmp_path)
    with pytest.raises(ValueError, match="catalogue of 'id'"):
        load_languages("portal.guest")


@pytest.mark.parametrize(
    ("n_bytes", "id_text", "en_text"),
    [
        (0, "0 byte", "0 bytes"),
        (999, "999 byte", "999 bytes"),
        (1000, "1 kB", "1 kB"),
        (1_550, "1,6 kB", "1.6 kB"),
        (999_949, "1.000 kB", "1,000 kB"),
        (1_500_000, "1,5 MB", "1.5 MB"),
        (123_456_789, "123 MB", "123 MB"),
        (999_960_000, "1 GB", "1 GB"),
        (1_234_567_890_123, "1.235 GB", "1,235 GB"),
    ],
)
def test_sizes(n_bytes: int, id_text: str, en_text: str) -> None:
    texts = (LANGUAGES["id"].size(n_bytes), LANGUAGES["en"].size(n_bytes))
    assert texts == (id_text.replace(" ", NBSP), en_text.replace(" ", NBSP))


@pytest.mark.parametrize(
    ("kbit", "text"),
    [
        (64, "64 kbps"),
        (999, "999 kbps"),
        (1000, "1 Mbps"),
        (1500, "1,5 Mbps"),
        (20_000, "20 Mbps"),
        (1_000_000, "1.000 Mbps"),
    ],
)
def test_rates(kbit: int, text: str) -> None:
    assert LANGUAGES["id"].rate(kbit) == text.replace(" ", NBSP)


@pytest.mark.parametrize(
    ("seconds", "id_text", "en_text"),
    [
        (0, "kurang dari 1 menit", "less than 1 minute"),
        (59.9, "kurang dari 1 menit", "less than 1 minute"),
        (60, "1 menit", "1 minute"),
        (3600, "1 jam", "1 hour"),
        (3661, "1 jam 1 menit", "1 hour 1 minute"),
        (8 * 3600, "8 jam", "8 hours"),
        (1500 * 3600, "1.500 jam", "1,500 hours"),
    ],
)
def test_durations(seconds: float, id_text: str, en_text: str) -> None:
    assert (LANGUAGES["id"].duration(seconds), LANGUAGES["en"].duration(seconds)) == (id_text, en_text)


@given(st.floats(min_value=0, max_value=1e7))
def test_a_duration_never_promises_more_than_there_is(seconds: float) -> None:
    numbers = [int(n.replace(".", "")) for n in re.findall(r"[\d.]+", LANGUAGES["id"].duration(seconds))]
    text = LANGUAGES["id"].duration(seconds)
    if "kurang" in text:
        assert seconds < 60
        return
    minutes = numbers[-1] if "menit" in text else 0
    hours = numbers[0] if "jam" in text else 0
    assert (hours * 60 + minutes) * 60 <= seconds < (hours * 60 + minutes + 1) * 60


def test_a_moment_names_the_day_only_when_it_is_another() -> None:
    zone = ZoneInfo("Asia/Makassar")
    since = 1_780_017_120.0  # 29 May 2026 09.12 WITA
    indonesian: Language = LANGUAGES["id"]
    assert indonesian.moment(since, since + 3600, zone) == "09.12"
    assert indonesian.moment(since, since + 86_400, zone) == "29 Mei 09.12"
    assert "9:12" in LANGUAGES["en"].moment(since, since + 3600, zone)


def test_days_and_times_of_day() -> None:
    indonesian, english = LANGUAGES["id"], LANGUAGES["en"]
    assert indonesian.day(datetime.date(2026, 12, 5)) == "5 Des 2026"
    assert (indonesian.weekdays()[0], english.weekdays()[6]) == ("Senin", "Sunday")
    assert [indonesian.clock(minute) for minute in (0, 485, 1440)] == ["00.00", "08.05", "24.00"]
    assert english.clock(1440) == english.clock(0)
