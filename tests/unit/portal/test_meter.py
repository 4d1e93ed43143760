"""Bytes, ends, boots and the uplink, with a meter that dies at will: portal.meter."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from portal import logbook
from portal import meter as module
from portal.administration import Administration
from portal.admission import Gate
from portal.domain.model import Session, UplinkState
from portal.domain.uplink import UplinkView
from portal.gatekeeper import GateError
from portal.meter import Meter
from portal.paths import Paths
from portal.store import counters, people, setup
from tests.unit.portal.conftest import CONFIG, ENDLESS, ZONE, Allow
from tests.unit.portal.fakes import Clock, Netctl, unreachable

Query = Callable[..., list[tuple[Any, ...]]]
VIEW = UplinkView()
TOTALS_S = int(logbook.TOTALS_S)  # within which totals reach the disk
MAC = "02:00:00:00:00:01"


@pytest.fixture
def session(gate: Gate) -> Session:
    return gate.enter_by_terms(MAC, "10.77.0.9", "1")


def ticks(meter: Meter, clock: Clock, seconds: float) -> None:
    for _ in range(round(seconds / module.TICK_S)):
        meter.tick(VIEW)
        clock.forward(module.TICK_S)


def total(query: Query) -> Any:
    return query("SELECT sum(up_bytes), sum(down_bytes) FROM session")[0]


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_bytes_reach_the_disk_twice_in_each_quarter_of_an_hour(
    meter: Meter, session: Session, netctl: Netctl, clock: Clock, query: Query
) -> None:
    meter.tick(VIEW)
    clock.forward(900 - clock.now.wall_s % 900)
    meter.tick(VIEW)
    before, times = total(query), []
    for passed_s in range(5, 1801, 5):
        netctl.send(session.id, 1, 1)
        clock.forward(5)
        meter.tick(VIEW)
        if total(query) != before:
            before = total(query)
            times.append(passed_s)
    assert times == [600, 900, 1500, 1800]


def test_sigterm_writes_what_is_known(meter: Meter, session: Session, netctl: Netctl, query: Query) -> None:
    meter.tick(VIEW)
    netctl.send(session.id, 100, 1000)
    meter.stop(VIEW)
    assert total(query) == (100, 1000)


def test_kill_at_any_moment_loses_and_doubles_nothing(
    new_meter: Callable[[], Meter], session: Session, netctl: Netctl, clock: Clock, query: Query
) -> None:
    sent = 0
    for lived_s in (5, 35, 10, 65, 5, 5, 120):
        meter = new_meter()
        for _ in range(lived_s // 5):
            netctl.send(session.id, 7, 11)
            netctl.send(session.id, 1, 1, ip="fd00::9")
            sent += 1
            meter.tick(VIEW)
            clock.forward(5)
    new_meter().stop(VIEW)
    assert total(query) == (8 * sent, 12 * sent)


def test_two_meters_at_once_double_nothing(
    new_meter: Callable[[], Meter], session: Session, netctl: Netctl, clock: Clock, query: Query
) -> None:
    one, two = new_meter(), new_meter()
    for _ in range(30):
        netctl.send(session.id, 7, 11)
        one.tick(VIEW)
        netctl.send(session.id, 7, 11)
        two.tick(VIEW)
        clock.forward(5)
    one.stop(VIEW)
    two.stop(VIEW)
    assert total(query) == (420, 660)


def test_a_reading_that_overlapped_another_is_taken_again(
    meter: Meter, session: Session, netctl: Netctl, clock: Clock, query: Query, gate: Gate
) -> None:
    """The gate counted from a reading that was answered after the meter had asked: which is younger is not known."""
    meter.tick(VIEW)
    netctl.send(session.id, 100, 1000)
    meter.tick(VIEW)  # seen, not flushed
    ((key, held),) = meter._seen.items()
    with gate._writer.write() as database:
        earlier = counters.Reading(60, 600, 1, 1, held.sent_boot_s - 1, held.received_boot_s)
        counters.account(database, {key: earlier}, people.moment(database, clock(), ZONE))
    clock.forward(30)
    ticks(meter, clock, 2 * TOTALS_S)
    assert total(query) == (100, 1000)


def test_netctl_lost_its_memory_and_only_that_counter_begins_again(
    meter: Meter, session: Session, netctl: Netctl, query: Query
) -> None:
    netctl.send(session.id, 100, 1000)
    netctl.send(session.id, 10, 10, ip="fd00::9")
    meter.stop(VIEW)
    del netctl.counters[session.id, "10.77.0.9"]
    netctl.send(session.id, 5, 5)
    netctl.send(session.id, 1, 1, ip="fd00::9")
    meter.stop(VIEW)
    assert total(query) == (116, 1016)


def test_bytes_of_a_logout_are_counted_with_it_and_those_that_passed_meanwhile_by_the_meter(
    meter: Meter,
    session: Session,
    netctl: Netctl,
    gate: Gate,
    clock: Clock,
    query: Query,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter.tick(VIEW)
    netctl.send(session.id, 100, 1000)
    apply = netctl.apply

    def busy_until_closed(state: Any) -> Any:
        netctl.send(session.id, 5, 50)
        return apply(state)

    with monkeypatch.context() as patch:
        patch.setattr(netctl, "apply", busy_until_closed)
        gate.logout(session)
    assert total(query) == (100, 1000)
    ticks(meter, clock, TOTALS_S)
    assert total(query) == (105, 1050)


def test_what_a_session_moved_that_the_office_ended_is_written_at_once(
    meter: Meter, session: Session, netctl: Netctl, paths: Paths, clock: Clock, query: Query
) -> None:
    """After that, no power cut takes it."""
    meter.tick(VIEW)
    netctl.send(session.id, 100_000, 10**9)
    clock.forward(5)
    meter.tick(VIEW)
    office = Administration(CONFIG, paths, "sari", "operator", netctl=netctl, read_clock=clock)
    office.disconnect(MAC)
    office.close_database()
    assert query("SELECT end_reason, up_bytes FROM session") == [("staff", 0)]
    clock.forward(5)
    meter.tick(VIEW)
    assert total(query) == (100_000, 10**9)


def test_a_logout_while_netctl_is_away_leaves_its_bytes_to_the_meter(
    meter: Meter, session: Session, netctl: Netctl, gate: Gate, clock: Clock, query: Query,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("portal.sync.RETRY_AFTER_S", 0.0)
    netctl.send(session.id, 100, 1000)
    netctl.failing = unreachable()
    with pytest.raises(GateError):
        gate.logout(session)
    assert query("SELECT end_reason, up_bytes FROM session") == [("logout", 0)]
    netctl.failing = None
    ticks(meter, clock, TOTALS_S)
    assert total(query) == (100, 1000)


def test_what_netctl_no_longer_reports_is_kept_until_it_is_on_the_disk(
    meter: Meter, session: Session, netctl: Netctl, clock: Clock, query: Query
) -> None:
    meter.tick(VIEW)
    netctl.send(session.id, 100, 1000)
    meter.tick(VIEW)
    netctl.counters.clear()
    ticks(meter, clock, TOTALS_S)
    assert total(query) == (100, 1000)
    assert meter._seen == {}, "and then forgotten"


@pytest.mark.parametrize("people", [0, 20])
def test_idle_phones_cost_a_page_a_heartbeat_and_a_few_a_flush(
    meter: Meter, gate: Gate, clock: Clock, query: Query, paths: Paths, people: int
) -> None:
    log = paths.database.with_name("gerbang.db-wal")
    for number in range(people):
        gate.enter_by_terms(f"02:00:00:00:00:{number:02x}", f"10.77.0.{number + 9}", "1")
    ticks(meter, clock, TOTALS_S)
    query("PRAGMA wal_checkpoint(TRUNCATE)")
    ticks(meter, clock, TOTALS_S)
    pages = (log.stat().st_size - 32) / (setup.PAGE_BYTES + 24)
    assert 10 <= pages <= 10 + 3 + 6, "the row of meta; with it the log, and once the rows of people's day"


# --- ends -------------------------------------------------------------------------------------------------------------


def test_time_over_ends_and_counts_the_last_bytes(
    meter: Meter, session: Session, netctl: Netctl, clock: Clock, query: Query
) -> None:
    meter.tick(VIEW)
    clock.forward(480 * 60)
    netctl.send(session.id, 100, 1000)
    meter.tick(VIEW)
    assert netctl.online() == []
    assert query("SELECT end_reason, up_bytes FROM session") == [("time", 100)]


def test_bytes_until_the_kernel_closes_are_counted(
    meter: Meter, session: Session, netctl: Netctl, clock: Clock, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the poll that decided and the push that closed, a download goes on; then power may go at any time."""
    meter.tick(VIEW)
    clock.forward(480 * 60)
    apply = netctl.apply

    def busy_until_closed(state: Any) -> Any:
        netctl.send(session.id, 5, 50)
        return apply(state)

    monkeypatch.setattr(netctl, "apply", busy_until_closed)
    meter.tick(VIEW)
    assert total(query) == (5, 50)


