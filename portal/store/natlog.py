"""The SQL of the NAT log: sealed chunks are added, read and erased. It must not know what is in them.

Each chunk's hash is made with the one before (portal.domain.natlog), so that a missing or altered one is noticed; what
was erased in order is noted beside. Every function works inside the transaction of the connection it is given.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from portal.domain.journal import Kind
from portal.domain.model import Now
from portal.domain.natlog import Chunk, Head, Times, covers, hash_of
from portal.domain.walltime import Clocks
from portal.store import journal

_HEAD: Final = tuple(field.name for field in dataclasses.fields(Head))
_COLUMNS: Final = ", ".join(_HEAD)
ERASED_AT_ONCE: Final = 1000  # a week of them: one transaction for which no login waits long


@dataclass(frozen=True, slots=True)
class Held:
    """What there is. ``gone`` chunks were erased or dropped; ``dropped`` connections of them before their time."""

    chunks: int
    bytes: int
    connections: int
    lost: int
    oldest: Head | None
    newest: Head | None
    gone: int
    dropped: int


def add(db: sqlite3.Connection, head: Head, site: str, sealed: bytes) -> None:
    """``head.number`` is ``next_number``'s."""
    before = _last_hash(db)
    chained = hash_of(before, head.info(site), sealed)
    db.execute(
        f"INSERT INTO nat_chunk ({_COLUMNS}, before, hash, sealed) VALUES ({'?, ' * len(_HEAD)}?, ?, ?)",  # noqa: S608
        (*dataclasses.astuple(head), before, chained, sealed),
    )
    db.execute("UPDATE nat_log SET bytes = bytes + ?", (len(sealed),))


def next_number(db: sqlite3.Connection) -> int:
    (last,) = db.execute("SELECT coalesce((SELECT max(number) FROM nat_chunk), gone) FROM nat_log").fetchone()
    return int(last) + 1


def newest(db: sqlite3.Connection) -> Head | None:
    return _one(db, "DESC")


def heads(db: sqlite3.Connection) -> list[Head]:
    """Of all chunks, in order."""
    return list(map(_head, db.execute(f"SELECT {_COLUMNS} FROM nat_chunk ORDER BY number")))  # noqa: S608


def chunks(db: sqlite3.Connection, numbers: Sequence[int] | None = None) -> Iterator[Chunk]:
    """Those with these numbers, or all, in order. Read while the transaction lasts."""
    rows = db.execute(
        f"SELECT {_COLUMNS}, before, hash, sealed FROM nat_chunk WHERE ?1 IS NULL "  # noqa: S608
        "OR number IN (SELECT value FROM json_each(?1)) ORDER BY number",
        (None if numbers is None else json.dumps(list(numbers)),),
    )
    for row in rows:
        yield Chunk(_head(row[: len(_HEAD)]), *row[len(_HEAD) :])


def held(db: sqlite3.Connection) -> Held:
    count, connections, lost = db.execute(
        "SELECT count(*), coalesce(sum(count), 0), coalesce(sum(lost), 0) FROM nat_chunk"
    ).fetchone()
    size, gone, dropped = db.execute("SELECT bytes, gone, dropped FROM nat_log").fetchone()
    return Held(count, size, connections, lost, _one(db, "ASC"), newest(db), gone, dropped)


def devices(db: sqlite3.Connection, sessions: Sequence[int]) -> dict[int, str]:
    """What the sessions' devices are called in the log."""
    rows = db.execute(
        "SELECT id, device FROM session WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(sessions)),)
    )
    return dict(rows.fetchall())


def macs(db: sqlite3.Connection, sessions: Sequence[int]) -> dict[int, str]:
    """The sessions' devices, as far as they are still known."""
    rows = db.execute(
        "SELECT id, mac FROM session WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(sessions)),)
    )
    return dict(rows.fetchall())


def clock_is_trusted(db: sqlite3.Connection, now: Now) -> bool:
    """Has NTP set the wall clock in this boot?"""
    return bool(db.execute("SELECT trusted_boot_id = ? FROM meta", (now.boot_id,)).fetchone()[0])


# --- time -----------------------------------------------------------------------------------------------------------


