"""The engine accepts whole states, survives restarts and refusals, loses no byte, and tells drift from time passing."""

from __future__ import annotations

import logging
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netctl.api.errors import BAD_REQUEST, KERNEL, REFUSED, UNSUPPORTED, NetctlError
from netctl.api.types import Feature, Link
from netctl.engine import Engine
from netctl.kernel.base import Member
from netctl.kernel.fake import FakeKernel
from netctl.ledger import KEPT_S, MAX_KEPT, Ledger
from netctl.ops import Direction, SetClass, SetMember
from netctl.plan import MAX_IPV6
from tests.unit.netctl.bench import BOOT, EPOCH, Clock, Gateway, config, grant, ipv4, ipv6, mac, state

# --- what is accepted -------------------------------------------------------------------------------------------------


def test_a_push_admits_and_the_next_without_the_grant_closes(gateway: Gateway) -> None:
    assert gateway.push(grant(1)) == 4
    assert gateway.members() == {ipv4(1): mac(1)}
    gateway.push()
    assert gateway.members() == {}
    assert gateway.kernel.classes == {}
    assert gateway.kernel.pinned == {}
    assert gateway.kernel.flushed == [ipv4(1)]


@pytest.mark.parametrize(
    ("grants", "words"),
    [
        ((grant(7, ipv4="10.78.0.9"),), "Grant 7 has 10.78.0.9, which is outside the LAN 10.77.0.0/20."),
        ((grant(7, ipv4="10.77.0.1"),), "Grant 7 has 10.77.0.1, which is the gateway's own address."),
        ((grant(7, ipv4="10.77.0.0"),), "Grant 7 has 10.77.0.0, which is the LAN's network or broadcast address."),
        (
            (grant(7, ipv4="10.77.15.255"),),
            "Grant 7 has 10.77.15.255, which is the LAN's network or broadcast address.",
        ),
        ((grant(7, ipv4="10.77.1.256"),), "Grant 7 has 10.77.1.256, which is no IPv4 address."),
        ((grant(7, ipv4="010.77.1.2"),), "Grant 7 has 010.77.1.2, which is no IPv4 address."),
        ((grant(7, mac="01:00:5e:00:00:01"),), "Grant 7 is for 01:00:5e:00:00:01, which is a multicast address"),
        ((grant(7, mac="ff:ff:ff:ff:ff:ff"),), "Grant 7 is for ff:ff:ff:ff:ff:ff, which is a multicast address"),
        ((grant(7, mac="00:00:00:00:00:00"),), "Grant 7 is for 00:00:00:00:00:00, which is no device."),
        ((grant(7), grant(7, mac=mac(8), ipv4=ipv4(8))), "Two grants have the id 7."),
        ((grant(7), grant(8, mac=mac(7))), f"Grants 7 and 8 are for the same device {mac(7)}."),
        ((grant(7), grant(8, ipv4=ipv4(7))), f"Grants 7 and 8 have the same address {ipv4(7)}."),
    ],
)
def test_a_contradiction_refuses_the_whole_push_and_names_the_grant(
    gateway: Gateway, grants: tuple[Any, ...], words: str
) -> None:
    gateway.push(grant(1))
    before = (gateway.kernel.dump(), Path(gateway.config.state_path).read_bytes())
    with pytest.raises(NetctlError) as refusal:
        gateway.push(grant(1), grant(2), *grants)
    assert refusal.value.code == REFUSED
    assert refusal.value.message.startswith(words)
    assert (gateway.kernel.dump(), Path(gateway.config.state_path).read_bytes()) == before
    assert gateway.engine.status().generation == 1


def test_a_mistake_in_a_grant_is_found_again_although_it_was_pushed_before(gateway: Gateway) -> None:
    for _ in range(2):
        with pytest.raises(NetctlError):
            gateway.push(grant(7, ipv4="10.77.0.1"))


def test_an_older_generation_is_answered_with_the_newer_one_and_undoes_nothing(gateway: Gateway) -> None:
    gateway.engine.apply(state(grant(1), grant(2), generation=9))
    calls = len(gateway.kernel.calls)
    applied = gateway.engine.apply(state(grant(1), generation=8))
    assert (applied.generation, applied.ops) == (9, 0)
    assert len(gateway.kernel.calls) == calls
    assert set(gateway.members()) == {ipv4(1), ipv4(2)}


def test_the_same_push_again_asks_nothing_of_the_kernel(gateway: Gateway) -> None:
    gateway.engine.apply(state(grant(1), generation=3))
    calls = len(gateway.kernel.calls)
    assert gateway.engine.apply(state(grant(1), generation=3)).ops == 0
    assert len(gateway.kernel.calls) == calls


def test_timeouts_written_between_two_ticks_are_not_written_again(gateway: Gateway) -> None:
    gateway.pass_time(4.9)
    first = grant(1, deadline_boot_s=1100.0, guaranteed_kbit=8)
    gateway.push(first)
    gateway.kernel.done.clear()
    gateway.push(first, grant(2, guaranteed_kbit=8))
    gateway.push(first, grant(2, guaranteed_kbit=8), grant(3, guaranteed_kbit=8))
    assert {op.ip for op in gateway.kernel.done if isinstance(op, SetMember)} == {ipv4(2), ipv4(3)}


