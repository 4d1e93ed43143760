"""Forward, back and forward again on real files: portal.store.schemaback as setup uses it. A next schema is made up."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database as Utils
from sqlite_utils import Migrations

from portal import wholefile
from portal.admission import Gate
from portal.config import Plan, Site, SiteConfig
from portal.paths import Paths
from portal.store import db, journalread, migrations, schemaback, setup
from portal.store.db import Database, StoreError
from tests.unit.portal.fakes import Clock, Netctl

OLD = db.SCHEMA_VERSION
CONFIG = SiteConfig(
    site=Site(code="64.03.01.2001"),
    plan=(Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=2000, session_minutes=480, idle_minutes=60),),
)
PHONES = {f"10.77.0.{number}": f"02:00:00:00:00:{number:02x}" for number in range(2, 12)}


class Box:
    """A data directory that an older and a newer version take turns with."""

    def __init__(self, paths: Paths, patch: pytest.MonkeyPatch) -> None:
        self.paths, self._patch = paths, patch
        self.clock = Clock()
        self.path = paths.database
        later = Migrations("gerbang")
        for step in migrations.steps._migrations:
            later(name=step.name)(step.fn)

        @later()
        def step_next(database: Utils) -> None:
            database.conn.execute("ALTER TABLE meta ADD COLUMN colour TEXT")
            database.conn.execute(f"PRAGMA user_version = {OLD + 1}")

        self._steps = {OLD: migrations.steps, OLD + 1: later}

    def start(self, schema: int) -> None:
        """The boot of a version: setup, in a process of its own."""
        self._patch.setattr(db, "SCHEMA_VERSION", schema)
        self._patch.setattr(migrations, "steps", self._steps[schema])
        setup.ensure(self.path)

    def tap(self, *hosts: int) -> None:
        """Phones come in, as they do."""
        gate = Gate(CONFIG, self.paths, Netctl(self.clock, dict(PHONES)), self.clock)
        gate.start()
        try:
            for host in hosts:
                gate.enter_by_terms(PHONES[f"10.77.0.{host}"], f"10.77.0.{host}", "1")
        finally:
            gate.close()

    def ask(self, sql: str, path: Path | None = None) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path or self.path)) as connection:
            return connection.execute(sql).fetchall()

    def macs(self) -> set[str]:
        return {mac for (mac,) in self.ask("SELECT mac FROM session WHERE ended_wall_s IS NULL")}

    def log_is_whole(self) -> bool:
        with closing(Database(self.path)) as database, database.read() as connection:
            return journalread.check(connection).findings == ()


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    yield Box(Paths(run=tmp_path, data=tmp_path), monkeypatch)


def test_there_and_back_and_there_again(box: Box) -> None:
    box.start(OLD)
    box.tap(2, 3)
    box.start(OLD + 1)
    assert box.ask("SELECT colour FROM meta") == [(None,)] and box.macs() == {PHONES["10.77.0.2"], PHONES["10.77.0.3"]}
    copy = schemaback.copy_of(box.path, OLD)
    assert box.ask("PRAGMA user_version", copy) == [(OLD,)] and copy.stat().st_mode & 0o777 == setup.MODE
    box.tap(4, 5, 6)
    ((newest_id,),) = box.ask("SELECT max(id) FROM session")
    ((last_seq,),) = box.ask("SELECT max(seq) FROM journal")

    box.clock.reboot()
    box.start(OLD)
    assert box.ask("PRAGMA user_version") == [(OLD,)]
    assert box.macs() == {PHONES["10.77.0.2"], PHONES["10.77.0.3"]}, "who was online then is so again"
    assert box.log_is_whole(), "the log says what it lacks"
    went = schemaback.note(box.path)
    assert went is not None and (went.from_schema, went.to_schema) == (OLD + 1, OLD)
    assert went.lost["sessions"] == 3 and (went.lost["log_entries"] or 0) >= 3
    assert box.ask("SELECT count(*) FROM session", Path(went.kept)) == [(5,)], "the newer one is kept whole"
    assert box.ask(f"SELECT count(*) FROM journal_tomb WHERE last_seq = {last_seq}") == [(1,)]
    ((action, after),) = box.ask("SELECT action, after FROM audit ORDER BY id DESC LIMIT 1")
    assert action == "database.back" and '"sessions": 3' in after

    box.tap(7)
    ((id_after,),) = box.ask("SELECT max(id) FROM session")
    assert id_after > newest_id, "no session's number is given out twice"
    box.start(OLD + 1)
    assert PHONES["10.77.0.7"] in box.macs() and box.log_is_whole()
    assert schemaback.note(box.path) is None, "what was said of the last way back is over"
    assert Path(went.kept).exists()
    assert PHONES["10.77.0.7"] in {mac for (mac,) in box.ask("SELECT mac FROM session", copy)}, "a fresh copy"


def test_a_start_without_a_change_copies_nothing_and_goes_nowhere(box: Box) -> None:
    for _ in range(2):
        box.start(OLD)
    assert list(box.path.parent.glob("*.schema-*")) == []
    box.start(OLD + 1)
    copied = schemaback.copy_of(box.path, OLD).stat().st_mtime_ns
    box.start(OLD + 1)
    assert schemaback.copy_of(box.path, OLD).stat().st_mtime_ns == copied


def test_without_a_copy_it_refuses_by_name_and_touches_nothing(box: Box) -> None:
    box.start(OLD)
    box.start(OLD + 1)
    schemaback.copy_of(box.path, OLD).unlink()
    before = box.path.read_bytes()
    with pytest.raises(StoreError) as error:
        box.start(OLD)
    assert error.value.code == db.DATABASE_NEWER and box.path.read_bytes() == before


def cut_off(copy: Path) -> None:
    os.truncate(copy, copy.stat().st_size // 2)


def anothers(copy: Path) -> None:
    copy.unlink()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE t (x)")


@pytest.mark.parametrize("harm", [cut_off, anothers])
def test_a_copy_that_is_no_copy_is_refused_and_the_newer_one_stays(box: Box, harm: Callable[[Path], None]) -> None:
    box.start(OLD)
    box.tap(2)
    box.start(OLD + 1)
    harm(schemaback.copy_of(box.path, OLD))
    with pytest.raises(StoreError):
        box.start(OLD)
    assert box.ask("PRAGMA user_version") == [(OLD + 1,)] and box.macs() == {PHONES["10.77.0.2"]}
    box.start(OLD + 1)


def test_no_room_for_the_copy_means_no_migration(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.start(OLD)
    monkeypatch.setattr(schemaback, "ROOM_BYTES", 1 << 60)
    with pytest.raises(StoreError) as error:
        box.start(OLD + 1)
    assert error.value.code == db.DATABASE_FULL
    assert box.ask("PRAGMA user_version") == [(OLD,)] and list(box.path.parent.glob("*.schema-*")) == []


STEPS = {"write_marker": db, "hardlink_to": Path, "rename": Path, "sync": wholefile}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_cut_off_on_the_way_back_it_is_done_at_the_next_start(
    box: Box, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    box.start(OLD)
    box.tap(2, 3)
    box.start(OLD + 1)
    box.tap(4)
    owner = STEPS[step]
    real = getattr(owner, step)

    class PowerCut(BaseException):
        pass

    def cut(*arguments: Any) -> None:
        if after:
            real(*arguments)
        raise PowerCut

    monkeypatch.setattr(db, "SCHEMA_VERSION", OLD)
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, cut)
        with pytest.raises(PowerCut):
            schemaback.go_back(box.path, box.clock)
    box.start(OLD)
    assert setup.is_current(box.path) and box.log_is_whole()
    assert box.macs() == {PHONES["10.77.0.2"], PHONES["10.77.0.3"]}
    newer = list(box.path.parent.glob(f"newer-*.{box.path.name}"))
    assert newer and all(box.ask("SELECT count(*) FROM session", kept) == [(3,)] for kept in newer)


def test_copies_are_bounded(box: Box) -> None:
    for schema in range(schemaback.COPIES + 3):
        schemaback.copy_of(box.path, schema).write_bytes(b"")
    box.start(OLD)
    box.start(OLD + 1)
    found = {copy.name for copy in box.path.parent.glob("*.schema-*")}
    assert len(found) == schemaback.COPIES and schemaback.copy_of(box.path, OLD).name in found


def test_a_newer_schema_that_lacks_a_table_is_counted_as_unknown(box: Box) -> None:
    box.start(OLD)
    box.start(OLD + 1)
    with closing(sqlite3.connect(box.path)) as connection:
        connection.execute("ALTER TABLE voucher RENAME TO ticket")
    box.start(OLD)
    went = schemaback.note(box.path)
    assert went is not None and went.lost["vouchers"] is None and went.lost["sessions"] == 0
    assert box.log_is_whole()
