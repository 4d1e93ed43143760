"""The NAT log through a recovery of a damaged database, and through a restore of a backup."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from portal.natlog import NatLog
from portal.paths import Paths
from portal.store import merge, migrations, recovery
from portal.store import natlog as store
from portal.store.db import Database
from tests.unit.natlog.gateway import SITE, Gateway
from tests.unit.portal.fakes import Clock


def numbers(path: Path) -> list[int]:
    database = Database(path)
    try:
        with database.read() as connection:
            assert store.faults(connection, SITE) == []
            held = store.held(connection)
            (size,) = connection.execute("SELECT coalesce(sum(length(sealed)), 0) FROM nat_chunk").fetchone()
            assert held.bytes == size
            return [head.number for head in store.heads(connection)]
    finally:
        database.close()


def copied(database: Database, paths: Paths, to: Path) -> Path:
    database.close()
    with sqlite3.connect(paths.database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    to.mkdir()
    return Path(shutil.copy(paths.database, to / "gerbang.db"))


def restore(paths: Paths, backup: Path, clock: Clock) -> None:
    order = merge.Restore(backup, 1.7e9, True, "tono", "technician", {"site": SITE})
    merge.replace_with(paths.database, order, clock)


def test_a_recovery_carries_the_chunks_and_where_the_chain_begins(five: Database, paths: Paths, clock: Clock) -> None:
    with five.write() as connection:
        store.drop_to(connection, store.held(connection).bytes - 1)
    five.close()
    with sqlite3.connect(paths.database) as connection:
        connection.execute("PRAGMA application_id = 1")
    connection.close()
    recovered = recovery.replace_broken(paths.database, migrations.migrate)
    assert recovered is not None
    assert numbers(paths.database) == [2, 3, 4, 5]


def test_a_restore_of_an_older_backup_keeps_what_was_logged_since(
    five: Database, paths: Paths, log: NatLog, gateway: Gateway, clock: Clock, tmp_path: Path
) -> None:
    backup = copied(five, paths, tmp_path / "backup")
    gateway.see()
    log.flush()
    five.close()
    restore(paths, backup, clock)
    assert numbers(paths.database) == [1, 2, 3, 4, 5, 6]


def test_a_restore_onto_a_new_database_brings_the_backups_log(
    five: Database, paths: Paths, pristine: Path, clock: Clock, tmp_path: Path
) -> None:
    backup = copied(five, paths, tmp_path / "backup")
    for file in paths.data.glob("gerbang.db*"):
        file.unlink()
    for file in pristine.iterdir():
        shutil.copy(file, paths.data)
    restore(paths, backup, clock)
    assert numbers(paths.database) == [1, 2, 3, 4, 5]
