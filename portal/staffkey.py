"""The key of the staff pages: what is made with it, the guest pages' user can neither read nor forge. It must not know
SQL, HTTP or who asks.

Guest pages and staff pages share the database. Who takes over the guest pages can therefore write any row, and could
make a technician of anybody, were it not for this key: passwords and logins hold for one name and one role only, and
are checked with a key that stands in a directory of the staff pages' user alone.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from portal import wholefile
from portal.domain.staff import Role

KEY_BYTES: Final = 32
_FILE: Final = "key"


class StaffKey:
    """A secret of 32 bytes, and what is derived from it: one HMAC-SHA-256 for each purpose."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"The staff pages' key has {KEY_BYTES} bytes, not {len(secret)}.")
        self._secret = secret

    def password(self, name: str, role: Role, password: str) -> str:
        """What stands for a password in Argon2id: for this name and role, and not to be made without the key."""
        return self._mac("password", name, role, password).hex()

    def session(self, token: str, name: str, role: Role) -> bytes:
        """What the database keeps of a login's token: 32 bytes, for this name and role."""
        return self._mac("session", token, name, role)

    def form(self, token: str) -> str:
        """What the forms of the browser with this token carry (CSRF)."""
        return self._mac("form", token).hex()

    @property
    def name(self) -> str:
        """Tells this key from another, and nothing more: a backup says by it which key its passwords were made with."""
        return self._mac("name").hex()[:32]

    @property
    def signing(self) -> str:
        """Flask's secret key."""
        return self._mac("signing").hex()

    def pseudonym(self, mac: str, month: str) -> str:
        """A device's name of five letters and digits on an operator's screen; another in each month ("2026-11")."""
        number = int.from_bytes(self._mac("pseudonym", month, mac)[:8], "big")
        return "".join(_LEGIBLE[number // len(_LEGIBLE) ** place % len(_LEGIBLE)] for place in range(5))

    def handle(self, mac: str) -> str:
        """What names a device in a form, for good: 16 hexadecimal digits that say nothing of the MAC."""
        return self._mac("handle", mac)[:8].hex()

    def _mac(self, purpose: str, *parts: str) -> bytes:
        # Lengths in front: no two lists of parts make the same message.
        message = b"".join(
            len(part).to_bytes(4, "big") + part for part in (text.encode() for text in (purpose, *parts))
        )
        return hmac.digest(self._secret, message, "sha256")


_LEGIBLE: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no 0 O 1 I


def load(directory: Path) -> StaffKey:
    """The key that ``load_or_make`` made. Raises OSError, ValueError."""
    return StaffKey((directory / _FILE).read_bytes())


def load_or_make(directory: Path, uid: int, gid: int) -> StaffKey:
    """The key in ``directory``, which is made first, for this user alone, where it is missing. As root or that user.

    Raises OSError where it cannot be had; a directory of somebody else's is never used, since its owner would know the
    key.
    """
    make_directory(directory, uid, gid)
    path = directory / _FILE
    if not path.exists():
        wholefile.write(path, secrets.token_bytes(KEY_BYTES), wholefile.PRIVATE, (uid, gid))
    return load(directory)


def make_directory(directory: Path, uid: int, gid: int) -> None:
    """A directory for this user alone. Raises PermissionError where another has put one there."""
    try:
        directory.mkdir(mode=0o700)
        os.chown(directory, uid, gid)
    except FileExistsError:
        found = directory.lstat()
        if found.st_uid != uid or found.st_mode & 0o170077 != 0o040000:
            message = f"{directory} is not a directory of the staff pages' user alone; remove it, and it is made anew"
            raise PermissionError(message) from None
