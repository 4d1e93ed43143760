"""Decides whether a device may join a person, and which other must leave for it. Pure: no SQL, no clock.

A person (portal.domain.model.Person) is whom a budget belongs to. On how many devices at once: ``devices`` of the plan
or, for a voucher, of its batch; a voucher is bound to its devices for good.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from portal.domain.model import Refusal


class Way(enum.Enum):
    """How a device asks to be let in as a person's."""

    TAP = "tap"  # under the terms, on a device that the person used before
    VOUCHER = "voucher"  # the voucher's own code
    RETURN = "return"  # the return code
    PASSWORD = "password"  # noqa: S105 - a way in, not a password
    RULE = "rule"  # an operator allowed this MAC


class Online(NamedTuple):
    """A running session of the person."""

    session_id: int
    mac: str
    active_boot_s: float


class Bound(NamedTuple):
    """A device that a voucher is bound to; ``used_wall_s``: when it was last seen (or else bound)."""

    mac: str
    used_wall_s: float


@dataclass(frozen=True, slots=True)
class Joining:
    """What a device's joining does. ``refusal``: nothing, for that reason.

    ``moved``: these sessions end with EndReason.MOVED, least recently active first; the new session goes on with the
    time that the first of them had left. ``bind``: the voucher is bound to the device from now on, in the place of
    ``unbind`` (a MAC; None: there was a place free).
    """

    refusal: Refusal | None = None
    moved: tuple[Online, ...] = ()
    bind: bool = False
    unbind: str | None = None


def join(mac: str, way: Way, limit: int, online: Sequence[Online], bound: Sequence[Bound] | None = None) -> Joining:
    """``limit``: devices at once. ``online``: the person's running sessions. ``bound``: of a voucher, else None.

    Who proves to be the person by its return code, or by a device of theirs, comes in, and another device goes: so
    whoever has lost a code to somebody can always take the place back. Who knows a voucher's code or a password, which
    several people may, comes in only while there is room.
    """
    if way is Way.RULE:
        return Joining()
    others = sorted((session for session in online if session.mac != mac), key=lambda session: session.active_boot_s)
    moved = tuple(others[: max(0, len(others) + 1 - limit)])
    if moved and way is Way.PASSWORD:
        return Joining(Refusal.DEVICES)
    if bound is None or any(device.mac == mac for device in bound):
        return Joining(moved=moved)
    if len(bound) < limit:
        return Joining(moved=moved, bind=True)
    if way is Way.VOUCHER:
        return Joining(Refusal.CODE_USED)
    return Joining(moved=moved, bind=True, unbind=_leaves(moved, others, bound))


def _leaves(moved: Sequence[Online], online: Sequence[Online], bound: Sequence[Bound]) -> str:
    """The device whose place in the voucher another takes: one that is moved, else the one unused for longest."""
    macs = {device.mac for device in bound}
    for session in moved:
        if session.mac in macs:
            return session.mac
    busy = {session.mac for session in online}
    return min(bound, key=lambda device: (device.mac in busy, device.used_wall_s, device.mac)).mac
