"""Makes the FAT partition writable for a moment, and writes to it so that a power cut leaves the old file or the new.

It must not know what the files are for. The partition is mounted read-only for the rest of the time (docs/image.md).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from portal import wholefile
from portal.box import commands

LOCK: Final = Path("/run/gerbang-firmware.lock")
MOUNT: Final = "/usr/bin/mount"


@contextlib.contextmanager
def writable(firmware: Path, lock: Path = LOCK) -> Iterator[None]:
    """One at a time: who comes second would find it read-only again in the midst of a write. Raises CommandError."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        mounted = firmware.is_mount()  # a directory in tests is writable anyway
        if mounted:
            commands.run(MOUNT, "-o", "remount,rw", str(firmware))
        try:
            yield
        finally:
            if mounted:
                commands.run(MOUNT, "-o", "remount,ro", str(firmware))


def write(path: Path, content: bytes) -> None:
    """Whole or not at all, and on the disk when it returns; within ``writable``. FAT knows no owners and modes."""
    temporary = path.with_name(f"{path.stem}.NEW")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        wholefile.sync(path)  # vfat writes where its content is with the file, not with the directory
        wholefile.sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    wholefile.sync(path.parent)
