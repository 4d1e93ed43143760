"""Keeps the database as it was before a migration, and goes back to it where an older version finds a newer one.

It knows of the schema only what every version has had since the third. The copy is named by its schema, so that an
older version finds its own without being told: ``gerbang.db.schema-3``. Going back is as if the power had been cut when
the copy was made: whoever was online then goes on with what they had left. What the newer version wrote since is not in
it: that database is kept aside whole, what it holds more is counted and said, and the log says that its tail is lost.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from portal import clock, wholefile
from portal.domain.journal import GENESIS, Kind
from portal.domain.model import Now
from portal.store import audit, db, journal, sessions, setup
from portal.store.db import StoreError

log = logging.getLogger("gerbang.store")

COPIES: Final = 2  # of older schemas, and of newer databases that were kept aside
ROOM_BYTES: Final = 4 * 1024 * 1024  # left free beside a copy: the gateway writes meanwhile
ID_GAP: Final = 65_536  # as portal.store.merge has it: netctl must never take a new session for an old one
# What a database has more than another: rows whose number is beyond the other's last.
_COUNTED: Final = {"log_entries": ("journal", "seq"), "sessions": ("session", "id"), "acts": ("audit", "id")}
_COUNTED_TOO: Final = {"vouchers": ("voucher", "id"), "accounts": ("account", "id")}


@dataclass(frozen=True, slots=True)
class WentBack:
    """``kept``: the newer database. ``since_wall_s``: the copy tells of nothing after that moment. The counts are of
    what the newer one has more; None where it can no longer be read that way."""

    kept: str
    from_schema: int
    to_schema: int
    since_wall_s: float
    wall_s: float
    lost: dict[str, int | None]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def copy_of(path: Path, schema: int) -> Path:
    """Where the database is kept as it was when it last had this schema."""
    return path.with_name(f"{path.name}.schema-{schema}")


def note_of(path: Path) -> Path:
    return path.with_name(path.name + ".went-back")


def note(path: Path) -> WentBack | None:
    """That the database went back, and what that cost; None where it did not since it was last migrated."""
    try:
        return WentBack(**json.loads(note_of(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


# --- forward --------------------------------------------------------------------------------------------------------


def keep(connection: sqlite3.Connection, path: Path) -> Path:
    """Copy the database before it is migrated; whole or not at all. Raises StoreError, and nothing is migrated then."""
    schema = db.schema_version(connection)
    copy = copy_of(path, schema)
    ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
    ((page_bytes,),) = connection.execute("PRAGMA page_size").fetchall()
    disk = os.statvfs(path.parent)
    # Once for the copy, once for the migration, which may write every page anew beside the file.
    if (needed := 2 * pages * page_bytes + ROOM_BYTES) > disk.f_bavail * disk.f_frsize:
        message = f"There is no room for a copy of {path} before it is migrated: {needed // 1024} KiB are needed."
        raise StoreError(db.DATABASE_FULL, message)
    new = _fresh(path, copy.name)
    with contextlib.closing(sqlite3.connect(new)) as target:
        connection.backup(target, pages=1000)
        target.execute("PRAGMA journal_mode = DELETE")
    _finish(new)
    new.rename(copy)
    wholefile.sync(path.parent)
    note_of(path).unlink(missing_ok=True)
    for old in sorted(path.parent.glob(f"{path.name}.schema-*"), key=_schema_of, reverse=True)[COPIES:]:
        old.unlink(missing_ok=True)
    return copy


def _schema_of(copy: Path) -> int:
    end = copy.name.rpartition("-")[2]
    return int(end) if end.isdigit() else 0


def _fresh(path: Path, name: str) -> Path:
    new = path.with_name(f"{name}.new")
    for side in ("", "-wal", "-shm", "-journal"):
        new.with_name(new.name + side).unlink(missing_ok=True)
    return new


def _finish(new: Path) -> None:
    new.chmod(setup.MODE)
    wholefile.sync(new)


# --- back -----------------------------------------------------------------------------------------------------------


def can_go_back(path: Path) -> bool:
    return copy_of(path, db.SCHEMA_VERSION).exists()


def go_back(path: Path, read_clock: Callable[[], Now] = clock.now) -> WentBack:
    """Put the copy of this version's schema in the place of a newer database. As the directory's owner, under its lock.

    Raises StoreError, and the newer database is untouched then. Cut off at any moment, it is done again or was done.
    """
    copy, now = copy_of(path, db.SCHEMA_VERSION), read_clock()
    _check(copy)
    with contextlib.closing(db.connect_any_version(path)) as newer:
        schema = db.schema_version(newer)
        newer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        new = _fresh(path, path.name)
        with contextlib.closing(sqlite3.connect(copy)) as source, contextlib.closing(sqlite3.connect(new)) as target:
            source.backup(target)
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN")
            lost = _beyond(connection, newer)
            (since_wall_s,) = connection.execute("SELECT seen_wall_s FROM meta").fetchone()
            epoch = _settle(connection, newer, lost, schema, now)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
    _finish(new)
    kept = _kept_name(path)
    went = WentBack(str(kept), schema, db.SCHEMA_VERSION, since_wall_s, now.wall_s, lost)
    db.write_marker(path, epoch)
    kept.hardlink_to(path)  # the newer one has two names for a moment, and never none
    for side in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + side).rename(kept.with_name(kept.name + side))
    new.rename(path)
    wholefile.sync(path.parent)
    db.damage_note_of(path).unlink(missing_ok=True)
    note_of(path).write_text(json.dumps(went.as_json()) + "\n", encoding="utf-8")
    for old in sorted(path.parent.glob(f"newer-*.{path.name}"))[:-COPIES]:
        old.unlink(missing_ok=True)
    log.warning("%s", sentence(went))
    return went


def sentence(went: WentBack) -> str:
    """What it cost, for the log."""
    parts = ", ".join(
        f"{'?' if count is None else count} {name.replace('_', ' ')}" for name, count in went.lost.items()
    )
    return (
        f"The database had schema {went.from_schema}, newer than {went.to_schema}: the copy from before the update is "
        f"in its place. Not in it: {parts}. They are kept in {went.kept}."
    )


def _check(copy: Path) -> None:
    """Is the copy whole, and ours?"""
    hint = "Install the newer Gerbang again; its database is untouched."
    with contextlib.closing(sqlite3.connect(copy.resolve().as_uri() + "?mode=ro", uri=True)) as connection:
        ((application_id,),) = connection.execute("PRAGMA application_id").fetchall()
        if application_id != db.APPLICATION_ID or db.schema_version(connection) != db.SCHEMA_VERSION:
            raise StoreError(db.DATABASE_NEWER, f"{copy} is no database of schema {db.SCHEMA_VERSION}.", hint)
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
        if found != ["ok"]:
            raise StoreError(db.DATABASE_NEWER, f"The copy {copy} is damaged: {found[0]}.", hint)


def _kept_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (path.with_name(f"newer-{stamp}-{number:03}.{path.name}") for number in range(1000))
    return next(name for name in names if not name.exists())


def _beyond(ours: sqlite3.Connection, newer: sqlite3.Connection) -> dict[str, int | None]:
    """How much the newer database has that ours lacks."""
    found: dict[str, int | None] = {}
    for name, (table, key) in (_COUNTED | _COUNTED_TOO).items():
        try:
            (last,) = ours.execute(f"SELECT coalesce(max({key}), 0) FROM {table}").fetchone()  # noqa: S608 - our names
            (found[name],) = newer.execute(f"SELECT count(*) FROM {table} WHERE {key} > ?", (last,)).fetchone()  # noqa: S608
        except sqlite3.Error:
            found[name] = None
    return found


def _settle(
    ours: sqlite3.Connection, newer: sqlite3.Connection, lost: dict[str, int | None], schema: int, now: Now
) -> str:
    """Make the copy a database that goes on from here; its epoch. No number that the newer one gave out comes again."""
    epoch = str(uuid.uuid4())
    highest = _highest(newer)
    ours.execute("UPDATE meta SET epoch = ?, generation = generation + 1", (epoch,))
    ours.execute("DELETE FROM staff_session")
    ours.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) + ? WHERE name = 'session'", (highest, ID_GAP))
    last = Now(*ours.execute("SELECT boot_id, seen_boot_s, seen_wall_s FROM meta").fetchone())
    if lost["log_entries"] != 0:
        seq, _ = journal.head(ours)
        until = max(seq + 1, _last_entry(newer))
        ours.execute("INSERT INTO journal_tomb VALUES (?, ?, ?)", (seq + 1, until, GENESIS))
        # Told at the last moment that the copy knows of: what came after is what is lost.
        journal.append(ours, Kind.LOST, {"first": seq + 1, "last": until, "next": None}, last if last.boot_id else now)
    sessions.note_time(ours, now)
    after = {"from_schema": schema, "to_schema": db.SCHEMA_VERSION, "lost": lost}
    who = {"actor": "gerbang", "role": "system", "action": "database.back", "object": "database"}
    audit.write(ours, **who, before=None, after=after, now=now)
    if broken := ours.execute("PRAGMA foreign_key_check").fetchone():
        raise StoreError(db.DATABASE_CORRUPT, f"The copy from before the update contradicts itself in {broken[0]}.")
    return epoch


def _highest(newer: sqlite3.Connection) -> int:
    with contextlib.suppress(sqlite3.Error, TypeError):
        return int(newer.execute("SELECT seq FROM sqlite_sequence WHERE name = 'session'").fetchone()[0])
    return 0


def _last_entry(newer: sqlite3.Connection) -> int:
    with contextlib.suppress(sqlite3.Error, TypeError):
        return int(newer.execute("SELECT max(seq) FROM journal").fetchone()[0])
    return 0
