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

    To be asked in each transaction that lets somebody in, before `may_enter`, and by the meter.
    """
    raise NotImplementedError


def after(waiters: Sequence[Waiter], turn: Turn, boot_s: float) -> list[Waiter]:
    """The queue once ``turn`` was carried out, in order: called first, then who waits longest."""
    raise NotImplementedError


def place(waiters: Sequence[Waiter], mac: str) -> Place | None:
    """Where a device stands; None: it does not wait."""
    raise NotImplementedError


def may_enter(waiters: Sequence[Waiter], capacity: int | None, running: int, mac: str) -> bool:
    """Is there a place for this device, in a queue in which `turn` was carried out? (priority ``high``: do not ask.)"""
    raise NotImplementedError


def is_full(waiters: Sequence[Waiter], capacity: int | None, running: int) -> bool:
    """Can nobody come in now who does not wait already?"""
    raise NotImplementedError
