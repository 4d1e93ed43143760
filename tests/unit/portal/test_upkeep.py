"""What the meter does to people: budgets, plans that change, devices let in without a tap, the calendar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from portal import backup, leases, passwords
from portal.admission import Gate
from portal.config import Access, SiteConfig
from portal.domain.model import CLOCK_NOT_SET, Refusal, Session
from portal.domain.uplink import UplinkView
from portal.gatekeeper import Refused
from portal.leases import Lease
from portal.meter import TICK_S, Meter
from portal.paths import Paths
from portal.store import accounts, devices, merge, people
from portal.store.db import Database
from tests.unit.portal.conftest import CONFIG, ENDLESS, PLAN, ZONE, Allow, OpenGate, OpenMeter
from tests.unit.portal.fakes import Clock, Netctl

Query = Callable[..., list[tuple[Any, ...]]]
VIEW = UplinkView()
MIDNIGHT_S = 2_000_000_000.0 + 44_800  # 2033-05-19 00.00 in Makassar
MAC, IP = "02:00:00:00:00:01", "10.77.0.9"


def site(**plan: Any) -> SiteConfig:
    return msgspec.structs.replace(CONFIG, plan=(msgspec.structs.replace(PLAN, **plan), ENDLESS))


def ticks(meter: Meter, clock: Clock, seconds: float) -> None:
    """As run_meter does: the meter says when it wants to look again."""
    until_boot_s = clock.now.boot_s + seconds
    while clock.now.boot_s < until_boot_s:
        clock.forward(min(meter.tick(VIEW), until_boot_s - clock.now.boot_s))


def rates(netctl: Netctl) -> list[tuple[int | None, int | None]]:
    return [(grant.down_kbit, grant.up_kbit) for grant in netctl.state.grants] if netctl.state else []


def use(query: Query) -> dict[str, tuple[float, int]]:
    return {
        day: (seconds, octets)
        for day, seconds, octets in query(
            "SELECT day, sum(seconds), sum(up_bytes + down_bytes) FROM person_day GROUP BY day"
        )
    }


# --- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kbit", [1000, 50_000])
def test_a_byte_budget_stops_within_two_seconds_of_the_plans_rate(
    open_gate: OpenGate, open_meter: OpenMeter, netctl: Netctl, clock: Clock, query: Query, kbit: int
) -> None:
    config = site(daily_megabytes=20, after_budget="stop", down_kbit=kbit, up_kbit=64)
    gate, meter = open_gate(config), open_meter(config)
    session = gate.enter_by_terms(MAC, IP, "1")
    sent = 0
    for _ in range(1000):
        again_s = meter.tick(VIEW)
        if not netctl.online():
            break
        clock.forward(again_s)
        netctl.send(session.id, 0, round(again_s * kbit * 125))  # as fast as the plan allows
        sent += round(again_s * kbit * 125)
    assert 0 <= sent - 20_000_000 <= max(200_000, 2 * kbit * 125)
    meter.tick(VIEW)
    assert query("SELECT end_reason, down_bytes FROM session") == [("budget", sent)]
    with pytest.raises(Refused) as error:
        gate.enter_by_terms(MAC, IP, "1")
    assert (error.value.refusal, error.value.until_wall_s) == (Refusal.BUDGET, MIDNIGHT_S)
    left = gate.visit(MAC).left
    assert (left.bytes, left.spent, left.seconds) == (0, True, None)


@pytest.mark.parametrize("after_budget", ["stop", "slow"])
@pytest.mark.parametrize("leaves", ["moves", "logs out"])
def test_what_was_used_on_a_device_before_it_was_left_counts_at_once(
    open_gate: OpenGate, open_meter: OpenMeter, netctl: Netctl, clock: Clock, query: Query, after_budget: str,
    leaves: str,
) -> None:  # fmt: skip
    """Totals reach the disk minutes later."""
    config = site(daily_megabytes=10, after_budget=after_budget, slow_down_kbit=256, slow_up_kbit=128)
    gate, meter = open_gate(config), open_meter(config)
    clock.set_wall(MIDNIGHT_S - 3600)
    first = gate.enter_by_terms(MAC, IP, "1")
    person = gate.visit(MAC).person
    assert person is not None
    meter.tick(VIEW)
    netctl.send(first.id, 0, 6_000_000)
    clock.forward(5)
    meter.tick(VIEW)
    if leaves == "logs out":
        gate.logout(first)
    second = gate.enter_by_code("02:00:00:00:00:02", "10.77.0.10", person.code)
    for more, spent in ((3_000_000, False), (1_000_000, True)):
        netctl.send(second.id, 0, more, ip="10.77.0.10")
        clock.forward(5)
        meter.tick(VIEW)
        if after_budget == "stop":
            assert netctl.online() == ([] if spent else [second.mac])
        else:
            assert rates(netctl) == [(256, 128) if spent else (5000, 2000)]
    assert query("SELECT sum(down_bytes) FROM person_day") == [(10_000_000,)]


def test_a_time_budget_slows_and_ends_at_midnight_without_a_cut(
    open_gate: OpenGate, open_meter: OpenMeter, netctl: Netctl, clock: Clock, query: Query
) -> None:
    config = site(daily_minutes=10, slow_down_kbit=256, slow_up_kbit=128, session_minutes=None, idle_minutes=None)
    gate, meter = open_gate(config), open_meter(config)
    clock.set_wall(MIDNIGHT_S - 3600)
    gate.enter_by_terms(MAC, IP, "1")
    ticks(meter, clock, 598)
    assert rates(netctl) == [(5000, 2000)]
    ticks(meter, clock, 4)
    assert rates(netctl) == [(256, 128)]
    assert gate.visit(MAC).left.spent
    gate.enter_by_terms("02:00:00:00:00:02", "10.77.0.10", "1")
    assert rates(netctl) == [(256, 128), (5000, 2000)], "what a login pushes says the same"
    ticks(meter, clock, 3600 - 602 + TICK_S)
    assert rates(netctl)[0] == (5000, 2000)
    assert query("SELECT end_reason FROM session WHERE mac = ?", MAC) == [(None,)]
    meter.stop(VIEW)
    assert use(query)["2033-05-18"][0] == pytest.approx(3600 + (3600 - 602), abs=0.1)


def test_time_and_bytes_of_a_midnight_go_to_their_days(
    open_gate: OpenGate, open_meter: OpenMeter, netctl: Netctl, clock: Clock, query: Query
) -> None:
    gate, meter = open_gate(CONFIG), open_meter(CONFIG)
    clock.set_wall(MIDNIGHT_S - 20)
    session = gate.enter_by_terms(MAC, IP, "1")
    meter.tick(VIEW)
    clock.forward(10)
    netctl.send(session.id, 1, 10)
    meter.tick(VIEW)  # seen, not flushed
    clock.forward(20)
    netctl.send(session.id, 2, 20)
    meter.tick(VIEW)
    meter.stop(VIEW)
    assert {day: (round(seconds), octets) for day, (seconds, octets) in use(query).items()} == {
        "2033-05-18": (20, 11),
        "2033-05-19": (10, 22),
    }


def test_two_devices_count_time_once_and_bytes_all(
    open_gate: OpenGate, open_meter: OpenMeter, netctl: Netctl, clock: Clock, query: Query
) -> None:
    config = site(devices=2)
    gate, meter = open_gate(config), open_meter(config)
    one = gate.enter_by_terms(MAC, IP, "1")
    person = gate.visit(MAC).person
    assert person is not None
    two = gate.enter_by_code("02:00:00:00:00:02", "10.77.0.10", person.code)
    for session in (one, two):
        netctl.send(session.id, 0, 100)
    clock.forward(60)
    gate.logout(one)
    clock.forward(60)
    meter.stop(VIEW)
    ((seconds, octets),) = use(query).values()
    assert (round(seconds), octets) == (120, 200)
    assert gate.visit(MAC).left.bytes is None
    with gate._reader.read() as db:
        assert people.day_use(db, person.id, people.moment(db, clock(), ZONE)).down_bytes == 200


def test_time_counts_up_to_the_last_end_in_whatever_order_ends_are_found(
    open_gate: OpenGate, open_meter: OpenMeter, clock: Clock, query: Query
) -> None:
    gate = open_gate(site(devices=2, session_minutes=60, idle_minutes=None))
    gate.enter_by_terms(MAC, IP, "1")
    person = gate.visit(MAC).person
    assert person is not None
    clock.forward(1800)
    two = gate.enter_by_code("02:00:00:00:00:02", "10.77.0.10", person.code)
    clock.forward(3000)  # no meter runs: nobody finds that the first has been over for 20 minutes
    gate.logout(two)
    clock.forward(600)
    meter = open_meter(site(devices=2, session_minutes=60, idle_minutes=None))
    meter.tick(VIEW)
    meter.stop(VIEW)
    assert {reason for (reason,) in query("SELECT end_reason FROM session")} == {"logout", "time"}
    ((seconds, _),) = use(query).values()
    assert seconds == pytest.approx(4800, abs=0.1)


def test_a_clock_that_starts_in_1970_gives_no_second_budget(
    open_gate: OpenGate, open_meter: OpenMeter, netctl: Netctl, clock: Clock
) -> None:
    config = site(daily_minutes=10, after_budget="stop")
    gate, meter = open_gate(config), open_meter(config)
    gate.enter_by_terms(MAC, IP, "1")
    ticks(meter, clock, 610)
    clock.reboot(wall_s=50.0)
    netctl.reboot()
    with pytest.raises(Refused):
        gate.enter_by_terms(MAC, IP, "1")
    clock.set_wall(MIDNIGHT_S - 60)  # now it knows, and it is still the same day
    with pytest.raises(Refused):
        gate.enter_by_terms(MAC, IP, "1")
    clock.set_wall(MIDNIGHT_S)
    assert gate.enter_by_terms(MAC, IP, "1").plan == "warga"


def test_a_clock_that_was_wrongly_in_the_future_freezes_no_budget(
    open_gate: OpenGate, paths: Paths, netctl: Netctl, clock: Clock, query: Query
) -> None:
    trusted = True
    gate = open_gate(site(daily_minutes=10, after_budget="stop"))
    meter = Meter(site(daily_minutes=10, after_budget="stop"), paths, netctl, clock, lambda: trusted)
    clock.set_wall(MIDNIGHT_S + 400 * 86_400)
    gate.enter_by_terms(MAC, IP, "1")
    ticks(meter, clock, 660)
    assert netctl.online() == []
    clock.set_wall(MIDNIGHT_S + 3600)  # NTP corrects it
    meter.tick(VIEW)
    meter.stop(VIEW)
    assert query("SELECT day, trusted_wall_s < ? FROM meta", MIDNIGHT_S + 7200) == [("2033-05-19", 1)]
    assert gate.enter_by_terms(MAC, IP, "1").plan == "warga"


def test_a_clock_that_ntp_puts_back_closes_nothing_and_cuts_nobody(
    open_gate: OpenGate, paths: Paths, netctl: Netctl, clock: Clock
) -> None:
    config = site(hours=("mon-sun 07:00-22:00",))
    gate, trust = open_gate(config), [True]
    meter = Meter(config, paths, netctl, clock, lambda: trust[0])
    gate.enter_by_terms(MAC, IP, "1")
    meter.tick(VIEW)
    clock.set_wall(clock.now.wall_s - 3600)
    for trust[0] in (True, False):
        gate.enter_by_terms("02:00:00:00:00:02", "10.77.0.10", "1")
        assert len(netctl.online()) == 2
        meter.tick(VIEW)
        assert len(netctl.online()) == 2


def test_a_clock_that_is_set_at_last_opens_at_the_next_tick(
    open_gate: OpenGate, paths: Paths, netctl: Netctl, clock: Clock
) -> None:
    config = site(hours=("mon-sun 07:00-22:00",))
    gate, trusted = open_gate(config), True
    Meter(config, paths, netctl, clock, lambda: True).tick(VIEW)
    clock.reboot(wall_s=clock.now.wall_s - 3600)  # as some boxes save the time once an hour
    trusted = False
    meter = Meter(config, paths, netctl, clock, lambda: trusted)
    meter.tick(VIEW)
    with pytest.raises(Refused) as error:
        gate.enter_by_terms(MAC, IP, "1")
    assert error.value.reason == CLOCK_NOT_SET
    trusted = True
    meter.tick(VIEW)
    assert gate.enter_by_terms(MAC, IP, "1").plan == "warga"


def test_a_trusted_clock_is_noted_at_once_and_with_each_flush(
    open_meter: OpenMeter, clock: Clock, query: Query
) -> None:
    meter = open_meter(CONFIG)
    for passed_s in (0, 320):
        ticks(meter, clock, passed_s)
        meter.tick(VIEW)
        ((day, wall_s),) = query("SELECT day, trusted_wall_s FROM meta")
        assert (day, wall_s) == ("2033-05-18", pytest.approx(clock.now.wall_s, abs=300))


def test_a_clock_that_nobody_vouches_for_is_not_noted(
    paths: Paths, netctl: Netctl, clock: Clock, query: Query, open_gate: OpenGate
) -> None:
    open_gate(CONFIG).enter_by_terms(MAC, IP, "1")
    ticks(Meter(CONFIG, paths, netctl, clock, lambda: False), clock, 60)
    assert query("SELECT day, trusted_wall_s FROM meta") == [("", 0.0)]


# --- plans that change ------------------------------------------------------------------------------------------------


def test_a_plans_new_rates_reach_who_is_online_within_a_tick(
    open_gate: OpenGate, open_meter: OpenMeter, netctl: Netctl, query: Query
) -> None:
    gate = open_gate(CONFIG)
    for number in range(3):
        gate.enter_by_terms(f"02:00:00:00:00:{number:02x}", f"10.77.0.{number + 10}", "1")
    open_meter(site(down_kbit=700, up_kbit=300)).tick(VIEW)
    assert rates(netctl) == [(700, 300)] * 3
    assert query("SELECT count(*) FROM session WHERE ended_wall_s IS NULL") == [(3,)]


def test_another_plan_for_taps_reaches_who_is_online(open_gate: OpenGate, open_meter: OpenMeter, query: Query) -> None:
    open_gate(CONFIG).enter_by_terms(MAC, IP, "1")
    open_meter(msgspec.structs.replace(CONFIG, access=Access(plan="kantor"))).tick(VIEW)
    assert query("SELECT session.plan, person.plan, end_reason FROM session JOIN person ON person.id = person_id") == [
        ("kantor", "kantor", None)
    ]


def test_another_plan_of_an_account_reaches_who_is_online(
    open_gate: OpenGate, open_meter: OpenMeter, database: Database, clock: Clock, netctl: Netctl, query: Query
) -> None:
    config = msgspec.structs.replace(CONFIG, access=Access(methods=("account",)))
    with database.write() as db:
        accounts.add(db, name="sd", password_hash=passwords.hash_new("sandi"), plan="warga", note="", now=clock())
    open_gate(config).enter_by_account(MAC, IP, "sd", "sandi")
    meter = open_meter(config)
    meter.tick(VIEW)
    assert rates(netctl) == [(5000, 2000)]
    query("UPDATE account SET plan = 'kantor'")
    meter.tick(VIEW)
    assert rates(netctl) == [(None, None)]
    query("UPDATE account SET disabled = 1")
    meter.tick(VIEW)
    assert query("SELECT end_reason FROM session") == [("voided",)]


# --- rules on a MAC ---------------------------------------------------------------------------------------------------


@pytest.fixture
def lease(paths: Paths) -> Callable[..., None]:
    def write(mac: str = MAC, ipv4: str = IP, expires: int = 2_000_007_200) -> None:
        paths.leases.parent.mkdir(exist_ok=True)
        paths.leases.write_text(f"{expires} {mac} {ipv4} * 01:{mac}\nduid 00:01:00:01\n{expires} 1 fd00::9 * 00:01\n")

    return write


def test_the_lease_file_is_read_as_dnsmasq_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "leases"
    assert leases.read(file) == {}
    file.write_text(
        f"2000007200 {MAC} {IP} telepon-ku 01:{MAC}\n"
        "2000007201 06-02:00:00:00:00:02 10.77.0.10 * *\n"  # no Ethernet
        "2000007202 02:00:00:00:00:03 10.77.0.11 *\n"
        "2000007203 02:00:00:0"  # being written
    )
    assert leases.read(file) == {
        MAC: Lease(IP, "2000007200"),
        "02:00:00:00:00:03": Lease("10.77.0.11", "2000007202"),
    }


def test_an_allowed_device_with_a_lease_is_in_without_a_page(
    open_meter: OpenMeter, allow: Allow, lease: Callable[..., None], netctl: Netctl, clock: Clock, query: Query
) -> None:
    meter = open_meter(CONFIG)
    allow(MAC, PLAN)
    meter.tick(VIEW)
    assert netctl.online() == []
    lease()
    meter.tick(VIEW)
    assert [(grant.mac, grant.ipv4) for grant in netctl.state.grants] == [(MAC, IP)]  # type: ignore[union-attr]
    ticks(meter, clock, 3610)  # silent for an hour, and its lease is not renewed: it is not there
    assert query("SELECT method, end_reason FROM session") == [("rule", "idle")]
    ticks(meter, clock, 60)
    assert netctl.online() == []
    lease(expires=2_000_014_400)
    meter.tick(VIEW)
    assert netctl.online() == [MAC]


def test_a_rule_that_is_taken_back_or_turned_ends_the_session(
    open_meter: OpenMeter, allow: Allow, lease: Callable[..., None], database: Database, clock: Clock, query: Query
) -> None:
    meter = open_meter(CONFIG)
    lease()
    for rule, reason in ((None, "staff"), ("block", "blocked")):
        allow(MAC, PLAN)
        meter.tick(VIEW)
        with database.write() as db:
            devices.set_rule(db, MAC, rule=rule, rule_plan=None, note="", ruled_by="test", now=clock())  # type: ignore[arg-type]
        meter.tick(VIEW)
        assert query("SELECT end_reason FROM session ORDER BY id DESC LIMIT 1") == [(reason,)]
    assert query("SELECT count(*) FROM session") == [(2,)]


def test_a_lease_of_another_lan_or_of_the_gateway_is_left_alone(
    open_meter: OpenMeter, allow: Allow, lease: Callable[..., None], netctl: Netctl
) -> None:
    meter = open_meter(CONFIG)
    allow(MAC, PLAN)
    for ipv4 in ("192.168.1.7", "10.77.0.1", "nonsense"):
        lease(ipv4=ipv4)
        meter.tick(VIEW)
    assert netctl.online() == []


def test_an_allowed_device_waits_for_its_hours(
    open_meter: OpenMeter, allow: Allow, lease: Callable[..., None], netctl: Netctl, clock: Clock
) -> None:
    meter = open_meter(site(hours=("mon-sun 07:00-22:00",)))
    allow(MAC, PLAN)
    lease()
    clock.set_wall(MIDNIGHT_S)
    ticks(meter, clock, 20)
    assert netctl.online() == []
    clock.set_wall(MIDNIGHT_S + 7 * 3600)
    meter.tick(VIEW)
    assert netctl.online() == [MAC]


# --- older backups ----------------------------------------------------------------------------------------------------


def test_a_backup_put_back_gives_out_no_id_that_the_kernel_counts_for_another(
    open_gate: OpenGate, open_meter: OpenMeter, paths: Paths, netctl: Netctl, query: Query
) -> None:
    gate = open_gate(CONFIG)
    first = gate.enter_by_terms(MAC, IP, "1")
    query("PRAGMA wal_checkpoint(TRUNCATE)")
    backup = paths.database.read_bytes()
    lost: list[Session] = [
        gate.enter_by_terms(f"02:00:00:00:00:{number:02x}", f"10.77.0.{number + 20}", "1") for number in range(2, 6)
    ]
    for session in lost:
        netctl.send(session.id, 1000, 1000, ip=session.ipv4 or "")
    gate.close()
    for file in (paths.database, *paths.data.glob("gerbang.db-*")):
        file.unlink()
    paths.database.write_bytes(backup)
    restarted: Gate = open_gate(CONFIG)
    new = restarted.enter_by_terms("02:00:00:00:00:77", lost[0].ipv4, "1")
    assert new.id > max(session.id for session in lost)
    assert restarted.bytes_used(new) == (0, 0)
    assert netctl.online() == [MAC, "02:00:00:00:00:77"]
    open_meter(CONFIG).stop(VIEW)
    assert query("SELECT id, up_bytes FROM session ORDER BY id") == [(first.id, 0), (new.id, 0)]


def test_a_restore_counts_nobodys_time_and_bytes_twice(
    open_gate: OpenGate, open_meter: OpenMeter, paths: Paths, netctl: Netctl, clock: Clock, query: Query
) -> None:
    gate, meter = open_gate(CONFIG), open_meter(CONFIG)
    session = gate.enter_by_terms(MAC, IP, "1")
    ticks(meter, clock, 300)
    old = paths.data / "old.db"
    backup.copy_database(paths.database, old)
    netctl.send(session.id, 100, 1000)
    ticks(meter, clock, 300)
    order = merge.Restore(old, clock.now.wall_s, True, "tono", "technician", {})
    merge.replace_with(paths.database, order, clock)
    netctl.send(session.id, 1, 10)
    ticks(meter, clock, 300)
    meter.stop(VIEW)
    ((seconds, octets),) = use(query).values()
    assert seconds == pytest.approx(900, abs=0.1)
    assert octets == 1111
    assert query("SELECT id, up_bytes, down_bytes FROM session") == [(session.id, 101, 1010)]
    assert netctl.online() == [MAC]
