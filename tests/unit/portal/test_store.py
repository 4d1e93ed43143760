"""The database refuses in sentences, never starts empty, and writes whole transactions: portal.store."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.domain.model import EndReason, Session, UplinkState
from portal.domain.uplink import UplinkView
from portal.domain.usage import CounterKey, Reading
from portal.paths import Paths
from portal.store import check, counters, db, migrations, people, sessions, setup
from portal.store.db import Database, StoreError
from tests.unit.portal.conftest import DAY, ZONE
from tests.unit.portal.fakes import BOOT, OTHER_BOOT, Clock

Query = Callable[..., list[tuple[Any, ...]]]


def begin(database: Database, clock: Clock, number: int = 1, **changes: Any) -> Session:
    values = {
        "mac": f"02:00:00:00:00:{number:02x}",
        "ipv4": f"10.77.0.{number}",
        "plan": "warga",
        "method": "terms",
        "terms_version": "1",
        "limit_s": 3600.0,
        "device": f"{number:016x}",
        **changes,
    }
    with database.write() as connection:
        now = clock()
        sessions.note_time(connection, now)
        return sessions.begin(connection, now=now, **values)


def codes(error: pytest.ExceptionInfo[StoreError]) -> tuple[str, bool]:
    return error.value.code, bool(error.value.message.endswith(".") and error.value.hint)


# --- what is refused at opening ---------------------------------------------------------------------------------------


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def gone(path: Path) -> None:
    path.unlink()


def of_another_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE moz_places (id)")
    connection.close()


def of_another_gateway(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET epoch = 'another'")
    connection.close()


def without_its_row(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta")
    connection.close()


@pytest.mark.parametrize(
    "harm", [garbage, empty, truncated, gone, of_another_program, of_another_gateway, without_its_row]
)
def test_a_broken_database_is_said_and_left_as_it_is(paths: Paths, harm: Callable[[Path], None]) -> None:
    harm(paths.database)
    before = paths.database.read_bytes() if paths.database.exists() else None
    with pytest.raises(StoreError) as error, Database(paths.database).read() as connection:
        sessions.not_ended(connection)
    assert codes(error) == (db.DATABASE_CORRUPT, True)
    assert "gerbang recover" in error.value.hint
    with pytest.raises(StoreError) as again:  # nor does a start replace it
        setup.create_or_migrate(paths.database, migrations.migrate)
    assert codes(again) == (db.DATABASE_CORRUPT, True)
    assert (paths.database.read_bytes() if paths.database.exists() else None) == before


@pytest.mark.parametrize("harm", [garbage, empty, gone, of_another_program, of_another_gateway])
def test_what_becomes_broken_under_an_open_connection_is_noticed(paths: Paths, harm: Callable[[Path], None]) -> None:
    database = Database(paths.database)
    with database.read() as connection:
        sessions.not_ended(connection)
    harm(paths.database)
    if harm is not of_another_gateway:  # that one is a plain change of data until somebody opens it
        with pytest.raises(StoreError) as error, database.write() as connection:
            connection.execute("UPDATE meta SET generation = generation + 1")
        assert codes(error) == (db.DATABASE_CORRUPT, True)
    database.close()


def test_a_database_that_was_mended_is_found_without_a_restart(paths: Paths) -> None:
    database = Database(paths.database)
    whole = paths.database.read_bytes()
    garbage(paths.database)
    with pytest.raises(StoreError), database.read():
        pass
    paths.database.unlink()
    paths.database.write_bytes(whole)
    with database.read() as connection:
        assert sessions.not_ended(connection) == []
    database.close()


def test_one_that_was_never_created_is_not_called_corrupt(tmp_path: Path) -> None:
    assert db.is_absent(tmp_path / "gerbang.db")
    with pytest.raises(StoreError) as error, Database(tmp_path / "gerbang.db").read():
        pass
    assert codes(error) == (db.DATABASE, True)
    assert not (tmp_path / "gerbang.db").exists(), "opening must not create"


@pytest.mark.parametrize(("version", "word"), [(db.SCHEMA_VERSION + 1, "newer"), (db.SCHEMA_VERSION - 1, "older")])
def test_another_version_is_refused_by_name(paths: Paths, query: Query, version: int, word: str) -> None:
    query(f"PRAGMA user_version = {version}")
    with pytest.raises(StoreError, match=word) as error, Database(paths.database).read():
        pass
    assert codes(error) == (db.DATABASE_NEWER if word == "newer" else db.DATABASE, True)


def test_a_read_only_database_is_said(paths: Paths, database: Database, clock: Clock) -> None:
    with database.read() as connection:
        connection.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError) as error:
        begin(database, clock)
    assert codes(error) == (db.DATABASE, True)


def test_a_full_disk_is_said_and_nothing_is_half_written(database: Database, clock: Clock, query: Query) -> None:
    begin(database, clock)
    with database.read() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError) as error:
        for number in range(2, 250):
            begin(database, clock, number, plan="p" * 3000)
    assert codes(error) == (db.DATABASE_FULL, True)
    assert query("PRAGMA integrity_check") == [("ok",)]


def test_a_locked_database_is_busy(paths: Paths, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "BUSY_TIMEOUT_S", 0.01)
    other = Database(paths.database)
    with other.write(), pytest.raises(StoreError) as error, database.write():
        pass
    assert codes(error) == (db.BUSY, True)
    with database.write():  # and free again
        pass
    other.close()


def test_every_commit_is_synced(database: Database) -> None:
    with database.read() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


# --- damage inside the file -----------------------------------------------------------------------------------------


def test_damage_is_noted_for_all_and_forgotten_when_mended(
    paths: Paths, database: Database, clock: Clock, query: Query
) -> None:
    for number in range(1, 200):
        begin(database, clock, number)
    query("PRAGMA wal_checkpoint(TRUNCATE)")
    check.check(paths.database)
    whole = paths.database.read_bytes()
    root = query("SELECT rootpage FROM sqlite_master WHERE name = 'session_running_mac'")[0][0]
    size = query("PRAGMA page_size")[0][0]
    with paths.database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(StoreError) as error:
        check.check(paths.database)
    assert codes(error) == (db.DATABASE_CORRUPT, True)
    with pytest.raises(StoreError, match="damaged") as seen, database.read():  # open before, and stopped all the same
        pass
    assert codes(seen) == (db.DATABASE_CORRUPT, True)
    paths.database.write_bytes(whole)
    check.check(paths.database)
    with database.read() as connection:
        assert len(sessions.not_ended(connection)) == 199


def test_a_row_that_an_index_lost_is_damage(paths: Paths, database: Database, clock: Clock, query: Query) -> None:
    """Read through that index, its device would not be in the state."""
    database.close()
    with sqlite3.connect(paths.database) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        lost = connection.execute("SELECT * FROM sqlite_master WHERE name = 'session_running_mac'").fetchone()
        connection.execute("DELETE FROM sqlite_master WHERE name = 'session_running_mac'")
    connection.close()
    begin(database, clock)
    database.close()
    with sqlite3.connect(paths.database) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", lost)
    connection.close()
    with pytest.raises(StoreError, match="session_running_mac") as error:
        check.check(paths.database)
    assert codes(error) == (db.DATABASE_CORRUPT, True)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_session_comes_back_as_it_went_in(database: Database, clock: Clock) -> None:
    session = begin(database, clock)
    with database.read() as connection:
        (found,) = sessions.not_ended(connection)
        assert replace(found, remaining_s=session.remaining_s) == session
        assert found.remaining_s == pytest.approx(session.remaining_s)
        assert sessions.not_ended_of(connection, session.mac) == found
        assert sessions.by_id(connection, session.id) == found
        assert [tuple(row) for row in sessions.running(connection, DAY)] == [
            (found.id, found.mac, found.ipv4, found.plan, BOOT, found.deadline_boot_s, found.remaining_s, 0, 0.0, 0)
        ]
    with database.write() as connection:
        assert sessions.end(connection, session.id, EndReason.LOGOUT, clock(), ZONE)
        assert not sessions.end(connection, session.id, EndReason.IDLE, clock(), ZONE), "an end is final"
    with database.read() as connection:
        assert sessions.not_ended(connection) == list(sessions.running(connection, DAY)) == []
        assert sessions.not_ended_of(connection, session.mac) is None
        ended = sessions.by_id(connection, session.id)
    assert ended is not None
    assert ended.end_reason is EndReason.LOGOUT
    assert ended.remaining_s is None


def test_an_id_is_never_used_twice(database: Database, clock: Clock, query: Query) -> None:
    first = begin(database, clock)
    query("DELETE FROM session")
    assert begin(database, clock).id == first.id + 1


def test_an_address_belongs_to_who_came_last(database: Database, clock: Clock) -> None:
    first, second = begin(database, clock, 1), begin(database, clock, 2, ipv4="10.77.0.1")
    with database.write() as connection:
        found = {session.id: session.ipv4 for session in sessions.not_ended(connection)}
        assert found == {first.id: None, second.id: "10.77.0.1"}
        assert sessions.move(connection, first, "10.77.0.1").ipv4 == "10.77.0.1"
        found = {session.id: session.ipv4 for session in sessions.not_ended(connection)}
        assert found == {first.id: "10.77.0.1", second.id: None}


def test_a_new_boot_carries_what_was_left_at_the_last_write(database: Database, clock: Clock, query: Query) -> None:
    limited, endless = begin(database, clock, 1), begin(database, clock, 2, limit_s=None)
    with database.write() as connection:
        account(connection, {key(limited): reading(100, 1000, clock)}, clock)
    clock.forward(600)
    with database.write() as connection:
        assert sessions.note_time(connection, clock()) == 0
        generation = sessions.state_name(connection)[1]
    clock.forward(17)  # never reaches the disk: the power goes
    clock.reboot(wall_s=0.0)
    with database.read() as connection:
        (before, _) = sessions.not_ended(connection)
        assert before.remaining_s == pytest.approx(3000, abs=0.01)
    with database.write() as connection:
        now = clock()
        assert sessions.note_time(connection, now) == 2
        assert sessions.note_time(connection, clock()) == 0, "once"
        assert sessions.state_name(connection)[1] == generation + 1
        one, two = sessions.not_ended(connection)
    assert (one.boot_id, two.boot_id) == (OTHER_BOOT, OTHER_BOOT)
    assert one.deadline_boot_s == pytest.approx(now.boot_s + 3000, abs=0.01)
    assert one.active_boot_s == now.boot_s, "nobody is idle for the time the power was off"
    assert (two.deadline_boot_s, two.remaining_s) == (None, None)
    assert limited.id < endless.id < one.id < two.id, "another session goes on, with counters of its own"
    assert [session.mac for session in (one, two)] == [limited.mac, endless.mac]
    assert [session.ipv4 for session in (one, two)] == [limited.ipv4, endless.ipv4]
    assert one.up_bytes == 0
    assert query("SELECT up_bytes, end_reason, ended_wall_s FROM session WHERE id = ?", limited.id) == [
        (100, "power", pytest.approx(2_000_000_600.0))
    ]
    assert query("SELECT count(*) FROM counter") == [(0,)]


def test_a_session_whose_time_was_over_when_the_power_went_does_not_go_on(database: Database, clock: Clock) -> None:
    over = begin(database, clock, limit_s=60.0)
    clock.forward(60)
    with database.write() as connection:
        sessions.note_time(connection, clock())
    clock.reboot()
    with database.write() as connection:
        assert sessions.note_time(connection, clock()) == 0
        assert sessions.not_ended(connection) == []
        ended = sessions.by_id(connection, over.id)
    assert ended is not None
    assert ended.end_reason is EndReason.POWER


def test_time_that_was_seen_never_goes_back(database: Database, clock: Clock) -> None:
    """Two processes write: what the slower one read before must not give time back."""
    early = clock()
    clock.forward(100)
    begin(database, clock)
    with database.write() as connection:
        sessions.note_time(connection, early)
        (session,) = sessions.not_ended(connection)
    assert session.remaining_s == pytest.approx(3600)


def test_the_uplink_is_told_in_todays_wall_clock_and_only_for_this_boot(database: Database, clock: Clock) -> None:
    with database.write() as connection:
        sessions.note_time(connection, clock())
        sessions.set_uplink(connection, UplinkView(UplinkState.DOWN, clock.now.boot_s - 60), clock())
    clock.set_wall(2_000_000_000.0)  # NTP came
    with database.read() as connection:
        found = sessions.uplink(connection, clock())
    assert found.state is UplinkState.DOWN
    assert found.since_wall_s == pytest.approx(2_000_000_000.0 - 60, abs=0.01)
    clock.reboot()
    with database.read() as connection:
        assert sessions.uplink(connection, clock()).state is UplinkState.UNKNOWN


# --- bytes ------------------------------------------------------------------------------------------------------------


def key(session: Session, ip: str = "10.77.0.1") -> CounterKey:
    return CounterKey(BOOT, session.id, ip)


def reading(up: int, down: int, clock: Clock) -> Reading:
    return Reading(up, down, up // 10, down // 10, clock().boot_s, clock().boot_s)


def account(connection: Any, seen: Mapping[CounterKey, Reading], clock: Clock) -> dict[CounterKey, Reading]:
    return counters.account(connection, seen, people.moment(connection, clock(), ZONE))


def totals(database: Database) -> list[tuple[int, int]]:
    with database.read() as connection:
        return [(session.up_bytes, session.down_bytes) for session in sessions.not_ended(connection)]


def test_bytes_are_added_once(database: Database, clock: Clock) -> None:
    session = begin(database, clock)
    late = reading(50, 500, clock)
    first = reading(100, 1000, clock)
    with database.write() as connection:
        assert account(connection, {key(session): first, key(session, "fd00::1"): first}, clock) == {}
        assert account(connection, {key(session): first}, clock) == {}
    with database.write() as connection:
        assert account(connection, {key(session): late}, clock) == {key(session): first}, "to be read again"
    assert totals(database) == [(200, 2000)]
    with database.write() as connection:
        account(connection, {key(session): reading(130, 1000, clock)}, clock)
        assert counters.last_of(connection, session.id)[key(session)].up_bytes == 130
        assert set(counters.last_of_running(connection)) == {key(session), key(session, "fd00::1")}
    assert totals(database) == [(230, 2000)]


def test_upload_and_nothing_else_shows_that_a_device_is_there(database: Database, clock: Clock) -> None:
    session = begin(database, clock)
    clock.forward(100)
    with database.write() as connection:
        account(connection, {key(session): reading(0, 1000, clock)}, clock)
        assert sessions.not_ended(connection)[0].active_boot_s == session.active_boot_s
        seen = reading(10, 1000, clock)
        account(connection, {key(session): seen}, clock)
        assert sessions.not_ended(connection)[0].active_boot_s == seen.received_boot_s


def test_counters_of_nobody_are_ignored(database: Database, clock: Clock, query: Query) -> None:
    with database.write() as connection:
        account(connection, {CounterKey(BOOT, 4_000_000_000, "10.77.0.1"): reading(1, 1, clock)}, clock)
    assert query("SELECT count(*) FROM counter") == [(0,)]


def test_counters_are_forgotten_a_day_after_they_last_moved(database: Database, clock: Clock, query: Query) -> None:
    running, ended = begin(database, clock, 1), begin(database, clock, 2)
    with database.write() as connection:
        account(connection, {key(running): reading(1, 1, clock), key(ended): reading(1, 1, clock)}, clock)
        sessions.end(connection, ended.id, EndReason.IDLE, clock(), ZONE)
    for hours, left in ((23, 2), (2, 1)):
        clock.forward(hours * 3600)
        with database.write() as connection:
            counters.forget(connection, clock())
        assert query("SELECT count(*) FROM counter") == [(left,)]
    assert query("SELECT session_id FROM counter") == [(running.id,)]


def test_a_flush_that_dies_at_any_statement_loses_and_doubles_nothing(
    paths: Paths, database: Database, clock: Clock
) -> None:
    devices = [begin(database, clock, number) for number in (1, 2, 3)]
    seen = {key(session): reading(100 * session.id, 7, clock) for session in devices}
    expected = [(100 * session.id, 7) for session in devices]
    for statement in itertools.count(1):
        dying = Database(paths.database)
        try:
            with dying.write() as connection:
                mortal: Any = Mortal(connection, statement)
                sessions.note_time(mortal, clock())
                account(mortal, seen, clock)
        except Death:
            assert totals(database) == [(0, 0)] * 3
        else:
            break
        finally:
            dying.close()
    assert statement > 3 * len(devices), "every statement had its turn"
    assert totals(database) == expected
    with database.write() as connection:
        account(connection, seen, clock)
    assert totals(database) == expected


class Death(BaseException):
    pass


class Mortal:
    """A connection that dies at its nth statement."""

    def __init__(self, connection: sqlite3.Connection, at: int) -> None:
        self._connection = connection
        self._left = at

    def execute(self, *args: Any) -> sqlite3.Cursor:
        self._left -= 1
        if self._left == 0:
            raise Death
        return self._connection.execute(*args)
