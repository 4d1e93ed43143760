"""Checks the chain of the usage log: finds the first entry that was altered, is missing or out of order. Pure; no SQL.

Read as a stream, in one pass. What is gone by rule (erased by retention, lost with a damaged disk) leaves a tomb where
it was, and an entry of kind ERASURE or LOST that accounts for it: a tomb for which none does is a finding.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from portal.domain.journal import GENESIS, Kind, Tomb, hash_of

MAX_FINDINGS: Final = 100

Head: TypeAlias = tuple[int | None, bytes]
"""Number and hash of an entry as they were known once; None: the number is not known."""


class Raw(NamedTuple):
    """An entry as it is stored (portal.domain.journal.Entry): ``body`` is the text that was hashed."""

    seq: int
    kind: str
    boot_id: str
    boot_ms: int
    wall_ms: int
    trusted: int
    body: str
    hash: bytes


class Wrong(enum.StrEnum):
    """What is wrong with entries ``first`` to ``last`` of a finding."""

    ALTERED = "altered"  # the contents do not fit the hash, which also covers the entry before
    MISSING = "missing"  # not there, and no tomb in their place
    UNACCOUNTED = "unaccounted"  # a tomb in their place, but no entry tells of (so many) erased or lost ones
    ORDER = "order"  # stands at another's place
    AUDIT = "audit"  # tells of an act that the audit trail has otherwise, or not at all
    HEAD = "head"  # has another hash than the one that was known
    UNKNOWN = "unknown"  # none of them has a hash that was known


@dataclass(frozen=True, slots=True)
class Finding:
    """``entry``: the one at fault or, where entries are missing, the first one after them (None: the log ends)."""

    wrong: Wrong
    first: int
    last: int
    entry: Raw | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``findings`` by number, at most MAX_FINDINGS; ``more`` were found beyond. ``seq``, ``hash``: of the last entry.

    ``erased`` and ``lost``: entries that are gone by rule; ``entries``: those that are there.
    """

    entries: int
    erased: int
    lost: int
    seq: int
    hash: bytes
    findings: tuple[Finding, ...]
    more: int


def verify(items: Iterable[Raw | Tomb], *, acts: Container[str] | None = None, heads: Sequence[Head] = ()) -> Verdict:
    """Check a whole log, in its order. ``acts``: digests of the audit trail's entries, where that is at hand.

    ``heads``: all must still be there, or be gone by rule; a hash without its number must be there.
    """
    numbered = {number: known for number, known in heads if number is not None}
    check = _Check(acts, numbered, {known for number, known in heads if number is None})
    for item in items:
        if isinstance(item, Tomb):
            check.tomb(item)
        else:
            check.entry(item)
    return check.verdict()


def contents_hash(before: bytes, entry: Raw) -> bytes:
    """The hash that an entry's contents must have after one with the hash ``before``."""
    return hash_of(
        before,
        entry.body,
        seq=entry.seq,
        kind=entry.kind,
        boot_id=entry.boot_id,
        boot_ms=entry.boot_ms,
        wall_ms=entry.wall_ms,
        trusted=bool(entry.trusted),
    )


def pin(entry: Raw) -> str:
    """What a LOST entry notes of the first entry after the lost ones, whose own hash nobody can check without them."""
    return contents_hash(GENESIS, entry).hex()


