"""Decides whose day it is, what is left of a day's budget, and what follows when it is spent. Pure: no SQL, no clock.

How long somebody was online is measured on the boot clock alone; the wall clock only says on which local days. So a
wall clock that jumps moves seconds from one day to another at most: it neither makes nor loses any.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from portal.config import Plan
from portal.domain.localtime import day_start, local_date
from portal.domain.model import BudgetLeft, DayUse, Now

BYTES_PER_MEGABYTE = 1_000_000
BYTES_S_PER_KBIT = 125.0  # kbit/s as bytes/s

TICK_FLOOR_S = 1.0  # with the reading and the push after it, somebody overshoots by less than 2 s of the plan's rate
FASTEST_LINE_KBIT = 100_000  # what is assumed of a line whose rate site.toml does not tell: the programme's fastest


@dataclass(frozen=True, slots=True)
class Calendar:
    """What is known of the local date. ``zone``: site.timezone.

    ``clock_ok``: the wall clock shows a time that can be (portal.clock; not before meta.trusted_wall_s). ``trusted``:
    NTP has set it. ``last_day``: meta.day, the last day that a trusted clock showed, ``2026-11-24``; empty: none yet.
    """

    zone: dt.tzinfo
    clock_ok: bool
    trusted: bool
    last_day: str


class Spender(NamedTuple):
    """A person who is online and whose budget may run out.

    ``devices``: how many of theirs are online. ``bytes_s``: bytes per second, both ways and all devices together, as
    the meter saw them since its last reading.
    """

    plan: Plan
    left: BudgetLeft
    devices: int
    bytes_s: float


def day_of(wall_s: float, calendar: Calendar) -> str:
    """The day that a budget of ``wall_s`` belongs to, as ``2026-11-24``.

    A clock that cannot be right leaves the last day known. A clock that nobody vouches for never goes back behind that
    day; a trusted one may, so that a day wrongly in the future freezes nobody's budget until it comes. Keep the result
    as meta.day only where ``calendar.trusted``, for the same reason.
    """
    raise NotImplementedError


def next_midnight(wall_s: float, zone: dt.tzinfo) -> float:
    """The first moment of the next local day, Unix seconds."""
    raise NotImplementedError


def split(from_boot_s: float, to_boot_s: float, now: Now, calendar: Calendar) -> list[tuple[str, float]]:
    """Time online from ``from_boot_s`` to ``to_boot_s`` (of the boot of ``now``), as (day, seconds), in order of time.

    Each day once; the seconds add up to the whole. Empty where no time passed.
    """
    raise NotImplementedError


def left(plan: Plan, use: DayUse, wall_s: float, zone: dt.tzinfo) -> BudgetLeft:
    """What is left of the plan's budget to somebody who has used ``use`` on the day of ``wall_s``."""
    raise NotImplementedError


def rates(plan: Plan, left: BudgetLeft) -> tuple[int | None, int | None]:
    """(down, up) in kbit/s that each of the person's devices gets now; None: no limit."""
    raise NotImplementedError


def check_again_after_s(
    spenders: Iterable[Spender], line_down_kbit: int | None, line_up_kbit: int | None, at_most_s: float
) -> float:
    """Seconds until the meter must read again, so that nobody overshoots by more than 2 s of the plan's rate.

    From TICK_FLOOR_S to ``at_most_s``, the ordinary tick. The line's rates (uplink.down_kbit, uplink.up_kbit; None:
    not known) bound a plan that has none.
    """
    raise NotImplementedError
