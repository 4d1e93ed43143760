"""Makes staff users, sets their passwords, and keeps their logins. It must not know HTTP, cookies or pages.

The staff pages and the command line both come here, so that there is one way to become somebody.
"""

from __future__ import annotations

import secrets
import sqlite3
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

from portal import clock, passwords
from portal.administration import Administration, Change
from portal.domain.model import Now
from portal.domain.staff import LONGEST_SESSION_S, Role, StaffSession, StaffUser
from portal.staffkey import StaffKey
from portal.store import staff
from portal.store.db import Database

FIRST_USERS: Final[Mapping[str, Role]] = {
    "operator": Role.OPERATOR,
    "teknisi": Role.TECHNICIAN,
    "peninjau": Role.REVIEWER,
}
TOUCH_EVERY_S: Final = 60.0  # a click is written down so often at most: an SD card wears with every write
_CONSONANTS: Final = "bdghjklmnprstw"
_VOWELS: Final = "aeiou"


class UnknownUserError(Exception):
    """There is no user of this name: ``message``, and ``hint``."""

    def __init__(self, name: str, known: list[str]) -> None:
        self.message = f"There is no staff user {name}."
        self.hint = f"There are: {', '.join(known)}." if known else "The gateway makes the first ones when it starts."
        super().__init__(f"{self.message} {self.hint}")


class Staffing:
    """``idle_s``: a login ends after so long without a click. Every method raises StoreError."""

    def __init__(
        self,
        database: Database,
        key: StaffKey,
        idle_s: float = LONGEST_SESSION_S,
        read_clock: Callable[[], Now] = clock.now,
    ) -> None:
        self._database = database
        self._key = key
        self._idle_s = idle_s
        self._read_clock = read_clock

    # --- users --------------------------------------------------------------------------------------------------

    def users(self) -> list[StaffUser]:
        with self._database.read() as db:
            return staff.every(db)

    def make_first(self, acting: Administration, tell: Callable[[Mapping[str, str]], None]) -> bool:
        """Make FIRST_USERS where there is nobody yet; ``tell`` gets name and password of each before they hold, so
        that a power cut leaves no user whose password nobody knows."""
        with self._database.read() as db:
            if staff.exist(db):
                return False
        made = {name: new_password() for name in FIRST_USERS}
        hashes = {name: self._hash(name, role, made[name]) for name, role in FIRST_USERS.items()}

        def make(db: sqlite3.Connection, now: Now) -> Change[None]:
            for name, role in FIRST_USERS.items():
                staff.add(db, name, role, hashes[name], now)
            tell(made)
            return Change(None, "staff", after=sorted(FIRST_USERS))

        acting.perform("staff.first", make)
        return True

    def all_have_own_passwords(self) -> bool:
        with self._database.read() as db:
            return staff.all_have_own_passwords(db)

    def change_password(self, acting: Administration, user: StaffUser, old: str, new: str) -> bool:
        """The user's own wish; False where ``old`` is wrong. All logins of theirs end."""
        if not self._is_password(user, old):
            return False
        self._set(acting, "staff.password", user, new, must_change=False)
        return True

    def reset(self, acting: Administration, name: str) -> str:
        """A new password made by the gateway, to be changed at the next login. Raises UnknownUserError."""
        with self._database.read() as db:
            user = staff.by_name(db, name)
            known = [other.name for other in staff.every(db)]
        if user is None:
            raise UnknownUserError(name, known)
        password = new_password()
        self._set(acting, "staff.reset", user, password, must_change=True)
        return password

    def _set(self, acting: Administration, action: str, user: StaffUser, password: str, *, must_change: bool) -> None:
        password_hash = self._hash(user.name, user.role, password)

        def change(db: sqlite3.Connection, now: Now) -> Change[None]:
            staff.set_password(db, user.id, password_hash, must_change, now)
            before, after = ({"must_change": flag} for flag in (user.must_change, must_change))
            return Change(None, f"staff {user.name}", before, after)

        acting.perform(action, change)

    def _hash(self, name: str, role: Role, password: str) -> str:
        return passwords.hash_new(self._key.password(name, role, _normal(password)))

    def _is_password(self, user: StaffUser | None, password: str) -> bool:
        """Takes as long for nobody as for somebody."""
        name, role = (user.name, user.role) if user else ("", Role.REVIEWER)
        stands_for = self._key.password(name, role, _normal(password))
        return passwords.verify(user.password_hash if user else None, stands_for)

    # --- logins -------------------------------------------------------------------------------------------------

    def log_in(self, name: str, password: str) -> str | None:
        """A new login's token, or None: name or password is wrong, or the user may not come in."""
        with self._database.read() as db:
            user = staff.by_name(db, name.strip())
        if not self._is_password(user, password) or user is None or user.disabled:
            return None
        token = new_token(user)
        with self._database.write() as db:
            now = self._read_clock()
            staff.forget_over(db, now, self._idle_s, LONGEST_SESSION_S)
            staff.begin(db, self._key.session(token, user.name, user.role), user.id, now)
        return token

    def session(self, token: str, *, click: bool) -> StaffSession | None:
        """The login of this token, if it holds. ``click``: somebody asked for a page, not a script."""
        number = token.partition(".")[0]
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            return None
        with self._database.read() as db:
            user = staff.by_id(db, int(number))
            found = None if user is None else staff.session(db, self._key.session(token, user.name, user.role))
        now = self._read_clock()
        if user is None or found is None or found.user.id != user.id or found.is_over(now, self._idle_s):
            return None
        if click and now.boot_s - found.seen_boot_s >= TOUCH_EVERY_S:
            with self._database.write() as db:
                staff.touch(db, found.token_hash, now)
        return found

    def log_out(self, session: StaffSession) -> None:
        with self._database.write() as db:
            staff.end(db, session.token_hash)


def new_password() -> str:
    """Nine syllables that can be read aloud and typed on a phone, as in "batuki-sorame-lipanu": 55 bits."""
    words = ("".join(secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(3)) for _ in range(3))
    return "-".join(words)


def new_token(user: StaffUser | None = None) -> str:
    """256 random bits for a cookie, behind the number of the user whose login it is (0: nobody's yet)."""
    return f"{user.id if user else 0}.{secrets.token_urlsafe(32)}"


def _normal(password: str) -> str:
    """As in portal.passwords, which gets to see the key's answer only."""
    return unicodedata.normalize("NFKC", password)
