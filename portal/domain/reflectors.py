"""Keeps what is known of the hosts that answer pings: the usual delay of each, and which of them are any good. Pure.

It must not know rates or sockets; portal.domain.follow asks it how much longer than usual an answer took.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

# Four in turn: one of them that is slow for reasons of its own gives at most two of six samples, which is too few for
# portal.domain.follow to act on.
IN_TURN: Final = 4
LOST_AFTER_S: Final = 4.0  # longer than a satellite and a queue of three seconds; what comes later is of no use
# The usual delay is the shortest path: it follows a shorter one at once, and a longer one (another satellite, another
# route) over ten minutes, by when a queue of one's own would long have been emptied.
SHORTER: Final = 0.9
LONGER_OVER_S: Final = 600.0
LONGEST_GAP_S: Final = 10.0  # after a pause one sample must not weigh as much as all that were not taken
REMEMBERED: Final = 10  # outcomes of each host ...
BAD: Final = 5  # ... of which so many lost while others answered make it give up its place to the next
SILENT_AFTER: Final = 8  # pings in a row without any answer: two from each
KNOWN_AFTER: Final = 3  # samples before a host's usual delay means something


class Delay(NamedTuple):
    """One answer: when its echo was sent (CLOCK_BOOTTIME), and by how much it took longer than usual."""

    sent_boot_s: float
    extra_ms: float
    usual_ms: float


@dataclass(slots=True)
class _Host:
    address: str
    usual_ms: float | None = None
    samples: int = 0
    last_boot_s: float = 0.0
    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


class Reflectors:
    """Asks the first IN_TURN of the list in turn; one that fails goes to the end of the list."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._hosts = [_Host(address) for address in dict.fromkeys(addresses)]
        self._turn = 0
        self._sequence = 0
        self._pending: dict[int, tuple[_Host, float]] = {}
        self._answered_sent_boot_s = -math.inf  # when the newest echo was sent of those that came back
        self._lost_in_a_row = 0
        self.ever_answered = False

    @property
    def in_turn(self) -> tuple[str, ...]:
        return tuple(host.address for host in self._hosts[:IN_TURN])

    @property
    def are_known(self) -> bool:
        """Is the usual delay of all in turn known?"""
        return all(host.samples >= KNOWN_AFTER for host in self._hosts[:IN_TURN])

    @property
    def are_silent(self) -> bool:
        """Has nobody answered for a while, though asked?"""
        return self._lost_in_a_row >= SILENT_AFTER

    def ask(self, now_boot_s: float) -> tuple[str, int]:
        """Whom to send an echo to now, and its 16-bit sequence."""
        host = self._hosts[self._turn % min(IN_TURN, len(self._hosts))]
        self._turn += 1
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._pending[self._sequence] = host, now_boot_s
        return host.address, self._sequence

    def answered(self, address: str, sequence: int, now_boot_s: float) -> Delay | None:
        """An answer came. None where it is nobody's: too late, twice, or from somebody else."""
        host, sent_boot_s = self._pending.get(sequence, (None, 0.0))
        if host is None or host.address != address or not 0 <= now_boot_s - sent_boot_s <= LOST_AFTER_S:
            return None
        del self._pending[sequence]
        took_ms = (now_boot_s - sent_boot_s) * 1000
        gap_s = min(LONGEST_GAP_S, max(0.0, now_boot_s - host.last_boot_s))
        if host.usual_ms is None:
            host.usual_ms = took_ms
        else:
            weight = SHORTER if took_ms < host.usual_ms else 1 - math.exp(-gap_s / LONGER_OVER_S)
            host.usual_ms += weight * (took_ms - host.usual_ms)
        host.last_boot_s = now_boot_s
        host.samples += 1
        host.outcomes.append(True)
        self._answered_sent_boot_s = max(self._answered_sent_boot_s, sent_boot_s)
        self._lost_in_a_row = 0
        self.ever_answered = True
        return Delay(sent_boot_s, max(0.0, took_ms - host.usual_ms), host.usual_ms)

    def note_lost(self, now_boot_s: float) -> None:
        """Give up echoes that are too old. A host is blamed only where one that was sent no earlier came back."""
        lost = [key for key, (_, sent_boot_s) in self._pending.items() if now_boot_s - sent_boot_s > LOST_AFTER_S]
        for sequence in lost:
            host, sent_boot_s = self._pending.pop(sequence)
            self._lost_in_a_row += 1
            if self._answered_sent_boot_s >= sent_boot_s:
                host.outcomes.append(False)
                if host.outcomes.count(False) >= BAD:
                    self._replace(host)

    def forget_pending(self) -> None:
        """After a pause of the whole machine nobody can say which answers were lost."""
        self._pending.clear()

    def _replace(self, host: _Host) -> None:
        host.outcomes.clear()
        self._hosts.remove(host)
        self._hosts.append(host)
