"""Decides whether a bundle may be installed here. Pure: it must not know RAUC, files or who asks."""

from __future__ import annotations

import re
from typing import Final

from portal.update import errors
from portal.update.errors import UpdateError
from portal.update.rauc import Bundle
from portal.update.state import State

NAME: Final = re.compile(r"gerbang-[A-Za-z0-9][A-Za-z0-9._+-]{0,100}(?: ?\([0-9]{1,3}\))?\.(?:raucb|gdelta)", re.ASCII)
"""What the file of an update is called: so it is found on a stick, and nothing else is taken. A browser that fetches it
a second time calls that ``… (1)``."""
ROOM_BYTES: Final = 32 * 1024 * 1024


def is_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None


def not_a_name(name: str) -> UpdateError:
    return UpdateError(errors.REQUEST, f"{name!r} is no name of an update.", "They are called gerbang-....raucb.")


def is_delta(name: str) -> bool:
    return name.endswith(".gdelta")


def readiness(state: State, running: str) -> UpdateError | None:
    """Why nothing may be installed now, whatever it is: the slot to come back to must never be written."""
    if state.trial is not None and state.trial.slot == running:
        message = f"Version {state.trial.version} is on trial; until it is good the other slot is the way back."
        return UpdateError(errors.TRIAL, message, "Wait some minutes, then try again.")
    if state.proven not in (None, running):
        return UpdateError(errors.TRIAL, "The slot that runs is not the one that is proven.", "Restart the box first.")
    return None


def objection(bundle: Bundle, compatible: str, version: str, *, force: bool) -> UpdateError | None:
    """Why this bundle is not for a box of this sort with this version. ``force``: an older or the same one is meant."""
    if bundle.compatible != compatible:
        message = f"This bundle is for {bundle.compatible}; this box is a {compatible}."
        return UpdateError(errors.COMPATIBLE, message, "Fetch the one for this sort of box.")
    if force:
        return None
    try:
        new, present = number(bundle.version), number(version)
    except ValueError:
        message = f"It cannot be told whether {bundle.version!r} is newer than {version!r}."
        return UpdateError(errors.VERSION, message, "If it is meant all the same: --force.")
    if bundle.version == version:
        return UpdateError(errors.SAME, f"Version {version} runs already.", "To write it anew all the same: --force.")
    if new < present:
        message = (
            f"{bundle.version} is older than {version}, which runs. If its database is of an older schema, the gateway "
            "goes back to the copy made before that was migrated, and what people did since is kept aside."
        )
        return UpdateError(errors.DOWNGRADE, message, "If that is meant: --force.")
    return None


def number(version: str) -> tuple[int, ...]:
    """What orders versions: ``0.2.0`` of ``0.2.0-1a2b3c4d``. The rest names a commit, which is before or after nothing.

    ValueError: it is no such number.
    """
    found = [int(part) for part in version.partition("-")[0].split(".")]
    while found and found[-1] == 0:  # 0.2 is 0.2.0
        found.pop()
    return tuple(found)


def room(free_bytes: int, needed_bytes: int) -> UpdateError | None:
    """Is there room on the data disk, with the copy of the database that the first start of a new version makes?"""
    return None if free_bytes >= needed_bytes + ROOM_BYTES else no_room(free_bytes, needed_bytes)


def no_room(free_bytes: int, needed_bytes: int) -> UpdateError:
    needed = needed_bytes + ROOM_BYTES
    message = f"The data disk has {free_bytes // 1_000_000} MB free; {needed // 1_000_000} MB are needed."
    return UpdateError(errors.ROOM, message, "Free space: old files in the data directory, or housekeeping.")
