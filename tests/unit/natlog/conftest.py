"""A database with two sessions, a clock turned by hand, and netctl's own memory of connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from portal.natlog import NatLog
from portal.paths import Paths
from portal.store.db import Database
from tests.unit.natlog.gateway import MAC_OF, PSEUDONYM_OF, Gateway, config
from tests.unit.portal.fakes import BOOT, Clock


@pytest.fixture
def database(paths: Paths) -> Iterator[Database]:
    """With the sessions of both."""
    database = Database(paths.database)
    with database.write() as db:
        for session, device in PSEUDONYM_OF.items():
            db.execute(
                "INSERT INTO session (id, mac, plan, method, terms_version, started_wall_s, boot_id, active_boot_s, "
                "device, ended_wall_s, end_reason) VALUES (?, ?, 'warga', 'terms', '1', 0, ?, 0, ?, 1, 'time')",
                (session, MAC_OF[session], BOOT, device),
            )
    yield database
    database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(clock: Clock) -> Gateway:
    return Gateway(clock)


@pytest.fixture
def new_log(database: Database, gateway: Gateway, clock: Clock) -> Callable[..., NatLog]:
    """A meter's part, as after each start of the meter."""

    def make(**log: int) -> NatLog:
        return NatLog(config(**log), gateway, database, clock)

    return make


@pytest.fixture
def log(new_log: Callable[..., NatLog]) -> NatLog:
    return new_log()


@pytest.fixture
def five(log: NatLog, gateway: Gateway, clock: Clock, database: Database) -> Database:
    """Five chunks, an hour apart."""
    for port in range(5):
        gateway.see(port=port)
        log.flush()
        clock.forward(3600)
    return database
