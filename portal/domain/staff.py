"""Who works with a gateway, and for how long a login of theirs holds. Pure; it must not know SQL, HTTP or passwords."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import Final

from portal.domain.model import Now

LONGEST_SESSION_S: Final = 12 * 3600.0
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{1,31}")


class Role(enum.StrEnum):
    """What somebody of the staff may do; nobody has two."""

    OPERATOR = "operator"  # the desa's office: open, close, vouchers, notices
    TECHNICIAN = "technician"  # repairs the gateway and changes its configuration
    REVIEWER = "reviewer"  # reads, and changes nothing


@dataclass(frozen=True, slots=True)
class StaffUser:
    """``must_change``: the password was made by the gateway, and opens one page alone, where it is changed."""

    id: int
    name: str
    role: Role
    password_hash: str = field(repr=False)
    must_change: bool
    disabled: bool
    created_wall_s: float
    changed_wall_s: float


@dataclass(frozen=True, slots=True)
class StaffSession:
    """A login. Its times are on the boot clock of ``boot_id``: a restart of the machine ends it."""

    token_hash: bytes = field(repr=False)
    user: StaffUser
    boot_id: str
    began_boot_s: float
    seen_boot_s: float

    def is_over(self, now: Now, idle_s: float) -> bool:
        """Nobody clicked for ``idle_s``, it began LONGEST_SESSION_S ago, or its user may not come in any more."""
        return (
            self.user.disabled
            or self.boot_id != now.boot_id
            or now.boot_s - self.seen_boot_s >= idle_s
            or now.boot_s - self.began_boot_s >= LONGEST_SESSION_S
        )


def is_name(text: str) -> bool:
    """May a user of the staff be called so? Small letters, so that nobody is two users."""
    return _NAME.fullmatch(text) is not None
