"""Says figures in the page's words: numbers with their units, what is not known, what changed. It must not know SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from portal.domain import overview
from portal.domain.rollup import Line, PeriodFigures, Provider
from portal.reports import words as reports
from portal.reports.definitions import LINES, Figure
from portal.reports.report import availability
from portal.staff.frame import language, word_or
from portal.staff.shared import shared

UNKNOWN: Final = "–"
"""Stands where nothing is known; the pages say so."""
_SAME: Final = 0.005
_PLAIN: Final = ("review.same", "review.grew", "review.fell")
_PER_DAY: Final = ("review.same-day", "review.grew-day", "review.fell-day")


def name(figure: Figure) -> str:
    return reports.like(language().code).text(f"figure.{figure.value}")


def line(state: Line) -> str:
    """Of a state of the line: Jalur putus."""
    return name(LINES[state])


def number(value: float | None) -> str:
    return UNKNOWN if value is None else language().number(value)


def size(n_bytes: float | None) -> str:
    return UNKNOWN if n_bytes is None else language().size(round(n_bytes))


def lasted(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else language().duration(seconds)


def lasted_or_zero(seconds: float | None) -> str:
    """Of a state of the line, which did not last at all where nothing is told of it."""
    return lasted(seconds) if seconds else language().number(0)


def milliseconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{language().number(round(value))}\N{NO-BREAK SPACE}ms"


def share(value: float | None) -> str:
    return UNKNOWN if value is None else language().percent(value)


def percent(value: Decimal | None) -> str:
    """Of something that is in percent already."""
    return UNKNOWN if value is None else language().percent(float(value) / 100)


def available(seconds: Mapping[Line, float]) -> str:
    return percent(availability(seconds))


def hour(begin: int) -> str:
    """19.00-20.00."""
    return f"{language().clock(begin * 60)}\N{EN DASH}{language().clock(begin * 60 + 60)}"


def plan(plan_id: str) -> str:
    """By its name, where the site still has it."""
    return next((one.name for one in shared().config.plan if one.id == plan_id), plan_id)


def method(code: str) -> str:
    return word_or(f"review.method.{code}", code)


def reason(code: str | None) -> str:
    return language().text("review.running") if code is None else word_or(f"review.reason.{code}", code)


def family(code: str) -> str:
    return word_or(f"review.os.{code}", code)


def provider(one: Provider) -> str:
    link = word_or(f"review.link.{one.link}", one.link)
    return f"{one.name}, {link}" if one.name else link


def states(seconds: Mapping[Line, float]) -> str:
    """How long what was, of what lasted at all: Jalur baik 22 jam; Gateway mati 2 jam."""
    return "; ".join(f"{line(one)} {lasted(seconds[one])}" for one in LINES if seconds.get(one, 0) >= 1)


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of two periods: ``change`` is how the first differs from the other, as text, or ""."""

    figure: Figure
    name: str
    value: str
    other: str
    change: str


# (figure, of a period, how it is said, whether it grows with the days of a period)
_KEY_FIGURES: Final[tuple[tuple[Figure, Callable[[PeriodFigures], float | None], Callable[..., str], bool], ...]] = (
    (Figure.DEVICES_MEAN, lambda period: period.devices_mean, number, False),
    (Figure.DEVICES_MOST, lambda period: period.devices_most, number, False),
    (Figure.SESSIONS, lambda period: period.sessions, number, True),
    (Figure.MEDIAN, lambda period: period.median_session_s, lasted, False),
    (Figure.PEAK, lambda period: period.peak_online, number, False),
    (Figure.P95, lambda period: period.p95_online, number, False),
    (Figure.DOWN, lambda period: period.down_bytes, size, True),
    (Figure.UP, lambda period: period.up_bytes, size, True),
    (Figure.LATENCY_P50, lambda period: period.quality.latency_p50_ms, milliseconds, False),
    (Figure.LATENCY_P95, lambda period: period.quality.latency_p95_ms, milliseconds, False),
)


def compared(this: PeriodFigures, other: PeriodFigures) -> list[Compared]:
    """The key figures of a period beside those of another one. A period without a log has none."""
    found = []
    for figure, value_of, say, grows in _KEY_FIGURES:
        values = [value_of(period) if period.days_with_log else None for period in (this, other)]
        compared = values
        if grows:
            compared = [
                value and overview.per_day(value, period.days_with_log)
                for value, period in zip(values, (this, other), strict=True)
            ]
        change = changed(overview.change(*compared), per_day=grows)
        found.append(Compared(figure, name(figure), say(values[0]), say(values[1]), change))
    shares = availability(this.seconds), availability(other.seconds)
    change = _points(*shares)
    figure = Figure.AVAILABILITY
    return [*found, Compared(figure, name(figure), percent(shares[0]), percent(shares[1]), change)]


def changed(ratio: float | None, *, per_day: bool = False) -> str:
    """naik 12%, turun 3% per hari; "" where it cannot be said."""
    if ratio is None:
        return ""
    same, grew, fell = _PER_DAY if per_day else _PLAIN
    if abs(ratio) < _SAME:
        return language().text(same)
    places = 2 if abs(ratio) >= 0.1 else 3
    return language().text(grew if ratio > 0 else fell, share=language().percent(round(abs(ratio), places)))


def _points(now: Decimal | None, then: Decimal | None) -> str:
    if now is None or then is None:
        return ""
    if now == then:
        return language().text("review.same")
    way = "review.grew-points" if now > then else "review.fell-points"
    return language().text(way, points=language().number(float(abs(now - then))))
