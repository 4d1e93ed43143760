"""Opens the database and turns SQLite's refusals into sentences. It must not know tables other than ``meta``.

The file is never created here: portal.store.setup does that, once, in a directory that never held one. Beside it stands
a marker, ``gerbang.db.epoch``, with the database's epoch: a database that vanished or was exchanged is noticed, and
nobody starts with an empty one unasked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from portal import wholefile

DATABASE: Final = "database"
DATABASE_FULL: Final = "database-full"
DATABASE_CORRUPT: Final = "database-corrupt"
DATABASE_NEWER: Final = "database-newer"
BUSY: Final = "busy"

APPLICATION_ID: Final = 0x67626E67  # "gbng", in the file's header (sqlite.org/fileformat.html, offset 68)
SCHEMA_VERSION: Final = 3  # PRAGMA user_version after the last of portal.store.migrations
BUSY_TIMEOUT_S: Final = 5.0
_MAGIC = b"SQLite format 3\0"
_CACHE_KIB = 1024

RECOVER_HINT = (
    "Nobody who is online is cut off. Run `gerbang recover`: it keeps the broken file aside and carries over what can "
    "still be read."
)

# https://sqlite.org/rescode.html
_CODES = {
    sqlite3.SQLITE_FULL: DATABASE_FULL,
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_LOCKED: BUSY,
    sqlite3.SQLITE_CORRUPT: DATABASE_CORRUPT,
    sqlite3.SQLITE_NOTADB: DATABASE_CORRUPT,
    sqlite3.SQLITE_FORMAT: DATABASE_CORRUPT,
}
_HINTS = {
    DATABASE: "See whether the data directory can be written by the portal's user and the disk is not read-only.",
    DATABASE_FULL: "Free space on the disk that holds the data directory.",
    DATABASE_CORRUPT: RECOVER_HINT,
    DATABASE_NEWER: "Install the Gerbang that it is of; this one would lose data.",
    BUSY: "Try again in a moment.",
}


class StoreError(Exception):
    """The database did not do it: ``code`` is stable, ``message`` says what and where, ``hint`` what to do."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        self.code = code
        self.message = message
        self.hint = _HINTS[code] if hint is None else hint
        super().__init__(f"{message} [{code}] {self.hint}")


def store_error(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    """The StoreError for what SQLite or the disk said."""
    if isinstance(error, OSError):
        code = DATABASE_FULL if error.errno == errno.ENOSPC else DATABASE
    else:
        code = _CODES.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF, DATABASE)
        if code == DATABASE and _disk_is_full(path):  # e.g. the shared memory file could not grow: "disk I/O error"
            code = DATABASE_FULL
    return StoreError(code, f"The database {path} refused: {error}.")


def _disk_is_full(path: Path) -> bool:
    """Is there less than the 32 KiB by which the shared memory file beside a WAL database grows?"""
    with contextlib.suppress(OSError):
        disk = os.statvfs(path.parent)
        return disk.f_bavail * disk.f_frsize < 32 * 1024 or disk.f_favail == 0
    return False


def is_absent(path: Path) -> bool:
    """There is no database, and there never was one."""
    return not path.exists() and read_marker(path) is None


def damage_note_of(path: Path) -> Path:
    """Where portal.store.check notes that the database is damaged."""
    return path.with_name(path.name + ".damaged")


def damaged(path: Path) -> StoreError:
    findings = ""
    with contextlib.suppress(OSError):
        findings = damage_note_of(path).read_text(encoding="utf-8").partition("\n")[0]
    return StoreError(DATABASE_CORRUPT, f"The database {path} is damaged: {findings or 'no more is known'}.")


def marker_of(path: Path) -> Path:
    return path.with_name(path.name + ".epoch")


def read_marker(path: Path) -> str | None:
    try:
        return marker_of(path).read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None


def write_marker(path: Path, epoch: str) -> None:
    """Whole or not at all."""
    wholefile.write(marker_of(path), f"{epoch}\n".encode("ascii"))


