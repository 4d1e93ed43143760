"""Decides who of those that wait for a full site is called in, and who has lost the place. Pure: no SQL, no clock.

The longest-waiting come first. A called place is kept for CALLED_KEPT_S and counts as taken for everybody else; a
device that nobody looks at any more for UNSEEN_KEPT_S stands in nobody's way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from portal.domain.model import Place

UNSEEN_KEPT_S = 90.0
CALLED_KEPT_S = 120.0


class Waiter(NamedTuple):
    """A row of table waiting, of this boot. Its page refreshes itself, and each refresh moves ``seen_boot_s``."""

    mac: str
    since_boot_s: float
    seen_boot_s: float
    called_boot_s: float | None = None


class Turn(NamedTuple):
    """What changes now: ``lost`` leave the queue, ``called`` (who waited longest first) get a place from now on."""

    lost: tuple[str, ...]
    called: tuple[str, ...]


def turn(waiters: Sequence[Waiter], capacity: int | None, running: int, boot_s: float) -> Turn:
    """What changes in the queue at ``boot_s``, with ``running`` devices online. ``capacity`` None: no limit.

    To be carried out in each transaction that lets somebody in, before `may_enter`, and by the meter.
    """
    lost = [waiter.mac for waiter in waiters if _is_lost(waiter, boot_s)]
    kept = [waiter for waiter in waiters if not _is_lost(waiter, boot_s)]
    waiting = sorted((waiter for waiter in kept if waiter.called_boot_s is None), key=_longest_first)
    room = len(waiting) if capacity is None else max(0, capacity - running - (len(kept) - len(waiting)))
    return Turn(tuple(lost), tuple(waiter.mac for waiter in waiting[:room]))


def after(waiters: Sequence[Waiter], turn: Turn, boot_s: float) -> list[Waiter]:
    """The queue once ``turn`` was carried out at ``boot_s``."""
    return [
        waiter._replace(called_boot_s=boot_s) if waiter.mac in turn.called else waiter
        for waiter in waiters
        if waiter.mac not in turn.lost
    ]


def place(waiters: Sequence[Waiter], mac: str) -> Place | None:
    """Where a device stands; None: it does not wait."""
    own = next((waiter for waiter in waiters if waiter.mac == mac), None)
    if own is None:
        return None
    if own.called_boot_s is not None:
        return Place(ahead=0, called=True, kept_until_boot_s=own.called_boot_s + CALLED_KEPT_S)
    key = _longest_first(own)
    ahead = sum(waiter.called_boot_s is None and _longest_first(waiter) < key for waiter in waiters)
    return Place(ahead=ahead, called=False)


def may_enter(waiters: Sequence[Waiter], capacity: int | None, running: int, mac: str) -> bool:
    """Is there a place for this device, in a queue in which `turn` was carried out?

    Not to be asked for devices that come in anyway: plans of priority ``high``, and those that an operator allowed.
    """
    return any(waiter.mac == mac and waiter.called_boot_s is not None for waiter in waiters) or not is_full(
        waiters, capacity, running
    )


def is_full(waiters: Sequence[Waiter], capacity: int | None, running: int) -> bool:
    """Can nobody come in now for whom no place is kept? Whoever waits has a place already, or stands before them."""
    return capacity is not None and running + len(waiters) >= capacity


def _is_lost(waiter: Waiter, boot_s: float) -> bool:
    if waiter.called_boot_s is not None:
        return boot_s - waiter.called_boot_s >= CALLED_KEPT_S
    return boot_s - waiter.seen_boot_s >= UNSEEN_KEPT_S


def _longest_first(waiter: Waiter) -> tuple[float, str]:
    return waiter.since_boot_s, waiter.mac
