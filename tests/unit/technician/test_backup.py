"""Backups: what is in the file, that nothing else is believed, and that a restore cuts off nobody who is online."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from portal import backup, staffkey
from portal.backup import BackupError
from portal.domain import codes
from portal.domain.journal import Entry, Kind
from portal.domain.model import Now
from portal.paths import Paths
from portal.store import audit, db, journal, journalread, merge, migrations, pseudonyms, rollups, sessions, setup
from portal.store.db import Database, StoreError
from tests.unit.technician.conftest import SITE, Query

NOW = Now("boot-1", 5000.0, 1.8e9)
MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


def packed(paths: Paths, *, keys: bool = False) -> bytes:
    out = io.BytesIO()
    backup.make(out, paths, paths.site, keys=keys)
    return out.getvalue()


def unpacked(content: bytes, folder: Path) -> backup.Unpacked:
    folder.mkdir()
    return backup.unpack(io.BytesIO(content), folder)


def session(query: Query, mac: str, person_id: int | None = None, **values: Any) -> int:
    row = {"mac": mac, "plan": "warga", "method": "terms", "terms_version": "1", "started_wall_s": 1.0}
    row |= {"boot_id": "boot-1", "active_boot_s": 1.0, "deadline_boot_s": 9000.0, "person_id": person_id} | values
    marks = ", ".join("?" * len(row))
    ((number,),) = query(f"INSERT INTO session ({', '.join(row)}) VALUES ({marks}) RETURNING id", *row.values())
    return int(str(number))


def person(query: Query, code: str | None = None, **values: Any) -> int:
    row = {"code": code or codes.new_code(), "method": "terms", "plan": "warga", "created_wall_s": 1.0} | values
    marks = ", ".join("?" * len(row))
    ((number,),) = query(f"INSERT INTO person ({', '.join(row)}) VALUES ({marks}) RETURNING id", *row.values())
    return int(str(number))


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_backup_holds_the_site_and_a_whole_copy_of_the_database(paths: Paths, query: Query, tmp_path: Path) -> None:
    code = codes.new_code()
    person(query, code)
    query("INSERT INTO waiting VALUES (?, 'b', 1, 1, NULL)", MAC)
    found = unpacked(packed(paths), tmp_path / "out")
    assert found.site == SITE
    assert (found.manifest.site, found.manifest.name) == ("64.03.01.2001", "Desa Uji")
    assert found.manifest.schema == db.SCHEMA_VERSION
    assert found.keys == {}
    with sqlite3.connect(found.database) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copy.execute("SELECT code FROM person").fetchall() == [(code,)]
        assert copy.execute("SELECT count(*) FROM waiting").fetchone() == (0,), "nobody waits on another day"
    assert [path.name for path in paths.data.glob(".backup-*")] == [], "nothing is left on the disk"


def test_a_copy_comes_to_its_end_while_others_write(
    paths: Paths, query: Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow card there is a write in every part of a large copy."""
    person(query, codes.new_code())
    steps: list[int] = []

    class Slow:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self.connection, self.execute, self.close = connection, connection.execute, connection.close

        def backup(self, target: sqlite3.Connection, **options: Any) -> None:
            def meanwhile(_: int, left: int, __: int) -> None:
                steps.append(left)
                assert len(steps) < 2000, "it begins again and again"
                query("UPDATE meta SET generation = generation + 1")

            self.connection.backup(target, **{**options, "pages": 5, "progress": meanwhile})

    connect = db.connect
    monkeypatch.setattr(db, "connect", lambda path: Slow(connect(path)))
    backup.copy_database(paths.database, tmp_path / "copy.db")
    assert len(steps) > 5 and steps == sorted(steps, reverse=True)
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_private_keys_are_in_it_only_where_they_are_asked_for(paths: Paths, tmp_path: Path) -> None:
    for name in ("staff.pem", "staff.key"):
        (tmp_path / name).write_text(f"secret {name}")
    paths.site.write_text(SITE + f'[staff]\ncertificate = "{tmp_path}/staff.pem"\nkey = "{tmp_path}/staff.key"\n')
    assert b"secret" not in gzip.decompress(packed(paths))
    found = unpacked(packed(paths, keys=True), tmp_path / "out")
    assert found.keys == {"staff.certificate": b"secret staff.pem", "staff.key": b"secret staff.key"}


