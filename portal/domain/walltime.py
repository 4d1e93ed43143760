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

FOREVER_MS: Final = 1 << 60
"""Later than any moment."""


class Corrected(NamedTuple):
    """``certain``: from a clock that NTP had set in that boot."""

    wall_ms: int
    certain: bool


class Piece(NamedTuple):
    """From ``from_ms`` until ``until_ms`` of a boot, wall time is boot time plus ``offset_ms``."""

    from_ms: int
    until_ms: int
    offset_ms: int


@dataclass(slots=True)
class BootClock:
    """The wall clock of one boot. ``guess_ms``: how far it was ahead of the boot clock before NTP; ``settings``:
    (boot_ms, offset_ms) as NTP has set it, in order of boot_ms. What was before the first was corrected by it."""

    guess_ms: int
    settings: list[tuple[int, int]] = field(default_factory=list)

    @property
    def certain(self) -> bool:
        return bool(self.settings)

    def wall_ms(self, boot_ms: int) -> int:
        if not self.settings:
            return boot_ms + self.guess_ms
        at = bisect_right(self.settings, boot_ms, key=lambda known: known[0])  # the last one by then, or else the first
        return boot_ms + self.settings[max(at - 1, 0)][1]

    def set(self, boot_ms: int, offset_ms: int) -> None:
        """NTP has set the clock then; what it had set at the same moment does not hold."""
        self.settings = sorted({**dict(self.settings), boot_ms: offset_ms}.items())

    def pieces(self) -> list[Piece]:
        """All of boot time, in order and without gaps."""
        if not self.settings:
            return [Piece(-FOREVER_MS, FOREVER_MS, self.guess_ms)]
        begins = [-FOREVER_MS, *(at for at, _ in self.settings[1:])]
        ends = [*begins[1:], FOREVER_MS]
        return [Piece(*one) for one in zip(begins, ends, (offset for _, offset in self.settings), strict=True)]


class Clocks:
    """The clocks of all boots. Give it the entries in order; all but those of KINDS are passed over."""

    KINDS: Final = (Kind.BOOT, Kind.START, Kind.CLOCK)

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._boots: dict[str, BootClock] = {}
        self._started: set[str] = set()
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        if entry.kind not in self.KINDS:
            return
        boot = self._boots.setdefault(entry.boot_id, BootClock(entry.wall_ms - entry.boot_ms))
        if entry.kind is Kind.START and entry.boot_id not in self._started:
            self._started.add(entry.boot_id)
            boot.guess_ms = entry.wall_ms - entry.boot_ms
        if entry.kind is Kind.CLOCK:
            boot.set(entry.boot_ms, entry.body["offset_ms"])

    def corrected(self, boot_id: str, boot_ms: int) -> Corrected | None:
        """The moment ``boot_ms`` of a boot; None for a boot of which nothing is known."""
        boot = self._boots.get(boot_id)
        return None if boot is None else Corrected(boot.wall_ms(boot_ms), boot.certain)


def moment_of(entry: Entry) -> tuple[str, int]:
    """(boot id, boot_ms) of what the entry tells of: its body's, where that names another moment than its writing."""
    return entry.body.get("boot", entry.boot_id), entry.body.get("at_ms", entry.boot_ms)
