"""What people did at the gate is what the office reads in the batches; who they were, nobody reads."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from portal import batchfiles, outbox
from portal.administration import Administration
from portal.admission import Gate
from portal.config import Office
from portal.domain import batch, batchcheck, localtime
from portal.domain.uplink import UplinkView
from portal.meter import Meter
from portal.paths import Paths
from portal.store import outbox as store
from portal.store.db import Database
from tests.unit.outbox.making import GATEWAY, OFFICE
from tests.unit.outbox.test_fill import RECORD
from tests.unit.portal.conftest import CONFIG, ZONE
from tests.unit.portal.fakes import Clock, Netctl

SITE = structs.replace(CONFIG, office=Office(key=OFFICE.key.line))
MACS = [f"5c:e9:1e:00:00:{number:02x}" for number in range(7)]
FIRST = dt.date(2033, 5, 18)
VIEW = UplinkView()
Records = list[dict[str, Any]]


def ticks(meter: Meter, clock: Clock, seconds: float) -> None:
    until_boot_s = clock.now.boot_s + seconds
    while clock.now.boot_s < until_boot_s:
        clock.forward(min(meter.tick(VIEW), until_boot_s - clock.now.boot_s))


def off_until(clock: Clock, netctl: Netctl, day: int, local: str) -> None:
    """The gateway has no power until that time of that day."""
    moment = dt.datetime.combine(FIRST + dt.timedelta(days=day), dt.time.fromisoformat(local))
    clock.reboot(str(uuid.uuid4()), wall_s=localtime.moment(moment, ZONE))
    netctl.reboot()


@pytest.fixture
def told(
    gate: Gate, new_meter: Callable[[], Meter], netctl: Netctl, clock: Clock, database: Database, paths: Paths
) -> Records:
    """Seven phones on the first day, one of them alone on the second: as the office opens it."""
    meter = new_meter()
    meter.tick(VIEW)
    sessions = [gate.enter_by_terms(mac, f"10.77.0.{number}", "1") for number, mac in enumerate(MACS, 9)]
    ticks(meter, clock, 600)
    for number, session in enumerate(sessions):
        netctl.send(session.id, 10, 1000 * (number + 1), session.ipv4 or "")
    ticks(meter, clock, 1200)
    acts = Administration(SITE, paths, "budi", "operator", database=database, netctl=netctl, read_clock=clock)
    acts.block(MACS[0], "virus")
    ticks(meter, clock, 60)
    for session in sessions[1:]:
        gate.logout(session)
    ticks(meter, clock, 60)
    off_until(clock, netctl, 1, "12:00")
    ticks(new_meter(), clock, 60)
    gate.logout(gate.enter_by_terms(MACS[6], "10.77.0.15", "1"))
    off_until(clock, netctl, 2, "03:00")
    ticks(new_meter(), clock, 60)
    assert outbox.fill(database, SITE, GATEWAY, clock()).made
    with database.read() as db:
        files = [outbox.to_file(one) for one in store.read(db, store.numbers(db))]
    report = batchcheck.check(batchfiles.parsed(batch.file_name(batch.from_file(one).header), one) for one in files)
    assert report.good
    records = []
    for one in batchcheck.holding(report.chains):
        for record in batchfiles.open_batch(one, OFFICE):
            RECORD.validate(record)
            records.append(record | {"day": one.header.day})
    return records


def of(told: Records, kind: str, day: int = 0) -> Records:
    return [one for one in told if one["kind"] == kind and one["day"] == (FIRST + dt.timedelta(days=day)).isoformat()]


def test_the_office_reads_what_happened(told: Records) -> None:
    sessions = of(told, "session")
    assert [(one["up_bytes"], one["down_bytes"]) for one in sessions] == [(10, 1000 * n) for n in range(1, 8)]
    assert [one["reason"] for one in sessions] == ["blocked"] + ["logout"] * 6
    assert len({one["device"] for one in sessions}) == 7
    (day,) = of(told, "day")
    assert (day["devices"], day["sessions"], day["down_bytes"]) == (7, 7, 28_000)
    assert sum(hour["down_bytes"] for hour in of(told, "hour") if hour["down_bytes"] != "x") == 28_000
    (act,) = of(told, "act")
    assert (act["role"], act["action"]) == ("operator", "device.block")
    assert [one["online"] for one in of(told, "sample")][:2] == [7, 7]
    lines = [one["line"] for one in of(told, "stretch")]
    assert lines[0] == "before"
    assert lines[-1] == "off"


def test_the_day_of_one_phone_tells_nothing_of_it(told: Records) -> None:
    assert of(told, "session", 1) == []
    assert len(of(told, "withheld", 1)) == 1
    (day,) = of(told, "day", 1)
    assert (day["devices"], day["sessions"], day["down_bytes"]) == ("<5", "x", "x")


def test_nobody_reads_who_it_was(told: Records, query: Any) -> None:
    text = json.dumps(told)
    secret = [*MACS, "budi", "virus", "10.77."]
    secret += [code for (code,) in query("SELECT code FROM person")]
    assert [one for one in secret if one in text] == []
    assert not re.search(r"([0-9a-f]{2}[:-]){5}[0-9a-f]{2}", text)
