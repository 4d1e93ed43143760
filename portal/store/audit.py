"""The SQL of the audit trail: entries are added and read, never changed. It must not know what the acts mean.

Every function works inside the transaction of the connection it is given (portal.store.db.Database).
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from portal.domain.model import Now
from portal.domain.office import AuditEntry


def write(
    db: sqlite3.Connection, *, actor: str, role: str, action: str, object: str, before: Any, after: Any, now: Now
) -> None:
    """Add an entry. ``before`` and ``after`` are what JSON has; None: there was, or is, no such object."""
    db.execute(
        "INSERT INTO audit (wall_s, boot_id, boot_s, actor, role, action, object, before, after) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (now.wall_s, now.boot_id, now.boot_s, actor, role, action, object, _json(before), _json(after)),
    )


def latest(db: sqlite3.Connection, limit: int, before_id: int | None = None) -> list[AuditEntry]:
    """The newest entries, the newest first; with ``before_id`` those before that one (for the next page)."""
    rows = db.execute(
        "SELECT id, wall_s, boot_id, boot_s, actor, role, action, object, before, after FROM audit "
        "WHERE ifnull(id < ?, 1) ORDER BY id DESC LIMIT ?",
        (before_id, limit),
    )
    return [AuditEntry(*row) for row in rows]


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
