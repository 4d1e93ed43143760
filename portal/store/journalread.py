"""The SQL that reads the usage log as it is stored, byte for byte. It must not know what is made of it.

portal.store.journal gives what entries say. This is for those who check, show or copy them: a text that is no UTF-8,
or a kind that nobody knows, is read too. Every function works inside the transaction of the connection it is given,
and what it gives is read while that lasts.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from portal.domain.journal import Entry, Kind, Tomb
from portal.domain.journalcheck import Head, Raw, Verdict, verify
from portal.domain.walltime import Clocks
from portal.store import audit, journal

# As bytes: a text that is no UTF-8 would end the reading.
_SELECT = (
    "SELECT seq, CAST(kind AS BLOB), CAST(boot_id AS BLOB), boot_ms, wall_ms, trusted, CAST(body AS BLOB), hash "
    "FROM journal"
)


def chain(db: sqlite3.Connection) -> Iterator[Raw | Tomb]:
    """The whole log, with tombs where entries were."""
    stored = map(_raw, db.execute(f"{_SELECT} ORDER BY seq"))
    tombs = journal.tombs(db)
    return heapq.merge(stored, tombs, key=_place) if tombs else stored


def check(db: sqlite3.Connection, head: Head | None = None) -> Verdict:
    """Its chain, and whether the audit trail has each act as it was told (portal.domain.journalcheck.verify)."""
    return verify(chain(db), acts=audit.digests(db), heads=[] if head is None else [head])


def after(db: sqlite3.Connection, seq: int) -> Iterator[Raw]:
    """Entries after a number, in order."""
    return map(_raw, db.execute(f"{_SELECT} WHERE seq > ? ORDER BY seq", (seq,)))


def newest_first(db: sqlite3.Connection, kinds: Iterable[str] = ()) -> Iterator[Raw]:
    """All entries, or those of these kinds."""
    wanted = list(kinds)
    where = "WHERE kind IN (SELECT value FROM json_each(?))" if wanted else "WHERE ?"
    given = json.dumps(wanted) if wanted else 1
    return map(_raw, db.execute(f"{_SELECT} {where} ORDER BY seq DESC", (given,)))


def clocks(db: sqlite3.Connection) -> Clocks:
    """When entries happened."""
    found = [entry(raw) for raw in newest_first(db, Clocks.KINDS)]
    return Clocks(one for one in reversed(found) if one is not None)


def entry(raw: Raw) -> Entry | None:
    """What it says; None where that cannot be read."""
    try:
        body = json.loads(raw.body)
        kind = Kind(raw.kind)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    return Entry(raw.seq, kind, raw.boot_id, raw.boot_ms, raw.wall_ms, bool(raw.trusted), body, raw.hash)


def _place(item: Raw | Tomb) -> int:
    return item.first if isinstance(item, Tomb) else item.seq


def _raw(row: tuple[Any, ...]) -> Raw:
    seq, kind, boot_id, boot_ms, wall_ms, trusted, body, chained = row
    return Raw(seq, _text(kind), _text(boot_id), boot_ms, wall_ms, trusted, _text(body), chained)


def _text(found: bytes) -> str:
    return found.decode("utf-8", "replace")