@dataclass(slots=True)
class _Check:
    acts: Container[str] | None
    heads: dict[int, bytes]
    sought: set[bytes]  # hashes that were not met yet
    expected: int = 1
    before: bytes | None = GENESIS  # None: that of a missing entry
    last: Raw | None = None
    last_is_tomb: bool = False
    entries: int = 0
    more: int = 0
    findings: list[Finding] = field(default_factory=list)
    missing: list[Finding] = field(default_factory=list)
    late: set[int] = field(default_factory=set)  # met after higher numbers
    tombs: list[Tomb] = field(default_factory=list)
    unpinned: dict[int, Raw] = field(default_factory=dict)  # after a tomb, and not chained to it
    pins: set[tuple[int, str]] = field(default_factory=set)
    erasures: list[tuple[int, int, int]] = field(default_factory=list)  # first, last, count
    losses: list[tuple[int, int]] = field(default_factory=list)
    displaced: tuple[int, bytes] | None = None  # where the first altered entry is, and the hash before it

    # --- the pass ---------------------------------------------------------------------------------------------------

    def tomb(self, tomb: Tomb) -> None:
        if tomb.first > self.expected:
            self.missing.append(Finding(Wrong.MISSING, self.expected, tomb.first - 1, None))
        elif tomb.first < self.expected:
            self._found(Wrong.ORDER, tomb.first, tomb.last, self.last)
            return
        self.tombs.append(tomb)
        self.expected, self.before, self.last_is_tomb = tomb.last + 1, tomb.last_hash, True
        self._compare_head(tomb.last, tomb.last_hash, None)

    def entry(self, entry: Raw) -> None:
        self.entries += 1
        seq = entry.seq
        if seq < self.expected:
            self.late.add(seq)
            self._found(Wrong.ORDER, seq, seq, entry)
            return
        if seq > self.expected:
            self.missing.append(Finding(Wrong.MISSING, self.expected, seq - 1, entry))
            self.before = None
        if self.before is not None and contents_hash(self.before, entry) != entry.hash:
            if self.last_is_tomb:
                self.unpinned[seq] = entry
            else:
                self._altered(self.before, entry)
        self.expected, self.before, self.last, self.last_is_tomb = seq + 1, entry.hash, entry, False
        self._compare_head(seq, entry.hash, entry)
        if entry.kind in _TELLING:
            self._hear(entry)

    def _altered(self, before: bytes, entry: Raw) -> None:
        """An entry that fits where the first altered one is has changed places with it."""
        if self.displaced is None:
            self.displaced = (entry.seq, before)
        elif contents_hash(self.displaced[1], entry._replace(seq=self.displaced[0])) == entry.hash:
            first = self.displaced[0]
            self.findings = [
                Finding(Wrong.ORDER, first, entry.seq, found.entry)
                if (found.wrong, found.first) == (Wrong.ALTERED, first)
                else found
                for found in self.findings
            ]
            return
        self._found(Wrong.ALTERED, entry.seq, entry.seq, entry)

    def _hear(self, entry: Raw) -> None:
        body = _parsed(entry.body)
        if entry.kind == Kind.ACT:
            if self.acts is not None and body.get("digest") not in self.acts:
                self._found(Wrong.AUDIT, entry.seq, entry.seq, entry)
        elif entry.kind == Kind.ERASURE:
            if "first" in body:  # else it tells of rows that are no entries
                self.erasures.append((body["first"], body.get("last", 0), body.get("count", 0)))
        else:
            self.losses.append((body.get("first", 0), body.get("last", 0)))
            self.pins.add((body.get("last", 0) + 1, body.get("next") or ""))

    def _compare_head(self, seq: int, found: bytes, entry: Raw | None) -> None:
        self.sought.discard(found)
        if self.heads.get(seq, found) != found:
            self._found(Wrong.HEAD, seq, seq, entry)

    def _found(self, wrong: Wrong, first: int, last: int, entry: Raw | None) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(wrong, first, last, entry))
        else:
            self.more += 1

    # --- the end ----------------------------------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        for seq, entry in self.unpinned.items():
            if (seq, pin(entry)) not in self.pins:
                self._found(Wrong.ALTERED, seq, seq, entry)
        if self.expected <= (last := max(self.heads, default=0)):
            self.missing.append(Finding(Wrong.MISSING, self.expected, last, None))
        for _ in self.sought:
            self._found(Wrong.UNKNOWN, 1, self.expected - 1, None)
        gaps = [gap for missing in self.missing for gap in _without(missing, self.late)]
        found = sorted([*self.findings, *gaps, *self._unaccounted()], key=lambda finding: finding.first)
        return Verdict(
            entries=self.entries,
            erased=sum(count for _, _, count in self.erasures),
            lost=sum(last - first + 1 for first, last in self.losses),
            seq=self.expected - 1,
            hash=self.before or GENESIS,
            findings=tuple(found[:MAX_FINDINGS]),
            more=self.more + max(0, len(found) - MAX_FINDINGS),
        )

    def _unaccounted(self) -> Iterator[Finding]:
        """Tombs outside of what is told of, and stretches in which more is gone than is told of."""
        told = [*self.erasures, *((first, last, last - first + 1) for first, last in self.losses)]
        stretches: list[list[int]] = []  # first, last, count: those that touch each other made one
        for first, last, count in sorted(told):
            if stretches and first <= stretches[-1][1] + 1:
                stretches[-1][1] = max(stretches[-1][1], last)
                stretches[-1][2] += count
            else:
                stretches.append([first, last, count])
        at = 0
        for tomb in self.tombs:
            while at < len(stretches) and stretches[at][1] < tomb.first:
                at += 1
            if at == len(stretches) or not (stretches[at][0] <= tomb.first and tomb.last <= stretches[at][1]):
                yield Finding(Wrong.UNACCOUNTED, tomb.first, tomb.last, None)
                continue
            stretches[at][2] -= tomb.last - tomb.first + 1
        for first, last, left in stretches:
            if left < 0:
                yield Finding(Wrong.UNACCOUNTED, first, last, None)


_TELLING: Final = frozenset({Kind.ACT.value, Kind.ERASURE.value, Kind.LOST.value})


def _parsed(body: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _without(missing: Finding, late: set[int]) -> Iterator[Finding]:
    """What of a range is missing when those that came late are found."""
    first = missing.first
    for seq in sorted(seq for seq in late if missing.first <= seq <= missing.last):
        if first < seq:
            yield Finding(Wrong.MISSING, first, seq - 1, missing.entry)
        first = seq + 1
    if first <= missing.last:
        yield Finding(Wrong.MISSING, first, missing.last, missing.entry)
