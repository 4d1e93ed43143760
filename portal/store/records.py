"""The SQL of records: boots, sessions, bytes, samples as the usage log tells of them. It must not know how it tells.

They are a projection: portal.store.replay makes them, and can make them again. Every function works inside the
transaction of the connection it is given.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from portal.domain.journal import Entry
from portal.domain.rollup import Line
from portal.domain.walltime import FOREVER_MS, BootClock
from portal.store import journal

# --- what was taken in ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class State:
    """Up to which entry; ``boot`` (its number) and ``boot_ms`` are that entry's, None before the first. ``kept_from``:
    the first day whose entries are all there, ``2026-11-24``; empty: nothing was ever erased."""

    seq: int
    boot: int | None
    boot_ms: int | None
    zone: str
    kept_from: str


def state(db: sqlite3.Connection) -> State:
    row = db.execute("SELECT seq, boot, boot_ms, zone, kept_from FROM projection").fetchone()
    return State(0, None, None, "", "") if row is None else State(*row)


def put_state(db: sqlite3.Connection, state: State) -> None:
    db.execute(
        "INSERT OR REPLACE INTO projection (id, seq, boot, boot_ms, zone, kept_from) VALUES (1, ?, ?, ?, ?, ?)",
        (state.seq, state.boot, state.boot_ms, state.zone, state.kept_from),
    )


def clear(db: sqlite3.Connection) -> None:
    """Forget all records; figures stay."""
    for table in ("projection", "record_boot", "record_clock", "record_line", "record_provider", "record_lost"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
    for table in ("record_session", "record_use", "record_sample", "record_funnel"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants


# --- boots ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Boot:
    """``first_ms`` to ``last_ms`` are known of it. It ``stopped`` in order, or runs since ``ran_ms``; ``line`` is what
    was last found. ``started``: its meter has told so."""

    number: int
    boot_id: str
    first_seq: int
    clock: BootClock
    first_ms: int
    last_ms: int
    started: bool
    stopped: bool
    ran_ms: int
    line: Line

    @property
    def walls(self) -> tuple[int, int]:
        """The first and the last moment of the wall clock that are its own."""
        moments = [self.first_ms, self.last_ms]
        for at_ms, _ in self.clock.settings:
            if self.first_ms < at_ms <= self.last_ms:
                moments += [at_ms - 1, at_ms]
        walls = [self.clock.wall_ms(moment) for moment in moments]
        return min(walls), max(walls)


_BOOT = "number, boot_id, first_seq, guess_ms, first_ms, last_ms, started, stopped, ran_ms, line"


def _boot(db: sqlite3.Connection, row: tuple[Any, ...]) -> Boot:
    number, boot_id, first_seq, guess_ms, first_ms, last_ms, started, stopped, ran_ms, line = row
    settings = db.execute("SELECT at_ms, offset_ms FROM record_clock WHERE boot = ? ORDER BY at_ms", (number,))
    clock = BootClock(guess_ms, settings.fetchall())
    return Boot(number, boot_id, first_seq, clock, first_ms, last_ms, bool(started), bool(stopped), ran_ms, Line(line))


def boot_number(db: sqlite3.Connection, boot_id: str) -> int | None:
    row = db.execute("SELECT number FROM record_boot WHERE boot_id = ?", (boot_id,)).fetchone()
    return None if row is None else int(row[0])


def boot(db: sqlite3.Connection, number: int) -> Boot:
    return _boot(db, db.execute(f"SELECT {_BOOT} FROM record_boot WHERE number = ?", (number,)).fetchone())  # noqa: S608


def boots_within(db: sqlite3.Connection, from_wall_ms: int, until_wall_ms: int) -> list[Boot]:
    """Those that have a moment in it, in their order."""
    rows = db.execute(
        f"SELECT {_BOOT} FROM record_boot WHERE until_wall_ms >= ? AND from_wall_ms < ? ORDER BY number",  # noqa: S608
        (from_wall_ms, until_wall_ms),
    ).fetchall()
    return [_boot(db, row) for row in rows]


def walls(db: sqlite3.Connection) -> list[tuple[int, int]]:
    """The first and last moment of each boot, in their order."""
    return db.execute("SELECT from_wall_ms, until_wall_ms FROM record_boot ORDER BY number").fetchall()


def new_boot(db: sqlite3.Connection, entry: Entry) -> Boot:
    """One whose first entry this is, written at once: the next one has another number."""
    (number,) = db.execute("SELECT ifnull(max(number), 0) + 1 FROM record_boot").fetchone()
    at_ms = entry.boot_ms
    clock = BootClock(entry.wall_ms - at_ms)
    new = Boot(number, entry.boot_id, entry.seq, clock, at_ms, at_ms, False, False, at_ms, Line.UNKNOWN)
    put_boot(db, new)
    return new


def put_boot(db: sqlite3.Connection, boot: Boot) -> None:
    db.execute(
        "INSERT OR REPLACE INTO record_boot VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            boot.number,
            boot.boot_id,
            boot.first_seq,
            boot.clock.guess_ms,
            boot.first_ms,
            boot.last_ms,
            *boot.walls,
            boot.started,
            boot.stopped,
            boot.ran_ms,
            boot.line.value,
            boot.clock.certain,
        ),
    )


def seqs_of(db: sqlite3.Connection, boot: Boot) -> tuple[int, int]:
    """Its first entry, and the last one before the next boot's first."""
    (next_seq,) = db.execute("SELECT min(first_seq) FROM record_boot WHERE first_seq > ?", (boot.first_seq,)).fetchone()
    return boot.first_seq, journal.head(db)[0] if next_seq is None else next_seq - 1


