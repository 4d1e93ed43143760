"""Says what a batch for the office is: header, file, how records are shared out. It must not know SQL or keys.

A batch holds records of one class and one local day. So the oldest of the least needed class can be dropped without
opening what is sealed; its header stays, so that the chain of batches shows what is gone.
docs/export-format.md describes the same for other programs.
"""

from __future__ import annotations

import datetime as dt
import enum
import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

FORMAT: Final = "gerbang-batch/1"
"""Also the purpose for which a header is signed."""
DROPPED: Final = "gerbang-dropped/1"
"""Its purpose where what was sealed is dropped and it is signed anew: a file cut short does not pass for that."""
ENDING: Final = ".gbatch"
MAX_RECORDS: Final = 500
MAX_FILE_BYTES: Final = 65_536  # the whole file: header, signature and what is sealed
MAX_HEADER_BYTES: Final = 4_096
MAX_RECORD_BYTES: Final = 2_048  # of one line; so a batch has at most 1 MB to unpack
SEAL_BYTES: Final = 48  # what HPKE adds: key share 32, tag 16
_SIGNATURE_DIGITS: Final = 128
_MAX_GZIP_BYTES: Final = MAX_FILE_BYTES - MAX_HEADER_BYTES - _SIGNATURE_DIGITS - 2 - SEAL_BYTES


class Class(enum.StrEnum):
    """What a batch's records tell, in the order in which batches are dropped where there is no room."""

    SAMPLES = "samples"
    STRETCHES = "stretches"
    ACTS = "acts"
    NOTICES = "notices"
    ROLLUPS = "rollups"
    SESSIONS = "sessions"


class BatchError(ValueError):
    """The bytes are no batch, or no longer: ``code`` is stable, the text a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Moment = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
Epoch = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
Site = Annotated[str, Meta(pattern=r"^[1-9][0-9]\.[0-9]{2}\.[0-9]{2}\.[0-9]{4}\Z")]
Number = Annotated[int, Meta(ge=1, le=999_999)]
Natural = Annotated[int, Meta(ge=0, le=2**53)]


class Previous(Struct, frozen=True, forbid_unknown_fields=True):
    """The batch before: of the same epoch, or for number 1 the last that was known of an earlier one."""

    epoch: Epoch
    number: Number
    sha256: Digest  # of its header


class Sealed(Struct, frozen=True, forbid_unknown_fields=True):
    bytes: Annotated[int, Meta(ge=SEAL_BYTES, le=MAX_FILE_BYTES)]
    sha256: Digest


class Dropped(Struct, frozen=True, forbid_unknown_fields=True):
    """What has left the outbox of this epoch so far without the office's acknowledgement."""

    batches: Natural = 0
    records: dict[str, Natural] = {}


