"""The SQL of a technician's look at things: one device, and how much of everything there is. It only reads.

It must not know what follows from what it finds.
"""

from __future__ import annotations

import sqlite3

from portal.domain.model import Session
from portal.domain.office import AuditEntry
from portal.store import sessions


def macs(db: sqlite3.Connection) -> set[str]:
    """Every device that was ever seen."""
    return {row[0] for row in db.execute("SELECT mac FROM device UNION SELECT mac FROM session")}


def last_sessions(db: sqlite3.Connection, mac: str, limit: int) -> list[Session]:
    """The newest first, a running one included."""
    ids = db.execute("SELECT id FROM session WHERE mac = ? ORDER BY started_wall_s DESC, id DESC LIMIT ?", (mac, limit))
    return [session for (number,) in ids.fetchall() if (session := sessions.by_id(db, number)) is not None]


def acts_on(db: sqlite3.Connection, mac: str, limit: int) -> list[AuditEntry]:
    """What the staff did to this device or its sessions, the newest first."""
    rows = db.execute(
        """
        SELECT id, wall_s, boot_id, boot_s, actor, role, action, object, before, after FROM audit
        WHERE object = 'device ' || ?1 OR object IN (SELECT 'session ' || id FROM session WHERE mac = ?1)
        ORDER BY id DESC LIMIT ?2
        """,
        (mac, limit),
    )
    return [AuditEntry(*row) for row in rows]


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """Rows of each table."""
    tables = db.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    ).fetchall()
    return {name: int(db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]) for (name,) in tables}  # noqa: S608


def names(db: sqlite3.Connection) -> set[str]:
    """What people and offices are called anywhere: accounts, staff users, who did something."""
    rows = db.execute("SELECT name FROM account UNION SELECT name FROM staff_user UNION SELECT actor FROM audit")
    return {row[0] for row in rows} - {"gerbang"}
