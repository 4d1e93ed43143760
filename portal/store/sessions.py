"""The SQL of sessions, of the boot they run in and of the uplink. It must not know Flask, netctl or policy.

Every function works inside the transaction of the connection it is given (portal.store.db.Database).
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from portal.domain.model import EndReason, Failing, Now, Session, Uplink, UplinkState
from portal.domain.policy import Running
from portal.domain.uplink import UplinkView
from portal.store import people

_SELECT = """
    SELECT session.id, mac, ipv4, plan, method, terms_version, started_wall_s, session.boot_id, deadline_boot_s,
        CASE WHEN ended_wall_s IS NULL THEN max(0.0, deadline_boot_s - seen_boot_s) END,
        active_boot_s, up_bytes, down_bytes, ended_wall_s, end_reason, person_id
    FROM meta CROSS JOIN session
"""


def _session(row: tuple[Any, ...]) -> Session:
    values = list(row)
    values[-2] = None if values[-2] is None else EndReason(values[-2])
    return Session(*values)


def not_ended(db: sqlite3.Connection) -> list[Session]:
    """Sessions without a recorded end, in order of id; those whose time is over included."""
    # +id: SQLite would else read the whole table in order of its key rather than sort the few.
    return [_session(row) for row in db.execute(_SELECT + "WHERE ended_wall_s IS NULL ORDER BY +session.id")]


def running(db: sqlite3.Connection, day: str) -> Iterator[Running]:
    """The same for policy.desired_state: a login reads them all, and a whole Session costs four times as much.

    ``day``: whose budgets hold now, ``2026-11-24``.
    """
    return map(
        Running._make,
        db.execute(
            """
            SELECT session.id, session.mac, ipv4, plan, session.boot_id, deadline_boot_s,
                max(0.0, deadline_boot_s - seen_boot_s), rule IS 'block', ifnull(seconds, 0.0),
                ifnull(person_day.up_bytes + person_day.down_bytes, 0)
            FROM meta CROSS JOIN session LEFT JOIN device ON device.mac = session.mac
                LEFT JOIN person_day ON person_day.person_id = session.person_id AND person_day.day = ?
            WHERE ended_wall_s IS NULL
            """,
            (day,),
        ),
    )


def not_ended_of(db: sqlite3.Connection, mac: str) -> Session | None:
    row = db.execute(_SELECT + "WHERE mac = ? AND ended_wall_s IS NULL", (mac,)).fetchone()
    return None if row is None else _session(row)


def not_ended_of_person(db: sqlite3.Connection, person_id: int) -> list[Session]:
    return [_session(row) for row in db.execute(_SELECT + "WHERE person_id = ? AND ended_wall_s IS NULL", (person_id,))]


def by_id(db: sqlite3.Connection, session_id: int) -> Session | None:
    row = db.execute(_SELECT + "WHERE session.id = ?", (session_id,)).fetchone()
    return None if row is None else _session(row)


def count_not_ended(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM session WHERE ended_wall_s IS NULL").fetchone()[0])


def begin(
    db: sqlite3.Connection,
    *,
    mac: str,
    ipv4: str | None,
    plan: str,
    method: str,
    terms_version: str,
    limit_s: float | None,
    now: Now,
    person_id: int | None = None,
) -> Session:
    """Start a session; the device must not have another (unique index). An address belongs to who came last."""
    _take_address(db, ipv4)
    deadline_boot_s = None if limit_s is None else now.boot_s + limit_s
    row = db.execute(
        """
        INSERT INTO session
            (mac, ipv4, plan, method, terms_version, started_wall_s, boot_id, deadline_boot_s, active_boot_s, person_id)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id
        """,
        (
            mac,
            ipv4,
            plan,
            method,
            terms_version,
            now.wall_s,
            now.boot_id,
            deadline_boot_s,
            now.boot_s,
            person_id,
        ),
    ).fetchone()
    if person_id is not None:
        people.start_time(db, person_id, now)
    return Session(
        id=row[0],
        mac=mac,
        ipv4=ipv4,
        plan=plan,
        method=method,
        terms_version=terms_version,
        started_wall_s=now.wall_s,
        boot_id=now.boot_id,
        deadline_boot_s=deadline_boot_s,
        remaining_s=limit_s,
        active_boot_s=now.boot_s,
        up_bytes=0,
        down_bytes=0,
        ended_wall_s=None,
        end_reason=None,
        person_id=person_id,
    )


def move(db: sqlite3.Connection, session: Session, ipv4: str) -> Session:
    """The device of this session has another address now."""
    _take_address(db, ipv4)
    db.execute("UPDATE session SET ipv4 = ? WHERE id = ?", (ipv4, session.id))
    return replace(session, ipv4=ipv4)


def _take_address(db: sqlite3.Connection, ipv4: str | None) -> None:
    """Whoever had the address lost it (its lease ran out). That session stays; it gets its next address at login."""
    if ipv4 is not None:
        db.execute("UPDATE session SET ipv4 = NULL WHERE ipv4 = ? AND ended_wall_s IS NULL", (ipv4,))


def leave_addresses(db: sqlite3.Connection, holds: Callable[[str], bool]) -> int:
    """Forget running sessions' addresses that ``holds`` denies: the LAN is another since site.toml was changed."""
    gone = [session.id for session in not_ended(db) if session.ipv4 is not None and not holds(session.ipv4)]
    db.executemany("UPDATE session SET ipv4 = NULL WHERE id = ?", [(number,) for number in gone])
    if gone:
        next_generation(db)
    return len(gone)


