"""The rules as text: golden for a whole configuration, and what each field of the configuration changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netctl.api.types import GatewayConfig
from netctl.kernel.rules import Order, Part
from netctl.kernel.ruleset import BUILT_IN, PREFIX, TABLES, VERDICTS, Family, Rule, extensions, ruleset

GOLDEN = Path(__file__).parents[2] / "kernel" / "golden"
FAMILIES = pytest.mark.parametrize("family", [4, 6])
BASE: dict[str, Any] = {
    "lan_interface": "lan0",
    "uplink_interface": "wan0",
    "lan_address": "10.77.0.1/20",
    "ula_prefix": "fd12:3456:789a:1::/64",
    "link_down_kbit": None,
    "link_up_kbit": None,
    "portal_port": 8080,
    "portal_tls_port": 8443,
    "staff_port": 8444,
    "block_address": "192.0.2.1",
    "socket_path": "/run/gerbang/netctl.sock",
    "state_path": "/run/gerbang/netctl-state.json",
}


def config(**changes: Any) -> GatewayConfig:
    return GatewayConfig(**(BASE | changes))


def lines(family: Family, **changes: Any) -> list[str]:
    return [f"{rule.table} {rule}" for rule in ruleset(config(**changes), family, True)]


@FAMILIES
def test_golden(family: Family) -> None:
    assert lines(family) == (GOLDEN / f"rules{family}.txt").read_text().splitlines()


@FAMILIES
def test_without_tls_port_443_is_never_redirected(family: Family) -> None:
    changed = lines(family, portal_tls_port=None)
    assert not any("443" in line for line in changed)
    assert any("--dports 8080,8444 " in line for line in changed)


def test_without_ula_ipv6_is_not_masqueraded_but_refused_all_the_same() -> None:
    changed = lines(6, ula_prefix=None)
    assert not any("MASQUERADE" in line or "POSTROUTING" in line for line in changed)
    removed = [line for line in lines(6) if line not in changed]
    assert all("POSTROUTING" in line or "-s fd12:" in line for line in removed) and len(removed) == 3


def test_a_family_without_nat_keeps_refusing() -> None:
    without = ruleset(config(), 6, True, nat=False)
    assert {rule.table for rule in without} == {"filter", "mangle"}
    assert [str(r) for r in without] == [str(r) for r in ruleset(config(), 6, True) if r.table != "nat"]


def test_a_set_of_addresses_alone_is_asked_for_the_address_alone() -> None:
    text = "\n".join(str(rule) for rule in ruleset(config(), 6, keyed_by_mac=False))
    assert "gerbang_up6 src " in text and "src,src" not in text


def test_without_a_blocked_address_and_a_garden_their_rules_are_gone() -> None:
    text = "\n".join(lines(4, block_address=None))
    assert "192.0.2.1" not in text and "GARDEN" in text
    assert not any("garden" in str(rule).lower() for rule in ruleset(config(), 4, True, garden=False))


def test_only_the_garden_needs_a_target_that_leads_into_a_class() -> None:
    needed = set(extensions(ruleset(config(), 4, True))) - set(extensions(ruleset(config(), 4, True, garden=False)))
    assert needed == {("target", "CLASSIFY")}


def test_limits_are_the_configured_ones() -> None:
    text = "\n".join(lines(4, dns_per_device_per_s=50, connections_per_device=9))
    assert "--hashlimit-upto 50/sec --hashlimit-burst 150 " in text
    assert "--hashlimit-name gerbang_dns_50 " in text  # another rate is another table
    assert "--connlimit-above 9 " in text


NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")


@given(
    family=st.sampled_from([4, 6]),
    lan=NAMES,
    uplink=NAMES,
    port=st.integers(1, 65535),
    tls=st.none() | st.integers(1, 65535),
    staff=st.none() | st.integers(1, 65535),
    blocked=st.none() | st.just("192.0.2.1"),
    has=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_whatever_the_configuration_nobody_passes_who_is_no_member_but_to_the_garden(
    family: Family,
    lan: str,
    uplink: str,
    port: int,
    tls: int | None,
    staff: int | None,
    blocked: str | None,
    has: tuple[bool, bool, bool],
) -> None:
    ports = {"portal_port": port, "portal_tls_port": tls, "staff_port": staff}
    garden = has[2]
    made = ruleset(config(lan_interface=lan, uplink_interface=uplink, block_address=blocked, **ports), family, *has)
    forward = [r for r in made if r.table == "filter" and r.chain in (PREFIX + "UP", PREFIX + "DOWN")]
    for chain in (PREFIX + "UP", PREFIX + "DOWN"):
        first, *rest = [r for r in forward if r.chain == chain]
        assert first.target == "ACCEPT" and [m.name for m in first.matches] == ["set"]
        assert "! --match-set" not in str(first) and "! --update-counters" in str(first)
        if garden:
            to_garden, *rest = rest
            assert to_garden.target == PREFIX + "GARDEN_" + chain.removeprefix(PREFIX)
            assert f"--match-set gerbang_garden{family} " in str(to_garden) and "! --match-set" not in str(to_garden)
            assert (chain == PREFIX + "UP") or "--ctstate RELATED,ESTABLISHED" in str(to_garden)
        if blocked and family == 4 and chain == PREFIX + "UP":
            assert all(f"! -d {blocked}/32 " in str(r) for r in forward if r.chain == chain and r.target != "REJECT")
        assert [r.target for r in rest] == ["REJECT", "REJECT"]
        assert not rest[-1].matches and rest[-1].protocol is None  # everything
    jumps = [str(r) for r in made if r.table == "filter" and r.chain == "FORWARD"]
    assert jumps == [f"-A FORWARD -i {lan} -j GERBANG_UP", f"-A FORWARD -o {lan} -j GERBANG_DOWN"]
    assert [r.table for r in made] == sorted((r.table for r in made), key=TABLES.index)
    assert {r.target for r in made if r.target.startswith(PREFIX)} == {r.chain for r in made if r.chain not in BUILT_IN}
    assert all(len(r.chain) < 29 for r in made)  # XT_EXTENSION_MAXNAMELEN
    assert not any("map-mark" in str(r) for r in made)


def test_every_set_match_leaves_the_counters_alone() -> None:
    for family in (4, 6):
        for line in lines(family):  # type: ignore[arg-type]
            assert line.count("--match-set") == line.count("! --update-counters")
            assert line.count("--map-set") == line.count("--map-prio")


@FAMILIES
def test_extensions_are_those_that_the_rules_name(family: Family) -> None:
    made = ruleset(config(), family, True)
    named = {("match", name) for rule in made for name in re.findall(r"-m (\S+)", str(rule))}
    named |= {("target", r.target) for r in made if r.target not in VERDICTS and not r.target.startswith(PREFIX)}
    assert set(extensions(made)) == named
    assert ("target", "SET") in named and ("match", "hashlimit") in named


@FAMILIES
def test_an_order_survives_its_way_to_the_process(family: Family) -> None:
    order = Order((Part(family, ruleset(config(), family, True)),))
    assert msgspec.json.decode(msgspec.json.encode(order), type=Order) == order


def test_negations_and_words_are_spelled_as_iptables_prints_them() -> None:
    rule = Rule(table="filter", chain="X", target="DROP", in_interface="!lo", out_interface="wan0", source="10.0.0.0/8")
    assert str(rule) == "-A X -s 10.0.0.0/8 ! -i lo -o wan0 -j DROP"


@FAMILIES
def test_the_image_loads_early_what_the_rules_are_made_of(family: Family) -> None:
    """Else the kernel asks for each of them while everybody waits for the rules."""
    unit = GOLDEN.parents[2] / "image/layers/hotspot/rootfs/etc/systemd/system/gerbang-modules.service"
    loaded = set(unit.read_text(encoding="utf-8").split())
    own, elsewhere = {4: "ipt", 6: "ip6t"}[family], {"tcp": "xt_tcpudp", "udp": "xt_tcpudp", "SET": "xt_set"}
    for _, name in extensions(ruleset(config(), family, True)):
        assert {f"xt_{name}", f"{own}_{name}", elsewhere.get(name, "")} & loaded, name
