"""Decides what may be erased: since when a date is believed, and what stands in the log in place of what goes. Pure.

It must not know SQL. What is erased is gone, so a date is believed only after it has gone on for a while: a clock that
leaps, by a mistake or by a wrong NTP server, erases nothing.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from portal.domain.journal import Tomb

STEADY_DAYS: Final = 7
"""A date that came by a leap of more than so many days is believed once so many days have followed it."""


FIRST_WALL_S: Final = 1_704_067_200.0
"""2024 began: no gateway is older, so an earlier moment is of a clock that was not set."""
_SLACK_S: Final = 3600.0
_DAY_S: Final = 86_400.0


def over_by(rows: Sequence[tuple[float, float]], now_wall_s: float) -> list[float]:
    """When each was certainly over: (began, ended) as the wall clock showed it, in the order of the beginnings.

    A clock that was not set shows a beginning before an earlier one's, or one that is still to come. Of such a row it
    is only known that it began before the next whose clock was right; infinity where there is none.
    """
    latest, right = FIRST_WALL_S, []
    for began, ended in rows:
        right.append(latest - _SLACK_S <= began <= ended + _SLACK_S and ended <= now_wall_s + _DAY_S)
        if right[-1]:
            latest = max(latest, began)
    found, next_began = [math.inf] * len(rows), math.inf
    for at in range(len(rows) - 1, -1, -1):
        began, ended = rows[at]
        found[at] = ended if right[at] else next_began
        if right[at]:
            next_began = min(next_began, began)
    return found


class Seen(NamedTuple):
    """The last local day that a trusted clock showed, ``2026-11-24`` (empty: none yet), and how many different days
    there were since the last leap."""

    day: str
    days: int

    @property
    def steady(self) -> bool:
        return self.days >= STEADY_DAYS


def see(seen: Seen, today: dt.date) -> Seen:
    """What is known once a trusted clock has shown this day. A day that was skipped while the power was off is none."""
    if not seen.day:
        return Seen(today.isoformat(), 1)
    went = (today - dt.date.fromisoformat(seen.day)).days
    if went == 0:
        return seen
    if 0 < went <= STEADY_DAYS:
        return Seen(today.isoformat(), min(seen.days + 1, STEADY_DAYS))
    return Seen(today.isoformat(), 1)


class Graves(NamedTuple):
    """``new`` tombs to be put, after those that begin at ``replaced`` are taken away."""

    replaced: tuple[int, ...]
    new: tuple[Tomb, ...]


def graves(erased: Iterable[tuple[int, bytes]], there: Sequence[Tomb]) -> Graves:
    """What stands in the place of these entries (number, hash). Tombs ``there`` that touch them are made one with them,
    since the hash of an erased entry between two tombs is of no use to anybody."""
    pieces = sorted([*there, *(Tomb(seq, seq, found) for seq, found in erased)], key=lambda tomb: tomb.first)
    joined: list[Tomb] = []
    for piece in pieces:
        if joined and joined[-1].last + 1 >= piece.first:
            joined[-1] = Tomb(joined[-1].first, piece.last, piece.last_hash)
        else:
            joined.append(piece)
    untouched = set(there) & set(joined)
    replaced = tuple(tomb.first for tomb in there if tomb not in untouched)
    return Graves(replaced, tuple(tomb for tomb in joined if tomb not in untouched))
