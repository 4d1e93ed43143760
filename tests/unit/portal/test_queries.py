"""No statement of a login, a page or the meter's tick reads a table from end to end: EXPLAIN QUERY PLAN of each."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from portal import passwords
from portal.admission import Gate
from portal.config import Access
from portal.domain.uplink import UplinkView
from portal.meter import Meter
from portal.paths import Paths
from portal.store import accounts, db, vouchers
from portal.store.db import Database
from tests.unit.portal.conftest import CONFIG, ENDLESS, Allow
from tests.unit.portal.fakes import Clock, Netctl

SITE = msgspec.structs.replace(CONFIG, access=Access(methods=("terms", "voucher", "account"), capacity=50))
# One row each; the few who wait; as many as people wrote by hand; counters of a day, read to forget them once an hour.
SMALL = {"meta", "uplink", "arrival_mark", "waiting", "closure", "notice", "counter"}


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Every statement that the portal runs from here on."""
    found: set[str] = set()
    connect = db.connect

    def watched(*args: Any) -> sqlite3.Connection:
        connection = connect(*args)
        connection.set_trace_callback(found.add)
        return connection

    monkeypatch.setattr(db, "connect", watched)
    yield found


def read_from_end_to_end(connection: sqlite3.Connection, sql: str) -> list[str]:
    if not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", sql):
        return []
    found = []
    for *_, detail in connection.execute("EXPLAIN QUERY PLAN " + sql):
        scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", detail)
        if scan is None or scan[1] in SMALL or scan[1] == "CONSTANT":
            continue
        if (
            scan[2] is None
            or not connection.execute(
                "SELECT 1 FROM sqlite_schema WHERE name = ? AND sql LIKE '% WHERE %'", (scan[2],)
            ).fetchone()
        ):
            found.append(f"{detail}: {' '.join(sql.split())}")
    return found


def test_no_table_is_read_from_end_to_end(
    paths: Paths, netctl: Netctl, clock: Clock, database: Database, allow: Allow, statements: set[str],
    query: Callable[..., list[tuple[Any, ...]]],
) -> None:  # fmt: skip
    with database.write() as connection:
        _, (voucher,) = vouchers.create(
            connection, count=1, plan="warga", devices=2, valid_from_wall_s=None, valid_until_wall_s=None, note="",
            created_by="test", now=clock(),
        )  # fmt: skip
        accounts.add(
            connection, name="kantor", password_hash=passwords.hash_new("sandi-kantor"), plan="kantor", note="",
            now=clock(),
        )  # fmt: skip
    allow("02:00:00:00:00:07", ENDLESS)
    statements.clear()
    gate, meter = Gate(SITE, paths, netctl, clock), Meter(SITE, paths, netctl, clock, lambda: True)
    gate.start()
    tapped = gate.enter_by_terms("02:00:00:00:00:01", "10.77.0.11", "1")
    gate.enter_by_code("02:00:00:00:00:02", "10.77.0.12", voucher.code)
    office = gate.enter_by_account("02:00:00:00:00:03", "10.77.0.13", "kantor", "sandi-kantor")
    gate.enter_by_rule("02:00:00:00:00:07", "10.77.0.17")
    person = gate.visit(tapped.mac).person
    assert person is not None
    gate.enter_by_code("02:00:00:00:00:04", "10.77.0.14", person.code)  # moves
    gate.told_moved(tapped.mac)
    gate.wait("02:00:00:00:00:05")
    gate.renew(office, "10.77.0.23")
    gate.bytes_used(office)
    netctl.send(office.id, 100, 1000)
    for _ in range(20):
        meter.tick(UplinkView())
        clock.forward(5)
    gate.logout(office)
    meter.stop(UplinkView())
    gate.close()
    assert len(statements) > 50
    connection = sqlite3.connect(paths.database)
    slow = [line for sql in statements for line in read_from_end_to_end(connection, sql)]
    connection.close()
    assert slow == []
