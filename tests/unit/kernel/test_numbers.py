"""Arithmetic of the kernel's numbers: rates, queues, bursts, netlink messages. No kernel takes part."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netctl.api.types import GatewayConfig
from netctl.kernel import links, neighbours, sets, shaping, wire
from netctl.ops import ClassRates, DelMember, Direction, SetMember
from netctl.plan import MAX_BURST_S
from tests.unit.kernel.test_ruleset import config

MTUS = st.integers(1280, 9000)
KBITS = st.integers(8, 100_000_000)
LAN = ipaddress.IPv4Network("10.77.0.0/20")
MACS = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))


@given(st.integers(1_000, 1_250_000_000))
def test_a_queue_that_stands_is_changed_without_the_number_of_its_flows(bytes_s: int) -> None:
    """fq_codel_change in net/sched/sch_fq_codel.c refuses TCA_FQ_CODEL_FLOWS where it has flows."""
    fresh = shaping.leaf_message(3, 0x1_0010, 0x10_0000, bytes_s, "fq_codel")
    assert fresh.instead is not None
    assert fresh.flags & wire.NLM_F_CREATE and not fresh.instead.flags & wire.NLM_F_CREATE
    options = [_queue_options(message) for message in (fresh, fresh.instead)]
    assert options[0].pop(5) == struct.pack("=I", shaping.FQ_CODEL_FLOWS)
    assert options[0] == options[1] and len(options[1]) == 6
    assert shaping.leaf_message(3, 0x1_0010, 0x10_0000, bytes_s, "bfifo").instead is None


def _queue_options(message: wire.Message) -> dict[int, bytes]:
    told = wire.attributes(message.body, 20, len(message.body))[2]
    return wire.attributes(told, 0, len(told))


# --- rates ------------------------------------------------------------------------------------------------------------


@given(KBITS, MTUS)
def test_a_rate_survives_the_way_to_the_kernel_and_back(kbit: int, mtu: int) -> None:
    assert shaping.plan_kbit(shaping.frame_rate(kbit, mtu), mtu) == kbit


@given(st.integers(100, 1_000_000), MTUS)
def test_goodput_is_the_plan_for_full_packets_of_both_protocols(kbit: int, mtu: int) -> None:
    frames_per_s = shaping.frame_rate(kbit, mtu) / (mtu + 14)
    plan = kbit * 125
    assert frames_per_s * (mtu - 52) == pytest.approx(plan, rel=0.001)  # TCP over IPv4 with timestamps
    assert 1 <= frames_per_s * (mtu - 28) / plan < 1.02  # UDP over IPv4
    assert 0.98 < frames_per_s * (mtu - 72) / plan <= 1  # TCP over IPv6


@pytest.mark.parametrize(("kbit", "most_ms"), [(2000, 45), (5000, 30), (10_000, 15), (20_000, 15)])
def test_a_full_queue_delays_no_longer_than_promised(kbit: int, most_ms: float) -> None:
    rate = shaping.frame_rate(kbit, 1500)
    assert shaping.queue_bytes(rate) / rate * 1000 <= most_ms


@given(KBITS)
def test_a_queue_holds_six_frames_at_least_and_grows_with_the_rate(kbit: int) -> None:
    rate = shaping.frame_rate(kbit, 1500)
    assert shaping.queue_bytes(rate) >= 9000 > 5 * 1514
    assert shaping.queue_bytes(rate) <= shaping.queue_bytes(2 * rate)


@given(st.integers(1000, 13_000_000_000), MTUS)
def test_a_burst_is_two_frames_at_least_and_fits_the_kernels_ticks(rate: int, mtu: int) -> None:
    burst = shaping.burst_bytes(rate, mtu)
    assert burst >= 2 * (mtu + 14)
    assert burst - 2 * (mtu + 100) <= rate / 250


def _options(egress: shaping.Egress, rates: ClassRates) -> tuple[dict[int, bytes], tuple[int, ...]]:
    message = shaping.class_messages(egress, 0x10, rates)[0]
    top = wire.attributes(message.body, 20, len(message.body))
    options = wire.attributes(top[2], 0, len(top[2]))
    return options, struct.unpack("=BBHhHIBBHhHIIIIII", options[1])


@given(KBITS, KBITS, MTUS)
def test_rates_above_32_bits_go_into_their_own_attributes(guaranteed: int, ceil: int, mtu: int) -> None:
    egress = shaping.Egress(3, Direction.DOWN, None, mtu, "bfifo")
    options, fixed = _options(egress, ClassRates(guaranteed, ceil))
    for at, kind, kbit in ((5, 6, guaranteed), (11, 7, ceil)):
        rate = shaping.frame_rate(kbit, mtu)
        if rate > 0xFFFF_FFFF:
            assert fixed[at] == 0xFFFF_FFFF and struct.unpack("=Q", options[kind])[0] == rate
        else:
            assert fixed[at] == rate and kind not in options
    quantum = fixed[14]
    assert mtu + 14 <= quantum <= 60_000


@given(KBITS, st.none() | st.integers(1, 1_000_000), MTUS)
def test_a_burst_survives_the_way_to_the_kernel_and_back(kbit: int, burst: int | None, mtu: int) -> None:
    rate = shaping.frame_rate(kbit, mtu)
    allowed = None if burst is None else max(1, min(burst, kbit * MAX_BURST_S // 8))
    assert shaping.plan_burst(shaping.ceil_bucket(allowed, rate, mtu), rate, mtu) == allowed


@given(KBITS, KBITS, st.integers(1, 60_000), st.integers(0, 7))
def test_a_burst_fills_the_ceils_bucket_and_leaves_the_guarantees(
    guaranteed: int, ceil: int, burst: int, priority: int
) -> None:
    egress = shaping.Egress(3, Direction.DOWN, None, 1500, "bfifo")
    _, plain = _options(egress, ClassRates(guaranteed, ceil))
    _, bursty = _options(egress, ClassRates(guaranteed, ceil, priority, burst))
    assert bursty[:13] == plain[:13] and bursty[13] >= plain[13] and bursty[14] == plain[14]
    assert (plain[16], bursty[16]) == (1, priority)


def test_users_share_in_proportion_to_what_they_are_guaranteed() -> None:
    egress = shaping.Egress(3, Direction.DOWN, None, 1500, "bfifo")
    quanta = [_options(egress, ClassRates(kbit, 10_000))[1][14] for kbit in (64, 128, 640)]
    assert quanta[1] / quanta[0] == pytest.approx(2, rel=0.01) and quanta[2] / quanta[0] == pytest.approx(10, rel=0.01)


# --- netlink ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=8, unique_by=lambda pair: pair[0]))
def test_attributes_come_back_as_they_were_written(pairs: list[tuple[int, bytes]]) -> None:
    blob = b"".join(wire.attr(kind, payload) for kind, payload in pairs)
    assert len(blob) % 4 == 0
    assert wire.attributes(blob, 0, len(blob)) == dict(pairs)
    assert [(kind, blob[a:b]) for kind, a, b in wire.spans(blob, 0, len(blob))] == pairs


@given(st.binary(max_size=200))
def test_garbage_attributes_end_and_never_raise(blob: bytes) -> None:
    wire.attributes(blob, 0, len(blob))
    assert len(list(wire.spans(blob, 0, len(blob)))) <= len(blob) // 4 + 1


def test_a_refusal_says_what_the_kernel_said_or_what_the_number_means() -> None:
    assert str(wire.Refusal(0, 17, "Exclusivity flag on")) == "Exclusivity flag on"
    assert str(wire.Refusal(0, 17, "")) == "File exists"
    assert str(wire.Refusal(0, 4352, "")) == "ipset error 4352"


# --- sets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("has_hash", "kinds"), [(True, ["hash:ip,mac"] * 2), (False, ["bitmap:ip,mac", "hash:ip"])])
def test_set_kinds_follow_what_the_kernel_has(has_hash: bool, kinds: list[str]) -> None:
    made = sets.specs(LAN, has_hash)
    assert [spec.name for spec in made] == ["gerbang_up4", "gerbang_dn4", "gerbang_up6", "gerbang_dn6"]
    assert [made[0].kind, made[2].kind] == kinds
    assert made[1].kind == made[3].kind == "hash:ip"
    assert made[0].network == (None if has_hash else LAN)


def test_a_bitmap_over_more_than_a_16_is_refused() -> None:
    with pytest.raises(ValueError, match="65536"):
        sets.specs(ipaddress.IPv4Network("10.0.0.0/15"), False)
    sets.specs(ipaddress.IPv4Network("10.0.0.0/8"), True)


@given(
    st.lists(
        st.builds(
            SetMember,
            ip=st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str),
            mac=MACS,
            minor=st.integers(0x10, 0xFFFE),
            grant=st.integers(1, 0xFFFF_FFFF),
            timeout_s=st.none() | st.integers(-5, 2**40),
            counters=st.none() | st.tuples(*[st.integers(0, 2**64 - 1)] * 4),
        ),
        max_size=20,
    ),
    st.booleans(),
)
def test_every_member_is_written_into_both_sets_of_its_family(ops: list[SetMember], has_hash: bool) -> None:
    made = sets.specs(LAN, has_hash)
    found: dict[str, list[dict[int, bytes]]] = {spec.name: [] for spec in made}
    for message in sets.upsert(made, ops):
        top = wire.attributes(message.body, 4, len(message.body))
        if 8 in top:  # IPSET_ATTR_ADT
            found[top[2].rstrip(b"\0").decode()] += [
                wire.attributes(top[8], a, b) for _, a, b in wire.spans(top[8], 0, len(top[8]))
            ]
    for spec in made:
        mine = [op for op in ops if (":" in op.ip) == (spec.family == socket.AF_INET6)]
        assert len(found[spec.name]) == len(mine)
        for op, entry in zip(mine, found[spec.name], strict=True):
            assert entry[1][4:] == ipaddress.ip_address(op.ip).packed
            assert (entry.get(17) == bytes.fromhex(op.mac.replace(":", ""))) is spec.keyed_by_mac
            assert struct.unpack(">II", entry[27]) == (op.grant, 0xFFFF_FFFF)
            assert struct.unpack(">HH", entry[28]) == (1 if spec.direction is Direction.DOWN else 2, op.minor)
            timeout = struct.unpack(">I", entry[6])[0]
            assert (timeout == 0) is (op.timeout_s is None)  # 0 is for ever: nobody gets it by a late clock
            assert timeout <= sets.MAX_TIMEOUT_S
            assert (24 in entry) is (25 in entry) is (op.counters is not None)


def test_hundreds_of_members_go_in_few_messages() -> None:
    ops = [
        SetMember(f"10.77.{i // 250}.{i % 250}", "02:00:00:00:00:01", 0x10, 1, 60, (0, 0, 0, 0)) for i in range(1000)
    ]
    messages = sets.upsert(sets.specs(LAN, False), ops)
    assert len(messages) == 6  # two sets, 400 members a message
    assert all(len(message.body) < 0xFFFF for message in messages)  # an attribute's length is 16 bit
    assert len(sets.delete(sets.specs(LAN, False), [DelMember(op.ip, op.mac) for op in ops])) <= 2000


# --- neighbours, addresses, switches ----------------------------------------------------------------------------------


def test_pins_bear_a_mark_that_no_routing_daemon_uses() -> None:
    used = {0, 1, 2, 3, 4, *range(8, 19), 42, 84, 99, *range(186, 193)}  # rtnetlink.h
    assert neighbours.PIN_PROTOCOL not in used
    body = neighbours.pin_message(7, "10.77.1.5", "02:00:00:00:00:05").body
    found = wire.attributes(body, 12, len(body))
    assert found[1] == socket.inet_aton("10.77.1.5") and found[2].hex(":") == "02:00:00:00:00:05"
    assert found[12] == bytes((neighbours.PIN_PROTOCOL,))


@pytest.mark.parametrize(
    ("standing", "missing"),
    [
        ((), ("10.77.0.1/20", "fd12:3456:789a:1::1/64")),
        (("10.77.0.1/20",), ("fd12:3456:789a:1::1/64",)),
        (("10.77.0.1/24", "fd12:3456:789a:1::1/64"), ("10.77.0.1/20",)),
        (("10.77.0.1/20", "2400:1::1/64"), ("fd12:3456:789a:1::1/64",)),  # the ULA stands beside a delegated prefix
        (("10.77.0.1/20", "2400:1::1/64", "fd12:3456:789a:1::1/64"), ()),
    ],
)
def test_addresses_that_the_lan_lacks(standing: tuple[str, ...], missing: tuple[str, ...]) -> None:
    assert links.missing_addresses(config(), [ipaddress.ip_interface(text) for text in standing]) == missing


def test_a_lan_without_ipv6_gets_none() -> None:
    assert links.missing_addresses(config(ula_prefix=None), []) == ("10.77.0.1/20",)
    assert not any("disable_ipv6" in path for path, _ in links.switches(config(ula_prefix=None)))


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("1\t0", "812\t812"),
        ("812\t812", "812\t812"),
        ("0\t2147483647", "0\t2147483647"),
        ("900\t900", "812\t900"),
        ("5\t7", "5\t812"),
    ],
)
def test_who_may_ping_already_still_may(now: str, then: str) -> None:
    assert links.ping_range(now, 812) == then


def test_forwarding_is_switched_on_last() -> None:
    made: GatewayConfig = config()
    assert links.switches(made)[-2:] == links.forwarding()
    assert len({path for path, _ in links.switches(made)}) == len(links.switches(made))
