"""The SQL of people: who they are, on which devices, what they used on which day. It must not know who may come in.

Every function works inside the transaction of the connection it is given (portal.store.db.Database). Time online is
counted up to ``meta.counted_boot_s`` for everybody, from the later of that and ``person.counted_boot_s``, which is set
as long as a session of theirs has not ended: so that a flush writes one row of person_day for each, and no other.
What follows is of ``meta.counted_day``, since the meter counts as soon as another day has begun.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import Final, NamedTuple

from portal import clock
from portal.domain import budget, codes
from portal.domain.budget import Calendar
from portal.domain.journal import Kind
from portal.domain.model import DayUse, Now, Person
from portal.domain.people import Bound
from portal.domain.siterules import Moment
from portal.store import journal

_SELECT: Final = """
    SELECT person.id, person.code, method, coalesce(voucher_batch.plan, account.plan, person.plan), voucher_id,
        account_id
    FROM person LEFT JOIN voucher ON voucher.id = voucher_id LEFT JOIN voucher_batch ON voucher_batch.id = batch_id
        LEFT JOIN account ON account.id = account_id
"""
# Seconds of one person online that are not in person_day yet, at :boot_s of boot :boot_id.
_UNCOUNTED: Final = """
    CASE WHEN meta.boot_id = :boot_id AND person.counted_boot_s IS NOT NULL
        THEN max(0.0, :boot_s - max(person.counted_boot_s, meta.counted_boot_s)) ELSE 0.0 END
