"""Says when an entry of the usage log happened, on the wall clock as it is known now. Pure: it knows no SQL.

A gateway without a clock of its own starts with a wrong time, and NTP sets it later: entries keep the raw time that the
wall clock showed, and this gives the corrected one beside it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from portal.domain.journal import Entry, Kind


class Corrected(NamedTuple):
    """``certain``: from a clock that NTP had set in that boot."""

    wall_ms: int
    certain: bool


@dataclass(slots=True)
class _Boot:
    """``raw``: the entry that tells how the wall clock went at first; ``set``: (boot_ms, offset_ms) of NTP."""

    raw: Entry
    set: list[tuple[int, int]] = field(default_factory=list)


class Clocks:
    """The clocks of all boots. Give it the entries in order; all but those of KINDS are passed over."""

    KINDS: Final = (Kind.BOOT, Kind.START, Kind.CLOCK)

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._boots: dict[str, _Boot] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        if entry.kind not in self.KINDS:
            return
        boot = self._boots.setdefault(entry.boot_id, _Boot(entry))
        if boot.raw.kind is not Kind.START and entry.kind is Kind.START:
            boot.raw = entry
        if entry.kind is Kind.CLOCK:
            boot.set.append((entry.boot_ms, entry.body["offset_ms"]))

    def corrected(self, boot_id: str, boot_ms: int) -> Corrected | None:
        """The moment ``boot_ms`` of a boot; None for a boot of which nothing is known."""
        boot = self._boots.get(boot_id)
        if boot is None:
            return None
        if not boot.set:
            return Corrected(boot_ms + boot.raw.wall_ms - boot.raw.boot_ms, certain=False)
        at = bisect_right(boot.set, boot_ms, key=lambda known: known[0])  # the last one by then, or else the first
        return Corrected(boot_ms + boot.set[max(at - 1, 0)][1], certain=True)


def moment_of(entry: Entry) -> tuple[str, int]:
    """(boot id, boot_ms) of what the entry tells of: its body's, where that names another moment than its writing."""
    return entry.body.get("boot", entry.boot_id), entry.body.get("at_ms", entry.boot_ms)
