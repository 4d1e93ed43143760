"""The plan converges, does not depend on order, promises no more than the link, and says itself in stable lines."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netctl.api.types import DesiredState, Grant
from netctl.kernel.base import Observed
from netctl.kernel.fake import FakeKernel
from netctl.model import Model
from netctl.ops import ClassRates, DelClass, DelMember, DelNeighbour, Direction, SetClass, SetMember, SetNeighbour
from netctl.plan import FLOOR_KBIT, MAX_IPV6, MAX_TIMEOUT_S, NO_LIMIT_KBIT, Surroundings, places, plan
from tests.unit.netctl.bench import PREFIX, Clock, config, grant, ipv4, ipv6, mac, state

NOW = 1000.0
PREFIXES = ("10.77.0.0/20", f"{PREFIX}/64")


def around(**changes: Any) -> Surroundings:
    values: dict[str, Any] = {
        "now_boot_s": NOW,
        "observed_boot_s": NOW,
        "link_down_kbit": 20_000,
        "link_up_kbit": 10_000,
        "lan_prefixes": PREFIXES,
    }
    return Surroundings(**{**values, **changes})


def a_kernel() -> FakeKernel:
    kernel = FakeKernel(config(), clock=Clock(NOW))
    kernel.setup()
    return kernel


def lines(desired: DesiredState | None, kernel: FakeKernel, **changes: Any) -> list[str]:
    return [str(op) for op in plan(desired, kernel.observe(), around(**changes))]


def run(desired: DesiredState | None, kernel: FakeKernel, **changes: Any) -> list[str]:
    ops = plan(desired, kernel.observe(), around(**changes))
    kernel.apply(ops)
    return [str(op) for op in ops]


# --- arbitrary states and kernels -------------------------------------------------------------------------------------

numbers = st.integers(1, 12)
kbits = st.none() | st.integers(8, 50_000)


@st.composite
def states(draw: st.DrawFn) -> DesiredState:
    """Few devices and addresses, so that they meet; ids differ from device numbers."""
    macs = draw(st.lists(numbers, unique=True, max_size=8))
    addresses = draw(st.permutations(range(1, 13)))
    grants = [
        grant(
            draw(st.integers(0, 3)) * 100 + number,
            mac=mac(number),
            ipv4=draw(st.sampled_from((None, ipv4(addresses[place])))),
            down_kbit=draw(kbits),
            up_kbit=draw(kbits),
            guaranteed_kbit=draw(st.integers(8, 20_000)),
            priority=draw(st.integers(0, 7)),
            burst_kbytes=draw(st.none() | st.integers(1, 100_000)),
            deadline_boot_s=draw(st.none() | st.sampled_from((NOW - 5, NOW, NOW + 1, NOW + 60, NOW + 5e6))),
        )
        for place, number in enumerate(macs)
    ]
    return state(*grants)


@st.composite
def kernels(draw: st.DrawFn) -> FakeKernel:
    """A kernel after any earlier state, and after somebody else's meddling."""
    kernel = a_kernel()
    kernel.ip_mac_hash = draw(st.booleans())
    for number, which in draw(st.lists(st.tuples(numbers, st.integers(1, 3)), max_size=20)):
        kernel.hear(ipv6(number, which), mac(draw(st.sampled_from((number, 1)))))
    run(draw(states()), kernel)
    members = sorted(kernel.observe().members)
    for ip in draw(st.lists(st.sampled_from(members), unique=True)) if members else ():
        kernel.lose(ip, *draw(st.sampled_from(((), (Direction.UP,), (Direction.DOWN,)))))
    for key in draw(st.lists(st.sampled_from(sorted(kernel.classes, key=str)), unique=True)) if kernel.classes else ():
        del kernel.classes[key]
    stray = draw(st.lists(st.tuples(numbers, numbers, st.integers(0x8, 0x14), st.integers(1, 400)), max_size=4))
    for number, device, minor, grant_id in stray:
        ip = draw(st.sampled_from((ipv4(number), ipv6(device, number))))
        kernel.apply([SetMember(ip, mac(device), minor, grant_id, None)])
    return kernel


@given(kernels(), states())
@settings(max_examples=300)
def test_what_was_planned_and_done_leaves_nothing_to_do(kernel: FakeKernel, desired: DesiredState) -> None:
    run(desired, kernel)
    assert lines(desired, kernel) == []


