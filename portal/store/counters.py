"""Writes counter readings into the sessions' totals, each byte once. It must not know where readings come from."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from portal.domain import budget, usage
from portal.domain.model import Now
from portal.domain.siterules import Moment
from portal.domain.usage import CounterKey, Reading
from portal.store import people, sessions

# A counter whose session ended and that has not moved for this long is forgotten. netctl reports counters of removed
# members for ten minutes; one that came back after it was forgotten would count twice.
FORGET_AFTER_S = 86_400.0

_READING = "counter.up_bytes, counter.down_bytes, up_packets, down_packets, sent_boot_s, received_boot_s"


def last_of(db: sqlite3.Connection, session_id: int) -> dict[CounterKey, Reading]:
    """The readings that this session's bytes include."""
    rows = db.execute(f"SELECT boot_id, ip, {_READING} FROM counter WHERE session_id = ?", (session_id,))  # noqa: S608
    return {CounterKey(row[0], session_id, row[1]): Reading(*row[2:]) for row in rows}


def last_of_running(db: sqlite3.Connection) -> dict[CounterKey, Reading]:
    """The same of all sessions that have not ended."""
    rows = db.execute(
        f"SELECT counter.boot_id, session_id, ip, {_READING} FROM counter JOIN session ON session.id = session_id "  # noqa: S608
        "WHERE ended_wall_s IS NULL"
    )
    return {CounterKey(*row[:3]): Reading(*row[3:]) for row in rows}


def account(db: sqlite3.Connection, seen: Mapping[CounterKey, Reading], moment: Moment) -> dict[CounterKey, Reading]:
    """Add what is new in ``seen`` to the totals of sessions and of people's days, and remember the readings, in the
    caller's transaction. Bytes belong to the day on which their reading arrived, on the clock of ``moment``.

    Returns the counters whose readings may be older than what is counted already, with that; they must be read again.
    Readings of sessions that this database does not have are ignored. A session's ``active_boot_s`` moves to the
    reading in which its upload grew: what arrives from outside does not prove that the device is still there.
    What a session moved after its end was recorded is told to the log.
    """
    to_read_again = {}
    late: dict[int, float] = {}  # ended session -> when its last bytes were read
    for key, reading in seen.items():
        row = db.execute(
            f"SELECT {_READING} FROM counter WHERE session_id = ? AND boot_id = ? AND ip = ?",  # noqa: S608
            (key.session_id, key.boot_id, key.ip),
        ).fetchone()
        last = None if row is None else Reading(*row)
        if last is not None and reading.shows_the_same_as(last):
            continue
        if last is not None and not usage.is_younger(reading, last):
            to_read_again[key] = last
            continue
        new = usage.delta(last, reading)
        counted = db.execute(
            """
            UPDATE session SET up_bytes = up_bytes + ?, down_bytes = down_bytes + ?,
                active_boot_s = CASE WHEN boot_id = ? THEN max(active_boot_s, ?) ELSE active_boot_s END
            WHERE id = ? RETURNING ended_wall_s IS NOT NULL
            """,
            (
                new.up_bytes,
                new.down_bytes,
                key.boot_id,
                reading.received_boot_s if new.up_bytes else 0.0,
                key.session_id,
            ),
        ).fetchone()
        if counted is not None:
            if counted[0]:
                late[key.session_id] = max(reading.received_boot_s, late.get(key.session_id, 0.0))
            people.add_bytes(db, key.session_id, _day_of(key, reading, moment), *new)
            db.execute(
                "INSERT OR REPLACE INTO counter VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # in the order of CREATE TABLE
                (
                    *key,
                    reading.up_bytes,
                    reading.down_bytes,
                    reading.up_packets,
                    reading.down_packets,
                    reading.sent_boot_s,
                    reading.received_boot_s,
                ),
            )
    for session_id, read_boot_s in late.items():
        sessions.tell_final(db, session_id, read_boot_s, moment.now)
    return to_read_again


def _day_of(key: CounterKey, reading: Reading, moment: Moment) -> str:
    if key.boot_id != moment.now.boot_id:
        return moment.day
    ago_s = moment.now.boot_s - reading.received_boot_s
    return budget.day_of(moment.now.wall_s - ago_s, moment.calendar)


def forget(db: sqlite3.Connection, now: Now) -> int:
    """Forget counters that can no longer move; how many."""
    return db.execute(
        """
        DELETE FROM counter WHERE received_boot_s < ?
            AND EXISTS (SELECT 1 FROM session WHERE id = session_id AND ended_wall_s IS NOT NULL)
        """,
        (now.boot_s - FORGET_AFTER_S,),
    ).rowcount
