"""Reads opening hours and decides whether a plan is open, and until when. Pure: no SQL, no clock, no language.

Hours are local wall-clock times of a week. A time that a day lacks (clocks go forward) is the moment of the jump; one
that comes twice begins with the first and ends with the second, so that nothing closes in between.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from portal.config import Closed
from portal.domain import localtime
from portal.domain.model import CLOCK_NOT_SET, Opening

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAY_S = 86_400.0
_DAY_MINUTES = 1440
_WEEK_MINUTES = 7 * _DAY_MINUTES
_HORIZON_DAYS = 14
_DASH = re.compile(r"\s*[-\u2010-\u2015]\s*")
_TIMES = re.compile(r"([0-9]{1,2})[:.]([0-9]{2})-([0-9]{1,2})[:.]([0-9]{2})")
# How days begin that people write out, in English and in Indonesian, in order of DAYS.
_DAY_NAMES = (
    ("mon", "sen"),
    ("tue", "sel"),
    ("wed", "rab"),
    ("thu", "kam"),
    ("fri", "jum"),
    ("sat", "sab"),
    ("sun", "min"),
)
_NO_DAYS = dict.fromkeys(
    ("closed", "off", "tutup", "libur"), "is not needed; leave days out on which it is closed."
) | {"always": 'stands alone; write only ["always"], or only days and times.'}


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
    """``open`` of [hours], or ``hours`` of a plan. Raises HoursError with all mistakes.

    ``["always"]``, or lines of days (``mon``, ``fri-mon``) each followed by times (``16:00-22:00``, ``20.00-02.00``).
    """
    week, wrong = _read(lines)
    if wrong:
        raise HoursError(wrong)
    return week


def mistakes(lines: Sequence[str]) -> list[str]:
    """All that is wrong with the lines, a sentence each; empty: parse takes them."""
    return _read(lines)[1]


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
    model.CLOCK_NOT_SET; an act until cancelled holds all the same.
    """
    if plan_hours is not None and plan_hours.always:
        return Opening(True, None)
    today = localtime.local_date(wall_s, zone)
    rules = _Rules(
        site_hours if plan_hours is None else plan_hours,
        [holiday for holiday in holidays if _last_day(holiday) >= today],
        [act for act in acts if act.until_wall_s is None or act.until_wall_s > wall_s],
        zone,
    )
    if not rules.may_close():
        return Opening(True, None)
    if not clock_ok:
        return rules.without_clock(wall_s)
    is_open, reason = rules.at(wall_s)
    for days in range(_HORIZON_DAYS + 1):
        for edge in rules.edges(today + dt.timedelta(days)):
            if wall_s < edge <= wall_s + _HORIZON_DAYS * _DAY_S and rules.at(edge)[0] != is_open:
                return Opening(is_open, edge, reason)
    return Opening(is_open, None, reason)


def describe(week: Week) -> list[DayTimes]:
    """The week for people, days with equal times together, in order of the first day; closed days are left out."""
    alike: dict[tuple[Span, ...], list[tuple[int, int]]] = {}
    for day, spans in enumerate(week.days):
        runs = alike.setdefault(spans, [])
        if runs and runs[-1][1] == day - 1:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return [
        DayTimes(
            tuple(runs), tuple((span.first, span.last - _DAY_MINUTES * (span.last > _DAY_MINUTES)) for span in spans)
        )
        for spans, runs in alike.items()
        if spans
    ]


class _Rules(NamedTuple):
    """What decides whether a plan is open, without the holidays and acts that are over."""

    week: Week
    holidays: Sequence[Closed]
    acts: Sequence[Act]
    zone: dt.tzinfo

    def at(self, wall_s: float) -> tuple[bool, str | None]:
        """(is it open, in whose words why not)"""
        act = max((act for act in self.acts if _holds(act, wall_s)), default=None)
        if act is not None:
            return (True, None) if act.kind == "open" else (False, act.reason)
        day = localtime.local_date(wall_s, self.zone)
        for holiday in self.holidays:
            if holiday.first <= day <= _last_day(holiday):
                return False, holiday.reason
        return any(first <= wall_s < last for first, last in self._spans_around(day)), None

    def edges(self, day: dt.date) -> list[float]:
        """The moments of a local day at which something may change, in order."""
        begin, end = (localtime.day_start(day + dt.timedelta(days), self.zone) for days in (0, 1))
        found = {begin}
        found.update(edge for span in self._spans_around(day) for edge in span)
        found.update(edge for act in self.acts for edge in (act.from_wall_s, act.until_wall_s) if edge is not None)
        return sorted(edge for edge in found if begin <= edge < end)

    def may_close(self) -> bool:
        """Is there anything that will ever close it?"""
        return (
            bool(self.holidays)
            or any(act.kind == "close" for act in self.acts)
            or any(sum(span.last - span.first for span in spans) < _DAY_MINUTES for spans in self.week.days)
        )

    def without_clock(self, passed_wall_s: float) -> Opening:
        """What is sure although only a moment that has passed is known."""
        lasting = [act for act in self.acts if act.until_wall_s is None and _holds(act, passed_wall_s)]
        if lasting:
            latest = max(lasting)
            if all(act.kind == latest.kind for act in self.acts if act.id > latest.id):
                return Opening(True, None) if latest.kind == "open" else Opening(False, None, latest.reason)
        return Opening(False, None, CLOCK_NOT_SET)

    def _spans_around(self, day: dt.date) -> Iterator[tuple[float, float]]:
        """The spans that begin on this day or the day before, as moments."""
        for begun in (day - dt.timedelta(1), day):
            for span in self.week.days[begun.weekday()]:
                yield self._moment(begun, span.first), self._moment(begun, span.last, last=True)

    def _moment(self, day: dt.date, minute: int, *, last: bool = False) -> float:
        midnight = minute % _DAY_MINUTES == 0  # even where it comes twice, a day ends with the first
        local = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=minute)
        return localtime.moment(local, self.zone, last=last and not midnight)


