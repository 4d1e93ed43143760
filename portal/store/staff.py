"""The SQL of staff users and their logins. It must not know passwords, cookies or what a role may do.

Every function works inside the transaction of the connection it is given (portal.store.db.Database).
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from portal.domain.model import Now
from portal.domain.staff import Role, StaffSession, StaffUser

_USER: Final = (
    "staff_user.id, name, role, password_hash, must_change, disabled, created_wall_s, staff_user.changed_wall_s"
)


def _user(row: tuple[Any, ...]) -> StaffUser:
    number, name, role, password_hash, must_change, disabled, *times = row
    return StaffUser(number, name, Role(role), password_hash, bool(must_change), bool(disabled), *times)


def every(db: sqlite3.Connection) -> list[StaffUser]:
    """All users in order of id."""
    return [_user(row) for row in db.execute(f"SELECT {_USER} FROM staff_user ORDER BY id")]  # noqa: S608


def by_name(db: sqlite3.Connection, name: str) -> StaffUser | None:
    """Capital letters do not matter."""
    row = db.execute(f"SELECT {_USER} FROM staff_user WHERE name = ?", (name,)).fetchone()  # noqa: S608
    return None if row is None else _user(row)


def by_id(db: sqlite3.Connection, user_id: int) -> StaffUser | None:
    row = db.execute(f"SELECT {_USER} FROM staff_user WHERE id = ?", (user_id,)).fetchone()  # noqa: S608
    return None if row is None else _user(row)


def exist(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM staff_user)").fetchone()[0])


def all_have_own_passwords(db: sqlite3.Connection) -> bool:
    """Has everybody changed the password that the gateway made?"""
    return not db.execute("SELECT EXISTS (SELECT 1 FROM staff_user WHERE must_change AND NOT disabled)").fetchone()[0]


def add(db: sqlite3.Connection, name: str, role: Role, password_hash: str, now: Now) -> None:
    """A new user, who must change this password. IntegrityError where the name is taken."""
    db.execute(
        "INSERT INTO staff_user (name, role, password_hash, must_change, created_wall_s, changed_wall_s) "
        "VALUES (?, ?, ?, 1, ?, ?)",
        (name, role.value, password_hash, now.wall_s, now.wall_s),
    )


def set_password(db: sqlite3.Connection, user_id: int, password_hash: str, must_change: bool, now: Now) -> None:
    """A new password, with which every login made with the old one ends."""
    db.execute(
        "UPDATE staff_user SET password_hash = ?, must_change = ?, changed_wall_s = ? WHERE id = ?",
        (password_hash, must_change, now.wall_s, user_id),
    )
    db.execute("DELETE FROM staff_session WHERE user_id = ?", (user_id,))


# --- logins ---------------------------------------------------------------------------------------------------------


def begin(db: sqlite3.Connection, token_hash: bytes, user_id: int, now: Now) -> None:
    db.execute(
        "INSERT INTO staff_session VALUES (?, ?, ?, ?, ?)", (token_hash, user_id, now.boot_id, now.boot_s, now.boot_s)
    )


def session(db: sqlite3.Connection, token_hash: bytes) -> StaffSession | None:
    """The login with this hash, over or not."""
    row = db.execute(
        f"SELECT token_hash, boot_id, began_boot_s, seen_boot_s, {_USER} "  # noqa: S608
        "FROM staff_session JOIN staff_user ON staff_user.id = user_id WHERE token_hash = ?",
        (token_hash,),
    ).fetchone()
    return None if row is None else StaffSession(row[0], _user(row[4:]), *row[1:4])


def touch(db: sqlite3.Connection, token_hash: bytes, now: Now) -> None:
    """Somebody clicked."""
    db.execute("UPDATE staff_session SET seen_boot_s = ? WHERE token_hash = ?", (now.boot_s, token_hash))


def end(db: sqlite3.Connection, token_hash: bytes) -> None:
    db.execute("DELETE FROM staff_session WHERE token_hash = ?", (token_hash,))


def forget_over(db: sqlite3.Connection, now: Now, idle_s: float, longest_s: float) -> None:
    """Remove logins that are over."""
    db.execute(
        "DELETE FROM staff_session WHERE boot_id <> ? OR seen_boot_s <= ? OR began_boot_s <= ?",
        (now.boot_id, now.boot_s - idle_s, now.boot_s - longest_s),
    )
