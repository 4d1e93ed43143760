"""Where the counters of removed members stood, so that their last bytes are not lost. It must not know the kernel.

A counter is kept ten minutes after its grant ended, for the meter's next poll, and as long as its grant stands: its
address may come back and then goes on from there.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final

from netctl.plan import Counters
from netctl.statefile import Retired

KEPT_S: Final = 600.0
MAX_KEPT: Final = 16_384


Key = tuple[int, str]  # grant, address


class Ledger:
    """``last``: where each counter stood, the oldest entry first."""

    def __init__(self, saved: Iterable[Retired] = ()) -> None:
        self.last: dict[Key, Counters] = {}
        self._at_boot_s: dict[Key, float] = {}
        for entry in saved:
            self.last[entry.grant, entry.ip] = entry.counters
            self._at_boot_s[entry.grant, entry.ip] = entry.at_boot_s

    def keep(self, key: Key, counters: Counters, now_boot_s: float) -> None:
        self.last.pop(key, None)  # the newest stands last
        self.last[key] = counters
        self._at_boot_s[key] = now_boot_s

    def prune(self, standing: Container[int], now_boot_s: float) -> None:
        """Forget what is too old, and above MAX_KEPT the oldest. ``standing``: ids of the grants that stand."""
        excess = len(self.last) - MAX_KEPT
        for number, key in enumerate(list(self.last)):
            if number < excess or (self._at_boot_s[key] < now_boot_s - KEPT_S and key[0] not in standing):
                del self.last[key], self._at_boot_s[key]

    def saved(self) -> tuple[Retired, ...]:
        return tuple(
            Retired(grant=key[0], ip=key[1], counters=last, at_boot_s=self._at_boot_s[key])
            for key, last in self.last.items()
        )