def test_the_staff_key_is_never_in_it(paths: Paths) -> None:
    secret = (paths.staff / "key").read_bytes()
    content = gzip.decompress(packed(paths, keys=True))
    assert secret not in content and secret.hex().encode() not in content
    assert staffkey.load(paths.staff).name.encode() in content


def members(content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        return [(entry, archive.extractfile(entry).read()) for entry in archive]  # type: ignore[union-attr]


def repacked(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for entry, content in entries:
            entry.size = len(content) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def change_manifest(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    entries = members(content)
    manifest = json.loads(entries[0][1])
    change(manifest)
    entries[0] = (entries[0][0], json.dumps(manifest).encode())
    return repacked(entries)


def planted(name: str, kind: bytes = tarfile.REGTYPE) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        entry = tarfile.TarInfo(name)
        entry.type = kind
        entry.linkname = "/etc/shadow"
        return repacked([*members(content), (entry, b"planted")])

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: b"", "cannot be read"),
        (lambda _: b"no archive at all" * 100, "cannot be read"),
        (lambda _: gzip.compress(b"x" * 5000), "cannot be read|no backup"),
        (lambda content: content[: len(content) // 2], "cannot be read to its end"),
        (lambda content: repacked(members(content)[1:]), "no backup of Gerbang"),
        (lambda content: repacked(members(content)[:2]), "lacks gerbang.db"),
        (lambda content: repacked([*members(content), members(content)[-1]]), "does not name so"),
        (planted("../../etc/passwd"), "does not name so"),
        (planted("gerbang.db", tarfile.SYMTYPE), "does not name so"),
        (planted("keys/portal.key"), "does not name so"),
        (lambda c: change_manifest(c, lambda m: m.update(format=99)), "newer Gerbang"),
        (lambda c: change_manifest(c, lambda m: m.update(surprise=1)), "manifest cannot be read"),
        (lambda c: change_manifest(c, lambda m: m["files"].pop("site.toml")), "names other files"),
        (lambda c: change_manifest(c, lambda m: m["files"]["gerbang.db"].update(sha256="0" * 64)), "damaged"),
        (lambda c: change_manifest(c, lambda m: m["files"]["gerbang.db"].update(bytes=1 << 50)), "too large"),
        (lambda c: change_manifest(c, lambda m: m["files"].update({"../x": m["files"]["site.toml"]})), "other files"),
    ],
)
def test_what_is_no_whole_backup_is_refused_with_a_sentence(
    paths: Paths, tmp_path: Path, change: Callable[[bytes], bytes], words: str
) -> None:
    content = change(packed(paths))
    with pytest.raises(BackupError, match=words) as caught:
        unpacked(content, tmp_path / "out")
    assert caught.value.hint
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"gerbang.db"}


# --- a database from elsewhere ----------------------------------------------------------------------------------------


def checked(database: Path) -> int:
    return merge.check_and_migrate(database, migrations.migrate, database.with_name("pristine.db"))


def taken_out(paths: Paths, folder: Path) -> Path:
    return unpacked(packed(paths), folder).database


def altered(database: Path, *statements: str) -> Path:
    with sqlite3.connect(database) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return database


def test_a_sound_copy_is_taken(paths: Paths, tmp_path: Path) -> None:
    assert checked(taken_out(paths, tmp_path / "out")) == db.SCHEMA_VERSION


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (f"PRAGMA user_version = {db.SCHEMA_VERSION + 1}", "newer than"),
        ("CREATE TRIGGER t AFTER UPDATE ON meta BEGIN DELETE FROM session; END", "holds programs"),
        ("CREATE VIEW v AS SELECT * FROM session", "holds programs"),
        ("CREATE TABLE stranger (x)", "other tables"),
        ("DROP TABLE notice", "other tables"),
        ("PRAGMA application_id = 7", "another program"),
        ("INSERT INTO voucher (batch_id, code) VALUES (999, 'ABCDEFGH')", "contradicts itself"),
    ],
)
def test_a_strangers_database_is_refused(paths: Paths, tmp_path: Path, statement: str, words: str) -> None:
    database = altered(taken_out(paths, tmp_path / "out"), statement)
    with pytest.raises(StoreError, match=words):
        checked(database)


