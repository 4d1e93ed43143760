"""Finds in a heap of batches what is missing, altered, there twice or cut short. It must not know files, SQL or keys.

Numbers of an epoch have no gap, and each batch names the hash of the one before: so the batches alone tell. What they
cannot tell is whether more came after the last; the next export shows that.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from portal.domain import batch
from portal.domain.batch import Batch, Header


class Code(enum.StrEnum):
    """Stable codes of what is found."""

    # Of one file.
    NO_BATCH = "no-batch"
    FORMAT = "format"  # of another version
    TRUNCATED = "truncated"
    ALTERED = "altered"
    SIGNATURE = "signature"  # it is not signed by the gateway that it names
    STRANGER = "stranger"  # of a gateway that is not among those the office noted
    NAME = "name"  # the file is called like another batch
    SEALED = "sealed"  # it does not open with this key, or holds something else than its header says
    # Of several.
    FORK = "fork"  # two different batches of one number
    GAP = "gap"
    CHAIN = "chain"  # it does not name the batch before as it is
    PARTS = "parts"  # not all parts of a day are there, though none that was made is missing
    # No mistakes.
    DUPLICATE = "duplicate"
    BEGINS = "begins"  # the first is not number 1: the earlier ones must be elsewhere
    DROPPED = "dropped"  # the gateway had no room, or nobody took it in time


NOTES = (Code.DUPLICATE, Code.BEGINS, Code.DROPPED)
"""What need not be wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. ``where`` is a file's name, or an epoch and a number."""

    code: Code
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Read:
    """One file: its batch, or why it is none. ``signed``: by the gateway that its header names, for what it is."""

    name: str
    batch: Batch | None
    signed: bool = False
    error: Finding | None = None


@dataclass(slots=True)
class Chain:
    """The batches of one gateway and epoch, each once, in order."""

    gateway: str
    epoch: str
    batches: list[Batch] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    chains: list[Chain]
    findings: list[Finding]

    @property
    def good(self) -> bool:
        return all(found.code in NOTES for found in self.findings)


