"""Takes entries of the usage log in, one after the other, into the tables of records. It must not know figures.

What the tables hold follows from the entries and their order alone, not from how many are taken in at once. Moments
are kept on the clock of their boot, since what they are on the wall clock may be known later.
Everything happens inside the transaction of the connection that it is given.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from dataclasses import dataclass, field
from typing import Final

from portal.domain import tally
from portal.domain.journal import Class, Entry, Kind
from portal.domain.rollup import REASON_LOST, Line
from portal.domain.walltime import FOREVER_MS, BootClock
from portal.store import records
from portal.store.records import Boot, Record

GAP_MS: Final = 120_000
"""Heartbeats are at most 60 s apart; where there is none for longer, the gateway did not run."""
_LINES: Final = {"up": Line.UP, "degraded": Line.DEGRADED, "down": Line.DOWN}


class LogLost(Exception):
    """Entries that were taken in are lost since: the records must be made again from what is left."""


@dataclass(slots=True)
class Extent:
    """From the first to the last moment of something, wall clock; ``until_ms`` is in it."""

    from_ms: int
    until_ms: int

    def include(self, moment_ms: int) -> None:
        self.from_ms = min(self.from_ms, moment_ms)
        self.until_ms = max(self.until_ms, moment_ms)


@dataclass(slots=True)
class _Pending:
    """What is not in the tables yet."""

    sessions: set[int] = field(default_factory=set)
    boots: set[int] = field(default_factory=set)
    uses: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    samples: list[tuple[int, int, int | None, int | None]] = field(default_factory=list)


class Replay:
    """Give it entries in their order, and ``flush`` it. ``touched`` is the time of whose figures something changed."""

    def __init__(self, db: sqlite3.Connection, zone: dt.tzinfo) -> None:
        self._db = db
        self._zone = zone
        self.state = records.state(db)
        self._boots: dict[int, Boot] = {}
        self._numbers: dict[str, int] = {}
        self._sessions = {one.id: one for one in records.open_sessions(db)}
        self._pending = _Pending()
        self._takers: Final = {
            Kind.BEGIN: self._begin,
            Kind.PLAN: self._tell,
            Kind.INTERIM: self._tell,
            Kind.END: self._tell,
            Kind.FINAL: self._tell,
            Kind.SAMPLE: self._sample,
            Kind.UPLINK: self._uplink,
            Kind.START: self._start,
            Kind.STOP: self._stop,
            Kind.CLOCK: self._set_clock,
            Kind.FUNNEL: self._funnel,
            Kind.ERASURE: self._erase,
        }
        self.touched: Extent | None = None
        self._touch_end()

    def take(self, entry: Entry) -> None:
        """Raises LogLost, before anything is changed."""
        if entry.kind is Kind.LOST and not records.knows_lost(self._db, entry.body["first"]):
            raise LogLost
        lost = entry.seq != self.state.seq + 1 and records.loses(self._db, self.state.seq, entry.seq)
        if lost:
            self._end_all_unseen()
        if entry.kind is Kind.BOOT and entry.body["before"] is not None:
            self._end_boot(entry)
        boot = self._boot_of(entry)
        if lost:
            self._note_lost(boot, entry)
        self._takers.get(entry.kind, _pass_over)(boot, entry)
        self._see(boot, entry.boot_ms)
        self.state.seq, self.state.boot, self.state.boot_ms = entry.seq, boot.number, entry.boot_ms

    @property
    def end_wall_ms(self) -> int | None:
        """Up to which moment anything is known."""
        if self.state.boot is None:
            return None
        boot = self._boot(self.state.boot)
        return boot.clock.wall_ms(boot.last_ms)

    def flush(self) -> None:
        """Write what is pending. ``touched`` reaches to the last moment known now."""
        pending, self._pending = self._pending, _Pending()
        for number in sorted(pending.boots):
            records.put_boot(self._db, self._boots[number])
        for session_id in sorted(pending.sessions):
            record = self._sessions[session_id]
            records.put_session(self._db, record, self._boot(record.boot).clock)
            if record.ended_ms is not None:
                del self._sessions[session_id]
        records.add_uses(self._db, pending.uses)
        records.add_samples(self._db, pending.samples)
        self._touch_end()
        if self.touched is not None and self.touched.from_ms < (kept_ms := self._kept_ms()):
            records.forget_details(self._db, kept_ms)
        records.put_state(self._db, self.state)

    # --- boots and clocks -------------------------------------------------------------------------------------------

    def _boot(self, number: int) -> Boot:
        if number not in self._boots:
            self._boots[number] = records.boot(self._db, number)
        return self._boots[number]

    def _number(self, boot_id: str) -> int | None:
        number = self._numbers.get(boot_id)
        if number is None:
            number = records.boot_number(self._db, boot_id)
            if number is not None:
                self._numbers[boot_id] = number
        return number

    def _boot_of(self, entry: Entry) -> Boot:
        number = self._number(entry.boot_id)
        if number is not None:
            return self._boot(number)
        self._end_all_unseen()  # sessions do not span boots
        boot = records.new_boot(self._db, entry)
        self._boots[boot.number], self._numbers[entry.boot_id] = boot, boot.number
        self._line(boot, entry.boot_ms, Line.UNKNOWN)
        return boot

    def _end_boot(self, entry: Entry) -> None:
        number = self._number(entry.body["before"])
        if number is not None and entry.body["seen_ms"] is not None:
            self._see(self._boot(number), entry.body["seen_ms"])

    def _see(self, boot: Boot, at_ms: int) -> None:
        """The boot came so far."""
        if not boot.first_ms <= at_ms <= boot.last_ms:
            boot.first_ms, boot.last_ms = min(boot.first_ms, at_ms), max(boot.last_ms, at_ms)
            self._pending.boots.add(boot.number)
        self._touch(boot.clock.wall_ms(at_ms))

    def _start(self, boot: Boot, entry: Entry) -> None:
        now_ms, seen_ms = entry.boot_ms, entry.body["seen_ms"]
        if not boot.started:
            boot.started = True
            clock = BootClock(entry.wall_ms - entry.boot_ms, boot.clock.settings)
            if clock != boot.clock:
                self._move(boot, boot.first_ms, clock)
        if not boot.stopped and seen_ms is not None and now_ms - seen_ms > GAP_MS:
            self._line(boot, seen_ms, Line.OFF)
        boot.stopped, boot.ran_ms = False, now_ms
        self._line(boot, now_ms, boot.line)
        if records.note_provider(self._db, boot.number, now_ms, entry.body["provider"], entry.body["link"]):
            walls = records.walls(self._db)
            self._touch(max(until_ms for _, until_ms in walls))
            if len(records.providers(self._db)) == 1:  # what was before is taken to be theirs
                self._touch(min(from_ms for from_ms, _ in walls))
        self._pending.boots.add(boot.number)

    def _set_clock(self, boot: Boot, entry: Entry) -> None:
        at_ms, offset_ms = entry.boot_ms, entry.body["offset_ms"]
        clock = BootClock(boot.clock.guess_ms, list(boot.clock.settings))
        clock.set(at_ms, offset_ms)
        self._db.execute("INSERT OR REPLACE INTO record_clock VALUES (?, ?, ?)", (boot.number, at_ms, offset_ms))
        self._move(boot, boot.first_ms if not boot.clock.settings else at_ms, clock)

    def _move(self, boot: Boot, from_ms: int, clock: BootClock) -> None:
        """All of the boot from then on is at other times of the wall clock than was thought."""
        self.flush()
        before = boot.clock
        for one in (before, clock):
            for moment_ms in (from_ms, boot.last_ms):
                self._touch(one.wall_ms(moment_ms))
        if boot.number > 1:  # how long it was off before, and whose line it was after
            self._touch(self._boot(boot.number - 1).walls[1])
            self._touch(max(until_ms for _, until_ms in records.walls(self._db)))
        boot.clock = clock
        records.move_sessions(self._db, boot, before.wall_ms(from_ms))
        self._pending.boots.add(boot.number)

    def _note_lost(self, boot: Boot, entry: Entry) -> None:
        """Entries that are lost lay between the last one and this one."""
        records.note_lost(self._db, self.state, entry.seq, boot.number, entry.boot_ms)
        if self.state.boot is not None and self.state.boot_ms is not None:
            self._touch(self._boot(self.state.boot).clock.wall_ms(self.state.boot_ms))

    # --- the line ---------------------------------------------------------------------------------------------------

    def _line(self, boot: Boot, at_ms: int, line: Line) -> None:
        self._db.execute("DELETE FROM record_line WHERE boot = ? AND at_ms > ?", (boot.number, at_ms))
        self._db.execute("INSERT OR REPLACE INTO record_line VALUES (?, ?, ?)", (boot.number, at_ms, line.value))
        self._touch(boot.clock.wall_ms(at_ms))
        self._pending.boots.add(boot.number)

    def _uplink(self, boot: Boot, entry: Entry) -> None:
        boot.line = _LINES.get(entry.body["state"], Line.UNKNOWN)
        self._line(boot, max(entry.body["at_ms"], boot.ran_ms), boot.line)

    def _stop(self, boot: Boot, entry: Entry) -> None:
        boot.stopped = True
        self._line(boot, entry.boot_ms, Line.OFF)

    def _sample(self, boot: Boot, entry: Entry) -> None:
        latency_ms, loss = entry.body["latency_ms"], entry.body["loss"]
        latency = None if latency_ms is None else round(latency_ms * 10)
        share = None if loss is None else round(loss * 1000)
        self._pending.samples.append((boot.number, entry.boot_ms, latency, share))

    # --- sessions ---------------------------------------------------------------------------------------------------

    def _begin(self, boot: Boot, entry: Entry) -> None:
        body = entry.body
        self._sessions[body["s"]] = Record(
            id=body["s"],
            device=body["d"],
            plan=body["plan"],
            method=body["method"],
            boot=boot.number,
            began_ms=entry.boot_ms,
            last_ms=entry.boot_ms,
            continues=body["after"],
        )
        self._pending.sessions.add(body["s"])

    def _tell(self, boot: Boot, entry: Entry) -> None:
        body = entry.body
        record = self._sessions.get(body["s"]) or records.session(self._db, body["s"])
        if record is None:  # its begin is lost, and with it all but some of its bytes
            return
        self._sessions[record.id] = record
        self._pending.sessions.add(record.id)
        if record.reason == REASON_LOST and entry.kind is not Kind.FINAL:
            self._ended(record, None, None)
        own = boot if boot.number == record.boot else self._boot(record.boot)
        at_ms = entry.boot_ms if own is boot else own.last_ms
        if entry.kind is Kind.PLAN:
            record.plan = body["plan"]
            record.last_ms = max(record.last_ms, at_ms)
            return
        if own is boot or body.get("boot") == own.boot_id:
            at_ms = max(body["at_ms"], record.began_ms)
        self._use(own, at_ms, record, body["up"], body["down"])
        if entry.kind is Kind.END:
            self._ended(record, at_ms, body["reason"])

    def _use(self, boot: Boot, at_ms: int, record: Record, up_bytes: int, down_bytes: int) -> None:
        use = self._pending.uses.setdefault((boot.number, at_ms), [0, 0])
        use[0] += max(up_bytes - record.up_bytes, 0)
        use[1] += max(down_bytes - record.down_bytes, 0)
        record.up_bytes, record.down_bytes = up_bytes, down_bytes
        record.last_ms = max(record.last_ms, at_ms)
        self._see(boot, at_ms)

    def _end_all_unseen(self) -> None:
        """Nobody knows when they ended: as late as their boot is known to have come, unless an entry says more."""
        for record in self._sessions.values():
            if record.ended_ms is None:
                self._ended(record, max(record.began_ms, self._boot(record.boot).last_ms), REASON_LOST)

    def _ended(self, record: Record, at_ms: int | None, reason: str | None) -> None:
        clock = self._boot(record.boot).clock
        for moment_ms in (record.ended_ms, at_ms):
            if moment_ms is not None:
                self._touch(max(clock.wall_ms(moment_ms), clock.wall_ms(record.began_ms)))
        record.ended_ms, record.reason = at_ms, reason
        self._pending.sessions.add(record.id)

    def _funnel(self, _boot: Boot, entry: Entry) -> None:
        told = (entry.body["day"], json.dumps(entry.body["os"], sort_keys=True))
        self._db.execute("INSERT OR REPLACE INTO record_funnel VALUES (?, ?)", told)

    def _erase(self, _boot: Boot, entry: Entry) -> None:
        if entry.body["class"] not in (Class.SESSIONS, Class.SAMPLES):
            return
        self.flush()
        self.state.kept_from = max(self.state.kept_from, entry.body["before"])
        records.forget_details(self._db, self._kept_ms())
        if entry.body["class"] == Class.SESSIONS:
            records.erase_sessions(self._db, tally.day_ms(dt.date.fromisoformat(entry.body["before"]), self._zone)[0])
            self._sessions = {one.id: one for one in records.open_sessions(self._db)}

    def _kept_ms(self) -> int:
        """Before that moment are days whose figures are never made again."""
        if not self.state.kept_from:
            return -FOREVER_MS
        return tally.day_ms(dt.date.fromisoformat(self.state.kept_from), self._zone)[0]

    # --- what has changed -------------------------------------------------------------------------------------------

    def _touch(self, wall_ms: int) -> None:
        if self.touched is None:
            self.touched = Extent(wall_ms, wall_ms)
        else:
            self.touched.include(wall_ms)

    def _touch_end(self) -> None:
        """Sessions and the line go on up to the last entry: with it, their figures change."""
        if (end_ms := self.end_wall_ms) is not None:
            self._touch(end_ms)


def _pass_over(_boot: Boot, _entry: Entry) -> None:
    """It tells of nothing that figures are made of."""
