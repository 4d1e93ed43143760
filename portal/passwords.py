"""Keeps passwords of accounts and staff as Argon2id hashes, and checks them. It must not know whose they are.

Parameters are those of OWASP's Password Storage Cheat Sheet for Argon2id: 19 MiB, 2 passes, 1 lane. A gateway of 1 GB
whose few processes check at most one password each at a time (a lock sees to that) can spare so much; RFC 9106's
second choice, 64 MiB, it cannot. Guessing through a page is stopped by the limits on attempts, long before.
"""

from __future__ import annotations

import base64
import functools
import secrets
import threading
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_LENGTH: Final = 8  # characters; NIST SP 800-63B 3.1.1.2
MAX_LENGTH: Final = 128  # characters; longer ones are refused before any work is done on them
_MEMORY_KIB: Final = 19 * 1024
_PASSES: Final = 2
_LANES: Final = 1
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32

_one_at_a_time = threading.Lock()  # memory and the processor of a small gateway: a storm of logins waits in line


def hash_new(password: str) -> str:
    """What is stored of a password: ``$argon2id$...`` with its parameters and a salt of its own."""
    with _one_at_a_time:
        return _hasher().hash(_normal(password))


def verify(password_hash: str | None, password: str) -> bool:
    """Is it the password? ``None``, where there is no such name, takes as long as a wrong password, and is False."""
    from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415 - with the hasher, when needed

    if len(password) > MAX_LENGTH:
        return False
    try:
        with _one_at_a_time:
            return _hasher().verify(_nobodys() if password_hash is None else password_hash, _normal(password))
    except (VerificationError, InvalidHashError):
        return False


def needs_rehash(password_hash: str) -> bool:
    """Was it made with other parameters than today's? Then store ``hash_new`` of the password just verified."""
    return _hasher().check_needs_rehash(password_hash)


def objection(password: str, name: str) -> str | None:
    """A sentence on why this may not be the new password of ``name``, or None."""
    if len(password) < MIN_LENGTH:
        return f"A password has at least {MIN_LENGTH} characters."
    if len(password) > MAX_LENGTH:
        return f"A password has at most {MAX_LENGTH} characters."
    if len(set(password)) < 3:
        return "A password has at least three different characters."
    if name and _normal(name).casefold() in _normal(password).casefold():
        return "A password does not hold the name that it belongs to."
    return None


def _normal(password: str) -> str:
    """NFKC, so that two keyboards that compose a letter differently type the same password (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)


@functools.cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher, Type  # noqa: PLC0415 - memory that a process without passwords never pays

    return PasswordHasher(_PASSES, _MEMORY_KIB, _LANES, _HASH_BYTES, _SALT_BYTES, type=Type.ID)


@functools.cache
def _nobodys() -> str:
    """A hash that no password has: a random tag costs nothing to make, and as much as any other to compare with."""

    def text(length: int) -> str:
        return base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")

    return f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}${text(_SALT_BYTES)}${text(_HASH_BYTES)}"
