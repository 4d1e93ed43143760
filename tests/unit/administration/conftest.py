"""A database, hand-turned clocks, a fake netctl, and an operator on top. It must not start processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import pytest

from portal.administration import Administration
from portal.config import Plan, Site, SiteConfig
from portal.domain.model import Now, Session
from portal.paths import Paths
from portal.store import people, pseudonyms, sessions
from portal.store.db import Database
from tests.unit.portal.fakes import Clock, Netctl

WARGA = Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=2000)
KANTOR = Plan(id="kantor", name="Kantor", session_minutes=None, hours=("mon-sun 00:00-24:00",))
PUSKESMAS = Plan(id="puskesmas", name="Puskesmas", session_minutes=None, hours=("always",))
CONFIG = SiteConfig(site=Site(code="64.03.01.2001", name="Desa Uji"), plan=(WARGA, KANTOR, PUSKESMAS))
PHONE, TABLET = "5c:e9:1e:00:00:01", "5c:e9:1e:00:00:02"

Query = Callable[..., list[tuple[object, ...]]]


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
def office(paths: Paths, database: Database, netctl: Netctl, clock: Clock) -> Administration:
    return Administration(CONFIG, paths, "sari", "operator", database=database, netctl=netctl, read_clock=clock)


@pytest.fixture
def query(paths: Paths) -> Query:
    """Look into the file as another program would."""

    def run(sql: str, *values: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(paths.database, isolation_level=None)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    return run


@pytest.fixture
def online(database: Database, clock: Clock) -> Callable[..., Session]:
    """Let somebody in, as the gate would: ``online(mac, voucher_id=..., account_id=...)``."""

    def begin(mac: str, *, method: str = "terms", plan: str = "warga", **owner: int) -> Session:
        with database.write() as db:
            now: Now = clock()
            sessions.note_time(db, now)
            person = people.create(db, method=method, plan=plan, now=now, **owner)
            people.remember_device(db, mac, person, now)
            session = sessions.begin(
                db,
                mac=mac,
                ipv4=None,
                plan=plan,
                method=method,
                terms_version="1",
                limit_s=3600.0,
                now=now,
                device=pseudonyms.of(db, mac, "2033-05"),
                person_id=person.id,
            )
            people.start_time(db, person.id, now)
            return session

    return begin
