"""What the usage log says of sessions, boots, the meter and acts: portal.logbook, portal.meter, portal.store."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from portal import logbook, release
from portal.admission import Gate
from portal.config import SiteConfig, Uplink
from portal.domain.journal import Entry, Kind
from portal.domain.model import EndReason, Failing, Session, UplinkState
from portal.domain.uplink import UplinkView
from portal.meter import TICK_S, Meter
from portal.paths import Paths
from portal.store import audit, journal, people, pseudonyms, sessions
from portal.store.db import Database
from tests.unit.portal.conftest import CONFIG, ENDLESS, ZONE, OpenMeter
from tests.unit.portal.fakes import BOOT, OTHER_BOOT, Clock, Netctl, unreachable

Query = Callable[..., list[tuple[Any, ...]]]
VIEW = UplinkView()
MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


def told(database: Database, *kinds: Kind) -> list[dict[str, Any]]:
    """The bodies of the entries of these kinds, in order."""
    with database.read() as db:
        return [{"kind": one.kind, **one.body} for one in journal.entries(db) if one.kind in kinds]


def entries(database: Database, *kinds: Kind) -> list[Entry]:
    with database.read() as db:
        return [one for one in journal.entries(db) if one.kind in kinds]


@pytest.fixture
def session(gate: Gate) -> Session:
    return gate.enter_by_terms(MAC, "10.77.0.9", "1")


def ticks(meter: Meter, clock: Clock, seconds: float, view: UplinkView = VIEW) -> None:
    """As run_meter does: the next when the one before has asked for it."""
    until_boot_s = clock.now.boot_s + seconds
    while clock.now.boot_s < until_boot_s:
        clock.forward(min(meter.tick(view), until_boot_s - clock.now.boot_s))


def at(clock: Clock, local: str) -> None:
    """Now it is that time of the day, on the site's clock."""
    day = dt.datetime.fromtimestamp(clock.now.wall_s, ZONE).date()
    clock.set_wall(dt.datetime.combine(day, dt.time.fromisoformat(local), ZONE).timestamp())


# --- sessions and boots -----------------------------------------------------------------------------------------------


def test_a_session_is_told_from_its_begin_to_its_end_by_pseudonym_alone(
    gate: Gate, database: Database, clock: Clock, query: Query
) -> None:
    session = gate.enter_by_terms(MAC, "10.77.0.9", "1")
    query("UPDATE session SET up_bytes = 7, down_bytes = 9")
    clock.forward(10)
    gate.logout(session)
    begin, end = told(database, Kind.BEGIN, Kind.END)
    assert re.fullmatch("[0-9a-f]{16}", begin.pop("d"))
    assert begin == {"kind": "begin", "s": session.id, "plan": "warga", "method": "terms", "after": None}
    assert (end.pop("at_ms"), end.pop("boot")) == (pytest.approx(1_010_000, abs=1), BOOT)
    assert end == {"kind": "end", "s": session.id, "reason": "logout", "up": 7, "down": 9}
    log = str(query("SELECT body FROM journal"))
    assert MAC not in log
    assert "10.77.0.9" not in log


def test_a_device_has_one_pseudonym_in_a_month_and_another_in_the_next(
    gate: Gate, database: Database, clock: Clock
) -> None:
    for mac, days in ((MAC, 0), (OTHER_MAC, 0), (MAC, 1), (MAC, 31)):
        clock.forward(days * 86_400)
        gate.logout(gate.enter_by_terms(mac, "10.77.0.9", "1"))
    one, other, again, later = [begin["d"] for begin in told(database, Kind.BEGIN)]
    assert one == again
    assert len({one, other, later}) == 3


def test_an_end_that_was_recorded_is_told_once(gate: Gate, database: Database, clock: Clock) -> None:
    session = gate.enter_by_terms(MAC, "10.77.0.9", "1")
    with database.write() as db:
        assert sessions.end(db, session.id, EndReason.IDLE, clock(), ZONE)
        assert not sessions.end(db, session.id, EndReason.STAFF, clock(), ZONE)
    assert [end["reason"] for end in told(database, Kind.END)] == ["idle"]


