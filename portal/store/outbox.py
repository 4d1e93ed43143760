"""The SQL of the outbox: epochs, batches, what was put into them. It must not know what batches hold, nor keys.

Every function works inside the transaction of the connection it is given (portal.store.db.Database).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from portal.domain.batch import Class

ROW_BYTES = 4_096
"""What a batch takes on the disk beyond its own bytes, at most: the rest of a page."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """As the table has it (portal.store.migrations)."""

    id: str
    began_wall_s: float
    database_epoch: str
    gateway: bytes
    made: int
    head: str
    dropped_batches: int
    dropped_records: dict[str, int]
    day: str
    office: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One batch. ``sealed`` None: dropped."""

    epoch: str
    number: int
    header: bytes
    signature: bytes
    sealed: bytes | None


@dataclass(frozen=True, slots=True)
class Held:
    """What there is: ``disk_bytes`` is the most that it takes on the disk. ``hollow``: of which only headers are left.

    ``oldest_wall_s`` is when the oldest that is whole was made.
    """

    batches: int
    hollow: int
    bytes: int
    disk_bytes: int
    oldest_wall_s: float | None


_EPOCH = "id, began_wall_s, database_epoch, gateway, made, head, dropped_batches, dropped_records, day, office"


def database_epoch(db: sqlite3.Connection) -> str:
    return str(db.execute("SELECT epoch FROM meta").fetchone()[0])


def clock_is_trusted(db: sqlite3.Connection, boot_id: str) -> bool:
    """Has NTP set the wall clock in this boot?"""
    return bool(db.execute("SELECT trusted_boot_id = ? FROM meta", (boot_id,)).fetchone()[0])


def present_epoch(db: sqlite3.Connection, gateway: bytes) -> Epoch | None:
    """The one of this database and signing key."""
    query = f"SELECT {_EPOCH} FROM outbox_epoch WHERE database_epoch = ? AND gateway = ? ORDER BY made DESC"  # noqa: S608
    return _epoch(db.execute(query, (database_epoch(db), gateway)).fetchone())


def last_used_epoch(db: sqlite3.Connection) -> Epoch | None:
    """The last one that has a batch."""
    query = f"SELECT {_EPOCH} FROM outbox_epoch WHERE made > 0 ORDER BY began_wall_s DESC, id LIMIT 1"  # noqa: S608
    return _epoch(db.execute(query).fetchone())


def begin_epoch(db: sqlite3.Connection, wall_s: float, gateway: bytes) -> Epoch:
    """A new one, for this database and signing key. It tells all days again: nobody knows what the last one told."""
    db.execute("DELETE FROM outbox_sent")
    epoch_id = str(uuid.uuid4())
    db.execute(
        "INSERT INTO outbox_epoch (id, began_wall_s, database_epoch, gateway) VALUES (?, ?, ?, ?)",
        (epoch_id, wall_s, database_epoch(db), gateway),
    )
    found = _epoch(db.execute(f"SELECT {_EPOCH} FROM outbox_epoch WHERE id = ?", (epoch_id,)).fetchone())  # noqa: S608
    assert found is not None  # noqa: S101 - it was just put there
    return found


def note_looked(db: sqlite3.Connection, epoch: str, day: str, office: str) -> None:
    """Everything up to this day is in batches, sealed for this office."""
    db.execute("UPDATE outbox_epoch SET day = ?, office = ? WHERE id = ?", (day, office, epoch))


def add(db: sqlite3.Connection, new: Stored, *, kind: Class, made_wall_s: float, size: int, head: str) -> None:
    """A batch, the next of its epoch: ``head`` is the hash of its header, ``size`` that of its file."""
    db.execute(
        "INSERT INTO outbox_batch (epoch, number, class, made_wall_s, bytes, header, signature, sealed) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (new.epoch, new.number, kind.value, made_wall_s, size, new.header.decode(), new.signature, new.sealed),
    )
    db.execute(
        "UPDATE outbox_epoch SET made = ?, head = ? WHERE id = ?",
        (new.number, head, new.epoch),
    )


def oldest(db: sqlite3.Connection, epoch: str) -> int | None:
    """The lowest number of an epoch that is there."""
    (found,) = db.execute("SELECT min(number) FROM outbox_batch WHERE epoch = ?", (epoch,)).fetchone()
    return None if found is None else int(found)


