"""Clients, one gateway and an Internet host in namespaces of their own, the gateway being plain NAT or netctl alone.

It must not know the portal: grants are pushed to netctl as the portal would push them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from netctl.api import types
from netctl.api.client import Client
from netctl.api.errors import NetctlError
from tests.village import links
from tests.village.netns import Namespace

LAN_ADDRESS = "10.77.0.1"
LAN_PREFIX = 20
WAN_ADDRESS = "198.18.0.2"
INTERNET_ADDRESS = "198.18.0.1"
START_S = 20.0


@dataclass(frozen=True, slots=True)
class ClientHost:
    ns: Namespace
    mac: str
    ip: str


@dataclass(frozen=True, slots=True)
class Line:
    clients: Sequence[ClientHost]
    gateway: Namespace
    internet: Namespace


def user_mac(number: int) -> str:
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def user_ip(number: int) -> str:
    """Users are numbered from 0; their addresses begin at 10.77.1.0, so that the gateway's is never hit."""
    return f"10.77.{1 + (number >> 8)}.{number & 255}"


def _switch(switch: Namespace, gateway: Namespace, clients: Sequence[ClientHost]) -> None:
    links.cable(gateway, "lan0", switch, "uplink")
    links.bridge(switch, "br0")
    links.plug(switch, "br0", "uplink", isolated=False)
    for number, client in enumerate(clients):
        links.cable(switch, f"port{number}", client.ns, "eth0", other_mac=client.mac)
        links.plug(switch, "br0", f"port{number}", isolated=True)


@contextmanager
def line(client_numbers: Sequence[int]) -> Iterator[Line]:
    """The three parts, cabled and addressed but for the gateway's LAN address, which is its own affair."""
    spaces: list[Namespace] = []

    def make(label: str) -> Namespace:
        spaces.append(Namespace(label))
        return spaces[-1]

    try:
        gateway, internet = make("gateway"), make("internet")
        links.cable(gateway, "wan0", internet, "eth0")
        clients = [ClientHost(make(f"client{n}"), user_mac(n), user_ip(n)) for n in client_numbers]
        if len(clients) == 1:  # no switch: its work would be a share of every packet that is not the gateway's
            links.cable(gateway, "lan0", clients[0].ns, "eth0", other_mac=clients[0].mac)
        else:
            _switch(make("switch"), gateway, clients)
        links.up(gateway, "lan0", "wan0")
        links.up(internet, "eth0")
        links.add_address(gateway, "wan0", f"{WAN_ADDRESS}/24")
        links.add_address(internet, "eth0", f"{INTERNET_ADDRESS}/24")
        links.default_route(gateway, INTERNET_ADDRESS)
        for client in clients:
            links.up(client.ns, "eth0")
            links.add_address(client.ns, "eth0", f"{client.ip}/{LAN_PREFIX}")
            links.default_route(client.ns, LAN_ADDRESS)
        yield Line(clients, gateway, internet)
    finally:
        for space in reversed(spaces):
            space.close()


@contextmanager
def plain_nat(client_numbers: Sequence[int], *, queue: str | None = None) -> Iterator[Line]:
    """The baseline: forwarding and one MASQUERADE rule, of the same iptables that netctl's rules go to.

    ``queue``: the queueing discipline of both interfaces; virtual ones have none.
    """
    with line(client_numbers) as parts:
        links.add_address(parts.gateway, "lan0", f"{LAN_ADDRESS}/{LAN_PREFIX}")
        parts.gateway.sysctl("net.ipv4.ip_forward", 1)
        parts.gateway.run(["iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-o", "wan0", "-j", "MASQUERADE"])
        if queue is not None:
            for name in ("lan0", "wan0"):
                parts.gateway.run(["tc", "qdisc", "replace", "dev", name, "root", queue])
        yield parts


@dataclass(frozen=True, slots=True)
class Shaped(Line):
    netctl: Client

    def admit(self, grants: Sequence[types.Grant]) -> None:
        """Make exactly these grants stand; returns when they are in force."""
        generation = self.netctl.status().generation + 1
        self.netctl.apply(types.DesiredState(epoch="bench-bench", generation=generation, grants=tuple(grants)))


@contextmanager
def netctl_only(
    client_numbers: Sequence[int], *, link_down_kbit: int | None = None, link_up_kbit: int | None = None
) -> Iterator[Shaped]:
    """The same line with a real netctl daemon, and its log beside the error if it does not start."""
    with tempfile.TemporaryDirectory(prefix="gerbang-bench-") as directory, line(client_numbers) as parts:
        run = Path(directory)
        config = types.GatewayConfig(
            lan_interface="lan0",
            uplink_interface="wan0",
            lan_address=f"{LAN_ADDRESS}/{LAN_PREFIX}",
            ula_prefix=None,
            link_down_kbit=link_down_kbit,
            link_up_kbit=link_up_kbit,
            portal_port=8080,
            portal_tls_port=None,
            staff_port=8444,
            garden_networks=("203.0.113.0/24",),
            block_address="192.0.2.1",
            socket_path=str(run / "netctl.sock"),
            state_path=str(run / "state.json"),
        )
        (run / "netctl.json").write_bytes(types.encode(config))
        with (run / "log").open("w") as log:
            command = [sys.executable, "-m", "netctl", "daemon", "--config", str(run / "netctl.json")]
            daemon = parts.gateway.popen(command, stdout=log, stderr=log)
        client = Client(config.socket_path)
        deadline = time.monotonic() + START_S
        while True:
            try:
                client.status()
                break
            except NetctlError as error:
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"netctl did not start: {error}\n{(run / 'log').read_text()}") from error
                time.sleep(0.05)
        try:
            yield Shaped(parts.clients, parts.gateway, parts.internet, client)
        finally:
            daemon.terminate()
            daemon.wait(timeout=10)


def grant(number: int, *, down_kbit: int | None, up_kbit: int | None, guaranteed_kbit: int = 64) -> types.Grant:
    return types.Grant(
        id=number + 1,
        mac=user_mac(number),
        ipv4=user_ip(number),
        down_kbit=down_kbit,
        up_kbit=up_kbit,
        guaranteed_kbit=guaranteed_kbit,
        deadline_boot_s=None,
    )


def received_packets(ns: Namespace, interface: str = "eth0") -> int:
    """Packets that ``interface`` has received, from the namespace's own /proc/net/dev."""
    text = ns.call(lambda: Path("/proc/thread-self/net/dev").read_text())
    return int(text.partition(f"{interface}:")[2].split()[1])
