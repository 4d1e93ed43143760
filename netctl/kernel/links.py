"""The two interfaces: addresses, offloads, and the kernel's switches around them. It must not know users.

What needs pyroute2 runs once, as a process of its own (``python -m netctl.kernel.links``): its import costs 22 MB and
0.1 s, which the daemon would carry for good. Order and Report are JSON on stdin and stdout.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from netctl.api.errors import KERNEL, NetctlError
from netctl.api.types import GatewayConfig
from netctl.kernel.wire import Message, Netlink, attributes

OFFLOADS: Final = ("generic-receive-offload", "generic-segmentation-offload", "tcp-segmentation-offload")
NEIGHBOURS: Final = (("gc_thresh1", 1024), ("gc_thresh2", 4096), ("gc_thresh3", 8192))
LISTEN_AS_ROUTER: Final = "2"  # accept_ra in Documentation/networking/ip-sysctl.rst
SYSCTL: Final = Path("/proc/sys/net")
PING_RANGE: Final = "ipv4/ping_group_range"
FLOW_EVENTS: Final = "netfilter/nf_conntrack_events"
_IFA_F_NODAD: Final = 0x02
_SIOCGIFMTU: Final = 0x8921
_RTM_GETADDR: Final = 22
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFADDRMSG = struct.Struct("=BBBBi")


class Order(Struct, frozen=True):
    """Bring both interfaces up, turn offloads off, add ``addresses`` to the LAN; or only take ``remove`` away."""

    lan: str
    uplink: str
    addresses: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class Report(Struct, frozen=True):
    """Addresses that were not there before, what could not be done but is not needed, and what went wrong."""

    added: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""


# --- in the daemon --------------------------------------------------------------------------------------------------


def interface_index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as exc:
        raise NetctlError(
            KERNEL,
            f"there is no network interface {name}",
            "Plug it in, or name another one in site.toml; `ip link` lists what there is.",
        ) from exc


def mtu(*names: str) -> int:
    """The smallest MTU of these interfaces: what a full packet between them has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answers = [fcntl.ioctl(any_socket, _SIOCGIFMTU, struct.pack("16si12x", name.encode(), 0)) for name in names]
    return min(int(struct.unpack_from("i", answer, 16)[0]) for answer in answers)