def end(db: sqlite3.Connection, session_id: int, reason: EndReason, now: Now, zone: dt.tzinfo) -> bool:
    """Record the end, and count the person's time if it was their last; False where the session had ended before.

    ``zone``: site.timezone, since time online is counted by local days.
    """
    row = db.execute(
        "UPDATE session SET ended_wall_s = ?, end_reason = ? WHERE id = ? AND ended_wall_s IS NULL "
        "RETURNING person_id, deadline_boot_s",
        (now.wall_s, reason.value, session_id),
    ).fetchone()
    if row is None:
        return False
    if row[0] is not None:
        people.stop_time(db, row[0], row[1], people.moment(db, now, zone))
    return True


# --- the state's name and the boot ----------------------------------------------------------------------------------


def state_name(db: sqlite3.Connection) -> tuple[str, int]:
    """(epoch, generation) of what the rows say now."""
    epoch, generation = db.execute("SELECT epoch, generation FROM meta").fetchone()
    return epoch, generation


def next_generation(db: sqlite3.Connection) -> None:
    db.execute("UPDATE meta SET generation = generation + 1")


def pass_generation(db: sqlite3.Connection, epoch: str, generation: int) -> bool:
    """Go beyond ``generation`` if this database has not come so far, and beyond the ids that it gave out then."""
    behind = db.execute(
        "UPDATE meta SET generation = :held + 1 WHERE epoch = :epoch AND generation < :held",
        {"held": generation, "epoch": epoch},
    )
    if behind.rowcount == 1:
        db.execute("UPDATE sqlite_sequence SET seq = seq + 65536 WHERE name = 'session'")
    return behind.rowcount == 1


def note_time(db: sqlite3.Connection, now: Now) -> int:
    """Every writer's first statement: how far this boot came. In a new boot, sessions go on with what they had left.

    Returns the number of sessions that were carried into a new boot.
    """
    same_boot = db.execute(
        "UPDATE meta SET seen_boot_s = max(seen_boot_s, ?) WHERE boot_id = ?", (now.boot_s, now.boot_id)
    )
    if same_boot.rowcount:
        return 0
    carried = db.execute(
        """
        UPDATE session SET boot_id = :boot_id, active_boot_s = :boot_s,
            deadline_boot_s = :boot_s + max(0.0, deadline_boot_s - (SELECT seen_boot_s FROM meta))
        WHERE ended_wall_s IS NULL
        """,
        {"boot_id": now.boot_id, "boot_s": now.boot_s},
    ).rowcount
    people.carry_time(db, now)
    db.execute("DELETE FROM counter")  # the kernel's counters of an earlier boot are gone for good
    db.execute("UPDATE meta SET boot_id = ?, seen_boot_s = ?, generation = generation + 1", (now.boot_id, now.boot_s))
    return carried


# --- uplink ---------------------------------------------------------------------------------------------------------


def set_uplink(db: sqlite3.Connection, view: UplinkView, now: Now) -> None:
    db.execute(
        """
        INSERT OR REPLACE INTO uplink (id, state, boot_id, since_boot_s, failing, latency_ms, loss)
        VALUES (1, ?, ?, ?, ?, ?, ?)
        """,
        (view.state.value, now.boot_id, view.since_boot_s, view.failing, view.latency_ms, view.loss),
    )


def uplink_view(db: sqlite3.Connection, now: Now) -> UplinkView:
    """What the meter last found in this boot."""
    row = db.execute(
        "SELECT state, since_boot_s, failing, latency_ms, loss FROM uplink WHERE boot_id = ?", (now.boot_id,)
    ).fetchone()
    if row is None:
        return UplinkView()
    state, since_boot_s, failing, latency_ms, loss = row
    return UplinkView(
        UplinkState(state),
        since_boot_s,
        failing=None if failing is None else Failing(failing),
        latency_ms=latency_ms,
        loss=loss,
    )


def uplink(db: sqlite3.Connection, now: Now) -> Uplink:
    """The same for people: on the wall clock as it goes now."""
    view = uplink_view(db, now)
    since_wall_s = None if view.since_boot_s is None else now.wall_s - (now.boot_s - view.since_boot_s)
    return Uplink(view.state, since_wall_s, view.failing, view.latency_ms, view.loss)
