"""What is erased when, what it leaves, and what it must never touch: portal.retention, portal.store.erasure."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portal import retention as subject
from portal.administration import Administration
from portal.admission import Gate
from portal.config import Log, SiteConfig
from portal.domain.erasure import STEADY_DAYS
from portal.domain.journal import Kind
from portal.domain.model import EndReason, Now
from portal.paths import Paths
from portal.retention import Retention
from portal.store import audit, erasure, journal, journalread, people, pseudonyms, rollups, sessions
from portal.store.db import Database
from tests.unit.portal.conftest import CONFIG, ZONE
from tests.unit.portal.fakes import BOOT, Clock, Netctl

Query = Callable[..., list[tuple[Any, ...]]]
DAY_S = 86_400.0
SHORT = msgspec.structs.replace(
    CONFIG, log=Log(devices_days=5, sessions_days=10, samples_days=20, acts_days=30, nat_days=3)
)
MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.fixture
def retain(database: Database, clock: Clock) -> Iterator[Callable[..., dict[str, int]]]:
    """One run, as housekeeping does it."""

    def run(config: SiteConfig = SHORT, *, trusted: bool = True) -> dict[str, int]:
        with database.write() as db:
            if trusted:
                people.note_trusted(db, people.moment(db, clock(), ZONE, trusted=True))
            rollups.catch_up(db, ZONE)
        found = Retention(config, database, clock, lambda: trusted).run()
        with database.write() as db:
            assert journalread.check(db).findings == ()
            rollups.catch_up(db, ZONE)
        return found

    yield run


@pytest.fixture
def steady(database: Database, clock: Clock, retain: Callable[..., dict[str, int]]) -> None:
    """The date has been going on for a week."""
    with database.write() as db:
        sessions.note_time(db, clock())
    for _ in range(STEADY_DAYS):
        clock.forward(DAY_S)
        retain()


def visit(database: Database, clock: Clock, mac: str = MAC, length_s: float = 600.0, *, trusted: bool = True) -> int:
    """A session with all that the log tells of one."""
    with database.write() as db:
        now = clock()
        sessions.note_time(db, now)
        if trusted:
            people.note_trusted(db, people.moment(db, now, ZONE, trusted=True))
        person = people.create(db, method="terms", plan="warga", now=now)
        people.remember_device(db, mac, person, now)
        device = pseudonyms.of(db, mac, people.moment(db, now, ZONE).day[:7])
        made = sessions.begin(
            db,
            mac=mac,
            ipv4=None,
            plan="warga",
            method="terms",
            terms_version="1",
            limit_s=None,
            now=now,
            device=device,
            person_id=person.id,
        )
        people.add_bytes(db, made.id, people.moment(db, now, ZONE).day, 1, 1)
    clock.forward(length_s / 2)
    with database.write() as db:
        db.execute("UPDATE session SET up_bytes = 5, down_bytes = 7 WHERE id = ?", (made.id,))
        sessions.tell_interims(db, clock().boot_s, clock())
    clock.forward(length_s / 2)
    with database.write() as db:
        sessions.note_time(db, clock())
        sessions.end(db, made.id, EndReason.LOGOUT, clock(), ZONE)
        journal.append(db, Kind.SAMPLE, {"online": 0, "latency_ms": 1.0, "loss": 0.0}, clock())
    return made.id


def kinds(database: Database) -> list[Kind]:
    with database.read() as db:
        return [one.kind for one in journal.entries(db)]


def erasures(database: Database) -> list[tuple[str, int]]:
    with database.read() as db:
        return [(one.body["class"], one.body["count"]) for one in journal.of_kinds(db, (Kind.ERASURE,))]


# --- what goes when ---------------------------------------------------------------------------------------------------


def test_each_class_goes_on_its_day_and_not_before(
    steady: None, database: Database, clock: Clock, query: Query, retain: Callable[..., dict[str, int]]
) -> None:
    visit(database, clock)
    with database.write() as db:
        audit.write(db, actor="cli", role="cli", action="x.y", object="z", before=None, after=None, now=clock())
    gone: dict[str, int] = {}
    for day in range(1, 40):
        clock.forward(DAY_S)
        gone |= dict.fromkeys(retain(), day)
    assert {name: day for name, day in gone.items() if name != "keys"} == {
        "devices": 6,
        "sessions": 11,
        "samples": 21,
        "acts": 31,
        "audit": 31,
    }
    assert not set(kinds(database)) & {Kind.BEGIN, Kind.INTERIM, Kind.END, Kind.SAMPLE, Kind.ACT}
    for table in ("session", "device", "person", "person_day", "record_session", "audit"):
        assert query(f"SELECT count(*) FROM {table}") == [(0,)], table


def test_figures_of_days_whose_sessions_went_stay_as_they_were(
    steady: None, database: Database, clock: Clock, retain: Callable[..., dict[str, int]]
) -> None:
    for mac in (MAC, OTHER):
        visit(database, clock, mac)
        clock.forward(DAY_S / 2)
    day = dt.datetime.fromtimestamp(clock.now.wall_s, ZONE).date()

    def figures() -> list[Any]:
        with database.write() as db:
            rollups.catch_up(db, ZONE)
        with database.read() as db:
            span = (day - dt.timedelta(days=2), day)
            return [*rollups.days(db, ZONE, *span), *rollups.hours(db, ZONE, *span)]

    clock.forward(2 * DAY_S)
    visit(database, clock)  # the log goes beyond those days
    before = figures()
    assert sum(one.sessions for one in before) > 0
    for _ in range(25):
        clock.forward(DAY_S)
        retain()
    assert figures() == before
    with database.write() as db:
        rollups.rebuild(db, ZONE)
    assert figures() == before


def test_who_is_online_all_the_time_keeps_everything(
    steady: None, gate: Gate, database: Database, clock: Clock, query: Query, retain: Callable[..., dict[str, int]]
) -> None:
    session = gate.enter_by_terms(MAC, "10.77.0.9", "1")
    query("UPDATE session SET deadline_boot_s = NULL")
    for _ in range(60):
        clock.forward(DAY_S)
        retain()
    assert query("SELECT mac, person_id IS NULL FROM session") == [(MAC, 0)]
    assert query("SELECT mac FROM device") == [(MAC,)]
    assert len(query("SELECT month FROM pseudonym_key")) == 1
    assert Kind.BEGIN in kinds(database)
    gate.logout(session)
    assert gate.visit(MAC).session is None


def test_keys_of_months_that_are_over_go_with_a_record(
    steady: None, database: Database, clock: Clock, query: Query, retain: Callable[..., dict[str, int]]
) -> None:
    visit(database, clock)
    ((month,),) = query("SELECT month FROM pseudonym_key")
    today = dt.datetime.fromtimestamp(clock.now.wall_s, ZONE).date()
    first_of_next = (today.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    while dt.datetime.fromtimestamp(clock.now.wall_s, ZONE).date() < first_of_next:
        assert query("SELECT month FROM pseudonym_key") == [(month,)]
        clock.forward(DAY_S)
        retain()
    assert query("SELECT month FROM pseudonym_key") == []
    assert ("keys", 1) in erasures(database)


def test_rules_vouchers_and_accounts_stay(
    steady: None, database: Database, clock: Clock, query: Query, retain: Callable[..., dict[str, int]], allow: Any
) -> None:
    visit(database, clock)
    allow(MAC, CONFIG.plan[0])
    query(
        "INSERT INTO voucher_batch VALUES (1, 'warga', 1, NULL, NULL, '', 0, 'x'), (2, 'warga', 1, NULL, 1, '', 0, 'x')"
    )
    query("INSERT INTO voucher VALUES (1, 1, 'ABCDEFGH', NULL), (2, 2, 'ABCDEFGJ', NULL)")
    query(f"INSERT INTO voucher_device VALUES (1, '{OTHER}', 0), (2, '{OTHER}', 0)")
    query(
        "INSERT INTO person (code, method, plan, voucher_id, created_wall_s) "
        "VALUES ('BBBBBBBB', 'voucher', 'warga', 1, 0)"
    )
    for _ in range(20):
        clock.forward(DAY_S)
        retain()
    assert query("SELECT mac FROM device") == [(MAC,)]
    assert query("SELECT code FROM person WHERE voucher_id IS NOT NULL") == [("BBBBBBBB",)]
    assert query("SELECT voucher_id FROM voucher_device") == [(1,)], "an expired voucher lets nobody in"
    assert query("SELECT count(*) FROM voucher") == [(2,)]


# --- clocks that are wrong --------------------------------------------------------------------------------------------


def test_a_clock_that_leaps_years_ahead_erases_nothing(
    steady: None, database: Database, clock: Clock, query: Query, retain: Callable[..., dict[str, int]]
) -> None:
    visit(database, clock)
    before = query("SELECT * FROM session"), kinds(database)
    right = clock.now.wall_s
    clock.set_wall(right + 3000 * DAY_S)
    assert retain() == {}
    assert retain(trusted=False) == {}
    clock.set_wall(right)
    assert retain() == {}
    assert (query("SELECT * FROM session"), kinds(database)) == before


def test_nothing_goes_while_ntp_has_not_set_the_clock(
    steady: None, database: Database, clock: Clock, retain: Callable[..., dict[str, int]]
) -> None:
    visit(database, clock)
    for _ in range(60):
        clock.forward(DAY_S)
        assert retain(trusted=False) == {}


def test_sessions_of_a_clock_that_stood_at_1970_go_with_those_beside_them(
    steady: None, database: Database, clock: Clock, query: Query, retain: Callable[..., dict[str, int]]
) -> None:
    wall_s = clock.now.wall_s
    clock.reboot(boot_s=10.0, wall_s=1000.0)
    visit(database, clock, trusted=False)
    clock.reboot("33333333-3333-4333-8333-333333333333", 10.0, wall_s + 1000)
    visit(database, clock, OTHER)
    retain()
    assert query("SELECT mac FROM session ORDER BY id") == [(MAC,), (OTHER,)], "not early"
    for _ in range(30):
        clock.forward(DAY_S)
        retain()
    for table in ("session", "device", "person", "person_day"):
        assert query(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert not set(kinds(database)) & {Kind.BEGIN, Kind.INTERIM, Kind.END}


# --- bounded, and whole at any moment ---------------------------------------------------------------------------------


class Killed(BaseException):
    """As a kill -9: nothing that was not on the disk is there afterwards."""


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_a_kill_at_any_moment_leaves_all_whole_and_the_next_run_goes_on(
    tmp_path_factory: pytest.TempPathFactory, pristine: Path, seed: int
) -> None:
    chance = random.Random(seed)
    directory = tmp_path_factory.mktemp("killed")
    for file in pristine.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    database, clock = Database(directory / "gerbang.db"), Clock(BOOT)
    try:
        with database.write() as db:
            sessions.note_time(db, clock())
            db.execute("UPDATE erasure_seen SET days = 7, day = '2033-05-18'")
        for number in range(8):
            visit(database, clock, f"02:00:00:00:00:{number:02x}", length_s=chance.uniform(10, DAY_S / 3))
            clock.forward(chance.uniform(0, DAY_S / 4))
        alive = _begin(database, clock)
        clock.forward(chance.choice((0.0, 5, 6, 12, 25)) * DAY_S)
        with database.write() as db:
            today = dt.datetime.fromtimestamp(clock().wall_s, ZONE).date()
            db.execute("UPDATE erasure_seen SET day = ?", (today.isoformat(),))
            people.note_trusted(db, people.moment(db, clock(), ZONE, trusted=True))
            journal.append(db, Kind.SAMPLE, {"online": 1, "latency_ms": None, "loss": None}, clock())
            rollups.catch_up(db, ZONE)
        figures = _days(database, today)
        for left in (chance.randrange(30), chance.randrange(30), 10_000):
            _run_until(database, clock, left, chance)
            with database.write() as db:
                rollups.catch_up(db, ZONE)
                verdict = journalread.check(db)
                assert verdict.findings == ()
                assert sessions.by_id(db, alive) == sessions.not_ended(db)[0]
                told = {kind: set[int]() for kind in (Kind.BEGIN, Kind.END)}
                for entry in journal.of_kinds(db, told):
                    told[entry.kind].add(entry.body["s"])
                assert told[Kind.BEGIN] == told[Kind.END] | {alive}, "no half of a session is left"
            assert _days(database, today) == figures
    finally:
        database.close()


def _begin(database: Database, clock: Clock) -> int:
    with database.write() as db:
        sessions.note_time(db, clock())
        return sessions.begin(
            db,
            mac="02:00:00:00:00:aa",
            ipv4=None,
            plan="kantor",
            method="rule",
            terms_version="1",
            limit_s=None,
            now=clock(),
            device="a" * 16,
        ).id


def _days(database: Database, today: dt.date) -> list[Any]:
    """Of days that are over."""
    with database.read() as db:
        return rollups.days(db, ZONE, dt.date(2033, 5, 18), today - dt.timedelta(days=1))


def _run_until(database: Database, clock: Clock, steps: int, chance: random.Random) -> None:
    """Retention, killed after so many readings of the clock or statements that write."""
    left = [steps]

    def reading() -> Now:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return clock()

    chunk, subject.CHUNK = subject.CHUNK, chance.choice((1, 3, 500))  # type: ignore[misc]
    try:
        Retention(SHORT, database, reading, lambda: True).run()
    except Killed:
        pass
    finally:
        subject.CHUNK = chunk  # type: ignore[misc]


def test_work_is_cut_into_short_transactions(
    steady: None,
    database: Database,
    clock: Clock,
    query: Query,
    retain: Callable[..., dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "CHUNK", 4)
    for _ in range(6):
        visit(database, clock)
    clock.forward(12 * DAY_S)
    for _ in range(STEADY_DAYS):
        clock.forward(DAY_S)
        retain()
    assert len([count for name, count in erasures(database) if name == "sessions"]) == 6
    assert all(count <= 4 for _, count in erasures(database))


# --- at a villager's request ------------------------------------------------------------------------------------------


def test_a_villager_who_asks_is_forgotten(
    gate: Gate, paths: Paths, database: Database, clock: Clock, netctl: Netctl, query: Query
) -> None:
    gate.enter_by_terms(MAC, "10.77.0.9", "1")
    gate.enter_by_terms(OTHER, "10.77.0.10", "1")
    person = gate.visit(MAC).person
    assert person is not None
    acts = Administration(CONFIG, paths, "cli", "cli", netctl=netctl, read_clock=clock)
    acts.erase_device(person.code)
    acts.close_database()
    dump = "\n".join(
        str(row)
        for table in ("session", "device", "person", "arrival", "audit")
        for row in query(f"SELECT * FROM {table}")
    )
    assert MAC not in dump
    assert person.code not in dump
    assert OTHER in dump
    assert [name for name, _ in erasures(database)] == ["request"]
    assert gate.visit(MAC).person is None
    with database.read() as db:
        assert journalread.check(db).findings == ()


def test_what_is_erased_is_overwritten_in_the_file(
    steady: None, paths: Paths, database: Database, clock: Clock, query: Query, retain: Callable[..., dict[str, int]]
) -> None:
    visit(database, clock, MAC)
    for _ in range(20):
        clock.forward(DAY_S)
        retain()
    database.close()
    query("PRAGMA wal_checkpoint(TRUNCATE)")
    assert MAC.encode() not in paths.database.read_bytes()


def test_erasing_reads_no_running_log_twice(database: Database, clock: Clock) -> None:
    """The last entry before a moment is found, whatever boots without a clock lie between."""
    chance = random.Random(4)
    with database.write() as db:
        sessions.note_time(db, clock())
        walls: list[tuple[int, int]] = []
        for _ in range(300):
            clock.forward(60)
            trusted = chance.random() < 0.5
            db.execute("UPDATE meta SET trusted_boot_id = ?", (clock.now.boot_id if trusted else "",))
            now = clock()
            seq = journal.append(db, Kind.SAMPLE, {"online": 0, "latency_ms": None, "loss": None}, now)
            if trusted:
                walls.append((seq, round(now.wall_s * 1000)))
        for before in range(walls[0][1] - 5, walls[-1][1] + 70_000, 91_000):
            assert erasure.written_before(db, before) == max((seq for seq, wall in walls if wall < before), default=0)
