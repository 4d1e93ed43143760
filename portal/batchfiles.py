"""Writes batches onto a stick or into a ZIP, and reads what is in a directory of them. It must not know SQL, or what
batches tell.

A file is written under another name, fsynced, and renamed: whoever pulls the stick finds whole files and at most one
leftover, which the next export removes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from portal import sealing
from portal.domain import batch, batchcheck
from portal.domain.batch import Batch, BatchError
from portal.domain.batchcheck import Code, Finding, Read, Report
from portal.sealing import OfficeSecret

PARTIAL: Final = ".gbatch-part"
_SENTENCES: Final = {
    errno.ENOSPC: ("The stick is full.", "Free space on it, or take another; then export again."),
    errno.EDQUOT: ("The stick is full.", "Free space on it, or take another; then export again."),
    errno.EROFS: ("The stick cannot be written to.", "Is its lock switch on? Else take another; then export again."),
    errno.EACCES: ("The directory may not be written to.", "Start it with sudo."),
    errno.EPERM: ("The directory may not be written to.", "Start it with sudo."),
    errno.ENOENT: ("There is no such directory.", "Is the stick mounted? Then export again."),
    errno.ENOTDIR: ("That is no directory.", "Name the directory that the stick is mounted on."),
}
_PULLED: Final = ("The stick was pulled out, or is broken.", "Put it in again, or take another; then export again.")


class StickError(Exception):
    """The stick did not do it: a sentence, what to do, and how many batches are safe on it."""

    def __init__(self, error: OSError, written: int) -> None:
        message, self.hint = _SENTENCES.get(error.errno or 0, _PULLED)
        self.message = f"{message} {os.strerror(error.errno or errno.EIO)}."
        self.written = written
        super().__init__(f"{self.message} {self.hint}")


@dataclass(slots=True)
class Exported:
    """Batches that were written, and that were there already."""

    written: int = 0
    there: int = 0

    def add(self, more: Exported) -> None:
        self.written += more.written
        self.there += more.there


def export(directory: Path, files: Iterable[bytes]) -> Exported:
    """Write those that are not there yet. Raises StickError; what was written before that is whole."""
    done = Exported()
    try:
        for leftover in directory.glob(f"*{PARTIAL}"):
            leftover.unlink(missing_ok=True)
        for content in files:
            found = batch.from_file(content)
            path = directory / batch.file_name(found.header)
            if _is_there(path, content, found):
                done.there += 1
                continue
            _write(path, content)
            done.written += 1
        _sync(directory)
    except OSError as error:
        raise StickError(error, done.written) from error
    return done


def archive(file: IO[bytes], files: Iterable[bytes]) -> int:
    """Write them into one ZIP, for a browser to take away; how many there were. Raises OSError.

    Unpacked, it is what ``export`` leaves in an empty directory. It is not compressed: what is sealed gets no smaller.
    """
    with zipfile.ZipFile(file, "w") as made:
        for content in files:
            made.writestr(zipfile.ZipInfo(batch.file_name(batch.from_file(content).header)), content)
        return len(made.namelist())


def _is_there(path: Path, content: bytes, ours: Batch) -> bool:
    """The same, or with what is sealed where the gateway has dropped that since."""
    try:
        if not path.is_file() or path.is_symlink():
            return False
        with path.open("rb") as file:
            there = file.read(batch.MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return False
    if there == content:
        return True
    read = parsed(path.name, there)
    return ours.body is None and read.signed and read.batch is not None and read.batch.head == ours.head


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + PARTIAL)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        part.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)


# --- reading --------------------------------------------------------------------------------------------------------


def read(directory: Path) -> Iterator[Read]:
    """All batches in a directory, those that are damaged too. Raises OSError where it cannot be read at all."""
    for path in sorted(directory.iterdir()):
        if not path.name.lower().endswith(batch.ENDING) or not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                content = file.read(batch.MAX_FILE_BYTES + 1)
        except OSError as error:
            message = f"The file cannot be read: {error.strerror}."
            yield Read(path.name, None, error=Finding(Code.TRUNCATED, path.name, message))
            continue
        yield parsed(path.name, content)


def parsed(name: str, content: bytes) -> Read:
    """One file, and whether the gateway that it names has signed it."""
    try:
        found = batch.from_file(content)
    except BatchError as error:
        return Read(name, None, error=Finding(Code(error.code), name, str(error)))
    gateway = bytes.fromhex(found.header.gateway)
    return Read(name, found, sealing.verify(gateway, found.purpose, found.head, found.signature))


def check(directory: Path, gateways: Sequence[str] = (), secret: OfficeSecret | None = None) -> Report:
    """What is to be said of a directory. ``gateways``: fingerprints of those that may have signed (none: any).

    ``secret``: every batch is opened too, and one that does not open is not among the chains. Raises OSError.
    """
    files = list(read(directory))
    known = None
    if gateways:
        wanted = {one.strip().lower().replace("-", "") for one in gateways}
        keys = {file.batch.header.gateway for file in files if file.batch is not None}
        known = [key for key in keys if sealing.fingerprint(bytes.fromhex(key)).replace("-", "") in wanted]
    report = batchcheck.check(files, known)
    if secret is not None:
        for chain in report.chains:
            for one in list(chain.batches):
                if one.body is not None and (wrong := _open_error(one, secret)) is not None:
                    report.findings.append(Finding(Code.SEALED, batch.file_name(one.header), wrong))
                    chain.batches.remove(one)
        report.chains[:] = [chain for chain in report.chains if chain.batches]
    return report


def _open_error(one: Batch, secret: OfficeSecret) -> str | None:
    """Why a batch does not open; None: it does."""
    try:
        open_batch(one, secret)
    except sealing.SealingError as error:
        return error.message
    except BatchError as error:
        return str(error)
    return None


def open_batch(one: Batch, secret: OfficeSecret) -> list[dict[str, object]]:
    """The records of a batch, which must not be a dropped one. Raises SealingError, BatchError."""
    header = one.header
    info = batch.seal_info(header.site, header.gateway, header.epoch, header.number)
    records = batch.unpacked(secret.open(info, one.body or b""))
    counts: dict[str, int] = {}
    for record in records:
        kind = str(record.get("kind"))
        counts[kind] = counts.get(kind, 0) + 1
    if counts != header.counts:
        raise BatchError("content", "What was sealed is not what the header counts.")
    return records


def with_origin(one: Batch, secret: OfficeSecret) -> Iterator[bytes]:
    """A batch's records as lines of NDJSON, each with where it is from. Raises SealingError, BatchError."""
    header = one.header
    origin = {
        "site": header.site,
        "gateway": sealing.fingerprint(bytes.fromhex(header.gateway)),
        "epoch": header.epoch,
        "batch": header.number,
        "class": header.kind.value,
        "day": header.day,
        "revision": header.revision,
    }
    for record in open_batch(one, secret):
        yield batch.canonical(record | {"origin": origin}) + b"\n"
