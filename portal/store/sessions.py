"""The SQL of sessions, of the boot they run in and of the uplink. It must not know Flask, netctl or policy.

What begins or ends a session also says so in the usage log. A session does not outlive the boot that it began in: in
the next one, another goes on after it.
Every function works inside the transaction of the connection it is given (portal.store.db.Database).
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from portal.domain.journal import Kind
from portal.domain.model import EndReason, Failing, Now, Session, Uplink, UplinkState
from portal.domain.policy import Running
from portal.domain.uplink import UplinkView
from portal.store import journal, people

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


def ids_not_ended(db: sqlite3.Connection) -> set[int]:
    return {row[0] for row in db.execute("SELECT id FROM session WHERE ended_wall_s IS NULL")}


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
    device: str,
    person_id: int | None = None,
    after: int | None = None,
) -> Session:
    """Start a session; the device must not have another (unique index). An address belongs to who came last.

    ``device`` is its pseudonym for the log (portal.store.pseudonyms), ``after`` the session that this one continues.
    """
    _take_address(db, ipv4)
    deadline_boot_s = None if limit_s is None else now.boot_s + limit_s
    row = db.execute(
        """
        INSERT INTO session
            (mac, ipv4, plan, method, terms_version, started_wall_s, boot_id, deadline_boot_s, active_boot_s, person_id,
            device)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id
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
            device,
        ),
    ).fetchone()
    journal.append(db, Kind.BEGIN, {"s": row[0], "d": device, "plan": plan, "method": method, "after": after}, now)
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
    """Record the end, and count the person's time up to it; False where the session had ended before.

    ``zone``: site.timezone, since time online is counted by local days.
    """
    row = record_end(db, session_id, reason, now, now)
    if row is None:
        return False
    if row[0] is not None:
        people.stop_time(db, row[0], row[1], people.moment(db, now, zone))
    return True


def tell_interims(db: sqlite3.Connection, read_boot_s: float, now: Now) -> None:
    """Tell the log the totals of running sessions that moved since it was told last; they were read then."""
    told = db.execute(
        """
        UPDATE session SET told_up_bytes = up_bytes, told_down_bytes = down_bytes
        WHERE ended_wall_s IS NULL AND (told_up_bytes <> up_bytes OR told_down_bytes <> down_bytes)
        RETURNING id, up_bytes, down_bytes
        """
    ).fetchall()
    at_ms = round(read_boot_s * 1000)
    for session_id, up_bytes, down_bytes in sorted(told):
        said = {"s": session_id, "up": up_bytes, "down": down_bytes, "at_ms": at_ms}
        journal.append(db, Kind.INTERIM, said, now)


def tell_final(db: sqlite3.Connection, session_id: int, read_boot_s: float, now: Now) -> None:
    """Tell the log of bytes that an ended session still moved, if there are any."""
    row = db.execute(
        """
        UPDATE session SET told_up_bytes = up_bytes, told_down_bytes = down_bytes
        WHERE id = ? AND (told_up_bytes <> up_bytes OR told_down_bytes <> down_bytes) RETURNING up_bytes, down_bytes
        """,
        (session_id,),
    ).fetchone()
    if row is not None:
        said = {"s": session_id, "up": row[0], "down": row[1], "at_ms": round(read_boot_s * 1000)}
        journal.append(db, Kind.FINAL, said, now)


def record_end(
    db: sqlite3.Connection, session_id: int, reason: EndReason, at: Now, now: Now
) -> tuple[int | None, float | None] | None:
    """It ended ``at`` that moment: its row and the log. (person's id, deadline_boot_s); None: it had ended before."""
    row = db.execute(
        """
        UPDATE session SET ended_wall_s = max(started_wall_s, ?), end_reason = ?,
            told_up_bytes = up_bytes, told_down_bytes = down_bytes
        WHERE id = ? AND ended_wall_s IS NULL RETURNING person_id, deadline_boot_s, up_bytes, down_bytes
        """,
        (at.wall_s, reason.value, session_id),
    ).fetchone()
    if row is None:
        return None
    person_id, deadline_boot_s, up_bytes, down_bytes = row
    said = {"s": session_id, "reason": reason.value, "up": up_bytes, "down": down_bytes}
    journal.append(db, Kind.END, {**said, "at_ms": round(at.boot_s * 1000), "boot": at.boot_id}, now)
    return person_id, deadline_boot_s


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
    """Every writer's first statement, and the heartbeat: how far this boot came.

    In a new boot, whoever was online goes on with what they had left, in a new session. Returns how many these are.
    """
    same_boot = db.execute(
        """
        UPDATE meta SET seen_boot_s = max(seen_boot_s, :boot_s),
            seen_wall_s = CASE WHEN seen_boot_s <= :boot_s THEN :wall_s ELSE seen_wall_s END
        WHERE boot_id = :boot_id
        """,
        {"boot_id": now.boot_id, "boot_s": now.boot_s, "wall_s": now.wall_s},
    )
    return 0 if same_boot.rowcount else _begin_boot(db, now)


def seen_boot_s(db: sqlite3.Connection, now: Now) -> float | None:
    """The last heartbeat of this boot; None: it has had none."""
    row = db.execute("SELECT seen_boot_s FROM meta WHERE boot_id = ?", (now.boot_id,)).fetchone()
    return None if row is None else row[0]


def _begin_boot(db: sqlite3.Connection, now: Now) -> int:
    last = Now(*db.execute("SELECT boot_id, seen_boot_s, seen_wall_s FROM meta").fetchone())
    online = not_ended(db)
    devices = dict(db.execute("SELECT id, device FROM session WHERE ended_wall_s IS NULL").fetchall())
    is_first, clean = not last.boot_id, journal.was_stopped(db, last.boot_id)
    people.carry_time(db, last, now)
    db.execute("DELETE FROM counter")  # the kernel's counters of an earlier boot are gone for good
    db.execute(
        "UPDATE meta SET boot_id = ?, seen_boot_s = ?, seen_wall_s = ?, generation = generation + 1",
        (now.boot_id, now.boot_s, now.wall_s),
    )
    seen_ms = None if is_first else round(last.boot_s * 1000)
    journal.append(db, Kind.BOOT, {"before": last.boot_id or None, "seen_ms": seen_ms, "clean": clean}, now)
    for session in online:
        record_end(db, session.id, EndReason.RESTART if clean else EndReason.POWER, last, now)
    going_on = [session for session in online if session.remaining_s is None or session.remaining_s > 0]
    for session in going_on:
        begin(
            db,
            mac=session.mac,
            ipv4=session.ipv4,
            plan=session.plan,
            method=session.method,
            terms_version=session.terms_version,
            limit_s=session.remaining_s,
            now=now,
            device=devices[session.id],
            person_id=session.person_id,
            after=session.id,
        )
    return len(going_on)


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
