"""Decides which figures may leave the gateway: those of groups of fewer than five may not. Pure: it knows no formats.

One rule makes all of it safe: **no figure that leaves contains a hidden one.** A sum leaves hidden days out, a group
too small to stand alone is told together with others, and a day's sessions are told all or not at all. So there is
nothing to subtract, whichever reports of whichever periods somebody lays side by side. Numbers that count on over days
(a session's, an entry's) must not leave either: their gaps tell how many are hidden. The pages on the gateway show what
they know and do not use this.
"""

from __future__ import annotations

import datetime as dt
import enum
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from portal.domain import localtime
from portal.domain.rollup import DayFigures, Line, Quality, SessionRecord, Step

K = TypeVar("K")

SMALLEST: Final = 5
"""The smallest group that is told."""

LEAD_DAYS: Final = 31
"""So long a session may have run already when a period begins; longer ones are not looked for."""

FOLDED: Final = "*"
"""Stands for the name of what was told together with others; no plan, method or OS family is called so."""


class Hidden(enum.Enum):
    """What stands in a figure's place. In JSON it is its value."""

    FEW = "<5"  # a count that is 1 to 4
    WITHHELD = "x"  # another figure of so few


@dataclass(frozen=True, slots=True)
class ShownStep:
    """As Step."""

    joined: int | Hidden
    saw: int | Hidden
    online: int | Hidden


@dataclass(frozen=True, slots=True)
class ShownDay:
    """As DayFigures. ``funnel``: families that stand alone, and FOLDED for the rest where there is one.

    ``hidden``: the devices are too few; all that is of people is hidden, and sums leave the day out. A median is told
    of five sessions or more.
    """

    day: dt.date
    devices: int | Hidden
    sessions: int | Hidden
    median_session_s: float | Hidden | None
    peak_online: int | Hidden
    p95_online: int | Hidden
    up_bytes: int | Hidden
    down_bytes: int | Hidden
    funnel: dict[str, ShownStep]
    all_families: ShownStep
    seconds: dict[Line, float]
    quality: Quality
    certain: bool

    @property
    def hidden(self) -> bool:
        return isinstance(self.devices, Hidden)


@dataclass(frozen=True, slots=True)
class ShownSums:
    """Of several days: what may be summed, of the days on which it is shown. ``devices_mean``: of days with any."""

    days: int
    days_hidden: int
    devices_most: int | Hidden
    devices_mean: float | None
    sessions: int | Hidden
    peak_online: int | Hidden
    up_bytes: int | Hidden
    down_bytes: int | Hidden
    funnel: dict[str, ShownStep]
    all_families: ShownStep


def few(count: int) -> bool:
    """Is a group of so many too small to be told? Nobody is not a group."""
    return 0 < count < SMALLEST


def shown(count: int) -> int | Hidden:
    return Hidden.FEW if few(count) else count


def hidden_days(days: Iterable[DayFigures]) -> frozenset[dt.date]:
    """Those of so few devices that nothing of people is told of them."""
    return frozenset(one.day for one in days if few(one.devices))


def day(found: DayFigures, hidden_days: Collection[dt.date]) -> ShownDay:
    """What may be told of a day. Availability and the line's quality are of no person, and always are.

    ``hidden_days``: others of the same log. A length of a session that also ran on one of them would tell of it.
    """
    hidden = few(found.devices)
    sessions = Hidden.WITHHELD if hidden else shown(found.sessions)
    reaches = [one for one in hidden_days if found.ended_since is not None and found.ended_since <= one < found.day]
    no_median = isinstance(sessions, Hidden) or few(found.ended) or bool(reaches)
    alone, together, everything = _funnel(found.funnel, hidden)
    return ShownDay(
        day=found.day,
        devices=shown(found.devices),
        sessions=sessions,
        median_session_s=Hidden.WITHHELD if no_median else found.median_session_s,
        peak_online=Hidden.WITHHELD if hidden else shown(found.peak_online),
        p95_online=Hidden.WITHHELD if hidden else shown(found.p95_online),
        up_bytes=Hidden.WITHHELD if hidden else found.up_bytes,
        down_bytes=Hidden.WITHHELD if hidden else found.down_bytes,
        funnel=alone | ({FOLDED: together} if together else {}),
        all_families=everything,
        seconds=found.seconds,
        quality=found.quality,
        certain=found.certain,
    )


def sums(days: Iterable[ShownDay]) -> ShownSums:
    """Of what is shown of these days, and of nothing else."""
    found = list(days)
    devices = [one.devices for one in found if isinstance(one.devices, int)]
    with_any = [count for count in devices if count]
    families = sorted({family for one in found for family in one.funnel})
    return ShownSums(
        days=len(found),
        days_hidden=sum(one.hidden for one in found),
        devices_most=_most(one.devices for one in found),
        devices_mean=statistics.fmean(with_any) if with_any else None,
        sessions=_sum(one.sessions for one in found),
        peak_online=_most(one.peak_online for one in found),
        up_bytes=_sum(one.up_bytes for one in found),
        down_bytes=_sum(one.down_bytes for one in found),
        funnel={family: _steps(one.funnel[family] for one in found if family in one.funnel) for family in families},
        all_families=_steps(one.all_families for one in found),
    )


