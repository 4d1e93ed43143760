"""What the portal talks about: sessions, usage, the uplink. Values only; it must not know Flask, SQL or sockets."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class EndReason(enum.StrEnum):
    """Why a session ended."""

    LOGOUT = "logout"
    TIME = "time"
    IDLE = "idle"


class UplinkState(enum.StrEnum):
    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Now:
    """One reading of the clocks: CLOCK_BOOTTIME of boot ``boot_id`` decides; ``wall_s`` (Unix, UTC) is for people."""

    boot_id: str
    boot_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Session:
    """A device's time online. Bytes are those flushed by the meter; ``active_boot_s`` is when it last sent something.

    ``deadline_boot_s`` and ``active_boot_s`` are of boot ``boot_id``; ``remaining_s`` is what was left at that boot's
    last flush, and counts in a later one. ``deadline_boot_s`` and ``remaining_s`` None: no time limit.
    """

    id: int
    mac: str
    ipv4: str | None
    plan: str
    method: str
    terms_version: str
    started_wall_s: float
    boot_id: str
    deadline_boot_s: float | None
    remaining_s: float | None
    active_boot_s: float
    up_bytes: int
    down_bytes: int
    ended_wall_s: float | None
    end_reason: EndReason | None


@dataclass(frozen=True, slots=True)
class Uplink:
    """``since_wall_s`` is in terms of today's wall clock, however often that was set since. None: not known."""

    state: UplinkState
    since_wall_s: float | None
