"""The figures that reports are made of: of an hour, of a local day, of a period. Values only; it must not know SQL.

A day or hour belongs to the site's local time. Bytes are seen from the users. ``None`` means not known: it is never the
same as 0. None of these holds anything of a person; a session's record (`SessionRecord`) has a pseudonym.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Final

OS_FAMILIES: Final = ("android", "apple", "windows", "linux", "other", "unknown")


class Line(enum.StrEnum):
    """What of the line to the Internet a moment was."""

    OFF = "off"  # the gateway had no power, or did not run: no heartbeat
    DOWN = "down"  # the gateway ran, the Internet was not reached
    DEGRADED = "degraded"
    UP = "up"
    UNKNOWN = "unknown"  # the gateway ran, and had not found out yet
    LOST = "lost"  # the log of this time is lost
    BEFORE = "before"  # before the first entry, or still to come


@dataclass(frozen=True, slots=True)
class Stretch:
    """The line was ``line`` from one moment (Unix seconds, corrected where known) until another."""

    from_wall_s: float
    until_wall_s: float
    line: Line


@dataclass(frozen=True, slots=True)
class Step:
    """How far the devices of a day came: had an address, got the page (or a session), got a session."""

    joined: int
    saw: int
    online: int


@dataclass(frozen=True, slots=True)
class Quality:
    """Of the 5-minute samples of the line; None where there was none."""

    latency_p50_ms: float | None
    latency_p95_ms: float | None
    loss_p50: float | None
    loss_p95: float | None


@dataclass(frozen=True, slots=True)
class Provider:
    """Whose line it was, and of what sort (uplink.provider, uplink.link of site.toml)."""

    name: str
    link: str


@dataclass(frozen=True, slots=True)
class HourFigures:
    """One hour, ``began_wall_s`` its first moment. ``devices`` are different ones with a session running in it."""

    began_wall_s: float
    day: dt.date
    hour: int  # on the local clock
    devices: int
    sessions: int  # begun in it
    peak_online: int
    p95_online: int  # 95 % of the time (of the hour's seconds) at most so many were online
    up_bytes: int
    down_bytes: int
    seconds: dict[Line, float]
    quality: Quality
    provider: Provider


@dataclass(frozen=True, slots=True)
class DayFigures:
    """One local day. ``devices`` are different ones with a session running in it, and never summed over days.

    ``median_session_s`` is of the sessions that ended in it: ``ended`` of them, none of which began before the local
    day ``ended_since`` (None: there are none). ``certain``: every moment in it is known from a clock that
    NTP had set. ``funnel`` is by OS family, of OS_FAMILIES those that were there.
    """

    day: dt.date
    devices: int
    sessions: int
    median_session_s: float | None
    ended: int
    ended_since: dt.date | None
    peak_online: int
    p95_online: int
    up_bytes: int
    down_bytes: int
    funnel: dict[str, Step]
    seconds: dict[Line, float]
    quality: Quality
    certain: bool


@dataclass(frozen=True, slots=True)
class PeriodFigures:
    """Days ``first`` to ``last``, both included. Devices are given per day only: most, and the mean of days with any.

    ``lines``: availability and quality for each provider and sort of link that was in use.
    """

    first: dt.date
    last: dt.date
    days_with_log: int
    devices_most: int
    devices_mean: float | None
    sessions: int
    median_session_s: float | None
    peak_online: int
    p95_online: int
    up_bytes: int
    down_bytes: int
    funnel: dict[str, Step]  # sums of the days': a device counts once for each day
    seconds: dict[Line, float]
    quality: Quality
    lines: dict[Provider, tuple[dict[Line, float], Quality]]


REASON_LOST: Final = "lost"
"""Why a session ended of which the log has lost the end: it lasted at least until then."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session, as the journal tells it. Moments are Unix seconds, corrected where known; ``certain``: from a clock
    that NTP had set in that boot. ``ended_wall_s`` and ``reason`` None: it runs. Bytes are those of its last entry.
    ``continues``: the session before a reboot that it goes on after.
    """

    id: int
    device: str
    plan: str
    method: str
    began_wall_s: float
    ended_wall_s: float | None
    up_bytes: int
    down_bytes: int
    reason: str | None
    continues: int | None
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """Which sessions: begun on these local days (both included), and of these, where given."""

    first: dt.date
    last: dt.date
    plan: str | None = None
    method: str | None = None
    reason: str | None = None
    device: str | None = None
