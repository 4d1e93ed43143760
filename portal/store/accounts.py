"""The SQL of offices' accounts. It must not know Flask, netctl, or how a password is hashed (portal.passwords).

Every function works inside the transaction of the connection it is given (portal.store.db.Database). Names are one
whatever their case.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from portal.domain import codes
from portal.domain.model import Now
from portal.domain.office import Account

_SELECT: Final = "SELECT id, name, password_hash, plan, note, disabled, created_wall_s, changed_wall_s FROM account "


def _account(row: tuple[Any, ...]) -> Account:
    account_id, name, password_hash, plan, note, disabled, *moments = row
    return Account(account_id, name, password_hash, plan, note, bool(disabled), *moments)


def by_name(db: sqlite3.Connection, name: str) -> Account | None:
    """Disabled ones too."""
    row = db.execute(_SELECT + "WHERE name = ?", (name,)).fetchone()
    return None if row is None else _account(row)


def by_id(db: sqlite3.Connection, account_id: int) -> Account | None:
    row = db.execute(_SELECT + "WHERE id = ?", (account_id,)).fetchone()
    return None if row is None else _account(row)


def every(db: sqlite3.Connection) -> list[Account]:
    return [_account(row) for row in db.execute(_SELECT + "ORDER BY name")]


def add(db: sqlite3.Connection, *, name: str, password_hash: str, plan: str, note: str, now: Now) -> Account:
    """The name must be free (unique index)."""
    row = db.execute(
        "INSERT INTO account (name, password_hash, plan, note, created_wall_s, changed_wall_s) "
        "VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (name, password_hash, plan, note, now.wall_s, now.wall_s),
    ).fetchone()
    return Account(row[0], name, password_hash, plan, note, False, now.wall_s, now.wall_s)


def set_password(db: sqlite3.Connection, account_id: int, password_hash: str, now: Now) -> None:
    db.execute(
        "UPDATE account SET password_hash = ?, changed_wall_s = ? WHERE id = ?",
        (password_hash, now.wall_s, account_id),
    )


def set_disabled(db: sqlite3.Connection, account_id: int, disabled: bool, now: Now) -> None:
    db.execute(
        "UPDATE account SET disabled = ?, changed_wall_s = ? WHERE id = ?", (int(disabled), now.wall_s, account_id)
    )


def renew_return_code(db: sqlite3.Connection, account_id: int) -> None:
    """The account's return code, if it ever was used, is another from here on; no voucher and no person has it."""
    renewed = db.execute("SELECT count(*) FROM person WHERE account_id = ?", (account_id,)).fetchone()[0] == 0
    while not renewed:
        renewed = bool(
            db.execute(
                "UPDATE OR IGNORE person SET code = :code WHERE account_id = :id "
                "AND NOT EXISTS (SELECT 1 FROM voucher WHERE code = :code)",
                {"code": codes.new_code(), "id": account_id},
            ).rowcount
        )


def sessions_of(db: sqlite3.Connection, account_id: int) -> list[int]:
    """Ids of the sessions without a recorded end that came in by an account."""
    rows = db.execute(
        "SELECT session.id FROM session JOIN person ON person.id = person_id "
        "WHERE ended_wall_s IS NULL AND account_id = ?",
        (account_id,),
    )
    return [row[0] for row in rows]
