"""A database file, hand-turned clocks, a fake netctl, and the gate and meter on top. It must not start processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

import pytest

from portal.admission import Gate
from portal.config import Plan, Site, SiteConfig
from portal.meter import Meter
from portal.paths import Paths
from portal.store import devices
from portal.store.db import Database
from tests.unit.portal.fakes import Clock, Netctl

PLAN = Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=2000, session_minutes=480, idle_minutes=60)
ENDLESS = Plan(id="kantor", name="Kantor", session_minutes=None, idle_minutes=None)
ZONE = ZoneInfo("Asia/Makassar")  # site.timezone, unless site.toml says otherwise
DAY = "2033-05-18"  # there, when fakes.Clock starts
CONFIG = SiteConfig(site=Site(code="64.03.01.2001"), plan=(PLAN, ENDLESS))


@pytest.fixture
def database(paths: Paths) -> Iterator[Database]:
    database = Database(paths.database)
    yield database
    database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def netctl(clock: Clock) -> Netctl:
    return Netctl(clock)


@pytest.fixture
def gate(paths: Paths, netctl: Netctl, clock: Clock) -> Iterator[Gate]:
    gate = Gate(CONFIG, paths, netctl, clock)
    gate.start()
    yield gate
    gate.close()


OpenGate = Callable[[SiteConfig], Gate]
OpenMeter = Callable[[SiteConfig], Meter]


@pytest.fixture
def open_gate(paths: Paths, netctl: Netctl, clock: Clock) -> Iterator[OpenGate]:
    """A started gate under another site.toml; any number of them, like the processes of one gateway."""
    opened: list[Gate] = []

    def start(config: SiteConfig) -> Gate:
        opened.append(Gate(config, paths, netctl, clock))
        opened[-1].start()
        return opened[-1]

    yield start
    for gate in opened:
        gate.close()


@pytest.fixture
def open_meter(paths: Paths, netctl: Netctl, clock: Clock) -> OpenMeter:
    return lambda config: Meter(config, paths, netctl, clock, lambda: True)


@pytest.fixture
def new_meter(paths: Paths, netctl: Netctl, clock: Clock) -> Callable[[], Meter]:
    """Each call is a meter that starts with no memory, as after a kill -9 of the one before."""
    return lambda: Meter(CONFIG, paths, netctl, clock, lambda: True)


@pytest.fixture
def meter(new_meter: Callable[[], Meter]) -> Meter:
    return new_meter()


Allow = Callable[[str, Plan], None]


@pytest.fixture
def allow(database: Database, clock: Clock) -> Allow:
    """Let a device in without a tap, as an operator does."""

    def rule(mac: str, plan: Plan) -> None:
        with database.write() as db:
            devices.set_rule(db, mac, rule="allow", rule_plan=plan.id, note="", ruled_by="test", now=clock())

    return rule


@pytest.fixture
def query(paths: Paths) -> Callable[..., list[tuple[object, ...]]]:
    """Look into the file as another program would."""

    def run(sql: str, *values: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(paths.database, isolation_level=None)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    return run
