"""The strip of a day: a row of quarter hours, coloured and patterned by what the line was. It must not know SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portal.domain import overview
from portal.domain.overview import Run
from portal.domain.rollup import Line, Stretch
from portal.reports.definitions import LINES, Figure
from portal.staff.frame import language
from portal.staff.review import said


@dataclass(frozen=True, slots=True)
class Cell:
    """``quarters`` on end that look alike; ``says`` from when to when what was."""

    quarters: int
    line: Line
    says: str


@dataclass(frozen=True, slots=True)
class Strip:
    """``quarters`` in all; the scale's cells are (name, quarters)."""

    cells: list[Cell]
    quarters: int


def strip(stretches: Sequence[Stretch], from_wall_s: float, until_wall_s: float) -> Strip:
    """Of a local day."""
    runs = overview.strip(stretches, from_wall_s, until_wall_s)
    cells = [Cell(run.quarters, run.line, f"{_span(run)} {said.line(run.line)}") for run in runs]
    return Strip(cells, sum(run.quarters for run in runs))


def _span(run: Run) -> str:
    return f"{_time(run.first)}\N{EN DASH}{_time(run.first + run.quarters)}"


def _time(quarter: int) -> str:
    """On the clock of a day without a jump."""
    return language().clock(min(quarter * 15, 1440))


def legend(seconds: Mapping[Line, float]) -> list[tuple[Line, Figure, str]]:
    """(state, figure, name), the states that occur."""
    return [(line, figure, said.name(figure)) for line, figure in LINES.items() if seconds.get(line, 0) > 0]
