"""The SQL of the audit trail: entries are added and read, never changed. It must not know what the acts mean.

Each is also told in the usage log, with a digest, so that a changed or missing one is noticed there.
Every function works inside the transaction of the connection it is given (portal.store.db.Database).
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from typing import Any, Final

from portal.domain.journal import Kind
from portal.domain.model import Now
from portal.domain.office import AuditEntry
from portal.store import journal, pseudonyms

_MAC: Final = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")


def write(
    db: sqlite3.Connection, *, actor: str, role: str, action: str, object: str, before: Any, after: Any, now: Now
) -> None:
    """Add an entry. ``before`` and ``after`` are what JSON has; None: there was, or is, no such object."""
    values = (now.wall_s, now.boot_id, now.boot_s, actor, role, action, object, _json(before), _json(after))
    (number,) = db.execute(
        "INSERT INTO audit (wall_s, boot_id, boot_s, actor, role, action, object, before, after) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        values,
    ).fetchone()
    said = {"actor": actor, "role": role, "action": action, "object": _without_macs(db, object)}
    journal.append(db, Kind.ACT, {"id": number, **said, "digest": digest(AuditEntry(number, *values))}, now)


def digest(entry: AuditEntry) -> str:
    """Of all that an entry says but its number, which a restored backup gives anew: SHA-256, hexadecimal."""
    values = [
        float(entry.wall_s),
        entry.boot_id,
        float(entry.boot_s),
        entry.actor,
        entry.role,
        entry.action,
        entry.object,
        entry.before,
        entry.after,
    ]
    return hashlib.sha256(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def digests(db: sqlite3.Connection) -> set[str]:
    """Of all entries."""
    rows = db.execute("SELECT id, wall_s, boot_id, boot_s, actor, role, action, object, before, after FROM audit")
    return {digest(AuditEntry(*row)) for row in rows}


def latest(db: sqlite3.Connection, limit: int, before_id: int | None = None) -> list[AuditEntry]:
    """The newest entries, the newest first; with ``before_id`` those before that one (for the next page)."""
    rows = db.execute(
        "SELECT id, wall_s, boot_id, boot_s, actor, role, action, object, before, after FROM audit "
        "WHERE ifnull(id < ?, 1) ORDER BY id DESC LIMIT ?",
        (before_id, limit),
    )
    return [AuditEntry(*row) for row in rows]


def _without_macs(db: sqlite3.Connection, text: str) -> str:
    """Each MAC as the pseudonym that it has in this month, or as - where nobody has one yet."""
    (day,) = db.execute("SELECT counted_day FROM meta").fetchone()
    return _MAC.sub(lambda found: pseudonyms.known(db, found[0], day[:7]) or "-", text)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