class Header(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that stands in the clear. ``missing_s``: seconds of the day of which the log says nothing.

    ``journal``: the hash of the journal's last entry then; not its number, which would tell what is hidden.
    ``oldest``: the lowest number of this epoch that the gateway still had when this was made.
    """

    format: str
    site: Site
    zone: Annotated[str, Meta(max_length=64)]
    gateway: Digest  # its public signing key, hexadecimal: 32 bytes too
    office: Annotated[str, Meta(pattern=r"^[0-9a-f]{4}(-[0-9a-f]{4}){4}\Z")]
    epoch: Epoch
    epoch_began: Moment
    number: Number
    made: Moment
    previous: Previous | None
    journal: Digest
    kind: Class = msgspec.field(name="class")
    day: Day
    revision: Annotated[int, Meta(ge=1)]
    part: Annotated[int, Meta(ge=1)]
    parts: Annotated[int, Meta(ge=1)]
    missing_s: Annotated[int, Meta(ge=0, le=90_000)]  # a day has up to 25 hours
    counts: dict[str, Annotated[int, Meta(ge=1, le=MAX_RECORDS)]]
    sealed: Sealed
    dropped: Dropped
    oldest: Number


@dataclass(frozen=True, slots=True)
class Batch:
    """One file, taken apart. ``body`` None: the gateway dropped what was sealed, only the header is left."""

    header: Header
    head: bytes
    signature: bytes
    body: bytes | None

    @property
    def purpose(self) -> str:
        """What its signature must have been made for."""
        return DROPPED if self.body is None else FORMAT


def canonical(value: object) -> bytes:
    """JSON as it is signed: keys sorted, no spaces, UTF-8."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def header_bytes(header: Header) -> bytes:
    return canonical(msgspec.to_builtins(header))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def moment(wall_s: float) -> str:
    """A moment in a header: RFC 3339, UTC, whole seconds."""
    return f"{dt.datetime.fromtimestamp(int(wall_s), dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def seal_info(site: str, gateway: str, epoch: str, number: int) -> bytes:
    """What HPKE is told of a batch, so that what is sealed in one opens in no other."""
    return f"{FORMAT} {site} {gateway} {epoch} {number}".encode()


def file_name(header: Header) -> str:
    """``64.03.01.2001-1b9d6bcd-000012.gbatch``: site, head of the epoch, number."""
    return f"{header.site}-{header.epoch[:8]}-{header.number:06}{ENDING}"


# --- records --------------------------------------------------------------------------------------------------------


def lines_of(records: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Records as lines of NDJSON."""
    lines = [canonical(record) + b"\n" for record in records]
    if too_long := next((line for line in lines if len(line) > MAX_RECORD_BYTES), None):
        raise ValueError(f"A record of {len(too_long)} bytes is longer than {MAX_RECORD_BYTES}: {too_long[:80]!r}")
    return lines


def packed(lines: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """The lines in order, shared out: of each part how many, and their gzip. One empty part for no lines."""
    if len(lines) <= MAX_RECORDS:
        content = gzip.compress(b"".join(lines), mtime=0)
        if len(content) <= _MAX_GZIP_BYTES:
            return [(len(lines), content)]
        middle = len(lines) // 2
        return packed(lines[:middle]) + packed(lines[middle:])
    return [part for at in range(0, len(lines), MAX_RECORDS) for part in packed(lines[at : at + MAX_RECORDS])]


def unpacked(content: bytes) -> list[dict[str, Any]]:
    """The records of one part. Raises BatchError where they are not what `packed` made."""
    try:
        unzip = zlib.decompressobj(wbits=31)  # 31: a gzip header
        text = unzip.decompress(content, MAX_RECORDS * MAX_RECORD_BYTES)
        if not unzip.eof or unzip.unused_data:
            raise ValueError
        records = [json.loads(line) for line in text.splitlines()]
        if len(records) > MAX_RECORDS or not all(isinstance(record, dict) for record in records):
            raise ValueError
    except (zlib.error, ValueError, RecursionError):
        raise BatchError("content", "What was sealed is no gzip of records.") from None
    return records


# --- files ----------------------------------------------------------------------------------------------------------


def to_file(head: bytes, signature: bytes, body: bytes | None) -> bytes:
    """A line of header, a line of signature in hexadecimal, then what is sealed; nothing there where it was dropped."""
    return head + b"\n" + signature.hex().encode() + b"\n" + (body or b"")


def from_file(content: bytes) -> Batch:
    """Take a file apart; whether its signature fits is another's question. Raises BatchError."""
    head, line_end, _ = content[: MAX_HEADER_BYTES + 1].partition(b"\n")
    if not line_end or not head.startswith(b"{"):
        raise BatchError("no-batch", "This is no batch, or its header is cut short.")
    signature = content[len(head) + 1 :][: _SIGNATURE_DIGITS + 1]
    header = _header(head)
    if len(signature) <= _SIGNATURE_DIGITS or signature[-1:] != b"\n":
        raise BatchError("truncated", "The file is cut short within its signature.")
    body = content[len(head) + 1 + len(signature) :]
    try:
        signed = bytes.fromhex(signature[:-1].decode("ascii"))
        if signed.hex().encode() != signature[:-1]:
            raise ValueError
    except ValueError:
        raise BatchError("altered", "The signature is no line of hexadecimal digits.") from None
    if not body:
        return Batch(header, head, signed, None)
    if len(body) < header.sealed.bytes:
        raise BatchError("truncated", f"The file is cut short: {len(body)} of {header.sealed.bytes} sealed bytes.")
    if sha256(body) != header.sealed.sha256:
        raise BatchError("altered", "What is sealed was altered.")
    return Batch(header, head, signed, body)


def _header(head: bytes) -> Header:
    try:
        told = json.loads(head)
        found = told["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BatchError("altered", "The header is no such text.") from None
    if found != FORMAT:
        raise BatchError("format", f"The batch has the format {found!r}; this program knows {FORMAT!r}.")
    try:
        header = msgspec.convert(told, Header)
        if header_bytes(header) != head:
            raise ValueError
    except (msgspec.ValidationError, ValueError):
        raise BatchError("altered", "The header does not say what a header says.") from None
    return header
