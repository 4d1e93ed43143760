"""The operator's first page: who is online, how much, when, the way to the Internet; open, close, disconnect, block.

It must not know MACs on its pages: devices go by names that change each month.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import flask

from netctl.api.errors import NetctlError
from portal.domain import localtime
from portal.domain.asking import AdministrationError
from portal.domain.figures import busiest_hour
from portal.domain.model import CLOCK_NOT_SET, Opening, UplinkState
from portal.domain.siterules import Moment
from portal.domain.staff import Role
from portal.rates import Rate
from portal.staff import forms
from portal.staff.auth import me, roles
from portal.staff.frame import done, language, moment, render
from portal.staff.shared import shared
from portal.store import closures, figures, people, sessions
from portal.store.figures import Online

blueprint = flask.Blueprint("today", __name__)

STAFF = (Role.OPERATOR, Role.TECHNICIAN)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its small print, as text."""

    id: str
    value: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A device that is online."""

    session_id: int
    name: str
    plan: str
    since: str
    used: str
    rate: str


@blueprint.get("/today")
@roles(*STAFF)
def today() -> flask.Response:
    with shared().database.read() as db:
        at = people.moment(db, shared().read_clock(), shared().zone)
        opening = shared().rules.opening(shared().rules.access_plan, closures.acts(db, at.wall_s), at)
        found = figures.online(db)
        numbers = _figures(db, at, len(found))
    rates = _rates()
    return render(
        "today.html", figures=numbers, opening=_opening_words(opening), rows=[_row(one, rates) for one in found]
    )


@blueprint.get("/today/live")
@roles(*STAFF, quiet=True)
def live() -> flask.Response:
    """The same figures for the script of an open page; ``devices`` tells whether somebody came or went."""
    with shared().database.read() as db:
        at = people.moment(db, shared().read_clock(), shared().zone)
        found = figures.online(db)
        numbers = _figures(db, at, len(found))
    rates = _rates()
    texts = {f"figure-{number.id}": number.value for number in numbers}
    texts |= {f"remark-{number.id}": number.remark for number in numbers}
    for row in (_row(one, rates) for one in found):
        texts |= {f"used-{row.session_id}": row.used, f"rate-{row.session_id}": row.rate}
    response = flask.jsonify(texts=texts, devices=[one.session_id for one in found])
    assert isinstance(response, flask.Response)  # noqa: S101 - werkzeug's type is wider
    return response


def _figures(db: sqlite3.Connection, at: Moment, online: int) -> list[Figure]:
    words = language()
    up_bytes, down_bytes = figures.bytes_of_day(db, at.day)
    return [
        Figure("online", words.number(online)),
        Figure("used", words.size(up_bytes + down_bytes), _covered(db, at)),
        _busiest(db, at),
        _uplink(db, at),
    ]


def _covered(db: sqlite3.Connection, at: Moment) -> str:
    """From when on the day's figures are known."""
    if not at.calendar.clock_ok:
        return language().text("today.no-clock")
    midnight = localtime.day_start(dt.date.fromisoformat(at.day), shared().zone)
    known = figures.known_since(db)
    return language().text("today.covered", time=moment(max(midnight, known or at.wall_s)))


def _busiest(db: sqlite3.Connection, at: Moment) -> Figure:
    words = language()
    if not at.calendar.clock_ok:
        return Figure("busiest", words.text("word.unknown"), words.text("today.no-clock"))
    midnight = localtime.day_start(dt.date.fromisoformat(at.day), shared().zone)
    found = busiest_hour(figures.stays(db, midnight), midnight, at.wall_s)
    if found is None:
        return Figure("busiest", words.text("today.nobody"))
    hours = words.text("today.from-to", begin=moment(found.from_wall_s), end=moment(found.from_wall_s + 3600))
    return Figure("busiest", hours, words.counted("today.devices", found.devices))


def _uplink(db: sqlite3.Connection, at: Moment) -> Figure:
    words, found = language(), sessions.uplink(db, at.now)
    since = "" if found.since_wall_s is None else words.text("today.since", time=moment(found.since_wall_s))
    return Figure("uplink", words.text(f"uplink.{found.state.value}"), since if found.state in _SINCE else "")


_SINCE = {UplinkState.DOWN, UplinkState.UP}


def _opening_words(opening: Opening) -> dict[str, str | bool]:
    words = language()
    kind = "open" if opening.is_open else "closed"
    if opening.until_wall_s is None:
        state = words.text(f"today.{kind}")
    else:
        state = words.text(f"today.{kind}-until", time=moment(opening.until_wall_s))
    reason = "" if opening.reason is None else words.text("today.reason", reason=_reason(opening.reason))
    return {"open": opening.is_open, "state": state, "reason": reason}


def _reason(reason: str) -> str:
    return language().text("today.no-clock") if reason == CLOCK_NOT_SET else reason


def _rates() -> Mapping[int, Rate]:
    with contextlib.suppress(NetctlError):
        return shared().rates.read()
    return {}


def _row(one: Online, rates: Mapping[int, Rate]) -> Row:
    words, rate = language(), rates.get(one.session_id)
    plan = shared().rules.plan(one.plan)
    return Row(
        session_id=one.session_id,
        name=shared().device_name(one.mac),
        plan=plan.name,
        since=moment(one.started_wall_s),
        used=words.size(one.up_bytes + one.down_bytes),
        rate="" if rate is None else words.rate(round(rate.down_kbit + rate.up_kbit)),
    )


# --- acts -----------------------------------------------------------------------------------------------------------


@blueprint.post("/today/close")
@roles(*STAFF)
def close() -> flask.Response:
    """Close to residents from now on."""
    until_wall_s = forms.moment("until")
    made = shared().administration(me().name, me().role).close(forms.text("reason"), until_wall_s=until_wall_s)
    return done("today.today", "closed", late=made.warning is not None)


@blueprint.post("/today/open")
@roles(*STAFF)
def open_now() -> flask.Response:
    """Open to residents from now on, whatever the ordinary hours say."""
    until_wall_s = forms.moment("until")
    made = shared().administration(me().name, me().role).open(forms.text("reason"), until_wall_s=until_wall_s)
    return done("today.today", "opened", late=made.warning is not None)


@blueprint.post("/today/<int:session_id>/disconnect")
@roles(*STAFF)
def disconnect(session_id: int) -> flask.Response:
    made = shared().administration(me().name, me().role).disconnect(session_id)
    return done("today.today", "disconnected", late=made.warning is not None)


@blueprint.post("/today/<int:session_id>/block")
@roles(*STAFF)
def block(session_id: int) -> flask.Response:
    """Keep the device of a session out, until that is lifted on the page of blocked devices."""
    with shared().database.read() as db:
        session = sessions.by_id(db, session_id)
    if session is None:
        raise AdministrationError("session-unknown", target=session_id)
    made = shared().administration(me().name, me().role).block(session.mac, forms.text("note"))
    return done("devices.devices", "blocked", late=made.warning is not None)
