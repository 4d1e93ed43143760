"""Cables and switches between namespaces: veth pairs, a bridge, addresses, routes, as rtnetlink messages (pyroute2).

It must not know which namespace plays which part.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pyroute2 import IPRoute

from tests.village.netns import Namespace

T = TypeVar("T")

SIOCETHTOOL = 0x8946
# ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO (include/uapi/linux/ethtool.h)
_OFFLOADS = (0x1F, 0x24, 0x2C)


def rtnl(ns: Namespace, job: Callable[[IPRoute], T]) -> T:
    """Run ``job`` with an rtnetlink socket of ``ns``."""

    def inside() -> T:
        with IPRoute() as ip:
            return job(ip)

    return ns.call(inside)


def index(ip: IPRoute, name: str) -> int:
    """Interface index of ``name``; LookupError where there is none."""
    found = ip.link_lookup(ifname=name)
    if not found:
        raise LookupError(f"no interface {name}")
    return int(found[0])


def cable(one: Namespace, one_name: str, other: Namespace, other_name: str, *, other_mac: str | None = None) -> None:
    """A veth pair. Segmentation offloads are off at both ends: real cables carry packets no larger than the MTU."""
    peer: dict[str, Any] = {"ifname": other_name, "net_ns_fd": other.fd}
    if other_mac is not None:
        peer["address"] = other_mac
    rtnl(one, lambda ip: ip.link("add", ifname=one_name, kind="veth", peer=peer))
    for ns, name in ((one, one_name), (other, other_name)):
        ns.call(lambda name=name: offloads_off(name))  # type: ignore[misc]


def offloads_off(interface: str) -> None:
    """TSO, GSO and GRO off on an interface of the calling thread's namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in _OFFLOADS:
            value = bytearray(struct.pack("II", command, 0))
            with _address_of(value) as address:
                fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), address))


@contextmanager
def _address_of(buffer: bytearray) -> Iterator[int]:
    import ctypes

    view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    yield ctypes.addressof(view)


def up(ns: Namespace, *names: str) -> None:
    def job(ip: IPRoute) -> None:
        for name in names:
            ip.link("set", index=index(ip, name), state="up")

    rtnl(ns, job)


def rename(ns: Namespace, old: str, new: str) -> None:
    """It is down afterwards."""

    def job(ip: IPRoute) -> None:
        found = index(ip, old)
        ip.link("set", index=found, state="down")
        ip.link("set", index=found, ifname=new)

    rtnl(ns, job)


def bridge(ns: Namespace, name: str) -> None:
    """A learning switch without spanning tree and without snooping: what a cheap access point is."""
    rtnl(
        ns,
        lambda ip: ip.link("add", ifname=name, kind="bridge", br_stp_state=0, br_forward_delay=0, br_mcast_snooping=0),
    )
    up(ns, name)


def plug(ns: Namespace, bridge_name: str, port: str, *, isolated: bool) -> None:
    """Make ``port`` a port of the bridge; isolated ports reach only ports that are not (client isolation of an AP)."""

    def job(ip: IPRoute) -> None:
        number = index(ip, port)
        ip.link("set", index=number, master=index(ip, bridge_name), state="up")
        if isolated:
            ip.brport("set", index=number, isolated=1)

    rtnl(ns, job)


def add_address(ns: Namespace, interface: str, address: str, *, nodad: bool = False) -> None:
    """``address`` with its prefix length, either family."""
    net = ipaddress.ip_interface(address)
    options: dict[str, Any] = {"flags": 0x02} if nodad else {}  # IFA_F_NODAD
    if net.version == 4:
        options["broadcast"] = str(net.network.broadcast_address)
    rtnl(
        ns,
        lambda ip: ip.addr(
            "replace", index=index(ip, interface), address=str(net.ip), prefixlen=net.network.prefixlen, **options
        ),
    )


def default_route(ns: Namespace, gateway: str) -> None:
    """Replace the IPv4 default route."""
    rtnl(ns, lambda ip: ip.route("replace", dst="0.0.0.0/0", gateway=gateway))


def addresses(ns: Namespace, interface: str, version: int) -> list[tuple[str, int, int]]:
    """(address, prefix length, IFA flags) of one family on one interface."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6

    def job(ip: IPRoute) -> list[tuple[str, int, int]]:
        found = []
        for message in ip.get_addr(index=index(ip, interface), family=family):
            attributes = dict(message["attrs"])
            flags = attributes.get("IFA_FLAGS", message["flags"])
            found.append((attributes["IFA_ADDRESS"], int(message["prefixlen"]), int(flags)))
        return found

    return rtnl(ns, job)


def has_default_route6(ns: Namespace) -> bool:
    return rtnl(ns, lambda ip: bool(list(ip.get_default_routes(family=socket.AF_INET6))))


def bottleneck(ns: Namespace, interface: str, kbit: int, queue_bytes: int) -> None:
    """What leaves through ``interface`` goes at this rate and waits in one queue (tbf): a line with a modem's buffer.

    Called again it changes the rate of the line as it is, with what waits in it.
    """
    burst_bytes = 3200  # two packets: a larger one would hide the line from whoever sends little
    rtnl(
        ns,
        lambda ip: ip.tc(
            "replace",
            "tbf",
            index(ip, interface),
            0x10000,
            rate=kbit * 125,
            burst=burst_bytes,
            limit=queue_bytes,
        ),
    )


def dropped_packets(ns: Namespace, interface: str) -> int:
    """What the interface's root qdisc has dropped, its children's drops included (TCA_STATS2, net/core/gen_stats.c)."""

    def job(ip: IPRoute) -> int:
        for message in ip.get_qdiscs(index=index(ip, interface)):
            attributes = dict(message["attrs"])
            if message["parent"] == 0xFFFF_FFFF:  # TC_H_ROOT
                return int(dict(attributes["TCA_STATS2"]["attrs"])["TCA_STATS_QUEUE"]["drops"])
        return 0

    return rtnl(ns, job)
