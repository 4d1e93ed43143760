"""Erases what was kept for as long as site.toml says, class by class, with a record of it. It must not know tables.

Nothing is erased while NTP has not set the clock, nor before the date has gone on for some days without a leap. The
work is cut into short transactions, so that no login waits for it; each leaves the log whole, so it may end anywhere.
Figures of hours and days hold nothing of a person and stay.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from portal import clock
from portal.config import SiteConfig
from portal.domain import localtime
from portal.domain.erasure import FIRST_WALL_S
from portal.domain.journal import CLASS_OF, Class, Kind
from portal.domain.model import Now
from portal.store import erasure, natlog, people, rollups, sessions
from portal.store.db import Database

CHUNK: Final = 500
"""Rows of one transaction, more only where one session has more entries."""
DAY_MS: Final = 86_400_000
DEVICES: Final = "devices"
AUDIT: Final = "audit"
KEYS: Final = "keys"
NAT: Final = "nat"


@dataclass(frozen=True, slots=True)
class Limit:
    """Of one class, everything before the local day ``day`` goes; that begins at ``wall_s``."""

    day: dt.date
    wall_s: float

    @property
    def text(self) -> str:
        return self.day.isoformat()


class _NothingToDo(Exception):
    """Undoes a transaction."""


class Retention:
    """Of one site. Every method raises StoreError, and what was erased until then stays so."""

    def __init__(
        self,
        config: SiteConfig,
        database: Database,
        read_clock: Callable[[], Now] = clock.now,
        is_trusted: Callable[[], bool] = clock.wall_is_trusted,
    ) -> None:
        self._log = config.log
        self._zone = ZoneInfo(config.site.timezone)
        self._database = database
        self._read_clock = read_clock
        self._is_trusted = is_trusted

    def run(self) -> dict[str, int]:
        """How many of each class were erased; empty where there was nothing, or the date is not believed."""
        today = self._today()
        if today is None:
            return {}
        found = {
            DEVICES: self._devices(self._limit(today, self._log.devices_days)),
            Class.SESSIONS.value: self._sessions(self._limit(today, self._log.sessions_days)),
            Class.SAMPLES.value: self._entries(Class.SAMPLES, self._limit(today, self._log.samples_days)),
            Class.ACTS.value: self._entries(Class.ACTS, self._limit(today, self._log.acts_days)),
            AUDIT: self._acts(self._limit(today, self._log.acts_days)),
            KEYS: self._keys(today),
            NAT: self._nat(self._limit(today, self._log.nat_days)),
        }
        return {name: count for name, count in found.items() if count}

    def _today(self) -> dt.date | None:
        """None: nothing may be erased."""
        with self._writing() as (db, now):
            moment = people.moment(db, now, self._zone, trusted=self._is_trusted())
            if not moment.calendar.trusted:
                return None
            today = dt.date.fromisoformat(moment.day)
            return today if erasure.see(db, today).steady else None

    def _limit(self, today: dt.date, days: int) -> Limit:
        first = today - dt.timedelta(days=days)
        return Limit(first, localtime.day_start(first, self._zone))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, Now]]:
        """A transaction, undone where it had nothing to do: that costs the card no write."""
        with contextlib.suppress(_NothingToDo), self._database.write() as db:
            erasure.prepare(db)
            now = self._read_clock()
            sessions.note_time(db, now)
            before = db.total_changes
            yield db, now
            if db.total_changes == before:
                raise _NothingToDo

    # --- classes ----------------------------------------------------------------------------------------------------

    def _devices(self, limit: Limit) -> int:
        return sum(self._rows(erase, DEVICES, limit) for erase in erasure.OF_DEVICES)

    def _acts(self, limit: Limit) -> int:
        """What the log says of them went before, under its own class."""
        return self._rows(erasure.audit, AUDIT, limit)

    def _rows(
        self, erase: Callable[[sqlite3.Connection, dict[str, float | str], int], int], name: str, limit: Limit
    ) -> int:
        total = 0
        while True:
            with self._writing() as (db, now):
                count = erase(db, self._values(limit, now), CHUNK)
                if count:
                    erasure.say(db, name, limit.text, count, now)
            total += count
            if not count:
                return total

    def _values(self, limit: Limit, now: Now) -> dict[str, float | str]:
        tomorrow = localtime.local_date(now.wall_s, self._zone) + dt.timedelta(days=1)
        return {
            "before": limit.text,
            "before_wall_s": limit.wall_s,
            "now_wall_s": now.wall_s,
            "tomorrow": tomorrow.isoformat(),
            "first_wall_s": FIRST_WALL_S,
        }

    def _sessions(self, limit: Limit) -> int:
        """Each with all that is told of it, then the records: half erased, a session were one that never ended."""
        wall_ms = round(limit.wall_s * 1000)
        with self._database.read() as db:
            last = erasure.written_before(db, wall_ms)
            if not erasure.of_kinds(db, _kinds(Class.SESSIONS), last, 1):
                return 0
            lost = rollups.erasable_sessions(db, self._zone, limit.day)
            look = erasure.written_before(db, wall_ms + DAY_MS)
            told = erasure.of_sessions(db, last, look, lost)
        total = 0
        for seqs in erasure.chunks(told, CHUNK):
            total += self._erase(seqs, Class.SESSIONS, limit)
        if total:
            with self._writing() as (db, _):
                rollups.erase_sessions(db, limit.day)
        return total

    def _entries(self, kind: Class, limit: Limit) -> int:
        with self._database.read() as db:
            last = erasure.written_before(db, round(limit.wall_s * 1000))
        total = 0
        while True:
            with self._database.read() as db:
                seqs = erasure.of_kinds(db, _kinds(kind), last, CHUNK)
            if not seqs:
                return total
            total += self._erase(seqs, kind, limit)

    def _erase(self, seqs: Collection[int], kind: Class, limit: Limit) -> int:
        with self._writing() as (db, now), rollups.erasing(db, seqs, limit.day):
            return erasure.entries(db, seqs, kind.value, limit.text, now)

    def _keys(self, today: dt.date) -> int:
        """Of months that are over: from then on nobody can tell whose a pseudonym was."""
        with self._writing() as (db, now):
            gone = erasure.keys(db, today.isoformat()[:7])
            if gone:
                erasure.say(db, KEYS, today.replace(day=1).isoformat(), len(gone), now)
            return len(gone)

    def _nat(self, limit: Limit) -> int:
        with self._writing() as (db, now):
            return natlog.erase(db, limit.wall_s, limit.text, now)


def _kinds(kind: Class) -> list[Kind]:
    return [one for one, of in CLASS_OF.items() if of is kind]
