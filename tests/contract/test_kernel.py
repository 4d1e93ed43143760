"""The contract of netctl.kernel.base.Kernel: one suite for the kernel in memory and the real one in a namespace."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netctl.api.errors import KERNEL, NetctlError
from netctl.kernel.fake import FakeKernel
from netctl.ops import ClassRates, DelClass, DelMember, DelNeighbour, Direction, Op, SetClass, SetMember, SetNeighbour
from tests.kernel.scene import LAN6, Scene, config

MAC, OTHER_MAC = "02:00:00:00:00:05", "02:00:00:00:00:06"
IP, OTHER_IP, IP6 = "10.77.1.5", "10.77.1.6", f"{LAN6[:-3]}5"
SETS = {(Direction.UP, 4): "gerbang_up4", (Direction.DOWN, 4): "gerbang_dn4"}


@dataclass
class Subject:
    """A kernel, and what only the world does to it: devices that answer, others who delete, time, ports plugged in."""

    kernel: Any
    hear: Callable[[str, str], None]
    lose: Callable[[str, Direction], None]
    wait: Callable[[float], None]
    plug: Callable[[str], None]
    isolated: Callable[[], set[str]]


def _fake(directory: Path, **changes: Any) -> Iterator[Subject]:
    now = [1000.0]
    kernel = FakeKernel(config(directory, **changes), clock=lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    def plug(port: str) -> None:
        kernel.ports[port] = False

    yield Subject(
        kernel, kernel.hear, kernel.lose, wait, plug, lambda: {port for port, on in kernel.ports.items() if on}
    )
    kernel.close()


def _linux(directory: Path, **changes: Any) -> Iterator[Subject]:
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    with Scene(directory, lan_bridge=True, **changes) as scene:

        def hear(ip: str, mac: str) -> None:
            scene.out("ip", "neigh", "replace", ip, "lladdr", mac, "dev", "lan0", "nud", "reachable")

        def lose(ip: str, direction: Direction) -> None:
            entry = ip
            if direction is Direction.UP:
                mac = scene.kernel.observe().members[ip].mac
                entry = f"{ip},{mac}"
            scene.out("ipset", "del", SETS[direction, 4], entry)

        def plug(port: str) -> None:
            scene.out("ip", "link", "add", port, "type", "veth", "peer", "name", f"{port}-far")
            scene.out("ip", "link", "set", port, "master", "lan0")

        def isolated() -> set[str]:
            told = scene.out("bridge", "-d", "link", "show").split("\n")
            names = [line.split()[1].split("@")[0] for line in told if line[:1].isdigit()]
            return {name for name in names if "isolated on" in scene.out("bridge", "-d", "link", "show", "dev", name)}

        yield Subject(scene.kernel, hear, lose, time.sleep, plug, isolated)


@pytest.fixture
def changes(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What of the configuration is otherwise in this test."""
    return dict(getattr(request, "param", {}))


@pytest.fixture(params=["fake", "linux"])
def subject(request: pytest.FixtureRequest, tmp_path: Path, changes: dict[str, Any]) -> Iterator[Subject]:
    yield from {"fake": _fake, "linux": _linux}[request.param](tmp_path, **changes)


@pytest.fixture
def standing(subject: Subject) -> Subject:
    subject.kernel.setup()
    return subject


def classes(minor: int = 0x10, guaranteed: int = 64, ceil: int = 5000, **more: Any) -> list[Op]:
    return [SetClass(direction, minor, ClassRates(guaranteed, ceil, **more)) for direction in Direction]


def member(ip: str = IP, **changes: Any) -> SetMember:
    values: dict[str, Any] = {"mac": MAC, "minor": 0x10, "grant": 7, "timeout_s": 600, "counters": None}
    return SetMember(ip, **(values | changes))


def counters(subject: Subject, ip: str = IP) -> tuple[int, int, int, int]:
    found = subject.kernel.observe().members[ip]
    return found.up_bytes, found.down_bytes, found.up_packets, found.down_packets


# --- standing ---------------------------------------------------------------------------------------------------------


def test_before_setup_nothing_stands_and_nothing_can_be_admitted(subject: Subject) -> None:
    observed = subject.kernel.observe()
    assert not observed.intact
    assert (observed.members, observed.classes, observed.pinned) == ({}, {}, {})
    for op in (member(), *classes()):
        with pytest.raises(NetctlError) as caught:
            subject.kernel.apply([op])
        assert caught.value.code == KERNEL


