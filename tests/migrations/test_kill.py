"""What is in the file after a real kill -9 in the middle of a flush, a login or an end: the whole of it or nothing."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from portal.config import Access, Site, SiteConfig
from portal.domain.model import EndReason, Now
from portal.domain.siterules import SiteRules
from portal.domain.usage import CounterKey, Reading
from portal.entrance import Caller, Entrance
from portal.store import counters, people, sessions, setup, vouchers
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
        person = people.create(connection, method="terms", plan="warga", now=NOW)
        session = sessions.begin(
            connection, mac=f"02:00:00:00:00:{number:02x}", ipv4=f"10.77.0.{number}", plan="warga", method="terms",
            terms_version="1", limit_s=3600.0, now=NOW, device="0123456789abcdef", person_id=person.id,
        )  # fmt: skip
        sessions.next_generation(connection)
    database.close()
    return session.id


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def totals(path: Path) -> list[tuple[int, int]]:
    return rows(path, "SELECT up_bytes, down_bytes FROM session ORDER BY id")


def used(path: Path) -> list[tuple[float, int, int]]:
    return rows(path, "SELECT seconds, up_bytes, down_bytes FROM person_day ORDER BY person_id")


def kill_at(connection: sqlite3.Connection, at: int) -> None:
    """SIGKILL for this process when ``connection`` begins its nth statement from now."""
    begun = itertools.count(1)
    connection.set_trace_callback(lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(begun) == at else None)


def killed_at_each_statement(work: Callable[[int], object], after_each: Callable[[], object]) -> int:
    """Do ``work`` in a child that is killed at its first statement, its second, ... until it comes through; its count.
    ``work`` is given the number, ``after_each`` looks at what a dead child has left."""
    for at in itertools.count(1):
        try:
            setup.in_child(lambda at=at: work(at))
        except StoreError as error:
            assert "ended with -9" in str(error)
            after_each()
        else:
            return at
    raise AssertionError


def test_a_flush_killed_at_any_statement_is_whole_or_nothing(path: Path) -> None:
    ids = [begin(path, number) for number in (1, 2, 3)]
    seen = {CounterKey("boot", number, "10.77.0.1"): Reading(100, 1000, 1, 10, 1060.0, 1060.1) for number in ids}
    later = Now("boot", 1061.0, NOW.wall_s + 61)

    def flush(at: int) -> None:
        with Database(path).write() as connection:
            kill_at(connection, at)
            sessions.note_time(connection, later)
            moment = people.moment(connection, later, ZONE)
            people.count_time(connection, moment)
            counters.account(connection, seen, moment)

    def nothing() -> None:
        assert totals(path) == [(0, 0)] * 3
        assert used(path) == []

    statements = killed_at_each_statement(flush, nothing)
    assert statements >= 2 + 5 * len(ids), "COMMIT, too, had its turn"
    assert totals(path) == [(100, 1000)] * 3
    assert used(path) == [(61.0, 100, 1000)] * 3
    setup.in_child(lambda: flush(0))
    assert totals(path) == [(100, 1000)] * 3
    assert used(path) == [(61.0, 100, 1000)] * 3


def test_an_end_killed_at_any_statement_counts_its_time_once(path: Path) -> None:
    session = begin(path, 1)
    later = Now("boot", 1061.0, NOW.wall_s + 61)

    def end(at: int) -> None:
        with Database(path).write() as connection:
            kill_at(connection, at)
            sessions.note_time(connection, later)
            sessions.end(connection, session, EndReason.LOGOUT, later, ZONE)

    def nothing() -> None:
        assert rows(path, "SELECT end_reason FROM session") == [(None,)]
        assert used(path) == []

    assert killed_at_each_statement(end, nothing) > 5
    assert used(path) == [(61.0, 0, 0)]
    assert rows(path, "SELECT counted_boot_s FROM person") == [(None,)]


def test_an_entry_killed_at_any_statement_takes_no_place_of_the_voucher_and_moves_nobody(path: Path) -> None:
    config = SiteConfig(site=Site(code="64.03.01.2001"), access=Access(methods=("voucher",)))
    entrance = Entrance(SiteRules(config))
    with Database(path).write() as connection:
        sessions.note_time(connection, NOW)
        _, (voucher,) = vouchers.create(
            connection, count=1, plan="warga", devices=1, valid_from_wall_s=None, valid_until_wall_s=None, note="",
            created_by="test", now=NOW,
        )  # fmt: skip
    code = [voucher.code]

    def enter(number: int, at: int) -> None:
        with Database(path).write() as connection:
            kill_at(connection, at)
            sessions.note_time(connection, NOW)
            caller = Caller(f"02:00:00:00:00:{number:02x}", f"10.77.0.{number}")
            entrance.by_code(connection, NOW, caller, code[0])
            sessions.next_generation(connection)

    def state() -> list[list[tuple[Any, ...]]]:
        tables = ("meta", "session", "person", "device", "voucher_device", "person_day")
        return [rows(path, f"SELECT * FROM {table}") for table in tables]

    for number in (1, 2):  # the first with the voucher, the second with its return code, in the place of the first
        before = state()

        def unchanged(before: list[list[tuple[Any, ...]]] = before) -> None:
            assert state() == before

        statements = killed_at_each_statement(lambda at, number=number: enter(number, at), unchanged)  # type: ignore[misc]
        assert statements > 12
        assert rows(path, "SELECT mac FROM voucher_device") == [(f"02:00:00:00:00:{number:02x}",)]
        ((code[0],),) = rows(path, "SELECT code FROM person")
    assert rows(path, "SELECT end_reason FROM session ORDER BY id") == [("moved",), (None,)]


def test_a_login_that_was_answered_outlives_its_process(path: Path) -> None:
    def login_and_die() -> None:
        begin(path, 7)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(StoreError, match="ended with -9"):
        setup.in_child(login_and_die)
    with Database(path).read() as connection:
        (found,) = sessions.not_ended(connection)
        assert (found.mac, sessions.state_name(connection)[1]) == ("02:00:00:00:00:07", 2)  # new boot, new session
