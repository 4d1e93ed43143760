"""Makes the figures of hours and days from the records, and the strip of the line. It must not know the journal.

A day is made anew as a whole, from all that the records say of it. Every function works inside the transaction of the
connection it is given.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from portal.domain import localtime, tally
from portal.domain.rollup import Line
from portal.domain.tally import Hour, Stroke
from portal.store import records
from portal.store.records import Boot

BRIDGED_MS: Final = 400 * 86_400_000
"""Between two boots that are further apart a clock was wrong: that is no time in which the gateway was off."""
_UNKNOWN: Final = (Line.BEFORE, Line.LOST)
_LINES: Final = (Line.OFF, Line.DOWN, Line.DEGRADED, Line.UP, Line.UNKNOWN, Line.LOST, Line.BEFORE)


# --- the line -------------------------------------------------------------------------------------------------------


def strip(db: sqlite3.Connection, from_ms: int, until_ms: int) -> list[Stroke]:
    """How the line was, without gaps."""
    strokes = [
        Stroke(ended, began, Line.OFF)
        for (_, ended), (began, _) in pairwise(records.walls(db))
        if ended < until_ms and began > from_ms and 0 < began - ended <= BRIDGED_MS
    ]
    for boot in records.boots_within(db, from_ms, until_ms):
        strokes += _of_boot(db, boot, from_ms, until_ms)
    strokes += [Stroke(began, ended, Line.LOST) for began, ended in records.lost(db)]
    return tally.painted(strokes, from_ms, until_ms)


def _of_boot(db: sqlite3.Connection, boot: Boot, from_ms: int, until_ms: int) -> Iterator[Stroke]:
    pieces = [
        (max(piece.from_ms, boot.first_ms), min(piece.until_ms, boot.last_ms), piece.offset_ms)
        for piece in boot.clock.pieces()
        if piece.from_ms <= boot.last_ms and piece.until_ms > boot.first_ms
    ]
    for number, (began, ended, offset_ms) in enumerate(pieces):
        held = ended + offset_ms
        if number + 1 < len(pieces):  # where the clock was set forward, all was as before in the time left out
            held = max(held, pieces[number + 1][0] + pieces[number + 1][2])
        first, last = max(began + offset_ms, from_ms), min(held, until_ms)
        if first >= last or began >= ended:
            continue
        at, line = first, records.line_at(db, boot.number, min(first - offset_ms, ended - 1))
        for change_ms, after in records.line_changes(db, boot.number, first - offset_ms, min(last - offset_ms, ended)):
            yield Stroke(at, change_ms + offset_ms, line)
            at, line = change_ms + offset_ms, after
        yield Stroke(at, last, line)


# --- days -----------------------------------------------------------------------------------------------------------


def make(db: sqlite3.Connection, zone: dt.tzinfo, between_ms: tuple[int, int], *, end_ms: int, kept_from: str) -> None:
    """Make the days from one moment to another, both included, of which there is any log; forget the others.

    ``end_ms``: up to which what goes on is known. Days before ``kept_from`` are left as they are.
    """
    walls = records.walls(db)
    first, last = (localtime.local_date(moment / 1000, zone) for moment in _with_gaps(walls, *between_ms))
    logged = list(_days(walls, zone, first, last))
    if kept_from:
        first = max(first, dt.date.fromisoformat(kept_from))
    made = {day.isoformat() for day in logged}
    span = (first.isoformat(), last.isoformat())
    for (day,) in db.execute("SELECT day FROM day_figures WHERE day BETWEEN ? AND ?", span).fetchall():
        if day not in made:
            db.execute("DELETE FROM day_figures WHERE day = ?", (day,))
            db.execute("DELETE FROM hour_figures WHERE day = ?", (day,))
    for day in logged:
        if day >= first:
            _Day(db, zone, day, end_ms).write()


def _with_gaps(walls: Sequence[tuple[int, int]], from_ms: int, until_ms: int) -> tuple[int, int]:
    """The time widened to the boots around it, where it begins or ends between two: whether there is any log of the
    days in between may have changed with it."""
    return (
        max((min(ended, from_ms) for began, ended in walls if began < from_ms), default=from_ms),
        min((max(began, until_ms) for began, ended in walls if ended > until_ms), default=until_ms),
    )


def _days(walls: Sequence[tuple[int, int]], zone: dt.tzinfo, first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """Local days within these that lie between the first entry and the last, in order."""
    spans: list[list[int]] = []
    for began, ended in sorted(walls):
        if spans and began - spans[-1][1] <= BRIDGED_MS:
            spans[-1][1] = max(spans[-1][1], ended)
        else:
            spans.append([began, ended])
    day = first
    for began, ended in spans:
        day = max(day, localtime.local_date(began / 1000, zone))
        until = min(last, localtime.local_date(ended / 1000, zone))
        while day <= until:
            yield day
            day += dt.timedelta(days=1)


@dataclass(slots=True)
class _HourSums:
    devices: set[str] = field(default_factory=set)
    sessions: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    latency: list[int] = field(default_factory=list)
    loss: list[int] = field(default_factory=list)


class _Day:
    def __init__(self, db: sqlite3.Connection, zone: dt.tzinfo, day: dt.date, end_ms: int) -> None:
        self._db = db
        self._day = day.isoformat()
        self._hours = tally.hours_of(day, zone)
        self._begins = [hour.from_ms for hour in self._hours]
        self._from_ms, self._until_ms = self._hours[0].from_ms, self._hours[-1].until_ms
        self._boots = records.boots_within(db, self._from_ms, self._until_ms)
        self._strip = strip(db, self._from_ms, self._until_ms)
        self._sums = [_HourSums() for _ in self._hours]
        self._stays: list[tuple[int, int]] = []
        self._lengths: list[int] = []
        self._devices: set[str] = set()
        for stay in records.stays(db, self._from_ms, self._until_ms):
            self._add_stay(stay, end_ms)
        for wall_ms, up_bytes, down_bytes in records.uses(db, self._boots, self._from_ms, self._until_ms):
            sums = self._sums[self._hour_of(wall_ms)]
            sums.up_bytes += up_bytes
            sums.down_bytes += down_bytes
        for wall_ms, latency, loss in records.samples(db, self._boots, self._from_ms, self._until_ms):
            sums = self._sums[self._hour_of(wall_ms)]
            if latency is not None:
                sums.latency.append(latency)
            if loss is not None:
                sums.loss.append(loss)

    def _hour_of(self, wall_ms: int) -> int:
        return bisect_right(self._begins, wall_ms) - 1

    def _add_stay(self, stay: records.Stay, end_ms: int) -> None:
        began, ended = stay.began_ms, max(stay.began_ms, end_ms if stay.ended_ms is None else stay.ended_ms)
        if stay.ended_ms is not None and self._from_ms <= ended < self._until_ms:
            self._lengths.append(stay.length_s)
        if began < self._from_ms and ended <= self._from_ms:
            return
        self._stays.append((began, ended))
        self._devices.add(stay.device)
        first = self._hour_of(max(began, self._from_ms))
        last = self._hour_of(max(began, self._from_ms, min(ended, self._until_ms) - 1))
        for sums in self._sums[first : last + 1]:
            sums.devices.add(stay.device)
        if began >= self._from_ms:
            self._sums[first].sessions += 1

    def write(self) -> None:
        online, providers = self._online(), records.providers(self._db)
        rows = [
            self._hour_row(hour, sums, here, _provider(providers, hour.until_ms))
            for hour, sums, here in zip(self._hours, self._sums, online, strict=True)
        ]
        _exchange(self._db, "hour_figures", self._day, rows)
        total: Counter[int] = sum(online, Counter())
        row = (
            self._day,
            len(self._devices),
            sum(sums.sessions for sums in self._sums),
            json.dumps(sorted(self._lengths), separators=(",", ":")),
            json.dumps({str(number): total[number] for number in sorted(total)}, separators=(",", ":")),
            sum(sums.up_bytes for sums in self._sums),
            sum(sums.down_bytes for sums in self._sums),
            int(all(boot.clock.certain for boot in self._boots)),
        )
        _exchange(self._db, "day_figures", self._day, [row])

    def _online(self) -> list[Counter[int]]:
        """Of each hour: how long so many were online, in the time of which the log tells."""
        cuts = sorted({*self._begins, self._until_ms, *(stroke.from_ms for stroke in self._strip)})
        found = [Counter[int]() for _ in self._hours]
        stroke = iter(self._strip)
        here = next(stroke)
        for began, part in zip(cuts, tally.online_ms(self._stays, cuts), strict=False):
            while began >= here.until_ms:
                here = next(stroke)
            if here.line not in _UNKNOWN:
                found[self._hour_of(began)] += part
        return found

    def _hour_row(
        self, hour: Hour, sums: _HourSums, online: Counter[int], provider: tuple[str, str]
    ) -> tuple[Any, ...]:
        shares = tally.shares(self._strip, hour.from_ms, hour.until_ms)
        return (
            hour.from_ms,
            self._day,
            hour.hour,
            len(sums.devices),
            sums.sessions,
            tally.peak(online),
            tally.p95(online),
            sums.up_bytes,
            sums.down_bytes,
            *(shares[line] for line in _LINES),
            ",".join(map(str, sorted(sums.latency))),
            ",".join(map(str, sorted(sums.loss))),
            *provider,
        )


def _provider(providers: Sequence[tuple[int, str, str]], until_ms: int) -> tuple[str, str]:
    """Whose line it was last before that moment, and of what sort; before anybody told, it was the first one's."""
    known = [one for one in providers if one[0] < until_ms] or providers[:1]
    return sorted(known, key=lambda one: one[0])[-1][1:] if known else ("", "")


def _exchange(db: sqlite3.Connection, table: str, day: str, rows: list[tuple[Any, ...]]) -> None:
    """Write the rows of a day that are not there yet as they are: an SD card wears with every page."""
    there = {row[0]: row for row in db.execute(f"SELECT * FROM {table} WHERE day = ?", (day,))}  # noqa: S608
    for row in rows:
        if there.pop(row[0], None) != row:
            marks = ", ".join("?" * len(row))
            db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)  # noqa: S608
    key = "day" if table == "day_figures" else "began_wall_ms"
    db.executemany(f"DELETE FROM {table} WHERE {key} = ?", [(gone,) for gone in there])  # noqa: S608