def sent(db: sqlite3.Connection, day: str, kind: Class) -> tuple[int, str, bytes] | None:
    """Revision, office and digest of what was last put into batches of a day."""
    row = db.execute(
        "SELECT revision, office, digest FROM outbox_sent WHERE day = ? AND class = ?", (day, kind.value)
    ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def note_sent(db: sqlite3.Connection, day: str, kind: Class, *, revision: int, office: str, digest: bytes) -> None:
    db.execute(
        "INSERT OR REPLACE INTO outbox_sent (day, class, revision, office, digest) VALUES (?, ?, ?, ?, ?)",
        (day, kind.value, revision, office, digest),
    )


def forget_sent(db: sqlite3.Connection, before_day: str) -> None:
    """Days before this one are not looked at again."""
    db.execute("DELETE FROM outbox_sent WHERE day < ?", (before_day,))


def held(db: sqlite3.Connection) -> Held:
    row = db.execute(
        "SELECT count(*), count(*) - count(sealed), coalesce(sum(bytes), 0), coalesce(sum(bytes), 0) + ? * count(*), "
        "min(made_wall_s) FILTER (WHERE sealed IS NOT NULL) FROM outbox_batch",
        (ROW_BYTES,),
    ).fetchone()
    return Held(*row)


def numbers(db: sqlite3.Connection) -> list[tuple[str, int]]:
    """(epoch, number) of all that are there, in the order in which they were made."""
    rows = db.execute(
        "SELECT b.epoch, b.number FROM outbox_batch b JOIN outbox_epoch e ON e.id = b.epoch "
        "ORDER BY e.began_wall_s, e.id, b.number"
    )
    return [(row[0], row[1]) for row in rows]


def read(db: sqlite3.Connection, wanted: Iterable[tuple[str, int]]) -> list[Stored]:
    """These batches; those that have gone meanwhile are left out."""
    found = []
    for epoch, number in wanted:
        row = db.execute(
            "SELECT epoch, number, header, signature, sealed FROM outbox_batch WHERE epoch = ? AND number = ?",
            (epoch, number),
        ).fetchone()
        if row is not None:
            found.append(Stored(row[0], row[1], row[2].encode(), row[3], row[4]))
    return found


# --- what goes ------------------------------------------------------------------------------------------------------


def made_before(db: sqlite3.Connection, wall_s: float) -> list[Stored]:
    """Batches made before a moment, without what is sealed unless that is gone too."""
    return _heads(db, "b.made_wall_s < ?", (wall_s,))


def droppable(db: sqlite3.Connection) -> list[tuple[Stored, int]]:
    """Whole batches, and what the sealed part of each takes, in the order in which they are dropped."""
    order = " ".join(f"WHEN '{kind}' THEN {place}" for place, kind in enumerate(Class))
    rows = db.execute(
        "SELECT b.epoch, b.number, b.header, b.signature, length(b.sealed) FROM outbox_batch b "  # noqa: S608 - our own words
        "JOIN outbox_epoch e ON e.id = b.epoch WHERE b.sealed IS NOT NULL "
        f"ORDER BY CASE b.class {order} ELSE -1 END, e.began_wall_s, e.id, b.number"
    )
    return [(Stored(row[0], row[1], row[2].encode(), row[3], b""), row[4]) for row in rows]


def oldest_first(db: sqlite3.Connection) -> list[Stored]:
    return _heads(db, "true", ())


def _heads(db: sqlite3.Connection, where: str, values: Sequence[object]) -> list[Stored]:
    rows = db.execute(
        "SELECT b.epoch, b.number, b.header, b.signature, b.sealed IS NULL FROM outbox_batch b "  # noqa: S608 - our own words
        f"JOIN outbox_epoch e ON e.id = b.epoch WHERE {where} ORDER BY e.began_wall_s, e.id, b.number",
        values,
    )
    return [Stored(row[0], row[1], row[2].encode(), row[3], None if row[4] else b"") for row in rows]


def hollow(db: sqlite3.Connection, epoch: str, number: int, *, signature: bytes, size: int) -> None:
    """Drop what is sealed; the header stays, signed anew."""
    db.execute(
        "UPDATE outbox_batch SET sealed = NULL, signature = ?, bytes = ? WHERE epoch = ? AND number = ?",
        (signature, size, epoch, number),
    )


def remove(db: sqlite3.Connection, epoch: str, number: int) -> None:
    db.execute("DELETE FROM outbox_batch WHERE epoch = ? AND number = ?", (epoch, number))


def header_hash(db: sqlite3.Connection, epoch: str, number: int) -> str | None:
    """SHA-256 of a batch's header, hexadecimal."""
    row = db.execute("SELECT header FROM outbox_batch WHERE epoch = ? AND number = ?", (epoch, number)).fetchone()
    return None if row is None else hashlib.sha256(row[0].encode()).hexdigest()


def made(db: sqlite3.Connection, epoch: str) -> int:
    """The last number of an epoch; 0 where there is none."""
    row = db.execute("SELECT made FROM outbox_epoch WHERE id = ?", (epoch,)).fetchone()
    return 0 if row is None else int(row[0])


def remove_range(db: sqlite3.Connection, epoch: str, first: int, last: int) -> int:
    """Remove batches ``first`` to ``last``; how many there were."""
    return db.execute(
        "DELETE FROM outbox_batch WHERE epoch = ? AND number BETWEEN ? AND ?", (epoch, first, last)
    ).rowcount


def count_dropped(db: sqlite3.Connection, epoch: str, batches: int, records: Mapping[str, int]) -> None:
    """Add to what has left the outbox since this epoch began."""
    row = db.execute("SELECT dropped_records FROM outbox_epoch WHERE id = ?", (epoch,)).fetchone()
    total = json.loads(row[0])
    for kind, count in records.items():
        total[kind] = total.get(kind, 0) + count
    db.execute(
        "UPDATE outbox_epoch SET dropped_batches = dropped_batches + ?, dropped_records = ? WHERE id = ?",
        (batches, json.dumps(total, sort_keys=True), epoch),
    )


def take_over(db: sqlite3.Connection) -> None:
    """Add what the database attached as ``old`` has; of its epochs it knows more than this one, an older copy."""
    db.execute("DELETE FROM main.outbox_batch WHERE epoch IN (SELECT id FROM old.outbox_epoch)")
    for table in ("outbox_epoch", "outbox_batch"):
        db.execute(f"INSERT OR REPLACE INTO main.{table} SELECT * FROM old.{table}")  # noqa: S608 - names of this module


def _epoch(row: tuple[object, ...] | None) -> Epoch | None:
    if row is None:
        return None
    values = list(row)
    values[7] = json.loads(str(values[7]))
    return Epoch(*values)  # type: ignore[arg-type]