@given(kernels(), states(), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_order_of_grants_and_of_the_kernels_answers_changes_nothing(
    kernel: FakeKernel, desired: DesiredState, shuffle: random.Random
) -> None:
    def shuffled(mapping: Any) -> Any:
        items = list(mapping.items())
        shuffle.shuffle(items)
        return dict(items)

    seen = kernel.observe()
    other = Observed(*map(shuffled, (seen.members, seen.classes, seen.neighbours, seen.pinned)))
    grants = list(desired.grants)
    shuffle.shuffle(grants)
    assert plan(state(*grants), other, around()) == plan(desired, seen, around())


@given(kernels(), states())
@settings(max_examples=200)
def test_afterwards_the_kernel_holds_the_live_grants_and_nobody_else(kernel: FakeKernel, desired: DesiredState) -> None:
    run(desired, kernel)
    found = kernel.observe()
    live = {g.mac: g for g in desired.grants if g.deadline_boot_s is None or g.deadline_boot_s > NOW}
    for g in live.values():
        assert g.ipv4 is None or found.members[g.ipv4].mac == g.mac
    minors: dict[int, str] = {}
    for member in found.members.values():
        mac_found = found.pinned[member.ip]
        assert member.mac == mac_found or (member.mac is None and not kernel.ip_mac_hash)
        assert mac_found in live
        assert member.complete
        assert member.grant == live[mac_found].id
        assert minors.setdefault(member.minor, mac_found) == mac_found, "one class for two devices"
        assert (Direction.UP, member.minor) in found.classes
        assert (Direction.DOWN, member.minor) in found.classes
    assert {minor for _, minor in found.classes} == set(minors)
    assert set(found.pinned) == set(found.members)
    assert len(set(minors.values())) == len(minors), "two classes for one device"


@given(kernels(), states(), states(), st.data())
@settings(max_examples=200)
def test_planning_only_the_changed_devices_ends_in_the_same_place(
    kernel: FakeKernel, before: DesiredState, new: DesiredState, data: st.DataObject
) -> None:
    stay = [g for g in before.grants if data.draw(st.booleans())]
    had = {value for g in stay for value in (g.id, g.mac, g.ipv4)} - {None}
    after = state(*stay, *(g for g in new.grants if had.isdisjoint((g.id, g.mac, g.ipv4))))

    def live(desired: DesiredState) -> list[Grant]:
        return [g for g in desired.grants if g.deadline_boot_s is None or g.deadline_boot_s > NOW]

    run(before, kernel)
    old, now = {g.id: g for g in before.grants}, {g.id: g for g in after.grants}
    changed = {g.mac for g in after.grants if old.get(g.id) != g} | {g.mac for g in before.grants if now.get(g.id) != g}
    if places(len(live(before))) != places(len(live(after))):
        return  # the engine then plans for all
    model = Model.of(kernel.observe(), NOW, {g.id: g.mac for g in before.grants})
    part = state(*(g for g in after.grants if g.mac in changed))
    some = replace(around(), sharers=len(live(after)), taken=model.minors_except(changed))
    ops = plan(part, model.part(changed), some)
    kernel.apply(ops)
    model.record(ops, NOW)
    assert lines(after, kernel) == []
    found = kernel.observe()
    assert set(model.members) == set(found.members)
    for ip, member in found.members.items():
        assert replace(model.members[ip], mac=member.mac) == member
    assert model.classes == found.classes
    assert model.pinned == found.pinned


@given(st.lists(st.tuples(st.integers(8, 10**8), kbits), min_size=1, max_size=300), st.integers(8_000, 10**7))
@settings(max_examples=200)
def test_guarantees_never_exceed_the_link_or_the_ceil(wishes: list[tuple[int, int | None]], link: int) -> None:
    grants = [
        grant(n + 1, guaranteed_kbit=wish, down_kbit=limit, up_kbit=limit) for n, (wish, limit) in enumerate(wishes)
    ]
    kernel = a_kernel()
    run(state(*grants), kernel, link_down_kbit=link, link_up_kbit=link)
    for direction in Direction:
        rates = [r for (d, _), r in kernel.classes.items() if d is direction]
        assert len(rates) == len(grants)
        assert all(FLOOR_KBIT <= r.guaranteed_kbit <= r.ceil_kbit <= link for r in rates)
        assert sum(r.guaranteed_kbit for r in rates) <= link


# --- examples ---------------------------------------------------------------------------------------------------------


def test_lines_of_a_login_and_of_its_end() -> None:
    kernel = a_kernel()
    kernel.hear(ipv6(1), mac(1))
    assert run(state(grant(1, deadline_boot_s=NOW + 60)), kernel) == [
        "set class down 0x10 rate 64 ceil 5000 kbit prio 1",
        "set class up 0x10 rate 64 ceil 2000 kbit prio 1",
        "set member 10.77.1.2 02:00:00:00:00:01 class 0x10 grant 1 timeout 61 s",
        "set member fd00:77::1:1 02:00:00:00:00:01 class 0x10 grant 1 timeout 61 s",
        "set neighbour 10.77.1.2 02:00:00:00:00:01",
        "set neighbour fd00:77::1:1 02:00:00:00:00:01",
    ]
    assert run(state(), kernel) == [
        "del member 10.77.1.2 02:00:00:00:00:01",
        "del member fd00:77::1:1 02:00:00:00:00:01",
        "del neighbour 10.77.1.2",
        "del neighbour fd00:77::1:1",
        "del class down 0x10",
        "del class up 0x10",
    ]


def test_without_a_desired_state_nobody_is_cut_off() -> None:
    kernel = a_kernel()
    run(state(grant(1)), kernel)
    assert lines(None, kernel) == []


def test_one_user_more_leaves_everybody_elses_class_alone() -> None:
    kernel = a_kernel()
    users = [grant(n, guaranteed_kbit=8000) for n in range(1, 7)]
    run(state(*users[:5]), kernel)
    assert kernel.classes[Direction.DOWN, 0x10].guaranteed_kbit == int(20_000 * 0.8 / 8)
    assert [line for line in run(state(*users), kernel) if "class" in line.split()[1]] == [
        "set class down 0x15 rate 2000 ceil 5000 kbit prio 1",
        "set class up 0x15 rate 1000 ceil 2000 kbit prio 1",
    ]


def test_priority_and_burst_are_of_both_directions_and_change_in_place() -> None:
    kernel = a_kernel()
    run(state(grant(1)), kernel)
    assert run(state(grant(1, priority=2, burst_kbytes=300)), kernel) == [
        "set class down 0x10 rate 64 ceil 5000 kbit burst 300 kB prio 2",
        "set class up 0x10 rate 64 ceil 2000 kbit burst 300 kB prio 2",
    ]
    assert lines(state(grant(1, priority=2, burst_kbytes=300)), kernel) == []


def test_a_burst_is_no_more_than_what_the_plan_carries_in_a_minute() -> None:
    kernel = a_kernel()
    run(state(grant(1, down_kbit=8, up_kbit=800, burst_kbytes=5000)), kernel)
    assert kernel.classes[Direction.DOWN, 0x10].burst_kbytes == 60
    assert kernel.classes[Direction.UP, 0x10].burst_kbytes == 5000


def test_no_limit_is_the_link_or_where_that_is_unknown_the_fastest_card() -> None:
    kernel = a_kernel()
    run(state(grant(1, down_kbit=None, up_kbit=None)), kernel, link_up_kbit=None)
    assert kernel.classes[Direction.DOWN, 0x10].ceil_kbit == 20_000
    assert kernel.classes[Direction.UP, 0x10].ceil_kbit == NO_LIMIT_KBIT


def test_a_device_keeps_its_class_and_a_new_one_takes_the_lowest_free() -> None:
    kernel = a_kernel()
    run(state(grant(1), grant(2), grant(3)), kernel)
    run(state(grant(2), grant(3)), kernel)
    run(state(grant(2), grant(3), grant(9)), kernel)
    minors = {m.mac: m.minor for m in kernel.observe().members.values()}
    assert minors == {mac(2): 0x11, mac(3): 0x12, mac(9): 0x10}


def test_a_new_grant_for_the_same_device_counts_from_zero_without_a_closed_moment() -> None:
    kernel = a_kernel()
    run(state(grant(1)), kernel)
    kernel.count(ipv4(1), up_bytes=10, down_bytes=20)
    assert run(state(grant(2, mac=mac(1), ipv4=ipv4(1))), kernel) == [
        "set class down 0x11 rate 64 ceil 5000 kbit prio 1",
        "set class up 0x11 rate 64 ceil 2000 kbit prio 1",
        "set member 10.77.1.2 02:00:00:00:00:01 class 0x11 grant 2 no timeout",
        "del class down 0x10",
        "del class up 0x10",
    ]
    member = kernel.observe().members[ipv4(1)]
    assert (member.grant, member.up_bytes, member.down_bytes) == (2, 0, 0)


def test_an_address_that_moves_to_another_device_leaves_the_first_before() -> None:
    kernel = a_kernel()
    run(state(grant(1)), kernel)
    kernel.count(ipv4(1), up_bytes=10)
    moved = run(state(grant(2, ipv4=ipv4(1))), kernel)
    assert moved.index("del member 10.77.1.2 02:00:00:00:00:01") == 0
    member = kernel.observe().members[ipv4(1)]
    assert (member.mac, member.up_bytes) == (mac(2), 0)
    assert kernel.pinned[ipv4(1)] == mac(2)


def test_a_lost_member_goes_on_counting_where_it_left_off() -> None:
    kernel = a_kernel()
    run(state(grant(1)), kernel)
    kernel.lose(ipv4(1))
    run(state(grant(1)), kernel, retired={(1, ipv4(1)): (5, 6, 7, 8)})
    member = kernel.observe().members[ipv4(1)]
    assert (member.up_bytes, member.down_bytes, member.up_packets, member.down_packets) == (5, 6, 7, 8)


@pytest.mark.parametrize("lost", list(Direction))
def test_half_a_member_is_mended_and_loses_no_byte_of_either_half(lost: Direction) -> None:
    kernel = a_kernel()
    run(state(grant(1)), kernel)
    kernel.count(ipv4(1), up_bytes=100, down_bytes=200)
    kernel.lose(ipv4(1), lost)
    kernel.count(ipv4(1), **{"up_bytes" if lost is Direction.DOWN else "down_bytes": 5})
    run(state(grant(1)), kernel, retired={(1, ipv4(1)): (100, 200, 1, 1)})
    member = kernel.observe().members[ipv4(1)]
    assert member.complete
    assert (member.up_bytes, member.down_bytes) == ((105, 200) if lost is Direction.DOWN else (100, 205))


@pytest.mark.parametrize("passed", [0.0, 0.5, 30.0])
def test_passing_time_does_not_set_a_timeout_again(passed: float) -> None:
    clock = Clock(NOW)
    kernel = FakeKernel(config(), clock=clock)
    kernel.setup()
    desired = state(grant(1, deadline_boot_s=NOW + 60))
    run(desired, kernel)
    old = kernel.observe()
    clock.now += passed
    assert plan(desired, old, around(now_boot_s=clock.now)) == []
    assert plan(desired, kernel.observe(), around(now_boot_s=clock.now, observed_boot_s=clock.now)) == []


@pytest.mark.parametrize(("moved", "again"), [(3.0, False), (-2.0, False), (3.5, True), (-4.5, True)])
def test_a_deadline_that_moves_is_set_again_beyond_three_seconds(moved: float, again: bool) -> None:
    kernel = a_kernel()
    run(state(grant(1, deadline_boot_s=NOW + 60)), kernel)
    assert bool(lines(state(grant(1, deadline_boot_s=NOW + 60 + moved)), kernel)) is again


def test_a_timeout_is_never_zero_nor_above_what_the_kernel_takes() -> None:
    observed = Observed()
    for left, expected in ((0.0001, 2), (1, 2), (1.5, 3), (5e6, MAX_TIMEOUT_S), (1e300, MAX_TIMEOUT_S)):
        ops = plan(state(grant(1, deadline_boot_s=NOW + left)), observed, around())
        assert [op.timeout_s for op in ops if isinstance(op, SetMember)] == [expected]


def test_a_deadline_beyond_the_kernels_range_is_renewed_only_at_its_half() -> None:
    kernel = a_kernel()
    desired = state(grant(1, deadline_boot_s=NOW + 1e8))
    run(desired, kernel)
    observed = kernel.observe()
    assert plan(desired, observed, around(now_boot_s=NOW + 1e6)) == []
    renewed = plan(desired, observed, around(now_boot_s=NOW + 1.2e6))
    assert [str(op) for op in renewed] == [f"set member {ipv4(1)} {mac(1)} class 0x10 grant 1 timeout 2147483 s"]


def test_a_grant_past_its_deadline_is_not_admitted() -> None:
    assert plan(state(grant(1, deadline_boot_s=NOW)), Observed(), around()) == []


@pytest.mark.parametrize("address", ["fe80::1", "ff02::1", "2001:db8::1", "10.77.1.9"])
def test_only_ipv6_addresses_of_the_lan_are_learned(address: str) -> None:
    kernel = a_kernel()
    kernel.hear(address, mac(1))
    run(state(grant(1)), kernel, lan_prefixes=(*PREFIXES, "fe80::/64", "ff02::/64"))
    assert list(kernel.observe().members) == [ipv4(1)]


def test_an_ipv6_member_stays_when_its_neighbour_entry_is_gone_and_leaves_with_its_prefix() -> None:
    kernel = a_kernel()
    kernel.hear(ipv6(1), mac(1))
    run(state(grant(1)), kernel)
    kernel.pinned.pop(ipv6(1))
    assert run(state(grant(1)), kernel) == [f"set neighbour {ipv6(1)} {mac(1)}"]
    gone = lines(state(grant(1)), kernel, lan_prefixes=("10.77.0.0/20", "fd00:88::/64"))
    assert gone == [f"del member {ipv6(1)} {mac(1)}", f"del neighbour {ipv6(1)}"]


def test_half_an_ipv6_member_without_mac_and_neighbour_is_known_by_its_grant() -> None:
    kernel = a_kernel()
    kernel.hear(ipv6(1), mac(1))
    run(state(grant(1)), kernel)
    kernel.lose(ipv6(1), Direction.UP)
    kernel.pinned.pop(ipv6(1))
    run(state(grant(1)), kernel)
    member = kernel.observe().members[ipv6(1)]
    assert (member.mac, member.complete) == (mac(1), True)


def test_members_of_one_device_end_in_one_class() -> None:
    kernel = a_kernel()
    run(state(grant(1)), kernel)
    kernel.apply([SetMember(ipv6(1), mac(1), 0x77, 1, None)])
    assert f"set member {ipv6(1)} {mac(1)} class 0x10 grant 1 no timeout" in run(state(grant(1)), kernel)
    assert {m.minor for m in kernel.observe().members.values()} == {0x10}


def test_devices_that_share_a_class_are_parted() -> None:
    kernel = a_kernel()
    run(state(grant(1), grant(2)), kernel)
    kernel.apply([SetMember(ipv4(2), mac(2), 0x10, 2, None)])
    run(state(grant(1), grant(2)), kernel)
    assert sorted(m.minor for m in kernel.observe().members.values()) == [0x10, 0x12]


def test_nobody_takes_over_an_address_that_another_device_holds() -> None:
    kernel = a_kernel()
    kernel.hear(ipv6(1), mac(1))
    run(state(grant(1), grant(2)), kernel)
    observed = kernel.observe()
    stolen = replace(observed, neighbours={**observed.neighbours, ipv6(1): mac(2)}, pinned={})
    ops = plan(state(grant(1), grant(2)), stolen, around())
    assert not [op for op in ops if isinstance(op, DelMember | SetMember)]
    assert SetNeighbour(ipv6(1), mac(1)) in ops


def test_of_many_ipv6_addresses_the_most_lately_seen_are_kept_and_it_settles() -> None:
    kernel = a_kernel()
    seen = {}
    for which in range(1, MAX_IPV6 + 5):
        kernel.hear(ipv6(1, which), mac(1))
        seen[ipv6(1, which)] = float(which)
    run(state(grant(1)), kernel, seen=seen)
    admitted = {ip for ip in kernel.observe().members if ":" in ip}
    assert admitted == {ipv6(1, which) for which in range(5, MAX_IPV6 + 5)}
    assert lines(state(grant(1)), kernel, seen=seen) == []
    assert lines(state(grant(1)), kernel) == [], "after a restart, without memory, those that are in stay in"
    kernel.hear(ipv6(1, 99), mac(1))
    seen[ipv6(1, 99)] = 99.0
    assert f"del member {ipv6(1, 5)} {mac(1)}" in run(state(grant(1)), kernel, seen=seen)
    assert lines(state(grant(1)), kernel, seen=seen) == []


def test_the_part_of_some_devices_leaves_out_what_others_hold() -> None:
    kernel = a_kernel()
    kernel.hear(ipv6(1), mac(1))
    run(state(grant(1), grant(2)), kernel)
    model = Model.of(kernel.observe(), NOW, {})
    model.neighbours[ipv6(1)] = mac(2)
    part = model.part({mac(2)})
    assert (set(part.members), set(part.neighbours), set(part.pinned)) == ({ipv4(2)},) * 3
    assert {minor for _, minor in part.classes} == {0x11}
    assert model.minors_except({mac(2)}) == {0x10}


def test_a_grant_without_any_address_has_no_class() -> None:
    kernel = a_kernel()
    assert run(state(grant(1, ipv4=None)), kernel) == []
    kernel.hear(ipv6(1), mac(1))
    assert [type(op) for op in plan(state(grant(1, ipv4=None)), kernel.observe(), around())] == [
        SetClass, SetClass, SetMember, SetNeighbour,
    ]  # fmt: skip


def test_strays_of_nobody_are_swept() -> None:
    kernel = a_kernel()
    kernel.apply([SetMember(ipv4(9), mac(9), 0x99, 9, None), SetClass(Direction.UP, 0x99, ClassRates(8, 8))])
    kernel.apply([SetNeighbour(ipv4(9), mac(9))])
    assert plan(state(), kernel.observe(), around()) == [
        DelMember(ipv4(9), mac(9)),
        DelNeighbour(ipv4(9)),
        DelClass(Direction.UP, 0x99),
    ]