def test_rules_alone_let_nobody_in_and_setup_goes_on_from_them(subject: Subject) -> None:
    subject.kernel.put_rules()
    subject.kernel.put_rules()
    observed = subject.kernel.observe()
    assert not observed.intact
    assert (observed.members, observed.classes, observed.pinned) == ({}, {}, {})
    subject.kernel.setup()
    assert subject.kernel.observe().intact


def test_setup_makes_it_intact_and_empty(standing: Subject) -> None:
    observed = standing.kernel.observe()
    assert observed.intact
    assert (observed.members, observed.classes, observed.pinned) == ({}, {}, {})


def test_setup_again_keeps_everything(standing: Subject) -> None:
    standing.kernel.apply([*classes(), member(counters=(1, 2, 3, 4)), SetNeighbour(IP, MAC)])
    before = standing.kernel.dump()
    standing.kernel.setup()
    assert standing.kernel.dump() == before
    assert counters(standing) == (1, 2, 3, 4)


def test_teardown_removes_everything_and_can_be_repeated(standing: Subject) -> None:
    standing.kernel.apply([*classes(), member(), SetNeighbour(IP, MAC)])
    for _ in range(2):
        standing.kernel.teardown()
        observed = standing.kernel.observe()
        assert not observed.intact
        assert (observed.members, observed.classes, observed.pinned) == ({}, {}, {})
    standing.kernel.setup()
    assert standing.kernel.observe().intact


def test_prefixes_are_the_networks_of_the_lan(standing: Subject) -> None:
    assert standing.kernel.lan_prefixes() == ("10.77.0.0/20", LAN6)


def test_features_are_told_apart(subject: Subject) -> None:
    features = subject.kernel.probe()
    assert len({f.name for f in features}) == len(features)


# --- classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guaranteed", "ceil"),
    [(8, 8), (8, 9), (64, 1000), (64, 5000), (63, 4999), (333, 7777), (2000, 100_000), (64, 10_000_000)],
)
def test_a_class_is_read_back_as_it_was_set(standing: Subject, guaranteed: int, ceil: int) -> None:
    standing.kernel.apply(classes(0x10, guaranteed, ceil) + classes(0xFFFE, guaranteed, ceil))
    rates = ClassRates(guaranteed, ceil)
    expected = {(direction, minor): rates for direction in Direction for minor in (0x10, 0xFFFE)}
    assert standing.kernel.observe().classes == expected


def test_setting_a_class_again_changes_its_rates(standing: Subject) -> None:
    standing.kernel.apply([*classes(ceil=5000), member(counters=(1, 2, 3, 4))])
    standing.kernel.apply(classes(ceil=2000))
    assert set(standing.kernel.observe().classes.values()) == {ClassRates(64, 2000)}
    assert counters(standing) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("ceil", "burst"),
    [
        (8, 1),
        (8, 60),
        (1000, 2),
        (5000, 4),
        (5000, 5),
        (5000, 37_500),
        (100_000, 999),
        (10_000_000, 1),
        (10_000_000, 1_000_000),
    ],
)
def test_burst_and_priority_are_read_back_as_they_were_set(standing: Subject, ceil: int, burst: int) -> None:
    for priority in (0, 7):
        wanted = ClassRates(8, ceil, priority, burst)
        standing.kernel.apply(classes(0x10, 8, ceil, priority=priority, burst_kbytes=burst))
        assert set(standing.kernel.observe().classes.values()) == {wanted}
        assert f"class up 0x10 {wanted}" in standing.kernel.dump()
    standing.kernel.apply(classes(0x10, 8, ceil))
    assert set(standing.kernel.observe().classes.values()) == {ClassRates(8, ceil)}


def test_directions_have_classes_of_their_own(standing: Subject) -> None:
    slow, fast = ClassRates(64, 1000), ClassRates(64, 2000)
    standing.kernel.apply([SetClass(Direction.UP, 0x10, slow), SetClass(Direction.DOWN, 0x11, fast)])
    standing.kernel.apply([DelClass(Direction.UP, 0x11), DelClass(Direction.DOWN, 0x10)])
    expected = {(Direction.UP, 0x10): slow, (Direction.DOWN, 0x11): fast}
    assert standing.kernel.observe().classes == expected


