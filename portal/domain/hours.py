"""Reads opening hours and decides whether a plan is open, and until when. Pure: no SQL, no clock, no language.

Hours are local wall-clock times of a week. A time that a day lacks (clocks go forward) is the moment of the jump; one
that comes twice begins with the first and ends with the second, so that nothing closes in between.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from portal.config import Closed
from portal.domain.model import Opening

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class HoursError(ValueError):
    """Lines that are no hours. ``mistakes`` are sentences: which line and word, and what to write instead."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__(" ".join(mistakes))
        self.mistakes = tuple(mistakes)


class Span(NamedTuple):
    """Minutes after the local midnight of the day it begins on: 0 <= first < 1440; past 1440, it ends the next day."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Week:
    """Spans of each day, Monday first, in order and apart from each other. ``always``: nothing ever closes it."""

    days: tuple[tuple[Span, ...], ...]
    always: bool = False


class DayTimes(NamedTuple):
    """For a page: ``days`` are runs of weekdays (0 is Monday), first and last; ``times`` are minutes after midnight.

    A time's second minute may be smaller than its first: it ends on the next day. 1440 is 24:00.
    """

    days: tuple[tuple[int, int], ...]
    times: tuple[tuple[int, int], ...]


class Act(NamedTuple):
    """What an operator opened or closed and has not cancelled (table closure). ``until_wall_s`` None: until cancelled.

    Of acts at the same moment the one with the highest ``id`` holds: clocks jump, ids do not.
    """

    id: int
    kind: Literal["open", "close"]
    from_wall_s: float
    until_wall_s: float | None
    reason: str


def parse(lines: Sequence[str]) -> Week:
    """``open`` of [hours], or ``hours`` of a plan. Raises HoursError with all mistakes."""
    raise NotImplementedError


def mistakes(lines: Sequence[str]) -> list[str]:
    """All that is wrong with the lines, a sentence each; empty: parse takes them."""
    raise NotImplementedError


def opening(
    plan_hours: Week | None,
    site_hours: Week,
    holidays: Sequence[Closed],
    acts: Sequence[Act],
    *,
    wall_s: float,
    zone: dt.tzinfo,
    clock_ok: bool,
) -> Opening:
    """Is a plan open at ``wall_s``, and when does that change? ``until_wall_s`` None: not within 14 days.

    ``always`` hours of a plan's own are never closed. Otherwise the latest act of that moment decides, without one a
    holiday, without that the plan's hours or else the site's. Holidays are whole local days.

    Without ``clock_ok`` nobody knows what time it is, and ``wall_s`` is a moment that has surely passed (the later of
    the clock and meta.trusted_wall_s): what some hours, holiday or act might still close is closed, with the reason
    model.CLOCK_NOT_SET.
    """
    raise NotImplementedError


def describe(week: Week) -> list[DayTimes]:
    """The week for people, days with equal times together, in order of the first day; closed days are left out."""
    raise NotImplementedError
