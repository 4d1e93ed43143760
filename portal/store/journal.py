"""The SQL of the usage log: entries are added and read, never changed. It must not know what is made of them.

Every function works inside the transaction of the connection it is given (portal.store.db.Database): an entry is on the
disk with what it tells of, or neither is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from portal.domain.journal import GENESIS, Entry, Kind, Tomb, hash_of, text_of
from portal.domain.model import Now

_COLUMNS = "seq, kind, boot_id, boot_ms, wall_ms, trusted, body, hash"


def append(db: sqlite3.Connection, kind: Kind, body: dict[str, Any], now: Now) -> int:
    """Add an entry; its number."""
    seq, before = head(db)
    (trusted_boot_id,) = db.execute("SELECT trusted_boot_id FROM meta").fetchone()
    boot_ms, wall_ms, trusted = round(now.boot_s * 1000), round(now.wall_s * 1000), trusted_boot_id == now.boot_id
    text = text_of(body)
    chained = hash_of(
        before,
        text,
        seq=seq + 1,
        kind=kind.value,
        boot_id=now.boot_id,
        boot_ms=boot_ms,
        wall_ms=wall_ms,
        trusted=trusted,
    )
    db.execute(
        f"INSERT INTO journal ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
        (seq + 1, kind.value, now.boot_id, boot_ms, wall_ms, trusted, text, chained),
    )
    return seq + 1


def head(db: sqlite3.Connection) -> tuple[int, bytes]:
    """The number and hash of the last entry; (0, GENESIS) before the first."""
    last = db.execute("SELECT seq, hash FROM journal WHERE seq = (SELECT max(seq) FROM journal)").fetchone()
    # The last of all may have been lost with a damaged page.
    gone = db.execute(
        "SELECT last_seq, last_hash FROM journal_tomb WHERE first_seq = (SELECT max(first_seq) FROM journal_tomb)"
    ).fetchone()
    return max((tuple(row) for row in (last, gone) if row is not None), default=(0, GENESIS))


def was_stopped(db: sqlite3.Connection, boot_id: str) -> bool:
    """Did this boot end in order, as far as the log goes?"""
    row = db.execute(
        "SELECT kind FROM journal WHERE kind IN ('start', 'stop') AND boot_id = ? ORDER BY seq DESC LIMIT 1", (boot_id,)
    ).fetchone()
    return row is not None and row[0] == Kind.STOP.value


def entries(db: sqlite3.Connection, after_seq: int = 0, until_seq: int | None = None) -> Iterator[Entry]:
    """Those after a number, in order; ``until_seq`` included. Read while the transaction lasts."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq",  # noqa: S608 - a constant
        (after_seq, (1 << 62) if until_seq is None else until_seq),
    )
    return map(_entry, rows)


def of_kinds(db: sqlite3.Connection, kinds: Iterable[Kind]) -> Iterator[Entry]:
    """All of these kinds, in order. Read while the transaction lasts."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM journal WHERE kind IN (SELECT value FROM json_each(?)) ORDER BY seq",  # noqa: S608
        (json.dumps([kind.value for kind in kinds]),),
    )
    return map(_entry, rows)


def tombs(db: sqlite3.Connection) -> list[Tomb]:
    """Where entries were erased or lost, in order."""
    rows = db.execute("SELECT first_seq, last_seq, last_hash FROM journal_tomb ORDER BY first_seq")
    return [Tomb(*row) for row in rows]


def _entry(row: tuple[Any, ...]) -> Entry:
    seq, kind, boot_id, boot_ms, wall_ms, trusted, body, chained = row
    return Entry(seq, Kind(kind), boot_id, boot_ms, wall_ms, bool(trusted), json.loads(body), chained)
