"""SQLite's locks on the database outlive whatever else the process does with the file."""

from __future__ import annotations

import os
from pathlib import Path

from portal.paths import Paths
from portal.store.db import Database


def _holds_a_lock(path: Path) -> bool:
    """Does this process hold a POSIX lock on the file? Lines of /proc/locks: ... PID MAJOR:MINOR:INODE START END."""
    inode = str(path.stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "POSIX" and words[4] == str(os.getpid()) and words[5].rpartition(":")[2] == inode:
            return True
    return False


def test_a_second_connection_does_not_give_up_the_locks_of_the_first(paths: Paths, database: Database) -> None:
    """Without them the next process to close deletes the log under this one, and what it commits is lost."""
    with database.write() as connection:
        connection.execute("UPDATE meta SET generation = generation + 1")
    assert _holds_a_lock(paths.database)
    second = Database(paths.database)
    with second.read() as connection:
        connection.execute("SELECT * FROM meta").fetchall()
    assert _holds_a_lock(paths.database)
    second.close()
    assert _holds_a_lock(paths.database)