def lan_addresses(netlink: Netlink, index: int) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    """Addresses of an interface with their prefix lengths, link-local ones left out."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for data, start, end in netlink.dump(Message(_RTM_GETADDR, 0, _IFADDRMSG.pack(family, 0, 0, 0, index))):
            _, length, _, _, ifindex = _IFADDRMSG.unpack_from(data, start)
            if ifindex != index:
                continue
            values = attributes(data, start + _IFADDRMSG.size, end)
            address = ipaddress.ip_address(values.get(_IFA_LOCAL) or values[_IFA_ADDRESS])
            if not address.is_link_local:
                found.append(ipaddress.ip_interface(f"{address}/{length}"))
    return found


def own_addresses(config: GatewayConfig) -> tuple[str, ...]:
    """What the LAN interface bears by the configuration: its IPv4 address, and the first of the ULA prefix."""
    if config.ula_prefix is None:
        return (config.lan_address,)
    network = ipaddress.IPv6Network(config.ula_prefix)
    return config.lan_address, f"{network[1]}/{network.prefixlen}"


def missing_addresses(
    config: GatewayConfig, standing: Sequence[ipaddress.IPv4Interface | ipaddress.IPv6Interface]
) -> tuple[str, ...]:
    """Addresses that the LAN interface must get.

    The ULA stands beside a prefix that the provider has delegated, not instead of it: devices prefer the public address
    (RFC 6724, rule 6: same label), and nobody is cut off when the prefix comes, changes or goes.
    """
    return tuple(text for text in own_addresses(config) if ipaddress.ip_interface(text) not in standing)


def switches(config: GatewayConfig) -> tuple[tuple[str, str], ...]:
    """(path below /proc/sys/net, value) of what must be set before anything is forwarded, forwarding itself last.

    rp_filter is left as it is: the sets know each sender, and a second look-up costs 3 % of a packet's way.
    """
    lan, uplink = config.lan_interface, config.uplink_interface
    before = [
        (f"ipv4/conf/{lan}/accept_redirects", "0"),
        # No hints to phones how to reach each other past the gateway: the kernel sends them before FORWARD refuses.
        ("ipv4/conf/all/send_redirects", "0"),
        (f"ipv4/conf/{lan}/send_redirects", "0"),
        (f"ipv6/conf/{lan}/accept_ra", "0"),
        # Go on listening to the provider's router advertisements although this box becomes a router.
        (f"ipv6/conf/{uplink}/accept_ra", LISTEN_AS_ROUTER),
        # Else frames between two ports of a bridge pass the rules, too, and count twice.
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-ip6tables", "0"),
    ]
    if config.socket_group is not None and (now := _read(PING_RANGE)):
        before.append((PING_RANGE, ping_range(now, config.socket_group)))
    if config.log_connections:
        before.append((FLOW_EVENTS, "1"))
    if config.ula_prefix is not None:
        before.append((f"ipv6/conf/{lan}/disable_ipv6", "0"))
    return (*before, *forwarding())


def ping_range(now: str, group: int) -> str:
    """The groups that may ping (icmp(7), ping_group_range), ``now`` and this one: nobody loses what he has."""
    low, high = map(int, now.split())
    if low > high:  # "1 0": no group
        low = high = group
    return f"{min(low, group)}\t{max(high, group)}"


def forwarding() -> tuple[tuple[str, str], ...]:
    return (("ipv6/conf/all/forwarding", "1"), ("ipv4/ip_forward", "1"))


def forwarding_stands() -> bool:
    return all(_read(path) in (value, None) for path, value in forwarding())


def to_switch(values: Sequence[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """(path, value now, value wanted) of those that are there and stand otherwise, in the order given."""
    found = []
    for path, value in values:
        before = _read(path)
        if before is None or before == value:
            continue
        if path == FLOW_EVENTS and (before, value) == ("2", "1"):
            continue  # as soon as somebody listens (nf_conntrack-sysctl.rst): the same, at less cost
        if value == LISTEN_AS_ROUTER and before == "0":
            continue  # another program listens there (systemd-networkd, NetworkManager), or nobody shall
        found.append((path, before, value))
    return found


def switch(values: Sequence[tuple[str, str, str]]) -> None:
    for path, _, value in values:
        try:
            (SYSCTL / path).write_text(value)
        except OSError as exc:
            raise NetctlError(KERNEL, f"cannot set /proc/sys/net/{path} to {value}: {exc.strerror}") from exc


def raise_neighbour_limits() -> str:
    """Make room for thousands of phones in the kernel's neighbour tables; '' or what hindered it.

    The default refuses the 1025th entry. The limits are the whole machine's, so a network namespace cannot set them.
    """
    for family in ("ipv4", "ipv6"):
        for name, value in reversed(NEIGHBOURS):
            path = f"{family}/neigh/default/{name}"
            before = _read(path)
            if before is None:
                return "the limits belong to the initial network namespace"
            if int(before) < value:
                try:
                    (SYSCTL / path).write_text(str(value))
                except OSError as exc:
                    return f"cannot set /proc/sys/net/{path}: {exc.strerror}"
    return ""


def _read(path: str) -> str | None:
    try:
        return (SYSCTL / path).read_text().strip()
    except OSError:
        return None


# --- in the run-once process ------------------------------------------------------------------------------------------


def main() -> int:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        report = _carry_out(order)
    except Exception as exc:  # pyroute2 raises many kinds; each ends as one sentence
        report = Report(error=str(exc) or type(exc).__name__)
    sys.stdout.buffer.write(msgspec.json.encode(report))
    sys.stdout.buffer.flush()
    return 1 if report.error else 0


def _carry_out(order: Order) -> Report:
    from pyroute2 import IPRoute  # noqa: PLC0415 - see above

    added: list[str] = []
    with IPRoute() as route:
        lan = interface_index(order.lan)
        for text in order.remove:
            address = ipaddress.ip_interface(text)
            with _ignore(99, 2):  # EADDRNOTAVAIL, ENOENT: gone already
                route.addr("del", index=lan, address=str(address.ip), prefixlen=address.network.prefixlen)
        if order.remove:
            return Report()
        for name in (order.lan, order.uplink):
            route.link("set", index=interface_index(name), state="up")
        for text in order.addresses:
            _add_address(route, lan, text, added)
    warnings = [w for name in (order.lan, order.uplink) for w in _offloads_off(name)]
    return Report(added=tuple(added), warnings=tuple(warnings))


def _add_address(route: Any, index: int, text: str, added: list[str]) -> None:
    address = ipaddress.ip_interface(text)
    more: dict[str, Any] = {}
    if address.version == 6:
        more["flags"] = _IFA_F_NODAD  # the gateway answers at once; nobody else may have its address
    else:
        more["broadcast"] = str(address.network.broadcast_address)
    with _ignore(17):  # EEXIST
        route.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **more)
        added.append(text)


def _offloads_off(name: str) -> list[str]:
    """HTB does not split what a card or driver has glued together: one 64 KB packet is 0.26 s at 2 Mbit/s."""
    from pyroute2.ethtool.ioctl import IoctlEthtool  # noqa: PLC0415 - see above

    warnings = []
    tool = IoctlEthtool(name)
    for offload in OFFLOADS:
        try:
            if tool.get_offload_flags()[offload]:  # the kernel refuses to switch off what a card never had
                tool.set_offload_flag(offload, 0)
        except Exception as exc:  # its own errors are no OSError
            warnings.append(f"{name}: {offload} stays on ({exc or type(exc).__name__})")
    tool.close()
    return warnings


@contextlib.contextmanager
def _ignore(*codes: int) -> Any:
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415 - see above

    try:
        yield
    except NetlinkError as exc:
        if exc.code not in codes:
            raise


if __name__ == "__main__":
    sys.exit(main())