# --- the link ---------------------------------------------------------------------------------------------------------


def test_a_link_that_was_shaped_is_intact_and_stays_so(standing: Subject) -> None:
    standing.kernel.apply([*classes(), member(counters=(1, 2, 3, 4))])
    before = standing.kernel.dump()
    for down, up in ((8_000, 3_000), (8_000, 20_000), (None, None), (50_000, 20_000)):
        standing.kernel.shape_link(down, up)
        assert standing.kernel.observe().intact
        standing.kernel.setup()
        assert standing.kernel.observe().intact
    assert standing.kernel.dump() == before and counters(standing) == (1, 2, 3, 4)


def test_a_class_counts_what_leaves_it_from_nothing_until_it_goes(standing: Subject) -> None:
    one, rates = SetClass(Direction.DOWN, 0x10, ClassRates(64, 5000)), ClassRates(64, 8000)
    standing.kernel.apply([one, SetClass(Direction.UP, 0x11, ClassRates(64, 5000))])
    assert standing.kernel.passed() == {0x10: (0, 0)}, "towards the LAN alone"
    assert standing.kernel.observe().passed == {0x10: (0, 0)}
    standing.kernel.apply([SetClass(Direction.DOWN, 0x10, rates), SetClass(Direction.DOWN, 0x12, rates)])
    assert standing.kernel.passed() == {0x10: (0, 0), 0x12: (0, 0)}
    standing.kernel.apply([DelClass(Direction.DOWN, 0x10)])
    assert standing.kernel.passed() == {0x12: (0, 0)}


def test_the_link_starts_from_no_bytes(standing: Subject) -> None:
    assert standing.kernel.link_bytes() == (0, 0)
    standing.kernel.teardown()
    assert standing.kernel.link_bytes() == (0, 0)


def test_a_link_that_is_not_there_cannot_be_shaped(subject: Subject) -> None:
    with pytest.raises(NetctlError) as caught:
        subject.kernel.shape_link(9_000, 20_000)
    assert caught.value.code == KERNEL


# --- members ----------------------------------------------------------------------------------------------------------


def test_a_new_member_counts_from_zero(standing: Subject) -> None:
    standing.kernel.apply([*classes(), member(), member(IP6)])
    observed = standing.kernel.observe().members
    assert set(observed) == {IP, IP6}
    found = observed[IP]
    assert (found.ip, found.mac, found.minor, found.grant, found.complete) == (IP, MAC, 0x10, 7, True)
    assert found.timeout_s is not None and 590 <= found.timeout_s <= 600
    assert counters(standing) == counters(standing, IP6) == (0, 0, 0, 0)
    assert observed[IP6].mac in (MAC, None)  # None: a kernel that keeps IPv6 members by address alone


def test_a_member_that_comes_after_another_in_its_place_counts_from_zero(standing: Subject) -> None:
    """The real kernel leaves the old counters in the slot."""
    big = (10**12, 2 * 10**12, 10**9, 2 * 10**9)
    standing.kernel.apply([member(counters=big)])
    assert counters(standing) == big
    standing.kernel.apply([DelMember(IP, MAC)])
    standing.kernel.apply([member(mac=OTHER_MAC, grant=8)])
    assert counters(standing) == (0, 0, 0, 0)


def test_renewing_keeps_counters_and_class(standing: Subject) -> None:
    standing.kernel.apply([member(counters=(1, 2, 3, 4))])
    standing.kernel.apply([member(timeout_s=3000)])
    found = standing.kernel.observe().members[IP]
    assert found.timeout_s is not None and found.timeout_s > 2990
    assert (found.minor, found.grant) == (0x10, 7)
    assert counters(standing) == (1, 2, 3, 4)


def test_counters_can_be_set_in_place_with_another_grant(standing: Subject) -> None:
    standing.kernel.apply([member(counters=(1, 2, 3, 4))])
    standing.kernel.apply([member(grant=0xFFFF_FFFF, minor=0xFFFE, counters=(5, 6, 7, 8))])
    found = standing.kernel.observe().members[IP]
    assert (found.grant, found.minor) == (0xFFFF_FFFF, 0xFFFE)
    assert counters(standing) == (5, 6, 7, 8)


