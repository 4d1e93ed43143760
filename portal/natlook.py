"""Looks up in the NAT log who had an outside address, for the office that holds the private key. It must not know SQL.

Chunks come from the gateway's database or from a file that was exported there. Each look-up gives an answer and a
protocol: who asked, why, for what, when, and the answer's hash, signed by the office and by the gateway. Whoever calls
this writes the audit entry first, and shows no answer whose protocol is not kept (portal.cli_natlog).
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import ipaddress
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from portal.domain import natlog
from portal.domain.natlog import Answer, Chunk, Head, Opened, Question, Times
from portal.sealing import OfficeSecret, SealingError, SigningKey, fingerprint, verify

PROTOCOL: Final = "gerbang-nat-lookup-1"
EXPORT: Final = "gerbang-nat-export-1"
MAX_WINDOW_S: Final = 3600
"""A question is about a moment: who spoke with whom all day is none that the law asks of a village."""
PROTOCOLS: Final = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}


class NatLogError(Exception):
    """It cannot be looked up: a stable code, a sentence, and what to do."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Dated:
    """A chunk, and when it was."""

    chunk: Chunk
    times: Times


@dataclass(frozen=True, slots=True)
class Found:
    """``uncovered``: parts of that time of which the log says nothing (wall clock, ms); ``lost``: sightings, at least.
    ``faults`` are sentences; ``closed``: chunks of that time that this key does not open.
    """

    answers: tuple[Answer, ...]
    opened: tuple[int, ...]
    uncovered: tuple[tuple[int, int], ...]
    lost: int
    faults: tuple[str, ...]
    closed: tuple[int, ...]


# --- the question ---------------------------------------------------------------------------------------------------


def question(
    *,
    address: str,
    port: int | None,
    protocol: str | None,
    to: str | None,
    to_port: int | None,
    at: str,
    window_s: int,
    zone: dt.tzinfo,
) -> Question:
    """What somebody wrote. ``at`` is ISO 8601, on the site's clock unless it names an offset. Raises NatLogError."""
    try:
        moment = dt.datetime.fromisoformat(at)
    except ValueError:
        hint = "Write it like 2026-10-14T20:15:30+08:00; without an offset it is the site's local time."
        raise NatLogError("time", f'"{at}" is no time.', hint) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    numbers = {name: number for number, name in PROTOCOLS.items()}
    at_ms = round(moment.timestamp() * 1000)
    return Question(
        outer=_address(address),
        from_wall_ms=at_ms - window_s * 1000,
        until_wall_ms=at_ms + window_s * 1000,
        outer_port=port,
        protocol=None if protocol is None else numbers[protocol],
        remote=None if to is None else _address(to),
        remote_port=to_port,
    )


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise NatLogError(
            "address", f'"{text}" is no IP address.', "Write it like 203.0.113.9 or 2001:db8::1."
        ) from None


# --- looking --------------------------------------------------------------------------------------------------------


def needed(asked: Question, heads: Sequence[tuple[Head, Times]]) -> list[int]:
    """The numbers of the chunks to open. Raises NatLogError where there is none."""
    numbers = natlog.needed(asked, heads)
    if numbers:
        return numbers
    hint = "The NAT log was off then, or that time is erased already; `gerbang natlog` says from when to when it goes."
    raise NatLogError("nothing", "The NAT log has nothing of that time.", hint)


def find(site: str, secret: OfficeSecret, asked: Question, chunks: Iterable[Dated], faults: Iterable[str]) -> Found:
    """Open these chunks and no others. Raises NatLogError where the key opens none of them."""
    ours = secret.key.fingerprint
    opened: list[Opened] = []
    closed: list[Head] = []
    wrong = list(faults)
    for dated in chunks:
        head = dated.chunk.head
        if head.office != ours:
            closed.append(head)
            continue
        try:
            spans, devices = natlog.unpack(secret.open(head.info(site), dated.chunk.sealed))
        except (SealingError, ValueError):
            wrong.append(f"Chunk {head.number} cannot be opened: it was altered.")
            continue
        opened.append(Opened(head, dated.times, spans, devices))
    if not opened and closed:
        message = f"That time is sealed for the key {closed[0].office}, not for this one, {ours}."
        raise NatLogError("office-key", message, "Use the private key whose public line stood in site.toml then.")
    dates = [(one.head, one.times) for one in opened]
    return Found(
        answers=tuple(natlog.answers(asked, opened)),
        opened=tuple(one.head.number for one in opened),
        uncovered=tuple(natlog.uncovered(asked, dates)),
        lost=sum(one.head.lost for one in opened),
        faults=tuple(wrong),
        closed=tuple(head.number for head in closed),
    )


