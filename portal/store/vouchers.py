"""The SQL of vouchers and their batches. It must not know Flask, netctl, or who may do what.

Every function works inside the transaction of the connection it is given (portal.store.db.Database). Codes are stored
without the dash (portal.domain.codes).
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from portal.domain import codes
from portal.domain.model import Now
from portal.domain.office import Batch, BatchCount, Voucher

_BATCH: Final = (
    "voucher_batch.id, plan, devices, valid_from_wall_s, valid_until_wall_s, note, created_wall_s, created_by"
)
_VOUCHER: Final = f"""
    SELECT voucher.id, code, voided_wall_s,
        (SELECT count(*) FROM voucher_device WHERE voucher_id = voucher.id), {_BATCH}
    FROM voucher JOIN voucher_batch ON voucher_batch.id = batch_id
"""  # noqa: S608 - no text of anybody's


def _voucher(row: tuple[Any, ...]) -> Voucher:
    voucher_id, code, voided_wall_s, bound, *batch = row
    return Voucher(voucher_id, code, Batch(*batch), voided_wall_s, bound)


# --- one voucher ----------------------------------------------------------------------------------------------------


def by_code(db: sqlite3.Connection, code: str) -> Voucher | None:
    """The voucher with this code (as portal.domain.codes.parse gives it), void or not."""
    row = db.execute(_VOUCHER + "WHERE code = ?", (code,)).fetchone()
    return None if row is None else _voucher(row)


def by_id(db: sqlite3.Connection, voucher_id: int) -> Voucher | None:
    row = db.execute(_VOUCHER + "WHERE voucher.id = ?", (voucher_id,)).fetchone()
    return None if row is None else _voucher(row)


def devices_of(db: sqlite3.Connection, voucher_id: int) -> list[str]:
    """MACs bound to a voucher, the first bound first."""
    rows = db.execute("SELECT mac FROM voucher_device WHERE voucher_id = ? ORDER BY bound_wall_s, mac", (voucher_id,))
    return [row[0] for row in rows]


def bind(db: sqlite3.Connection, voucher_id: int, mac: str, now: Now) -> bool:
    """Bind a device for good; True if it is bound now. False: as many others as the voucher is for are bound."""
    db.execute(
        """
        INSERT INTO voucher_device SELECT :id, :mac, :wall_s
        WHERE (SELECT count(*) FROM voucher_device WHERE voucher_id = :id)
            < (SELECT devices FROM voucher JOIN voucher_batch ON voucher_batch.id = batch_id WHERE voucher.id = :id)
        ON CONFLICT DO NOTHING
        """,
        {"id": voucher_id, "mac": mac, "wall_s": now.wall_s},
    )
    bound = db.execute(
        "SELECT EXISTS (SELECT 1 FROM voucher_device WHERE voucher_id = ? AND mac = ?)", (voucher_id, mac)
    )
    return bool(bound.fetchone()[0])


def rebind(db: sqlite3.Connection, voucher_id: int, old_mac: str, new_mac: str, now: Now) -> None:
    """A return code moved on: ``new_mac`` takes the place of ``old_mac``. One that is bound already keeps its own."""
    db.execute("DELETE FROM voucher_device WHERE voucher_id = ? AND mac = ?", (voucher_id, old_mac))
    db.execute("INSERT INTO voucher_device VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (voucher_id, new_mac, now.wall_s))


def void(db: sqlite3.Connection, voucher_id: int, now: Now) -> bool:
    """Withdraw it; False where it was void already."""
    changed = db.execute(
        "UPDATE voucher SET voided_wall_s = ? WHERE id = ? AND voided_wall_s IS NULL", (now.wall_s, voucher_id)
    )
    return changed.rowcount == 1


def sessions_of(db: sqlite3.Connection, voucher_id: int) -> list[int]:
    """Ids of the sessions without a recorded end that came in by a voucher."""
    rows = db.execute(
        "SELECT session.id FROM session JOIN person ON person.id = person_id "
        "WHERE ended_wall_s IS NULL AND voucher_id = ?",
        (voucher_id,),
    )
    return [row[0] for row in rows]


# --- batches --------------------------------------------------------------------------------------------------------


def create(
    db: sqlite3.Connection,
    *,
    count: int,
    plan: str,
    devices: int,
    valid_from_wall_s: float | None,
    valid_until_wall_s: float | None,
    note: str,
    created_by: str,
    now: Now,
) -> tuple[Batch, list[Voucher]]:
    """A new batch of ``count`` vouchers, each with a random code that no voucher and no person has."""
    (batch_id,) = db.execute(
        "INSERT INTO voucher_batch (plan, devices, valid_from_wall_s, valid_until_wall_s, note, created_wall_s, "
        "created_by) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (plan, devices, valid_from_wall_s, valid_until_wall_s, note, now.wall_s, created_by),
    ).fetchone()
    made = 0
    while made < count:
        made += db.execute(
            "INSERT INTO voucher (batch_id, code) SELECT :batch, :code "
            "WHERE NOT EXISTS (SELECT 1 FROM person WHERE code = :code) ON CONFLICT DO NOTHING",
            {"batch": batch_id, "code": codes.new_code()},
        ).rowcount
    batch = Batch(batch_id, plan, devices, valid_from_wall_s, valid_until_wall_s, note, now.wall_s, created_by)
    return batch, of_batch(db, batch_id)


def batch_by_id(db: sqlite3.Connection, batch_id: int) -> Batch | None:
    row = db.execute(f"SELECT {_BATCH} FROM voucher_batch WHERE id = ?", (batch_id,)).fetchone()  # noqa: S608
    return None if row is None else Batch(*row)


def of_batch(db: sqlite3.Connection, batch_id: int) -> list[Voucher]:
    """All vouchers of a batch, void ones too, in the order they were made."""
    return [_voucher(row) for row in db.execute(_VOUCHER + "WHERE batch_id = ? ORDER BY voucher.id", (batch_id,))]


def batches(db: sqlite3.Connection, wall_s: float) -> list[BatchCount]:
    """All batches, the newest first, with the states of their vouchers at this moment (Voucher.state)."""
    rows = db.execute(
        f"""
        SELECT {_BATCH}, count(voucher.id), count(voided_wall_s),
            count(CASE WHEN voided_wall_s IS NULL
                AND EXISTS (SELECT 1 FROM voucher_device WHERE voucher_id = voucher.id) THEN 1 END)
        FROM voucher_batch LEFT JOIN voucher ON batch_id = voucher_batch.id
        GROUP BY voucher_batch.id ORDER BY voucher_batch.id DESC
        """  # noqa: S608
    )
    return [_count(Batch(*row[:8]), *row[8:], wall_s=wall_s) for row in rows]


def void_batch(db: sqlite3.Connection, batch_id: int, now: Now) -> int:
    """Withdraw all of a batch that are not void; how many."""
    return db.execute(
        "UPDATE voucher SET voided_wall_s = ? WHERE batch_id = ? AND voided_wall_s IS NULL", (now.wall_s, batch_id)
    ).rowcount


def sessions_of_batch(db: sqlite3.Connection, batch_id: int) -> list[int]:
    """Ids of the sessions without a recorded end that came in by any voucher of a batch."""
    rows = db.execute(
        "SELECT session.id FROM session JOIN person ON person.id = person_id "
        "JOIN voucher ON voucher.id = voucher_id WHERE ended_wall_s IS NULL AND batch_id = ?",
        (batch_id,),
    )
    return [row[0] for row in rows]


def _count(batch: Batch, total: int, void: int, used: int, *, wall_s: float) -> BatchCount:
    if batch.valid_until_wall_s is not None and wall_s >= batch.valid_until_wall_s:
        return BatchCount(batch, total, unused=0, used=0, expired=total - void, void=void)
    return BatchCount(batch, total, unused=total - void - used, used=used, expired=0, void=void)
