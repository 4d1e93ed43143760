"""The SQL of the keys that make pseudonyms of devices. It must not know sessions.

A pseudonym is the head of HMAC-SHA-256 over the MAC (RFC 2104) with a random key of the month: within a month one
device has one, in the next another, and once the month's key is erased nobody can tell whose it was.
Every function works inside the transaction of the connection it is given.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from typing import Final

LENGTH: Final = 16  # hexadecimal digits: among a million devices of a month two are alike with 1 in 37 million


def of(db: sqlite3.Connection, mac: str, month: str) -> str:
    """What a device is called in this local month ("2026-11"). The month's first makes its key."""
    row = db.execute("SELECT key FROM pseudonym_key WHERE month = ?", (month,)).fetchone()
    key: bytes = secrets.token_bytes(32) if row is None else row[0]
    if row is None:
        db.execute("INSERT INTO pseudonym_key (month, key) VALUES (?, ?)", (month, key))
    return hmac.new(key, mac.encode("ascii"), hashlib.sha256).hexdigest()[:LENGTH]


def known(db: sqlite3.Connection, mac: str, month: str) -> str | None:
    """The same where the month's key is there; it only reads."""
    row = db.execute("SELECT key FROM pseudonym_key WHERE month = ?", (month,)).fetchone()
    return None if row is None else hmac.new(row[0], mac.encode("ascii"), hashlib.sha256).hexdigest()[:LENGTH]
