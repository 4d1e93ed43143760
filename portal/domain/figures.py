"""Works out a day's figures from who was there when. Pure: it must not know SQL, pages or clocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

HOUR_S: Final = 3600.0


class Stay(NamedTuple):
    """A device's time online, Unix seconds; ``ended_wall_s`` None: it still is."""

    mac: str
    started_wall_s: float
    ended_wall_s: float | None


class Busiest(NamedTuple):
    """The hour that began at ``from_wall_s``, in which ``devices`` different devices were online."""

    from_wall_s: float
    devices: int


def busiest_hour(stays: Iterable[Stay], since_wall_s: float, now_wall_s: float) -> Busiest | None:
    """The hour, counted from ``since_wall_s`` (the day's first moment), with the most devices; of two, the earlier.

    None where nobody was online since. Who came back within an hour counts once in it.
    """
    hours: dict[int, set[str]] = {}
    for stay in stays:
        begin = max(stay.started_wall_s, since_wall_s)
        end = now_wall_s if stay.ended_wall_s is None else min(stay.ended_wall_s, now_wall_s)
        if begin > end:
            continue  # of another day, or a clock that was set meanwhile
        for hour in range(int((begin - since_wall_s) // HOUR_S), int((end - since_wall_s) // HOUR_S) + 1):
            hours.setdefault(hour, set()).add(stay.mac)
    if not hours:
        return None
    hour = max(sorted(hours), key=lambda number: len(hours[number]))
    return Busiest(since_wall_s + hour * HOUR_S, len(hours[hour]))
