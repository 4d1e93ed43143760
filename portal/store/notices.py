"""The SQL of village notices. It must not know how Markdown is shown.

Every function works inside the transaction of the connection it is given (portal.store.db.Database).
"""

from __future__ import annotations

import sqlite3
from typing import Final

from portal.domain.model import Notice, Now

_SELECT: Final = "SELECT id, title, body, from_wall_s, until_wall_s, changed_wall_s FROM notice "


def shown(db: sqlite3.Connection, wall_s: float) -> list[Notice]:
    """Those to be shown at this moment, the last changed first."""
    rows = db.execute(
        _SELECT + "WHERE ifnull(from_wall_s <= :now, 1) AND ifnull(until_wall_s > :now, 1) "
        "ORDER BY changed_wall_s DESC, id DESC",
        {"now": wall_s},
    )
    return [Notice(*row) for row in rows]


def every(db: sqlite3.Connection) -> list[Notice]:
    """Past and future ones too, the last changed first."""
    return [Notice(*row) for row in db.execute(_SELECT + "ORDER BY changed_wall_s DESC, id DESC")]


def by_id(db: sqlite3.Connection, notice_id: int) -> Notice | None:
    row = db.execute(_SELECT + "WHERE id = ?", (notice_id,)).fetchone()
    return None if row is None else Notice(*row)


def count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM notice").fetchone()[0])


def write(
    db: sqlite3.Connection,
    notice_id: int | None,
    *,
    title: str,
    body: str,
    from_wall_s: float | None,
    until_wall_s: float | None,
    changed_by: str,
    now: Now,
) -> Notice:
    """A new one (``notice_id`` None), or another text for one that exists."""
    values = (title, body, from_wall_s, until_wall_s, now.wall_s)
    if notice_id is None:
        row = db.execute(
            "INSERT INTO notice (title, body, from_wall_s, until_wall_s, changed_wall_s, changed_by) "
            "VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
            (*values, changed_by),
        ).fetchone()
        return Notice(row[0], *values)
    db.execute(
        "UPDATE notice SET title = ?, body = ?, from_wall_s = ?, until_wall_s = ?, changed_wall_s = ?, changed_by = ? "
        "WHERE id = ?",
        (*values, changed_by, notice_id),
    )
    return Notice(notice_id, *values)


def delete(db: sqlite3.Connection, notice_id: int) -> bool:
    return db.execute("DELETE FROM notice WHERE id = ?", (notice_id,)).rowcount == 1