"""


# --- the calendar ---------------------------------------------------------------------------------------------------


def moment(db: sqlite3.Connection, now: Now, zone: dt.tzinfo, *, trusted: bool = False) -> Moment:
    """``now`` with what this database knows of the calendar. ``trusted``: NTP has set the wall clock.

    A clock loses its time with the power. One that was trusted in this boot is believed as long as that lasts, also
    when it is put back; in a later boot only from the last trusted moment on.
    """
    last_day, trusted_wall_s, boot_id = db.execute("SELECT day, trusted_wall_s, trusted_boot_id FROM meta").fetchone()
    was_set = boot_id == now.boot_id or now.wall_s >= trusted_wall_s
    clock_ok = trusted or (was_set and clock.wall_is_plausible(now.wall_s))
    calendar = Calendar(zone, clock_ok, trusted, last_day)
    wall_s = now.wall_s if clock_ok else max(now.wall_s, trusted_wall_s)
    return Moment(now, calendar, wall_s, budget.day_of(now.wall_s, calendar))


def note_trusted(db: sqlite3.Connection, moment: Moment) -> None:
    """Remember what a trusted clock shows: the next one that shows less is not believed."""
    if moment.calendar.trusted:
        db.execute(
            "UPDATE meta SET day = ?, trusted_wall_s = ?, trusted_boot_id = ?",
            (moment.day, moment.now.wall_s, moment.now.boot_id),
        )


# --- who ------------------------------------------------------------------------------------------------------------


def by_id(db: sqlite3.Connection, person_id: int) -> Person | None:
    """With the plan that voucher or account give now; of others the plan they came under."""
    row = db.execute(_SELECT + "WHERE person.id = ?", (person_id,)).fetchone()
    return None if row is None else Person(*row)


def by_code(db: sqlite3.Connection, code: str) -> Person | None:
    """Whose return code this is."""
    row = db.execute(_SELECT + "WHERE person.code = ?", (code,)).fetchone()
    return None if row is None else Person(*row)


def of_voucher(db: sqlite3.Connection, voucher_id: int) -> Person | None:
    row = db.execute(_SELECT + "WHERE voucher_id = ?", (voucher_id,)).fetchone()
    return None if row is None else Person(*row)


def of_account(db: sqlite3.Connection, account_id: int) -> Person | None:
    row = db.execute(_SELECT + "WHERE account_id = ?", (account_id,)).fetchone()
    return None if row is None else Person(*row)


def of_device(db: sqlite3.Connection, mac: str, method: str) -> Person | None:
    """Who came in by this method and used the device last."""
    column = "terms_person_id" if method == "terms" else "person_id"
    row = db.execute(
        f"{_SELECT} JOIN device ON device.{column} = person.id WHERE mac = ? AND method = ?",
        (mac, method),
    ).fetchone()
    return None if row is None else Person(*row)


def create(
    db: sqlite3.Connection,
    *,
    method: str,
    plan: str,
    now: Now,
    voucher_id: int | None = None,
    account_id: int | None = None,
) -> Person:
    """Somebody new, with a return code that no person and no voucher has."""
    while True:
        code = codes.new_code()
        row = db.execute(
            """
            INSERT INTO person (code, method, plan, voucher_id, account_id, created_wall_s)
            SELECT ?1, ?2, ?3, ?4, ?5, ?6
            WHERE NOT EXISTS (SELECT 1 FROM voucher WHERE code = ?1)
                AND NOT EXISTS (SELECT 1 FROM person WHERE code = ?1)
            RETURNING id
            """,
            (code, method, plan, voucher_id, account_id, now.wall_s),
        ).fetchone()
        if row is not None:
            return Person(row[0], code, method, plan, voucher_id, account_id)


# --- their devices --------------------------------------------------------------------------------------------------


def remember_device(db: sqlite3.Connection, mac: str, person: Person, now: Now) -> None:
    """This person uses this device now."""
    known = db.execute(
        """
        UPDATE device SET seen_wall_s = :wall_s
        WHERE mac = :mac AND person_id IS :person AND (:method <> 'terms' OR terms_person_id IS :person)
        """,
        {"mac": mac, "person": person.id, "method": person.method, "wall_s": now.wall_s},
    )
    if known.rowcount:  # as mostly; what follows writes two pages more, of the indexes
        return
    db.execute(
        """
        INSERT INTO device (mac, person_id, terms_person_id, seen_wall_s)
        VALUES (:mac, :person, CASE WHEN :method = 'terms' THEN :person END, :wall_s)
        ON CONFLICT (mac) DO UPDATE SET person_id = excluded.person_id, seen_wall_s = excluded.seen_wall_s,
            terms_person_id = coalesce(excluded.terms_person_id, terms_person_id)
        """,
        {"mac": mac, "person": person.id, "method": person.method, "wall_s": now.wall_s},
    )


def note_moved(db: sqlite3.Connection, mac: str, now: Now) -> None:
    """A return code took this device's place; its owner is to be told."""
    db.execute("UPDATE device SET moved_wall_s = ? WHERE mac = ?", (now.wall_s, mac))


def told_moved(db: sqlite3.Connection, mac: str) -> bool:
    """Its owner knows; False where there was nothing to tell."""
    told = db.execute("UPDATE device SET moved_wall_s = NULL WHERE mac = ? AND moved_wall_s IS NOT NULL", (mac,))
    return told.rowcount == 1


def bound(db: sqlite3.Connection, voucher_id: int) -> list[Bound]:
    """The devices that a voucher is bound to."""
    rows = db.execute(
        "SELECT voucher_device.mac, ifnull(seen_wall_s, bound_wall_s) "
        "FROM voucher_device LEFT JOIN device ON device.mac = voucher_device.mac WHERE voucher_id = ?",
        (voucher_id,),
    )
    return [Bound(*row) for row in rows]


# --- what they used -------------------------------------------------------------------------------------------------


def day_use(db: sqlite3.Connection, person_id: int, moment: Moment) -> DayUse:
    """What the person used on the day of ``moment``: time up to now, bytes as of the last flush."""
    row = db.execute(
        f"""
        SELECT ifnull(seconds, 0.0) + {_UNCOUNTED}, ifnull(up_bytes, 0), ifnull(down_bytes, 0)
        FROM meta CROSS JOIN person LEFT JOIN person_day ON person_id = person.id AND person_day.day = :day
        WHERE person.id = :person
        """,  # noqa: S608 - constants of this module
        {"person": person_id, "day": moment.day, "boot_id": moment.now.boot_id, "boot_s": moment.now.boot_s},
    ).fetchone()
    return DayUse(0.0, 0, 0) if row is None else DayUse(*row)


