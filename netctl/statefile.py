"""Keep the last accepted desired state across a restart of the daemon, in a file that is replaced as a whole.

It must not know the kernel. The file is of one boot and lies in RAM: after a power cut the portal's database decides.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from netctl.api.types import DesiredState, Message


class Retired(Message, frozen=True, kw_only=True):
    """Where the counters of a removed member stood: what the meter has not read yet, or a new start goes on from."""

    grant: int
    ip: str
    counters: tuple[int, int, int, int]
    at_boot_s: float


class Saved(Message, frozen=True, kw_only=True):
    boot_id: str
    state: DesiredState
    retired: tuple[Retired, ...] = ()


class BrokenStatefileError(Exception):
    """The file cannot be trusted; the text says why and where it is kept."""


def load(path: Path, boot_id: str) -> Saved | None:
    """What was saved in this boot; None: nothing, or of an earlier boot.

    A file that is unreadable or somebody else's is moved aside to ``*.broken`` and raises BrokenStatefileError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise set_aside(path, str(error.strerror)) from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise set_aside(path, "it is no file")
        if found.st_uid != os.geteuid():
            raise set_aside(path, "it belongs to another user")
        with open(fd, "rb", closefd=False) as file:
            saved = msgspec.json.decode(file.read(), type=Saved)
    except (msgspec.DecodeError, OSError, RecursionError, UnicodeDecodeError) as error:
        raise set_aside(path, str(error)) from error
    finally:
        os.close(fd)
    return saved if saved.boot_id == boot_id else None


def save(path: Path, saved: Saved) -> None:
    """Replace the file at once (rename), mode 0600. OSError: it was not replaced. No fsync: /run is RAM."""
    new = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        new.unlink()
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.encode(saved))
    new.replace(path)


def remove(path: Path) -> None:
    """OSError: it could not be removed. Missing is fine."""
    path.unlink(missing_ok=True)


def set_aside(path: Path, reason: str) -> BrokenStatefileError:
    """Move the file to ``*.broken``; the error to raise."""
    aside = path.with_name(path.name + ".broken")
    try:
        path.replace(aside)
    except OSError as error:
        return BrokenStatefileError(f"The state file {path} is unusable ({reason}) and stays there: {error.strerror}.")
    return BrokenStatefileError(f"The state file {path} was unusable ({reason}); it is kept as {aside}.")
