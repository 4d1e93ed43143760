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

from portal import clock, wholefile
from portal.domain.model import Now
from portal.store import check, db, journalcarry, natlog, setup
from portal.store.db import StoreError

_SIDES = ("", "-wal", "-shm", "-journal")
# In the order of their references. Left out: what was seen of the uplink, who waits, logins of the staff, what was sent
# of which day, and records, which are made again from the log; the log itself is portal.store.journalcarry's.
_TABLES = (
    "voucher_batch",
    "voucher",
    "account",
    "person",
    "voucher_device",
    "person_day",
    "device",
    "session",
    "counter",
    "closure",
    "notice",
    "staff_user",
    "audit",
    "nat_chunk",
    "nat_log",
    "outbox_epoch",
    "outbox_batch",
    "pseudonym_key",
    "arrival",
    "hour_figures",
    "day_figures",
)


@dataclass(frozen=True, slots=True)
class Recovered:
    """``kept``: where the old file is now (None: there was none). ``whole`` is False where damage was met: there may
    have been more sessions than the ``sessions`` that were carried over, ``running`` of them not ended."""

    kept: str | None
    sessions: int
    running: int
    whole: bool


def recover(path: Path, read_clock: Callable[[], Now] = clock.now) -> Recovered | None:
    """Replace the database at ``path``; None, and nothing is done, where it is whole.

    Call it as root or as the owner of the directory, before any thread is started. Raises StoreError; nothing is lost
    then, and calling it again goes on.
    """

    def work() -> object:
        from portal.store import migrations  # noqa: PLC0415 - loads sqlite-utils; before root is given up, to read it

        setup.become_owner_of(path.parent)
        found = replace_broken(path, migrations.migrate, read_clock)
        return None if found is None else asdict(found)

    found = setup.in_child(work)
    return Recovered(**found) if isinstance(found, dict) else None


def replace_broken(
    path: Path, migrate: Callable[[sqlite3.Connection], None], read_clock: Callable[[], Now] = clock.now
) -> Recovered | None:
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
                whole = _carry_over(source, connection, read_clock)
                sessions, running = connection.execute(
                    "SELECT count(*), count(*) FILTER (WHERE ended_wall_s IS NULL) FROM session"
                ).fetchone()
                epoch = connection.execute("SELECT epoch FROM meta").fetchone()[0]
            finally:
                connection.close()
            kept = keep_aside(path, "broken") if path.exists() else source
            db.write_marker(path, epoch)
            new.rename(path)
            wholefile.sync(path.parent)
            db.damage_note_of(path).unlink(missing_ok=True)
            return Recovered(None if kept is None else str(kept), sessions, running, whole)
    except (sqlite3.Error, OSError) as error:
        raise db.store_error(error, path) from error


def _is_whole(path: Path) -> bool:
    """Of an earlier version it is not: the start migrates one that is, so there is a reason to be asked for it."""
    try:
        check.check(path)
    except StoreError as error:
        if error.code != db.DATABASE_CORRUPT and not _is_older(path):
            raise
        return False
    return True


def _is_older(path: Path) -> bool:
    with contextlib.closing(db.connect_any_version(path)) as connection:
        return db.schema_version(connection) < db.SCHEMA_VERSION


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


def _carry_over(source: Path | None, new: sqlite3.Connection, read_clock: Callable[[], Now]) -> bool:
    """Copy what can be read; whether all of it could."""
    new.execute("BEGIN")
    old = None if source is None else _opened(source)
    whole = old is not None
    found = journalcarry.salvage(old, new, 0 if source is None else _size_bytes(source))
    if old is not None:
        try:
            whole &= _copy_row(old, new, "meta", but=("epoch", "generation"))
            for table in ("arrival_mark", "erasure_seen"):
                _copy_row(old, new, table)
            new.execute("DELETE FROM nat_log")  # the old one's stands for it
            for table in _TABLES:
                whole &= _copy(old, new, table)
                whole &= _mend_references(new, table)
            natlog.settle(new)
        finally:
            old.close()
    journalcarry.tell(new, found, read_clock())
    new.execute("COMMIT")
    return whole and found.whole


def _opened(source: Path) -> sqlite3.Connection | None:
    """Read-only: what is kept is not written to."""
    try:
        old = sqlite3.connect(source.resolve().as_uri() + "?mode=ro", uri=True, isolation_level=None)
        # Says nothing of the schema here: it lets SQLite read a file that is shorter than its header says.
        old.execute("PRAGMA writable_schema = ON")
    except sqlite3.Error:
        return None
    return old


def _size_bytes(source: Path) -> int:
    sides = (source.with_name(source.name + side) for side in _SIDES)
    return sum(side.stat().st_size for side in sides if side.exists())


def _copy_row(old: sqlite3.Connection, new: sqlite3.Connection, table: str, but: tuple[str, ...] = ()) -> bool:
    """The one row of a table. Of ``meta``, the epoch and its generations are the new one's own."""
    try:
        columns = [name for name in _columns(old, table) if name not in ("id", *but)]
        if not columns:
            return True  # an earlier version had no such table
        values = old.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchone()  # noqa: S608
        new.execute(f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in columns)}", values)  # noqa: S608
    except (sqlite3.Error, TypeError):  # no row: None
        return False
    return True


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> bool:
    """Read from both ends: a damaged page in the middle hides neither. Rows that the schema refuses are left out."""
    try:
        known = set(_columns(old, table))
    except sqlite3.Error:
        return False
    columns = [name for name in _columns(new, table) if name in known]
    if not columns:
        return True  # an earlier version had no such table
    key = next(row[1] for row in new.execute(f"PRAGMA table_info({table})") if row[5] == 1)
    whole = True
    for order in ("ASC", "DESC"):
        try:
            for row in old.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {key} {order}"):  # noqa: S608
                try:
                    new.execute(
                        f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) "  # noqa: S608
                        f"VALUES ({', '.join('?' * len(columns))})",
                        row,
                    )
                except sqlite3.IntegrityError:  # a wrong type
                    whole = False
        except sqlite3.Error:
            whole = False
            continue
        break
    return whole


def _mend_references(new: sqlite3.Connection, table: str) -> bool:
    """What names a row that could not be read stays without it, or goes where it cannot; whether there was nothing.

    So a session whose person is lost goes on.
    """
    required = {row[1] for row in new.execute(f"PRAGMA table_info({table})") if row[3]}
    mended = 0
    for _, _, parent, column, *_ in new.execute(f"PRAGMA foreign_key_list({table})").fetchall():
        lost = f"{column} IS NOT NULL AND {column} NOT IN (SELECT id FROM {parent})"  # noqa: S608
        if column in required:
            mended += new.execute(f"DELETE FROM {table} WHERE {lost}").rowcount  # noqa: S608
        else:
            mended += new.execute(f"UPDATE {table} SET {column} = NULL WHERE {lost}").rowcount  # noqa: S608
    return not mended
