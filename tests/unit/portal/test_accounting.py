"""Minutes and bytes of people, against a model: never counted twice, never lost after a flush, whatever happens.

A state machine logs people in and out, on several devices, moves traffic, lets time pass over quarters and midnights,
sets the wall clock, kills the meter, stops it in order and pulls the plug; the model only adds up. The usage log is
held against the rows of sessions after each step.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from portal.admission import Gate
from portal.config import Plan
from portal.domain.journal import CLASS_OF, GENESIS, Class, Entry, Kind, hash_of, text_of
from portal.domain.uplink import UplinkView
from portal.meter import Meter
from portal.paths import Paths
from portal.store import journal, migrations, setup
from tests.unit.portal.conftest import CONFIG, ZONE
from tests.unit.portal.fakes import Clock, Netctl

pytestmark = pytest.mark.timeout(400)  # a hundred lives, each of its steps on the disk

VIEW = UplinkView()
PLAN = Plan(id="warga", name="Warga", devices=2, session_minutes=480, idle_minutes=None)
SITE = msgspec.structs.replace(CONFIG, plan=(PLAN,))
DAY_S = 86_400
CLOSE_S = 0.05  # each reading of the clock takes a microsecond


@functools.cache
def pristine() -> dict[str, bytes]:
    """A new data directory; made once."""
    with tempfile.TemporaryDirectory() as directory:
        setup.create_or_migrate(Path(directory) / "gerbang.db", migrations.migrate)
        return {file.name: file.read_bytes() for file in Path(directory).iterdir()}


class Accounting(RuleBasedStateMachine):
    people = Bundle("people")

    @initialize(target=people)
    def begin(self) -> Any:
        self.directory = Path(tempfile.mkdtemp())
        self.paths = Paths(self.directory, self.directory)
        for name, content in pristine().items():
            (self.directory / name).write_bytes(content)
        # Kept, as another process would: what must hold reads it some hundred times in a life.
        self.reader = sqlite3.connect(self.paths.database, isolation_level=None)
        self.clock = Clock()
        self.netctl = Netctl(self.clock)
        self.boots = itertools.count(1)
        self.numbers = itertools.count(1)
        self.start()
        self.online: dict[int, list[tuple[int, float]]] = {}  # person -> [(session, deadline)]
        self.seconds: dict[int, float] = defaultdict(float)
        self.bytes: dict[int, int] = defaultdict(int)
        self.by_day: dict[tuple[int, str], float] = defaultdict(float)
        self.is_stopped = False
        self.days_are_sure = True  # no one has set the clock
        self.flushed: dict[int, tuple[float, int]] = {}
        return multiple(self.a_new_person(), self.a_new_person())

    def start(self) -> None:
        self.meter = Meter(SITE, self.paths, self.netctl, self.clock, lambda: True)
        self.gate = Gate(SITE, self.paths, self.netctl, self.clock)
        self.gate.start()

    def teardown(self) -> None:
        try:
            self.a_flush()
        finally:
            self.gate.close()
            self.reader.close()
            shutil.rmtree(self.directory)

    # --- what may happen ----------------------------------------------------------------------------------------------

    def a_new_person(self) -> int:
        number = next(self.numbers)
        session = self.gate.enter_by_terms(f"02:00:00:00:00:{number:02x}", f"10.77.0.{10 + number}", "1")
        self.look()
        assert session.person_id is not None
        return session.person_id

    @rule(person=people)
    def another_device(self, person: int) -> None:
        number = next(self.numbers)
        ((code,),) = self.query("SELECT code FROM person WHERE id = ?", person)
        self.gate.enter_by_code(f"02:00:00:00:01:{number:02x}", f"10.77.1.{10 + number}", code)
        self.look()

    @rule(person=people, back=st.booleans())
    def a_logout(self, person: int, back: bool) -> None:
        for (mac,) in self.query("SELECT mac FROM session WHERE person_id = ? AND ended_wall_s IS NULL", person)[:1]:
            session = self.gate.session(mac)
            if session is not None:
                self.gate.logout(session)
                if back:
                    self.gate.enter_by_terms(mac, session.ipv4, "1")
        self.look()

    @rule(person=people, up=st.integers(0, 10**6), down=st.integers(0, 10**9), ipv6=st.booleans())
    def traffic(self, person: int, up: int, down: int, ipv6: bool) -> None:
        for session, deadline in self.online.get(person, ())[:1]:
            if deadline > self.clock.now.boot_s:
                self.netctl.send(session, up, down, ip="fd00::9" if ipv6 else "10.77.0.9")
                self.bytes[person] += up + down

    @rule(seconds=st.sampled_from([1, 7, 31, 600, 3600, 5 * 3600]))
    def time_passes(self, seconds: float) -> None:
        now = self.clock.now
        for person, sessions in self.online.items():
            ends = min(now.boot_s + seconds, max((deadline for _, deadline in sessions), default=0.0))
            self.add_time(person, now.wall_s, max(0.0, ends - now.boot_s))
        self.clock.forward(seconds)

    def add_time(self, person: int, from_wall_s: float, seconds: float) -> None:
        self.seconds[person] += seconds
        offset_s = ZONE.utcoffset(dt.datetime(2033, 1, 1)).total_seconds()  # type: ignore[union-attr]
        while seconds > 0:
            here = min(seconds, DAY_S - (from_wall_s + offset_s) % DAY_S)
            day = dt.datetime.fromtimestamp(from_wall_s, ZONE).date().isoformat()
            self.by_day[person, day] += here
            from_wall_s, seconds = from_wall_s + here, seconds - here

    @rule()
    def a_tick(self) -> None:
        self.meter.tick(VIEW)
        self.is_stopped = False
        self.look()

    @rule()
    def the_meter_is_killed(self) -> None:
        self.meter = Meter(SITE, self.paths, self.netctl, self.clock, lambda: True)

    @rule(days=st.sampled_from([-400, -1, 1, 40]))
    def somebody_sets_the_clock(self, days: int) -> None:
        self.clock.set_wall(self.clock.now.wall_s + days * DAY_S)
        self.days_are_sure = False

    @rule()
    def a_flush(self) -> None:
        """As when the meter is told to stop: from here on everything up to now is safe."""
        self.meter.stop(VIEW)
        self.is_stopped = True
        self.the_meter_is_killed()
        counted = self.counted()
        for person in self.seconds.keys() | self.bytes.keys():
            seconds, octets = counted.get(person, (0.0, 0))
            assert seconds == pytest.approx(self.seconds[person], abs=CLOSE_S)
            assert octets == self.bytes[person]
        if self.days_are_sure:
            found = {
                (who, day): seconds
                for who, day, seconds in self.query("SELECT person_id, day, seconds FROM person_day")
            }
            for key, seconds in self.by_day.items():
                assert found.get(key, 0.0) == pytest.approx(seconds, abs=CLOSE_S)
        self.flushed = counted

    @rule()
    def the_wall_clock_comes_to_a_quarter(self) -> None:
        self.time_passes(900 - self.clock.now.wall_s % 900 + 0.01)
        self.a_tick()

    @rule(clock_lost=st.booleans())
    def the_power_goes(self, clock_lost: bool) -> None:
        self.gate.close()
        stopped = self.is_stopped
        ((seen_boot_s,),) = self.query("SELECT seen_boot_s FROM meta")
        lost_s = self.clock.now.boot_s - seen_boot_s
        running = {row[0] for row in self.query("SELECT id FROM session WHERE ended_wall_s IS NULL")}
        self.clock.reboot(f"boot-{next(self.boots)}", boot_s=25.0, wall_s=60.0 if clock_lost else None)
        self.netctl.reboot()
        self.start()
        self.a_tick()
        ended = dict(self.query("SELECT id, end_reason FROM session"))
        assert {ended[session] for session in running} <= {"restart" if stopped else "power"}
        counted = self.counted()
        for person, (seconds, octets) in counted.items():  # what was not flushed may be lost; nothing is made up
            assert self.seconds[person] - lost_s - CLOSE_S <= seconds <= self.seconds[person] + CLOSE_S
            assert octets <= self.bytes[person]
            self.seconds[person], self.bytes[person] = seconds, octets
        for person in self.seconds.keys() - counted.keys():
            self.seconds[person], self.bytes[person] = 0.0, 0
        if clock_lost:
            self.clock.set_wall(2_000_000_000.0 + 400 * DAY_S)  # NTP
        self.days_are_sure = False
        self.look()

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_counted_twice_and_nothing_flushed_is_lost(self) -> None:
        counted = self.counted()
        for person, (seconds, octets) in counted.items():
            assert seconds <= self.seconds[person] + CLOSE_S
            assert octets <= self.bytes[person]
        for person, (seconds, octets) in self.flushed.items():
            assert counted[person][0] >= seconds - CLOSE_S
            assert counted[person][1] >= octets

    @invariant()
    def a_persons_bytes_are_those_of_the_sessions(self) -> None:
        by_session = self.query("SELECT person_id, sum(up_bytes + down_bytes) FROM session GROUP BY person_id")
        by_day = dict(self.query("SELECT person_id, sum(up_bytes + down_bytes) FROM person_day GROUP BY person_id"))
        assert {person: octets for person, octets in by_session if octets} == {
            person: octets for person, octets in by_day.items() if octets
        }

    @invariant()
    def the_log_is_whole(self) -> None:
        before = GENESIS
        for seq, entry in enumerate(self.log(), 1):
            header = {key: getattr(entry, key) for key in ("kind", "boot_id", "boot_ms", "wall_ms", "trusted")}
            assert entry.seq == seq
            assert entry.hash == hash_of(before, text_of(entry.body), seq=seq, **header)
            before = entry.hash

    @invariant()
    def the_log_tells_of_each_session_what_its_row_says(self) -> None:
        told: dict[int, list[Entry]] = defaultdict(list)
        for entry in self.log():
            if CLASS_OF.get(entry.kind) is Class.SESSIONS:
                told[entry.body["s"]].append(entry)
        rows = self.query(
            "SELECT id, device, up_bytes, down_bytes, told_up_bytes, told_down_bytes, end_reason FROM session"
        )
        assert told.keys() == {row[0] for row in rows}
        for session, device, up, down, told_up, told_down, reason in rows:
            begin, *others = told[session]
            assert (begin.kind, begin.body["d"]) == (Kind.BEGIN, device)
            assert [one.body["reason"] for one in others if one.kind is Kind.END] == ([reason] if reason else [])
            kinds = [one.kind for one in others]
            assert kinds == sorted(kinds, key=[Kind.INTERIM, Kind.END, Kind.FINAL].index)
            moved_up = moved_down = 0
            for one in others:
                new_up, new_down = one.body["up"] - moved_up, one.body["down"] - moved_down
                assert new_up >= 0
                assert new_down >= 0
                assert one.kind is Kind.END or new_up + new_down > 0, "told of nothing"
                moved_up, moved_down = moved_up + new_up, moved_down + new_down
            assert (moved_up, moved_down) == (told_up, told_down)
            if reason is not None:
                assert (moved_up, moved_down) == (up, down)

    @invariant()
    def a_session_that_goes_on_after_a_boot_does_so_once_as_the_same(self) -> None:
        begins = {entry.body["s"]: entry.body for entry in self.log() if entry.kind is Kind.BEGIN}
        after = [body for body in begins.values() if body["after"] is not None]
        assert len({body["after"] for body in after}) == len(after)
        for body in after:
            assert body == begins[body["after"]] | {"s": body["s"], "after": body["after"]}

    def log(self) -> list[Entry]:
        return list(journal.entries(self.reader))

    def counted(self) -> dict[int, tuple[float, int]]:
        rows = self.query(
            "SELECT person_id, sum(seconds), sum(up_bytes + down_bytes) FROM person_day GROUP BY person_id"
        )
        return {person: (seconds, octets) for person, seconds, octets in rows}

    def look(self) -> None:
        """Who is online now: decided elsewhere, and tested there."""
        self.online = {}
        for person, session, deadline in self.query(
            "SELECT person_id, id, deadline_boot_s FROM session WHERE ended_wall_s IS NULL"
        ):
            self.online.setdefault(person, []).append((session, deadline))

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.reader.execute(sql, values).fetchall()


Accounting.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, suppress_health_check=list(HealthCheck)
)
TestAccounting = Accounting.TestCase
