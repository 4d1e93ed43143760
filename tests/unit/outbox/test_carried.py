"""The outbox through a recovery of a damaged database, and a restore: no batch is lost, no number used twice."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from pathlib import Path

from portal import batchfiles, outbox
from portal.domain import batch, batchcheck
from portal.store import merge, migrations, recovery
from portal.store import outbox as store
from portal.store.db import Database
from tests.unit.outbox.conftest import BOOT, FIRST, Figures, at, fill
from tests.unit.outbox.making import SITE

DAY = dt.timedelta(days=1)


def chains(path: Path) -> list[tuple[str, list[int]]]:
    database = Database(path)
    try:
        with database.read() as db:
            files = [outbox.to_file(one) for one in store.read(db, store.numbers(db))]
    finally:
        database.close()
    report = batchcheck.check(batchfiles.parsed(batch.file_name(batch.from_file(one).header), one) for one in files)
    assert report.good
    assert not report.findings
    return [(chain.epoch, [one.header.number for one in chain.batches]) for chain in report.chains]


def path_of(database: Database) -> Path:
    with database.read() as db:
        return Path(db.execute("PRAGMA database_list").fetchone()[2])


def trust(database: Database) -> None:
    with database.write() as db:
        db.execute("UPDATE meta SET boot_id = ?1, trusted_boot_id = ?1", (BOOT,))


def test_a_recovery_carries_the_batches_and_begins_another_epoch(database: Database, figures: Figures) -> None:
    path = path_of(database)
    fill(database, at(FIRST + 2 * DAY))
    database.close()
    ((before, _),) = chains(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 1")
    connection.close()
    assert recovery.replace_broken(path, migrations.migrate) is not None
    assert chains(path) == [(before, list(range(1, 7)))]
    trust(database)
    fill(database, at(FIRST + 3 * DAY))
    first, second = chains(path)
    assert first == (before, list(range(1, 7)))
    assert second[1] == list(range(1, 10))


def test_a_restore_of_an_older_backup_keeps_what_was_made_since(
    database: Database, figures: Figures, tmp_path: Path
) -> None:
    path = path_of(database)
    fill(database, at(FIRST + DAY))
    database.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    backup = Path(shutil.copy(path, tmp_path / "backup.db"))
    fill(database, at(FIRST + 2 * DAY))
    ((before, _),) = chains(path)
    order = merge.Restore(backup, at(FIRST + DAY).wall_s, True, "tono", "technician", {"site": SITE})
    merge.replace_with(path, order, lambda: at(FIRST + 2 * DAY, 5))
    assert chains(path) == [(before, list(range(1, 7)))]
    trust(database)
    fill(database, at(FIRST + 2 * DAY, 6))
    first, second = chains(path)
    assert first == (before, list(range(1, 7)))
    assert second[1] == list(range(1, 7))
    assert first[0] != second[0]