def note_provider(db: sqlite3.Connection, boot: int, at_ms: int, name: str, link: str) -> bool:
    """From then on it was this provider's line; written where it was another's. Was it?"""
    last = db.execute("SELECT name, link FROM record_provider ORDER BY boot DESC, at_ms DESC LIMIT 1").fetchone()
    if last == (name, link):
        return False
    db.execute("INSERT OR REPLACE INTO record_provider VALUES (?, ?, ?, ?)", (boot, at_ms, name, link))
    return True


def providers(db: sqlite3.Connection) -> list[tuple[int, str, str]]:
    """(wall clock, name, sort of link): from when on it was whose line, as it was told."""
    rows = db.execute("SELECT boot, at_ms, name, link FROM record_provider ORDER BY boot, at_ms").fetchall()
    return [(boot(db, row[0]).clock.wall_ms(row[1]), row[2], row[3]) for row in rows]


# --- lost entries ---------------------------------------------------------------------------------------------------


def knows_lost(db: sqlite3.Connection, first_seq: int) -> bool:
    return db.execute("SELECT 1 FROM record_lost WHERE first_seq = ?", (first_seq,)).fetchone() is not None


def add_lost(db: sqlite3.Connection, first_seq: int, last_seq: int) -> None:
    db.execute("INSERT OR REPLACE INTO record_lost (first_seq, last_seq) VALUES (?, ?)", (first_seq, last_seq))


def loses(db: sqlite3.Connection, after_seq: int, before_seq: int) -> bool:
    """Are entries between these two lost?"""
    found = db.execute("SELECT 1 FROM record_lost WHERE first_seq < ? AND last_seq > ?", (before_seq, after_seq))
    return found.fetchone() is not None


def loses_beside(db: sqlite3.Connection, first_seq: int, last_seq: int) -> bool:
    """Are entries lost among these, or next to them, with nothing left in between?"""
    found = db.execute(
        """
        SELECT 1 FROM record_lost
        WHERE NOT EXISTS (SELECT 1 FROM journal WHERE seq > :last AND seq < first_seq)
            AND NOT EXISTS (SELECT 1 FROM journal WHERE seq > last_seq AND seq < :first)
        """,
        {"first": first_seq, "last": last_seq},
    )
    return found.fetchone() is not None


def note_lost(db: sqlite3.Connection, state: State, until_seq: int, until_boot: int, until_boot_ms: int) -> None:
    """They lay between the last entry that was taken in and this one."""
    db.execute(
        """
        UPDATE record_lost SET boot = ?, boot_ms = ?, until_boot = ?, until_boot_ms = ?
        WHERE first_seq < ? AND last_seq > ?
        """,
        (state.boot, state.boot_ms, until_boot, until_boot_ms, until_seq, state.seq),
    )


