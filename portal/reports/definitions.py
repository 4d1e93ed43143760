"""What each figure means: the one catalogue that pages and exports refer to. It must not know any figure's value.

The form is that of Satu Data Indonesia (Perpres 39/2019, pasal 4 and 5): concept, definition, classification, measure,
unit. The words stand in the catalogues beside this file: ``figure.<id>`` and ``figure.<id>.definition``,
``measure.<...>``, ``unit.<...>``, ``class.<...>``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from portal.domain.rollup import Line
from portal.language import Language


class Figure(enum.StrEnum):
    """Ids of figures; they stand in links (``#figure-devices``) and never change."""

    DEVICES = "devices"
    DEVICES_MOST = "devices-most"
    DEVICES_MEAN = "devices-mean"
    SESSIONS = "sessions"
    MEDIAN = "median"
    PEAK = "peak"
    P95 = "p95"
    UP = "up"
    DOWN = "down"
    JOINED = "joined"
    SAW = "saw"
    ONLINE = "online"
    LINE_UP = "line-up"
    LINE_DEGRADED = "line-degraded"
    LINE_DOWN = "line-down"
    LINE_OFF = "line-off"
    LINE_UNKNOWN = "line-unknown"
    LINE_LOST = "line-lost"
    LINE_BEFORE = "line-before"
    AVAILABILITY = "availability"
    LATENCY_P50 = "latency-p50"
    LATENCY_P95 = "latency-p95"
    LOSS_P50 = "loss-p50"
    LOSS_P95 = "loss-p95"
    CERTAIN = "certain"


LINES: Final = {
    Line.UP: Figure.LINE_UP,
    Line.DEGRADED: Figure.LINE_DEGRADED,
    Line.DOWN: Figure.LINE_DOWN,
    Line.OFF: Figure.LINE_OFF,
    Line.UNKNOWN: Figure.LINE_UNKNOWN,
    Line.LOST: Figure.LINE_LOST,
    Line.BEFORE: Figure.LINE_BEFORE,
}
"""The figure of each state's time, in the order in which they are shown."""

# (measure, unit, classification)
_FORM: Final = {
    Figure.DEVICES: ("count", "device", "none"),
    Figure.DEVICES_MOST: ("most", "device", "none"),
    Figure.DEVICES_MEAN: ("mean", "device", "none"),
    Figure.SESSIONS: ("count", "session", "none"),
    Figure.MEDIAN: ("median", "second", "none"),
    Figure.PEAK: ("most", "device", "none"),
    Figure.P95: ("p95", "device", "none"),
    Figure.UP: ("sum", "byte", "none"),
    Figure.DOWN: ("sum", "byte", "none"),
    Figure.JOINED: ("count", "device", "os"),
    Figure.SAW: ("count", "device", "os"),
    Figure.ONLINE: ("count", "device", "os"),
    **dict.fromkeys(LINES.values(), ("sum", "second", "line")),
    Figure.AVAILABILITY: ("share", "percent", "provider"),
    Figure.LATENCY_P50: ("median", "millisecond", "provider"),
    Figure.LATENCY_P95: ("p95", "millisecond", "provider"),
    Figure.LOSS_P50: ("median", "percent", "provider"),
    Figure.LOSS_P95: ("p95", "percent", "provider"),
    Figure.CERTAIN: ("mark", "none", "none"),
}


@dataclass(frozen=True, slots=True)
class Definition:
    """In words of one language. ``concept`` is also the figure's name in tables."""

    figure: Figure
    concept: str
    definition: str
    classification: str
    measure: str
    unit: str


def definition(figure: Figure, words: Language) -> Definition:
    measure, unit, classification = _FORM[figure]
    return Definition(
        figure,
        concept=words.text(f"figure.{figure.value}"),
        definition=words.text(f"figure.{figure.value}.definition"),
        classification=words.text(f"class.{classification}"),
        measure=words.text(f"measure.{measure}"),
        unit=words.text(f"unit.{unit}"),
    )


def definitions(words: Language) -> list[Definition]:
    """All of them, in the order in which they are shown."""
    return [definition(figure, words) for figure in Figure]
