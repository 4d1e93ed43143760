"""Devices are let in and out, together and alone, and failures are said: portal.admission."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from netctl.api import errors
from netctl.api.errors import NetctlError
from portal.admission import Gate
from portal.config import Plan
from portal.domain.model import EndReason, UplinkState
from portal.domain.uplink import UplinkView
from portal.gatekeeper import GateError, Gatekeeper
from portal.meter import Meter
from portal.paths import Paths
from portal.store import sessions
from portal.store.db import Database
from tests.unit.portal.conftest import CONFIG, ENDLESS, Allow, OpenGate, OpenMeter
from tests.unit.portal.fakes import Clock, Netctl, unreachable

Query = Callable[..., list[tuple[Any, ...]]]
MAC = "02:00:00:00:00:01"
IP = "10.77.0.9"


def test_the_gate_is_a_gatekeeper(gate: Gate) -> None:
    keeper: Gatekeeper = gate
    assert keeper is gate


def test_login_answers_when_the_kernel_has_it(gate: Gate, netctl: Netctl, clock: Clock) -> None:
    session = gate.enter_by_terms(MAC, IP, "3")
    (grant,) = netctl.state.grants  # type: ignore[union-attr]
    assert (grant.id, grant.mac, grant.ipv4) == (session.id, MAC, IP)
    assert (grant.down_kbit, grant.up_kbit, grant.guaranteed_kbit) == (5000, 2000, 64)
    assert grant.deadline_boot_s == session.deadline_boot_s == pytest.approx(clock.now.boot_s + 480 * 60, abs=0.01)
    assert (session.plan, session.terms_version, session.method) == ("warga", "3", "terms")
    found = gate.session(MAC)
    assert found is not None
    assert replace(found, remaining_s=None) == replace(session, remaining_s=None)
    clock.forward(60)
    assert gate.remaining_s(session) == pytest.approx(479 * 60, abs=0.01)


def test_what_is_left_of_the_day_is_that_of_now_on_all_devices(
    open_gate: OpenGate, open_meter: OpenMeter, netctl: Netctl, clock: Clock
) -> None:
    """Totals reach the disk minutes later; the page must not tell of more than there is."""
    plan = Plan(id="warga", name="Warga", devices=2, daily_megabytes=1)
    site = msgspec.structs.replace(CONFIG, plan=(plan,))
    gate, meter = open_gate(site), open_meter(site)
    one = gate.enter_by_terms(MAC, IP, "1")
    person = gate.visit(MAC).person
    assert person is not None
    other = gate.enter_by_code("02:00:00:00:00:02", "10.77.0.10", person.code)
    netctl.send(one.id, 100_000, 0)
    meter.stop(UplinkView())  # that much is on the disk
    clock.forward(1)
    netctl.send(one.id, 100_000, 50_000)
    netctl.send(other.id, 0, 150_000, ip="10.77.0.10")
    for mac in (one.mac, other.mac):
        left = gate.visit(mac).left
        assert (left.bytes, left.spent) == (600_000, False)
    netctl.send(other.id, 0, 600_000, ip="10.77.0.10")
    assert (gate.visit(MAC).left.bytes, gate.visit(MAC).left.spent) == (0, True)
    netctl.failing = unreachable()
    assert gate.visit(MAC).left.bytes == 900_000, "as far as it is known"


def test_the_row_is_on_the_disk_before_the_kernel_hears_of_it(
    gate: Gate, netctl: Netctl, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Any] = []
    apply = netctl.apply

    def look_and_apply(state: Any) -> Any:
        rows.append(query("SELECT mac, ended_wall_s FROM session"))
        return apply(state)

    monkeypatch.setattr(netctl, "apply", look_and_apply)
    session = gate.enter_by_terms(MAC, IP, "1")
    gate.logout(session)
    assert rows[0] == [(MAC, None)]
    assert rows[1][0][1] is not None


def test_a_second_login_keeps_the_session_and_takes_the_new_address(gate: Gate, netctl: Netctl) -> None:
    first = gate.enter_by_terms(MAC, IP, "1")
    generation = netctl.state.generation  # type: ignore[union-attr]
    again = gate.enter_by_terms(MAC, IP, "1")
    assert again.id == first.id
    assert netctl.state.generation == generation, "nothing changed"  # type: ignore[union-attr]
    assert gate.enter_by_terms(MAC, None, "1").ipv4 == IP, "a request over IPv6 does not take the address away"
    moved = gate.enter_by_terms(MAC, "10.77.0.10", "1")
    assert (moved.id, moved.ipv4) == (first.id, "10.77.0.10")
    assert netctl.state.grants[0].ipv4 == "10.77.0.10"  # type: ignore[union-attr]
    assert netctl.state.generation > generation  # type: ignore[union-attr]


def test_a_login_puts_back_what_netctl_lost(gate: Gate, netctl: Netctl) -> None:
    gate.enter_by_terms(MAC, IP, "1")
    netctl.reboot()
    gate.enter_by_terms(MAC, IP, "1")
    assert netctl.online() == [MAC]


def test_an_address_that_goes_to_another_device_stays_in_the_state_once(gate: Gate, netctl: Netctl) -> None:
    gate.enter_by_terms(MAC, IP, "1")
    gate.enter_by_terms("02:00:00:00:00:02", IP, "1")
    assert [(grant.mac, grant.ipv4) for grant in netctl.state.grants] == [  # type: ignore[union-attr]
        (MAC, None),
        ("02:00:00:00:00:02", IP),
    ]


def test_time_over_starts_a_new_session(gate: Gate, clock: Clock, query: Query) -> None:
    first = gate.enter_by_terms(MAC, IP, "1")
    clock.forward(480 * 60 + 1)
    assert gate.session(MAC) is None
    assert gate.remaining_s(first) == 0
    second = gate.enter_by_terms(MAC, IP, "1")
    assert second.id != first.id
    assert query("SELECT end_reason FROM session ORDER BY id") == [("time",), (None,)]


def test_after_a_reboot_the_first_login_carries_everybody(
    gate: Gate, netctl: Netctl, clock: Clock, allow: Allow
) -> None:
    gate.enter_by_terms(MAC, IP, "1")
    clock.reboot(boot_s=30.0)
    netctl.reboot()
    found = gate.session(MAC)
    assert found is not None
    assert gate.remaining_s(found) == pytest.approx(480 * 60, abs=0.01)
    allow("02:00:00:00:00:02", ENDLESS)
    gate.enter_by_rule("02:00:00:00:00:02", "10.77.0.10")
    one, two = netctl.state.grants  # type: ignore[union-attr]
    assert one.deadline_boot_s == pytest.approx(30 + 480 * 60, abs=0.01)
    assert (two.deadline_boot_s, two.down_kbit, two.up_kbit) == (None, None, None)


def test_logout_closes_and_counts_the_last_bytes(gate: Gate, netctl: Netctl, query: Query) -> None:
    session = gate.enter_by_terms(MAC, IP, "1")
    netctl.send(session.id, 100, 1000)
    assert gate.bytes_used(session) == (100, 1000)
    gate.logout(session)
    assert netctl.online() == []
    assert gate.session(MAC) is None
    assert query("SELECT up_bytes, down_bytes FROM session") == [(100, 1000)], "before the answer"
    gate.logout(session)  # again: no error, and the same end
    assert query("SELECT up_bytes, down_bytes, end_reason FROM session") == [(100, 1000, EndReason.LOGOUT)]


def test_bytes_are_shown_once_whoever_counts_them(
    gate: Gate, netctl: Netctl, meter: Meter, clock: Clock, query: Query
) -> None:
    session = gate.enter_by_terms(MAC, IP, "1")
    netctl.send(session.id, 100, 1000)
    meter.stop(meter_view())
    assert query("SELECT up_bytes FROM session") == [(100,)]
    assert gate.bytes_used(session) == (100, 1000)
    netctl.send(session.id, 1, 10)
    netctl.send(session.id, 5, 50, ip="fd00::9")
    assert gate.bytes_used(session) == (106, 1060)
    gate.logout(session)
    meter.stop(meter_view())
    assert query("SELECT up_bytes, down_bytes FROM session") == [(106, 1060)]


def meter_view() -> Any:
    from portal.domain.uplink import UplinkView

    return UplinkView()


def test_without_netctl_what_is_flushed_is_shown(gate: Gate, netctl: Netctl, meter: Meter) -> None:
    session = gate.enter_by_terms(MAC, IP, "1")
    netctl.send(session.id, 100, 1000)
    meter.stop(meter_view())
    netctl.send(session.id, 100, 1000)
    netctl.failing = unreachable()
    assert gate.bytes_used(session) == (100, 1000)


def test_whois_and_uplink(gate: Gate, netctl: Netctl) -> None:
    netctl.neighbours[IP] = MAC
    assert gate.whois(IP) == MAC
    assert gate.whois("10.77.0.200") is None
    assert gate.uplink().state is UplinkState.UNKNOWN


# --- many at once -----------------------------------------------------------------------------------------------------


def test_a_storm_rides_in_few_pushes_and_all_are_in(
    gate: Gate, netctl: Netctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = netctl.apply

    def slow(state: Any) -> Any:
        time.sleep(0.01)  # what a real push takes, so that callers gather
        return apply(state)

    monkeypatch.setattr(netctl, "apply", slow)
    storm = 100
    with ThreadPoolExecutor(storm) as threads:
        answered = list(
            threads.map(
                lambda n: (gate.enter_by_terms(f"02:00:00:00:01:{n:02x}", f"10.77.1.{n}", "1"), netctl.state),
                range(storm),
            )
        )
    assert len(netctl.online()) == storm
    assert len({session.id for session, _ in answered}) == storm
    for session, state in answered:
        assert session.id in {grant.id for grant in state.grants}, "answered before it was in force"  # type: ignore[union-attr]
    assert netctl.calls["apply"] < storm / 2
    generations = [state.generation for state in netctl.pushes]
    assert generations == sorted(generations)


def test_the_same_device_in_many_threads_is_one_session(gate: Gate) -> None:
    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(lambda _: gate.enter_by_terms(MAC, IP, "1").id, range(60)))
    assert len(set(found)) == 1


def test_two_processes_never_push_a_state_that_lacks_what_the_other_answered(
    paths: Paths, gate: Gate, netctl: Netctl, clock: Clock
) -> None:
    other = Gate(CONFIG, paths, netctl, clock)
    other.start()
    try:
        with ThreadPoolExecutor(40) as threads:
            list(
                threads.map(
                    lambda n: (gate, other)[n % 2].enter_by_terms(f"02:00:00:00:02:{n:02x}", f"10.77.2.{n}", "1"),
                    range(80),
                )
            )
    finally:
        other.close()
    assert len(netctl.online()) == 80
    by_generation = sorted(netctl.pushes, key=lambda state: (state.generation, len(state.grants)))
    for older, newer in itertools.pairwise(by_generation):
        assert {grant.id for grant in older.grants} <= {grant.id for grant in newer.grants}


def test_the_gate_is_full_at_what_netctl_takes(gate: Gate, netctl: Netctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.entrance.MAX_SESSIONS", 2)
    for number in (1, 2):
        gate.enter_by_terms(f"02:00:00:00:00:{number:02x}", f"10.77.1.{number}", "1")
    with pytest.raises(GateError) as error:
        gate.enter_by_terms("02:00:00:00:00:03", "10.77.1.3", "1")
    assert error.value.code == "busy"
    gate.enter_by_terms(MAC, "10.77.1.1", "1")  # who is in stays in
    assert len(netctl.online()) == 2


# --- failures ---------------------------------------------------------------------------------------------------------


def test_netctl_away_is_said_and_made_good_by_the_meter(gate: Gate, netctl: Netctl, meter: Meter) -> None:
    netctl.failing = unreachable()
    for ask in (lambda: gate.enter_by_terms(MAC, IP, "1"), lambda: gate.whois(IP)):
        with pytest.raises(GateError) as error:
            ask()
        assert error.value.code == "netctl"
    netctl.failing = None
    meter.tick(meter_view())
    assert netctl.online() == [MAC]


def test_a_restart_of_netctl_is_waited_for_once(gate: Gate, netctl: Netctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.sync.RETRY_AFTER_S", 0.0)
    netctl.fail_next = [unreachable()]
    gate.enter_by_terms(MAC, IP, "1")
    assert netctl.online() == [MAC]


def test_a_busy_netctl_is_busy_and_not_asked_again(gate: Gate, netctl: Netctl) -> None:
    netctl.fail_next = [NetctlError(errors.BUSY, "Busy.")]
    with pytest.raises(GateError) as error:
        gate.enter_by_terms(MAC, IP, "1")
    assert error.value.code == "busy"
    assert netctl.calls["apply"] == 1


def test_a_broken_database_is_said_and_never_pushed(gate: Gate, paths: Paths, netctl: Netctl) -> None:
    session = gate.enter_by_terms(MAC, IP, "1")
    pushes = len(netctl.pushes)
    paths.database.unlink()
    paths.database.write_bytes(b"not a database, and long enough to be read as one" * 100)
    for ask in (
        lambda: gate.enter_by_terms("02:00:00:00:00:02", "10.77.0.2", "1"),
        lambda: gate.logout(session),
        lambda: gate.session(MAC),
        lambda: gate.bytes_used(session),
        gate.uplink,
    ):
        with pytest.raises(GateError) as error:
            ask()
        assert error.value.code == "database-corrupt"
        assert error.value.hint
    assert len(netctl.pushes) == pushes
    assert netctl.online() == [MAC]


def test_a_failed_batch_does_not_stop_the_next(gate: Gate, netctl: Netctl, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "next_generation", broken)
        with pytest.raises(GateError, match="a mistake"):
            gate.enter_by_terms(MAC, IP, "1")
    assert gate.session(MAC) is None, "undone"
    gate.enter_by_terms(MAC, IP, "1")
    assert netctl.online() == [MAC]


@pytest.mark.parametrize(
    ("mac", "ipv4"),
    [
        *[
            (mac, IP)
            for mac in ("02:00:00:00:00:0G", "02-00-00-00-00-01", "", "02:00:00:00:00:01\n", MAC.upper() + "A")
        ],
        ("01:00:5e:00:00:01", IP),  # multicast, which a neighbour's answer may claim
        ("ff:ff:ff:ff:ff:ff", IP),
        ("00:00:00:00:00:00", IP),
        *[(MAC, ipv4) for ipv4 in ("::ffff:10.77.0.9", "fd00::9", "", "10.77.0.999", "192.168.1.9")],
        (MAC, "10.77.0.1"),  # the gateway's own
        (MAC, "10.77.0.0"),
        (MAC, "10.77.15.255"),
    ],
)
def test_what_netctl_would_refuse_does_not_reach_the_database(gate: Gate, query: Query, mac: str, ipv4: str) -> None:
    with pytest.raises(ValueError, match="no device's address"):
        gate.enter_by_terms(mac, ipv4, "1")
    assert query("SELECT count(*) FROM session") == [(0,)]


def test_a_lan_that_was_changed_blocks_nobody(
    gate: Gate, paths: Paths, netctl: Netctl, clock: Clock, query: Query
) -> None:
    """netctl refuses a state with an address of the old LAN as a whole."""
    gate.enter_by_terms(MAC, IP, "1")
    moved = replace_lan("192.168.88.1/24")
    other = Gate(moved, paths, netctl, clock)
    other.start()
    other.enter_by_terms("02:00:00:00:00:02", "192.168.88.7", "1")
    assert [grant.ipv4 for grant in netctl.state.grants] == [None, "192.168.88.7"]  # type: ignore[union-attr]
    other.close()
    Meter(CONFIG, paths, netctl, clock).tick(meter_view())
    assert [grant.ipv4 for grant in netctl.state.grants] == [None, None]  # type: ignore[union-attr]


def replace_lan(address: str) -> Any:
    import msgspec

    return msgspec.structs.replace(CONFIG, lan=msgspec.structs.replace(CONFIG.lan, address=address))


def test_a_backup_that_was_put_back_does_not_deafen_netctl(gate: Gate, netctl: Netctl, query: Query) -> None:
    """netctl holds generations that the older file never had, and ids that it would give out again."""
    for number in range(2, 6):
        last = gate.enter_by_terms(f"02:00:00:00:00:{number:02x}", f"10.77.0.{number}", "1")
    query("DELETE FROM session WHERE id > (SELECT min(id) FROM session)")
    query("UPDATE sqlite_sequence SET seq = (SELECT max(id) FROM session)")
    query("UPDATE meta SET generation = 1")
    session = gate.enter_by_terms(MAC, IP, "1")
    assert netctl.online() == ["02:00:00:00:00:02", MAC]
    assert gate.enter_by_terms("02:00:00:00:00:77", "10.77.0.77", "1").id > last.id
    assert gate.session(MAC) is not None
    assert session.id in {grant.id for grant in netctl.state.grants}  # type: ignore[union-attr]


def test_a_closed_gate_says_so_and_leaves_no_thread(paths: Paths, netctl: Netctl, clock: Clock) -> None:
    gate = Gate(CONFIG, paths, netctl, clock)
    with pytest.raises(GateError):
        gate.enter_by_terms(MAC, IP, "1")
    gate.start()
    gate.start()
    assert sum(thread.name == "committer" for thread in threading.enumerate()) == 1
    gate.close()
    gate.close()
    assert not any(thread.name == "committer" for thread in threading.enumerate())
    with pytest.raises(GateError) as error:
        gate.enter_by_terms(MAC, IP, "1")
    assert error.value.code == "busy"


def test_what_waits_when_the_gate_closes_is_still_done(gate: Gate, netctl: Netctl, database: Database) -> None:
    with ThreadPoolExecutor(1) as threads:
        with database.write():  # holds the committer up
            waiting = threads.submit(gate.enter_by_terms, MAC, IP, "1")
            while not gate._writer._lock.locked():
                time.sleep(0.001)
            closing = threading.Thread(target=gate.close)
            closing.start()
        closing.join(10)
        assert waiting.result(10).mac == MAC
    assert netctl.online() == [MAC]
