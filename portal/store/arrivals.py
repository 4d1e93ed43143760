"""The SQL of how far each device of a day came towards the Internet. It must not know how that was found out.

Guest pages and meter each write what they know; a row only ever grows until its day is over, was told in the usage log
as counts, and is erased. Every function works inside the transaction of the connection it is given.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from portal.domain import budget, localtime, osfamily
from portal.domain.journal import Kind
from portal.domain.model import Now
from portal.domain.siterules import Moment
from portal.store import journal

MOST: Final = 4096  # rows of one day: forged MACs are many, and cost nothing
WAITED_FOR_S: Final = 900.0


class Mark(NamedTuple):
    """The journal was read up to entry ``seq``; the last day that is over for good, and what was told last of a day.

    ``beyond``: how often something was not written since a day had too many devices, since that was told.
    """

    seq: int
    day: str
    told: str
    beyond: int


def days(db: sqlite3.Connection, moment: Moment) -> Callable[[float], str] | None:
    """Gives the local day of a moment of this boot (``boot_s``); None while nobody knows what day it is.

    By the clock as NTP has set it in this boot, as the log's figures are: one that was set by hand since then, or lost
    NTP, moves nothing. After a start NTP is waited for, WAITED_FOR_S long: the clock may have stood still.
    """
    boot_id, offset_ms = db.execute("SELECT boot_id, offset_ms FROM arrival_mark").fetchone()
    now, calendar = moment.now, moment.calendar
    if boot_id == now.boot_id:
        return lambda boot_s: localtime.local_date(boot_s + offset_ms / 1000, calendar.zone).isoformat()
    if now.boot_s > WAITED_FOR_S:
        return lambda boot_s: budget.day_of(moment.wall_s - (now.boot_s - boot_s), calendar)
    return None


def set_clock(db: sqlite3.Connection, boot_id: str, offset_ms: int) -> None:
    """NTP has set the clock of this boot so far ahead of the boot clock."""
    db.execute(
        "UPDATE arrival_mark SET boot_id = ?1, offset_ms = ?2 WHERE (boot_id, offset_ms) <> (?1, ?2)",
        (boot_id, offset_ms),
    )


def note(
    db: sqlite3.Connection, day: str, mac: str, *, os: str = osfamily.UNKNOWN, saw: bool = False, online: bool = False
) -> bool:
    """The device was here on that local day; False: the day is over, or has too many devices."""
    seen = {"day": day, "mac": mac, "os": os, "saw": saw or online, "online": online, "unknown": osfamily.UNKNOWN}
    grown = db.execute(
        """
        UPDATE arrival SET os = CASE WHEN :os = :unknown THEN os ELSE :os END, saw = max(saw, :saw),
            online = max(online, :online)
        WHERE day = :day AND mac = :mac
        """,
        seen,
    )
    if grown.rowcount:
        return True
    over, count = db.execute(
        "SELECT ?1 <= day, (SELECT count(*) FROM arrival WHERE day = ?1) FROM arrival_mark", (day,)
    ).fetchone()
    if over:
        return False
    if count >= MOST:
        add_beyond(db, 1)
        return False
    db.execute("INSERT INTO arrival (day, mac, os, saw, online) VALUES (:day, :mac, :os, :saw, :online)", seen)
    return True


def add_beyond(db: sqlite3.Connection, count: int) -> None:
    """Something was not written so often."""
    db.execute("UPDATE arrival_mark SET beyond = beyond + ?", (count,))


def mark(db: sqlite3.Connection) -> Mark:
    return Mark(*db.execute("SELECT seq, day, told, beyond FROM arrival_mark").fetchone())


def begin(db: sqlite3.Connection, day: str) -> None:
    """In a database that knows of no day yet, those up to this one are over: nobody saw all of them."""
    db.execute("UPDATE arrival_mark SET day = ? WHERE day = ''", (day,))


def set_seq(db: sqlite3.Connection, seq: int) -> None:
    db.execute("UPDATE arrival_mark SET seq = ?", (seq,))


def sessions_since(db: sqlite3.Connection, seq: int) -> Iterator[tuple[str, str, int, int]]:
    """(MAC, boot id, boot_ms, wall_ms) of each begin and end that the journal told after an entry.

    Ends that are told in a later boot are left out: the heartbeat before them has been that day's.
    """
    return db.execute(
        """
        SELECT mac, journal.boot_id, ifnull(json_extract(body, '$.at_ms'), boot_ms), wall_ms
        FROM journal JOIN session ON session.id = json_extract(body, '$.s')
        WHERE seq > ? AND (kind = 'begin' OR kind = 'end' AND json_extract(body, '$.boot') = journal.boot_id)
        ORDER BY seq
        """,
        (seq,),
    )


def tell(db: sqlite3.Connection, day: str, now: Now) -> None:
    """Tell the log how far the devices of that day came, where that is news."""
    rows = db.execute(
        "SELECT os, count(*), sum(saw), sum(online) FROM arrival WHERE day = ? GROUP BY os ORDER BY os", (day,)
    )
    body: dict[str, Any] = {"day": day, "os": {os: counts for os, *counts in rows}}
    found = mark(db)
    if found.beyond:
        body["beyond"] = found.beyond
    told = json.dumps(body)
    if body["os"] and told != found.told:
        journal.append(db, Kind.FUNNEL, body, now)
        db.execute("UPDATE arrival_mark SET told = ?", (told,))


def close_before(db: sqlite3.Connection, day: str, now: Now) -> None:
    """The days before that one are over: each is told once more, and its devices are erased."""
    for (over,) in db.execute("SELECT DISTINCT day FROM arrival WHERE day < ? ORDER BY day", (day,)).fetchall():
        tell(db, over, now)
        db.execute("DELETE FROM arrival WHERE day = ?", (over,))
        db.execute("UPDATE arrival_mark SET day = max(day, ?), beyond = 0", (over,))
