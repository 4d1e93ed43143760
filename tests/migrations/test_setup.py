"""A data directory becomes a database once, whoever starts first and whenever the power goes: portal.store.setup."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database, Migrations

from portal.store import db, migrations, setup
from portal.store.db import StoreError

NOBODY = 65534
SCHEMA = Path(__file__).parent / "schema.sql"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gerbang.db"


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def schema(path: Path) -> str:
    found = rows(path, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return "".join(re.sub(r"\s+", " ", sql).strip() + ";\n" for (sql,) in found if "_sqlite_migrations" not in sql)


def test_the_schema_is_the_one_that_was_released(path: Path) -> None:
    """A difference here means that a released step was changed, or that schema.sql lacks a new step's work."""
    setup.ensure(path)
    assert schema(path) == SCHEMA.read_text()


def test_an_empty_directory_becomes_a_database(path: Path) -> None:
    assert db.is_absent(path)
    setup.ensure(path)
    assert setup.is_current(path)
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "PRAGMA user_version") == [(db.SCHEMA_VERSION,)]
    assert path.stat().st_mode & 0o777 == 0o660  # guest and meter are one user, the staff pages another
    ((epoch,),) = rows(path, "SELECT epoch FROM meta")
    assert db.read_marker(path) == epoch
    setup.ensure(path)
    assert rows(path, "SELECT epoch FROM meta") == [(epoch,)]


def test_a_database_for_its_owner_alone_is_opened_to_the_group(path: Path) -> None:
    """As earlier versions made it: the log that SQLite keeps beside it follows."""
    setup.ensure(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO uplink VALUES (1, 'up', '', NULL, NULL, NULL, NULL)")
        connection.commit()
        sides = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
        for file in sides:
            file.chmod(0o600)
        assert not setup.is_current(path)
        setup.ensure(path)
        assert [file.stat().st_mode & 0o777 for file in sides] == [0o660] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two users")
def test_two_users_of_one_group_share_the_database() -> None:
    """Whoever opens it first makes the log and the shared memory: the other must be able to write to both."""
    one, other, group = 64001, 64002, 64000  # nobody's
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, one, group)
        Path(directory).chmod(0o2771)
        path = Path(directory) / "gerbang.db"
        setup.ensure(path)
        code = (
            "import os, sqlite3, sys\n"
            "os.umask(0o077)\n"
            "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "db.execute('UPDATE meta SET generation = generation + 1')\n"
            "print('written', flush=True); sys.stdin.read()\n"
        )
        with contextlib.ExitStack() as stack:
            for user in (other, one):
                child = stack.enter_context(
                    subprocess.Popen(
                        ["/usr/bin/python3", "-c", code, path],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                        user=user,
                        group=group,
                        extra_groups=[],
                    )
                )
                assert child.stdout is not None
                assert child.stdout.readline() == "written\n"
        assert rows(path, "SELECT generation FROM meta") == [(2,)]


def test_every_step_has_its_version() -> None:
    assert len(migrations.steps.pending(Database(memory=True))) == db.SCHEMA_VERSION


def test_two_databases_never_share_session_ids(tmp_path: Path) -> None:
    """The kernel may still hold the first one's counters."""
    firsts = set()
    for number in range(3):
        path = tmp_path / str(number) / "gerbang.db"
        path.parent.mkdir()
        setup.ensure(path)
        firsts.add(rows(path, "SELECT seq FROM sqlite_sequence WHERE name = 'session'")[0][0])
    assert len(firsts) == 3


