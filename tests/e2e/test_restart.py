"""kill -9 of any part, stops and starts: people online notice nothing, no drift, no byte counted twice or lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from netctl.api.types import DesiredState, Grant
from tests.e2e.conftest import phones_of
from tests.village import measure
from tests.village.gateway import GerbangGateway
from tests.village.internet import WEB
from tests.village.phone import Phone
from tests.village.village import Village

A_TICK_S = 5.5  # of netctl and of the meter


@contextmanager
def _people_online(phones: list[Phone]) -> Iterator[list[str]]:
    """While open, each phone fetches and pings, far below its plan; the list takes every failure."""
    failures: list[str] = []
    rounds = [0]
    begun_s = time.monotonic()
    stop = threading.Event()

    def use(phone: Phone) -> None:
        url = f"http://{WEB}/bytes?n=5000"  # names are the resolver's business, and that is killed too
        while not stop.is_set():
            try:
                answer = phone.http(url, timeout_s=2)
                if answer.status != 200 or len(answer.body) != 5000:
                    failures.append(f"phone {phone.number} got {answer.status}")
            except OSError as error:
                failures.append(f"phone {phone.number} at {time.monotonic() - begun_s:.1f} s: {error}")
            if measure.ping(phone, WEB, count=1, timeout_s=1) == [None]:
                failures.append(f"phone {phone.number}: a ping was lost")
            rounds[0] += 1
            stop.wait(0.05)

    threads = [threading.Thread(target=use, args=(phone,)) for phone in phones]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert rounds[0] > 10 * len(phones), "nobody used the line"


def _sessions(gateway: GerbangGateway, mac: str) -> list[dict[str, object]]:
    return gateway.sql("SELECT id FROM session WHERE mac = ? AND ended_wall_s IS NULL", mac)


def _booked(gateway: GerbangGateway, phone: Phone) -> tuple[int, int]:
    """(up, down) of the device's sessions, running or ended, as the database has them."""
    (row,) = gateway.sql("SELECT sum(up_bytes) AS up, sum(down_bytes) AS down FROM session WHERE mac = ?", phone.mac)
    return row["up"] or 0, row["down"] or 0


def test_kill_9_of_each_part_is_not_noticed_and_every_byte_counts_once(own_village: Village) -> None:
    gateway = own_village.gateway
    assert isinstance(gateway, GerbangGateway)
    with phones_of(own_village) as new_phone, ExitStack() as open_taps:
        users = [new_phone(), new_phone()]
        for phone in users:
            phone.login()
        time.sleep(0.2)  # the last packets of the redirected probe, which the tap would take for the Internet's
        taps = [open_taps.enter_context(measure.Tap(phone)) for phone in users]
        ids = gateway.sql("SELECT id, mac FROM session WHERE ended_wall_s IS NULL ORDER BY id")
        for victim in ("netctl", "guest", "meter", "dnsmasq"):
            with _people_online(users) as failures:
                time.sleep(0.3)
                killed = gateway.kill(victim)
                if victim == "guest":  # the supervisor holds its socket: who asks meanwhile waits, and is answered
                    assert users[0].http(f"{gateway.url}status", timeout_s=10).status == 200
                gateway.wait_restarted(victim, killed)
                gateway.wait_ready()
                time.sleep(1)
            assert failures == [], f"{victim} was killed"
            time.sleep(0.2)
            for phone, tap in zip(users, taps, strict=True):
                assert gateway.usage(phone.mac) == (tap.up_bytes, tap.down_bytes), f"{victim} was killed"
            status = gateway.netctl().status()
            assert (status.problem, status.drift, status.drift_total) == (None, 0, 0), f"{victim} was killed"
            late = new_phone()
            late.login()
            assert late.is_online(), f"newcomers come in after {victim} was killed"
            assert _sessions(gateway, late.mac), f"{victim} was killed, and a login is not where others read it"
            late.logout(f"{gateway.url}status")
        time.sleep(A_TICK_S)
        status = gateway.netctl().status()
        assert (status.problem, status.drift, status.drift_total) == (None, 0, 0)
        assert gateway.sql("SELECT id, mac FROM session WHERE ended_wall_s IS NULL ORDER BY id") == ids
        open_taps.close()
        for phone in users:
            phone.logout(f"{gateway.url}status")
        seen = [(tap.up_bytes, tap.down_bytes) for tap in taps]
        assert [_booked(gateway, phone) for phone in users] == seen
        time.sleep(A_TICK_S)  # whatever would count a second time has had its chance
        assert [_booked(gateway, phone) for phone in users] == seen


