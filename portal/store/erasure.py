"""The SQL that erases: entries of the usage log, which leave tombs, and rows of devices, people and acts. It must not
know for how long anything is kept, nor which sessions are over.

Every function works inside the transaction of the connection it is given, on a bounded number of rows, says in the
usage log what went, and leaves nothing half done. Times that cannot be (a clock that was not set yet, or had leapt) are
never compared: such a row goes once those beside it have gone.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Collection, Iterator
from typing import Final

from portal.domain import erasure
from portal.domain.erasure import Seen
from portal.domain.journal import CLASS_OF, Class, Kind, Tomb
from portal.domain.model import Now
from portal.domain.office import AuditEntry
from portal.store import audit as trail
from portal.store import journal, pseudonyms

SESSION_KINDS: Final = tuple(kind for kind, of in CLASS_OF.items() if of is Class.SESSIONS)


def prepare(db: sqlite3.Connection) -> None:
    """What this connection deletes is also overwritten in the file, for it is erased to be gone."""
    db.execute("PRAGMA secure_delete = ON")


def see(db: sqlite3.Connection, today: dt.date) -> Seen:
    """Note that a trusted clock shows this day; what is known of days since."""
    before = Seen(*db.execute("SELECT day, days FROM erasure_seen").fetchone())
    found = erasure.see(before, today)
    if found != before:
        db.execute("UPDATE erasure_seen SET day = ?, days = ?", found)
    return found


# --- entries of the usage log ---------------------------------------------------------------------------------------


def written_before(db: sqlite3.Connection, before_wall_ms: int) -> int:
    """The last entry that was certainly written before that moment: none after it was, by a clock that NTP had set."""
    low, (high, _) = 0, journal.head(db)
    while low < high:
        middle = (low + high + 1) // 2
        row = db.execute(
            "SELECT seq, wall_ms FROM journal WHERE seq >= ? AND seq <= ? AND trusted ORDER BY seq LIMIT 1",
            (middle, high),
        ).fetchone()
        if row is not None and row[1] < before_wall_ms:
            low = row[0]
        else:
            high = middle - 1
    return low


def of_kinds(db: sqlite3.Connection, kinds: Collection[Kind], until_seq: int, most: int) -> list[int]:
    """The first entries of these kinds up to a number."""
    rows = db.execute(
        "SELECT seq FROM journal WHERE seq <= ? AND kind IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?",
        (until_seq, json.dumps([kind.value for kind in kinds]), most),
    )
    return [row[0] for row in rows]


def of_sessions(db: sqlite3.Connection, until_seq: int, look_seq: int, lost: Collection[int]) -> list[list[int]]:
    """All that is told of each session that had ended by entry ``until_seq``, and of which nothing is told after it.

    Only up to ``look_seq`` can there be such. ``lost``: ids of sessions that ended, though perhaps no entry says so any
    more. It reads all entries up to ``look_seq``.
    """
    found: dict[int, list[int]] = {}
    ended, late = set(), set()
    rows = db.execute(
        "SELECT seq, kind, body FROM journal WHERE seq <= ? AND kind IN (SELECT value FROM json_each(?)) ORDER BY seq",
        (look_seq, json.dumps([kind.value for kind in SESSION_KINDS])),
    )
    for seq, kind, body in rows:
        session_id = json.loads(body)["s"]
        found.setdefault(session_id, []).append(seq)
        if seq > until_seq:
            late.add(session_id)
        elif kind == Kind.END.value:
            ended.add(session_id)
    # What was still under way when it ended may be told after any time: the gateway stood still, or had no power.
    finals = db.execute("SELECT body FROM journal WHERE seq > ? AND kind = 'final'", (look_seq,))
    late |= {json.loads(body)["s"] for (body,) in finals}
    unended = set(found) & set(lost) - ended - late
    if unended:
        later = db.execute("SELECT body FROM journal WHERE seq > ? AND kind = 'end'", (look_seq,))
        unended -= {json.loads(body)["s"] for (body,) in later}
    return [seqs for session_id, seqs in found.items() if session_id in (ended | unended) - late]


def entries(db: sqlite3.Connection, seqs: Collection[int], name: str, before: str, now: Now) -> int:
    """Erase these entries of one class; how many were there. ``before``: the first day that is kept."""
    numbers = json.dumps(sorted(seqs))
    gone = db.execute(
        "SELECT seq, hash FROM journal WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq", (numbers,)
    ).fetchall()
    if not gone:
        return 0
    first, last = gone[0][0], gone[-1][0]
    there = db.execute(
        """
        SELECT first_seq, last_seq, last_hash FROM journal_tomb WHERE first_seq <= ? AND first_seq >=
            ifnull((SELECT max(first_seq) FROM journal_tomb WHERE first_seq < ?), 0) ORDER BY first_seq
        """,
        (last + 1, first),
    ).fetchall()
    plan = erasure.graves(gone, [Tomb(*row) for row in there])
    db.executemany("DELETE FROM journal_tomb WHERE first_seq = ?", [(first_seq,) for first_seq in plan.replaced])
    db.executemany(
        "INSERT INTO journal_tomb VALUES (?, ?, ?)", [(one.first, one.last, one.last_hash) for one in plan.new]
    )
    db.execute("DELETE FROM journal WHERE seq IN (SELECT value FROM json_each(?))", (numbers,))
    say(db, name, before, len(gone), now, first=first, last=last)
    return len(gone)


def say(db: sqlite3.Connection, name: str, before: str, count: int, now: Now, **more: int) -> None:
    """Tell the usage log that so many of a class were erased."""
    journal.append(db, Kind.ERASURE, {"class": name, "before": before, "count": count, **more}, now)


# --- devices and people ---------------------------------------------------------------------------------------------

# A moment that can be. Else nothing is known of when it was, and what speaks of the row decides alone.
_CAN_BE: Final = "{0} BETWEEN :first_wall_s AND :now_wall_s + 86400"


def sessions(db: sqlite3.Connection, limits: dict[str, float | str], most: int) -> int:
    """Rows of sessions that ended before; what the log tells of them is of another class. How many.

    One of a wrong clock goes once the next one is old enough, and not in the boot that it is of.
    """
    (present,) = db.execute("SELECT boot_id FROM meta").fetchone()
    now_wall_s, before_wall_s = float(limits["now_wall_s"]), float(limits["before_wall_s"])
    rows = db.execute("SELECT id, started_wall_s, ended_wall_s, boot_id FROM session ORDER BY id").fetchall()
    # One that runs tells by its beginning that those before it are older.
    moments = [(began, now_wall_s if ended is None else ended) for _, began, ended, _ in rows]
    gone = [
        (row[0],)
        for row, over_s in zip(rows, erasure.over_by(moments, now_wall_s), strict=True)
        if row[2] is not None and over_s < before_wall_s and (over_s == row[2] or row[3] != present)
    ][:most]
    db.executemany("DELETE FROM session WHERE id = ?", gone)
    return len(gone)


def devices(db: sqlite3.Connection, limits: dict[str, float | str], most: int) -> int:
    """Devices that were not seen since, without a rule; how many. After their sessions."""
    return db.execute(
        f"""
        DELETE FROM device WHERE mac IN (
            SELECT mac FROM device WHERE rule IS NULL AND mac NOT IN (SELECT mac FROM session)
                AND NOT ({_CAN_BE.format("ifnull(seen_wall_s, 0)")} AND seen_wall_s >= :before_wall_s)
            LIMIT :most)
        """,  # noqa: S608
        {**limits, "most": most},
    ).rowcount


def bindings(db: sqlite3.Connection, limits: dict[str, float | str], most: int) -> int:
    """Which devices a voucher let in that was void or over before; how many."""
    return db.execute(
        """
        DELETE FROM voucher_device WHERE (voucher_id, mac) IN (
            SELECT voucher_id, mac FROM voucher_device JOIN voucher ON voucher.id = voucher_id
                JOIN voucher_batch ON voucher_batch.id = batch_id
            WHERE (voided_wall_s < :before_wall_s OR valid_until_wall_s < :before_wall_s)
                AND mac NOT IN (SELECT mac FROM session)
            LIMIT :most)
        """,
        {**limits, "most": most},
    ).rowcount


def day_uses(db: sqlite3.Connection, limits: dict[str, float | str], most: int) -> int:
    """What each person used on days before, and on days that never were; how many."""
    return db.execute(
        """
        DELETE FROM person_day WHERE (day, person_id) IN (
            SELECT day, person_id FROM person_day
            WHERE (day < :before OR day > :tomorrow) AND day <> (SELECT counted_day FROM meta) LIMIT :most)
        """,
        {**limits, "most": most},
    ).rowcount


def people(db: sqlite3.Connection, limits: dict[str, float | str], most: int) -> int:
    """Return codes that nothing speaks of any more, but those of vouchers and accounts; how many. Last of all.

    Fewer at once than of others: for each, SQLite looks through all sessions and days for what might speak of it.
    """
    return db.execute(
        f"""
        DELETE FROM person WHERE id IN (
            SELECT id FROM person WHERE voucher_id IS NULL AND account_id IS NULL AND counted_boot_s IS NULL
                AND NOT ({_CAN_BE.format("created_wall_s")} AND created_wall_s >= :before_wall_s)
                AND id NOT IN (SELECT person_id FROM session WHERE person_id IS NOT NULL)
                AND id NOT IN (SELECT person_id FROM person_day)
                AND id NOT IN (SELECT person_id FROM device WHERE person_id IS NOT NULL)
                AND id NOT IN (SELECT terms_person_id FROM device WHERE terms_person_id IS NOT NULL)
            LIMIT :most)
        """,  # noqa: S608
        {**limits, "most": max(1, most // 50)},
    ).rowcount


def arrivals(db: sqlite3.Connection, limits: dict[str, float | str], most: int) -> int:
    """Devices that were counted on days before; how many."""
    return db.execute(
        "DELETE FROM arrival WHERE (day, mac) IN (SELECT day, mac FROM arrival WHERE day < :before LIMIT :most)",
        {**limits, "most": most},
    ).rowcount


def queued(db: sqlite3.Connection, limits: dict[str, float | str], most: int) -> int:
    """Who waited in another boot; how many."""
    return db.execute(
        """
        DELETE FROM waiting WHERE mac IN (
            SELECT mac FROM waiting WHERE boot_id <> (SELECT boot_id FROM meta) LIMIT :most)
        """,
        {**limits, "most": most},
    ).rowcount


OF_DEVICES: Final = (sessions, devices, bindings, day_uses, arrivals, queued, people)
"""In this order: what comes later speaks of what went before."""


def macs_of(db: sqlite3.Connection, code: str | None) -> list[str]:
    """Devices on which the person with this return code was."""
    rows = db.execute(
        """
        SELECT session.mac FROM session JOIN person ON person.id = person_id WHERE code = ?1
        UNION SELECT device.mac FROM device JOIN person ON person.id IN (person_id, terms_person_id) WHERE code = ?1
        """,
        (code,),
    )
    return [row[0] for row in rows]


def device(db: sqlite3.Connection, mac: str) -> int:
    """All rows that say what this device did or whose it is, but those of running sessions, and the people whom nobody
    else speaks of then; how many."""
    persons = {
        row[0]
        for row in db.execute(
            """
            SELECT person_id FROM session WHERE mac = ?1 AND person_id IS NOT NULL
            UNION SELECT person_id FROM device WHERE mac = ?1 AND person_id IS NOT NULL
            UNION SELECT terms_person_id FROM device WHERE mac = ?1 AND terms_person_id IS NOT NULL
            """,
            (mac,),
        )
    }
    count = sum(
        db.execute(f"DELETE FROM {table} WHERE mac = ? {only}", (mac,)).rowcount  # noqa: S608 - constants
        for table, only in (
            ("session", "AND ended_wall_s IS NOT NULL"),
            ("device", ""),
            ("voucher_device", ""),
            ("arrival", ""),
            ("waiting", ""),
        )
    )
    for person_id in persons:
        count += db.execute(
            """
            DELETE FROM person WHERE id = ?1 AND voucher_id IS NULL AND account_id IS NULL
                AND NOT EXISTS (SELECT 1 FROM session WHERE person_id = ?1)
                AND NOT EXISTS (SELECT 1 FROM device WHERE person_id = ?1 OR terms_person_id = ?1)
            """,
            (person_id,),
        ).rowcount
    return count


# --- acts and keys --------------------------------------------------------------------------------------------------


def audit(db: sqlite3.Connection, limits: dict[str, float | str], most: int) -> int:
    """Acts before that the usage log does not speak of any more; how many.

    They are in order of time: so many as are old enough are the first.
    """
    now_wall_s, before_wall_s = float(limits["now_wall_s"]), float(limits["before_wall_s"])
    moments = db.execute("SELECT wall_s, wall_s FROM audit ORDER BY id").fetchall()
    old = sum(1 for over_s in erasure.over_by(moments, now_wall_s) if over_s < before_wall_s)
    if not old:
        return 0
    rows = db.execute(
        "SELECT id, wall_s, boot_id, boot_s, actor, role, action, object, before, after FROM audit ORDER BY id LIMIT ?",
        (min(old, most),),
    ).fetchall()
    told = {one.body["digest"] for one in journal.of_kinds(db, (Kind.ACT,))}
    gone = [(row[0],) for row in rows if trail.digest(AuditEntry(*row)) not in told]
    db.executemany("DELETE FROM audit WHERE id = ?", gone)
    return len(gone)


def keys(db: sqlite3.Connection, month: str) -> list[str]:
    """Erase the keys of other months than this one in which no running session began; which these were."""
    running = db.execute("SELECT mac, device FROM session WHERE ended_wall_s IS NULL").fetchall()
    gone = [
        other
        for (other,) in db.execute(
            "SELECT month FROM pseudonym_key WHERE month <> ? ORDER BY month", (month,)
        ).fetchall()
        if all(pseudonyms.known(db, mac, other) != device for mac, device in running)
    ]
    db.executemany("DELETE FROM pseudonym_key WHERE month = ?", [(other,) for other in gone])
    return gone


def chunks(several: Collection[list[int]], most: int) -> Iterator[list[int]]:
    """Lists put together, each whole, to at most so many numbers unless one has more."""
    together: list[int] = []
    for one in several:
        if together and len(together) + len(one) > most:
            yield together
            together = []
        together = together + one
    if together:
        yield together
