"""Takes uploaded bundles in pieces, onto the data disk, and goes on where a broken upload ended. It must not know HTTP.

Piece by piece, since a request's body waits in RAM on a box, and a bundle has hundreds of megabytes; so the door looks
at every piece, too. One file at a time: what another upload left goes when a new one begins.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

from portal import wholefile
from portal.update import errors, offer, places
from portal.update.errors import UpdateError

PIECE_BYTES: Final = 4 * 1024 * 1024
MOST_BYTES: Final = 1024**3
_PART: Final = ".part"


class Incoming:
    """The directory of one gateway, which belongs to the staff pages' user."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def ready(self) -> list[str]:
        """Files that are here whole."""
        try:
            return sorted(entry.name for entry in self._folder.iterdir() if offer.is_name(entry.name))
        except OSError:
            return []

    def arrived(self, name: str, size: int) -> int:
        """How many bytes of this upload are here. Raises UpdateError where it cannot be taken."""
        self._check(name, size)
        with contextlib.suppress(OSError):
            if (self._folder / name).stat().st_size == size:
                return size
        with contextlib.suppress(OSError):
            return min(size, self._part(name, size).stat().st_size)
        return 0

    def add(self, name: str, size: int, at: int, data: Iterable[bytes]) -> int:
        """A piece that begins at ``at``; how many bytes are here now. Raises UpdateError."""
        with self._lock:
            if at != self.arrived(name, size):
                raise UpdateError(errors.REQUEST, f"{name}: a piece was lost or came twice.", "Begin the upload again.")
            part = self._part(name, size)
            if at == 0:
                self._clear()
            try:
                self._append(part, at, size, data)
                found = part.stat().st_size
                if found == size:
                    part.rename(self._folder / name)
                    wholefile.sync(self._folder)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    self._clear()
                    raise offer.no_room(0, size) from None
                raise UpdateError(
                    errors.ROOM, f"The upload cannot be kept: {error.strerror}.", "Restart the box."
                ) from None
            return found

    def _check(self, name: str, size: int) -> None:
        if not offer.is_name(name):
            raise offer.not_a_name(name)
        if not 0 < size <= MOST_BYTES:
            message = f"{name} has {size} bytes; a bundle has at most {MOST_BYTES}."
            raise UpdateError(errors.ROOM, message, "Choose the bundle for this box.")

    def _append(self, part: Path, at: int, size: int, data: Iterable[bytes]) -> None:
        if at == 0 and (refusal := offer.room(places.free_bytes(self._folder), size)) is not None:
            raise refusal
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o600), "ab") as file:
            if write(file, part.name, at, size, data) == size:
                os.fsync(file.fileno())

    def _part(self, name: str, size: int) -> Path:
        return self._folder / f".{name}.{size}{_PART}"

    def _clear(self) -> None:
        for entry in self._folder.iterdir():
            with contextlib.suppress(OSError):
                entry.unlink()


def write(file: IO[bytes], name: str, at: int, size: int, data: Iterable[bytes]) -> int:
    """Write a piece that begins at ``at``; where it ends. Raises UpdateError where more comes than was said."""
    for chunk in data:
        if at + len(chunk) > size:
            raise UpdateError(errors.REQUEST, f"{name}: more came than was said.", "Begin the upload again.")
        file.write(chunk)
        at += len(chunk)
    file.flush()
    return at
