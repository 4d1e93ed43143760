"""Databases of earlier versions, with rows in them, become today's: portal.store.migrations, step by step."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import sqlite3
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlite_utils

from portal.domain import codes
from portal.domain.model import EndReason, Now
from portal.domain.usage import CounterKey, Reading
from portal.store import check, counters, db, migrations, people, recovery, sessions, setup
from portal.store.db import Database, StoreError

ZONE = ZoneInfo("Asia/Makassar")
NOW = Now("boot", 1500.0, 2_000_000_000.0)
EPOCH = "0c9ff6b4-7a9e-4d4f-8b0c-2f6f5c1f7a10"
RUNNING, ENDLESS, ENDED = 501, 502, 503
OLD_ROWS = f"""
    UPDATE meta SET epoch = '{EPOCH}', generation = 17, boot_id = 'boot', seen_boot_s = 1000.0;
    INSERT INTO session VALUES
        ({RUNNING}, '02:00:00:00:00:01', '10.77.0.11', 'warga', 'terms', '1', 1.9e9, 'boot', 4600.0, 990.0,
            50, 500, NULL, NULL),
        ({ENDLESS}, '02:00:00:00:00:02', NULL, 'kantor', 'terms', '1', 1.9e9, 'boot', NULL, 980.0, 6, 60, NULL, NULL),
        ({ENDED}, '02:00:00:00:00:01', '10.77.0.11', 'warga', 'terms', '1', 1.8e9, 'early', 70.0, 60.0,
            7, 70, 1.8e9, 'time');
    INSERT INTO counter VALUES ('boot', {RUNNING}, '10.77.0.11', 50, 500, 5, 50, 999.0, 999.1);
    INSERT INTO uplink VALUES (1, 'up', 'boot', 900.0);
"""
OLD_COLUMNS = """
    id, mac, ipv4, plan, method, terms_version, started_wall_s, boot_id, deadline_boot_s, active_boot_s, up_bytes,
    down_bytes, ended_wall_s, end_reason