def check(files: Iterable[Read], known: Sequence[str] | None = None) -> Report:
    """What is to be said of files in any order. ``known``: public keys of gateways that may have signed (None: any)."""
    findings: list[Finding] = []
    by_number: dict[tuple[str, str], dict[int, list[tuple[str, Batch]]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(files, key=lambda one: one.name):
        if file.batch is None:
            if file.error is not None:
                findings.append(file.error)
            continue
        header = file.batch.header
        if not file.signed:
            findings.append(_unsigned(file, file.batch))
        elif known is not None and header.gateway not in known:
            message = "Signed by a gateway that is not among those named."
            findings.append(Finding(Code.STRANGER, file.name, message))
        else:
            if file.name != batch.file_name(header):
                message = f"This is batch {header.number}, called {batch.file_name(header)}; it was renamed."
                findings.append(Finding(Code.NAME, file.name, message))
            by_number[header.gateway, header.epoch][header.number].append((file.name, file.batch))
    chains = []
    for (gateway, epoch), numbers in by_number.items():
        chain = Chain(gateway, epoch)
        for number in sorted(numbers):
            chain.batches.append(_one_of(numbers[number], findings))
        chains.append(chain)
    chains.sort(key=lambda one: (one.batches[0].header.site, one.batches[0].header.epoch_began, one.epoch))
    for chain in chains:
        findings += _of_chain(chain)
        findings += _of_beginning(chain, chains)
    return Report(chains, findings)


def _unsigned(file: Read, found: Batch) -> Finding:
    if found.body is None:
        message = "What is sealed is missing, and the gateway has not signed that it dropped it."
        return Finding(Code.TRUNCATED, file.name, message)
    return Finding(Code.SIGNATURE, file.name, "The signature does not fit: altered, or not of the gateway it names.")


def _one_of(several: list[tuple[str, Batch]], findings: list[Finding]) -> Batch:
    """Of files with one number, the one that holds; with what is sealed, where one has it."""
    whole = sorted(several, key=lambda one: (one[1].body is None, one[0]))
    name, first = whole[0]
    for other, found in whole[1:]:
        if found.head != first.head:
            message = f"Batch {first.header.number} is there with another content as {name}, both signed."
            findings.append(Finding(Code.FORK, other, message))
        else:
            findings.append(Finding(Code.DUPLICATE, other, f"The same batch as {name}."))
    return first


def _of_chain(chain: Chain) -> Iterable[Finding]:
    name = chain.epoch[:8]
    first = chain.batches[0].header
    if first.number > 1:
        missing = _numbers(1, first.number - 1)
        message = f"{name} begins with {first.number}: {missing} must be elsewhere, or were dropped."
        yield Finding(Code.BEGINS, f"{name} {first.number}", message)
    before: Batch | None = None
    for found in chain.batches:
        header, where = found.header, f"{name} {found.header.number}"
        if before is not None:
            if header.number > before.header.number + 1:
                missing = _numbers(before.header.number + 1, header.number - 1)
                yield Finding(Code.GAP, where, f"{missing} of {name} missing before {header.number}.")
            else:
                yield from _joint(before, found, where)
        if found.body is None:
            told = ", ".join(f"{count} {kind}" for kind, count in header.counts.items()) or "nothing"
            yield Finding(Code.DROPPED, where, f"The gateway dropped {header.kind} of {header.day}: {told}.")
        before = found
    yield from _parts(chain, name)


def _of_beginning(chain: Chain, chains: Iterable[Chain]) -> Iterable[Finding]:
    """A new epoch names the last batch that its gateway knew of the one before."""
    header = chain.batches[0].header
    if header.number != 1 or header.previous is None:
        return
    where, told = f"{chain.epoch[:8]} 1", header.previous
    before = next((one for one in chains if one.epoch == told.epoch), None)
    if before is None:
        message = f"Before it, {told.epoch[:8]} went to batch {told.number} at least; that must be elsewhere."
        yield Finding(Code.BEGINS, where, message)
    elif (last := before.batches[-1].header.number) < told.number:
        missing = _numbers(last + 1, told.number)
        yield Finding(Code.GAP, where, f"{missing} of {told.epoch[:8]} missing, the last before this epoch.")


def _joint(before: Batch, found: Batch, where: str) -> Iterable[Finding]:
    header, last = found.header, before.header
    told = header.previous
    if told is None or (told.epoch, told.number, told.sha256) != (
        last.epoch,
        last.number,
        batch.sha256(before.head),
    ):
        yield Finding(Code.CHAIN, where, f"It was not made after batch {last.number} as it is here.")


def _parts(chain: Chain, name: str) -> Iterable[Finding]:
    """Parts of a day are made at once, so they stand one after the other."""
    headers = {found.header.number: found.header for found in chain.batches}
    for number, header in headers.items():
        for other in range(number - header.part + 1, number - header.part + header.parts + 1):
            near = headers.get(other)
            wanted = header.part + other - number
            if near is not None and _parcel(near) != (*_parcel(header)[:3], header.parts, wanted):
                message = f"It is not part {wanted} of {header.parts} of {header.kind} of {header.day}."
                yield Finding(Code.PARTS, f"{name} {other}", message)


def _parcel(header: Header) -> tuple[str, str, int, int, int]:
    return header.day, header.kind, header.revision, header.parts, header.part


def _numbers(first: int, last: int) -> str:
    return f"batch {first}" if first == last else f"batches {first} to {last}"


# --- what holds -----------------------------------------------------------------------------------------------------


def holding(chains: Iterable[Chain]) -> list[Batch]:
    """The batches whose records hold: of each site, day and class those of the best version that is there whole.

    Best is what tells most of the day; of several such the newest epoch, and of that the highest revision.
    """
    versions: dict[tuple[str, str, str], dict[tuple[int, str, str, int], list[Batch]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for chain in chains:
        for found in chain.batches:
            header = found.header
            version = (-header.missing_s, header.epoch_began, header.epoch, header.revision)
            versions[header.site, header.day, header.kind][version].append(found)
    held: list[Batch] = []
    for _, found_versions in sorted(versions.items()):
        whole = [
            version
            for version, parts in found_versions.items()
            if len(parts) == parts[0].header.parts and all(part.body is not None for part in parts)
        ]
        if whole:
            held += sorted(found_versions[max(whole)], key=lambda one: one.header.part)
    return held
