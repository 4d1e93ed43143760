"""Says what each chart shows, and draws nothing: labels, series, and one sentence with figures. It must not know SQL.

A page takes the sentence from here, and the chart's own address the rest, so that both tell the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence

from portal.domain import localtime, overview
from portal.domain.rollup import OS_FAMILIES, DayFigures, HourFigures, Step
from portal.reports.definitions import Figure
from portal.staff.frame import language, now_wall_s
from portal.staff.review import said
from portal.staff.review.charts import Drawing, Kind, Series
from portal.staff.review.door import today
from portal.staff.shared import shared

Days = Mapping[dt.date, DayFigures]
_NOBODY = Step(0, 0, 0)


def bytes_of_days(first: dt.date, days: Days) -> Drawing:
    found = list(days.values())
    totals = {one.day: one.up_bytes + one.down_bytes for one in found}
    alt = _nothing()
    if totals:
        most, least = max(totals, key=lambda day: totals[day]), min(totals, key=lambda day: totals[day])
        alt = language().text(
            "review.alt.bytes",
            down=said.size(sum(one.down_bytes for one in found)),
            up=said.size(sum(one.up_bytes for one in found)),
            most=said.size(totals[most]),
            most_day=language().day(most),
            least=said.size(totals[least]),
            least_day=language().day(least),
        )
    series = [
        _of_days(first, days, said.name(Figure.DOWN), lambda one: one.down_bytes),
        _of_days(first, days, said.name(Figure.UP), lambda one: one.up_bytes),
    ]
    return Drawing(Kind.STACKED, _day_labels(first), series, said.size, alt, _missing_days(first, days))


def devices_of_days(first: dt.date, days: Days) -> Drawing:
    counts = {one.day: one.devices for one in days.values()}
    alt = _nothing()
    if counts:
        most = max(counts, key=lambda day: counts[day])
        some = [count for count in counts.values() if count]
        alt = language().text(
            "review.alt.devices",
            mean=said.number(sum(some) / len(some) if some else 0),
            most=said.number(counts[most]),
            day=language().day(most),
        )
    series = [_of_days(first, days, said.name(Figure.DEVICES), lambda one: one.devices)]
    return Drawing(Kind.STACKED, _day_labels(first), series, said.number, alt, _missing_days(first, days))


def latency_of_days(first: dt.date, days: Days) -> Drawing:
    medians = [one.quality.latency_p50_ms for one in days.values() if one.quality.latency_p50_ms is not None]
    slowest = {day: one.quality.latency_p95_ms for day, one in days.items() if one.quality.latency_p95_ms is not None}
    alt = _nothing()
    if medians and slowest:
        day = max(slowest, key=lambda day: slowest[day])
        alt = language().text(
            "review.alt.latency",
            low=said.milliseconds(min(medians)),
            high=said.milliseconds(max(medians)),
            most=said.milliseconds(slowest[day]),
            day=language().day(day),
        )
    series = [
        _of_days(first, days, said.name(Figure.LATENCY_P50), lambda one: one.quality.latency_p50_ms),
        _of_days(first, days, said.name(Figure.LATENCY_P95), lambda one: one.quality.latency_p95_ms),
    ]
    return Drawing(Kind.LINES, _day_labels(first), series, said.milliseconds, alt)


def funnel(first: dt.date, days: Days) -> Drawing:  # noqa: ARG001 - as the others
    rows = funnel_rows(days.values())
    series = [
        Series(said.name(Figure.JOINED), [step.joined for _, step in rows]),
        Series(said.name(Figure.SAW), [step.saw for _, step in rows]),
        Series(said.name(Figure.ONLINE), [step.online for _, step in rows]),
    ]
    everybody = rows[0][1] if rows else _NOBODY
    alt = language().text(
        "review.alt.funnel",
        joined=said.number(everybody.joined),
        saw=said.number(everybody.saw),
        online=said.number(everybody.online),
    )
    return Drawing(Kind.SIDEWAYS, [name for name, _ in rows], series, said.number, alt)


def funnel_rows(days: Iterable[DayFigures]) -> list[tuple[str, Step]]:
    """Everybody first, then each family of systems; empty where nothing is known."""
    sums: dict[str, Step] = {}
    for one in days:
        for family, step in one.funnel.items():
            sums[family] = _added((sums.get(family, _NOBODY), step))
    if not sums:
        return []
    everybody = (language().text("review.all"), _added(sums.values()))
    return [everybody, *((said.family(family), sums[family]) for family in OS_FAMILIES if family in sums)]


def _added(steps: Iterable[Step]) -> Step:
    joined, saw, online = (sum(column) for column in zip(*((s.joined, s.saw, s.online) for s in steps), strict=True))
    return Step(joined, saw, online)


def online_of_hours(day: dt.date, hours: Sequence[HourFigures]) -> Drawing:
    alt = _nothing()
    if hours:
        most = max(hours, key=lambda one: one.peak_online)
        alt = language().text("review.alt.hours", most=said.number(most.peak_online), hour=said.hour(most.hour))
    series = [_of_hours(hours, said.name(Figure.PEAK), lambda one: one.peak_online)]
    return Drawing(Kind.STACKED, _hour_labels(), series, said.number, alt, _missing_hours(day, hours))


def bytes_of_hours(day: dt.date, hours: Sequence[HourFigures]) -> Drawing:
    alt = _nothing()
    if hours:
        most = max(hours, key=lambda one: one.up_bytes + one.down_bytes)
        alt = language().text(
            "review.alt.hour-bytes",
            down=said.size(sum(one.down_bytes for one in hours)),
            up=said.size(sum(one.up_bytes for one in hours)),
            most=said.size(most.up_bytes + most.down_bytes),
            hour=said.hour(most.hour),
        )
    series = [
        _of_hours(hours, said.name(Figure.DOWN), lambda one: one.down_bytes),
        _of_hours(hours, said.name(Figure.UP), lambda one: one.up_bytes),
    ]
    return Drawing(Kind.STACKED, _hour_labels(), series, said.size, alt, _missing_hours(day, hours))


def two_of_bytes(a: tuple[dt.date, Days], b: tuple[dt.date, Days]) -> Drawing:
    return _two(a, b, lambda one: one.up_bytes + one.down_bytes, said.size, "review.alt.two-bytes")


def two_of_devices(a: tuple[dt.date, Days], b: tuple[dt.date, Days]) -> Drawing:
    return _two(a, b, lambda one: one.devices, said.number, "review.alt.two-devices")


def _two(
    a: tuple[dt.date, Days],
    b: tuple[dt.date, Days],
    value: Callable[[DayFigures], float],
    say: Callable[[float | None], str],
    message: str,
) -> Drawing:
    """One line for each month, over the days of a month."""
    labels = [str(number) for number in range(1, 32)]
    series, means = [], []
    for first, days in (a, b):
        by_number: dict[int, float] = {day.day: value(one) for day, one in days.items()}
        series.append(Series(language().month(first), [by_number.get(number) for number in range(1, 32)]))
        means.append(overview.per_day(sum(by_number.values()), len(by_number)))
    alt = language().text(message, a=series[0].name, b=series[1].name, mean_a=say(means[0]), mean_b=say(means[1]))
    return Drawing(Kind.LINES, labels, series, say, alt)


def _of_days(first: dt.date, days: Days, name: str, value: Callable[[DayFigures], float | None]) -> Series:
    found = [days.get(day) for day in overview.month_days(first)]
    return Series(name, [None if one is None else value(one) for one in found])


def _of_hours(hours: Sequence[HourFigures], name: str, value: Callable[[HourFigures], float]) -> Series:
    """Of an hour that the clock shows twice, the larger."""
    values: list[float | None] = [None] * 24
    for one in hours:
        values[one.hour] = max(value(one), values[one.hour] or 0)
    return Series(name, values)


def _day_labels(first: dt.date) -> list[str]:
    return [str(day.day) for day in overview.month_days(first)]


def _hour_labels() -> list[str]:
    return [f"{hour:02}" for hour in range(24)]


def _missing_days(first: dt.date, days: Days) -> tuple[str, list[bool]]:
    """Days to come are not missing."""
    now = today()
    return language().text("review.no-log"), [day not in days and day <= now for day in overview.month_days(first)]


def _missing_hours(day: dt.date, hours: Sequence[HourFigures]) -> tuple[str, list[bool]]:
    known, zone = {one.hour for one in hours}, shared().zone
    begun = [localtime.moment(dt.datetime.combine(day, dt.time(hour)), zone) <= now_wall_s() for hour in range(24)]
    return language().text("review.no-log"), [hour not in known and begun[hour] for hour in range(24)]


def _nothing() -> str:
    return language().text("review.alt.none")