def uses(db: sqlite3.Connection, moment: Moment) -> dict[int, DayUse]:
    """The same of everybody who is online, by id."""
    rows = db.execute(
        f"""
        SELECT person.id, ifnull(seconds, 0.0) + {_UNCOUNTED}, ifnull(up_bytes, 0), ifnull(down_bytes, 0)
        FROM meta CROSS JOIN person INDEXED BY person_online
            LEFT JOIN person_day ON person_id = person.id AND person_day.day = :day
        WHERE person.counted_boot_s IS NOT NULL
        """,  # noqa: S608 - constants of this module
        {"day": moment.day, "boot_id": moment.now.boot_id, "boot_s": moment.now.boot_s},
    )
    return {row[0]: DayUse(*row[1:]) for row in rows}


def start_time(db: sqlite3.Connection, person_id: int, now: Now) -> None:
    """A session of theirs begins: their time runs, if it did not."""
    db.execute("UPDATE person SET counted_boot_s = ? WHERE id = ? AND counted_boot_s IS NULL", (now.boot_s, person_id))


def stop_time(db: sqlite3.Connection, person_id: int, deadline_boot_s: float | None, moment: Moment) -> None:
    """A session with this deadline has ended: their time is counted up to its end, and stands still if it was the last.

    Counted with each end, since the last that is found need not be the last that was.
    """
    row = db.execute(
        """
        SELECT max(person.counted_boot_s, meta.counted_boot_s),
            EXISTS (SELECT 1 FROM session WHERE person_id = person.id AND ended_wall_s IS NULL)
        FROM meta CROSS JOIN person WHERE person.id = ? AND person.counted_boot_s IS NOT NULL
        """,
        (person_id,),
    ).fetchone()
    if row is None:
        return
    from_boot_s, goes_on = row
    to_boot_s = max(from_boot_s, _end_of(deadline_boot_s, moment.now))
    _add_time(db, person_id, from_boot_s, to_boot_s, moment)
    db.execute("UPDATE person SET counted_boot_s = ? WHERE id = ?", (to_boot_s if goes_on else None, person_id))


def count_time(db: sqlite3.Connection, moment: Moment) -> None:
    """Count the time of everybody who is online up to now."""
    for person_id, from_boot_s, deadline_boot_s in _online(db):
        _add_time(db, person_id, from_boot_s, _end_of(deadline_boot_s, moment.now), moment)
    db.execute("UPDATE meta SET counted_boot_s = ?, counted_day = ?", (moment.now.boot_s, moment.day))


def carry_time(db: sqlite3.Connection, last: Now, now: Now) -> None:
    """A new boot: everybody's time is counted up to the ``last`` moment of the old one, and begins again with
    their next session."""
    (day,) = db.execute("SELECT counted_day FROM meta").fetchone()
    for person_id, from_boot_s, deadline_boot_s in _online(db):
        _add_seconds(db, person_id, day, _end_of(deadline_boot_s, last) - from_boot_s)
    db.execute("UPDATE person SET counted_boot_s = NULL WHERE counted_boot_s IS NOT NULL")
    db.execute("UPDATE meta SET counted_boot_s = ?", (now.boot_s,))


def _online(db: sqlite3.Connection) -> list[tuple[int, float, float]]:
    """(person, from when their time is not counted yet, the latest of their sessions' deadlines)."""
    return db.execute(
        """
        SELECT person_id, max(person.counted_boot_s, meta.counted_boot_s), max(ifnull(deadline_boot_s, 9e999))
        FROM meta CROSS JOIN session JOIN person ON person.id = person_id
        WHERE ended_wall_s IS NULL AND person.counted_boot_s IS NOT NULL GROUP BY person_id
        """
    ).fetchall()


