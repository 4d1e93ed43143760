"""A netctl and clocks that tests turn by hand. They know nothing of the code under test but its types."""

from __future__ import annotations

import threading
from collections import Counter as Count
from dataclasses import dataclass, field, replace

from netctl.api import errors
from netctl.api.errors import NetctlError
from netctl.api.types import Applied, Counter, DesiredState, Status, Usage
from portal.domain.model import Now

BOOT = "11111111-1111-4111-8111-111111111111"
OTHER_BOOT = "22222222-2222-4222-8222-222222222222"


class Clock:
    """Moves only when told, and by a nanosecond with each reading, as no two real readings are the same."""

    def __init__(self, boot_id: str = BOOT, boot_s: float = 1000.0, wall_s: float = 2_000_000_000.0) -> None:
        self.now = Now(boot_id, boot_s, wall_s)
        self._lock = threading.Lock()

    def __call__(self) -> Now:
        with self._lock:
            self.now = replace(self.now, boot_s=self.now.boot_s + 1e-6)
            return self.now

    def forward(self, seconds: float) -> None:
        self.now = replace(self.now, boot_s=self.now.boot_s + seconds, wall_s=self.now.wall_s + seconds)

    def set_wall(self, wall_s: float) -> None:
        self.now = replace(self.now, wall_s=wall_s)

    def reboot(self, boot_id: str = OTHER_BOOT, boot_s: float = 20.0, wall_s: float | None = None) -> None:
        self.now = Now(boot_id, boot_s, self.now.wall_s if wall_s is None else wall_s)


@dataclass
class Traffic:
    up_bytes: int = 0
    down_bytes: int = 0
    up_packets: int = 0
    down_packets: int = 0


@dataclass
class Netctl:
    """Keeps what it is told as netctl does: newest generation of an epoch wins, removed counters stay readable."""

    clock: Clock
    neighbours: dict[str, str] = field(default_factory=dict)
    state: DesiredState | None = None
    pushes: list[DesiredState] = field(default_factory=list)
    counters: dict[tuple[int, str], Traffic] = field(default_factory=dict)
    failing: NetctlError | None = None
    fail_next: list[NetctlError] = field(default_factory=list)  # by apply
    calls: Count[str] = field(default_factory=Count)
    drift_total: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, state: DesiredState) -> Applied:
        self._called("apply")
        with self.lock:
            macs = [grant.mac for grant in state.grants]
            ips = [grant.ipv4 for grant in state.grants if grant.ipv4]
            ids = [grant.id for grant in state.grants]
            if any(len(set(values)) < len(values) for values in (macs, ips, ids)):
                raise NetctlError(errors.REFUSED, "A device or address stands twice.")
            self.pushes.append(state)
            if self.state is None or self.state.epoch != state.epoch or self.state.generation <= state.generation:
                self.state = state
            return Applied(generation=self.state.generation, ops=0)

    def whois(self, ip: str) -> str | None:
        self._called("whois")
        return self.neighbours.get(ip)

    def usage(self, grant: int | None = None) -> Usage:
        self._called("usage")
        with self.lock:
            return Usage(
                boot_id=self.clock.now.boot_id,
                counters=tuple(
                    Counter(grant=key[0], ip=key[1], **vars(traffic))
                    for key, traffic in self.counters.items()
                    if grant in (None, key[0])
                ),
            )

    def status(self) -> Status:
        self._called("status")
        return Status(
            version="0",
            boot_id=self.clock.now.boot_id,
            epoch=self.state.epoch if self.state else None,
            generation=self.state.generation if self.state else 0,
            grants=len(self.state.grants) if self.state else 0,
            members=0,
            drift=0,
            drift_total=self.drift_total,
            last_apply_ms=0.0,
            uptime_s=1.0,
            lan_interface="lan0",
            uplink_interface="wan0",
            lan_prefixes=(),
            features=(),
        )

    # --- for tests --------------------------------------------------------------------------------------------------

    def send(self, grant: int, up: int, down: int, ip: str = "10.77.0.9") -> None:
        """The device of ``grant`` moves so many bytes."""
        with self.lock:
            traffic = self.counters.setdefault((grant, ip), Traffic())
            traffic.up_bytes += up
            traffic.down_bytes += down
            traffic.up_packets += up > 0
            traffic.down_packets += down > 0

    def reboot(self) -> None:
        self.state = None
        self.counters.clear()

    def online(self) -> list[str]:
        return [grant.mac for grant in self.state.grants] if self.state else []

    def _called(self, name: str) -> None:
        with self.lock:
            self.calls[name] += 1
            if self.fail_next and name == "apply":
                raise self.fail_next.pop(0)
            if self.failing is not None:
                raise self.failing


def unreachable() -> NetctlError:
    return NetctlError(errors.UNREACHABLE, "No netctl.")
