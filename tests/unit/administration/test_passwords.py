"""Passwords: what is kept says nothing, an unknown name costs what a wrong password does. It knows no table."""

from __future__ import annotations

import argon2
import pytest

from portal import passwords


def test_a_password_verifies_and_no_other_does() -> None:
    kept = passwords.hash_new("hutan hujan 7")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$") and "hutan" not in kept
    assert passwords.verify(kept, "hutan hujan 7")
    assert not passwords.verify(kept, "hutan hujan 8")
    assert not passwords.verify(kept, "")
    assert passwords.hash_new("hutan hujan 7") != kept, "two of one password must not look alike"
    assert not passwords.needs_rehash(kept)


def test_the_same_letters_composed_otherwise_are_the_same_password() -> None:
    assert passwords.verify(passwords.hash_new("café besar"), "cafe\u0301 besar")


def test_an_unknown_name_is_compared_with_a_hash_of_the_same_cost() -> None:
    assert not passwords.verify(None, "hutan hujan 7")
    nobodys = argon2.extract_parameters(passwords._nobodys())
    assert nobodys == argon2.extract_parameters(passwords.hash_new("hutan hujan 7"))


def test_a_damaged_hash_opens_nothing() -> None:
    for damaged in ("", "rubbish", "$argon2id$v=19$m=19456,t=2,p=1$AAAA", "$2b$12$" + "a" * 53):
        assert not passwords.verify(damaged, "hutan hujan 7")


def test_another_cost_asks_for_a_new_hash() -> None:
    older = argon2.PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash("hutan hujan 7")
    assert passwords.verify(older, "hutan hujan 7")
    assert passwords.needs_rehash(older)


@pytest.mark.parametrize("bad", ["", "pendek7", "x" * 129, "abababab", "Puskesmas2026", "aku di PUSKESMAS"])
def test_passwords_that_are_refused(bad: str) -> None:
    sentence = passwords.objection(bad, "puskesmas")
    assert sentence is not None and sentence.endswith(".")


def test_a_password_that_is_not_refused() -> None:
    assert passwords.objection("kucing hujan 5", "puskesmas") is None
