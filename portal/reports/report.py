"""A report as a value: tables whose cells are rounded and hidden already. It must not know a format, nor where it goes.

Every writer shows the same cells: what is rounded is rounded here, once, so that all formats say the same. A cell is a
whole number (counts, bytes, seconds), a decimal with the places that it is shown with, a text, a day, a moment on the
site's clock, Hidden (portal.domain.suppression), or None where there is no figure.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Final, TypeAlias

from portal.domain.rollup import Line
from portal.domain.suppression import Hidden

Cell: TypeAlias = int | Decimal | str | dt.date | dt.datetime | Hidden | None
Row: TypeAlias = tuple[Cell, ...]

KNOWN: Final = (Line.UP, Line.DEGRADED, Line.DOWN, Line.OFF)
"""The states of which availability is a share."""


@dataclass(frozen=True, slots=True)
class Column:
    """``unit`` "" where it has none, or each row its own. ``width`` in letters."""

    heading: str
    unit: str = ""
    width: int = 12

    @property
    def title(self) -> str:
        return f"{self.heading} ({self.unit})" if self.unit else self.heading


@dataclass(frozen=True, slots=True)
class Table:
    """``rows`` makes them anew at each call; a year's sessions are many, and come one after the other."""

    name: str
    columns: Sequence[Column]
    rows: Callable[[], Iterable[Row]]


@dataclass(frozen=True, slots=True)
class Report:
    """``sessions`` can be read while the transaction lasts in which the report was made, the others at any time.

    ``desa``, ``period``, ``notes`` are for a letterhead, in Bahasa Indonesia; ``stem`` is a good file name.
    ``line_from``: the first column of ``days`` that is about the line and not about people.
    """

    title: str
    desa: str
    code: str
    period: str
    office: str
    address: str
    classification: str
    made: dt.datetime
    stem: str
    notes: Sequence[str]
    summary: Table
    days: Table
    line_from: int
    sessions: Table
    about: Table
    definitions: Table

    @property
    def tables(self) -> Mapping[str, Table]:
        """By the name that the command line calls them."""
        return {
            "ringkasan": self.summary,
            "hari": self.days,
            "sesi": self.sessions,
            "metadata": self.about,
            "definisi": self.definitions,
        }


def decimal(value: float | None, places: int) -> Decimal | None:
    """Rounded to so many places, half to even; None stays None."""
    return None if value is None else Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)


def whole(seconds: Mapping[Line, float]) -> dict[Line, int]:
    """Whole seconds that add up to the whole sum: the largest rests are rounded up (Hamilton's method)."""
    floors = {line: int(value) for line, value in seconds.items()}
    missing = round(sum(seconds.values())) - sum(floors.values())
    for line in sorted(seconds, key=lambda line: floors[line] - seconds[line])[:missing]:
        floors[line] += 1
    return floors


def added(several: Iterable[Mapping[Line, int]]) -> dict[Line, int]:
    found: dict[Line, int] = {}
    for one in several:
        for line, seconds in one.items():
            found[line] = found.get(line, 0) + seconds
    return found


def availability(seconds: Mapping[Line, float]) -> Decimal | None:
    """Percent of the known time in which the Internet was reached, rounded down to a tenth: 100 is only where it was
    never away. None where nothing is known.
    """
    known = sum(Decimal(seconds.get(line, 0)) for line in KNOWN)
    if not known:
        return None
    reached = Decimal(seconds.get(Line.UP, 0)) + Decimal(seconds.get(Line.DEGRADED, 0))
    return (100 * reached / known).quantize(Decimal("0.1"), ROUND_FLOOR)


def moment(wall_s: float, zone: dt.tzinfo) -> dt.datetime:
    """On the site's clock, to the second."""
    return dt.datetime.fromtimestamp(round(wall_s), zone)


def once(rows: Sequence[Row]) -> Callable[[], Iterator[Row]]:
    """For tables that are small enough to be kept."""
    return lambda: iter(rows)
