"""What is known of byte counters: of members as last read, of removed ones where they stood. It must not read them.

A counter never goes down in it, or the meter would count twice. That of a removed member is kept ten minutes after
its grant ended, for the meter's next poll, and as long as its grant stands: its address may come back.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Final

from netctl.kernel.base import Member
from netctl.plan import Counters, counters, highest
from netctl.statefile import Retired

KEPT_S: Final = 600.0
MAX_KEPT: Final = 16_384

Key = tuple[int, str]  # grant, address


class Ledger:
    """``kept``: removed members' counters, the oldest entry first. ``read_boot_s``: when the others were read."""

    def __init__(self, saved: Iterable[Retired] = ()) -> None:
        self.kept: dict[Key, Counters] = {}
        self.read_boot_s = float("-inf")
        self._kept_boot_s: dict[Key, float] = {}
        self._current: dict[Key, Counters] = {}
        for entry in saved:
            self.kept[entry.grant, entry.ip] = entry.counters
            self._kept_boot_s[entry.grant, entry.ip] = entry.at_boot_s

    def read(self, members: Mapping[str, Member], now_boot_s: float) -> None:
        """Take over what was just read. Of half a member the lost direction stands where it was last seen."""
        before = self._current
        self._current = {(m.grant, m.ip): counters(m) for m in members.values()}
        for member in members.values():
            if not member.complete:
                key = (member.grant, member.ip)
                self._current[key] = highest(before.get(key), self._current[key])
        self.read_boot_s = now_boot_s

    def keep(self, member: Member, now_boot_s: float) -> None:
        """The member is gone, or will be."""
        key = (member.grant, member.ip)
        self.kept.pop(key, None)  # the newest stands last
        self.kept[key] = highest(self._current.get(key), counters(member))
        self._kept_boot_s[key] = now_boot_s

    def values(self, grant: int | None) -> dict[Key, Counters]:
        """All that is known, of one grant or (None) of all."""
        values = {**self.kept, **self._current}
        return values if grant is None else {key: value for key, value in values.items() if key[0] == grant}

    def prune(self, standing: Container[int], now_boot_s: float) -> None:
        """Forget what is too old, and above MAX_KEPT the oldest. ``standing``: ids of the grants that stand."""
        excess = len(self.kept) - MAX_KEPT
        for number, key in enumerate(list(self.kept)):
            if number < excess or (self._kept_boot_s[key] < now_boot_s - KEPT_S and key[0] not in standing):
                del self.kept[key], self._kept_boot_s[key]

    def saved(self) -> tuple[Retired, ...]:
        return tuple(
            Retired(grant=key[0], ip=key[1], counters=last, at_boot_s=self._kept_boot_s[key])
            for key, last in self.kept.items()
        )
