"""What a measure found, beside what it must reach, as JSON, table and Markdown. It must not know how to measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reach:
    """The closed interval that a value must lie in; None: open on that side. Without either it is only told."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g} to {self.at_most:g}" if self.at_least != self.at_most else f"{self.at_least:g}"
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else ""


@dataclass(frozen=True, slots=True)
class Result:
    """One measure. ``value`` is what ``reach`` judges; ``baseline`` the same figure of plain NAT in the same run."""

    name: str
    value: float
    unit: str
    reach: Reach = Reach()
    baseline: float | None = None
    samples: Sequence[float] = field(default_factory=tuple)
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.reach.holds(self.value)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": _short(self.value),
            "unit": self.unit,
            "reach": str(self.reach) or None,
            "ok": self.ok,
            "baseline": None if self.baseline is None else _short(self.baseline),
            "samples": [_short(sample) for sample in self.samples],
            "note": self.note,
        }


def _short(value: float) -> float:
    return float(f"{value:.5g}")


HEADINGS = ("measure", "value", "unit", "reach", "ok", "plain NAT", "n", "note")


def _rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    return [
        (
            result.name,
            f"{_short(result.value):g}",
            result.unit,
            str(result.reach),
            "yes" if result.ok and str(result.reach) else "NO" if not result.ok else "",
            "" if result.baseline is None else f"{_short(result.baseline):g}",
            str(len(result.samples) or ""),
            result.note,
        )
        for result in results
    ]


def table(results: Sequence[Result]) -> str:
    rows = [HEADINGS, *_rows(results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def markdown(results: Sequence[Result]) -> str:
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join((f"`{row[0]}`", *row[1:])) + " |" for row in _rows(results)]
    return "\n".join(lines)
