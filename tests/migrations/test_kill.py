"""What is in the file after a real kill -9 in the middle of a flush or a login: the whole of it or nothing."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from portal.domain.model import Now
from portal.domain.usage import CounterKey, Reading
from portal.store import counters, people, sessions, setup
from portal.store.db import Database, StoreError

NOW = Now("boot", 1000.0, 2_000_000_000.0)
ZONE = ZoneInfo("Asia/Makassar")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    setup.ensure(tmp_path / "gerbang.db")
    return tmp_path / "gerbang.db"


def begin(path: Path, number: int) -> int:
    database = Database(path)
    with database.write() as connection:
        sessions.note_time(connection, NOW)
        session = sessions.begin(
            connection, mac=f"02:00:00:00:00:{number:02x}", ipv4=f"10.77.0.{number}", plan="warga", method="terms",
            terms_version="1", limit_s=3600.0, now=NOW,
        )  # fmt: skip
        sessions.next_generation(connection)
    database.close()
    return session.id


def totals(path: Path) -> list[tuple[int, int]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT up_bytes, down_bytes FROM session ORDER BY id").fetchall()
    finally:
        connection.close()


def test_a_flush_killed_at_any_statement_is_whole_or_nothing(path: Path) -> None:
    ids = [begin(path, number) for number in (1, 2, 3)]
    seen = {CounterKey("boot", number, "10.77.0.1"): Reading(100, 1000, 1, 10, 1001.0, 1001.1) for number in ids}

    def flush(at: int) -> None:
        database = Database(path)
        with database.write() as connection:
            begun = itertools.count(1)
            connection.set_trace_callback(lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(begun) == at else None)
            sessions.note_time(connection, NOW)
            counters.account(connection, seen, people.moment(connection, NOW, ZONE))

    for at in itertools.count(1):
        try:
            setup.in_child(lambda at=at: flush(at))
        except StoreError as error:
            assert "ended with -9" in str(error)
            assert totals(path) == [(0, 0)] * 3
        else:
            break
    assert at >= 2 + 3 * len(ids), "COMMIT, too, had its turn"
    assert totals(path) == [(100, 1000)] * 3
    setup.in_child(lambda: flush(0))
    assert totals(path) == [(100, 1000)] * 3


def test_a_login_that_was_answered_outlives_its_process(path: Path) -> None:
    def login_and_die() -> None:
        begin(path, 7)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(StoreError, match="ended with -9"):
        setup.in_child(login_and_die)
    with Database(path).read() as connection:
        (found,) = sessions.not_ended(connection)
        assert (found.mac, sessions.state_name(connection)[1]) == ("02:00:00:00:00:07", 2)  # new boot, new session