def test_idle_ends_and_upload_keeps_alive(
    meter: Meter, session: Session, gate: Gate, netctl: Netctl, clock: Clock, query: Query, allow: Allow
) -> None:
    other = gate.enter_by_terms("02:00:00:00:00:02", "10.77.0.10", "1")
    allow("02:00:00:00:00:03", ENDLESS)
    kantor = gate.enter_by_rule("02:00:00:00:00:03", "10.77.0.11")
    for _ in range(61):
        netctl.send(session.id, 1, 1)
        netctl.send(other.id, 0, 1000)  # something still sends to a phone that has left
        ticks(meter, clock, 60)
    assert query("SELECT id, end_reason FROM session") == [(session.id, None), (other.id, "idle"), (kantor.id, None)]
    assert netctl.online() == [MAC, "02:00:00:00:00:03"]


def test_nobody_is_idle_while_netctl_is_away(meter: Meter, session: Session, netctl: Netctl, clock: Clock) -> None:
    meter.tick(VIEW)
    netctl.failing = unreachable()
    clock.forward(2 * 3600)
    meter.tick(VIEW)
    netctl.failing = None
    netctl.send(session.id, 1, 1)  # it moved bytes meanwhile
    meter.tick(VIEW)
    assert netctl.online() == [MAC]


