"""What can go wrong with an update: a stable code, a sentence, what to do. It must not know who says it."""

from __future__ import annotations

import os
from typing import Final

BUSY: Final = "busy"  # another installation is under way
BUNDLE: Final = "bundle"  # the file cannot be read, or its signature is not ours
COMPATIBLE: Final = "compatible"  # it is for another sort of box
DELTA: Final = "delta"  # the delta is damaged
DELTA_SLOT: Final = "delta-slot"  # the delta is made for another version than the one that runs
DENIED: Final = "denied"
DOWNGRADE: Final = "downgrade"
FETCH: Final = "fetch"
INSTALL: Final = "install"
MARK: Final = "mark"  # GRUB cannot be told what to start
NO_BOX: Final = "no-box"  # this machine has no slots
NO_STICK: Final = "no-stick"
RAUC: Final = "rauc"
REQUEST: Final = "request"
ROOM: Final = "room"
SAME: Final = "same"
TRIAL: Final = "trial"  # what runs is on trial itself
TWIN: Final = "twin"  # there is a second disk of Gerbang's
UNREACHABLE: Final = "unreachable"
VERSION: Final = "version"  # the bundle's version says nothing

# The exit status (sysexits) of a command that ends with the code; the others: EX_UNAVAILABLE.
EXITS: Final = {
    BUSY: os.EX_TEMPFAIL,
    TRIAL: os.EX_TEMPFAIL,
    TWIN: os.EX_TEMPFAIL,
    DENIED: os.EX_NOPERM,
    ROOM: os.EX_CANTCREAT,
    FETCH: os.EX_NOINPUT,
    NO_STICK: os.EX_NOINPUT,
    BUNDLE: os.EX_DATAERR,
    COMPATIBLE: os.EX_DATAERR,
    DELTA: os.EX_DATAERR,
    DELTA_SLOT: os.EX_DATAERR,
    DOWNGRADE: os.EX_DATAERR,
    REQUEST: os.EX_DATAERR,
    SAME: os.EX_DATAERR,
    VERSION: os.EX_DATAERR,
}


class UpdateError(Exception):
    """Nothing was changed that would have to be undone."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(f"{message} [{code}] {hint}")
        self.code = code
        self.message = message
        self.hint = hint
