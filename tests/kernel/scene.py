"""A gateway's kernel without its processes: namespaces for the Internet, the gateway, a switch and phones on it.

It must not know sessions, sockets of netctl or pages: LinuxKernel alone is on trial here.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from netctl.api.types import GatewayConfig
from netctl.kernel.linux import LinuxKernel
from netctl.ops import ClassRates, Direction, Op, SetClass, SetMember, SetNeighbour
from tests.village import links
from tests.village.netns import Namespace

LAN4, LAN6 = "10.77.0.1/20", "fd12:3456:789a:1::/64"
GATEWAY4, GATEWAY6 = "10.77.0.1", "fd12:3456:789a:1::1"
INTERNET4, INTERNET6 = "198.18.0.1", "2001:db8:18::1"
UPLINK4, UPLINK6 = "198.18.0.2", "2001:db8:18::2"


def config(directory: Path, **changes: Any) -> GatewayConfig:
    values: dict[str, Any] = {
        "lan_interface": "lan0",
        "uplink_interface": "wan0",
        "lan_address": LAN4,
        "ula_prefix": LAN6,
        "link_down_kbit": 50_000,
        "link_up_kbit": 20_000,
        "portal_port": 8080,
        "portal_tls_port": 8443,
        "staff_port": 8444,
        "block_address": "192.0.2.1",
        "socket_path": str(directory / "netctl.sock"),
        "state_path": str(directory / "netctl-state.json"),
    }
    return GatewayConfig(**(values | changes))


class Inside:
    """An object whose methods run inside a namespace."""

    def __init__(self, namespace: Namespace, subject: Any) -> None:
        self._namespace, self._subject = namespace, subject

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._subject, name)
        return lambda *arguments: self._namespace.call(lambda: method(*arguments))


class Scene:
    """One gateway between an Internet and a switch. ``kernel`` is a LinuxKernel inside, set up by the test.

    ``lan_bridge``: lan0 is a bridge without ports yet, and nothing leads to the switch; ``phone`` cannot be used.
    """

    def __init__(self, directory: Path, *, lan_bridge: bool = False, **changes: Any) -> None:
        self.config = config(directory, **changes)
        self._stack = contextlib.ExitStack()
        self.gateway, self.internet, self.switch = (
            self._stack.enter_context(contextlib.closing(Namespace(label)))
            for label in ("gateway", "internet", "switch")
        )
        links.cable(self.gateway, "wan0", self.internet, "eth0")
        links.bridge(self.switch, "br0")
        if lan_bridge:
            links.bridge(self.gateway, "lan0")
        else:
            links.cable(self.gateway, "lan0", self.switch, "ap0")
            links.plug(self.switch, "br0", "ap0", isolated=False)
        links.up(self.gateway, "lan0", "wan0")
        links.up(self.internet, "eth0")
        for ns, name, addresses in (
            (self.gateway, "wan0", (f"{UPLINK4}/24", f"{UPLINK6}/64")),
            (self.internet, "eth0", (f"{INTERNET4}/24", f"{INTERNET6}/64")),
        ):
            for address in addresses:
                links.add_address(ns, name, address, nodad=True)
        self.kernel: Any = Inside(self.gateway, self.gateway.call(lambda: LinuxKernel(self.config)))
        self._stack.callback(self.kernel.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def phone(self, number: int, *, ipv4: str | None = None) -> Phone:
        """A phone on the switch with static addresses: 10.77.1.N and ::N in the LAN's prefix."""
        phone = Phone(self, number, ipv4 or f"10.77.1.{number}")
        self._stack.callback(phone.namespace.close)
        return phone

    def out(self, *command: str) -> str:
        """What a command prints inside the gateway."""
        return str(self.gateway.run(list(command)).stdout)

    def passed(self, device: str, class_id: str) -> int:
        """Bytes that have left through a class, as tc(8) says."""
        return int(
            self.out("tc", "-s", "class", "show", "dev", device, "classid", class_id).split(" Sent ")[1].split()[0]
        )


class Phone:
    def __init__(self, scene: Scene, number: int, ipv4: str) -> None:
        self.mac = f"02:00:00:00:00:{number:02x}"
        self.ipv4 = ipv4
        self.ipv6 = f"fd12:3456:789a:1::{number:x}"
        self.namespace = Namespace(f"phone{number}")
        links.cable(scene.switch, f"p{number}", self.namespace, "wlan0", other_mac=self.mac)
        links.plug(scene.switch, "br0", f"p{number}", isolated=False)
        links.up(self.namespace, "wlan0")
        links.add_address(self.namespace, "wlan0", f"{ipv4}/20")
        links.add_address(self.namespace, "wlan0", f"{self.ipv6}/64", nodad=True)
        links.default_route(self.namespace, GATEWAY4)
        self.namespace.run(["ip", "-6", "route", "add", "default", "via", GATEWAY6, "dev", "wlan0"])

    def connect(self, address: str, port: int, timeout_s: float = 2.0) -> socket.socket:
        """A TCP connection from the phone. Raises what connect(2) raises."""
        sock = self.namespace.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.settimeout(timeout_s)
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock


def admit(
    mac: str, *ips: str, minor: int = 0x10, grant: int = 7, kbit: int = 5000, rates: ClassRates | None = None
) -> list[Op]:
    """What the engine does for a login."""
    return [
        *(SetClass(direction, minor, rates or ClassRates(64, kbit)) for direction in Direction),
        *(SetMember(ip, mac, minor, grant, 600) for ip in ips),
        *(SetNeighbour(ip, mac) for ip in ips),
    ]


def listen(namespace: Namespace, address: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = namespace.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    if kind == socket.SOCK_STREAM:
        sock.listen(64)
    sock.settimeout(2)
    return sock


def need(kernel: Any, feature: str) -> None:
    """Skip the test by name where this kernel lacks a feature."""
    if not any(f.name == feature and f.present for f in kernel.probe()):
        pytest.skip(f"kernel lacks {feature}")