# --- answer and protocol --------------------------------------------------------------------------------------------


def asked_text(asked: Question, zone: dt.tzinfo) -> dict[str, Any]:
    """The question, for audit trail and protocol."""
    return {
        "address": asked.outer,
        "port": asked.outer_port,
        "protocol": None if asked.protocol is None else PROTOCOLS[asked.protocol],
        "to": asked.remote,
        "to_port": asked.remote_port,
        "from": moment(asked.from_wall_ms, zone),
        "until": moment(asked.until_wall_ms, zone),
    }


def answer(
    identity: str, site: str, asked: Question, found: Found, *, macs: Mapping[int, str], zone: dt.tzinfo
) -> bytes:
    """The answer as JSON. Its hash stands in the protocol; the random number keeps that from being guessed at."""
    told = {
        "lookup": identity,
        "site": site,
        "asked": asked_text(asked, zone),
        "connections": [_connection(one, macs, zone) for one in found.answers],
        "uncovered": [[moment(first, zone), moment(last, zone)] for first, last in found.uncovered],
        "lost_at_least": found.lost,
        "faults": list(found.faults),
        "not_opened": list(found.closed),
        "random": secrets.token_hex(16),
    }
    return _text(told)


def _connection(one: Answer, macs: Mapping[int, str], zone: dt.tzinfo) -> dict[str, Any]:
    span = one.span
    return {
        "session": span.session,
        "device": one.device or None,
        "mac": macs.get(span.session),
        "protocol": PROTOCOLS.get(span.protocol, span.protocol),
        "inner": span.inner,
        "inner_port": span.inner_port,
        "outer": span.outer,
        "outer_port": span.outer_port,
        "to": span.remote,
        "to_port": span.remote_port,
        "from": moment(one.first_wall_ms, zone),
        "begin_seen": one.begun,
        "until": moment(one.last_wall_ms, zone),
        "end_seen": one.ended,
        "open_then": "yes" if one.seen else "perhaps",
        "clock_certain": one.certain,
    }


def protocol(
    identity: str,
    site: str,
    asked: Question,
    found: Found,
    answer: bytes,
    *,
    by: str,
    account: str,
    reason: str,
    wall_s: float,
    zone: dt.tzinfo,
    secret: OfficeSecret,
    gateway: SigningKey | None,
) -> bytes:
    """Who asked what, why and when, and the hash of what was answered: JSON with the signatures of office and gateway.

    ``gateway`` None: it was looked up in exported chunks, elsewhere.
    """
    told = {
        "format": PROTOCOL,
        "lookup": identity,
        "site": site,
        "by": by,
        "account": account,
        "reason": reason,
        "at": moment(round(wall_s * 1000), zone),
        "asked": asked_text(asked, zone),
        "chunks": list(found.opened),
        "connections": len(found.answers),
        "answer_sha256": hashlib.sha256(answer).hexdigest(),
        "office": secret.key.line,
        "gateway": None if gateway is None else gateway.public.hex(),
    }
    text = _text(told)
    signatures = {"office": secret.sign(PROTOCOL, text).hex()}
    if gateway is not None:
        signatures["gateway"] = gateway.sign(PROTOCOL, text).hex()
    return json.dumps({"protocol": told, "signatures": signatures}, indent=2, ensure_ascii=False).encode() + b"\n"


def check_protocol(content: bytes, office: bytes, gateway: bytes | None) -> bool:
    """Is this a protocol that the owners of these Ed25519 keys have signed? ``gateway`` None: by the office alone."""
    try:
        told = json.loads(content)
        text, signatures = _text(told["protocol"]), told["signatures"]
        if told["protocol"]["format"] != PROTOCOL:
            return False
        wanted = [("office", office), *([] if gateway is None else [("gateway", gateway)])]
        return all(verify(public, PROTOCOL, text, bytes.fromhex(signatures[name])) for name, public in wanted)
    except (ValueError, KeyError, TypeError):
        return False


