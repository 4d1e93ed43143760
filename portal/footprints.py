"""Remembers in one process which devices asked the portal today, and what of it is not on the disk. It knows no SQL.

Phones ask many times a minute, and forged MACs cost nothing: a fact is handed on once a day for each device, and both
what is remembered and what waits are bounded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from portal.domain import osfamily

KEPT: Final = 2048
WAITING: Final = 1024
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Footprint:
    """A device was here at ``boot_s``; ``saw``: it got a page. ``day``: as in `Footprints.note`."""

    mac: str
    os: str
    saw: bool
    boot_s: float
    day: int


class Footprints:
    """Of one process, for any number of threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, str, bool]] = OrderedDict()  # MAC -> (its day, os, saw)
        self._waiting: dict[tuple[str, int], Footprint] = {}
        self._beyond = 0
        self._lock = threading.Lock()

    def note(self, mac: str, os: str, *, saw: bool, boot_s: float, day: int) -> None:
        """``day`` is any number that turns at local midnight: what was noted before it counts anew."""
        with self._lock:
            on, known_os, had_seen = self._known.get(mac, (day - 1, osfamily.UNKNOWN, False))
            if on == day and osfamily.later(known_os, os) == known_os and had_seen >= saw:
                return
            if on == day:
                os, saw = osfamily.later(known_os, os), saw or had_seen
            if (mac, day) not in self._waiting and len(self._waiting) >= WAITING:
                self._beyond += 1
                return
            self._known[mac] = (day, os, saw)
            self._known.move_to_end(mac)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
            self._waiting[mac, day] = Footprint(mac, os, saw, boot_s, day)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> tuple[list[Footprint], int]:
        """What waits, which then no longer does; and how many requests found no room since the last time."""
        with self._lock:
            taken, beyond = list(self._waiting.values()), self._beyond
            self._waiting, self._beyond = {}, 0
            return taken, beyond

    def give_back(self, taken: list[Footprint]) -> None:
        """It did not reach the disk."""
        with self._lock:
            for one in taken:
                self._waiting.setdefault((one.mac, one.day), one)  # what came since includes what was known