def test_an_older_database_is_migrated(tmp_path: Path) -> None:
    from sqlite_utils import Database as Utils

    folder = tmp_path / "old"
    folder.mkdir()
    database = folder / "gerbang.db"
    connection = sqlite3.connect(database, isolation_level=None)
    migrations.steps.apply(Utils(connection), stop_before="step_2_people")
    connection.execute(
        "INSERT INTO session VALUES (5, ?, NULL, 'warga', 'terms', '1', 1, 'b', 9, 1, 0, 0, NULL, NULL)", (MAC,)
    )
    connection.close()
    assert checked(database) == 1
    with sqlite3.connect(database) as migrated:
        assert db.schema_version(migrated) == db.SCHEMA_VERSION
        assert migrated.execute("SELECT method FROM person").fetchall() == [("terms",)]


# --- in its place -----------------------------------------------------------------------------------------------------


def order(database: Path, *, staff: bool = True) -> merge.Restore:
    return merge.Restore(database, 1.7e9, staff, "tono", "technician", {"site": "64.03.01.2001"})


def restored(paths: Paths, database: Path, **options: bool) -> merge.Merged:
    checked(database)
    return merge.replace_with(paths.database, order(database, **options), lambda: NOW)


def test_who_is_online_stays_online_under_the_same_id(paths: Paths, query: Query, tmp_path: Path) -> None:
    owner = person(query)
    running = session(query, MAC, owner)
    over = session(query, OTHER, person(query))
    old = taken_out(paths, tmp_path / "out")
    query("UPDATE session SET ended_wall_s = 2, end_reason = 'logout' WHERE id = ?", over)
    query("UPDATE session SET up_bytes = 77 WHERE id = ?", running)
    query("INSERT INTO counter VALUES ('boot-1', ?, '10.77.0.9', 1, 2, 3, 4, 5, 6)", running)
    query("UPDATE meta SET boot_id = 'boot-1', seen_boot_s = 4000")
    found = restored(paths, old)
    assert (found.carried, found.ended) == (1, 2)
    assert query("SELECT id, mac, up_bytes FROM session WHERE ended_wall_s IS NULL") == [(running, MAC, 77)]
    assert query("SELECT ip, up_bytes FROM counter") == [("10.77.0.9", 1)]
    assert query("SELECT end_reason FROM session WHERE id = ?", over) == [("staff",)]


def test_sessions_of_another_life_keep_no_id_of_anybody_else(paths: Paths, query: Query, tmp_path: Path) -> None:
    """The backup of another box has given the same number to somebody else."""
    number = session(query, OTHER, person(query))
    old = taken_out(paths, tmp_path / "out")
    query("DELETE FROM session")
    session(query, MAC, person(query), id=number)
    restored(paths, old)
    ((new, mac),) = query("SELECT id, mac FROM session WHERE ended_wall_s IS NULL")
    assert mac == MAC and int(str(new)) > number
    assert query("SELECT mac FROM session WHERE id = ?", number) == [(OTHER,)]


def test_a_restored_database_has_an_epoch_and_ids_of_its_own(paths: Paths, query: Query, tmp_path: Path) -> None:
    session(query, MAC, person(query))
    old = taken_out(paths, tmp_path / "out")
    ((before, generation),) = query("SELECT epoch, generation FROM meta")
    query("UPDATE meta SET generation = generation + 50")
    ((highest,),) = query("SELECT seq FROM sqlite_sequence WHERE name = 'session'")
    restored(paths, old)
    ((after, now),) = query("SELECT epoch, generation FROM meta")
    assert after != before and uuid.UUID(str(after))
    assert int(str(now)) > int(str(generation)) + 50
    assert db.read_marker(paths.database) == after
    ((following,),) = query("SELECT seq FROM sqlite_sequence WHERE name = 'session'")
    assert int(str(following)) >= int(str(highest)) + merge.ID_GAP


