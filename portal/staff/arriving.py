"""Takes an uploaded backup in pieces and goes on where a broken upload ended. It must not know HTTP, nor what it holds.

One at a time, in a file without a name on the data disk: it names people, so nothing of it stays behind when this
process ends, or the next upload begins.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from portal.staff import incoming
from portal.update import errors, offer, places
from portal.update.errors import UpdateError


class Arriving:
    """``folder``: on the disk that has the room."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._what: tuple[str, int] | None = None
        self._at = 0
        self._file: IO[bytes] | None = None

    def arrived(self, name: str, size: int) -> int:
        """How many bytes of this upload are here. Raises UpdateError where it cannot be taken."""
        if not 0 < size <= incoming.MOST_BYTES:
            raise offer.no_room(places.free_bytes(self._folder), size)
        return self._at if self._what == (name, size) else 0

    def add(self, name: str, size: int, at: int, data: Iterable[bytes]) -> int:
        """A piece that begins at ``at``; how many bytes are here now. Raises UpdateError."""
        with self._lock:
            if at != self.arrived(name, size):
                raise UpdateError(errors.REQUEST, f"{name}: a piece was lost or came twice.", "Begin the upload again.")
            try:
                file = self._begun(name, size) if at == 0 else self._file
                assert file is not None  # noqa: S101 - some of it has arrived
                file.seek(at)
                self._at = incoming.write(file, name, at, size, data)
            except OSError:
                self._forget()
                raise offer.no_room(places.free_bytes(self._folder), size) from None
            return self._at

    def open(self, name: str, size: int) -> IO[bytes] | None:
        """The whole file, from its start; None where it is not here. Whoever reads it disturbs nobody else."""
        with self._lock:
            if self._file is None or self._what != (name, size) or self._at != size:
                return None
            return open(f"/proc/self/fd/{self._file.fileno()}", "rb")  # noqa: PTH123 - it has no path

    def forget(self) -> None:
        with self._lock:
            self._forget()

    def _begun(self, name: str, size: int) -> IO[bytes]:
        self._forget()
        if (refusal := offer.room(places.free_bytes(self._folder), size)) is not None:
            raise refusal
        self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed when it is forgotten
        self._what = (name, size)
        return self._file

    def _forget(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._what, self._at = None, None, 0
