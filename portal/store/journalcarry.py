"""Carries the usage log from a damaged database into a new one, and from the present one into a restored one.

It must not know what entries are made into. What cannot be read any more is told in the log itself: a tomb where the
entries were, and an entry LOST that accounts for it and pins the next one, which nobody could check otherwise.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from portal.domain.journal import GENESIS, Kind, Tomb
from portal.domain.journalcheck import Raw, pin
from portal.domain.model import EndReason, Now
from portal.store import journal, journalread, sessions

# The present ones stay where a backup is restored: the log, and what is known or was made of it.
_OF_THE_LOG: Final = (
    "journal",
    "journal_tomb",
    "pseudonym_key",
    "arrival",
    "arrival_mark",
    "erasure_seen",
    "hour_figures",
    "day_figures",
    "projection",
)
_RECORDS: Final = "record_"
_LEAST_BYTES: Final = 140  # of an entry on the disk
_LAST_KNOWN: Final = ("SELECT max(seq) FROM projection", "SELECT max(seq) FROM arrival_mark")

_Row = tuple[Any, ...]
_Insert = Callable[[_Row], None]


# --- from a damaged database ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Salvaged:
    """What a damaged database's log lacks: ``gaps`` with the entry after each (None: another gap, or nothing)."""

    gaps: list[tuple[int, int, Raw | None]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.gaps


def salvage(old: sqlite3.Connection | None, new: sqlite3.Connection, size_bytes: int) -> Salvaged:
    """Copy entries and tombs that can be read, and put tombs in the place of the others; ``tell`` what was found then.

    ``old``: None where nothing can be read. ``size_bytes``: of its files.
    """
    found, torn = Salvaged(), old is None
    known = 0
    if old is not None:
        try:
            if old.execute("SELECT 1 FROM sqlite_schema WHERE name = 'journal'").fetchone() is None:
                return found  # of a version that had no log
        except sqlite3.Error:
            torn = True
        known = _last_known(old)
        furthest = known + size_bytes // _LEAST_BYTES
        old.text_factory = _text
        torn |= not _copy(old, partial(_put_tomb, new), "journal_tomb", furthest)
        torn |= not _copy(old, partial(_put_entry, new), "journal", furthest)
        old.text_factory = str
    expected = 1
    for item in list(journalread.chain(new)):
        first, last = (item.first, item.last) if isinstance(item, Tomb) else (item.seq, item.seq)
        if first > expected:
            found.gaps.append((expected, first - 1, item if isinstance(item, Raw) else None))
        expected = max(expected, last + 1)
    if known >= expected or torn:
        found.gaps.append((expected, max(known, expected), None))
    new.executemany(
        "INSERT INTO journal_tomb VALUES (?, ?, ?)", [(first, last, GENESIS) for first, last, _ in found.gaps]
    )
    return found


def tell(new: sqlite3.Connection, found: Salvaged, now: Now) -> None:
    """Say in the log what was lost, and let it begin where there was none. After sessions and ``meta`` are there."""
    _begin_running(new)
    # No number that the log has told of is given to another session.
    new.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ifnull("
        "(SELECT max(json_extract(body, '$.s')) FROM journal WHERE kind = 'begin'), 0)) WHERE name = 'session'"
    )
    if found.gaps:
        sessions.note_time(new, now)
    for first, last, after in found.gaps:
        said = {"first": first, "last": last, "next": None if after is None else pin(after)}
        journal.append(new, Kind.LOST, said, now)


def lose_tail(db: sqlite3.Connection, now: Now) -> None:
    """The log went on from here, nobody knows how far, and that is lost."""
    seq, _ = journal.head(db)
    db.execute("INSERT INTO journal_tomb VALUES (?1, ?1, ?2)", (seq + 1, GENESIS))
    journal.append(db, Kind.LOST, {"first": seq + 1, "last": seq + 1, "next": None}, now)


def _text(found: bytes) -> str:
    return found.decode("utf-8", "replace")


def _last_known(old: sqlite3.Connection) -> int:
    """A number that the log had come to for certain."""
    found = [0]
    for query in _LAST_KNOWN:
        try:
            found.append(old.execute(query).fetchone()[0] or 0)
        except sqlite3.Error:
            continue
    return max(found)


def _copy(old: sqlite3.Connection, insert: _Insert, table: str, furthest: int) -> bool:
    """Read in order, pass over what cannot be read; whether the end was reached. No key lies beyond ``furthest``."""
    key = "seq" if table == "journal" else "first_seq"
    with contextlib.suppress(sqlite3.Error):
        furthest = old.execute(f"SELECT max({key}) FROM {table}").fetchone()[0] or 0  # noqa: S608 - our own names
    at = 0
    while at <= furthest:
        try:
            for row in old.execute(f"SELECT * FROM {table} WHERE {key} > ? ORDER BY {key}", (at,)):  # noqa: S608
                if row[0] <= at:
                    raise sqlite3.DatabaseError("a damaged page gives rows of another place")
                at = row[0]
                insert(row)
        except sqlite3.Error:
            at += 1
        else:
            return True
    return False


def _put_entry(new: sqlite3.Connection, row: _Row) -> None:
    """An entry that says nothing any more counts as lost. One that was altered stays: its hash tells."""
    if isinstance(row[6], str) and isinstance(row[1], str) and journalread.entry(Raw(*row)) is not None:
        _put(new, "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def _put_tomb(new: sqlite3.Connection, row: _Row) -> None:
    _put(new, "INSERT INTO journal_tomb VALUES (?, ?, ?)", row)


def _put(new: sqlite3.Connection, statement: str, row: _Row) -> None:
    try:
        new.execute(statement, row)
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):  # types that no row of ours has
        return


def _begin_running(new: sqlite3.Connection) -> None:
    """Sessions from a database without a log begin in the new one as the migration would have them do."""
    boot_id, seen_boot_s = new.execute("SELECT boot_id, seen_boot_s FROM meta").fetchone()
    running = "SELECT id, plan, method, started_wall_s FROM session WHERE ended_wall_s IS NULL AND device = ''"
    for number, plan, method, started_wall_s in new.execute(running + " ORDER BY id").fetchall():
        device = secrets.token_hex(8)
        new.execute("UPDATE session SET device = ? WHERE id = ?", (device, number))
        said = {"s": number, "d": device, "plan": plan, "method": method, "after": None}
        journal.append(new, Kind.BEGIN, said, Now(boot_id, seen_boot_s, started_wall_s))


# --- into a restored database ---------------------------------------------------------------------------------------


def take_over(db: sqlite3.Connection) -> None:
    """The log of the database attached as ``old`` takes the place of this one's: nobody shortens it by restoring."""
    records = db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name GLOB ?", (f"{_RECORDS}*",))
    for table in (*_OF_THE_LOG, *(row[0] for row in records.fetchall())):
        db.execute(f"DELETE FROM main.{table}")  # noqa: S608 - our own names
        db.execute(f"INSERT INTO main.{table} SELECT * FROM old.{table}")  # noqa: S608


def move(db: sqlite3.Connection, number: int, to: dict[str, Any], now: Now) -> None:
    """A running session goes on under another number, from nothing: the kernel counts anew for it."""
    said = {"s": number, "reason": EndReason.RESTART.value, "up": to["up_bytes"], "down": to["down_bytes"]}
    at = {"at_ms": round(now.boot_s * 1000), "boot": now.boot_id}
    journal.append(db, Kind.END, {**said, **at}, now)
    begun = {"s": to["id"], "d": to["device"], "plan": to["plan"], "method": to["method"], "after": number}
    journal.append(db, Kind.BEGIN, begun, now)
    to.update(dict.fromkeys(("up_bytes", "down_bytes", "told_up_bytes", "told_down_bytes"), 0))


def end_running(db: sqlite3.Connection, reason: EndReason) -> int:
    """Who is online in a database of another life was so up to its last heartbeat; how many these were."""
    last = Now(*db.execute("SELECT boot_id, seen_boot_s, seen_wall_s FROM meta").fetchone())
    running = sessions.not_ended(db)
    for session in running:
        sessions.record_end(db, session.id, reason, last, last)
    return len(running)
