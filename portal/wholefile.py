"""Replaces a file whole or not at all: a power cut leaves the old one or the new. It must not know what is in it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

READABLE, PRIVATE = 0o644, 0o600


def write(path: Path, content: bytes, mode: int = READABLE, owner: tuple[int, int] | None = None) -> None:
    """On the disk, and with this mode and owner (user, group; -1 leaves one), when it returns. Raises OSError.

    The new file is never seen with more rights than it ends with, nor written through a link that lay there. Its name
    until then is this process's alone: of several processes that write at once, one comes last.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)  # of a process of this number before a power cut
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if owner is not None:  # units whose files are their own may not call it at all
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        new.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a directory, or a file that somebody else wrote, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