def test_nobody_who_lasts_loads_sqlite_utils(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from portal.store import setup; import portal.admission, portal.meter;"
        "setup.ensure(Path(sys.argv[1])); print([name for name in sys.modules if name.startswith('sqlite_utils')])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"
    assert path.exists()


def test_starts_at_once_make_one_database(path: Path) -> None:
    code = "import sys; from pathlib import Path; from portal.store import setup; setup.ensure(Path(sys.argv[1]))"
    started = [
        subprocess.Popen([sys.executable, "-c", code, path], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert [child.communicate(timeout=60)[1] for child in started] == [""] * 4
    assert rows(path, "SELECT count(*) FROM meta") == [(1,)]
    assert db.read_marker(path) == rows(path, "SELECT epoch FROM meta")[0][0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
def test_the_files_belong_to_the_owner_of_the_directory() -> None:
    with tempfile.TemporaryDirectory() as directory:  # pytest's own is closed to others
        os.chown(directory, NOBODY, NOBODY)
        setup.ensure(Path(directory) / "gerbang.db")
        files = list(Path(directory).iterdir())
        assert len(files) == 2
        for file in files:
            assert (file.stat().st_uid, file.stat().st_gid) == (NOBODY, NOBODY), file


def test_a_power_cut_while_it_is_created_leaves_nothing_in_the_way(path: Path) -> None:
    """The child is killed at its first statement, its second, ...: each time the next start makes a whole database."""
    for at in itertools.count(1):

        def dying(at: int = at) -> None:
            setup.create_or_migrate(path, lambda connection: kill_at(connection, at) or migrations.migrate(connection))

        try:
            setup.in_child(dying)
        except StoreError as error:
            assert "ended with -9" in str(error)
        else:
            break
        assert not path.exists(), "half a database under the name of a whole one"
        setup.ensure(path)
        assert schema(path) == SCHEMA.read_text()
        for file in path.parent.iterdir():
            file.unlink()
    assert at > 10, "every statement had its turn"
    assert schema(path) == SCHEMA.read_text()


def kill_at(connection: sqlite3.Connection, statement: int) -> None:
    """SIGKILL for this process when ``connection`` begins its nth statement from now."""
    begun = itertools.count(1)
    connection.set_trace_callback(lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(begun) == statement else None)


def test_a_marker_that_was_not_written_is_made_good(path: Path) -> None:
    setup.ensure(path)
    db.marker_of(path).unlink()
    setup.ensure(path)
    assert db.read_marker(path) == rows(path, "SELECT epoch FROM meta")[0][0]


def harm_remove(path: Path) -> None:
    for side in ("", "-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)


def harm_remove_all_but_the_log(path: Path) -> None:
    harm_remove(path)
    db.marker_of(path).unlink()
    path.with_name("gerbang.db-wal").write_bytes(b"x")


def harm_garbage(path: Path) -> None:
    path.write_bytes(os.urandom(9000))


@pytest.mark.parametrize("harm", [harm_remove, harm_remove_all_but_the_log, harm_garbage])
def test_what_is_broken_is_never_replaced_by_an_empty_one(path: Path, harm: Callable[[Path], None]) -> None:
    setup.ensure(path)
    harm(path)
    for _ in range(2):
        with pytest.raises(StoreError) as error:
            setup.ensure(path)
        assert error.value.code == db.DATABASE_CORRUPT
    assert not path.exists() or path.stat().st_size == 9000


def test_a_newer_database_is_left_alone(path: Path) -> None:
    setup.ensure(path)
    rows(path, f"PRAGMA user_version = {db.SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match="newer"):
        setup.ensure(path)


def test_a_directory_that_cannot_be_written_is_said(path: Path) -> None:
    with pytest.raises(StoreError) as error:
        setup.ensure(path.parent / "missing" / "gerbang.db")
    assert error.value.code == db.DATABASE
    assert error.value.hint


def test_what_breaks_in_the_child_is_said_by_the_parent() -> None:
    def breaks() -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(StoreError, match="a mistake"):
        setup.in_child(breaks)
    with pytest.raises(StoreError, match="ended with -15"):
        setup.in_child(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert setup.in_child(lambda: {"a": [1, None]}) == {"a": [1, None]}


def test_a_later_step_is_applied_once_and_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that the next release takes: data stays, a step that fails leaves no trace."""
    setup.ensure(path)
    later = Migrations("gerbang")
    for step in migrations.steps._migrations:
        later(name=step.name)(step.fn)

    @later()
    def step_next(database: Database) -> None:
        database.conn.execute("ALTER TABLE meta ADD COLUMN colour TEXT")
        if broken:
            database.conn.execute("INSERT INTO nowhere VALUES (1)")
        database.conn.execute(f"PRAGMA user_version = {db.SCHEMA_VERSION}")

    ((epoch,),) = rows(path, "SELECT epoch FROM meta")
    monkeypatch.setattr(migrations, "steps", later)
    monkeypatch.setattr(db, "SCHEMA_VERSION", db.SCHEMA_VERSION + 1)
    broken = True
    with pytest.raises(StoreError, match="nowhere"):
        setup.ensure(path)
    assert "colour" not in schema(path)
    broken = False
    setup.ensure(path)
    assert "colour" in schema(path)
    assert rows(path, "SELECT epoch, colour FROM meta") == [(epoch, None)]
