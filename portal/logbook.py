"""Says in the usage log what the meter finds: starts and stops, the clock, the uplink, samples, interims, heartbeats.

It must not know netctl or policy. Every method that writes works inside the transaction it is given.

What people moved is told at the quarters of the wall clock's hour (every zone of today is whole quarters off UTC), so
that bytes fall into the right hour and day: as it was read last before the quarter, and written at once after it.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Final

from portal import release
from portal.config import SiteConfig
from portal.domain.journal import Kind
from portal.domain.model import Now
from portal.domain.uplink import UplinkView
from portal.store import journal, sessions

SLOT_S: Final = 300.0  # a sample is taken as often
QUARTER_SLOTS: Final = 3
TOTALS_S: Final = 2 * SLOT_S
"""Totals are written as often at least: at the quarter, and five minutes before it. A card wears with every write."""
HEARTBEAT_S: Final = 60.0  # after a power cut, what was left to everybody is exact to this
OFFSET_MOVED_MS: Final = 2000
_BEFORE_S, _AFTER_S = 0.4, 0.02  # around the end of a slot


def slot_of(wall_s: float) -> int:
    """Which five minutes of the wall clock these are."""
    return math.floor(wall_s / SLOT_S)


def wake_s(wall_s: float) -> float:
    """Seconds until the meter must look for the log's sake: right before the slot ends, and once it has ended."""
    left_s = SLOT_S - wall_s % SLOT_S
    return left_s - _BEFORE_S if left_s > 2 * _BEFORE_S else left_s + _AFTER_S


class Logbook:
    """Of one meter. What a method has told holds once its transaction is on the disk: then call ``kept``."""

    def __init__(self, config: SiteConfig) -> None:
        self._site = {
            "site": config.site.code,
            "version": release.VERSION,
            "zone": config.site.timezone,
            "provider": config.uplink.provider,
            "link": config.uplink.link,
        }
        self._slot: int | None = None
        self._offset_ms: int | None = None

    def start(self, db: sqlite3.Connection, seen_boot_s: float | None, now: Now) -> None:
        """The meter begins. ``seen_boot_s``: the last heartbeat in this boot before it, if there was one."""
        seen_ms = None if seen_boot_s is None else round(seen_boot_s * 1000)
        journal.append(db, Kind.START, {**self._site, "seen_ms": seen_ms}, now)

    def stop(self, db: sqlite3.Connection, now: Now) -> None:
        journal.append(db, Kind.STOP, {}, now)

    def clock_is_news(self, now: Now) -> bool:
        """NTP has set the clock: has the log this offset, to OFFSET_MOVED_MS?"""
        return self._offset_ms is None or abs(_offset_ms(now) - self._offset_ms) >= OFFSET_MOVED_MS

    def clock(self, db: sqlite3.Connection, now: Now) -> None:
        journal.append(db, Kind.CLOCK, {"offset_ms": _offset_ms(now)}, now)

    @property
    def offset_ms(self) -> int | None:
        """What the log was told of the clock of this boot."""
        return self._offset_ms

    def clock_kept(self, now: Now) -> None:
        self._offset_ms = _offset_ms(now)

    def uplink(self, db: sqlite3.Connection, view: UplinkView, now: Now) -> None:
        """Another state, or another thing fails."""
        at_boot_s = now.boot_s if view.since_boot_s is None else view.since_boot_s
        journal.append(
            db, Kind.UPLINK, {"state": view.state, "failing": view.failing, "at_ms": round(at_boot_s * 1000)}, now
        )

    def slot_is_over(self, now: Now) -> bool:
        if self._slot is None:
            self._slot = slot_of(now.wall_s)
        return slot_of(now.wall_s) != self._slot

    def totals_are_due(self, now: Now) -> bool:
        """Not where only the first slot of a quarter is over."""
        begun = slot_of(now.wall_s)
        return self._slot is None or begun - self._slot != 1 or begun % QUARTER_SLOTS != 1

    def slot(self, db: sqlite3.Connection, view: UplinkView, read_boot_s: float, now: Now) -> None:
        """What is due at the end of a slot, where one is over: a sample, and at a quarter what each session moved.

        ``read_boot_s``: when the totals that are on the disk were read.
        """
        over, begun = self._slot, slot_of(now.wall_s)
        if over is None or over == begun:
            return
        quality = {"latency_ms": view.latency_ms, "loss": view.loss}
        journal.append(db, Kind.SAMPLE, {"online": sessions.count_not_ended(db), **quality}, now)
        if over // QUARTER_SLOTS != begun // QUARTER_SLOTS:
            sessions.tell_interims(db, read_boot_s, now)

    def slot_kept(self, now: Now) -> None:
        self._slot = slot_of(now.wall_s)


def _offset_ms(now: Now) -> int:
    return round((now.wall_s - now.boot_s) * 1000)