def _last_day(holiday: Closed) -> dt.date:
    return holiday.last or holiday.first


def _holds(act: Act, wall_s: float) -> bool:
    return act.from_wall_s <= wall_s and (act.until_wall_s is None or wall_s < act.until_wall_s)


# --- reading --------------------------------------------------------------------------------------------------------


class _Written(NamedTuple):
    """A span in minutes of the week, and where it was written."""

    first: int
    last: int
    line: int
    word: str


def _read(lines: Sequence[str]) -> tuple[Week, list[str]]:
    """The week, as far as it can be read, and all mistakes."""
    if [line.strip().casefold() for line in lines] == ["always"]:
        return Week(((Span(0, _DAY_MINUTES),),) * 7, always=True), []
    written: list[_Written] = []
    wrong: list[str] = []
    for number, line in enumerate(lines, start=1):
        _read_line(number, line, written, wrong)
    written.sort()
    wrong += _overlaps(written)
    days: list[list[Span]] = [[] for _ in DAYS]
    for entry in written:
        day, first = divmod(entry.first, _DAY_MINUTES)
        days[day].append(Span(first, first + entry.last - entry.first))
    return Week(tuple(tuple(spans) for spans in days)), wrong


def _read_line(number: int, line: str, written: list[_Written], wrong: list[str]) -> None:
    def mistake(sentence: str) -> None:
        wrong.append(f"Line {number}: {sentence}")

    days: list[int] | None = None  # what the next time is for; None: no day has been named
    times_follow = False
    for word in _DASH.sub("-", line.casefold().replace(",", " ")).split():
        if word[0].isdigit():
            if days is None:
                mistake(f'"{word}" has no day before it; write mon-sun {word}, or the days that it is for.')
                return
            times_follow = False
            if (span := _span(word, mistake)) is not None:
                for day in days:
                    begin = day * _DAY_MINUTES
                    written.append(_Written(begin + span.first, begin + span.last, number, word))
        elif word in _NO_DAYS:
            mistake(f'"{word}" {_NO_DAYS[word]}')
            days, times_follow = days or [], False
        else:
            days = [*(days if days and times_follow else []), *_days(word, mistake)]
            times_follow = True
    if times_follow:
        mistake("times are missing after the last day; write them like mon-fri 16:00-22:00, and leave closed days out.")
    elif days is None:
        mistake("it is empty; write days and times like mon-fri 16:00-22:00, or leave the line out.")


def _days(word: str, mistake: Callable[[str], None]) -> list[int]:
    """The weekdays of ``mon`` or ``fri-mon``; none where it is neither."""
    ends = word.split("-")
    if len(ends) > 2 or any(end not in DAYS for end in ends):
        mistake(_no_day(word, ends))
        return []
    first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
    return [(first + step) % 7 for step in range((last - first) % 7 + 1)]


def _no_day(word: str, ends: Sequence[str]) -> str:
    meant = [
        next((day for day, names in zip(DAYS, _DAY_NAMES, strict=True) if end.startswith(names)), "") for end in ends
    ]
    if len(ends) <= 2 and all(meant):
        return f'"{word}" is no day; write {"-".join(meant)}.'
    return f'"{word}" is no day; write mon, tue, wed, thu, fri, sat or sun, or from one to another like mon-fri.'


def _span(word: str, mistake: Callable[[str], None]) -> Span | None:
    """The minutes of ``16:00-22:00``; None where it is no such time."""
    found = _TIMES.fullmatch(word)
    if found is None:
        mistake(f'"{word}" is no time from one hour to another; write it like 16:00-22:00.')
        return None
    numbers = [int(number) for number in found.groups()]
    first, last = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
    if max(numbers[1], numbers[3]) > 59 or first >= _DAY_MINUTES or last > _DAY_MINUTES:
        mistake(f'"{word}" is no time of day; hours go from 00:00 to 23:59, and a day ends at 24:00.')
        return None
    if first == last:
        mistake(f'"{word}" begins when it ends; write 00:00-24:00 for a whole day.')
        return None
    return Span(first, last if last > first else last + _DAY_MINUTES)


def _overlaps(written: Sequence[_Written]) -> list[str]:
    """Times that are written twice: whoever did so may have meant the one or the other. ``written`` is in order."""
    found: dict[tuple[int, str, int, str], str] = {}  # the first of several days
    next_monday = [
        entry._replace(first=entry.first + _WEEK_MINUTES, last=entry.last + _WEEK_MINUTES)
        for entry in written
        if entry.first < _DAY_MINUTES
    ]
    longest: _Written | None = None
    for entry in (*written, *next_monday):
        if longest is not None and entry.first < longest.last:
            text = f"{_shown(entry)} overlaps {_shown(longest)} of line {longest.line}; write each time once."
            found.setdefault((entry.line, entry.word, longest.line, longest.word), f"Line {entry.line}: {text}")
        if longest is None or entry.last > longest.last:
            longest = entry
    return list(found.values())


def _shown(entry: _Written) -> str:
    return f"{DAYS[entry.first // _DAY_MINUTES % 7]} {entry.word}"
