"""Works out how fast each device is going now, from two readings of netctl's counters. It must not know pages.

Two readings a few seconds apart: the first page after a pause has no rates yet, and says nothing rather than a zero.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from netctl.api.types import Usage
from portal import clock
from portal.domain.model import Now
from portal.sync import Netctl

SHORTEST_S: Final = 1.0  # below, the last rates are told again: two pages at once must not halve the time
LONGEST_S: Final = 60.0  # above, a mean says nothing of now
KBIT_PER_BYTE: Final = 0.008


class Rate(NamedTuple):
    """kbit/s, seen from the user."""

    down_kbit: float
    up_kbit: float


class _Reading(NamedTuple):
    boot_s: float
    counted: Mapping[int, tuple[int, int]]  # grant -> (up, down) bytes


class Rates:
    """For any number of threads of one process."""

    def __init__(self, netctl: Netctl, read_clock: Callable[[], Now] = clock.now) -> None:
        self._netctl = netctl
        self._read_clock = read_clock
        self._lock = threading.Lock()
        self._last: _Reading | None = None
        self._told: dict[int, Rate] = {}

    def read(self) -> Mapping[int, Rate]:
        """The rate of each grant (a session's id) since the last reading. Raises NetctlError."""
        with self._lock:
            boot_s = self._read_clock().boot_s
            if self._last is not None and boot_s - self._last.boot_s < SHORTEST_S:
                return self._told
            reading = _Reading(boot_s, _sums(self._netctl.usage()))
            self._told = {} if self._last is None else _between(self._last, reading)
            self._last = reading
            return self._told


def _sums(usage: Usage) -> dict[int, tuple[int, int]]:
    """A device has a counter for each of its addresses."""
    found: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for counter in usage.counters:
        up_bytes, down_bytes = found[counter.grant]
        found[counter.grant] = (up_bytes + counter.up_bytes, down_bytes + counter.down_bytes)
    return dict(found)


def _between(earlier: _Reading, later: _Reading) -> dict[int, Rate]:
    seconds = later.boot_s - earlier.boot_s
    if seconds > LONGEST_S:
        return {}
    rates = {}
    for grant, (up_bytes, down_bytes) in later.counted.items():
        before = earlier.counted.get(grant)
        if before is not None:
            up, down = max(0, up_bytes - before[0]), max(0, down_bytes - before[1])
            rates[grant] = Rate(down * KBIT_PER_BYTE / seconds, up * KBIT_PER_BYTE / seconds)
    return rates