def test_a_new_meter_knows_activity_from_what_the_disk_has(
    new_meter: Callable[[], Meter], session: Session, netctl: Netctl, clock: Clock
) -> None:
    netctl.send(session.id, 1, 1)
    new_meter().stop(VIEW)
    clock.forward(3590)
    meter = new_meter()
    meter.tick(VIEW)
    assert netctl.online() == [MAC]
    clock.forward(20)
    meter.tick(VIEW)
    assert netctl.online() == [], "what was on the disk before is no new activity"


# --- boots ------------------------------------------------------------------------------------------------------------


def test_a_power_cut_gives_everybody_what_was_left(
    new_meter: Callable[[], Meter], session: Session, netctl: Netctl, clock: Clock, query: Query
) -> None:
    meter = new_meter()
    netctl.send(session.id, 100, 1000)
    ticks(meter, clock, 600)
    netctl.send(session.id, 1, 1)
    clock.reboot(boot_s=15.0, wall_s=0.0)
    netctl.reboot()
    new_meter().tick(VIEW)
    (grant,) = netctl.state.grants  # type: ignore[union-attr]
    left = grant.deadline_boot_s - 15.0  # type: ignore[operator]
    assert 480 * 60 - 600 <= left <= 480 * 60 - 600 + logbook.HEARTBEAT_S
    netctl.send(session.id, 3, 3)
    new_meter().stop(VIEW)
    assert total(query) == (103, 1003)


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_dead_netctl_is_said_once_and_loses_nothing(
    meter: Meter, session: Session, netctl: Netctl, clock: Clock, query: Query, caplog: pytest.LogCaptureFixture
) -> None:
    meter.tick(VIEW)
    netctl.send(session.id, 100, 1000)
    netctl.failing = unreachable()
    with caplog.at_level(logging.INFO), pytest.MonkeyPatch.context() as patch:
        patch.setattr("portal.sync.RETRY_AFTER_S", 0.0)
        ticks(meter, clock, 120)
        netctl.failing = None
        netctl.send(session.id, 100, 1000)
        ticks(meter, clock, TOTALS_S)
    assert total(query) == (200, 2000)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"], caplog.messages


