"""What the NAT log says of connections, and who had an outside address when. Pure: it knows no SQL, key or clock.

netctl tells when a connection is seen to begin, to be open (once an hour) and to end. Within one chunk these sightings
become one Span; what a chunk holds is sealed as ``pack`` writes it. Who looks something up needs the chunks around that
time and no others: whatever was open then was seen within an hour of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from netctl.api.types import Connection

FORMAT: Final = "gerbang-nat-log-1"
GENESIS: Final = bytes(32)
"""What stands for the hash before the first chunk."""
REACH_MS: Final = 70 * 60_000
"""What is open is seen at least so often (netctl.kernel.flows.RELIST_S, and the time until it is taken)."""
RACE_MS: Final = 10_000  # a connection that begins while the open ones are listed is seen in both ways
MAX_CONTENT_BYTES: Final = 64_000_000  # of one chunk, unpacked

Key = tuple[int, str, int, str, int, str, int]


@dataclass(frozen=True, slots=True)
class Span:
    """One connection as far as one chunk has seen it: from ``first_ms`` to ``last_ms`` of the boot clock.

    ``begun``: it began then, else it was open already; ``ended``: it ended then, else nobody saw it end. ``session`` is
    the id of the session's record. ``inner`` is the device's own address, ``outer`` what the world saw in its place.
    """

    session: int
    protocol: int
    inner: str
    inner_port: int
    outer: str
    outer_port: int
    remote: str
    remote_port: int
    first_ms: int
    last_ms: int
    begun: bool
    ended: bool

    @property
    def key(self) -> Key:
        return (
            self.protocol, self.inner, self.inner_port, self.outer, self.outer_port, self.remote, self.remote_port
        )  # fmt: skip


def spans(sightings: Iterable[Connection]) -> list[Span]:
    """Each connection once, in the order in which they were first seen."""
    found: list[Span] = []
    running: dict[Key, int] = {}
    for seen in sightings:
        begins, ends, at_ms = seen.flow == "begin", seen.flow == "end", seen.at_boot_ms
        new = Span(
            seen.grant, seen.protocol, seen.inner, seen.inner_port, seen.outer, seen.outer_port, seen.remote,
            seen.remote_port, at_ms, at_ms, begins, ends,
        )  # fmt: skip
        place = running.get(new.key)
        if place is None or (begins and not _is_race(found[place], at_ms)):
            place = running[new.key] = len(found)
            found.append(new)
        else:
            before = found[place]
            found[place] = dataclasses.replace(
                before, last_ms=max(at_ms, before.last_ms), begun=before.begun or begins, ended=ends
            )
        if ends:
            del running[new.key]
    return found


def _is_race(span: Span, at_ms: int) -> bool:
    return not span.begun and at_ms - span.first_ms <= RACE_MS


# --- what is sealed -------------------------------------------------------------------------------------------------


def pack(found: Sequence[Span], devices: Mapping[int, str]) -> bytes:
    """A zlib stream (RFC 1950) of JSON: columns, one number for each connection (docs/natlog.md).

    ``devices``: session -> its device's pseudonym. ``first`` counts from the line before, ``last`` from ``first``,
    ``outer_port`` from ``inner_port``; ``how`` is 1 for begun and 2 for ended.
    """
    ordered = sorted(found, key=lambda span: span.first_ms)
    addresses: dict[str, int] = {}

    def number(address: str) -> int:
        return addresses.setdefault(address, len(addresses))

    columns: dict[str, Any] = {
        "first": [s.first_ms - (ordered[at - 1].first_ms if at else 0) for at, s in enumerate(ordered)],
        "last": [s.last_ms - s.first_ms for s in ordered],
        "how": [s.begun + 2 * s.ended for s in ordered],
        "session": [s.session for s in ordered],
        "protocol": [s.protocol for s in ordered],
        "inner": [number(s.inner) for s in ordered],
        "inner_port": [s.inner_port for s in ordered],
        "outer": [number(s.outer) for s in ordered],
        "outer_port": [s.outer_port - s.inner_port for s in ordered],
        "remote": [number(s.remote) for s in ordered],
        "remote_port": [s.remote_port for s in ordered],
    }
    told = {
        "format": FORMAT,
        "devices": {str(session): name for session, name in sorted(devices.items())},
        "addresses": list(addresses),
        "connections": columns,
    }
    return zlib.compress(json.dumps(told, separators=(",", ":")).encode(), 9)


def unpack(content: bytes) -> tuple[list[Span], dict[int, str]]:
    """What ``pack`` was given. Raises ValueError where it is no such thing."""
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(content, MAX_CONTENT_BYTES)
        if decompressor.unconsumed_tail:
            raise ValueError("it is larger than any chunk")
        told = json.loads(text)
        if told["format"] != FORMAT:
            raise ValueError("it is of another format")
        columns, addresses = told["connections"], told["addresses"]
        names = ("first", "last", "how", "session", "protocol", "inner", "inner_port", "outer", "outer_port",
                 "remote", "remote_port")  # fmt: skip
        found, first_ms = [], 0
        for first, last, how, session, protocol, inner, inner_port, outer, outer_port, remote, remote_port in zip(
            *(columns[name] for name in names), strict=True
        ):
            first_ms += first
            found.append(
                Span(
                    session,
                    protocol,
                    addresses[inner],
                    inner_port,
                    addresses[outer],
                    inner_port + outer_port,
                    addresses[remote],
                    remote_port,
                    first_ms,
                    first_ms + last,
                    bool(how & 1),
                    bool(how & 2),
                )
            )
        return found, {int(session): str(name) for session, name in told["devices"].items()}
    except (zlib.error, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from error


@dataclass(frozen=True, slots=True)
class Head:
    """What everybody may know of a chunk: it stands beside the sealed part, and cannot be changed without that.

    It holds what was seen from ``from_boot_ms`` to ``until_boot_ms`` of boot ``boot_id``, but for at least ``lost``
    sightings. ``offset_ms``: wall clock minus boot clock when it was written; ``trusted``: NTP had set it. ``stream``
    and ``last`` name the last sighting in it, as netctl counts them, ``stream_lost`` is what was lost since the stream
    began; ``count`` connections are in it.
    """

    number: int
    boot_id: str
    from_boot_ms: int
    until_boot_ms: int
    offset_ms: int
    trusted: bool
    stream: str
    last: int
    count: int
    lost: int
    stream_lost: int
    office: str  # the fingerprint of the key it is sealed for

    def info(self, site: str) -> bytes:
        """Names the chunk to the seal: what was sealed as one passes for no other."""
        return json.dumps([FORMAT, site, *dataclasses.astuple(self)], separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Chunk:
    """``before`` is the hash of the one before it, ``hash`` its own."""

    head: Head
    before: bytes
    hash: bytes
    sealed: bytes


def hash_of(before: bytes, info: bytes, sealed: bytes) -> bytes:
    """A chunk's hash, which the next one's is made with: SHA-256 over the one before, the head, and the sealed part."""
    return hashlib.sha256(before + info + b"\0" + hashlib.sha256(sealed).digest()).digest()


# --- who had it -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """Who had ``outer`` between two moments of the wall clock, which are not the same? None: whatever it was."""

    outer: str
    from_wall_ms: int
    until_wall_ms: int
    outer_port: int | None = None
    protocol: int | None = None
    remote: str | None = None
    remote_port: int | None = None

    def fits(self, span: Span) -> bool:
        return span.outer == self.outer and all(
            wanted in (None, found)
            for wanted, found in (
                (self.outer_port, span.outer_port),
                (self.protocol, span.protocol),
                (self.remote, span.remote),
                (self.remote_port, span.remote_port),
            )
        )


@dataclass(frozen=True, slots=True)
class Times:
    """When a chunk was, corrected. ``certain``: its boot's clock was set by NTP at some time."""

    offset_ms: int
    certain: bool


