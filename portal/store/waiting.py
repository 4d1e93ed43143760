"""The SQL of the queue at a full site. It must not know who is called (portal.domain.waiting).

Every function works inside the transaction of the connection it is given (portal.store.db.Database). Places are of one
boot: who waited before a power cut has nothing to wait with.
"""

from __future__ import annotations

import sqlite3

from portal.domain.model import Now
from portal.domain.waiting import Turn, Waiter


def queue(db: sqlite3.Connection, now: Now) -> list[Waiter]:
    """All who wait or are called."""
    rows = db.execute(
        "SELECT mac, since_boot_s, seen_boot_s, called_boot_s FROM waiting WHERE boot_id = ?", (now.boot_id,)
    )
    return [Waiter(*row) for row in rows]


def join(db: sqlite3.Connection, mac: str, now: Now) -> None:
    """Wait from now on, or be seen to wait still."""
    db.execute("DELETE FROM waiting WHERE boot_id <> ?", (now.boot_id,))
    db.execute(
        "INSERT INTO waiting (mac, boot_id, since_boot_s, seen_boot_s) VALUES (:mac, :boot_id, :boot_s, :boot_s) "
        "ON CONFLICT (mac) DO UPDATE SET seen_boot_s = :boot_s",
        {"mac": mac, "boot_id": now.boot_id, "boot_s": now.boot_s},
    )


def leave(db: sqlite3.Connection, mac: str) -> None:
    db.execute("DELETE FROM waiting WHERE mac = ?", (mac,))


def carry_out(db: sqlite3.Connection, turn: Turn, now: Now) -> None:
    """Who lost the place leaves; who is called has one kept from now on."""
    db.executemany("DELETE FROM waiting WHERE mac = ?", [(mac,) for mac in turn.lost])
    db.executemany("UPDATE waiting SET called_boot_s = ? WHERE mac = ?", [(now.boot_s, mac) for mac in turn.called])