def test_no_timeout_is_none_and_stays(standing: Subject) -> None:
    standing.kernel.apply([member(timeout_s=None)])
    standing.wait(1.2)
    assert standing.kernel.observe().members[IP].timeout_s is None


def test_a_timeout_ends_membership(standing: Subject) -> None:
    standing.kernel.apply([member(timeout_s=1), member(OTHER_IP, mac=OTHER_MAC, grant=8)])
    assert IP in standing.kernel.observe().members
    standing.wait(2.2)
    assert set(standing.kernel.observe().members) == {OTHER_IP}


def test_a_member_that_lapsed_comes_back_with_its_own_counters_or_zero(standing: Subject) -> None:
    standing.kernel.apply([member(timeout_s=1, counters=(1, 2, 3, 4))])
    standing.wait(2.2)
    standing.kernel.apply([member(counters=(9, 9, 9, 9))])
    assert counters(standing) == (9, 9, 9, 9)
    standing.kernel.apply([member(timeout_s=1)])
    standing.wait(2.2)
    standing.kernel.apply([member()])
    assert counters(standing) == (0, 0, 0, 0)


def test_the_longest_timeout_is_accepted(standing: Subject) -> None:
    standing.kernel.apply([member(timeout_s=2_147_483)])
    assert (standing.kernel.observe().members[IP].timeout_s or 0) > 2_147_000


@pytest.mark.parametrize("lost", list(Direction))
def test_half_a_member_is_not_complete_and_can_be_made_whole(standing: Subject, lost: Direction) -> None:
    standing.kernel.apply([member(counters=(1, 2, 3, 4))])
    standing.lose(IP, lost)
    found = standing.kernel.observe().members[IP]
    assert not found.complete and found.grant == 7
    assert found.mac == (None if lost is Direction.UP else MAC)
    standing.kernel.apply([member(counters=(1, 2, 3, 4))])
    assert standing.kernel.observe().members[IP].complete
    assert counters(standing) == (1, 2, 3, 4)


def test_an_address_moves_to_another_device(standing: Subject) -> None:
    standing.kernel.apply([member(), SetNeighbour(IP, MAC)])
    standing.kernel.apply([DelMember(IP, MAC), member(mac=OTHER_MAC, grant=8, minor=0x11), SetNeighbour(IP, OTHER_MAC)])
    observed = standing.kernel.observe()
    assert (observed.members[IP].mac, observed.members[IP].grant) == (OTHER_MAC, 8)
    assert observed.pinned == {IP: OTHER_MAC}


def test_deleting_what_is_not_there_is_success(standing: Subject) -> None:
    ops: list[Op] = [DelMember(IP, MAC), DelMember(IP6, MAC), DelClass(Direction.UP, 0x10), DelNeighbour(IP)]
    standing.kernel.apply(ops)
    standing.kernel.apply([*classes(), member(), member(IP6), SetNeighbour(IP, MAC)])
    for _ in range(2):
        standing.kernel.apply([*ops, DelClass(Direction.DOWN, 0x10)])
    observed = standing.kernel.observe()
    assert (observed.members, observed.classes, observed.pinned) == ({}, {}, {})


def test_a_refused_operation_names_itself_and_stops_what_follows(standing: Subject) -> None:
    outside = "10.99.0.1"
    features = {f.name: f.present for f in standing.kernel.probe()}
    if features.get("ipset hash:ip,mac"):
        pytest.skip("kernel has hash:ip,mac, which refuses no address")
    with pytest.raises(NetctlError) as caught:
        standing.kernel.apply([*classes(), member(outside), SetNeighbour(IP, MAC)])
    assert caught.value.code == KERNEL and outside in caught.value.message
    observed = standing.kernel.observe()
    assert set(observed.classes) == {(direction, 0x10) for direction in Direction}
    assert observed.pinned == {}


