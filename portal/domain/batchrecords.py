"""Makes the records that batches for the office hold from the log's figures. Pure: it must not know SQL or sealing.

What may leave, portal.domain.suppression decides; here is only how it is written. docs/export-format.md has each
record's meaning, docs/export-format.schema.json its form.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from portal.domain import suppression
from portal.domain.journal import Entry, Kind
from portal.domain.rollup import DayFigures, HourFigures, Line, Quality, SessionRecord, Stretch
from portal.domain.suppression import Hidden, ShownStep

Record = dict[str, Any]
WITHHELD: Final = "withheld"


def moment(wall_s: float) -> str:
    """RFC 3339, UTC, milliseconds."""
    whole_ms = round(wall_s * 1000)
    at = dt.datetime.fromtimestamp(whole_ms // 1000, dt.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{whole_ms % 1000:03}Z"


def rollups(day: DayFigures, hours: Sequence[HourFigures], hidden_days: Collection[dt.date]) -> list[Record]:
    """The day, then its hours. ``hidden_days``: of the same log (portal.domain.suppression.hidden_days)."""
    shown = suppression.day(day, hidden_days)
    families = {family: _step(step) for family, step in sorted(shown.funnel.items())}
    told: Record = {
        "kind": "day",
        "id": day.day.isoformat(),
        "devices": _value(shown.devices),
        "sessions": _value(shown.sessions),
        "median_session_s": _value(shown.median_session_s),
        "peak_online": _value(shown.peak_online),
        "p95_online": _value(shown.p95_online),
        "up_bytes": _value(shown.up_bytes),
        "down_bytes": _value(shown.down_bytes),
        "funnel": {"all": _step(shown.all_families), "os": families},
        "seconds": _seconds(day.seconds),
        "quality": _quality(day.quality),
        "certain": day.certain,
    }
    hidden = _hidden_hours(hours) if not shown.hidden else frozenset(range(len(hours)))
    uncounted = hidden | _uncounted_hours(hours)
    return [told, *(_hour(one, number in hidden, number in uncounted) for number, one in enumerate(hours))]


def _hidden_hours(hours: Sequence[HourFigures]) -> frozenset[int]:
    """Those whose devices are too few, and one more where these together might be: so the day's sums tell nothing."""
    return suppression.fold(range(len(hours)), lambda some: (max(hours[number].devices for number in some),))


def _uncounted_hours(hours: Sequence[HourFigures]) -> frozenset[int]:
    """The same where few sessions began in an hour: the day has the sum of all."""
    return suppression.fold(range(len(hours)), lambda some: (sum(hours[number].sessions for number in some),))


def _hour(one: HourFigures, hidden: bool, uncounted: bool) -> Record:
    """``uncounted``: the number of sessions begun is not told."""

    def figure(value: int | Hidden) -> float | str | None:
        return Hidden.WITHHELD.value if hidden else _value(value)

    return {
        "kind": "hour",
        "id": moment(one.began_wall_s),
        "hour": one.hour,
        "devices": figure(suppression.shown(one.devices)),
        "sessions": Hidden.WITHHELD.value if uncounted else one.sessions,
        "peak_online": figure(suppression.shown(one.peak_online)),
        "p95_online": figure(suppression.shown(one.p95_online)),
        "up_bytes": figure(one.up_bytes),
        "down_bytes": figure(one.down_bytes),
        "seconds": _seconds(one.seconds),
        "quality": _quality(one.quality),
        "provider": one.provider.name,
        "link": one.provider.link,
    }


def sessions(found: Sequence[SessionRecord], shown: Sequence[SessionRecord], day: dt.date) -> list[Record]:
    """All sessions begun on a day, ``shown`` of them, or that they are withheld. Bytes are told when one has ended."""
    if found and not shown:
        return [{"kind": WITHHELD, "id": day.isoformat()}]
    in_order = sorted(shown, key=lambda one: (one.began_wall_s, one.id))
    numbers = {one.id: str(number) for number, one in enumerate(in_order, 1)}
    return [_session(one, numbers) for one in in_order]


def _session(one: SessionRecord, numbers: Mapping[int, str]) -> Record:
    """``numbers`` within the day: those that count on over days would tell how many are hidden."""
    ended = one.ended_wall_s is not None
    return {
        "kind": "session",
        "id": numbers[one.id],
        "device": one.device,
        "plan": one.plan,
        "method": one.method,
        "began": moment(one.began_wall_s),
        "ended": moment(one.ended_wall_s) if one.ended_wall_s is not None else None,
        "reason": one.reason,
        "up_bytes": one.up_bytes if ended else None,
        "down_bytes": one.down_bytes if ended else None,
        "continues": None if one.continues is None else numbers.get(one.continues),
        "certain": one.certain,
    }


def stretches(found: Sequence[Stretch]) -> list[Record]:
    """How the line was, without a gap."""
    return [
        {
            "kind": "stretch",
            "id": moment(one.from_wall_s),
            "until": moment(one.until_wall_s),
            "line": one.line.value,
        }
        for one in found
    ]


def of_entries(found: Iterable[tuple[float, bool, Entry]], *, hidden: bool) -> list[Record]:
    """Samples, acts or notices of a day: moment, whether that is certain, entry.

    ``hidden``: so few devices were there that day that nothing of people is told.
    """
    return [
        {"kind": entry.kind.value, "id": str(number), "at": moment(wall_s), "certain": certain}
        | _of_entry(entry, hidden)
        for number, (wall_s, certain, entry) in enumerate(found, 1)
    ]


def _of_entry(entry: Entry, hidden: bool) -> Record:
    """Numbers of entries, and how many were erased or lost, would tell how many are of hidden days."""
    body = entry.body
    match entry.kind:
        case Kind.SAMPLE:
            online = Hidden.WITHHELD if hidden else suppression.shown(body["online"])
            return {"online": _value(online), "latency_ms": body["latency_ms"], "loss": body["loss"]}
        case Kind.ACT:  # who did it, and to whom, stays on the gateway
            return {"role": body["role"], "action": body["action"]}
        case Kind.ERASURE:
            return {name: body[name] for name in ("class", "before")}
        case Kind.DROPPED:
            return {name: body[name] for name in ("batches", "records")}
        case Kind.LOST:
            return {}
        case _:
            raise ValueError(f"Entries of kind {entry.kind} are no records.")


def missing_s(day: DayFigures) -> int:
    """Seconds of the day of which the log says nothing."""
    return round(day.seconds.get(Line.LOST, 0) + day.seconds.get(Line.BEFORE, 0))


def _value(value: float | Hidden | None) -> float | str | None:
    return value.value if isinstance(value, Hidden) else _rounded(value)


def _rounded(value: float | None) -> float | None:
    return round(value, 3) if isinstance(value, float) else value


def _step(step: ShownStep) -> Record:
    return {"joined": _value(step.joined), "saw": _value(step.saw), "online": _value(step.online)}


def _seconds(seconds: dict[Line, float]) -> Record:
    return {line.value: round(seconds[line]) for line in Line if round(seconds.get(line, 0))}


def _quality(quality: Quality) -> Record:
    return {
        "latency_p50_ms": _rounded(quality.latency_p50_ms),
        "latency_p95_ms": _rounded(quality.latency_p95_ms),
        "loss_p50": _rounded(quality.loss_p50),
        "loss_p95": _rounded(quality.loss_p95),
    }
