"""Writes the usage log into a file and reads it back, line by line, believing nothing in it. It must not know SQL.

One JSON object a line (ndjson.org), gzip where the name ends in .gz. The first line is the head: number and hash of the
last entry. Then entries and tombs in order; an entry's body is the text that was hashed, so that any program can check
the chain (docs/export-format.md has the rule).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from portal.domain.journal import Tomb
from portal.domain.journalcheck import Raw

FORMAT: Final = "gerbang journal"
VERSION: Final = 1
MAX_LINE_BYTES: Final = 1024 * 1024
_HASH_BYTES: Final = 32


class JournalFileError(Exception):
    """The file cannot be read: a sentence that names the line."""


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: int
    site: str
    seq: int
    hash: str


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seq: int
    kind: str
    boot_id: str
    boot_ms: int
    wall_ms: int
    trusted: bool
    body: str
    hash: str


class _Tomb(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    first: int
    last: int
    last_hash: str


def opened(path: Path, mode: str) -> IO[bytes]:
    """``mode``: "rb" or "xb". Raises OSError."""
    return gzip.open(path, mode) if path.name.endswith(".gz") else path.open(mode)  # type: ignore[return-value]


def write(out: IO[bytes], items: Iterable[Raw | Tomb], *, site: str, head: tuple[int, bytes]) -> int:
    """Write a log that ends with ``head``; the entries written."""
    encode, count = msgspec.json.encode, 0
    out.write(encode(_Head(FORMAT, VERSION, site, head[0], head[1].hex())) + b"\n")
    for item in items:
        if isinstance(item, Tomb):
            line: msgspec.Struct = _Tomb(item.first, item.last, item.last_hash.hex())
        else:
            count += 1
            line = _Entry(*item[:5], trusted=bool(item.trusted), body=item.body, hash=item.hash.hex())
        out.write(encode(line) + b"\n")
    return count


def head(file: IO[bytes]) -> tuple[int, bytes]:
    """Of a file at its beginning: its first line. Raises JournalFileError."""
    try:
        found = msgspec.json.decode(_line(file, 1), type=_Head)
        if found.format != FORMAT or found.version != VERSION:
            raise ValueError
        return found.seq, _hash(found.hash)
    except ValueError:
        raise JournalFileError("This is no file of `gerbang journal export`.") from None


def read(file: IO[bytes]) -> Iterator[Raw | Tomb]:
    """What follows the head. Raises JournalFileError at a line that is neither an entry nor a tomb."""
    entries, tombs = msgspec.json.Decoder(_Entry), msgspec.json.Decoder(_Tomb)
    number = 1
    while line := _line(file, number := number + 1):
        try:
            if line.startswith(b'{"first"'):
                tomb = tombs.decode(line)
                yield Tomb(tomb.first, tomb.last, _hash(tomb.last_hash))
            else:
                one = entries.decode(line)
                yield Raw(
                    one.seq, one.kind, one.boot_id, one.boot_ms, one.wall_ms, one.trusted, one.body, _hash(one.hash)
                )
        except ValueError as error:
            raise JournalFileError(f"Line {number} cannot be read: {error}.") from None


def _line(file: IO[bytes], number: int) -> bytes:
    try:
        line = file.readline(MAX_LINE_BYTES)
    except (OSError, EOFError) as error:  # gzip's too
        raise JournalFileError(f"The file ends in the middle, after line {number - 1}: {error}.") from None
    if line and not line.endswith(b"\n"):
        raise JournalFileError(f"Line {number} is cut off.")
    return line


def _hash(text: str) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != _HASH_BYTES:
        raise ValueError("a hash has 64 hexadecimal digits")
    return found
