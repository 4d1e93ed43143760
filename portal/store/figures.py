"""The SQL of today's figures: who is online, how much was used, when how many were there. It must not know pages.

Every function works inside the transaction of the connection it is given (portal.store.db.Database).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from portal.domain.figures import Stay


@dataclass(frozen=True, slots=True)
class Online:
    """A device with a session that has not ended. Bytes are those of the last flush."""

    session_id: int
    mac: str
    plan: str
    started_wall_s: float
    up_bytes: int
    down_bytes: int


def online(db: sqlite3.Connection) -> list[Online]:
    """The last that came first."""
    rows = db.execute(
        "SELECT id, mac, plan, started_wall_s, up_bytes, down_bytes FROM session WHERE ended_wall_s IS NULL "
        "ORDER BY started_wall_s DESC, id DESC"
    )
    return [Online(*row) for row in rows]


def bytes_of_day(db: sqlite3.Connection, day: str) -> tuple[int, int]:
    """(up, down) of everybody on a local day ("2026-11-24"), as of the last flush."""
    up_bytes, down_bytes = db.execute(
        "SELECT ifnull(sum(up_bytes), 0), ifnull(sum(down_bytes), 0) FROM person_day WHERE day = ?", (day,)
    ).fetchone()
    return up_bytes, down_bytes


def stays(db: sqlite3.Connection, since_wall_s: float) -> list[Stay]:
    """Sessions that ended after ``since_wall_s``, or have not ended."""
    rows = db.execute(
        "SELECT mac, started_wall_s, ended_wall_s FROM session WHERE ended_wall_s IS NULL OR ended_wall_s > ?",
        (since_wall_s,),
    )
    return [Stay(*row) for row in rows]


def known_since(db: sqlite3.Connection) -> float | None:
    """When the first session that is still recorded began; None: there was none."""
    found: float | None = db.execute("SELECT min(started_wall_s) FROM session").fetchone()[0]
    return found