def test_a_day_that_was_used_stays_used(paths: Paths, query: Query, tmp_path: Path) -> None:
    owner = person(query, "ABCDEFGH")
    query("INSERT INTO person_day VALUES (?, '2026-11-24', 100, 5, 900)", owner)
    old = taken_out(paths, tmp_path / "out")
    query("UPDATE person_day SET seconds = 3000, down_bytes = 800")
    restored(paths, old)
    assert query("SELECT seconds, up_bytes, down_bytes FROM person_day") == [(3000.0, 5, 900)]


def test_somebody_whom_the_backup_does_not_know_stays_online(paths: Paths, query: Query, tmp_path: Path) -> None:
    old = taken_out(paths, tmp_path / "out")
    query("UPDATE meta SET boot_id = 'boot-1', seen_boot_s = 4000")
    query("INSERT INTO voucher_batch VALUES (7, 'warga', 1, NULL, NULL, '', 1, 'x')")
    query("INSERT INTO voucher VALUES (8, 7, 'HGFEDCBA', NULL)")
    owner = person(query, "ABCDEFGH", voucher_id=8, counted_boot_s=123.0)
    session(query, MAC, owner)
    query("INSERT INTO device (mac, person_id) VALUES (?, ?)", MAC, owner)
    restored(paths, old)
    assert query("SELECT code, voucher_id, counted_boot_s FROM person JOIN session ON person.id = person_id") == [
        ("ABCDEFGH", None, 123.0)
    ]
    assert query("SELECT mac FROM device WHERE person_id IS NOT NULL") == [(MAC,)]


def test_nobody_shortens_the_audit_trail_with_an_old_backup(paths: Paths, query: Query, tmp_path: Path) -> None:
    entry = (
        "INSERT INTO audit (wall_s, boot_id, boot_s, actor, role, action, object) VALUES (?, 'b', 1, 'a', 'r', ?, 'o')"
    )
    query(entry, 1.0, "first")
    old = taken_out(paths, tmp_path / "out")
    query(entry, 2.0, "second")
    restored(paths, old)
    assert [row[0] for row in query("SELECT action FROM audit ORDER BY id")] == ["first", "second", "backup.restore"]
    ((said,),) = query("SELECT after FROM audit ORDER BY id DESC LIMIT 1")
    assert json.loads(str(said))["site"] == "64.03.01.2001"


@pytest.mark.parametrize(("same_key", "expected"), [(True, "old-hash"), (False, "new-hash")])
def test_staff_passwords_of_another_key_do_not_replace_the_present(
    paths: Paths, query: Query, tmp_path: Path, same_key: bool, expected: str
) -> None:
    query("INSERT INTO staff_user VALUES (1, 'tono', 'technician', 'old-hash', 0, 0, 1, 1)")
    old = taken_out(paths, tmp_path / "out")
    query("UPDATE staff_user SET password_hash = 'new-hash'")
    query("INSERT INTO staff_session VALUES (zeroblob(32), 1, 'boot-1', 1, 1)")
    restored(paths, old, staff=same_key)
    assert query("SELECT password_hash FROM staff_user") == [(expected,)]
    logged_in = query("SELECT count(*) FROM staff_session")
    assert logged_in == [(0 if same_key else 1,)], "a login with another password ends"


def test_the_replaced_database_is_kept_whole(paths: Paths, query: Query, tmp_path: Path) -> None:
    old = taken_out(paths, tmp_path / "out")
    person(query, "ABCDEFGH")
    found = restored(paths, old)
    assert found.kept is not None and Path(found.kept).parent == paths.data
    with sqlite3.connect(found.kept) as kept:
        assert kept.execute("SELECT code FROM person").fetchall() == [("ABCDEFGH",)]
    assert query("SELECT count(*) FROM person") == [(0,)]


