"""Decides whose day it is, what is left of a day's budget, and what follows when it is spent. Pure: no SQL, no clock.

How long somebody was online is measured on the boot clock alone; the wall clock only says on which local days. So a
wall clock that jumps moves seconds from one day to another at most: it neither makes nor loses any.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from portal.config import Plan
from portal.domain import localtime
from portal.domain.model import BudgetLeft, DayUse, Now

BYTES_PER_MEGABYTE = 1_000_000
BYTES_S_PER_KBIT = 125.0  # kbit/s as bytes/s

TICK_FLOOR_S = 1.0  # with the reading and the push after it, somebody overshoots by less than 2 s of the plan's rate
FASTEST_LINE_KBIT = 100_000  # what is assumed of a line whose rate site.toml does not tell: the programme's fastest

_ONE_DAY = dt.timedelta(days=1)


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
    shown = localtime.local_date(wall_s, calendar.zone).isoformat()
    if not calendar.clock_ok:
        return calendar.last_day or shown
    return shown if calendar.trusted else max(shown, calendar.last_day)


def next_midnight(wall_s: float, zone: dt.tzinfo) -> float:
    """The first moment of the next local day, Unix seconds."""
    return localtime.day_start(localtime.local_date(wall_s, zone) + _ONE_DAY, zone)


def split(from_boot_s: float, to_boot_s: float, now: Now, calendar: Calendar) -> list[tuple[str, float]]:
    """Time online from ``from_boot_s`` to ``to_boot_s`` (of the boot of ``now``), as (day, seconds), in order of time.

    Each day once; the seconds add up to the whole. Empty where no time passed.
    """
    parts: dict[str, float] = {}
    boot_to_wall_s = now.wall_s - now.boot_s
    wall_s = from_boot_s + boot_to_wall_s
    while from_boot_s < to_boot_s:
        midnight_wall_s = next_midnight(wall_s, calendar.zone)
        until_boot_s = max(from_boot_s, min(to_boot_s, midnight_wall_s - boot_to_wall_s))
        day = day_of(wall_s, calendar)
        parts[day] = parts.get(day, 0.0) + until_boot_s - from_boot_s
        from_boot_s, wall_s = until_boot_s, midnight_wall_s
    return list(parts.items())


def limit_s(plan: Plan) -> float:
    """Seconds online that the plan gives on a day; infinite where it sets no limit."""
    return math.inf if plan.daily_minutes is None else plan.daily_minutes * 60.0


def limit_bytes(plan: Plan) -> float:
    """Bytes, both ways together, that the plan gives on a day; infinite where it sets no limit."""
    return math.inf if plan.daily_megabytes is None else plan.daily_megabytes * BYTES_PER_MEGABYTE


def left(plan: Plan, use: DayUse, wall_s: float, zone: dt.tzinfo) -> BudgetLeft:
    """What is left of the plan's budget to somebody who has used ``use`` on the day of ``wall_s``."""
    seconds = max(0.0, limit_s(plan) - use.seconds)
    octets = max(0.0, limit_bytes(plan) - use.up_bytes - use.down_bytes)
    return BudgetLeft(
        seconds=None if plan.daily_minutes is None else seconds,
        bytes=None if plan.daily_megabytes is None else int(octets),
        spent=not (seconds and octets),
        renewed_wall_s=next_midnight(wall_s, zone),
    )


def less(left: BudgetLeft, octets: int) -> BudgetLeft:
    """What is left after so many bytes more."""
    if left.bytes is None:
        return left
    remains = max(0, left.bytes - octets)
    return replace(left, bytes=remains, spent=left.spent or not remains)


def slow_rates(plan: Plan) -> tuple[int | None, int | None]:
    """(down, up) in kbit/s after the budget: never more than before."""
    return (
        plan.slow_down_kbit if plan.down_kbit is None else min(plan.down_kbit, plan.slow_down_kbit),
        plan.slow_up_kbit if plan.up_kbit is None else min(plan.up_kbit, plan.slow_up_kbit),
    )


def rates(plan: Plan, left: BudgetLeft) -> tuple[int | None, int | None]:
    """(down, up) in kbit/s that each of the person's devices gets now; None: no limit."""
    if left.spent and plan.after_budget == "slow":
        return slow_rates(plan)
    return plan.down_kbit, plan.up_kbit


def check_again_after_s(
    spenders: Iterable[Spender], line_down_kbit: int | None, line_up_kbit: int | None, at_most_s: float
) -> float:
    """Seconds until the meter must read again, so that nobody overshoots by more than 2 s of the plan's rate.

    From TICK_FLOOR_S to ``at_most_s``, the ordinary tick. The line's rates (uplink.down_kbit, uplink.up_kbit; None:
    not known) bound a plan that has none.
    """
    soonest_s = at_most_s
    for spender in spenders:
        if not spender.left.spent:
            soonest_s = min(soonest_s, _lasts_s(spender, line_down_kbit, line_up_kbit))
    return max(TICK_FLOOR_S, soonest_s)


def _lasts_s(spender: Spender, line_down_kbit: int | None, line_up_kbit: int | None) -> float:
    """How long the budget lasts at least. What was seen may exceed the plan: bytes count before the shaper's queue."""
    seconds = math.inf if spender.left.seconds is None else spender.left.seconds
    if spender.left.bytes is None:
        return seconds
    down_kbit = spender.plan.down_kbit or line_down_kbit or FASTEST_LINE_KBIT
    up_kbit = spender.plan.up_kbit or line_up_kbit or FASTEST_LINE_KBIT
    allowed_bytes_s = (down_kbit + up_kbit) * BYTES_S_PER_KBIT * spender.devices
    return min(seconds, spender.left.bytes / max(allowed_bytes_s, spender.bytes_s))