def moment(wall_ms: int, zone: dt.tzinfo) -> str:
    """ISO 8601 on the site's clock, with its offset and milliseconds."""
    return dt.datetime.fromtimestamp(wall_ms / 1000, zone).isoformat(timespec="milliseconds")


def _text(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8: what is hashed and signed."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


# --- exported chunks ------------------------------------------------------------------------------------------------


def export(
    site: str, zone: str, signing: SigningKey, pages: Iterable[Sequence[Dated]], write: Callable[[bytes], object]
) -> int:
    """Write chunks as lines of JSON, with a signed last line; how many. They stay sealed."""
    digest = hashlib.sha256()
    count = 0

    def line(value: dict[str, Any]) -> None:
        text = _text(value) + b"\n"
        digest.update(text)
        write(text)

    line({"format": EXPORT, "site": site, "zone": zone, "gateway": signing.public.hex()})
    for page in pages:
        for dated in page:
            count += 1
            chunk = dated.chunk
            line(
                {
                    "head": dataclasses.asdict(chunk.head),
                    "times": dataclasses.asdict(dated.times),
                    "before": chunk.before.hex(),
                    "hash": chunk.hash.hex(),
                    "sealed": base64.b64encode(chunk.sealed).decode(),
                }
            )
    line({"chunks": count})
    whole = digest.digest()
    write(_text({"sha256": whole.hex(), "signature": signing.sign(EXPORT, whole).hex()}) + b"\n")
    return count


@dataclass(frozen=True, slots=True)
class Exported:
    """A file of exported chunks that is whole. ``gateway``: the fingerprint of the key that signed it."""

    path: Path
    site: str
    zone: str
    gateway: str

    @classmethod
    def load(cls, path: Path) -> Exported:
        """Raises OSError, NatLogError."""
        digest = hashlib.sha256()
        first: dict[str, Any] = {}
        last: dict[str, Any] = {}
        try:
            for text in cls._lines(path):
                if not first:
                    first = json.loads(text)
                if text.startswith(b'{"sha256":'):
                    last = json.loads(text)
                    break
                digest.update(text)
            public = bytes.fromhex(first["gateway"])
            whole = (
                first["format"] == EXPORT
                and last["sha256"] == digest.hexdigest()
                and verify(public, EXPORT, digest.digest(), bytes.fromhex(last["signature"]))
            )
            ZoneInfo(first["zone"])
            found = cls(path, str(first["site"]), str(first["zone"]), fingerprint(public))
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            hint = "Copy it again from where `gerbang natlog export` wrote it."
            raise NatLogError("export", f"{path} is no whole export of a NAT log.", hint)
        return found

    @staticmethod
    def _lines(path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from file

    def _chunks(self) -> Iterator[tuple[Head, Times, dict[str, Any]]]:
        for text in self._lines(self.path):
            if text.startswith(b'{"before":'):
                told = json.loads(text)
                yield Head(**told["head"]), Times(**told["times"]), told

    def heads(self) -> list[tuple[Head, Times]]:
        return [(head, times) for head, times, _ in self._chunks()]

    def read(self, numbers: Sequence[int]) -> tuple[list[Dated], list[str]]:
        """These chunks, and what is wrong with the chain at them."""
        found: list[Dated] = []
        faults: list[str] = []
        last: tuple[int, bytes] | None = None
        for head, times, told in self._chunks():
            before, chained = bytes.fromhex(told["before"]), bytes.fromhex(told["hash"])
            if head.number in numbers:
                chunk = Chunk(head, before, chained, base64.b64decode(told["sealed"]))
                if last not in (None, (head.number - 1, before)):
                    faults.append(f"Chunk {head.number} does not follow the one before it.")
                if natlog.hash_of(before, head.info(self.site), chunk.sealed) != chained:
                    faults.append(f"Chunk {head.number} was altered.")
                found.append(Dated(chunk, times))
            last = (head.number, chained)
        return found, faults