def test_a_broken_present_database_does_not_stop_a_restore(paths: Paths, query: Query, tmp_path: Path) -> None:
    person(query, "ABCDEFGH")
    old = taken_out(paths, tmp_path / "out")
    for side in ("-wal", "-shm"):
        paths.database.with_name(paths.database.name + side).unlink(missing_ok=True)
    paths.database.write_bytes(b"broken" * 1000)
    db.damage_note_of(paths.database).write_text("broken")
    found = restored(paths, old)
    assert found.carried == 0 and found.kept is not None
    with Database(paths.database).read() as connection:
        assert connection.execute("SELECT code FROM person").fetchall() == [("ABCDEFGH",)]


def test_who_waits_to_write_writes_into_the_new_database(paths: Paths, query: Query, tmp_path: Path) -> None:
    """A login that began before the exchange must not vanish with the old file."""
    import threading

    old = taken_out(paths, tmp_path / "out")
    checked(old)
    database, began, done = Database(paths.database), threading.Event(), threading.Event()
    with database.read() as connection:
        connection.execute("SELECT 1")

    def write() -> None:
        began.set()
        with database.write() as connection:
            connection.execute("UPDATE meta SET day = '2026-11-24'")
        database.close()
        done.set()

    writer = threading.Thread(target=write)

    def clock() -> Now:  # read while the present database is held
        writer.start()
        began.wait(5)
        return NOW

    merge.replace_with(paths.database, order(old), clock)
    assert done.wait(10)
    writer.join()
    assert query("SELECT day FROM meta") == [("2026-11-24",)]


def test_a_new_box_starts_with_what_the_backup_holds(paths: Paths, query: Query, tmp_path: Path) -> None:
    session(query, MAC, person(query, "ABCDEFGH"))
    query("INSERT INTO staff_user VALUES (1, 'tono', 'technician', 'hash', 0, 0, 1, 1)")
    old = taken_out(paths, tmp_path / "out")
    empty = tmp_path / "new"
    empty.mkdir()
    checked(old)
    found = merge.replace_with(empty / "gerbang.db", order(old, staff=False), lambda: NOW)
    assert (found.kept, found.carried, found.ended) == (None, 0, 1)
    with Database(empty / "gerbang.db").read() as connection:
        assert connection.execute("SELECT code FROM person").fetchall()[0][0] == "ABCDEFGH"
        assert connection.execute("SELECT count(*) FROM staff_user").fetchone()[0] == 0, "first ones are made anew"
    assert (empty / "gerbang.db").stat().st_mode & 0o777 == setup.MODE


# --- the usage log ----------------------------------------------------------------------------------------------------

THERE = Now("boot-0", 3000.0, 1.79e9)


def begin(paths: Paths, mac: str, now: Now = NOW) -> int:
    with Database(paths.database).write() as connection:
        sessions.note_time(connection, now)
        month = "2026-11"
        return sessions.begin(
            connection, mac=mac, ipv4=None, plan="warga", method="terms", terms_version="1", limit_s=3600.0, now=now,
            device=pseudonyms.of(connection, mac, month),
        ).id  # fmt: skip


def log_of(paths: Paths, *kinds: Kind) -> list[Entry]:
    """All entries, of a log that is whole."""
    with Database(paths.database).read() as connection:
        assert journalread.check(connection).findings == ()
        return [entry for entry in journal.entries(connection) if not kinds or entry.kind in kinds]


def test_nobody_shortens_the_usage_log_with_an_old_backup(paths: Paths, query: Query, tmp_path: Path) -> None:
    before = begin(paths, MAC, THERE)
    old = taken_out(paths, tmp_path / "out")
    running = begin(paths, OTHER)  # in another boot, where the first one goes on as well
    present, keys = log_of(paths), query("SELECT * FROM pseudonym_key")
    restored(paths, old)
    after = log_of(paths)
    assert after[: len(present)] == present
    assert [entry.kind for entry in after[len(present) :]] == [Kind.ACT], "they go on, as it says already"
    assert query("SELECT * FROM pseudonym_key") == keys
    assert query("SELECT end_reason FROM session WHERE id = ?", before) == [("staff",)]
    assert running in [row[0] for row in query("SELECT id FROM session WHERE ended_wall_s IS NULL")]


