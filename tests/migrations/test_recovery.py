"""A broken database is kept aside and what can be read is carried over, on an order only: portal.store.recovery."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from portal.domain.journal import Kind
from portal.domain.journalcheck import Verdict
from portal.domain.model import EndReason, Now, Session
from portal.domain.usage import CounterKey, Reading
from portal.store import check, counters, db, journal, journalread, people, recovery, rollups, sessions, setup
from portal.store.db import Database, StoreError

NOW = Now("boot", 1000.0, 2_000_000_000.0)
ZONE = ZoneInfo("Asia/Makassar")
MANY = 400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "gerbang.db"
    setup.ensure(path)
    database = Database(path)
    with database.write() as connection:
        sessions.note_time(connection, NOW)
        for number in range(MANY):
            session = sessions.begin(
                connection, mac=f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}",
                ipv4=f"10.77.{number >> 8}.{number & 255}", plan="warga", method="terms", terms_version="1",
                limit_s=3600.0, now=NOW, device=f"{number:016x}",
            )  # fmt: skip
            if number % 2:
                sessions.end(connection, session.id, EndReason.IDLE, NOW, ZONE)
            else:
                reading = Reading(100, 1000, 1, 10, 1000.0, 1000.1)
                counted = {CounterKey("boot", session.id, "10.77.0.1"): reading}
                counters.account(connection, counted, people.moment(connection, NOW, ZONE))
    database.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


def running(path: Path) -> list[Session]:
    with Database(path).read() as connection:
        return sessions.not_ended(connection)


def destroy_page(path: Path, table: str) -> None:
    """Overwrite a leaf in the middle of ``table``'s tree."""
    connection = sqlite3.connect(path)
    ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
    connection.close()
    content = path.read_bytes()
    page = content[(root - 1) * size : root * size]
    assert page[0] == 5, "an inner page of a table (sqlite.org/fileformat.html, 1.6)"
    cell = int.from_bytes(page[12 + 2 * 2 : 14 + 2 * 2], "big")  # the third of its children
    leaf = int.from_bytes(page[cell : cell + 4], "big")
    with path.open("r+b") as file:
        file.seek((leaf - 1) * size)
        file.write(os.urandom(size))


def test_a_whole_database_is_left_alone(path: Path) -> None:
    before = path.stat()
    assert recovery.recover(path) is None
    assert path.stat().st_ino == before.st_ino


def test_damage_in_the_middle_costs_what_it_hit_and_no_more(path: Path) -> None:
    epoch = db.read_marker(path)
    before = {session.id: session for session in running(path)}
    destroy_page(path, "session")
    broken = path.read_bytes()
    with pytest.raises(StoreError):
        check.check(path)
    found = recovery.recover(path)
    assert found is not None
    assert not found.whole
    assert MANY * 0.7 < found.sessions < MANY, "one leaf of some ten is lost"
    after = running(path)
    assert len(after) == found.running > MANY * 0.35
    for session in after:
        assert session == before[session.id]
    assert found.kept is not None
    assert Path(found.kept).read_bytes() == broken, "kept as it was"
    assert db.read_marker(path) not in (epoch, None)
    check.check(path)
    with Database(path).read() as connection:
        assert len(counters.last_of_running(connection)) == found.running


def test_a_file_of_garbage_is_kept_and_the_new_one_is_said_to_be_empty(path: Path) -> None:
    path.write_bytes(os.urandom(30_000))
    found = recovery.recover(path)
    assert found is not None
    assert (found.sessions, found.running, found.whole) == (0, 0, False)
    assert Path(found.kept or "").stat().st_size == 30_000
    assert running(path) == []
    assert setup.is_current(path)


def test_a_database_that_is_gone_is_begun_anew_on_an_order(path: Path) -> None:
    path.unlink()
    with pytest.raises(StoreError):
        setup.ensure(path)
    found = recovery.recover(path)
    assert found == recovery.Recovered(kept=None, sessions=0, running=0, whole=False)
    assert running(path) == []


def test_what_only_stands_in_the_log_is_carried_over(path: Path) -> None:
    database = Database(path)
    with database.write() as connection:
        sessions.begin(
            connection, mac="02:ff:00:00:00:01", ipv4=None, plan="warga", method="terms", terms_version="1",
            limit_s=None, now=NOW, device="0123456789abcdef",
        )  # fmt: skip
    db.write_marker(path, "of another")  # breaks it for everybody, with the log still there
    log = path.with_name("gerbang.db-wal").read_bytes()
    assert log
    found = recovery.recover(path)
    assert found is not None
    assert (found.sessions, found.whole) == (MANY + 1, True)
    assert Path(f"{found.kept}-wal").read_bytes() == log
    database.close()


