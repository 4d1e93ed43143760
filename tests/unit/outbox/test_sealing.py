"""Keys, sealing and signatures: what the owner alone can do, and what a slip of the pen is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal import sealing
from portal.sealing import OfficeKey, OfficeSecret, SealingError

OFFICE = OfficeSecret(bytes(range(32)), bytes(range(32, 64)))
LINE = OFFICE.key.line
PASSPHRASE = "lima kata yang panjang"


def test_a_line_is_the_key_however_it_was_copied() -> None:
    assert sealing.parse_office_key(LINE) == OFFICE.key
    assert sealing.parse_office_key(f"  {LINE.upper()}\n") == OFFICE.key
    assert sealing.parse_office_key(LINE.replace("-", "- ").replace("- office- 1", "-office-1")) == OFFICE.key
    assert len(LINE.encode()) < 150
    assert LINE.isascii()


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_every_key_has_a_line(first: bytes, second: bytes) -> None:
    key = OfficeKey(first, second)
    assert sealing.parse_office_key(key.line) == key


@given(st.integers(0, len(LINE) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567018-"))
def test_one_wrong_letter_is_found(at: int, letter: str) -> None:
    wrong = LINE[:at] + letter + LINE[at + 1 :]
    if wrong.replace("-", "") != LINE.replace("-", ""):
        with pytest.raises(SealingError):
            sealing.parse_office_key(wrong)


@given(st.integers(17, len(LINE) - 2))
def test_two_letters_in_the_wrong_order_are_found(at: int) -> None:
    wrong = LINE[:at] + LINE[at + 1] + LINE[at] + LINE[at + 2 :]
    if wrong.replace("-", "") != LINE.replace("-", ""):
        with pytest.raises(SealingError):
            sealing.parse_office_key(wrong)


@given(st.text(max_size=200))
def test_any_text_is_a_key_or_a_sentence(text: str) -> None:
    with pytest.raises(SealingError):
        sealing.parse_office_key(text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", 'begins with "gerbang-office-1-"'),
        (LINE[:-1], "111 letters"),
        (LINE + "a", "113 letters"),
        (LINE.replace("gerbang-office-1-", "gerbang-office-1-0"), 'holds "0"'),
        (LINE.replace("gerbang-office-1", "gerbang-office-2"), "newer sort"),
    ],
)
def test_a_slip_of_the_pen_is_told_what_it_is(line: str, said: str) -> None:
    with pytest.raises(SealingError) as told:
        sealing.parse_office_key(line)
    assert said in told.value.message


def test_what_is_sealed_the_office_opens_and_nobody_else() -> None:
    sealed = sealing.seal(OFFICE.key, b"what it is", b"content")
    assert b"content" not in sealed
    assert OFFICE.open(b"what it is", sealed) == b"content"
    assert sealing.seal(OFFICE.key, b"what it is", b"content") != sealed
    for office, info in ((sealing.new_office_secret(), b"what it is"), (OFFICE, b"something else")):
        with pytest.raises(SealingError, match="another key"):
            office.open(info, sealed)


@given(st.binary(max_size=300), st.data())
def test_an_altered_or_shortened_seal_opens_nothing(content: bytes, data: st.DataObject) -> None:
    sealed = bytearray(sealing.seal(OFFICE.key, b"x", content))
    at = data.draw(st.integers(0, len(sealed) - 1))
    shortened = bytes(sealed[:at])
    sealed[at] ^= 1 << data.draw(st.integers(0, 7))
    for wrong in (bytes(sealed), shortened):
        # The topmost bit of the key share (byte 31) is not used by X25519 (RFC 7748, 5), but HPKE binds the whole.
        with pytest.raises(SealingError):
            OFFICE.open(b"x", wrong)


def test_the_private_half_opens_with_its_passphrase_only() -> None:
    locked = OFFICE.locked(PASSPHRASE)
    assert sealing.unlock(locked, PASSPHRASE).key == OFFICE.key
    assert bytes(range(32)).hex() not in locked.decode()
    with pytest.raises(SealingError, match="passphrase is wrong"):
        sealing.unlock(locked, PASSPHRASE + " ")
    other = json.loads(locked) | {"public": sealing.new_office_secret().key.line}
    with pytest.raises(SealingError, match="altered"):
        sealing.unlock(json.dumps(other).encode(), PASSPHRASE)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b"null", b'{"format": "gerbang-office-secret", "version": 1}'],
)
def test_another_file_is_no_private_key(content: bytes) -> None:
    with pytest.raises(SealingError, match="no private key"):
        sealing.unlock(content, PASSPHRASE)


def test_a_file_that_would_take_all_memory_is_refused() -> None:
    told = json.loads(OFFICE.locked(PASSPHRASE))
    told["argon2id"]["memory_kib"] = 1 << 40
    with pytest.raises(SealingError, match="no private key"):
        sealing.unlock(json.dumps(told).encode(), PASSPHRASE)


def test_a_short_passphrase_is_objected_to() -> None:
    assert sealing.objection("short") is not None
    assert sealing.objection(PASSPHRASE) is None


def test_a_signature_holds_for_one_key_purpose_and_message() -> None:
    signed = OFFICE.sign("purpose", b"message")
    assert sealing.verify(OFFICE.key.signing, "purpose", b"message", signed)
    assert not sealing.verify(OFFICE.key.signing, "purpos", b"emessage", signed)
    assert not sealing.verify(OFFICE.key.signing, "purpose", b"massage", signed)
    assert not sealing.verify(sealing.new_office_secret().key.signing, "purpose", b"message", signed)
    assert not sealing.verify(b"short", "purpose", b"message", signed)
    assert not sealing.verify(OFFICE.key.signing, "purpose", b"message", b"")


def test_the_gateway_s_key_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "staff"
    first = sealing.load_or_make_signing(folder, os.getuid(), os.getgid())
    again = sealing.load_or_make_signing(folder, os.getuid(), os.getgid())
    assert first.public == again.public
    assert first.fingerprint == again.fingerprint
    assert (folder / "signing").stat().st_mode & 0o777 == 0o600
    assert sealing.verify(first.public, "p", b"m", again.sign("p", b"m"))
    assert sealing.load_or_make_signing(tmp_path / "other", os.getuid(), os.getgid()).public != first.public
