"""Says which batches the office has, signed by it, and removes those from the outbox. It must not know SQL or files.

Without an acknowledgement a batch stays until it is too old or there is no room: with one it goes at once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Final

import msgspec

from portal import sealing
from portal.domain import batch
from portal.domain.batch import Digest, Epoch, Moment, Number, Site
from portal.domain.batchcheck import Chain
from portal.sealing import OfficeKey, OfficeSecret
from portal.store import outbox as store

FORMAT: Final = "gerbang-ack/1"
MAX_BYTES: Final = 1_000_000
_OTHER: Final = "Choose the file that `gerbang office ack` wrote."


class AckError(Exception):
    """The file is no acknowledgement for this gateway: a sentence, and what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Batches ``first`` to ``last`` of an epoch; ``sha256`` is of the last one's header."""

    site: Site
    gateway: Digest
    epoch: Epoch
    first: Number
    last: Number
    sha256: Digest


class Ack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    made: Moment
    received: list[Range]


def make(chains: Iterable[Chain], secret: OfficeSecret, wall_s: float) -> bytes:
    """A file for all gateways at once: a line of JSON, a line of signature."""
    found = [one for chain in chains for one in _ranges(chain)]
    text = batch.canonical(msgspec.to_builtins(Ack(FORMAT, batch.moment(wall_s), found)))
    return text + b"\n" + secret.sign(FORMAT, text).hex().encode() + b"\n"


def _ranges(chain: Chain) -> list[Range]:
    found: list[Range] = []
    for one in chain.batches:
        header = one.header
        first = header.number
        if found and found[-1].last + 1 == header.number:
            first = found.pop().first
        found.append(Range(header.site, header.gateway, header.epoch, first, header.number, batch.sha256(one.head)))
    return found


def parse(content: bytes, office: OfficeKey) -> Ack:
    """What a file says. Raises AckError where it is not signed by this office."""
    text, _, rest = content.partition(b"\n")
    try:
        signature = bytes.fromhex(rest.strip().decode("ascii"))
        told = json.loads(text)
        if told["format"] != FORMAT:
            raise AckError(
                f"This acknowledgement has the format {told['format']!r}.", f"This program knows {FORMAT!r}."
            )
        ack = msgspec.convert(told, Ack)
    except (ValueError, KeyError, TypeError, RecursionError):  # msgspec's too
        raise AckError("This file is no acknowledgement, or is cut short.", _OTHER) from None
    if not sealing.verify(office.signing, FORMAT, text, signature):
        message = "The acknowledgement is not signed by the office whose key stands in site.toml."
        raise AckError(message, "Was it changed on the way, or is it of another office?")
    return ack


def take(db: sqlite3.Connection, ack: Ack) -> int:
    """Remove from the outbox what it names; how many batches that was. Of other gateways it may name any."""
    removed = 0
    for one in ack.received:
        last = store.header_hash(db, one.epoch, one.last)
        if last not in (None, one.sha256) or one.last > store.made(db, one.epoch):
            continue  # the office has another batch of that number: ours must still reach it
        removed += store.remove_range(db, one.epoch, one.first, one.last)
    return removed
