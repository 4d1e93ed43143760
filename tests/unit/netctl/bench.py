"""A gateway in memory for netctl's unit tests: configuration, hand-turned clock, grants. It starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netctl.api.types import DesiredState, GatewayConfig, Grant
from netctl.engine import Engine
from netctl.kernel.fake import FakeKernel

EPOCH = "epoch-of-tests"
BOOT = "boot-of-tests"
PREFIX = "fd00:77::"


class Clock:
    """CLOCK_BOOTTIME that moves only when told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def config(directory: Path | str = "/nowhere", **changes: Any) -> GatewayConfig:
    values: dict[str, Any] = {
        "lan_interface": "lan0",
        "uplink_interface": "wan0",
        "lan_address": "10.77.0.1/20",
        "ula_prefix": f"{PREFIX}/64",
        "link_down_kbit": 20_000,
        "link_up_kbit": 10_000,
        "portal_port": 8080,
        "portal_tls_port": None,
        "socket_path": f"{directory}/netctl.sock",
        "state_path": f"{directory}/state.json",
    }
    return GatewayConfig(**{**values, **changes})


def mac(number: int) -> str:
    return f"02:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def ipv4(number: int) -> str:
    return f"10.77.{1 + number // 250}.{1 + number % 250}"


def ipv6(number: int, which: int = 1) -> str:
    return f"{PREFIX}{number:x}:{which:x}"


def grant(number: int, **changes: Any) -> Grant:
    values: dict[str, Any] = {
        "id": number,
        "mac": mac(number),
        "ipv4": ipv4(number),
        "down_kbit": 5000,
        "up_kbit": 2000,
        "deadline_boot_s": None,
    }
    return Grant(**{**values, **changes})


def state(*grants: Grant, generation: int = 1, epoch: str = EPOCH) -> DesiredState:
    return DesiredState(epoch=epoch, generation=generation, grants=grants)


class Gateway:
    """An engine on a fake kernel; ``restart`` is kill -9 and a new daemon on the same kernel."""

    def __init__(self, directory: Path, ip_mac_hash: bool = True, **changes: Any) -> None:
        self.clock = Clock()
        self.config = config(directory, **changes)
        self.kernel = FakeKernel(self.config, clock=self.clock, ip_mac_hash=ip_mac_hash)
        self.engine = Engine(self.config, self.kernel, self.clock, BOOT)
        self.engine.start()
        self._generation = 0

    def push(self, *grants: Grant) -> int:
        """Push the next generation; the number of operations."""
        self._generation += 1
        return self.engine.apply(state(*grants, generation=self._generation)).ops

    def restart(self, boot_id: str = BOOT) -> Engine:
        self.kernel.link = (self.config.link_down_kbit, self.config.link_up_kbit)  # a new daemon knows no other
        self.kernel.looking = False
        self.engine = Engine(self.config, self.kernel, self.clock, boot_id)
        self.engine.start()
        return self.engine

    def pass_time(self, seconds: float) -> None:
        """Time passes and the daemon does what it asks for, as the server's loop would."""
        end = self.clock.now + seconds
        turns = 0
        while self.clock.now + self.engine.wake_in_s() <= end:
            self.clock.now += self.engine.wake_in_s()
            self.engine.due()
            turns += 1
            assert turns < 100 + 50 * seconds, "it spins"
        self.clock.now = end

    def members(self) -> dict[str, str | None]:
        return {ip: member.mac for ip, member in self.kernel.observe().members.items()}

    def bytes_of(self, grant_id: int) -> tuple[int, int] | None:
        """(up, down) of the grant as the meter reads it, all counters together; None: there is none."""
        found = [c for c in self.engine.usage(None).counters if c.grant == grant_id]
        return (sum(c.up_bytes for c in found), sum(c.down_bytes for c in found)) if found else None