def connect(path: Path) -> sqlite3.Connection:
    """A connection to an existing file, checked: SQLite, Gerbang's, this version, the epoch of its marker.

    Cheap on purpose (header, schema, one row): reading the whole file is portal.store.check's, for the meter's start.
    """
    connection = connect_any_version(path)
    try:
        check_identity(connection, path)
        if damage_note_of(path).exists():
            raise damaged(path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_any_version(path: Path) -> sqlite3.Connection:
    """A connection to an existing database of Gerbang's, whatever its version. Raises StoreError."""
    _check_file(path)
    try:
        connection = sqlite3.connect(
            path.resolve().as_uri() + "?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,  # transactions are written out, never implied
            check_same_thread=False,  # Database holds a lock
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")  # in WAL mode: each COMMIT is on the disk when it returns
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            ((application_id,),) = connection.execute("PRAGMA application_id").fetchall()
            if application_id != APPLICATION_ID:
                raise StoreError(DATABASE_CORRUPT, f"The file {path} is an SQLite database of another program.")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    return connection


_kept: dict[tuple[int, int], int] = {}  # (device, inode) -> descriptor for reading heads
_kept_lock = threading.Lock()


def _head(path: Path) -> bytes:
    """The first bytes of a database file, through a descriptor that is never closed.

    Closing any descriptor of a file gives up all locks that the process has on it (fcntl(2)), also those of SQLite's
    open connections. Another process would then take itself for the last user, and delete the log under them: what
    they commit from there on is lost (sqlite.org/howtocorrupt.html, 2.2).
    """
    with _kept_lock:
        found = path.stat()
        descriptor = _kept.get((found.st_dev, found.st_ino))
        if descriptor is None:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            found = os.fstat(descriptor)
            _kept[found.st_dev, found.st_ino] = descriptor
    return os.pread(descriptor, len(_MAGIC), 0)


def _check_file(path: Path) -> None:
    try:
        head = _head(path)
    except FileNotFoundError:
        if read_marker(path) is None:
            raise StoreError(DATABASE, f"The database {path} has not been created yet.") from None
        raise StoreError(DATABASE_CORRUPT, f"The database {path} existed and is gone.") from None
    except OSError as error:
        raise store_error(error, path) from error
    if head != _MAGIC:
        raise StoreError(DATABASE_CORRUPT, f"The file {path} is not an SQLite database.")


def check_identity(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError unless the database has this version and is the one that the marker names."""
    version = schema_version(connection)
    if version > SCHEMA_VERSION:
        hint = f"Install a Gerbang that knows version {version}; this one would lose data."
        message = f"The database {path} has version {version}, newer than {SCHEMA_VERSION}."
        raise StoreError(DATABASE_NEWER, message, hint)
    if version < SCHEMA_VERSION:
        hint = "Restart Gerbang: it migrates the database when it starts."
        raise StoreError(DATABASE, f"The database {path} has version {version}, older than {SCHEMA_VERSION}.", hint)
    try:
        row = connection.execute("SELECT epoch FROM meta").fetchone()
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    if row is None:
        raise StoreError(DATABASE_CORRUPT, f"The database {path} has lost its epoch.")
    if (marker := read_marker(path)) is not None and marker != row[0]:
        raise StoreError(DATABASE_CORRUPT, f"The database {path} is not the one that {marker_of(path).name} names.")


def schema_version(connection: sqlite3.Connection) -> int:
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return int(version)


class Database:
    """A connection that opens when needed, for any number of threads, one at a time.

    It opens again after a failure and when the file at the path is another than the one opened, so that a mended
    database is found without a restart. A file that was removed while open raises: what is written there is lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One snapshot. Raises StoreError."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: on the disk when the block has ended, undone when it raises. Raises StoreError."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def checkpoint(self) -> None:
        """Write the log beside the file back into it, and cut it off unless somebody reads it. Raises StoreError.

        Nobody is waited for: whoever wants to write meanwhile would have to wait too.
        """
        with self._lock:
            connection = self._opened()
            try:
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")
            except sqlite3.Error as error:
                self._close()
                raise store_error(error, self._path) from error

    def close(self) -> None:
        with self._lock:
            self._close()

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._opened()
            try:
                connection.execute(begin)
                if not self._is_in_place():  # exchanged while this waited for its turn: what it wrote there were lost
                    connection.execute("ROLLBACK")
                    connection = self._opened()
                    connection.execute(begin)
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                self._close()
                raise store_error(error, self._path) from error

    def _is_in_place(self) -> bool:
        """Is the opened file still the one at the path?"""
        return self._identity_now() == self._identity

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _opened(self) -> sqlite3.Connection:
        identity = self._identity_now()
        if self._connection is None or identity != self._identity or damage_note_of(self._path).exists():
            self._close()
            self._connection = connect(self._path)
            self._identity = identity
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None