@pytest.mark.parametrize(("stopped", "reason"), [(False, "power"), (True, "restart")])
def test_a_new_boot_tells_when_the_old_one_ended_and_goes_on_with_new_sessions(
    gate: Gate, database: Database, clock: Clock, stopped: bool, reason: str
) -> None:
    session = gate.enter_by_terms(MAC, "10.77.0.9", "1")
    clock.forward(60)
    with database.write() as db:
        sessions.note_time(db, clock())
        journal.append(db, Kind.START, {}, clock())
        if stopped:
            journal.append(db, Kind.STOP, {}, clock())
    clock.forward(500)
    clock.reboot()
    with database.write() as db:
        sessions.note_time(db, clock())
        (again,) = sessions.not_ended(db)
    first_boot, boot = told(database, Kind.BOOT)
    assert (first_boot["before"], first_boot["seen_ms"]) == (None, None)
    seen_ms = boot.pop("seen_ms")
    assert seen_ms == pytest.approx(1_060_000, abs=1)
    assert boot == {"kind": "boot", "before": BOOT, "clean": stopped}
    (end,) = told(database, Kind.END)
    assert end == {
        "kind": "end", "s": session.id, "reason": reason, "up": 0, "down": 0, "at_ms": seen_ms, "boot": BOOT,
    }  # fmt: skip
    first, second = told(database, Kind.BEGIN)
    assert second == first | {"s": again.id, "after": session.id}
    with database.read() as db:
        assert [(one.kind, one.boot_id) for one in list(journal.entries(db))[-3:]] == [
            (kind, OTHER_BOOT) for kind in (Kind.BOOT, Kind.END, Kind.BEGIN)
        ]


def test_time_online_counts_up_to_the_last_heartbeat_before_the_power_went(
    gate: Gate, database: Database, clock: Clock, query: Query
) -> None:
    gate.enter_by_terms(MAC, "10.77.0.9", "1")
    with database.write() as db:
        people.count_time(db, people.moment(db, clock(), ZONE))
    clock.forward(240)
    with database.write() as db:
        sessions.note_time(db, clock())
    clock.forward(30)
    clock.reboot(wall_s=60.0)
    clock.forward(10)
    with database.write() as db:
        sessions.note_time(db, clock())
    assert query("SELECT day, seconds FROM person_day") == [("2033-05-18", pytest.approx(240, abs=0.01))]
    clock.forward(5)
    with database.write() as db:
        people.count_time(db, people.moment(db, clock(), ZONE))
    assert query("SELECT sum(seconds) FROM person_day") == [(pytest.approx(245, abs=0.01),)]


def test_what_was_lost_at_the_end_of_the_log_is_gone_on_after(database: Database, clock: Clock) -> None:
    with database.write() as db:
        first = journal.append(db, Kind.START, {}, clock())
        db.execute("INSERT INTO journal_tomb VALUES (?, ?, ?)", (first + 1, first + 3, bytes(range(32))))
        assert journal.head(db) == (first + 3, bytes(range(32)))
        assert journal.append(db, Kind.STOP, {}, clock()) == first + 4
        assert journal.head(db)[0] == first + 4


# --- the meter's runs, the clock, the uplink --------------------------------------------------------------------------


def test_a_meter_tells_its_start_with_the_site_and_its_stop(
    open_meter: OpenMeter, database: Database, clock: Clock
) -> None:
    site = msgspec.structs.replace(CONFIG, uplink=Uplink(provider="Telkom", link="fiber"))
    meter = open_meter(site)
    ticks(meter, clock, 30)
    meter.stop(VIEW)
    clock.forward(400)
    open_meter(site).tick(VIEW)
    first, stop, second = told(database, Kind.START, Kind.STOP)
    assert stop == {"kind": "stop"}
    assert first == {
        "kind": "start", "site": "64.03.01.2001", "version": release.VERSION, "zone": "Asia/Makassar",
        "provider": "Telkom", "link": "fiber", "seen_ms": None,
    }  # fmt: skip
    assert second == first | {"seen_ms": pytest.approx(1_030_000, abs=10)}


def test_after_a_stop_in_order_sessions_end_for_the_restart_else_for_the_power(
    new_meter: Callable[[], Meter], session: Session, database: Database, clock: Clock, netctl: Netctl
) -> None:
    for number, stops in enumerate((True, False)):
        meter = new_meter()
        meter.tick(VIEW)
        if stops:
            meter.stop(VIEW)
        clock.reboot(f"boot-{number}")
        netctl.reboot()
    new_meter().tick(VIEW)
    assert [end["reason"] for end in told(database, Kind.END)] == ["restart", "power"]


