"""Opening and closing beside the ordinary hours: the list of what is planned, and a form for more.

It must not know how hours are decided.
"""

from __future__ import annotations

from collections.abc import Sequence

import flask

from portal.domain import hours as week
from portal.domain.asking import AdministrationError
from portal.domain.office import Closure
from portal.domain.staff import Role
from portal.staff import forms
from portal.staff.auth import me, roles
from portal.staff.frame import date, done, language, moment, render, sentence_of
from portal.staff.shared import shared
from portal.store import closures, people

blueprint = flask.Blueprint("hours", __name__)

STAFF = (Role.OPERATOR, Role.TECHNICIAN)


@blueprint.get("/hours")
@roles(*STAFF)
def hours() -> flask.Response:
    return _page()


def _page(status: int = 200, problem: str | None = None) -> flask.Response:
    config = shared().config
    with shared().database.read() as db:
        at = people.moment(db, shared().read_clock(), shared().zone)
        planned = closures.pending(db, at.wall_s)
    holidays = [
        (date(closed.first), date(closed.last or closed.first) if closed.last != closed.first else "", closed.reason)
        for closed in config.closed
        if (closed.last or closed.first).isoformat() >= at.day
    ]
    return render(
        "hours.html",
        status,
        problem=problem,
        given=flask.request.form,
        planned=[_line(closure, at.wall_s) for closure in planned],
        ordinary=ordinary(config.hours.open),
        always=[plan.name for plan in config.plan if plan.hours == ("always",)],
        holidays=holidays,
    )


def _line(closure: Closure, now_wall_s: float) -> dict[str, str | int]:
    words = language()
    begun = closure.from_wall_s <= now_wall_s
    until = words.text("hours.until-cancelled") if closure.until_wall_s is None else moment(closure.until_wall_s)
    return {
        "id": closure.id,
        "kind": words.text(f"hours.{closure.kind.value}{'-now' if begun else ''}"),
        "begin": moment(closure.from_wall_s),
        "until": until,
        "reason": closure.reason,
        "by": closure.created_by,
    }


def ordinary(lines: Sequence[str]) -> list[tuple[str, str]]:
    """(days, times) in words, of the site's ordinary hours; empty: always open."""
    parsed = week.parse(lines)
    if parsed.always:
        return []
    words = language()
    names = words.weekdays()
    found = []
    for days, times in week.describe(parsed):
        runs = (names[first] if first == last else f"{names[first]}-{names[last]}" for first, last in days)
        spans = (f"{words.clock(begin)}-{words.clock(end)}" for begin, end in times)
        found.append((", ".join(runs), ", ".join(spans)))
    return found


@blueprint.post("/hours")
@roles(*STAFF)
def plan() -> flask.Response:
    """Plan an opening or closing."""
    acting = shared().administration(me().name, me().role)
    act = acting.open if forms.text("kind") == "open" else acting.close
    try:
        begin_wall_s, until_wall_s = forms.moment("from"), forms.moment("until", end=True)
        made = act(forms.text("reason"), begin_wall_s, until_wall_s)
    except AdministrationError as error:
        return _page(422, sentence_of(error))
    return done("hours.hours", "planned", late=made.warning is not None)


@blueprint.post("/hours/<int:closure_id>/cancel")
@roles(*STAFF)
def cancel(closure_id: int) -> flask.Response:
    made = shared().administration(me().name, me().role).cancel(closure_id)
    return done("hours.hours", "cancelled", late=made.warning is not None)
