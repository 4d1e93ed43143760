"""What must hold among the rows after any sequence of ways in, moves, ends, withdrawals and power cuts."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from portal.config import Access, Plan
from portal.domain.siterules import SiteRules
from portal.domain.uplink import UplinkView
from portal.entrance import Caller, Entrance
from portal.gatekeeper import Refused
from portal.meter import Meter
from portal.paths import Paths
from portal.store import devices, sessions, vouchers
from portal.store.db import Database
from tests.unit.portal.conftest import CONFIG
from tests.unit.portal.fakes import Clock, Netctl
from tests.unit.portal.test_accounting import pristine

CAPACITY = 3
WARGA = Plan(id="warga", name="Warga", devices=1, daily_minutes=60, after_budget="stop", session_minutes=90)
PAIR = Plan(id="pair", name="Dua", devices=2)
SITE = msgspec.structs.replace(
    CONFIG, plan=(WARGA, PAIR), access=Access(methods=("terms", "voucher"), capacity=CAPACITY)
)
MACS = [f"02:00:00:00:00:{number:02x}" for number in range(6)]
macs = st.sampled_from(MACS)


class Entries(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        paths = self.paths = Paths(self.directory, self.directory)
        for name, content in pristine().items():
            (self.directory / name).write_bytes(content)
        self.database = Database(paths.database)
        self.another = sqlite3.connect(paths.database, isolation_level=None)
        self.clock = Clock()
        self.netctl = Netctl(self.clock)
        self.meter = Meter(SITE, paths, self.netctl, self.clock, lambda: True)
        self.entrance = Entrance(SiteRules(SITE))
        self.boots = 0
        with self.database.write() as db:
            now = self.clock()
            sessions.note_time(db, now)
            for count in (1, 2):
                vouchers.create(
                    db, count=1, plan="pair", devices=count, valid_from_wall_s=None, valid_until_wall_s=None, note="",
                    created_by="test", now=now,
                )  # fmt: skip

    def teardown(self) -> None:
        self.another.close()
        self.database.close()
        shutil.rmtree(self.directory)

    def do(self, way: Any, mac: str, address: int, *more: Any) -> None:
        """One way in, or none: who is refused must leave nothing half done, either."""
        with self.database.write() as db:
            now = self.clock()
            sessions.note_time(db, now)
            with contextlib.suppress(Refused):
                way(db, now, Caller(mac, f"10.77.0.{10 + address}"), *more)
                sessions.next_generation(db)

    # --- what may happen ----------------------------------------------------------------------------------------------

    @rule(mac=macs, address=st.integers(0, 7))
    def a_tap(self, mac: str, address: int) -> None:
        self.do(self.entrance.by_terms, mac, address, "1")

    @rule(mac=macs, address=st.integers(0, 7), which=st.integers(0, 1))
    def a_voucher(self, mac: str, address: int, which: int) -> None:
        self.do(self.entrance.by_code, mac, address, self.query("SELECT code FROM voucher ORDER BY id")[which][0])

    @rule(mac=macs, address=st.integers(0, 7), which=st.integers(0, 20))
    def a_return_code(self, mac: str, address: int, which: int) -> None:
        people = self.query("SELECT code FROM person ORDER BY id")
        if people:
            self.do(self.entrance.by_code, mac, address, people[which % len(people)][0])

    @rule(mac=macs, address=st.integers(0, 7))
    def a_rule(self, mac: str, address: int) -> None:
        self.do(self.entrance.by_rule, mac, address)

    @rule(mac=macs, said=st.sampled_from(["allow", "block", None]))
    def an_operators_word(self, mac: str, said: Any) -> None:
        with self.database.write() as db:
            devices.set_rule(db, mac, rule=said, rule_plan=None, note="", ruled_by="test", now=self.clock())

    @rule(mac=macs)
    def waits(self, mac: str) -> None:
        with self.database.write() as db, contextlib.suppress(Refused):
            self.entrance.wait(db, self.clock(), mac)

    @rule(seconds=st.sampled_from([5, 95, 125, 1800]))
    def time_passes_and_a_tick(self, seconds: int) -> None:
        self.clock.forward(seconds)
        self.meter.tick(UplinkView())

    @rule(which=st.integers(0, 1), void=st.booleans())
    def a_voucher_is_withdrawn_or_not(self, which: int, void: bool) -> None:
        self.query(f"UPDATE voucher SET voided_wall_s = {1 if void else 'NULL'} WHERE id = {which + 1}")

    @rule()
    def the_power_goes(self) -> None:
        self.boots += 1
        self.clock.reboot(f"boot-{self.boots}")
        self.netctl.reboot()
        self.meter = Meter(SITE, self.paths, self.netctl, self.clock, lambda: True)

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def time_runs_for_who_is_online_and_for_nobody_else(self) -> None:
        running = {row[0] for row in self.query("SELECT DISTINCT person_id FROM session WHERE ended_wall_s IS NULL")}
        assert {row[0] for row in self.query("SELECT id FROM person WHERE counted_boot_s IS NOT NULL")} == running

    @invariant()
    def a_session_is_of_who_used_the_device_last(self) -> None:
        assert not self.query(
            "SELECT * FROM session JOIN device USING (mac) "
            "WHERE ended_wall_s IS NULL AND session.person_id IS NOT device.person_id"
        )

    @invariant()
    def nobody_is_on_more_devices_than_allowed(self) -> None:
        assert not self.query(
            "SELECT person_id FROM session JOIN person ON person.id = person_id WHERE ended_wall_s IS NULL "
            "GROUP BY person_id HAVING count(*) > "
            "max(CASE WHEN voucher_id IS NULL THEN 1 ELSE voucher_id END)"  # voucher n is for n devices
        )

    @invariant()
    def a_voucher_is_bound_to_no_more_than_it_is_for_and_to_who_is_in_by_it(self) -> None:
        assert not self.query("SELECT 1 FROM voucher_device GROUP BY voucher_id HAVING count(*) > voucher_id")
        assert not self.query(
            "SELECT 1 FROM session JOIN person ON person.id = person_id WHERE ended_wall_s IS NULL "
            "AND voucher_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM voucher_device "
            "WHERE voucher_device.mac = session.mac AND voucher_device.voucher_id = person.voucher_id)"
        )

    @invariant()
    def there_are_never_more_than_there_is_room_for(self) -> None:
        ((online,),) = self.query("SELECT count(*) FROM session WHERE ended_wall_s IS NULL AND method <> 'rule'")
        assert online <= CAPACITY

    @invariant()
    def rows_name_rows(self) -> None:
        assert self.query("PRAGMA foreign_key_check") == []

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.another.execute(sql).fetchall()


Entries.TestCase.settings = settings(max_examples=50, stateful_step_count=30, suppress_health_check=list(HealthCheck))
TestEntries = Entries.TestCase