def test_an_open_connection_finds_the_new_file(path: Path) -> None:
    database = Database(path)
    with database.read() as connection:
        old = sessions.state_name(connection)[0]
    db.write_marker(path, "of another")
    recovery.recover(path)
    with database.write() as connection:
        assert sessions.state_name(connection)[0] == db.read_marker(path) != old
    database.close()


def test_a_power_cut_at_any_step_is_made_good_by_another_try(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every change of a name, in any order of calls, is a moment at which the power may go."""
    path.write_bytes(path.read_bytes()[:-4096])  # the last page: rows of one table are lost at most
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    rename: Callable[[Path, Path], Path] = Path.rename
    for at in itertools.count(1):
        for file in tmp_path.iterdir():
            file.unlink()
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        renamed = itertools.count(1)

        def cut(self: Path, target: Path, at: int = at, renamed: itertools.count[int] = renamed) -> Path:
            if next(renamed) == at:
                raise OSError(5, "the power went")
            return rename(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", cut)
            try:
                recovery.recover(path)
            except StoreError:
                with pytest.raises(StoreError):  # nobody takes what is there for the whole of it
                    running(path)
            else:
                break
        found = recovery.recover(path)
        assert found is not None
        assert found.sessions > MANY * 0.8
        assert len(running(path)) == found.running
    assert at >= 4


EVERYTHING = """
    INSERT INTO voucher_batch VALUES (1, 'warga', 2, NULL, NULL, '', 1.9e9, 'desa');
    INSERT INTO voucher VALUES (1, 1, 'AAAAAAAA', NULL), (2, 1, 'BBBBBBBB', 1.9e9);
    INSERT INTO account VALUES (1, 'kantor', 'hash', 'kantor', '', 0, 1.9e9, 1.9e9);
    INSERT INTO person VALUES (1, 'CCCCCCCC', 'voucher', 'warga', 1, NULL, 1.9e9, 900.0),
        (2, 'DDDDDDDD', 'account', 'kantor', NULL, 1, 1.9e9, NULL);
    INSERT INTO voucher_device VALUES (1, '02:00:00:00:00:00', 1.9e9);
    INSERT INTO person_day VALUES (1, '2033-05-18', 60.0, 1, 2);
    INSERT INTO device (mac, person_id, rule, note) VALUES ('02:00:00:00:00:00', 1, NULL, ''),
        ('02:00:00:00:09:09', NULL, 'block', 'hilang');
    INSERT INTO closure VALUES (1, 'close', 1.9e9, NULL, 'Rapat', 1.9e9, 'desa', NULL);
    INSERT INTO notice VALUES (1, 'Posyandu', 'Besok', NULL, NULL, 1.9e9, 'desa');
    INSERT INTO staff_user VALUES (1, 'desa', 'operator', 'hash', 0, 0, 1.9e9, 1.9e9);
    INSERT INTO audit VALUES (1, 1.9e9, 'boot', 1.0, 'desa', 'operator', 'a.b', 'c', NULL, NULL);
    INSERT INTO nat_chunk VALUES (3, 'boot', 1, 2, 3, 1, 'row', 4, 5, 6, 6, 'key', zeroblob(32), zeroblob(32), x'07');
    UPDATE nat_log SET bytes = 1, gone = 2, dropped = 9;
    INSERT INTO outbox_epoch (id, began_wall_s, database_epoch, gateway, made, head) VALUES
        ('1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed', 1.9e9, 'database', zeroblob(32), 7, 'head');
    INSERT INTO outbox_batch VALUES
        ('1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed', 7, 'sessions', 1.9e9, 99, '{}', zeroblob(64), x'07');
    INSERT INTO pseudonym_key VALUES ('2033-05', zeroblob(32));
    INSERT INTO arrival VALUES ('2033-05-18', '02:00:00:00:00:00', 'android', 1, 1);
    UPDATE arrival_mark SET seq = 5, day = '2033-05-18';
    UPDATE erasure_seen SET day = '2033-05-18', days = 9;
    INSERT INTO hour_figures VALUES
        (1000, '2032-01-01', 7, 5, 6, 4, 4, 10, 20, 0, 0, 0, 3600000, 0, 0, 0, '', '', '', '');
    INSERT INTO day_figures VALUES ('2032-01-01', 5, 6, '[]', '{}', 10, 20, 1);
    UPDATE meta SET day = '2033-05-18', trusted_wall_s = 2e9, counted_boot_s = 990.0;
    UPDATE session SET person_id = 1 WHERE mac = '02:00:00:00:00:00';
"""


def everything(path: Path) -> dict[str, list[tuple[object, ...]]]:
    tables = (*recovery._TABLES, "journal", "journal_tomb", "arrival_mark", "erasure_seen")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
        meta = connection.execute("SELECT boot_id, seen_boot_s, day, trusted_wall_s, counted_boot_s FROM meta")
        return {**found, "meta": meta.fetchall()}


def test_people_vouchers_accounts_and_the_offices_words_are_carried_over(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(EVERYTHING)
    before = everything(path)
    assert [table for table, rows in before.items() if not rows] == ["journal_tomb"]
    db.write_marker(path, "of another")
    found = recovery.recover(path)
    assert found is not None
    assert found.whole
    assert everything(path) == before


def test_a_session_goes_on_without_a_person_who_was_lost(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(EVERYTHING)
        connection.executescript("DELETE FROM person; DELETE FROM voucher_batch;")  # foreign keys are off here
    db.write_marker(path, "of another")
    found = recovery.recover(path)
    assert found is not None
    assert (found.whole, found.running) == (False, MANY // 2)
    after = everything(path)
    assert after["voucher"] == after["voucher_device"] == after["person_day"] == []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


# --- the usage log --------------------------------------------------------------------------------------------------


def log_of(path: Path) -> Verdict:
    with Database(path).read() as connection:
        return journalread.check(connection)


def told_lost(path: Path) -> list[tuple[int, int]]:
    with Database(path).read() as connection:
        return [(entry.body["first"], entry.body["last"]) for entry in journal.of_kinds(connection, (Kind.LOST,))]


def test_entries_that_cannot_be_read_are_told_as_lost_and_the_chain_goes_on(path: Path) -> None:
    with Database(path).read() as connection:
        before = {entry.seq: entry for entry in journal.entries(connection)}
    destroy_page(path, "journal")
    found = recovery.recover(path, lambda: NOW)
    assert found is not None and not found.whole
    assert found.sessions == MANY
    with Database(path).read() as connection:
        after = {entry.seq: entry for entry in journal.entries(connection)}
    ((first, last),) = told_lost(path)
    assert {seq: after[seq] for seq in before if not first <= seq <= last} == {
        seq: entry for seq, entry in before.items() if not first <= seq <= last
    }
    assert 0 < last - first < 30, "one page"
    verdict = log_of(path)
    assert (verdict.findings, verdict.lost) == ((), last - first + 1)
    with Database(path).write() as connection:
        assert rollups.catch_up(connection, ZONE) >= len(after), "figures are made of what is left"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE journal SET wall_ms = wall_ms + 1 WHERE seq = ?", (last + 1,))
        connection.commit()
    assert [found.first for found in log_of(path).findings] == [last + 1], "the entry after them is held as well"


def test_a_log_whose_end_is_lost_goes_on_beyond_what_was_known_of_it(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((last,),) = connection.execute("SELECT max(seq) FROM journal")
        connection.execute("UPDATE arrival_mark SET seq = ?", (last,))
        connection.execute("DELETE FROM journal WHERE seq > ?", (last - 7,))
        connection.commit()
    recovered_of_damage(path)
    assert told_lost(path) == [(last - 6, last)]
    assert log_of(path).findings == ()


def test_an_entry_that_says_nothing_any_more_is_lost_and_an_altered_one_is_left_to_be_found(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE journal SET body = '{' WHERE seq = 7")
        connection.execute("UPDATE journal SET wall_ms = 1 WHERE seq = 70")
        connection.commit()
    recovered_of_damage(path)
    assert told_lost(path) == [(7, 7)]
    assert [(found.wrong, found.first) for found in log_of(path).findings] == [("altered", 70)]


def test_a_log_of_which_nothing_can_be_read_is_told_as_lost(path: Path) -> None:
    path.write_bytes(os.urandom(30_000))
    recovery.recover(path, lambda: NOW)
    assert told_lost(path) == [(1, 1)]
    assert log_of(path).findings == ()


def test_no_session_is_given_a_number_that_the_log_has_told_of(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((highest,),) = connection.execute("SELECT max(id) FROM session")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM session WHERE id = ?", (highest,))
        connection.commit()
    recovered_of_damage(path)
    with Database(path).write() as connection:
        session = sessions.begin(
            connection, mac="02:00:00:00:aa:aa", ipv4=None, plan="warga", method="terms", terms_version="1",
            limit_s=None, now=NOW, device="0123456789abcdef",
        )  # fmt: skip
    assert session.id > highest


def recovered_of_damage(path: Path) -> None:
    """Something elsewhere is broken, so that there is a reason."""
    destroy_page(path, "session")
    assert recovery.recover(path, lambda: NOW) is not None