def test_the_clock_is_told_once_ntp_has_set_it_and_when_it_moves(
    paths: Paths, netctl: Netctl, clock: Clock, database: Database
) -> None:
    trusted = False
    meter = Meter(CONFIG, paths, netctl, clock, lambda: trusted)
    ticks(meter, clock, 30)
    assert told(database, Kind.CLOCK) == []
    clock.set_wall(2_000_100_000.0)
    trusted = True
    ticks(meter, clock, 30)
    clock.set_wall(clock.now.wall_s + 1.5)
    ticks(meter, clock, 30)
    clock.set_wall(clock.now.wall_s - 4.0)
    ticks(meter, clock, 30)
    first, second = entries(database, Kind.CLOCK)
    assert first.trusted
    assert first.body["offset_ms"] == pytest.approx(2_000_100_000_000 - 1_030_000, abs=2)
    assert second.body["offset_ms"] == first.body["offset_ms"] - 2500
    assert first.wall_ms - first.boot_ms == first.body["offset_ms"]


def test_each_change_of_the_uplink_is_told_once(meter: Meter, database: Database, clock: Clock) -> None:
    up, down = UplinkView(UplinkState.UP, 990.0), UplinkView(UplinkState.DOWN, 1030.0, failing=Failing.DNS)
    for view in (VIEW, up, up, down, down, UplinkView(UplinkState.DOWN, 1030.0, failing=Failing.GATEWAY)):
        ticks(meter, clock, 20, view)
    assert told(database, Kind.UPLINK) == [
        {"kind": "uplink", "state": "up", "failing": None, "at_ms": 990_000},
        {"kind": "uplink", "state": "down", "failing": "dns", "at_ms": 1_030_000},
        {"kind": "uplink", "state": "down", "failing": "gateway", "at_ms": 1_030_000},
    ]


def test_a_sample_every_five_minutes(meter: Meter, session: Session, database: Database, clock: Clock) -> None:
    at(clock, "10:00:30")
    ticks(meter, clock, 900, UplinkView(UplinkState.UP, 900.0, latency_ms=34.5, loss=0.25))
    samples = entries(database, Kind.SAMPLE)
    assert [sample.body for sample in samples] == [{"online": 1, "latency_ms": 34.5, "loss": 0.25}] * 3
    assert [round(sample.wall_ms / 1000) % 300 for sample in samples] == [0, 0, 0]


def test_the_heartbeat_is_never_older_than_a_minute(meter: Meter, session: Session, clock: Clock, query: Query) -> None:
    for _ in range(100):
        clock.forward(min(meter.tick(VIEW), TICK_S))
        ((seen_boot_s,),) = query("SELECT seen_boot_s FROM meta")
        assert clock.now.boot_s - seen_boot_s <= logbook.HEARTBEAT_S + 0.01


# --- interims ---------------------------------------------------------------------------------------------------------


def test_what_moved_before_a_quarter_is_told_as_read_before_it(
    meter: Meter, session: Session, netctl: Netctl, database: Database, clock: Clock
) -> None:
    at(clock, "10:10:02")
    meter.tick(VIEW)
    for _ in range(20 * 60):  # a megabyte a second
        netctl.send(session.id, 0, 1_000_000)
        ticks(meter, clock, 1)
    first, second = entries(database, Kind.INTERIM)
    for interim, quarter in ((first, "10:15"), (second, "10:30")):
        offset_s = (interim.wall_ms - interim.boot_ms) / 1000
        read, written = (
            dt.datetime.fromtimestamp(moment_ms / 1000 + offset_s, ZONE).strftime("%H:%M:%S")
            for moment_ms in (interim.body["at_ms"], interim.boot_ms)
        )
        assert read < quarter <= written < f"{quarter}:02"
    assert first.body["s"] == session.id
    assert first.body["down"] == pytest.approx((5 * 60 - 2) * 1_000_000, rel=0.01)
    assert second.body["down"] - first.body["down"] == pytest.approx(900 * 1_000_000, rel=0.01)