def test_devices_that_log_in_one_after_the_other_have_a_class_each(gateway: Gateway) -> None:
    users = [grant(n) for n in range(1, 8)]
    for online in range(1, 8):
        gateway.push(*users[:online])
    gateway.push(*users[3:])
    gateway.push(*users[3:], users[0])
    members = gateway.kernel.observe().members.values()
    assert len({m.minor for m in members}) == len(members) == 5


def test_another_epoch_counts_its_own_generations(gateway: Gateway) -> None:
    gateway.engine.apply(state(grant(1), generation=900))
    assert gateway.engine.apply(state(grant(2), generation=1, epoch="restored-database")).generation == 1
    assert set(gateway.members()) == {ipv4(2)}


def test_a_login_with_many_online_reads_nothing_back_and_sets_only_its_own(gateway: Gateway) -> None:
    users = [grant(n) for n in range(1, 60)]
    gateway.push(*users)
    gateway.kernel.calls.clear()
    gateway.kernel.done.clear()
    gateway.push(*users, grant(60))
    assert gateway.kernel.calls == ["apply"]
    assert len(gateway.kernel.done) == 4


def test_everybodys_share_changes_with_the_push_that_crosses_a_power_of_two(gateway: Gateway) -> None:
    users = [grant(n, guaranteed_kbit=4000) for n in range(1, 6)]
    for online in (4, 5, 4):
        gateway.push(*users[:online])
        rates = {r.guaranteed_kbit for (d, _), r in gateway.kernel.classes.items() if d is Direction.DOWN}
        assert rates == {20_000 * 4 // 5 // (4 if online == 4 else 8)}


def test_plan_says_what_apply_then_does_and_does_nothing_itself(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.done.clear()
    wanted = state(grant(2), generation=2)
    said = gateway.engine.plan(wanted)
    assert gateway.kernel.done == []
    assert gateway.engine.status().generation == 1
    gateway.engine.apply(wanted)
    assert tuple(str(op) for op in gateway.kernel.done) == said


# --- the link's rates -------------------------------------------------------------------------------------------------


def test_the_link_is_shaped_told_and_as_configured_again_after_none_and_after_a_restart(gateway: Gateway) -> None:
    gateway.kernel.link_passed = (123, 45)
    assert gateway.engine.link() == Link(down_kbit=20_000, up_kbit=10_000, down_bytes=123, up_bytes=45)
    told = gateway.engine.shape_link(8_000, None)
    assert (told.down_kbit, told.up_kbit, gateway.kernel.link) == (8_000, 10_000, (8_000, 10_000))
    assert (gateway.engine.status().link_down_kbit, gateway.engine.status().link_up_kbit) == (8_000, 10_000)
    gateway.engine.shape_link(None, None)
    assert gateway.kernel.link == (20_000, 10_000)
    gateway.engine.shape_link(8_000, 3_000)
    assert gateway.restart().link().down_kbit == 20_000


def test_a_restart_while_the_link_was_shaped_is_no_drift(gateway: Gateway) -> None:
    gateway.push(grant(1, down_kbit=None), grant(2))
    gateway.engine.shape_link(8_000, None)
    assert gateway.restart().status().drift_total == 0
    assert gateway.kernel.classes[Direction.DOWN, 0x10].ceil_kbit == 20_000


def test_a_link_shaped_as_it_is_costs_the_kernel_one_question(gateway: Gateway) -> None:
    gateway.push(*[grant(n) for n in range(1, 60)])
    gateway.kernel.calls.clear()
    gateway.engine.shape_link(None, 10_000)
    gateway.engine.link()
    assert gateway.kernel.calls == ["link_bytes"] * 2


def test_another_rate_of_the_link_touches_only_the_classes_that_depend_on_it(gateway: Gateway) -> None:
    gateway.push(grant(1), grant(2, down_kbit=None), grant(3, guaranteed_kbit=2000, up_kbit=1000))
    gateway.kernel.done.clear()
    gateway.engine.shape_link(8_000, 9_000)
    assert [str(op) for op in gateway.kernel.done] == [
        "set class down 0x11 rate 64 ceil 8000 kbit prio 1",
        "set class down 0x12 rate 1600 ceil 5000 kbit prio 1",
    ]
    gateway.kernel.done.clear()
    gateway.engine.shape_link(7_900, 8_000)
    assert {op.minor for op in gateway.kernel.done if isinstance(op, SetClass)} == {0x11, 0x12}
    gateway.pass_time(5)
    assert gateway.engine.status().drift_total == 0
    gateway.push(grant(1), grant(4, down_kbit=None, up_kbit=None))
    assert {minor for _, minor in gateway.kernel.classes} == {0x10, 0x13}
    assert gateway.kernel.classes[Direction.DOWN, 0x13].ceil_kbit == 7_900
    assert gateway.kernel.classes[Direction.UP, 0x13].ceil_kbit == 8_000


@given(
    wishes=st.lists(st.tuples(st.none() | st.integers(8, 50_000), st.integers(8, 5000)), min_size=1, max_size=9),
    links=st.lists(st.tuples(st.none() | st.integers(8, 90_000), st.none() | st.integers(8, 90_000)), max_size=4),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_the_link_goes_all_classes_are_as_if_it_had_always_been_so(
    tmp_path: Path, wishes: list[tuple[int | None, int]], links: list[tuple[int | None, int | None]]
) -> None:
    gateway = Gateway(tmp_path)
    grants = [grant(n, down_kbit=k, up_kbit=k, guaranteed_kbit=g) for n, (k, g) in enumerate(wishes, 1)]
    gateway.push(*grants)
    for down, up in links:
        gateway.engine.shape_link(down, up)
    always = Gateway(tmp_path, link_down_kbit=gateway.kernel.link[0], link_up_kbit=gateway.kernel.link[1])
    always.push(*grants)
    assert gateway.kernel.classes == always.kernel.classes
    Path(gateway.config.state_path).unlink()


def test_a_link_that_the_kernel_does_not_shape_is_said_and_tried_again_by_the_tick(gateway: Gateway) -> None:
    gateway.kernel.standing = False
    with pytest.raises(NetctlError) as refusal:
        gateway.engine.shape_link(8_000, 3_000)
    assert refusal.value.code == KERNEL
    gateway.pass_time(5)
    assert gateway.kernel.standing and gateway.kernel.link == (8_000, 3_000)
    assert gateway.engine.link().down_kbit == 8_000


# --- ports of a LAN bridge --------------------------------------------------------------------------------------------


def test_ports_are_isolated_at_the_start_and_later_ones_at_the_next_tick_without_drift(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, isolate=True)
    gateway.kernel.ports["radio"] = False
    gateway.pass_time(5)
    assert gateway.kernel.ports == {"radio": True}
    assert (gateway.engine.status().drift_total, gateway.engine.status().problem) == (0, None)


def test_ports_that_cannot_be_isolated_are_said_and_hold_nothing_up(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: FakeKernel) -> tuple[str, ...]:
        raise NetctlError(KERNEL, "the kernel refused to isolate the ports of its bridge: not supported")

    with monkeypatch.context() as patch:
        patch.setattr(FakeKernel, "keep_apart", refuse)
        gateway.pass_time(5)
        gateway.push(grant(1))
        assert "Devices on the LAN may reach each other" in (gateway.engine.status().problem or "")
    assert gateway.members() == {ipv4(1): mac(1)}
    gateway.pass_time(5)
    assert gateway.engine.status().problem is None


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_grant_ends_at_its_deadline_and_its_last_bytes_are_kept(gateway: Gateway) -> None:
    gateway.push(grant(1, deadline_boot_s=1007.3))
    gateway.pass_time(7.2)
    assert gateway.members() == {ipv4(1): mac(1)}
    gateway.kernel.count(ipv4(1), up_bytes=11, down_bytes=22)
    gateway.pass_time(0.2)
    assert gateway.members() == {}
    assert gateway.bytes_of(1) == (11, 22)
    assert gateway.engine.status().drift_total == 0


def test_without_a_daemon_the_kernel_ends_it_at_most_two_seconds_later(gateway: Gateway) -> None:
    gateway.push(grant(1, deadline_boot_s=1007.3))
    gateway.clock.now = 1007.2
    assert gateway.members() == {ipv4(1): mac(1)}
    gateway.clock.now = 1009.3
    assert gateway.members() == {}


def test_time_passing_is_no_drift(gateway: Gateway) -> None:
    gateway.push(*(grant(n, deadline_boot_s=1000.0 + 37 * n) for n in range(1, 40)), grant(50))
    gateway.pass_time(3000)
    assert set(gateway.members()) == {ipv4(50)}
    assert gateway.engine.status().drift_total == 0


def test_members_that_the_kernel_ended_while_the_daemon_was_late_are_no_drift(gateway: Gateway) -> None:
    gateway.push(grant(1, deadline_boot_s=1030.0), grant(2))
    gateway.pass_time(10)
    gateway.kernel.count(ipv4(1), up_bytes=5)
    gateway.engine.tick()
    gateway.clock.now += 60
    gateway.engine.due()
    assert gateway.engine.status().drift_total == 0
    assert (Direction.UP, 0x10) not in gateway.kernel.classes
    assert gateway.bytes_of(1) == (5, 0)


@given(st.lists(st.floats(0.01, 300), min_size=1, max_size=12), st.lists(st.floats(0.01, 40), min_size=1, max_size=12))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_at_any_moment_those_are_in_whose_deadline_is_ahead(
    tmp_path: Path, deadlines: list[float], steps: list[float]
) -> None:
    gateway = Gateway(tmp_path)
    gateway.restart(boot_id=f"boot-{os.urandom(4).hex()}")
    grants = [grant(n + 1, deadline_boot_s=1000.0 + after) for n, after in enumerate(deadlines)]
    gateway.push(*grants)
    for step in steps:
        gateway.pass_time(step)
        ahead = {g.ipv4 for g in grants if g.deadline_boot_s is not None and g.deadline_boot_s > gateway.clock.now}
        assert set(gateway.members()) == ahead
    assert gateway.engine.status().drift_total == 0


# --- drift ------------------------------------------------------------------------------------------------------------


def meddle_member(kernel: FakeKernel) -> None:
    kernel.lose(ipv4(1))


def meddle_half(kernel: FakeKernel) -> None:
    kernel.lose(ipv4(1), Direction.DOWN)


def meddle_class(kernel: FakeKernel) -> None:
    del kernel.classes[Direction.UP, 0x10]


def meddle_priority(kernel: FakeKernel) -> None:
    kernel.classes[Direction.UP, 0x10] = replace(kernel.classes[Direction.UP, 0x10], priority=0)


def meddle_burst(kernel: FakeKernel) -> None:
    kernel.classes[Direction.UP, 0x10] = replace(kernel.classes[Direction.UP, 0x10], burst_kbytes=9999)


def meddle_pin(kernel: FakeKernel) -> None:
    del kernel.pinned[ipv4(1)]


def meddle_stranger(kernel: FakeKernel) -> None:
    kernel.apply([SetMember(ipv4(9), mac(9), 0x10, 9, None)])


def meddle_rules(kernel: FakeKernel) -> None:
    kernel.standing = False


@pytest.mark.parametrize(
    "meddle",
    [
        meddle_member,
        meddle_half,
        meddle_class,
        meddle_priority,
        meddle_burst,
        meddle_pin,
        meddle_stranger,
        meddle_rules,
    ],
)
def test_what_somebody_else_changed_is_counted_once_and_mended(gateway: Gateway, meddle: Any) -> None:
    gateway.push(grant(1), grant(2))
    right = gateway.kernel.dump()
    meddle(gateway.kernel)
    gateway.pass_time(5)
    assert (gateway.engine.status().drift, gateway.engine.status().drift_total) == (1, 1)
    assert gateway.kernel.dump() == right
    gateway.pass_time(5)
    assert (gateway.engine.status().drift, gateway.engine.status().drift_total) == (0, 1)


def test_drift_is_counted_although_usage_was_read_or_somebody_logged_out_before_the_tick(gateway: Gateway) -> None:
    gateway.push(grant(1), grant(2))
    gateway.kernel.lose(ipv4(1))
    gateway.engine.usage(None)
    gateway.push(grant(1))
    gateway.pass_time(5)
    assert gateway.engine.status().drift_total == 1
    assert gateway.members() == {ipv4(1): mac(1)}


# --- counters ---------------------------------------------------------------------------------------------------------


def test_counters_survive_logout_for_ten_minutes(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.count(ipv4(1), up_bytes=3, down_bytes=4)
    gateway.push()
    assert gateway.bytes_of(1) == (3, 4)
    gateway.pass_time(KEPT_S - 10)
    assert gateway.bytes_of(1) == (3, 4)
    gateway.pass_time(20)
    assert gateway.bytes_of(1) is None


def test_last_bytes_of_a_logout_survive_kill_9_before_the_meter_read_them(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.count(ipv4(1), up_bytes=3, down_bytes=4)
    gateway.push()
    gateway.restart()
    assert gateway.bytes_of(1) == (3, 4)


def test_a_login_anew_counts_from_zero_beside_the_old_session(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.count(ipv4(1), up_bytes=3, down_bytes=4)
    gateway.push(grant(2, mac=mac(1), ipv4=ipv4(1)))
    gateway.kernel.count(ipv4(1), up_bytes=100)
    assert gateway.bytes_of(1) == (3, 4)
    assert gateway.bytes_of(2) == (100, 0)


def test_a_member_lost_and_found_again_never_counts_backwards(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.count(ipv4(1), up_bytes=30, down_bytes=40)
    gateway.engine.tick()
    gateway.kernel.lose(ipv4(1))
    gateway.pass_time(5)
    gateway.kernel.count(ipv4(1), up_bytes=1, down_bytes=1)
    assert gateway.bytes_of(1) == (31, 41)


@pytest.mark.parametrize("lost", list(Direction))
def test_half_a_member_lost_never_counts_backwards(gateway: Gateway, lost: Direction) -> None:
    gateway.push(grant(1))
    gateway.kernel.count(ipv4(1), up_bytes=30, down_bytes=40)
    assert gateway.bytes_of(1) == (30, 40)
    gateway.kernel.lose(ipv4(1), lost)
    assert gateway.bytes_of(1) == (30, 40)
    gateway.pass_time(5)
    assert gateway.bytes_of(1) == (30, 40)


def test_what_the_meter_has_read_is_the_least_that_a_member_found_lost_goes_on_from(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.count(ipv4(1), up_bytes=30, down_bytes=40)
    assert gateway.bytes_of(1) == (30, 40)
    gateway.kernel.lose(ipv4(1))
    gateway.pass_time(5)
    assert gateway.bytes_of(1) == (30, 40)


def test_the_meters_sum_is_right_whatever_happens_to_the_daemon(gateway: Gateway) -> None:
    """The meter's rule (a counter that goes down is counted from 0) over logins, losses, kills and polls at random."""
    rng = random.Random(7)
    seen: dict[tuple[int, str], tuple[int, int]] = {}
    total, sent = [0, 0], [0, 0]

    def poll() -> None:
        for c in gateway.engine.usage(None).counters:
            now = (c.up_bytes, c.down_bytes)
            for way, before in enumerate(seen.get((c.grant, c.ip), (0, 0))):
                total[way] += now[way] - before if now[way] >= before else now[way]
            seen[c.grant, c.ip] = now

    online: dict[int, Any] = {}
    next_id = 1
    for _ in range(2000):
        steps = ("login", "logout", "traffic", "traffic", "traffic", "poll", "half", "class", "kill", "time", "v6")
        step = rng.choice(steps)
        if step == "login" and len(online) < 6:
            device = rng.choice([n for n in range(1, 9) if mac(n) not in {g.mac for g in online.values()}])
            online[next_id] = grant(next_id, mac=mac(device), ipv4=ipv4(device))
            next_id += 1
            gateway.push(*online.values())
        elif step == "logout" and online:
            del online[rng.choice(list(online))]
            gateway.push(*online.values())
        elif step == "traffic" and gateway.members():
            up, down, dropped = (rng.randint(1, 1000) for _ in range(3))
            gateway.kernel.count(rng.choice(sorted(gateway.members())), up, down, dropped)
            sent[0] += up
            sent[1] += down
        elif step == "poll":
            poll()
        elif step == "half" and gateway.members():
            poll()
            gateway.kernel.lose(rng.choice(sorted(gateway.members())), *rng.choice(((), (Direction.UP,))))
            gateway.pass_time(5)
        elif step == "class" and gateway.kernel.left:
            poll()
            minor = rng.choice(list(gateway.kernel.left))
            del gateway.kernel.left[minor], gateway.kernel.classes[Direction.DOWN, minor]
            gateway.pass_time(5)
            poll()
        elif step == "kill":
            gateway.restart()
        elif step == "time":
            gateway.pass_time(rng.random() * 20)
        elif step == "v6" and online:
            number = int(rng.choice(list(online.values())).mac.replace(":", ""), 16) & 0xFFFF
            gateway.kernel.hear(ipv6(number, rng.randint(1, 40)), mac(number))
            gateway.engine.learn()
    poll()
    assert min(sent) > 100_000
    assert total == sent


def test_usage_of_one_grant_does_not_read_the_kernel_at_each_page_view(gateway: Gateway) -> None:
    gateway.push(grant(1), grant(2))
    gateway.engine.tick()
    gateway.kernel.calls.clear()
    for _ in range(10):
        assert {c.grant for c in gateway.engine.usage(1).counters} == {1}
    assert gateway.kernel.calls == []
    gateway.kernel.count(ipv4(1), up_bytes=9)
    gateway.clock.now += 0.6
    assert gateway.bytes_of(1) == (9, 0)


def a_member(grant_id: int) -> Member:
    return Member(ipv4(1), mac(1), 0x10, grant_id, None, 1, 2, 3, 4)


def test_the_ledger_is_bounded_and_keeps_the_newest() -> None:
    ledger = Ledger()
    for number in range(MAX_KEPT // 2 + 10):  # each has two counters: its address's and its class's
        ledger.keep(a_member(number), 1000.0)
    ledger.prune(set(), 1000.0)
    assert len(ledger.kept) == MAX_KEPT
    assert min(key[0] for key in ledger.kept) == 10


def test_what_was_kept_anew_is_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netctl.ledger.MAX_KEPT", 2)
    ledger = Ledger()
    for number in (1, 2, 1):
        ledger.keep(a_member(number), 1000.0)
    ledger.prune(set(), 1000.0)
    assert list(ledger.kept) == [(1, ipv4(1)), (1, "0.0.0.16")]


def test_an_address_that_comes_back_after_an_hour_under_the_same_grant_goes_on_counting(gateway: Gateway) -> None:
    gateway.kernel.hear(ipv6(1), mac(1))
    gateway.pass_time(5)
    gateway.push(grant(1))
    gateway.kernel.count(ipv6(1), up_bytes=50)
    prefixes, gateway.kernel.prefixes = gateway.kernel.prefixes, gateway.kernel.prefixes[:1]
    gateway.pass_time(3600)
    assert set(gateway.members()) == {ipv4(1)}
    gateway.kernel.prefixes = prefixes
    gateway.pass_time(5)
    gateway.kernel.count(ipv6(1), up_bytes=1)
    assert gateway.bytes_of(1) == (51, 0)


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_after_kill_9_users_are_online_the_difference_is_empty_and_drift_0(gateway: Gateway) -> None:
    gateway.kernel.hear(ipv6(1), mac(1))
    gateway.engine.learn()
    gateway.push(grant(1, deadline_boot_s=2000.0), grant(2), grant(3, ipv4=None))
    gateway.kernel.count(ipv4(2), up_bytes=7)
    before = gateway.kernel.dump()
    gateway.kernel.done.clear()
    gateway.clock.now += 30
    engine = gateway.restart()
    assert gateway.kernel.done == []
    assert gateway.kernel.dump() == before
    status = engine.status()
    assert (status.drift_total, status.generation, status.epoch, status.problem) == (0, 1, EPOCH, None)
    assert gateway.bytes_of(2) == (7, 0)


def test_what_happened_while_the_daemon_was_away_is_counted_and_mended(gateway: Gateway) -> None:
    gateway.push(grant(1), grant(2))
    gateway.kernel.lose(ipv4(1))
    assert gateway.restart().status().drift_total == 3, (
        "its member and, nobody knowing whose they were, its two classes"
    )
    assert set(gateway.members()) == {ipv4(1), ipv4(2)}


def test_deadlines_that_passed_and_addresses_heard_while_it_was_away_are_no_drift(gateway: Gateway) -> None:
    gateway.push(grant(1, deadline_boot_s=1010.0), grant(2))
    gateway.clock.now += 60
    gateway.kernel.hear(ipv6(2), mac(2))
    assert gateway.restart().status().drift_total == 0
    assert set(gateway.members()) == {ipv4(2), ipv6(2)}


def test_the_state_of_an_earlier_boot_is_not_used(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.teardown()
    engine = gateway.restart(boot_id="the-next-boot")
    assert engine.status().epoch is None
    assert engine.status().problem is None
    assert gateway.members() == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"mac":"02', b'"mac":"zz')),
        lambda path: path.write_bytes(path.read_bytes().replace(ipv4(1).encode(), b"10.99.1.2")),
        lambda path: path.write_bytes(b'{"a":' * 100_000),
        lambda path: path.write_bytes(b"\xff\xfe" * 50),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.rename(path.with_name("real")), path.symlink_to("real")),
    ],
)
def test_a_broken_state_file_cuts_nobody_off_and_opens_for_nobody(gateway: Gateway, spoil: Any) -> None:
    gateway.push(grant(1, deadline_boot_s=1600.0), grant(2))
    path = Path(gateway.config.state_path)
    spoil(path)
    gateway.kernel.hear(ipv6(2), mac(2))
    engine = gateway.restart()
    gateway.pass_time(30)
    assert set(gateway.members()) == {ipv4(1), ipv4(2)}
    status = engine.status()
    assert status.epoch is None
    assert status.problem
    assert "state.json" in status.problem
    assert "until the portal's next push" in status.problem
    assert path.with_name("state.json.broken").exists() or path.with_name("state.json.broken").is_symlink()
    gateway.pass_time(600)
    assert set(gateway.members()) == {ipv4(2)}, "its deadline holds"
    gateway.push(grant(3))
    assert set(gateway.members()) == {ipv4(3)}
    assert engine.status().problem is None
    assert gateway.restart().status().generation == 2


def test_a_state_file_of_another_user_is_not_believed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.push(grant(1))
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    assert "belongs to another user" in (gateway.restart().status().problem or "")


def test_a_state_file_that_cannot_be_written_stops_no_login_and_is_said(gateway: Gateway) -> None:
    gateway.push(grant(1))
    blocked = Path(gateway.config.state_path + ".new")
    blocked.mkdir()
    gateway.push(grant(1), grant(2))
    assert set(gateway.members()) == {ipv4(1), ipv4(2)}
    assert "cannot be written" in (gateway.engine.status().problem or "")
    gateway.restart()
    gateway.pass_time(60)
    assert set(gateway.members()) == {ipv4(1), ipv4(2)}, "the old file would have cut off grant 2"
    blocked.rmdir()
    gateway.push(grant(1), grant(2))
    assert gateway.engine.status().problem is None


def test_the_state_file_is_private(gateway: Gateway) -> None:
    gateway.push(grant(1))
    assert Path(gateway.config.state_path).stat().st_mode & 0o777 == 0o600


def test_a_clean_stop_leaves_nothing_and_keep_leaves_everything(gateway: Gateway) -> None:
    gateway.push(grant(1))
    before = gateway.kernel.dump()
    gateway.engine.stop(keep=True)
    assert gateway.kernel.dump() == before
    gateway.restart().stop(keep=False)
    assert gateway.kernel.dump() == ()
    assert not Path(gateway.config.state_path).exists()


def test_a_kernel_without_a_needed_feature_is_said_before_it_is_touched(tmp_path: Path) -> None:
    kernel = FakeKernel(config(tmp_path), clock=Clock())
    kernel.features = (
        Feature(name="ipset", present=False, required=True, detail="nobody could be admitted"),
        Feature(name="fq_codel", present=False, required=False, detail="bfifo is used"),
    )
    with pytest.raises(NetctlError, match="This kernel lacks ipset") as error:
        Engine(kernel.config, kernel, Clock(), BOOT).start()
    assert error.value.code == UNSUPPORTED
    assert kernel.calls == ["probe"]


# --- refusals of the kernel -------------------------------------------------------------------------------------------


def test_one_refused_operation_stops_nobody_else_and_is_tried_again(gateway: Gateway) -> None:
    gateway.kernel.refuse = lambda op: "no memory" if isinstance(op, SetMember) and op.mac == mac(2) else None
    with pytest.raises(NetctlError, match="no memory") as error:
        gateway.push(grant(1), grant(2), grant(3))
    assert error.value.code == KERNEL
    assert set(gateway.members()) == {ipv4(1), ipv4(3)}
    assert "no memory" in (gateway.engine.status().problem or "")
    with pytest.raises(NetctlError):
        gateway.engine.apply(state(grant(1), generation=0))  # an older one must not be told that all stands
    gateway.kernel.refuse = lambda _op: None
    gateway.pass_time(5)
    assert set(gateway.members()) == {ipv4(1), ipv4(2), ipv4(3)}
    assert gateway.engine.status().problem is None


def test_a_kernel_that_does_not_answer_is_asked_again_at_the_tick_without_spinning(gateway: Gateway) -> None:
    gateway.push(grant(1, deadline_boot_s=1002.0))
    gateway.kernel.broken = NetctlError(KERNEL, "No buffer space available.")
    with pytest.raises(NetctlError):
        gateway.push(grant(1, deadline_boot_s=1002.0), grant(2))
    gateway.clock.now += 1
    with pytest.raises(NetctlError):
        gateway.engine.usage(None)
    calls = len(gateway.kernel.calls)
    gateway.pass_time(60)
    assert len(gateway.kernel.calls) - calls < 60
    assert "No buffer space" in (gateway.engine.status().problem or "")
    gateway.kernel.broken = None
    gateway.pass_time(5)
    assert set(gateway.members()) == {ipv4(2)}
    assert gateway.engine.status().problem is None


def test_after_a_batch_that_failed_half_way_unseen_the_next_push_looks_first(gateway: Gateway) -> None:
    kernel = gateway.kernel

    def break_down(op: Any) -> str | None:
        if isinstance(op, SetMember):
            kernel.broken = NetctlError(KERNEL, "No buffer space available.")
        return "no memory" if kernel.broken else None

    kernel.refuse = break_down
    with pytest.raises(NetctlError):
        gateway.push(grant(1))
    assert kernel.classes
    kernel.broken, kernel.refuse = None, lambda _op: None
    gateway.push()
    assert kernel.classes == {}


def test_an_operation_that_was_done_by_half_is_found_by_the_next_push(gateway: Gateway) -> None:
    kernel = gateway.kernel
    tries = 0

    def do_half(op: Any) -> str | None:
        nonlocal tries
        if not isinstance(op, SetMember):
            return None
        tries += 1
        if tries == 2:  # alone, after the batch was refused
            kernel._admit(op)
            kernel.lose(op.ip, Direction.UP)
        return "no memory"

    kernel.refuse = do_half
    with pytest.raises(NetctlError):
        gateway.push(grant(1))
    assert gateway.members() == {ipv4(1): None}
    kernel.refuse = lambda _op: None
    gateway.push()
    assert gateway.members() == {}


def test_a_refused_removal_keeps_the_session_s_last_bytes(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.count(ipv4(1), up_bytes=5)
    gateway.kernel.refuse = lambda op: "busy" if type(op).__name__ == "DelMember" else None
    with pytest.raises(NetctlError):
        gateway.push()
    gateway.kernel.count(ipv4(1), up_bytes=5)
    gateway.kernel.refuse = lambda _op: None
    gateway.pass_time(5)
    assert gateway.members() == {}
    assert gateway.bytes_of(1) == (10, 0)


# --- IPv6 -------------------------------------------------------------------------------------------------------------


def test_a_new_ipv6_address_of_a_granted_device_is_admitted_at_once(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.hear(ipv6(1), mac(1))
    gateway.engine.learn()
    assert set(gateway.members()) == {ipv4(1), ipv6(1)}
    gateway.pass_time(20)
    assert gateway.engine.status().drift_total == 0


def test_a_logout_takes_the_ipv6_addresses_along_at_once(gateway: Gateway) -> None:
    for number in (1, 2):
        gateway.kernel.hear(ipv6(number), mac(number))
    gateway.engine.learn()
    gateway.push(grant(1), grant(2))
    gateway.pass_time(6)
    gateway.push(grant(2))
    assert set(gateway.members()) == {ipv4(2), ipv6(2)}
    gateway.restart()
    gateway.push()
    assert gateway.members() == {}


def test_addresses_known_before_the_login_come_in_with_it(gateway: Gateway) -> None:
    gateway.kernel.hear(ipv6(1), mac(1))
    gateway.kernel.hear(ipv6(2), mac(2))
    gateway.engine.learn()
    gateway.push(grant(1))
    assert set(gateway.members()) == {ipv4(1), ipv6(1)}


def test_an_address_whose_event_was_missed_is_found_by_the_tick_and_is_no_drift(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.hear(ipv6(1), mac(1))
    gateway.pass_time(5)
    assert set(gateway.members()) == {ipv4(1), ipv6(1)}
    assert gateway.engine.status().drift_total == 0


def test_a_flood_of_addresses_costs_few_changes_and_at_most_sixteen_stay(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.calls.clear()
    for which in range(1, 200):
        gateway.kernel.hear(ipv6(1, which), mac(1))
        gateway.engine.learn()
        gateway.pass_time(0.001)
    gateway.pass_time(1)
    assert gateway.kernel.calls.count("apply") <= 5
    assert {ip for ip in gateway.members() if ":" in ip} == {ipv6(1, which) for which in range(200 - MAX_IPV6, 200)}
    gateway.kernel.done.clear()
    gateway.pass_time(30)
    assert gateway.kernel.done == []


def test_entries_that_age_or_are_unpinned_are_no_sign_of_life(gateway: Gateway) -> None:
    gateway.push(grant(1))
    for which in range(1, MAX_IPV6 + 2):
        gateway.clock.now += 1
        gateway.kernel.hear(ipv6(1, which), mac(1))
        gateway.engine.learn()
    assert ipv6(1, 1) not in gateway.members()
    gateway.kernel.done.clear()
    gateway.kernel.hear(ipv6(1, 1), mac(1))  # what the kernel sends after an unpinning
    gateway.engine.learn()
    gateway.pass_time(20)
    assert gateway.kernel.done == []


def test_the_address_that_was_used_least_lately_makes_room(gateway: Gateway) -> None:
    gateway.push(grant(1))
    for which in range(1, MAX_IPV6 + 1):
        gateway.clock.now += 1
        gateway.kernel.hear(ipv6(1, which), mac(1))
        gateway.engine.learn()
    gateway.pass_time(10)
    gateway.kernel.count(ipv6(1, 1), up_bytes=5)
    gateway.pass_time(10)
    gateway.kernel.hear(ipv6(1, 99), mac(1))
    gateway.engine.learn()
    assert {ipv6(1, 1), ipv6(1, 99)} <= set(gateway.members())
    assert ipv6(1, 2) not in gateway.members()


def test_an_address_in_a_prefix_that_has_just_been_delegated_is_admitted_at_once(gateway: Gateway) -> None:
    gateway.push(grant(1), grant(2))
    gateway.pass_time(20)
    gateway.kernel.prefixes += ("2001:db8:77::/64",)
    gateway.kernel.hear("2001:db8:77::1", mac(1))
    gateway.engine.learn()
    assert set(gateway.members()) == {ipv4(1), ipv4(2), "2001:db8:77::1"}
    gateway.kernel.prefixes = gateway.kernel.prefixes[:-1]
    gateway.pass_time(10)
    assert set(gateway.members()) == {ipv4(1), ipv4(2)}
    assert gateway.engine.status().drift_total == 0


def test_a_flood_of_addresses_outside_the_lan_makes_the_engine_look_once_a_second(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.push(grant(1))
    gateway.pass_time(20)
    looked: list[int] = []
    prefixes = gateway.kernel.prefixes
    monkeypatch.setattr(type(gateway.kernel), "lan_prefixes", lambda _: (looked.append(1), prefixes)[1])
    for which in range(100):
        gateway.kernel.hear(f"2001:db8:99::{which:x}", mac(1))
        gateway.engine.learn()
    gateway.kernel.hear("fe80::1", mac(1))
    gateway.kernel.hear("2001:db8:99::1", mac(2))  # not granted: no reason to look
    gateway.engine.learn()
    assert len(looked) == 1
    assert set(gateway.members()) == {ipv4(1)}


def test_addresses_of_strangers_are_not_admitted(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.hear(ipv6(2), mac(2))
    gateway.engine.learn()
    gateway.pass_time(10)
    assert set(gateway.members()) == {ipv4(1)}


# --- questions --------------------------------------------------------------------------------------------------------


def test_whois_asks_the_kernel_and_understands_mapped_addresses(gateway: Gateway) -> None:
    gateway.kernel.hear(ipv4(1), mac(1))
    assert gateway.engine.whois(ipv4(1)) == mac(1)
    assert gateway.engine.whois(f"::ffff:{ipv4(1)}") == mac(1)
    assert gateway.engine.whois(ipv4(2)) is None
    with pytest.raises(NetctlError) as error:
        gateway.engine.whois("::1::")
    assert error.value.code == BAD_REQUEST


def test_a_push_is_one_line_in_the_log(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="netctl")
    gateway.push(grant(1))
    assert [record.getMessage().split(" in ")[0] for record in caplog.records] == ["generation 1: 1 grants, 4 changes"]


def test_status_round_trips(gateway: Gateway) -> None:
    gateway.push(grant(1))
    status = gateway.engine.status()
    assert msgspec.json.decode(msgspec.json.encode(status), type=type(status)) == status
    assert (status.grants, status.members, status.lan_prefixes) == (1, 1, ("10.77.0.0/20", "fd00:77::/64"))
