"""How far the devices of a day came, from leases, pages and sessions to the log: portal.funnel, portal.footprints."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.admission import Gate
from portal.domain import localtime
from portal.domain.journal import Kind
from portal.domain.uplink import UplinkView
from portal.footprints import KEPT, WAITING, Footprints
from portal.meter import Meter
from portal.paths import Paths
from portal.store import arrivals, journal
from portal.store.db import Database, StoreError
from tests.unit.portal.conftest import CONFIG, DAY, ZONE
from tests.unit.portal.fakes import BOOT, Clock, Netctl

Query = Callable[..., list[tuple[Any, ...]]]
VIEW = UplinkView()
TOMORROW = (date.fromisoformat(DAY) + timedelta(days=1)).isoformat()


def mac(number: int) -> str:
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def told(database: Database) -> list[tuple[str, dict[str, list[int]]]]:
    with database.read() as db:
        return [(one.body["day"], one.body["os"]) for one in journal.entries(db) if one.kind is Kind.FUNNEL]


def lease(paths: Paths, *devices: int, expires: int = 1) -> None:
    paths.leases.parent.mkdir(exist_ok=True)
    paths.leases.write_text("".join(f"{expires} {mac(n)} 10.77.0.{n} * *\n" for n in devices))


def until(clock: Clock, meter: Meter, wall_s: float) -> None:
    """As time goes by, with a tick in each five minutes."""
    while clock.now.wall_s < wall_s:
        clock.forward(min(150.0, wall_s - clock.now.wall_s))
        meter.tick(VIEW)


def midnight(day: str) -> float:
    return localtime.day_start(date.fromisoformat(day), ZONE)


@pytest.fixture
def settled(meter: Meter) -> Meter:
    """The meter has run for a while: the log knows the clock."""
    meter.tick(VIEW)
    return meter


def test_a_day_is_told_as_it_goes_and_once_more_when_it_is_over(
    gate: Gate, settled: Meter, clock: Clock, paths: Paths, database: Database, query: Query
) -> None:
    lease(paths, 1, 2, 3)
    gate.note_arrival(mac(2), "apple", saw=True)
    gate.note_arrival(mac(4), "android", saw=False)
    gate.enter_by_terms(mac(3), "10.77.0.3", "1")
    until(clock, settled, midnight(TOMORROW) - 1)
    first = told(database)
    assert first[-1] == (DAY, {"unknown": [2, 1, 1], "apple": [1, 1, 0], "android": [1, 0, 0]})
    assert len(first) == 1, "what has not changed is not told again"
    gate.note_arrival(mac(4), "android", saw=True)
    gate.enter_by_terms(mac(4), "10.77.0.4", "1")
    until(clock, settled, midnight(TOMORROW) + 700)
    last = [os for day, os in told(database) if day == DAY][1:]
    assert last == [{"unknown": [2, 1, 1], "apple": [1, 1, 0], "android": [1, 1, 1]}]
    assert query("SELECT count(*) FROM arrival WHERE day = ?", DAY) == [(0,)]


def test_who_is_online_at_midnight_is_online_on_both_days(
    gate: Gate, settled: Meter, clock: Clock, database: Database
) -> None:
    until(clock, settled, midnight(TOMORROW) - 20)
    gate.enter_by_terms(mac(5), "10.77.0.5", "1")
    until(clock, settled, midnight(TOMORROW) + 3700)
    assert sorted(told(database)) == [(DAY, {"unknown": [1, 1, 1]}), (TOMORROW, {"unknown": [1, 1, 1]})]


def test_a_lease_counts_when_it_is_new_or_renewed_and_not_for_lasting(
    settled: Meter, clock: Clock, paths: Paths, database: Database
) -> None:
    lease(paths, 1, 2)
    until(clock, settled, midnight(TOMORROW) + 30)
    paths.leases.write_text(paths.leases.read_text().replace("1 ", "7 ", 1))
    until(clock, settled, midnight(TOMORROW) + 3700)
    assert told(database) == [(DAY, {"unknown": [2, 0, 0]}), (TOMORROW, {"unknown": [1, 0, 0]})]


def test_nothing_is_written_before_it_is_known_what_day_it_is(
    paths: Paths, netctl: Netctl, clock: Clock, database: Database, query: Query, gate: Gate
) -> None:
    trusted = False
    clock.reboot(BOOT, 20.0, wall_s=1_000_000_000.0)
    meter = Meter(CONFIG, paths, netctl, clock, lambda: trusted)
    lease(paths, 1)
    gate.note_arrival(mac(2), "apple", saw=True)
    meter.tick(VIEW)
    until(clock, meter, clock.now.wall_s + 610)
    gate.enter_by_terms(mac(3), "10.77.0.3", "1")
    assert query("SELECT count(*) FROM arrival") == [(0,)]
    clock.set_wall(2_000_000_000.0)
    trusted = True
    meter.tick(VIEW)
    gate.enter_by_terms(mac(3), "10.77.0.3", "1")
    gate.note_arrival(mac(2), "unknown", saw=True)
    gate.close()
    meter.tick(VIEW)
    meter.stop(VIEW)
    assert query("SELECT day, mac, saw, online FROM arrival ORDER BY mac") == [
        (DAY, mac(1), 0, 0),
        (DAY, mac(2), 1, 0),
        (DAY, mac(3), 1, 1),
    ]


def test_a_clock_that_was_set_by_hand_moves_nothing(
    paths: Paths, netctl: Netctl, clock: Clock, database: Database, query: Query
) -> None:
    trusted = True
    meter = Meter(CONFIG, paths, netctl, clock, lambda: trusted)
    meter.tick(VIEW)
    trusted = False
    clock.set_wall(clock.now.wall_s + 400 * 86_400)
    lease(paths, 1)
    until(clock, meter, clock.now.wall_s + 900)
    assert query("SELECT day, mac FROM arrival") == [(DAY, mac(1))]
    assert all(day == DAY for day, _ in told(database))


def test_another_meter_goes_on_and_takes_nothing_back(
    gate: Gate, new_meter: Callable[[], Meter], clock: Clock, paths: Paths, database: Database
) -> None:
    lease(paths, 1)
    meter = new_meter()
    meter.tick(VIEW)
    until(clock, meter, clock.now.wall_s + 400)
    session = gate.enter_by_terms(mac(2), "10.77.0.2", "1")
    gate.logout(session)
    meter = new_meter()  # the one before was killed
    paths.leases.unlink()
    until(clock, meter, midnight(TOMORROW) + 700)
    assert told(database)[-1] == (DAY, {"unknown": [2, 1, 1]})


def test_a_day_that_is_over_is_never_told_anew(
    settled: Meter, clock: Clock, paths: Paths, database: Database, query: Query
) -> None:
    lease(paths, 1, 2)
    until(clock, settled, midnight(TOMORROW) + 700)
    with database.write() as db:
        assert not arrivals.note(db, DAY, mac(9))
    before = told(database)
    assert before == [(DAY, {"unknown": [2, 0, 0]})]
    until(clock, settled, midnight(TOMORROW) + 8000)
    assert [one for one in told(database) if one[0] == DAY] == before


def test_forged_devices_fill_a_day_and_are_counted_beyond_it(
    database: Database, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "MOST", 3)
    with database.write() as db:
        written = [arrivals.note(db, DAY, mac(number)) for number in range(5)]
        assert arrivals.note(db, DAY, mac(1), os="apple", saw=True), "who is there goes on"
    assert written == [True, True, True, False, False]
    assert query("SELECT beyond FROM arrival_mark") == [(2,)]


def test_who_asks_for_pages_is_written_with_the_next_login(gate: Gate, settled: Meter, query: Query) -> None:
    for _ in range(50):
        gate.note_arrival(mac(1), "android", saw=True)
    assert query("SELECT * FROM arrival") == []
    gate.enter_by_terms(mac(2), "10.77.0.2", "1")
    assert query("SELECT mac, os, saw FROM arrival") == [(mac(1), "android", 1)]


def test_what_did_not_reach_the_disk_is_written_later(
    gate: Gate, settled: Meter, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.note_arrival(mac(1), "android", saw=True)
    with monkeypatch.context() as broken:

        def refuse(*_: object, **__: object) -> bool:
            raise StoreError("database-full", "The disk is full.")

        broken.setattr(arrivals, "note", refuse)
        with pytest.raises(Exception, match="full"):
            gate.enter_by_terms(mac(2), "10.77.0.2", "1")
    gate.enter_by_terms(mac(2), "10.77.0.2", "1")
    assert query("SELECT mac, os, saw FROM arrival") == [(mac(1), "android", 1)]


def test_footprints_are_handed_on_once_a_day_and_when_more_is_known() -> None:
    prints = Footprints()

    def noted(os: str, saw: bool, day: int = 1) -> list[tuple[str, bool]]:
        prints.note(mac(1), os, saw=saw, boot_s=1.0, day=day)
        return [(one.os, one.saw) for one in prints.take()[0]]

    assert noted("unknown", False) == [("unknown", False)]
    assert noted("unknown", False) == []
    assert noted("apple", False) == [("apple", False)]
    assert noted("unknown", True) == [("apple", True)]
    assert noted("apple", False) == []
    assert noted("unknown", False, day=2) == [("unknown", False)]


@given(st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(["android", "unknown"]), st.booleans()), max_size=60))
def test_a_flood_of_devices_is_bounded(some: list[tuple[int, str, bool]]) -> None:
    prints = Footprints()
    for number in range(KEPT + 100):
        prints.note(mac(number), "unknown", saw=False, boot_s=0.0, day=1)
    for number, os, saw in some:
        prints.note(mac(number), os, saw=saw, boot_s=0.0, day=1)
    taken, beyond = prints.take()
    assert len(taken) == WAITING
    assert beyond >= KEPT + 100 - WAITING
