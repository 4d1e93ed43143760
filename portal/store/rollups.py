"""The figures of hours, days and periods, and the records of sessions, made from the usage log and kept up with it.

They are a projection: whoever shows them calls `catch_up` before, and `rebuild` makes all of them again, identical. It
must not know who asks. Every function works inside the transaction of the connection it is given; ``zone`` is
site.timezone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import sqlite3
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from portal.domain import tally
from portal.domain.journal import Class, Kind
from portal.domain.walltime import Clocks, moment_of
from portal.store import daybook, journal, records
from portal.store.logfigures import days, first_day, hours, last_day, months, period, stretches
from portal.store.logsessions import entries_of, session_count, sessions
from portal.store.replay import LogLost, Replay

__all__ = (
    "begin_again",
    "behind",
    "catch_up",
    "days",
    "entries_of",
    "erasable_sessions",
    "erase_sessions",
    "erasing",
    "fingerprint",
    "first_day",
    "hours",
    "last_day",
    "months",
    "period",
    "rebuild",
    "session_count",
    "sessions",
    "stretches",
)

CHUNK: Final = 2000  # entries: some megabytes of memory, and ten days of a busy village's log


# --- keeping up with the log ----------------------------------------------------------------------------------------


def behind(db: sqlite3.Connection, zone: ZoneInfo) -> int:
    """How many entries were not taken in yet; all of them where the roll-ups are of another zone. Only reads."""
    seq, _ = journal.head(db)
    state = records.state(db)
    return seq if state.zone != zone.key or state.seq > seq else seq - state.seq


def catch_up(db: sqlite3.Connection, zone: ZoneInfo, limit: int | None = None) -> int:
    """Take in the entries that are new, ``limit`` of them at most; how many these were.

    Where entries were lost that had been taken in, or the site's zone is another, all is made again.
    """
    taken = 0
    while behind(db, zone) and (limit is None or taken < limit):
        taken += _take(db, zone, CHUNK if limit is None else min(CHUNK, limit - taken))
    return taken


def rebuild(db: sqlite3.Connection, zone: ZoneInfo) -> int:
    """Make everything again from the log; how many entries it has.

    Figures of days whose entries were erased are left as they are.
    """
    begin_again(db, zone)
    return catch_up(db, zone)


def begin_again(db: sqlite3.Connection, zone: ZoneInfo) -> None:
    """The same, for catch_up in parts, so that nobody waits for one long transaction."""
    kept_from = ""
    records.clear(db)
    for entry in journal.of_kinds(db, (Kind.ERASURE, Kind.LOST)):
        if entry.kind is Kind.LOST:
            records.add_lost(db, entry.body["first"], entry.body["last"])
        elif entry.body["class"] in (Class.SESSIONS, Class.SAMPLES):
            kept_from = max(kept_from, entry.body["before"])
    db.execute("DELETE FROM hour_figures WHERE day >= ?", (kept_from,))
    db.execute("DELETE FROM day_figures WHERE day >= ?", (kept_from,))
    records.put_state(db, records.State(0, None, None, zone.key, kept_from))


def fingerprint(db: sqlite3.Connection, until: dt.date) -> str:
    """Of all figures up to a local day, included: the same figures have the same (SHA-256, hexadecimal)."""
    found = hashlib.sha256()
    for table in ("day_figures", "hour_figures"):
        for row in db.execute(f"SELECT * FROM {table} WHERE day <= ? ORDER BY 1", (until.isoformat(),)):  # noqa: S608
            found.update(repr(row).encode())
    return found.hexdigest()


def _take(db: sqlite3.Connection, zone: ZoneInfo, count: int) -> int:
    state = records.state(db)
    if state.zone != zone.key or state.seq > journal.head(db)[0]:
        begin_again(db, zone)
    replay = Replay(db, zone)
    taken = 0
    try:
        for entry in islice(journal.entries(db, replay.state.seq), count):
            replay.take(entry)
            taken += 1
    except LogLost:
        begin_again(db, zone)
        return taken
    replay.flush()
    touched, end_ms = replay.touched, replay.end_wall_ms
    if touched is not None and end_ms is not None:
        between_ms = (touched.from_ms, touched.until_ms)
        daybook.make(db, zone, between_ms, end_ms=end_ms, kept_from=replay.state.kept_from)
    return taken


# --- erasing --------------------------------------------------------------------------------------------------------


def erasable_sessions(db: sqlite3.Connection, zone: ZoneInfo, before: dt.date) -> list[int]:
    """Ids of sessions of which all that is told lies before that local day: what the log tells of them may go."""
    return records.erasable_sessions(db, tally.day_ms(before, zone)[0])


def erase_sessions(db: sqlite3.Connection, before: dt.date) -> int:
    """Erase the records of the same; how many. Figures of hours and days stay, and are never made again."""
    state = records.state(db)
    if not state.zone:
        return 0
    return records.erase_sessions(db, tally.day_ms(before, ZoneInfo(state.zone))[0])


@contextlib.contextmanager
def erasing(db: sqlite3.Connection, seqs: Collection[int], before: dt.date) -> Iterator[None]:
    """Around erasing these entries from the log, of days before that one.

    As a rule the records of what they told go with those days. All is made again from what is left where they told of
    more: of a later day, if a clock that was wrong says so; or beside lost entries, since when and in which boot.
    """
    told_later = _tell_later(db, seqs, before)
    yield
    if told_later or records.loses_beside(db, min(seqs), max(seqs)):
        begin_again(db, ZoneInfo(records.state(db).zone))


def _tell_later(db: sqlite3.Connection, seqs: Collection[int], before: dt.date) -> bool:
    state, wanted = records.state(db), set(seqs)
    if not state.zone:
        return False
    limit_ms, clocks = tally.day_ms(before, ZoneInfo(state.zone))[0], Clocks(journal.of_kinds(db, Clocks.KINDS))
    told = (entry for entry in journal.entries(db, min(seqs) - 1, max(seqs)) if entry.seq in wanted)
    return any((clocks.corrected(*moment_of(one)) or (one.wall_ms, False))[0] >= limit_ms for one in told)