def test_two_hundred_admissions_at_once(standing: Subject) -> None:
    ops: list[Op] = [op for i in range(200) for op in classes(0x10 + i, 64, 1000 + i)]
    people = [(f"10.77.2.{i + 1}", f"02:00:00:00:01:{i:02x}") for i in range(200)]
    ops += [SetMember(ip, mac, 0x10 + i, 1 + i, 600) for i, (ip, mac) in enumerate(people)]
    ops += [SetNeighbour(ip, mac) for ip, mac in people]
    standing.kernel.apply(ops)
    observed = standing.kernel.observe()
    assert len(observed.members) == 200 and len(observed.classes) == 400
    assert observed.pinned == dict(people)
    for i, (ip, mac) in enumerate(people):
        found = observed.members[ip]
        assert (found.mac, found.minor, found.grant, found.complete) == (mac, 0x10 + i, 1 + i, True)
        assert observed.classes[Direction.DOWN, 0x10 + i].ceil_kbit == 1000 + i
    standing.kernel.apply([DelMember(ip, mac) for ip, mac in people])
    assert standing.kernel.observe().members == {}


# --- ports of a bridge ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"isolate": True}], indirect=True)
def test_ports_are_isolated_once_also_later_ones_and_teardown_lets_them_go(standing: Subject) -> None:
    standing.plug("one")
    standing.plug("two")
    assert set(standing.kernel.keep_apart()) == {"one", "two"}
    assert standing.kernel.keep_apart() == ()
    standing.plug("three")
    assert standing.kernel.observe().intact  # a port that comes is no drift
    assert standing.kernel.keep_apart() == ("three",)
    assert standing.isolated() == {"one", "two", "three"}
    assert "port three isolated" in standing.kernel.dump()
    for _ in range(2):
        standing.kernel.teardown()
        assert standing.isolated() == set()


def test_ports_are_left_alone_unless_it_is_asked_for(standing: Subject) -> None:
    standing.plug("one")
    assert standing.kernel.keep_apart() == ()
    assert standing.isolated() == set()


# --- neighbours -------------------------------------------------------------------------------------------------------


def test_whois_knows_devices_that_were_heard_and_pinned(standing: Subject) -> None:
    assert standing.kernel.whois(IP) is None
    standing.hear(IP, MAC)
    standing.hear(IP6, MAC)
    assert standing.kernel.whois(IP) == standing.kernel.whois(IP6) == MAC
    standing.kernel.apply([SetNeighbour(OTHER_IP, OTHER_MAC)])
    assert standing.kernel.whois(OTHER_IP) == OTHER_MAC
    observed = standing.kernel.observe()
    assert observed.neighbours == {IP: MAC, IP6: MAC, OTHER_IP: OTHER_MAC}
    assert observed.pinned == {OTHER_IP: OTHER_MAC}


@pytest.mark.parametrize("nonsense", ["", "10.77.1", "999.1.1.1", "fe80::1%lan0", "x" * 40, "10.77.1.5 "])
def test_whois_of_nonsense_is_nobody(standing: Subject, nonsense: str) -> None:
    assert standing.kernel.whois(nonsense) is None


def test_a_pin_takes_over_a_heard_neighbour_and_lets_go(standing: Subject) -> None:
    standing.hear(IP, MAC)
    standing.kernel.apply([SetNeighbour(IP, OTHER_MAC)])
    assert standing.kernel.observe().pinned == {IP: OTHER_MAC}
    standing.kernel.apply([DelNeighbour(IP)])
    assert standing.kernel.observe().pinned == {}


def test_events_tell_of_neighbours_once(standing: Subject) -> None:
    fd = standing.kernel.neighbour_events()
    assert standing.kernel.neighbour_events() == fd
    standing.kernel.drain_events()
    standing.hear(IP6, MAC)
    assert select.select([fd], [], [], 2)[0]
    assert (IP6, MAC) in standing.kernel.drain_events()
    assert not select.select([fd], [], [], 0)[0]
    assert list(standing.kernel.drain_events()) == []


def test_flushing_connections_never_fails(standing: Subject) -> None:
    standing.kernel.flush_connections([])
    standing.kernel.flush_connections([IP, IP6, "192.0.2.1"])


def test_dump_is_sorted_stable_text_without_counters(standing: Subject) -> None:
    standing.kernel.apply([*classes(), member(), SetNeighbour(IP, MAC)])
    lines = standing.kernel.dump()
    assert list(lines) == sorted(lines)
    standing.kernel.apply([member(timeout_s=900, counters=(5, 5, 5, 5))])
    assert standing.kernel.dump() == lines
    assert any(IP in line and MAC in line for line in lines)
