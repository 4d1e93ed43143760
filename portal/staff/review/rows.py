"""The rows behind the figures: sessions with filters and pages, and the hours of a month. It must not know SQL.

What somebody types into a filter is never an error page: what has no meaning is said, and left out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import flask

from portal.domain import overview
from portal.domain.model import EndReason
from portal.domain.rollup import REASON_LOST, SessionFilter, SessionRecord
from portal.staff.auth import roles
from portal.staff.frame import language, moment, now_wall_s
from portal.staff.review import said
from portal.staff.review.door import READERS, blueprint, catch_up, month_of, parse_day, show, today
from portal.staff.shared import shared
from portal.store import rollups

PER_PAGE: Final = 50
REASONS: Final = (*(one.value for one in EndReason), REASON_LOST)
METHODS: Final = ("terms", "voucher", "account")
LARGEST_ID: Final = 2**63 - 1
LONGEST: Final = 64
"""Of what is taken from an address; a pseudonym is shorter."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """``month``: first and last day of that in which the device has this name. ``remarks``: continued after a restart,
    time uncertain."""

    id: int
    device: str
    month: tuple[str, str]
    began: str
    lasted: str
    plan: str
    method: str
    down_bytes: int
    up_bytes: int
    reason: str
    remarks: list[str]


def session_rows(found: Sequence[SessionRecord]) -> list[SessionRow]:
    return [_row(one) for one in found]


def _row(one: SessionRecord) -> SessionRow:
    words = language()
    remarks = []
    if one.continues is not None:
        remarks.append(words.text("review.continues"))
    if not one.certain:
        remarks.append(words.text("review.day-uncertain"))
    until = now_wall_s() if one.ended_wall_s is None else one.ended_wall_s
    day = dt.datetime.fromtimestamp(one.began_wall_s, shared().zone).date()
    return SessionRow(
        id=one.id,
        device=one.device,
        month=(day.replace(day=1).isoformat(), overview.month_days(day.replace(day=1))[-1].isoformat()),
        began=moment(one.began_wall_s),
        lasted=words.duration(max(until - one.began_wall_s, 0)),
        plan=said.plan(one.plan),
        method=said.method(one.method),
        down_bytes=one.down_bytes,
        up_bytes=one.up_bytes,
        reason=said.reason(one.reason),
        remarks=remarks,
    )


@blueprint.get("/review/sessions")
@roles(*READERS)
def sessions() -> flask.Response:
    """The newest first; ``?before=`` a session's id for those before it."""
    late = catch_up()
    asked, wrong = _filter()
    before = flask.request.args.get("before", type=int)
    if before is not None and before > LARGEST_ID:
        before = None
    with shared().database.read() as db:
        found = rollups.sessions(db, shared().zone, asked, limit=PER_PAGE + 1, before=before)
        count = rollups.session_count(db, shared().zone, asked)
        first_day = rollups.first_day(db, shared().zone)
    older = found[PER_PAGE - 1].id if len(found) > PER_PAGE else None
    query = _query(asked)
    return show(
        "sessions",
        language().text("review.sessions-title"),
        late=late,
        asked=asked,
        wrong=wrong,
        plans=[(one.id, one.name) for one in shared().config.plan],
        methods=[(one, said.method(one)) for one in METHODS],
        reasons=[(one, said.reason(one)) for one in REASONS],
        sessions=session_rows(found[:PER_PAGE]),
        count=count,
        span=_span(asked),
        first_day=first_day,
        today=today(),
        older=flask.url_for(".sessions", **query, before=older) if older else None,
        newest=flask.url_for(".sessions", **query) if before is not None else None,
    )


def _filter() -> tuple[SessionFilter, list[str]]:
    """What is asked for, and sentences on what was not understood. Without days: the month so far."""
    words, args, wrong = language(), flask.request.args, []
    now = today()
    days: dict[str, dt.date] = {}
    for name, otherwise in (("first", now.replace(day=1)), ("last", now)):
        text = args.get(name, "").strip()[:LONGEST]
        day = parse_day(text) if text else None
        if text and day is None:
            wrong.append(words.text("review.not-a-day", text=text, day=words.day(otherwise)))
        days[name] = day or otherwise
    if days["last"] < days["first"]:
        if "last" in args and "first" in args:
            wrong.append(words.text("review.days-turned"))
            days["first"], days["last"] = days["last"], days["first"]
        else:
            days["last"] = days["first"] if "first" in args else days["last"]
            days["first"] = min(days["first"], days["last"])
    chosen = {name: args.get(name, "").strip()[:LONGEST] or None for name in ("plan", "method", "reason", "device")}
    known = {"method": METHODS, "reason": REASONS}
    for name, choices in known.items():
        if chosen[name] is not None and chosen[name] not in choices:
            wrong.append(words.text("review.not-a-choice", text=chosen[name] or ""))
            chosen[name] = None
    return SessionFilter(first=days["first"], last=days["last"], **chosen), wrong


def _query(asked: SessionFilter) -> dict[str, Any]:
    days = {"first": asked.first.isoformat(), "last": asked.last.isoformat()}
    return {**days, "plan": asked.plan, "method": asked.method, "reason": asked.reason, "device": asked.device}


def _span(asked: SessionFilter) -> str:
    words = language()
    if asked.first == asked.last:
        return words.day(asked.first)
    return words.text("review.span", first=words.day(asked.first), last=words.day(asked.last))


@blueprint.get("/review/hours/<month>")
@roles(*READERS)
def hours(month: str) -> flask.Response:
    """All hours of a month, or those of one weekday (0: Monday): the rows behind the table of busy hours."""
    first = month_of(month)
    late = catch_up()
    asked = flask.request.args.get("weekday", 0, type=int)
    weekday = asked if asked in range(7) else 0
    last = overview.month_days(first)[-1]
    with shared().database.read() as db:
        found = rollups.hours(db, shared().zone, first, last)
    names = language().weekdays()
    return show(
        "hours",
        language().text("review.hours-title", day=names[weekday], month=language().month(first)),
        late=late,
        month=month,
        month_name=language().month(first),
        weekday=weekday,
        weekdays=list(enumerate(names)),
        hours=[
            (f"{language().weekday(one.day)}, {said.hour(one.hour)}", one, said.available(one.seconds))
            for one in found
            if one.day.weekday() == weekday
        ],
    )
