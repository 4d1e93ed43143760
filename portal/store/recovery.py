"""Starts a new database where the old one is broken, on an order, and says what was carried over. It knows the schema.

The old file is kept aside under a name with the time. Sessions keep their ids, so that the kernel's counters go on and
people who are online stay online, as far as their rows can be read. Until the new file stands in its place whole, every
process finds the marker of a database that is not there, and pushes nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from portal.store import check, db, setup
from portal.store.db import StoreError

_SIDES = ("", "-wal", "-shm", "-journal")
_TABLES = ("session", "counter")  # in the order of their references


@dataclass(frozen=True, slots=True)
class Recovered:
    """``kept``: where the old file is now (None: there was none). ``whole`` is False where damage was met: there may
    have been more sessions than the ``sessions`` that were carried over, ``running`` of them not ended."""

    kept: str | None
    sessions: int
    running: int
    whole: bool


def recover(path: Path) -> Recovered | None:
    """Replace the database at ``path``; None, and nothing is done, where it is whole.

    Call it as root or as the owner of the directory, before any thread is started. Raises StoreError; nothing is lost
    then, and calling it again goes on.
    """

    def work() -> object:
        from portal.store import migrations  # noqa: PLC0415 - loads sqlite-utils; before root is given up, to read it

        setup.become_owner_of(path.parent)
        found = replace_broken(path, migrations.migrate)
        return None if found is None else asdict(found)

    found = setup.in_child(work)
    return Recovered(**found) if isinstance(found, dict) else None


def replace_broken(path: Path, migrate: Callable[[sqlite3.Connection], None]) -> Recovered | None:
    """What the child does, under the directory's lock."""
    try:
        with setup.locked(path.parent):
            if _is_whole(path):
                return None
            source = path if path.exists() else _last_kept(path)
            new = setup.build(path, migrate)
            connection = sqlite3.connect(new, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                whole = source is not None and _carry_over(source, connection)
                sessions, running = connection.execute(
                    "SELECT count(*), count(*) FILTER (WHERE ended_wall_s IS NULL) FROM session"
                ).fetchone()
                epoch = connection.execute("SELECT epoch FROM meta").fetchone()[0]
            finally:
                connection.close()
            kept = keep_aside(path, "broken") if path.exists() else source
            db.write_marker(path, epoch)
            new.rename(path)
            db.sync_directory(path.parent)
            db.damage_note_of(path).unlink(missing_ok=True)
            return Recovered(None if kept is None else str(kept), sessions, running, whole)
    except (sqlite3.Error, OSError) as error:
        raise db.store_error(error, path) from error


def _is_whole(path: Path) -> bool:
    try:
        check.check(path)
    except StoreError as error:
        if error.code != db.DATABASE_CORRUPT:
            raise
        return False
    return True


def _last_kept(path: Path) -> Path | None:
    """A recovery that was cut short has put the old file aside already."""
    return max(path.parent.glob(f"broken-*.{path.name}"), default=None)


def keep_aside(path: Path, why: str) -> Path:
    """Rename a database and its log to ``<why>-<time>-<number>.<name>``; its new path."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for number in range(1000):
        kept = path.with_name(f"{why}-{stamp}-{number:03}.{path.name}")
        if not kept.exists():
            break
    for side in (*_SIDES[1:], ""):  # the file itself last: as long as it is there, so is its log
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + side).rename(kept.with_name(kept.name + side))
    return kept


def _carry_over(source: Path, new: sqlite3.Connection) -> bool:
    """Copy what can be read; whether all of it could."""
    whole = True
    new.execute("BEGIN")
    try:
        # Read-only: what is kept is not written to.
        old = sqlite3.connect(source.resolve().as_uri() + "?mode=ro", uri=True, isolation_level=None)
        # Says nothing of the schema here: it lets SQLite read a file that is shorter than its header says.
        old.execute("PRAGMA writable_schema = ON")
    except sqlite3.Error:
        new.execute("ROLLBACK")
        return False
    try:
        try:
            boot = old.execute("SELECT boot_id, seen_boot_s FROM meta").fetchone()
            new.execute("UPDATE meta SET boot_id = ?, seen_boot_s = ?", boot)
        except (sqlite3.Error, ValueError):
            whole = False
        for table in _TABLES:
            whole &= _copy(old, new, table)
    finally:
        old.close()
    new.execute("COMMIT")
    return whole


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> bool:
    """Read from both ends: a damaged page in the middle hides neither. Rows that the schema refuses are left out."""
    columns = [row[1] for row in new.execute(f"PRAGMA table_info({table})")]
    key = "id" if table == "session" else "session_id"
    whole = True
    for order in ("ASC", "DESC"):
        try:
            for row in old.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {key} {order}"):  # noqa: S608
                try:
                    new.execute(
                        f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
                        row,
                    )
                except sqlite3.IntegrityError:  # a wrong type, or a counter whose session could not be read
                    whole = False
        except sqlite3.Error:
            whole = False
            continue
        break
    return whole
