"""Find out what this kernel has by trying it, under names and on an interface that are gone again afterwards.

It must not know users, and changes nothing that stands. Takes a few milliseconds.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import Final

from netctl.api.types import Feature, GatewayConfig
from netctl.kernel import garden, sets, shaping, xtables
from netctl.kernel.ruleset import TABLES, Family, ruleset
from netctl.kernel.ruleset import extensions as needed_extensions
from netctl.kernel.wire import NLM_F_CREATE, NLM_F_EXCL, Message, Netlink, attr, nest
from netctl.ops import Direction

IP_MAC_HASH: Final = "ipset hash:ip,mac"
NET_HASH: Final = "ipset hash:net"
IPV6: Final = "ipv6"
NAT6: Final = "ip6tables table nat"
CLASSIFY: Final = "target CLASSIFY"
FQ_CODEL: Final = "qdisc fq_codel"
_MODULES: Final = ("ip_tables", "ip6_tables", "ip_set", "xt_set", "sch_htb")
_PROGRAMS: Final[dict[Family, str]] = {4: "iptables", 6: "ip6tables"}
_NO_GARDEN: Final = "without it there is no walled garden: who is not logged in reaches the portal alone"
_RTM_NEWLINK, _RTM_DELLINK = 16, 17
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_IFINFOMSG = struct.Struct("=BxHiII")


def probe(config: GatewayConfig, netfilter: Netlink, route: Netlink) -> tuple[Feature, ...]:
    """Every feature that Gerbang uses, whether present or not, in a stable order."""
    if not xtables.has_table(4, "filter"):
        _load_modules()
    return (*_sets(config, netfilter), *_shaping(route), *_iptables(config))


def present(features: tuple[Feature, ...], name: str) -> bool:
    return any(feature.name == name and feature.present for feature in features)


def has_garden(features: tuple[Feature, ...]) -> bool:
    """Can the walled garden stand: its sets, and the target that leads into its class?"""
    lacking = {feature.name for feature in features if not feature.present}
    return not lacking & {NET_HASH, *(f"{program} {CLASSIFY}" for program in _PROGRAMS.values())}


def _load_modules() -> None:
    """Ask for what the kernel does not load by itself. Failure is found by the probes that follow."""
    for name in _MODULES:
        try:
            subprocess.run(["/sbin/modprobe", "-q", name], check=False, timeout=10, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError):
            return


def _sets(config: GatewayConfig, netlink: Netlink) -> list[Feature]:
    scratch = f"gerbang_probe_{os.getpid()}"
    has = {
        kind: sets.try_create(netlink, kind, scratch) is None for kind in ("hash:ip", "hash:ip,mac", "bitmap:ip,mac")
    }
    small = ipaddress.IPv4Interface(config.lan_address).network.prefixlen >= 16
    bitmap = "takes the place of hash:ip,mac for IPv4 on a LAN of at most 65536 addresses"
    return [
        Feature(
            name="ipset hash:ip", present=has["hash:ip"], required=True, detail="nobody can be admitted without it"
        ),
        Feature(
            name=IP_MAC_HASH,
            present=has["hash:ip,mac"],
            required=not (has["bitmap:ip,mac"] and small),
            detail="without it an IPv6 sender is known by its address alone",
        ),
        Feature(
            name="ipset bitmap:ip,mac", present=has["bitmap:ip,mac"], required=not has["hash:ip,mac"], detail=bitmap
        ),
        Feature(name=NET_HASH, present=garden.try_create(netlink, scratch) is None, required=False, detail=_NO_GARDEN),
    ]


def _shaping(netlink: Netlink) -> list[Feature]:
    """HTB and the leaf kinds, tried on an interface made for it."""
    name = f"gbp{os.getpid()}"[:15]
    index = next(filter(None, (_scratch_link(netlink, kind, name) for kind in ("dummy", "ifb", "veth"))), None)
    if index is None:  # no such interface can be made: setup will find out
        return []
    try:
        egress = shaping.Egress(index, Direction.DOWN, None, 1500, "bfifo")
        htb = not netlink.transact([shaping.root_message(egress)])
        bfifo = _leaf_fits(netlink, egress)
        fq_codel = _leaf_fits(netlink, dataclasses.replace(egress, leaf="fq_codel"))
    finally:
        netlink.transact([Message(_RTM_DELLINK, 0, _IFINFOMSG.pack(0, 0, index, 0, 0))])
    return [
        Feature(name="qdisc htb", present=htb, required=True, detail="nobody's rate can be held without it"),
        Feature(
            name=FQ_CODEL,
            present=fq_codel,
            required=False,
            detail="without it all connections of a user share one short queue",
        ),
        Feature(name="qdisc bfifo", present=bfifo, required=not fq_codel, detail="takes the place of fq_codel"),
    ]


def _leaf_fits(netlink: Netlink, egress: shaping.Egress) -> bool:
    """Below a root of its own: a leaf of another kind that stands under the same handle the kernel does not replace."""
    netlink.transact([shaping.delete_root_message(egress.index)])
    return not netlink.transact([shaping.root_message(egress), *shaping.fixed_messages(egress)])


def _scratch_link(netlink: Netlink, kind: str, name: str) -> int | None:
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + attr(_IFLA_IFNAME, name.encode() + b"\0")
    body += nest(_IFLA_LINKINFO, attr(_IFLA_INFO_KIND, kind.encode()))
    if netlink.transact([Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)]):
        return None
    return socket.if_nametoindex(name)


def _iptables(config: GatewayConfig) -> list[Feature]:
    ipv6 = Path("/proc/sys/net/ipv6").exists()
    found = [Feature(name=IPV6, present=ipv6, required=False, detail="without it the LAN has IPv4 only")]
    families: tuple[Family, ...] = (4, 6) if ipv6 else (4,)
    for family in families:
        program = _PROGRAMS[family]
        for table in TABLES:
            optional = (family, table) == (6, "nat")
            detail = "the rules need it"
            if optional:
                detail = "without it IPv6 needs a delegated prefix, and port 80 over IPv6 is refused, not redirected"
            name = f"{program} table {table}"
            has = xtables.has_table(family, table)
            found.append(Feature(name=name, present=has, required=not optional, detail=detail))
        nat = family == 4 or present(tuple(found), NAT6)
        for kind, extension in needed_extensions(ruleset(config, family, True, nat)):
            has = xtables.has_extension(family, kind, extension)
            name = f"{program} {kind} {extension}"
            needed = not name.endswith(CLASSIFY)
            detail = "the rules need it" if needed else _NO_GARDEN
            found.append(Feature(name=name, present=has, required=needed, detail=detail))
    return found
