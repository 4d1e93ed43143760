"""Counts how far the devices of a day came: had an address, saw the page, were online. It must not know how pages work.

The meter calls it: it looks at the leases at each tick and writes with the meter's own writes, every five minutes. What
devices asked of the portal, the guest pages write themselves (portal.footprints). A figure of a day that was told is
never told anew from less than was known: days that are over stay so.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable, Mapping
from typing import Final

from portal.domain import budget
from portal.domain.siterules import Moment
from portal.leases import Lease
from portal.store import arrivals, journal, sessions

TOLD_EVERY_S: Final = 3600.0
MOST_ENTRIES: Final = 20_000  # of the log that are read at once: of more than a day
LATE_S: Final = 120.0  # so long after midnight, what the guest pages knew of the day before is on the disk


class Funnel:
    """Of one meter. What `flush` has written holds once its transaction is on the disk: then call `kept`."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._joined: dict[str, float] = {}  # MAC -> when (boot clock) a new or renewed lease was seen, not written yet
        self._hour: int | None = None
        self._online_on = ""  # the day for which all who are online were written
        self._flushing: tuple[dict[str, float], int | None, str] = ({}, None, "")

    def look(self, leases: Mapping[str, Lease], boot_s: float) -> None:
        """At a tick: whose lease is new, or was renewed? A lease alone outlasts its device."""
        for mac, lease in leases.items():
            if self._leases.get(mac) != lease:
                self._joined[mac] = boot_s
        self._leases = dict(leases)

    def flush(self, db: sqlite3.Connection, moment: Moment, offset_ms: int | None) -> None:
        """Write what is known, and tell the log what is due there: each hour of today, and a day that is over.

        ``offset_ms``: by which NTP has set the wall clock ahead of the boot clock, if it did in this boot.
        """
        self._flushing = ({}, self._hour, self._online_on)
        if offset_ms is not None:
            arrivals.set_clock(db, moment.now.boot_id, offset_ms)
        if (day_at := arrivals.days(db, moment)) is None:
            return
        today, open_day = day_at(moment.now.boot_s), day_at(moment.now.boot_s - LATE_S)
        yesterday = (dt.date.fromisoformat(today) - dt.timedelta(days=1)).isoformat()
        arrivals.begin(db, yesterday)
        for mac, boot_s in self._joined.items():
            arrivals.note(db, day_at(boot_s), mac)
        self._take_in_sessions(db, moment, day_at)
        if self._online_on != today:
            for session in sessions.not_ended(db):
                arrivals.note(db, today, session.mac, online=True)
        if offset_ms is not None:  # else it is not sure enough to close a day for good
            arrivals.close_before(db, open_day, moment.now)
        hour = int(moment.now.wall_s // TOLD_EVERY_S)
        if self._hour is not None and hour != self._hour:
            arrivals.tell(db, open_day, moment.now)
        self._flushing = (self._joined, hour, today)

    def kept(self) -> None:
        joined, self._hour, self._online_on = self._flushing
        self._joined = {mac: boot_s for mac, boot_s in self._joined.items() if joined.get(mac) != boot_s}

    def _take_in_sessions(self, db: sqlite3.Connection, moment: Moment, day_at: Callable[[float], str]) -> None:
        """Who has come or gone since the last time was online on that day."""
        last, _ = journal.head(db)
        since = arrivals.mark(db).seq
        if last == since:
            return
        for mac, boot_id, boot_ms, wall_ms in arrivals.sessions_since(db, max(since, last - MOST_ENTRIES)):
            of_now = boot_id == moment.now.boot_id
            day = day_at(boot_ms / 1000) if of_now else budget.day_of(wall_ms / 1000, moment.calendar)
            arrivals.note(db, day, mac, online=True)
        arrivals.set_seq(db, last)