def _end_of(deadline_boot_s: float | None, now: Now) -> float:
    return now.boot_s if deadline_boot_s is None else min(deadline_boot_s, now.boot_s)


def _add_time(db: sqlite3.Connection, person_id: int, from_boot_s: float, to_boot_s: float, moment: Moment) -> None:
    for day, seconds in budget.split(from_boot_s, to_boot_s, moment.now, moment.calendar):
        _add_seconds(db, person_id, day, seconds)


def _add_seconds(db: sqlite3.Connection, person_id: int, day: str, seconds: float) -> None:
    if seconds > 0:
        db.execute(
            "INSERT INTO person_day (person_id, day, seconds) VALUES (?, ?, ?) "
            "ON CONFLICT (person_id, day) DO UPDATE SET seconds = seconds + excluded.seconds",
            (person_id, day, seconds),
        )


def add_bytes(db: sqlite3.Connection, session_id: int, day: str, up_bytes: int, down_bytes: int) -> None:
    """To whom the session belongs; nothing where that is nobody."""
    db.execute(
        """
        INSERT INTO person_day (person_id, day, up_bytes, down_bytes)
        SELECT person_id, ?, ?, ? FROM session WHERE id = ? AND person_id IS NOT NULL
        ON CONFLICT (person_id, day) DO UPDATE SET up_bytes = up_bytes + excluded.up_bytes,
            down_bytes = down_bytes + excluded.down_bytes
        """,
        (day, up_bytes, down_bytes, session_id),
    )


# --- what the office says of who is online --------------------------------------------------------------------------


class Standing(NamedTuple):
    """What voucher, account and rules say now of a session that has not ended.

    ``plan``: what they give (None: they give none). ``withdrawn``: the voucher is void or the account disabled.
    ``until_wall_s``: when the voucher ends. ``rule``: of the device, with its plan.
    """

    session_id: int
    person_id: int | None
    plan: str | None
    withdrawn: int
    until_wall_s: float | None
    rule: str | None
    rule_plan: str | None


def standings(db: sqlite3.Connection) -> dict[int, Standing]:
    """Of all sessions that have not ended, by id."""
    rows = db.execute(
        """
        SELECT session.id, session.person_id, coalesce(voucher_batch.plan, account.plan),
            voided_wall_s IS NOT NULL OR ifnull(disabled, 0), valid_until_wall_s, rule, rule_plan
        FROM session LEFT JOIN person ON person.id = session.person_id LEFT JOIN voucher ON voucher.id = voucher_id
            LEFT JOIN voucher_batch ON voucher_batch.id = batch_id LEFT JOIN account ON account.id = account_id
            LEFT JOIN device ON device.mac = session.mac
        WHERE ended_wall_s IS NULL
        """
    )
    return {row[0]: Standing(*row) for row in rows}


def set_plan(db: sqlite3.Connection, session_id: int, plan: str, now: Now) -> None:
    """The session runs, and its person comes back, under another plan from now on."""
    journal.append(db, Kind.PLAN, {"s": session_id, "plan": plan}, now)
    db.execute("UPDATE session SET plan = ? WHERE id = ?", (plan, session_id))
    db.execute("UPDATE person SET plan = ? WHERE id = (SELECT person_id FROM session WHERE id = ?)", (plan, session_id))


def allowed_offline(db: sqlite3.Connection) -> list[tuple[str, str | None]]:
    """(MAC, the rule's plan) of devices that an operator allows and that have no session."""
    return db.execute(
        """
        SELECT mac, rule_plan FROM device WHERE rule = 'allow'
            AND NOT EXISTS (SELECT 1 FROM session WHERE session.mac = device.mac AND ended_wall_s IS NULL)
        """
    ).fetchall()