def test_a_session_that_gets_another_number_ends_and_begins_in_the_log(
    paths: Paths, query: Query, tmp_path: Path
) -> None:
    number = session(query, OTHER)
    old = taken_out(paths, tmp_path / "out")
    query("DELETE FROM session")
    query("UPDATE sqlite_sequence SET seq = ? WHERE name = 'session'", number - 1)
    assert begin(paths, MAC) == number
    query("UPDATE session SET down_bytes = 500")
    restored(paths, old)
    ended, begun = log_of(paths)[-3:-1]
    assert (ended.kind, ended.body["s"], ended.body["down"], ended.body["reason"]) == (Kind.END, number, 500, "restart")
    ((new, counted),) = query("SELECT id, down_bytes FROM session WHERE ended_wall_s IS NULL")
    assert (begun.kind, begun.body["s"], begun.body["after"], counted) == (Kind.BEGIN, new, number, 0)


def test_a_new_box_goes_on_with_the_log_of_the_backup(paths: Paths, tmp_path: Path) -> None:
    running = begin(paths, MAC, THERE)
    before = log_of(paths)
    old = taken_out(paths, tmp_path / "out")
    checked(old)
    empty = Paths(run=tmp_path / "new", data=tmp_path / "new")
    empty.data.mkdir()
    merge.replace_with(empty.database, order(old, staff=False), lambda: NOW)
    after = log_of(empty)
    assert after[: len(before)] == before
    ended, booted, act = after[len(before) :]
    assert (ended.kind, ended.body["s"], ended.body["reason"], ended.body["boot"]) == (
        Kind.END, running, "staff", THERE.boot_id,
    )  # fmt: skip
    assert (booted.kind, booted.body["before"], act.kind) == (Kind.BOOT, THERE.boot_id, Kind.ACT)


def test_what_a_broken_database_logged_since_the_backup_is_told_as_lost(paths: Paths, tmp_path: Path) -> None:
    begin(paths, MAC)
    before = log_of(paths)
    old = taken_out(paths, tmp_path / "out")
    paths.database.write_bytes(b"broken" * 1000)
    restored(paths, old)
    (lost,) = log_of(paths, Kind.LOST)
    assert lost.body["first"] == len(before) + 2, "after the end of the one who was online"


def test_an_act_that_a_backup_has_otherwise_does_not_replace_the_present_one(paths: Paths, tmp_path: Path) -> None:
    with Database(paths.database).write() as connection:
        sessions.note_time(connection, NOW)
        who = {"actor": "siti", "role": "operator", "action": "hours.close", "object": "site"}
        audit.write(connection, **who, before=None, after={"reason": "hujan"}, now=NOW)
    old = taken_out(paths, tmp_path / "out")
    with sqlite3.connect(old) as copy:
        copy.execute("UPDATE audit SET after = '{}'")
    restored(paths, old)
    assert len(log_of(paths, Kind.ACT)) == 2


def test_records_and_batches_are_left_out_of_a_backup_since_they_can_be_made_again(
    paths: Paths, query: Query, tmp_path: Path
) -> None:
    begin(paths, MAC)
    with Database(paths.database).write() as connection:
        rollups.catch_up(connection, ZoneInfo("Asia/Makassar"))
    query("INSERT INTO outbox_sent VALUES ('2026-11-01', 'days', 1, 'key', zeroblob(32))")
    figures = query("SELECT * FROM day_figures")
    assert figures and query("SELECT * FROM record_session")
    old = taken_out(paths, tmp_path / "out")
    with sqlite3.connect(old) as copy:
        for table in ("record_session", "record_boot", "projection", "outbox_sent"):
            assert copy.execute(f"SELECT * FROM {table}").fetchall() == [], table
        assert copy.execute("SELECT * FROM day_figures").fetchall() == figures, "their entries may be erased"
        assert rollups.catch_up(copy, ZoneInfo("Asia/Makassar")) > 0
        assert copy.execute("SELECT * FROM day_figures").fetchall() == figures
