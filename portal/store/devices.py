"""The SQL of devices: what is known of a MAC, and what an operator said of it. It must not know what a rule does.

Every function works inside the transaction of the connection it is given (portal.store.db.Database). MACs are written
as netctl writes them (portal.domain.policy.is_device).
"""

from __future__ import annotations

import sqlite3
from typing import Final, Literal

from portal.domain.model import Now
from portal.domain.office import Device

_SELECT: Final = (
    "SELECT mac, person_id, seen_wall_s, moved_wall_s, rule, rule_plan, note, ruled_wall_s, ruled_by FROM device "
)


def by_mac(db: sqlite3.Connection, mac: str) -> Device | None:
    row = db.execute(_SELECT + "WHERE mac = ?", (mac,)).fetchone()
    return None if row is None else Device(*row)


def every(db: sqlite3.Connection) -> list[Device]:
    """Those with a rule first, then the last seen first."""
    rows = db.execute(_SELECT + "ORDER BY rule IS NULL, seen_wall_s DESC NULLS LAST, mac")
    return [Device(*row) for row in rows]


def ruled(db: sqlite3.Connection, rule: Literal["allow", "block"] | None = None) -> list[Device]:
    """Devices with this rule, or with any; the last ruled first."""
    rows = db.execute(
        _SELECT + "WHERE rule = ?1 OR (?1 IS NULL AND rule IS NOT NULL) ORDER BY ruled_wall_s DESC, mac", (rule,)
    )
    return [Device(*row) for row in rows]


def set_rule(
    db: sqlite3.Connection,
    mac: str,
    *,
    rule: Literal["allow", "block"] | None,
    rule_plan: str | None,
    note: str,
    ruled_by: str,
    now: Now,
) -> None:
    """What holds for this MAC from here on; ``rule`` None: nothing beyond what holds for everybody."""
    db.execute(
        """
        INSERT INTO device (mac, rule, rule_plan, note, ruled_wall_s, ruled_by) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (mac) DO UPDATE SET rule = excluded.rule, rule_plan = excluded.rule_plan, note = excluded.note,
            ruled_wall_s = excluded.ruled_wall_s, ruled_by = excluded.ruled_by
        """,
        (mac, rule, rule_plan, note, now.wall_s, ruled_by),
    )