@dataclass(frozen=True, slots=True)
class Opened:
    head: Head
    times: Times
    spans: Sequence[Span]
    devices: Mapping[int, str]

    @property
    def covers(self) -> tuple[int, int]:
        return covers(self.head, self.times)


def covers(head: Head, times: Times) -> tuple[int, int]:
    """From when to when, on the wall clock."""
    return head.from_boot_ms + times.offset_ms, head.until_boot_ms + times.offset_ms


@dataclass(frozen=True, slots=True)
class Answer:
    """A connection that fits. Times are on the wall clock; ``span``'s are not.

    ``seen``: it was open at that time without doubt; else its beginning or end was not seen, and it may have been.
    ``certain``: so is the time.
    """

    span: Span
    device: str
    first_wall_ms: int
    last_wall_ms: int
    begun: bool
    ended: bool
    seen: bool
    certain: bool


def needed(question: Question, chunks: Iterable[tuple[Head, Times]]) -> list[int]:
    """The numbers of the chunks to open: those of that time, and those within REACH_MS of it."""
    low, high = question.from_wall_ms - REACH_MS, question.until_wall_ms + REACH_MS
    found = []
    for head, times in chunks:
        first, last = covers(head, times)
        if first <= high and last >= low:
            found.append(head.number)
    return found


def answers(question: Question, chunks: Iterable[Opened]) -> list[Answer]:
    """The connections that fit, the first to begin first; those of several chunks as one."""
    found: list[Answer] = []
    running: dict[tuple[str, Key], int] = {}
    for chunk in chunks:
        for span in filter(question.fits, chunk.spans):
            key = (chunk.head.boot_id, span.key)
            new = _answer(span, chunk)
            place = running.get(key)
            if place is None or found[place].ended or span.begun:
                running[key] = len(found)
                found.append(new)
            else:
                found[place] = dataclasses.replace(
                    found[place],
                    last_wall_ms=new.last_wall_ms,
                    ended=new.ended,
                    certain=found[place].certain and new.certain,
                )
    low, high = question.from_wall_ms, question.until_wall_ms
    kept = [
        dataclasses.replace(one, seen=one.first_wall_ms <= high and one.last_wall_ms >= low)
        for one in found
        if one.first_wall_ms - (0 if one.begun else REACH_MS) <= high
        and one.last_wall_ms + (0 if one.ended else REACH_MS) >= low
    ]
    return sorted(kept, key=lambda one: (one.first_wall_ms, one.span.key))


def _answer(span: Span, chunk: Opened) -> Answer:
    offset_ms = chunk.times.offset_ms
    return Answer(
        span=span,
        device=chunk.devices.get(span.session, ""),
        first_wall_ms=span.first_ms + offset_ms,
        last_wall_ms=span.last_ms + offset_ms,
        begun=span.begun,
        ended=span.ended,
        seen=False,
        certain=chunk.times.certain,
    )


def uncovered(question: Question, chunks: Iterable[tuple[Head, Times]]) -> list[tuple[int, int]]:
    """The parts of that time of which the log says nothing, on the wall clock: nobody found there is no proof."""
    at, end = question.from_wall_ms, question.until_wall_ms
    gaps = []
    for first, last in sorted(covers(head, times) for head, times in chunks):
        if last < at or first > end:
            continue
        if first > at:
            gaps.append((at, first))
        at = max(at, last)
    if at < end:
        gaps.append((at, end))
    return gaps
