"""Turns counter readings into bytes that were not counted before. Pure: it must not know where readings come from.

A reading says between which two moments (CLOCK_BOOTTIME) the counter was read. Only a reading that began after the
last counted one had arrived is known to be younger; any other is ignored, since its bytes come with the next. So it
does not matter how often, in which order or by how many processes readings are handed in: no byte counts twice. A
younger reading that shows less means that the counter itself began again, and it alone is counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from netctl.api.types import Usage


class CounterKey(NamedTuple):
    """What names a counter: it grows within this name."""

    boot_id: str
    session_id: int
    ip: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a counter showed at some moment between ``sent_boot_s`` and ``received_boot_s``."""

    up_bytes: int
    down_bytes: int
    up_packets: int
    down_packets: int
    sent_boot_s: float
    received_boot_s: float

    def shows_the_same_as(self, other: Reading) -> bool:
        return (self.up_bytes, self.down_bytes, self.up_packets, self.down_packets) == (
            other.up_bytes,
            other.down_bytes,
            other.up_packets,
            other.down_packets,
        )


class Delta(NamedTuple):
    up_bytes: int
    down_bytes: int


NOTHING = Delta(0, 0)


def readings(usage: Usage, sent_boot_s: float, received_boot_s: float) -> dict[CounterKey, Reading]:
    """netctl's answer with the moments between which it was read."""
    return {
        CounterKey(usage.boot_id, counter.grant, counter.ip): Reading(
            counter.up_bytes,
            counter.down_bytes,
            counter.up_packets,
            counter.down_packets,
            sent_boot_s,
            received_boot_s,
        )
        for counter in usage.counters
    }


def is_younger(seen: Reading, last: Reading | None) -> bool:
    """Was ``seen`` surely read after ``last``?"""
    return last is None or seen.sent_boot_s >= last.received_boot_s


def delta(last: Reading | None, seen: Reading) -> Delta:
    """Bytes of ``seen`` that are not in ``last``; nothing where ``seen`` is not surely younger."""
    if last is None:
        return Delta(seen.up_bytes, seen.down_bytes)
    if not is_younger(seen, last):
        return NOTHING
    # The kernel holds the two directions apart, so that one can begin again without the other.
    up_began_again = seen.up_bytes < last.up_bytes or seen.up_packets < last.up_packets
    down_began_again = seen.down_bytes < last.down_bytes or seen.down_packets < last.down_packets
    return Delta(
        seen.up_bytes - (0 if up_began_again else last.up_bytes),
        seen.down_bytes - (0 if down_began_again else last.down_bytes),
    )


def deltas(last: Mapping[CounterKey, Reading], seen: Mapping[CounterKey, Reading]) -> dict[CounterKey, Delta]:
    """For each counter of ``seen`` the bytes that ``last`` has not; counters that ``seen`` lacks add nothing."""
    return {key: delta(last.get(key), reading) for key, reading in seen.items()}


def total(parts: Iterable[Delta]) -> Delta:
    up = down = 0
    for part in parts:
        up += part.up_bytes
        down += part.down_bytes
    return Delta(up, down)
