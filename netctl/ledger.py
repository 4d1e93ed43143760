"""What is known of byte counters: of members as last read, of removed ones where they stood. It must not read them.

A counter never goes down in it, or the meter would count twice. That of a removed member is kept ten minutes after
its grant ended, for the meter's next poll, and as long as its grant stands: its address may come back.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Final

from netctl.kernel.base import Member
from netctl.plan import Counters, class_name, counters, highest
from netctl.statefile import Retired

KEPT_S: Final = 600.0
MAX_KEPT: Final = 16_384

Key = tuple[int, str]  # grant, address


def _up(member: Member) -> Counters:
    """What its address has sent. What it got is counted where it leaves the class."""
    up_bytes, _, up_packets, _ = counters(member)
    return up_bytes, 0, up_packets, 0


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

    def read(self, members: Mapping[str, Member], passed: Mapping[int, tuple[int, int]], now_boot_s: float) -> None:
        """Take over what was just read: members, and what left the classes. Of half a member the lost direction stands
        where it was last seen."""
        before = self._current
        self._current = {(m.grant, m.ip): _up(m) for m in members.values()}
        for member in members.values():
            key = (member.grant, member.ip)
            if not member.complete:
                self._current[key] = highest(before.get(key), self._current[key])
            if member.minor in passed:
                down_bytes, down_packets = passed[member.minor]
                self._current[member.grant, class_name(member.minor)] = (0, down_bytes, 0, down_packets)
        self.read_boot_s = now_boot_s

    def keep(self, member: Member, now_boot_s: float) -> None:
        """The member is gone, or will be; with it, for all that is known, its class."""
        self._keep(
            (member.grant, member.ip), highest(self._current.get((member.grant, member.ip)), _up(member)), now_boot_s
        )
        key = (member.grant, class_name(member.minor))
        self._keep(key, self._current.get(key) or self.kept.get(key, (0, 0, 0, 0)), now_boot_s)

    def _keep(self, key: Key, last: Counters, now_boot_s: float) -> None:
        self.kept.pop(key, None)  # the newest stands last
        self.kept[key], self._kept_boot_s[key] = last, now_boot_s

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