def test_a_broken_database_cuts_nobody_off_and_its_bytes_are_kept(
    meter: Meter, session: Session, netctl: Netctl, clock: Clock, query: Query, paths: Paths,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    meter.tick(VIEW)
    query("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = paths.database.read_bytes()
    for file in paths.data.glob("gerbang.db-*"):
        file.unlink()
    paths.database.write_bytes(b"\0" * len(whole))
    pushes = len(netctl.pushes)
    netctl.send(session.id, 100, 1000)
    with caplog.at_level(logging.INFO):
        ticks(meter, clock, 200)
    assert len(netctl.pushes) == pushes, "nothing may be pushed from what cannot be read"
    assert netctl.online() == [MAC]
    assert [record.levelname for record in caplog.records] == ["ERROR"], caplog.messages
    paths.database.write_bytes(whole)
    netctl.counters.clear()  # ten minutes passed for netctl, too
    ticks(meter, clock, TOTALS_S)
    assert total(query) == (100, 1000)
    assert netctl.online() == [MAC]


def test_a_backup_that_was_put_back_catches_up(
    meter: Meter, session: Session, netctl: Netctl, clock: Clock, query: Query, paths: Paths
) -> None:
    """The file is older than what the meter remembers to have written: the disk decides what is missing."""
    netctl.send(session.id, 100, 1000)
    ticks(meter, clock, TOTALS_S)
    query("PRAGMA wal_checkpoint(TRUNCATE)")
    backup = paths.database.read_bytes()
    netctl.send(session.id, 20, 200)
    ticks(meter, clock, TOTALS_S)
    assert total(query) == (120, 1200)
    for file in (paths.database, *paths.data.glob("gerbang.db-*")):
        file.unlink()
    ticks(meter, clock, 10)
    paths.database.write_bytes(backup)
    ticks(meter, clock, 100)
    assert total(query) == (120, 1200)


def test_nothing_is_pushed_before_the_file_was_found_whole(
    meter: Meter, session: Session, netctl: Netctl, paths: Paths
) -> None:
    pushes = len(netctl.pushes)
    paths.database.with_name("gerbang.db.damaged").write_text("row 7 missing from index\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.check, "check", lambda path: (_ for _ in ()).throw(module.db.damaged(path)))
        meter.tick(VIEW)
    assert len(netctl.pushes) == pushes


def test_drift_is_said(meter: Meter, netctl: Netctl, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    ticks(meter, clock, TOTALS_S)
    assert not caplog.records
    netctl.drift_total = 3
    ticks(meter, clock, TOTALS_S)
    assert "3 differences" in caplog.text


# --- the uplink -------------------------------------------------------------------------------------------------------


def test_the_uplink_is_written_on_change(meter: Meter, gate: Gate, clock: Clock, query: Query) -> None:
    up, down = UplinkView(UplinkState.UP, 900.0), UplinkView(UplinkState.DOWN, 1000.0)
    meter.tick(up)
    assert gate.uplink().state is UplinkState.UP
    query("CREATE TRIGGER once BEFORE INSERT ON uplink BEGIN SELECT RAISE(ABORT, 'written again'); END")
    meter.tick(up)
    meter.tick(UplinkView(UplinkState.UP, 900.0, doubt_boot_s=950.0))
    query("DROP TRIGGER once")
    meter.tick(down)
    found = gate.uplink()
    assert found.state is UplinkState.DOWN
    assert found.since_wall_s == pytest.approx(clock.now.wall_s - (clock.now.boot_s - 1000.0), abs=0.01)


def test_delay_and_loss_ride_along_with_a_flush_and_cause_none(
    meter: Meter, gate: Gate, netctl: Netctl, clock: Clock, query: Query
) -> None:
    def quality() -> tuple[float | None, float | None]:
        found = gate.uplink()
        return found.latency_ms, found.loss

    meter.tick(UplinkView(UplinkState.UP, 900.0, latency_ms=20.0))
    assert quality() == (20.0, None)
    clock.forward(1)
    meter.tick(UplinkView(UplinkState.UP, 900.0, latency_ms=35.0, loss=0.05))
    assert quality() == (20.0, None)
    clock.forward(TOTALS_S)
    meter.tick(UplinkView(UplinkState.UP, 900.0, latency_ms=35.0, loss=0.05))
    assert quality() == (35.0, 0.05)


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_the_loop_ends_when_told_and_flushes(
    paths: Paths, netctl: Netctl, gate: Gate, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal import clock as real_clock

    monkeypatch.setattr(module, "Client", lambda _: netctl)
    monkeypatch.setattr(module.UplinkWatch, "start", lambda self, stop: None)
    monkeypatch.setattr(module.LinkFollower, "start", lambda self, stop: None)
    gate._read_clock = real_clock.now
    session = gate.enter_by_terms(MAC, "10.77.0.9", "1")
    stop = threading.Event()
    loop = threading.Thread(target=module.run_meter, args=(CONFIG, paths, stop))
    loop.start()
    while netctl.calls["usage"] == 0 or len(netctl.pushes) < 2:
        stop.wait(0.01)
    netctl.clock.now = real_clock.now()
    netctl.send(session.id, 100, 1000)
    stop.set()
    loop.join(10)
    assert not loop.is_alive()
    assert total(query) == (100, 1000)


def test_the_loop_leaves_where_there_is_no_database(
    tmp_path: Any, netctl: Netctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Client", lambda _: netctl)
    monkeypatch.setattr(module.UplinkWatch, "start", lambda self, stop: None)
    monkeypatch.setattr(module.LinkFollower, "start", lambda self, stop: None)
    with pytest.raises(SystemExit) as end:
        module.run_meter(CONFIG, Paths(tmp_path, tmp_path), threading.Event())
    assert end.value.code == module.EX_TEMPFAIL
    assert netctl.pushes == []