def unsummed(days: Iterable[ShownDay]) -> frozenset[dt.date]:
    """Days whose sessions must not enter a median or the like over several days."""
    return frozenset(one.day for one in days if isinstance(one.median_session_s, Hidden))


class SessionRows:
    """What may be told of sessions, day after day: all that began on a day, or none of them.

    None, if they are of fewer than five devices, or if a session that ran on that day also ran on a hidden one: its
    bytes and its device would tell of that. Plans and methods of fewer than five devices are FOLDED.
    """

    def __init__(self, hidden_days: Collection[dt.date], zone: dt.tzinfo, now_wall_s: float) -> None:
        self._hidden_days = hidden_days
        self._zone = zone
        self._now_wall_s = now_wall_s
        self._tainted_until = dt.date.min  # the last day of the sessions that ran on a hidden one

    def of_day(self, day: dt.date, found: Sequence[SessionRecord]) -> list[SessionRecord]:
        """``found``: all that began on ``day``. Days are given in their order, LEAD_DAYS before the first that matters.

        What is told of them; all that began and run until now count as running until then.
        """
        for record in found:
            days = _days_of(record, self._zone, self._now_wall_s)
            if any(one in self._hidden_days for one in days):
                self._tainted_until = max(self._tainted_until, days[-1])
        if day <= self._tainted_until or few(len(found)) or few(len({one.device for one in found})):
            return []
        devices: dict[tuple[str, str], set[str]] = {}
        for one in found:
            devices.setdefault((one.plan, one.method), set()).add(one.device)
        folded = fold(devices, lambda pairs: (len({device for pair in pairs for device in devices[pair]}),))
        return [replace(one, plan=FOLDED, method=FOLDED) if (one.plan, one.method) in folded else one for one in found]


def fold(groups: Iterable[K], size: Callable[[Collection[K]], tuple[int, ...]]) -> frozenset[K]:
    """Those that must be told together: the ones too small to stand alone and, where even together these are too
    small, the next larger ones. Empty groups join them, so that it stays unknown how many the small ones are.

    ``size`` gives the counts of several groups together, each of which would be told.
    """

    def clear(some: Sequence[K]) -> bool:
        """Too few in one of the counts, or so many for small groups that each must be at its most."""
        for count, *parts in zip(size(some), *(size([group]) for group in some), strict=True):
            if few(count) or (max(parts) < SMALLEST and count > (SMALLEST - 1) * len(parts) - 2):
                return True
        return False

    alone = sorted(groups, key=lambda group: size([group]))
    together = [group for group in alone if any(map(few, size([group])))]
    if not together:
        return frozenset()
    together += [group for group in alone if not any(size([group]))]
    alone = [group for group in alone if group not in together]
    while alone and clear(together):
        least = size([alone[0]])  # all of that size: which of them it is would tell what the others are not
        together += [group for group in alone if size([group]) == least]
        alone = [group for group in alone if group not in together]
    return frozenset(together)


def _funnel(
    families: Mapping[str, Step], all_together: bool
) -> tuple[dict[str, ShownStep], ShownStep | None, ShownStep]:
    """(families that stand alone, the others, all)"""

    def size(some: Collection[str]) -> tuple[int, ...]:
        steps = [families[family] for family in some]
        return sum(one.joined for one in steps), sum(one.saw for one in steps), sum(one.online for one in steps)

    def step(some: Collection[str]) -> ShownStep:
        joined, saw, online = size(some)
        return ShownStep(shown(joined), shown(saw), Hidden.WITHHELD if all_together else shown(online))

    folded = frozenset(families) if all_together else fold(families, size)
    alone = {family: step([family]) for family in families if family not in folded}
    return alone, step(folded) if folded else None, step(families)


def _days_of(record: SessionRecord, zone: dt.tzinfo, now_wall_s: float) -> list[dt.date]:
    until_wall_s = now_wall_s if record.ended_wall_s is None else record.ended_wall_s
    first, last = (localtime.local_date(wall_s, zone) for wall_s in (record.began_wall_s, until_wall_s))
    return [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]


def _sum(values: Iterable[int | Hidden]) -> int | Hidden:
    """Of those that are shown; none is known where all are hidden."""
    found = list(values)
    known = [value for value in found if isinstance(value, int)]
    return sum(known) if known or not found else Hidden.WITHHELD


def _most(values: Iterable[int | Hidden]) -> int | Hidden:
    """0 would be wrong where some are hidden, and no more than 4 where these are counts."""
    found = list(values)
    most = max((value for value in found if isinstance(value, int)), default=0)
    if most or all(isinstance(value, int) for value in found):
        return most
    return Hidden.FEW if Hidden.FEW in found else Hidden.WITHHELD


def _steps(steps: Iterable[ShownStep]) -> ShownStep:
    found = list(steps)
    return ShownStep(*(_sum(getattr(one, name) for one in found) for name in ("joined", "saw", "online")))