def test_nothing_is_told_of_who_moved_nothing(
    meter: Meter, session: Session, netctl: Netctl, database: Database, clock: Clock
) -> None:
    netctl.send(session.id, 10, 20)
    ticks(meter, clock, 3600)
    assert len(entries(database, Kind.INTERIM)) == 1


def test_bytes_read_while_netctl_answered_last_are_told_as_of_then(
    meter: Meter, session: Session, netctl: Netctl, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.sync.RETRY_AFTER_S", 0.0)
    at(clock, "10:05")
    meter.tick(VIEW)
    netctl.send(session.id, 10, 20)
    ticks(meter, clock, 60)
    heard_ms = clock.now.boot_s * 1000
    netctl.failing = unreachable()
    ticks(meter, clock, 700)
    (interim,) = entries(database, Kind.INTERIM)
    assert heard_ms - 5001 <= interim.body["at_ms"] <= heard_ms


def test_a_clock_that_is_set_over_a_quarter_tells_what_was_read_before(
    meter: Meter, session: Session, netctl: Netctl, database: Database, clock: Clock
) -> None:
    at(clock, "10:01")
    netctl.send(session.id, 10, 20)
    ticks(meter, clock, 60)
    at(clock, "13:40")
    meter.tick(VIEW)
    (interim,) = entries(database, Kind.INTERIM)
    assert interim.body["at_ms"] <= interim.boot_ms


# --- what still comes after an end; plans; acts -----------------------------------------------------------------------


def test_bytes_after_an_end_are_told_once_with_the_new_totals(
    gate: Gate, meter: Meter, session: Session, netctl: Netctl, database: Database, clock: Clock
) -> None:
    meter.tick(VIEW)
    netctl.send(session.id, 10, 20)
    gate.logout(session)
    netctl.send(session.id, 1, 2)
    ticks(meter, clock, 1000)
    end, final = told(database, Kind.END, Kind.FINAL)
    assert (end["up"], end["down"]) == (10, 20)
    assert final.pop("at_ms") >= end["at_ms"]
    assert final == {"kind": "final", "s": session.id, "up": 11, "down": 22}


def test_the_end_that_the_meter_records_has_all_that_it_read(
    meter: Meter, session: Session, netctl: Netctl, database: Database, clock: Clock, query: Query
) -> None:
    meter.tick(VIEW)
    netctl.send(session.id, 10, 20)
    clock.forward(480 * 60)
    meter.tick(VIEW)
    ((reason, up, down),) = [(one["reason"], one["up"], one["down"]) for one in told(database, Kind.END)]
    assert (reason, up, down) == ("time", 10, 20)
    assert told(database, Kind.FINAL) == []


def test_another_plan_for_a_running_session_is_told(
    session: Session, open_meter: OpenMeter, database: Database
) -> None:
    site: SiteConfig = msgspec.structs.replace(CONFIG, plan=(ENDLESS,))
    open_meter(site).tick(VIEW)
    assert told(database, Kind.PLAN) == [{"kind": "plan", "s": session.id, "plan": "kantor"}]


def test_an_act_is_told_with_a_digest_of_the_trail_and_without_macs(
    meter: Meter, session: Session, database: Database, clock: Clock, query: Query
) -> None:
    meter.tick(VIEW)
    who = {"actor": "sari", "role": "operator", "before": None, "after": {"rule": "block"}}
    with database.write() as db:
        for mac in (MAC, OTHER_MAC):
            audit.write(db, **who, action="device.rule", object=f"device {mac}", now=clock())
        entry, _ = reversed(audit.latest(db, 2))
        known = [pseudonyms.known(db, mac, "2033-05") for mac in (MAC, OTHER_MAC)]
    first, second = told(database, Kind.ACT)
    assert first == {
        "kind": "act", "id": entry.id, "actor": "sari", "role": "operator", "action": "device.rule",
        "object": f"device {known[0]}", "digest": audit.digest(entry),
    }  # fmt: skip
    assert known[0] == told(database, Kind.BEGIN)[0]["d"]
    assert second["object"] == f"device {known[1]}"
    for change in ({"actor": "budi"}, {"after": None}, {"wall_s": 1.0}, {"before": entry.after, "after": entry.before}):
        assert audit.digest(replace(entry, **change)) != first["digest"]
    assert audit.digest(replace(entry, id=77)) == first["digest"], "a restored backup numbers anew"