def lost(db: sqlite3.Connection) -> list[tuple[int, int]]:
    """From when until when (wall clock) the log is lost; what was before its first entry is no part of it."""
    rows = db.execute(
        "SELECT boot, boot_ms, until_boot, until_boot_ms FROM record_lost "
        "WHERE boot IS NOT NULL AND until_boot IS NOT NULL ORDER BY first_seq"
    ).fetchall()
    return [(boot(db, row[0]).clock.wall_ms(row[1]), boot(db, row[2]).clock.wall_ms(row[3])) for row in rows]


# --- sessions -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Record:
    """One session; moments are of its boot's clock. ``last_ms``: up to which something is told of it."""

    id: int
    device: str
    plan: str
    method: str
    boot: int
    began_ms: int
    last_ms: int
    continues: int | None
    ended_ms: int | None = None
    up_bytes: int = 0
    down_bytes: int = 0
    reason: str | None = None


_RECORD = "id, device, plan, method, boot, began_ms, last_ms, continues, ended_ms, up_bytes, down_bytes, reason"


def session(db: sqlite3.Connection, session_id: int) -> Record | None:
    row = db.execute(f"SELECT {_RECORD} FROM record_session WHERE id = ?", (session_id,)).fetchone()  # noqa: S608
    return None if row is None else Record(*row)


def open_sessions(db: sqlite3.Connection) -> list[Record]:
    """Those that have not ended, as far as taken in."""
    rows = db.execute(f"SELECT {_RECORD} FROM record_session WHERE ended_wall_ms IS NULL ORDER BY +id")  # noqa: S608
    return [Record(*row) for row in rows]


def put_session(db: sqlite3.Connection, record: Record, clock: BootClock) -> None:
    began_wall_ms, ended_wall_ms, last_wall_ms = _walls(clock, record.began_ms, record.ended_ms, record.last_ms)
    db.execute(
        "INSERT OR REPLACE INTO record_session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.id,
            record.device,
            record.plan,
            record.method,
            record.boot,
            record.began_ms,
            record.ended_ms,
            record.last_ms,
            began_wall_ms,
            ended_wall_ms,
            last_wall_ms,
            record.up_bytes,
            record.down_bytes,
            record.reason,
            record.continues,
        ),
    )


def _walls(clock: BootClock, began_ms: int, ended_ms: int | None, last_ms: int) -> tuple[int, int | None, int]:
    """On the wall clock; where that was set back in between, nothing ends before it begins."""
    began = clock.wall_ms(began_ms)
    return began, None if ended_ms is None else max(began, clock.wall_ms(ended_ms)), max(began, clock.wall_ms(last_ms))


def move_sessions(db: sqlite3.Connection, boot: Boot, from_wall_ms: int) -> None:
    """Put the boot's sessions that had not ended by then (as it was thought) where its clock says now."""
    rows = db.execute(
        "SELECT began_ms, ended_ms, last_ms, id FROM record_session "
        "WHERE (ended_wall_ms IS NULL OR ended_wall_ms >= ?) AND boot = ?",
        (from_wall_ms, boot.number),
    ).fetchall()
    db.executemany(
        "UPDATE record_session SET began_wall_ms = ?, ended_wall_ms = ?, last_wall_ms = ? WHERE id = ?",
        [(*_walls(boot.clock, *row[:3]), row[3]) for row in rows],
    )


_ERASABLE = "ended_wall_ms < :before AND last_wall_ms < :before"


def erasable_sessions(db: sqlite3.Connection, before_wall_ms: int) -> list[int]:
    """Those of which all that is told lies before that moment."""
    rows = db.execute(f"SELECT id FROM record_session WHERE {_ERASABLE} ORDER BY id", {"before": before_wall_ms})  # noqa: S608
    return [row[0] for row in rows]


def erase_sessions(db: sqlite3.Connection, before_wall_ms: int) -> int:
    return db.execute(f"DELETE FROM record_session WHERE {_ERASABLE}", {"before": before_wall_ms}).rowcount  # noqa: S608


# --- bytes and samples ----------------------------------------------------------------------------------------------


