"""On the box: makes a signed bundle out of a delta and the slot that runs. It must not know RAUC, nor whom it serves.

Piece by piece: the neighbourhood in the old image goes into a file in memory, zstd reads it and the patch, and what
comes out is checked and written. So a box of 1 GB has memory left for its desa. A delta is not signed, only what comes
of it is: so zstd has no rights, and nothing goes past the bounds of portal.update.deltaformat. A rebuild that was cut
off goes on behind the pieces that are there and right; a file that is not right in the end is taken away.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Protocol

from portal.update import deltaformat, errors
from portal.update.deltaformat import AGAIN, Head, Piece
from portal.update.errors import UpdateError
from portal.update.fetching import UrlSource, is_url

ZSTD: Final = "/usr/bin/zstd"
CHUNK: Final = 1024 * 1024
WINDOW_LOG: Final = 26  # what zstd may take for its window at most: 2**26 bytes hold all that a piece is made from
NOBODY: Final = 65534  # user and group nobody, on every Linux (systemd-sysusers(8))


class Source(Protocol):
    """A delta, from its beginning to its end."""

    def read(self, size: int) -> bytes:
        """Exactly so many bytes. Raises UpdateError."""

    def skip(self, size: int) -> None: ...


class FileSource:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        found = self._file.read(size)
        if len(found) != size:
            raise UpdateError(errors.DELTA, "The delta was cut off.", AGAIN)
        return found

    def skip(self, size: int) -> None:
        self._file.seek(size, os.SEEK_CUR)


@contextlib.contextmanager
def opened(what: str, kbit: int | None = None) -> Iterator[Source]:
    """A file, or an http or https address, of which at most ``kbit`` come. Raises UpdateError."""
    if is_url(what):
        with contextlib.closing(UrlSource(what, kbit)) as source:
            source.open()
            yield source
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(Path(what).open("rb"))
        except OSError as error:
            raise UpdateError(errors.FETCH, f"{what} cannot be read: {error.strerror}.", "Check the path.") from None
        yield FileSource(file)


def read_head(source: Source) -> Head:
    return deltaformat.read(source.read)


def there(out: Path) -> int:
    """How many bytes of ``out`` an earlier try has made."""
    return _part(out).stat().st_size if _part(out).exists() else 0


def _part(out: Path) -> Path:
    return out.with_name(f"{out.name}.part")


def rebuild(source: Source, head: Head, old: Path, out: Path, tell: Callable[[int], object] = lambda _: None) -> None:
    """Write the new file to ``out``, from ``source`` (behind its head) and the slot or image ``old``. Raises
    UpdateError.

    ``tell`` is called with percent. What is there of it stays as ``<out>.part`` for the next try, where that can help.
    """
    part = _part(out)
    with contextlib.ExitStack() as stack:
        try:
            image = stack.enter_context(old.open("rb", buffering=0))
            new = stack.enter_context(part.open("r+b" if part.exists() else "w+b"))
        except OSError as error:
            raise UpdateError(errors.DELTA, f"{error.filename}: {error.strerror}.", AGAIN) from None
        if _digest(image, head.old_bytes) != head.old_sha256:
            part.unlink(missing_ok=True)
            message = "This delta is made for another version than the one that runs here."
            raise UpdateError(errors.DELTA_SLOT, message, "Fetch the delta for this version, or the whole bundle.")
        try:
            whole = _there(new, head)
            for number, piece in enumerate(head.pieces):
                if number < whole:
                    source.skip(piece.patch_bytes)
                    continue
                tell(number * 100 // len(head.pieces))
                with _memory("patch") as patch:
                    if _received(source, piece.patch_bytes, patch) != piece.patch_sha256:
                        raise UpdateError(errors.DELTA, f"Piece {number} of the delta is damaged.", AGAIN)
                    if not _make(image, piece, patch, head.piece_length(number), new.write):
                        message = f"Piece {number} of the delta does not fit the version that runs."
                        raise UpdateError(errors.DELTA, message, AGAIN)
            new.truncate(head.new_bytes)
            if _digest(new, head.new_bytes) != head.new_sha256:
                raise UpdateError(errors.DELTA, "What was made of the delta is not what it should be.", AGAIN)
            os.fsync(new.fileno())
        except UpdateError as error:
            if error.code != errors.FETCH:  # what a line that broke has brought is good
                part.unlink(missing_ok=True)
            raise
        except OSError as error:
            part.unlink(missing_ok=True)
            code = errors.ROOM if error.errno == errno.ENOSPC else errors.DELTA
            raise UpdateError(code, f"{part} cannot be written: {error.strerror}.", "Free space on the disk.") from None
    part.rename(out)
    tell(100)


def _there(new: IO[bytes], head: Head) -> int:
    """How many pieces an earlier try has made; what is behind them is cut off."""
    count = 0
    new.seek(0)
    for number, piece in enumerate(head.pieces):
        if _digest(new, head.piece_length(number), seek=False) != piece.sha256:
            break
        count += 1
    new.seek(min(count * head.piece_bytes, head.new_bytes))
    new.truncate()
    return count


def _received(source: Source, size: int, file: IO[bytes]) -> str:
    """The next so many bytes of the delta into ``file``, chunk by chunk; their digest."""
    digest = hashlib.sha256()
    for at in range(0, size, CHUNK):
        data = source.read(min(CHUNK, size - at))
        digest.update(data)
        file.write(data)
    file.seek(0)
    return digest.hexdigest()


def _make(image: IO[bytes], piece: Piece, patch: IO[bytes], size: int, write: Callable[[bytes], object]) -> bool:
    """Let zstd make a piece; whatever comes, no more than ``size`` bytes are written. Was it what it should be?"""
    rights: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
    with _memory("old") as near:
        image.seek(piece.old_offset)
        _copy(image, near, piece.old_bytes)
        near.flush()
        near_path = f"/proc/self/fd/{near.fileno()}"
        command = [ZSTD, "-q", "-d", "-c", f"--memory={2**WINDOW_LOG}", f"--patch-from={near_path}"]
        digest, left = hashlib.sha256(), size
        try:
            process = subprocess.Popen(
                command,
                stdin=patch.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(near.fileno(),),
                **rights,
            )
        except OSError as error:
            message = f"zstd cannot be started: {error.strerror}."
            raise UpdateError(errors.DELTA, message, "Take the whole bundle.") from None
        with process:
            assert process.stdout is not None  # noqa: S101 - asked for
            while left >= 0 and (data := process.stdout.read(CHUNK)):
                left -= len(data)
                if left >= 0:
                    digest.update(data)
                    write(data)
            if left < 0:
                process.kill()
    return left == 0 and process.returncode == 0 and digest.hexdigest() == piece.sha256


@contextlib.contextmanager
def _memory(name: str) -> Iterator[IO[bytes]]:
    with os.fdopen(os.memfd_create(name, os.MFD_CLOEXEC), "w+b") as file:
        yield file


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    while size and (data := source.read(min(CHUNK, size))):
        target.write(data)
        size -= len(data)


def _digest(file: IO[bytes], size: int, *, seek: bool = True) -> str:
    """Of its first so many bytes; of fewer where it has not as many."""
    if seek:
        file.seek(0)
    digest = hashlib.sha256()
    while size and (data := file.read(min(CHUNK, size))):
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()