"""


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """As the first release left it: its schema, two sessions running and one ended, a counter, the uplink."""
    path = tmp_path / "gerbang.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrations.steps.apply(sqlite_utils.Database(connection), stop_before="step_2_people")
        connection.executescript(OLD_ROWS)
        connection.execute("PRAGMA journal_mode = WAL")
    db.write_marker(path, EPOCH)
    return path


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def old_columns(path: Path) -> list[list[tuple[Any, ...]]]:
    """Everything that version 1 knew."""
    return [
        rows(path, "SELECT epoch, generation, boot_id, seen_boot_s FROM meta"),
        rows(path, f"SELECT {OLD_COLUMNS} FROM session ORDER BY id"),
        rows(path, "SELECT * FROM counter"),
        rows(path, "SELECT id, state, boot_id, since_boot_s FROM uplink"),
    ]


def test_the_old_one_is_refused_until_it_is_migrated(version_1: Path) -> None:
    assert rows(version_1, "PRAGMA user_version") == [(1,)]
    with pytest.raises(StoreError, match="older") as error, Database(version_1).read():
        pass
    assert "Restart Gerbang" in error.value.hint


def test_nothing_old_is_lost_and_who_is_online_goes_on(version_1: Path) -> None:
    before = old_columns(version_1)
    setup.ensure(version_1)
    check.check(version_1)
    assert setup.is_current(version_1)
    assert old_columns(version_1) == before
    assert rows(version_1, "PRAGMA foreign_key_check") == []
    ((first,), (second,)) = rows(version_1, "SELECT code FROM person ORDER BY id")
    assert codes.parse(first) == first != second == codes.parse(second)
    database = Database(version_1)
    with database.write() as connection:
        sessions.note_time(connection, NOW)
        running, endless = sessions.not_ended(connection)
        assert (running.id, running.remaining_s) == (RUNNING, 3100.0)
        assert running.person_id != endless.person_id
        assert people.of_device(connection, running.mac, "terms") == people.by_id(connection, running.person_id or 0)
        moment = people.moment(connection, NOW, ZONE)
        seen = {CounterKey("boot", RUNNING, "10.77.0.11"): Reading(60, 700, 6, 70, 1499.0, 1499.1)}
        assert counters.account(connection, seen, moment) == {}
        people.count_time(connection, moment)
        use = people.day_use(connection, running.person_id or 0, moment)
        assert (use.seconds, use.up_bytes, use.down_bytes) == (500.0, 10, 200), "from the last moment that was written"
        assert sessions.end(connection, RUNNING, EndReason.LOGOUT, NOW, ZONE)
    database.close()


def test_a_power_cut_while_the_pages_are_made_small_leaves_all_rows(version_1: Path, tmp_path: Path) -> None:
    before = old_columns(version_1)
    assert rows(version_1, "PRAGMA page_size") != [(setup.PAGE_BYTES,)]
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for at in itertools.count(1):
        for file in tmp_path.iterdir():
            file.unlink()
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)

        def dying(at: int = at) -> None:
            connection = db.connect_any_version(version_1)
            begun = itertools.count(1)
            connection.set_progress_handler(  # VACUUM is one statement
                lambda: os.kill(os.getpid(), signal.SIGKILL) if next(begun) == at else None, 25
            )
            setup.make_pages_small(connection)

        try:
            setup.in_child(dying)
        except StoreError as error:
            assert "ended with -9" in str(error)
        else:
            break
        assert old_columns(version_1) == before
        setup.ensure(version_1)
        assert old_columns(version_1) == before
        assert rows(version_1, "PRAGMA page_size") == [(setup.PAGE_BYTES,)]
        assert rows(version_1, "PRAGMA journal_mode") == [("wal",)]
    assert at > 10, "every part of it had its turn"


def test_a_disk_without_room_for_small_pages_keeps_the_large_ones(version_1: Path) -> None:
    before = old_columns(version_1)

    def on_a_full_disk() -> object:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with contextlib.closing(db.connect_any_version(version_1)) as connection:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            setup.make_pages_small(connection)
            return connection.execute("PRAGMA page_size").fetchone()

    assert setup.in_child(on_a_full_disk) == [4096]
    assert old_columns(version_1) == before
    assert rows(version_1, "PRAGMA journal_mode") == [("wal",)]


def test_ids_go_on_where_they_were(version_1: Path) -> None:
    setup.ensure(version_1)
    with Database(version_1).write() as connection:
        sessions.note_time(connection, NOW)
        new = sessions.begin(
            connection, mac="02:00:00:00:00:09", ipv4=None, plan="warga", method="terms", terms_version="1",
            limit_s=None, now=NOW, device="0123456789abcdef",
        )  # fmt: skip
    assert new.id > ENDED


def test_a_power_cut_at_any_statement_leaves_the_old_one_or_the_new_one(version_1: Path, tmp_path: Path) -> None:
    before = old_columns(version_1)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for at in itertools.count(1):
        for file in tmp_path.iterdir():
            file.unlink()
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)

        def dying(at: int = at) -> None:
            def migrate(connection: sqlite3.Connection) -> None:
                begun = itertools.count(1)
                connection.set_trace_callback(
                    lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(begun) == at else None
                )
                migrations.migrate(connection)

            setup.create_or_migrate(version_1, migrate)

        try:
            setup.in_child(dying)
        except StoreError as error:
            assert "ended with -9" in str(error)
        else:
            break
        ((version,),) = rows(version_1, "PRAGMA user_version")
        assert len(rows(version_1, "SELECT 1 FROM sqlite_schema WHERE name = 'person'")) == (version >= 2)
        assert len(rows(version_1, "SELECT 1 FROM sqlite_schema WHERE name = 'journal'")) == (version >= 3)
        assert old_columns(version_1) == before
        setup.ensure(version_1)
        assert old_columns(version_1) == before
        assert rows(version_1, "SELECT count(*) FROM person") == [(2,)]
    assert at > 30, "every statement had its turn"


def test_an_old_one_that_is_broken_is_recovered_into_todays(version_1: Path) -> None:
    before = old_columns(version_1)
    db.write_marker(version_1, "of another")
    found = recovery.recover(version_1)
    assert found is not None
    assert (found.sessions, found.running, found.whole) == (3, 2, True)
    assert old_columns(version_1)[1:3] == before[1:3]
    with Database(version_1).read() as connection:
        assert len(sessions.not_ended(connection)) == 2