def add_uses(db: sqlite3.Connection, uses: Mapping[tuple[int, int], list[int]]) -> None:
    db.executemany(
        """
        INSERT INTO record_use VALUES (?, ?, ?, ?) ON CONFLICT (boot, at_ms)
        DO UPDATE SET up_bytes = up_bytes + excluded.up_bytes, down_bytes = down_bytes + excluded.down_bytes
        """,
        [(*key, *use) for key, use in uses.items()],
    )


def add_samples(db: sqlite3.Connection, samples: Iterable[tuple[int, int, int | None, int | None]]) -> None:
    db.executemany("INSERT OR REPLACE INTO record_sample VALUES (?, ?, ?, ?)", samples)


def uses(db: sqlite3.Connection, boots: Iterable[Boot], from_ms: int, until_ms: int) -> Iterator[tuple[int, int, int]]:
    """(wall clock, up, down) in a time."""
    return _details(db, "up_bytes, down_bytes FROM record_use", boots, from_ms, until_ms)


def samples(
    db: sqlite3.Connection, boots: Iterable[Boot], from_ms: int, until_ms: int
) -> Iterator[tuple[int, int | None, int | None]]:
    """(wall clock, latency in 0.1 ms, loss in 0.001) in a time."""
    return _details(db, "latency, loss FROM record_sample", boots, from_ms, until_ms)


def _details(
    db: sqlite3.Connection, what: str, boots: Iterable[Boot], from_ms: int, until_ms: int
) -> Iterator[tuple[Any, ...]]:
    for boot in boots:
        for piece in boot.clock.pieces():
            yield from db.execute(
                f"SELECT at_ms + ?, {what} WHERE boot = ? AND at_ms >= ? AND at_ms < ?",
                (
                    piece.offset_ms,
                    boot.number,
                    max(piece.from_ms, from_ms - piece.offset_ms),
                    min(piece.until_ms, until_ms - piece.offset_ms),
                ),
            )


def forget_details(db: sqlite3.Connection, before_wall_ms: int) -> None:
    """Bytes and samples before that moment; of a clock that may yet be set, nobody knows what is."""
    (newest,) = db.execute("SELECT max(number) FROM record_boot").fetchone()
    for boot in boots_within(db, -FOREVER_MS, before_wall_ms):
        if boot.number == newest and not boot.clock.certain:
            continue
        for piece in boot.clock.pieces():
            until_ms = min(piece.until_ms, before_wall_ms - piece.offset_ms)
            for table in ("record_use", "record_sample"):
                db.execute(
                    f"DELETE FROM {table} WHERE boot = ? AND at_ms >= ? AND at_ms < ?",  # noqa: S608 - constants
                    (boot.number, piece.from_ms, until_ms),
                )


# --- what days are made of ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stay:
    """A session on the wall clock; ``ended_ms`` None: it runs. ``length_s`` is by the boot clock; 0 while it runs."""

    device: str
    began_ms: int
    ended_ms: int | None
    length_s: int


def stays(db: sqlite3.Connection, from_ms: int, until_ms: int) -> Iterator[Stay]:
    """Sessions with a moment in that time, and those that ended right then."""
    rows = db.execute(
        """
        SELECT device, began_wall_ms, ended_wall_ms, ifnull(ended_ms - began_ms, 0) FROM record_session
        WHERE (ended_wall_ms >= :from_ms OR ended_wall_ms IS NULL) AND began_wall_ms < :until_ms
        """,
        {"from_ms": from_ms, "until_ms": until_ms},
    )
    return (Stay(row[0], row[1], row[2], round(row[3] / 1000)) for row in rows)


def line_at(db: sqlite3.Connection, boot: int, at_ms: int) -> Line:
    row = db.execute(
        "SELECT line FROM record_line WHERE boot = ? AND at_ms <= ? ORDER BY at_ms DESC LIMIT 1", (boot, at_ms)
    ).fetchone()
    return Line.UNKNOWN if row is None else Line(row[0])


def line_changes(db: sqlite3.Connection, boot: int, after_ms: int, before_ms: int) -> list[tuple[int, Line]]:
    rows = db.execute(
        "SELECT at_ms, line FROM record_line WHERE boot = ? AND at_ms > ? AND at_ms < ? ORDER BY at_ms",
        (boot, after_ms, before_ms),
    )
    return [(at_ms, Line(line)) for at_ms, line in rows]
