"""The SQL of an operator's opening and closing beside the hours of site.toml. It must not know who may come in.

Every function works inside the transaction of the connection it is given (portal.store.db.Database). An act that holds
from the moment of its making is stored as holding from moment 0: a clock that was ahead then, and is put right later,
must not open what somebody closed.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from portal.domain.hours import Act
from portal.domain.model import Now
from portal.domain.office import Closure, ClosureKind

_SELECT: Final = (
    "SELECT id, kind, from_wall_s, until_wall_s, reason, created_wall_s, created_by, cancelled_wall_s FROM closure "
)


def _closure(row: tuple[Any, ...]) -> Closure:
    number, kind, from_wall_s, until_wall_s, reason, created_wall_s, created_by, cancelled_wall_s = row
    begin_wall_s = from_wall_s or created_wall_s
    return Closure(
        number, ClosureKind(kind), begin_wall_s, until_wall_s, reason, created_wall_s, created_by, cancelled_wall_s
    )


def pending(db: sqlite3.Connection, wall_s: float) -> list[Closure]:
    """Those neither cancelled nor over at this moment: in force, or to come. In order of id: of two, the later wins."""
    rows = db.execute(
        _SELECT + "WHERE cancelled_wall_s IS NULL AND (until_wall_s IS NULL OR until_wall_s > ?) ORDER BY id", (wall_s,)
    )
    return [_closure(row) for row in rows]


def acts(db: sqlite3.Connection, wall_s: float) -> list[Act]:
    """The same as portal.domain.hours.opening takes them."""
    rows = db.execute(
        "SELECT id, kind, from_wall_s, until_wall_s, reason FROM closure "
        "WHERE cancelled_wall_s IS NULL AND (until_wall_s IS NULL OR until_wall_s > ?) ORDER BY id",
        (wall_s,),
    )
    return [Act(*row) for row in rows]


def by_id(db: sqlite3.Connection, closure_id: int) -> Closure | None:
    row = db.execute(_SELECT + "WHERE id = ?", (closure_id,)).fetchone()
    return None if row is None else _closure(row)


def add(
    db: sqlite3.Connection,
    *,
    kind: ClosureKind,
    from_wall_s: float | None,
    until_wall_s: float | None,
    reason: str,
    created_by: str,
    now: Now,
) -> Closure:
    """``from_wall_s`` None: from now on. ``until_wall_s`` must be later; None: until cancelled."""
    row = db.execute(
        "INSERT INTO closure (kind, from_wall_s, until_wall_s, reason, created_wall_s, created_by) "
        "VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (kind.value, from_wall_s or 0.0, until_wall_s, reason, now.wall_s, created_by),
    ).fetchone()
    return Closure(
        row[0], kind, from_wall_s or now.wall_s, until_wall_s, reason, now.wall_s, created_by, cancelled_wall_s=None
    )


def cancel(db: sqlite3.Connection, closure_id: int, now: Now) -> bool:
    """Take it back; False where that was done before."""
    changed = db.execute(
        "UPDATE closure SET cancelled_wall_s = ? WHERE id = ? AND cancelled_wall_s IS NULL", (now.wall_s, closure_id)
    )
    return changed.rowcount == 1