class Clock:
    """Corrects the times of chunks by what the journal has learned of each boot's clock since."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._clocks = Clocks(journal.of_kinds(db, Clocks.KINDS))

    def times(self, head: Head) -> Times:
        """By the boot's clock at the chunk's end; where the journal knows no such boot, as the clock went then."""
        found = self._clocks.corrected(head.boot_id, head.until_boot_ms)
        if found is None:
            return Times(head.offset_ms, head.trusted)
        return Times(found.wall_ms - head.until_boot_ms, found.certain)


# --- erasure --------------------------------------------------------------------------------------------------------


def erase(db: sqlite3.Connection, before_wall_s: float, before: str, now: Now, most: int = ERASED_AT_ONCE) -> int:
    """Erase the chunks that were over before that moment, the oldest first, and say so in the journal; how many.

    ``before``: the first day that is kept, for the entry. It stops at the first chunk that is to be kept, and after
    ``most``: the next call goes on.
    """
    times = Clock(db)
    last, count = 0, 0
    for head in heads(db)[:most]:
        if covers(head, times.times(head))[1] >= before_wall_s * 1000:
            break
        last, count = head.number, count + 1
    if count:
        _take_away(db, last)
        journal.append(db, Kind.ERASURE, {"class": "nat", "before": before, "count": count, "until": last}, now)
    return count


def drop_to(db: sqlite3.Connection, most_bytes: int) -> int:
    """Drop the oldest chunks until the rest takes up so little; how many connections were in them."""
    (size,) = db.execute("SELECT bytes FROM nat_log").fetchone()
    last, dropped = 0, 0
    for number, length, count in db.execute("SELECT number, length(sealed), count FROM nat_chunk ORDER BY number"):
        if size <= most_bytes:
            break
        last, size, dropped = number, size - length, dropped + count
    if last:
        _take_away(db, last)
        db.execute("UPDATE nat_log SET dropped = dropped + ?", (dropped,))
    return dropped


def _take_away(db: sqlite3.Connection, last: int) -> None:
    """All up to this number; what they were chained to stays."""
    (size,) = db.execute("SELECT sum(length(sealed)) FROM nat_chunk WHERE number <= ?", (last,)).fetchone()
    db.execute(
        "UPDATE nat_log SET bytes = bytes - ?, gone = ?2, gone_hash = (SELECT hash FROM nat_chunk WHERE number = ?2)",
        (size, last),
    )
    db.execute("DELETE FROM nat_chunk WHERE number <= ?", (last,))


# --- from one database into another ---------------------------------------------------------------------------------


def take_over(db: sqlite3.Connection) -> None:
    """Let the database attached as ``old`` decide, where its log goes further than this one's.

    Two chains cannot be joined: a chunk is sealed under its number.
    """
    here, there = (
        db.execute(f"SELECT max(gone, coalesce((SELECT max(number) FROM {name}.nat_chunk), 0)) FROM {name}.nat_log")  # noqa: S608
        for name in ("main", "old")
    )
    if tuple(there.fetchone()) >= tuple(here.fetchone()):
        for table in ("nat_chunk", "nat_log"):
            db.execute(f"DELETE FROM main.{table}")  # noqa: S608
            db.execute(f"INSERT INTO main.{table} SELECT * FROM old.{table}")  # noqa: S608


def settle(db: sqlite3.Connection) -> None:
    """After chunks were carried over from a damaged database: what they take up; and a row where that was lost."""
    db.execute(
        "INSERT OR IGNORE INTO nat_log SELECT 1, 0, coalesce(min(number), 1) - 1, zeroblob(32), 0 FROM nat_chunk"
    )
    db.execute("UPDATE nat_log SET bytes = (SELECT coalesce(sum(length(sealed)), 0) FROM nat_chunk)")


# --- is it whole ----------------------------------------------------------------------------------------------------


def faults(db: sqlite3.Connection, site: str, numbers: Sequence[int] | None = None) -> list[str]:
    """What is wrong with the chain, of these chunks or of all: a sentence for each. Reads every byte of them."""
    before = db.execute("SELECT gone, gone_hash FROM nat_log").fetchone()
    wanted = None if numbers is None else set(numbers)
    rows = db.execute(f"SELECT {_COLUMNS}, before, hash FROM nat_chunk ORDER BY number")  # noqa: S608
    found: list[str] = []
    for row in rows:
        head, (chained_to, chained) = _head(row[: len(_HEAD)]), row[len(_HEAD) :]
        if wanted is None or head.number in wanted:
            if head.number != before[0] + 1:
                found.append(f"Chunks {before[0] + 1} to {head.number - 1} are missing.")
            elif chained_to != before[1]:
                found.append(f"Chunk {head.number} does not follow what stood before it: that was altered.")
            (sealed,) = db.execute("SELECT sealed FROM nat_chunk WHERE number = ?", (head.number,)).fetchone()
            if hash_of(chained_to, head.info(site), sealed) != chained:
                found.append(f"Chunk {head.number} was altered.")
        before = (head.number, chained)
    return found


def _last_hash(db: sqlite3.Connection) -> bytes:
    (last,) = db.execute(
        "SELECT coalesce((SELECT hash FROM nat_chunk ORDER BY number DESC LIMIT 1), gone_hash) FROM nat_log"
    ).fetchone()
    return bytes(last)


def _one(db: sqlite3.Connection, order: str) -> Head | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM nat_chunk ORDER BY number {order} LIMIT 1").fetchone()  # noqa: S608
    return None if row is None else _head(row)


def _head(row: Sequence[Any]) -> Head:
    values = dict(zip(_HEAD, row, strict=True))
    return Head(**{**values, "trusted": bool(values["trusted"])})
