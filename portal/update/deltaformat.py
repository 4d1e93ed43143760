"""The head of a delta file (.gdelta): what it is made from, what becomes of it, and its pieces. It must not know zstd.

Format 1, all numbers big-endian: ``GDELTA1\n``; 4 bytes with the length of the head; 32 bytes with its SHA-256; the
head, JSON; then the patches of all pieces, one after the other, each a zstd frame that was made with ``--patch-from``.
The new file is cut into pieces of ``piece_bytes``; a piece's patch needs nothing but ``old_bytes`` of the old image
from ``old_offset`` on. A reader of format 1 refuses any other magic, and takes no number on trust: the bounds below are
what the maker makes, since a head is not signed, and a box has little memory.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from portal.update import errors
from portal.update.errors import UpdateError

MAGIC: Final = b"GDELTA1\n"
LENGTH: Final = struct.Struct(">I")
DIGEST_BYTES: Final = 32
MAX_HEAD_BYTES: Final = 1024 * 1024
MAX_PIECE_BYTES: Final = 16 * 1024 * 1024
MAX_PATCH_BYTES: Final = MAX_PIECE_BYTES + MAX_PIECE_BYTES // 256  # of what cannot be compressed (ZSTD_COMPRESSBOUND)
MAX_OLD_BYTES: Final = 3 * MAX_PIECE_BYTES  # a piece's length before and after where its content stood
MAX_FILE_BYTES: Final = 4 * 1024**3
AGAIN: Final = "Fetch it again, or take the whole bundle."

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Size = Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """``patch_bytes`` and ``patch_sha256`` are of what is in the delta, ``sha256`` of what becomes of it."""

    old_offset: Size
    old_bytes: Annotated[int, Meta(ge=0, le=MAX_OLD_BYTES)]
    patch_bytes: Annotated[int, Meta(ge=1, le=MAX_PATCH_BYTES)]
    patch_sha256: Sha256
    sha256: Sha256


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """``old_bytes`` of the running slot's beginning have ``old_sha256``; the whole new file has ``new_sha256``."""

    old_bytes: Size
    old_sha256: Sha256
    new_bytes: Size
    new_sha256: Sha256
    piece_bytes: Annotated[int, Meta(ge=4096, le=MAX_PIECE_BYTES)]
    pieces: tuple[Piece, ...]

    def piece_length(self, number: int) -> int:
        return min(self.piece_bytes, self.new_bytes - number * self.piece_bytes)


def pack(head: Head) -> bytes:
    told = msgspec.json.encode(head)
    return MAGIC + LENGTH.pack(len(told)) + hashlib.sha256(told).digest() + told


def read(read_exactly: Callable[[int], bytes]) -> Head:
    """The head of a delta, from its beginning. Raises UpdateError for what is none, and for one that was altered."""
    if read_exactly(len(MAGIC)) != MAGIC:
        raise UpdateError(errors.DELTA, "This is no delta of a format that this version knows.", AGAIN)
    (length,) = LENGTH.unpack(read_exactly(LENGTH.size))
    if length > MAX_HEAD_BYTES:
        raise UpdateError(errors.DELTA, "The delta's head is too long.", AGAIN)
    digest, told = read_exactly(DIGEST_BYTES), read_exactly(length)
    if hashlib.sha256(told).digest() != digest:
        raise UpdateError(errors.DELTA, "The delta's head is damaged.", AGAIN)
    try:
        head = msgspec.json.decode(told, type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpdateError(errors.DELTA, f"The delta's head cannot be read: {error}.", AGAIN) from None
    fits = all(piece.old_offset + piece.old_bytes <= head.old_bytes for piece in head.pieces)
    if not fits or len(head.pieces) != -(-head.new_bytes // head.piece_bytes):
        raise UpdateError(errors.DELTA, "The delta's pieces do not make up its file.", AGAIN)
    return head