def test_everything_killed_at_once_and_started_again(own_village: Village) -> None:
    """The supervisor too: what is in the kernel stays, and the next start takes it over."""
    gateway = own_village.gateway
    assert isinstance(gateway, GerbangGateway)
    with phones_of(own_village) as new_phone:
        user, stranger = new_phone(), new_phone()
        user.login()
        time.sleep(0.2)
        with measure.Tap(user) as tap:
            with _people_online([user]) as failures:
                gateway.crash()
                assert not gateway.answers(8080)
                assert gateway.sql("SELECT seq FROM journal WHERE kind = 'stop'") == [], "nobody stopped in order"
                time.sleep(1)
                with pytest.raises(OSError):
                    stranger.connect(WEB, 443, timeout_s=1)
                gateway.start()
                time.sleep(A_TICK_S)
            time.sleep(0.3)
        assert failures == []
        assert gateway.netctl().status().drift == 0
        user.logout(f"{gateway.url}status")
        assert _booked(gateway, user) == (tap.up_bytes, tap.down_bytes)


def test_stop_with_keep_leaves_people_online_and_start_finds_them(own_village: Village) -> None:
    gateway = own_village.gateway
    assert isinstance(gateway, GerbangGateway)
    with phones_of(own_village) as new_phone:
        user = new_phone()
        user.login()
        assert gateway.stop() == 0
        gateway.start("--keep")
        assert user.is_online(), "a session outlives a stop"
        with _people_online([user]) as failures:
            time.sleep(0.5)
            assert gateway.stop() == 0
            assert gateway.processes() == []
            time.sleep(1)
            gateway.start()
            time.sleep(1)
        assert failures == []


def test_a_clean_stop_closes_the_gate_and_leaves_nothing_in_the_kernel(own_village: Village) -> None:
    gateway = own_village.gateway
    assert isinstance(gateway, GerbangGateway)
    with phones_of(own_village) as new_phone:
        user = new_phone()
        user.login()
        assert gateway.stop() == 0
        try:
            assert gateway.processes() == []
            assert not user.is_online(timeout_s=1)
            left = gateway.ns.run(["sh", "-c", "iptables-legacy-save; ip6tables-legacy-save; tc qdisc show"]).stdout
            assert "GERBANG" not in left and "htb" not in left, left
        finally:
            gateway.start()
        assert user.is_online(), "and the next start restores who was online"


def test_sessions_end_by_themselves_while_everything_is_dead(own_village: Village) -> None:
    """Deadlines are in the kernel: a gate that nobody guards still shuts."""
    gateway = own_village.gateway
    assert isinstance(gateway, GerbangGateway)
    with phones_of(own_village) as new_phone:
        user = new_phone()
        user.login()
        (row,) = gateway.sql("SELECT id FROM session WHERE mac = ? AND ended_wall_s IS NULL", user.mac)
        for name in ("guest", "meter"):
            gateway.kill(name)  # before they can push the session's own deadline again
        soon = time.clock_gettime(time.CLOCK_BOOTTIME) + 4
        grant = Grant(id=row["id"], mac=user.mac, ipv4=user.address, down_kbit=5000, up_kbit=2000, deadline_boot_s=soon)
        netctl = gateway.netctl()
        told = netctl.status()
        assert told.epoch is not None
        netctl.apply(DesiredState(epoch=told.epoch, generation=told.generation + 1, grants=(grant,)))
        gateway.crash()
        assert user.is_online()
        time.sleep(5)
        assert not user.is_online(timeout_s=1)
        gateway.start()
        assert user.is_online(), "the database still gives it time"
