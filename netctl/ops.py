"""The operations that change kernel state, each with one stable line of text. They must not know how they are done."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Direction(enum.Enum):
    """Seen from the user: ``DOWN`` is shaped on LAN egress (classes 1:N), ``UP`` on uplink egress (classes 2:N)."""

    DOWN = "down"
    UP = "up"


@dataclass(frozen=True, slots=True)
class ClassRates:
    """What one user's HTB class is given. kbit/s and kilobytes as the user sees them (headers not counted).

    ``priority``: 0 is served first with what is left beyond the guaranteed rates. ``burst_kbytes``: what may pass above
    ``ceil_kbit`` after a pause, borrowed from the link; None: no more than a few packets.
    """

    guaranteed_kbit: int
    ceil_kbit: int
    priority: int = 1
    burst_kbytes: int | None = None

    def __str__(self) -> str:
        burst = "" if self.burst_kbytes is None else f" burst {self.burst_kbytes} kB"
        return f"rate {self.guaranteed_kbit} ceil {self.ceil_kbit} kbit{burst} prio {self.priority}"


@dataclass(frozen=True, slots=True)
class SetClass:
    """Create the HTB class ``minor``, or change it in place: what is queued and on its way stays."""

    direction: Direction
    minor: int
    rates: ClassRates

    def __str__(self) -> str:
        return f"set class {self.direction.value} {self.minor:#x} {self.rates}"


@dataclass(frozen=True, slots=True)
class DelClass:
    direction: Direction
    minor: int

    def __str__(self) -> str:
        return f"del class {self.direction.value} {self.minor:#x}"


@dataclass(frozen=True, slots=True)
class SetMember:
    """Admit the address ``ip`` of ``mac`` under grant ``grant`` in both directions, or change its timeout.

    ``timeout_s`` None means until removed. The four counters (up bytes, down bytes, up packets, down packets) are where
    counting (re)starts; None keeps what is there, and a member that was not there starts from 0.
    """

    ip: str
    mac: str
    minor: int
    grant: int
    timeout_s: int | None
    counters: tuple[int, int, int, int] | None = None

    def __str__(self) -> str:
        until = "no timeout" if self.timeout_s is None else f"timeout {self.timeout_s} s"
        return f"set member {self.ip} {self.mac} class {self.minor:#x} grant {self.grant} {until}"


@dataclass(frozen=True, slots=True)
class DelMember:
    ip: str
    mac: str

    def __str__(self) -> str:
        return f"del member {self.ip} {self.mac}"


@dataclass(frozen=True, slots=True)
class SetNeighbour:
    """Pin ``ip`` to ``mac`` on the LAN (NUD_PERMANENT), so that nobody else answers for it."""

    ip: str
    mac: str

    def __str__(self) -> str:
        return f"set neighbour {self.ip} {self.mac}"


@dataclass(frozen=True, slots=True)
class DelNeighbour:
    ip: str

    def __str__(self) -> str:
        return f"del neighbour {self.ip}"


Op = SetClass | DelClass | SetMember | DelMember | SetNeighbour | DelNeighbour
