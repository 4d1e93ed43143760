"""Creates or migrates the database before anybody uses it, in a short-lived child. It must not know what tables hold.

The child keeps sqlite-utils out of the memory of the processes that last, and works as the owner of the data directory,
so that root never leaves a file there that the portal cannot write.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from portal import wholefile
from portal.store import db
from portal.store.db import StoreError

MODE: Final = 0o660
"""Two users of one group share the database: guest and meter, and the staff pages. SQLite gives its log and its shared
memory the mode of the file itself (sqlite.org/src, findCreateFileMode), whatever the umask."""

PAGE_BYTES: Final = 1024
"""SQLite's log takes whole pages, and most of what is written changes a row here and there: smaller ones than usual
spare the SD card (docs/measurements.md, card_writes_mb_day), and cost 1 % of the file."""


def ensure(path: Path) -> None:
    """Make sure that the database at ``path`` exists, is Gerbang's and has this version's schema. Raises StoreError.

    The directory must exist. Call it with root rights or as the directory's owner, and before any thread is started.
    """
    if is_current(path):
        return

    def bring_up() -> None:
        # Loads sqlite-utils and more; before root is given up, to read them.
        from portal.store import migrations, schemaback  # noqa: F401, PLC0415

        become_owner_of(path.parent)
        create_or_migrate(path, migrations.migrate)

    in_child(bring_up)


def is_current(path: Path) -> bool:
    """Is nothing to be done? Raises StoreError where only `gerbang recover` may do it."""
    if db.read_marker(path) is None or not path.exists():
        refuse_remains(path)
        return False
    if not is_shared(path):
        return False
    connection = db.connect_any_version(path)
    try:
        version = db.schema_version(connection)
        if version < db.SCHEMA_VERSION or (version > db.SCHEMA_VERSION and _can_go_back(path)):
            return False
        db.check_identity(connection, path)
    except sqlite3.Error as error:
        raise db.store_error(error, path) from error
    finally:
        connection.close()
    return True


def _can_go_back(path: Path) -> bool:
    from portal.store import schemaback  # noqa: PLC0415 - after an update that was undone

    return schemaback.can_go_back(path)


def is_shared(path: Path) -> bool:
    return path.stat().st_mode & 0o777 == MODE


def share(path: Path) -> None:
    """Let the group in, where an earlier version made the files for their owner alone. As that owner: root would follow
    a link that the owner put there."""
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        with contextlib.suppress(FileNotFoundError):
            file.chmod(MODE)


def refuse_remains(path: Path) -> None:
    """Raises StoreError if the database is missing though something says that there was one."""
    if path.exists():
        return
    if db.read_marker(path) is not None:
        raise StoreError(db.DATABASE_CORRUPT, f"The database {path} existed and is gone.")
    if (log := path.with_name(path.name + "-wal")).exists():
        raise StoreError(db.DATABASE_CORRUPT, f"The database {path} is gone, but its log {log.name} is there.")


def create_or_migrate(path: Path, migrate: Callable[[sqlite3.Connection], None]) -> None:
    """What the child does. One process at a time, under a lock on the directory.

    What is migrated is copied before; a newer database gives way to the copy that was made of it so, where there is
    one.
    """
    from portal.store import schemaback  # noqa: PLC0415 - it imports this module

    try:
        with locked(path.parent):
            refuse_remains(path)
            if not path.exists():
                build(path, migrate).rename(path)
                wholefile.sync(path.parent)
            share(path)
            if _version_of(path) > db.SCHEMA_VERSION and schemaback.can_go_back(path):
                schemaback.go_back(path)
            connection = db.connect_any_version(path)
            try:
                if db.schema_version(connection) < db.SCHEMA_VERSION:
                    schemaback.keep(connection, path)
                    make_pages_small(connection)
                if db.schema_version(connection) <= db.SCHEMA_VERSION:
                    migrate(connection)
                db.check_identity(connection, path)
                if db.read_marker(path) is None:
                    db.write_marker(path, connection.execute("SELECT epoch FROM meta").fetchone()[0])
            finally:
                connection.close()
    except (sqlite3.Error, OSError) as error:
        raise db.store_error(error, path) from error


def _version_of(path: Path) -> int:
    with contextlib.closing(db.connect_any_version(path)) as connection:
        return db.schema_version(connection)


def make_pages_small(connection: sqlite3.Connection) -> None:
    """Of an older version, once: rewritten whole or not at all, and left as it is where the disk has no room for it."""
    ((page_bytes,),) = connection.execute("PRAGMA page_size").fetchall()
    if page_bytes != PAGE_BYTES:
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = DELETE")  # VACUUM changes the size only without the log
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode = WAL")  # also where a power cut came before this the last time


def build(path: Path, migrate: Callable[[sqlite3.Connection], None]) -> Path:
    """A new file, under a name beside ``path``: renamed later, so that a power cut leaves a whole database or none."""
    new = path.with_name(path.name + ".new")
    for leftover in (new, *(new.with_name(new.name + end) for end in ("-wal", "-shm", "-journal"))):
        leftover.unlink(missing_ok=True)
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        migrate(connection)
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()  # the last to close writes the log back and removes it
    new.chmod(MODE)
    return new


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process at a time creates, migrates or recovers in this directory (flock(2))."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def become_owner_of(directory: Path) -> None:
    """Give up root for the user and group that own ``directory``; nothing to do for anybody else."""
    if os.geteuid() != 0:
        return
    owner = directory.stat()
    if owner.st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def in_child(work: Callable[[], object]) -> object:
    """Run ``work`` in a forked child; its result (anything JSON has) is returned, its StoreError raised here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        said: dict[str, object] = {}
        try:
            said = {"result": work()}
        except StoreError as error:
            said = {"error": [error.code, error.message, error.hint]}
        except BaseException as error:  # whatever it is, the parent says it
            said = {"error": [db.DATABASE, f"The database could not be set up: {error!r}.", None]}
        finally:
            os.write(writing, json.dumps(said).encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        heard = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0 or not heard:
        raise StoreError(db.DATABASE, f"The child that sets up the database ended with {status}.")
    answer = json.loads(heard)
    if "error" in answer:
        raise StoreError(*answer["error"])
    return answer["result"]
