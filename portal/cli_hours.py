"""Commands for when and under what people come in, and what they read: plans, hours, notices.

It must not know how it is done: every change goes through portal.administration.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from portal.cli_acting import Desk, command, fields, table
from portal.cli_parts import Command, options

if TYPE_CHECKING:
    from portal.config import Plan


@click.group()
def plan() -> None:
    """Plans of site.toml, and who uses them now."""


@command(plan, "list")
def plan_list(at: Desk) -> None:
    """List the plans, whether they are open, and how many are online under each."""
    said = _plans(at)
    rows = [
        (
            one["id"],
            one["name"],
            one["down_kbit"] or "no limit",
            one["up_kbit"] or "no limit",
            "open" if one["open"] else "closed",
            one["online"],
        )
        for one in said
    ]
    at.answer(said, table(("id", "name", "down kbit/s", "up kbit/s", "now", "online"), rows))


@command(plan, "show", click.argument("plan_id", metavar="PLAN"))
def plan_show(at: Desk, plan_id: str) -> None:
    """Show all that site.toml says of a plan."""
    from portal.domain import asking  # noqa: PLC0415

    wanted = asking.plan(at.config.plan, plan_id)
    said = next(one for one in _plans(at) if one["id"] == wanted.id)
    keys = {field: said[field] for field in wanted.__struct_fields__ if field not in ("burst_kbytes", "hours")}
    text = fields(
        {
            **{name: "no limit" if value is None else value for name, value in keys.items()},
            "burst_kbytes": said["burst_kbytes"] or "a few packets",
            "hours": _hours(at, said),
            "now": _state(at, said),
            "online": said["online"],
        }
    )
    at.answer(said, text)


def _hours(at: Desk, plan: dict[str, Any]) -> str:
    return "; ".join(plan["hours"]) if plan["hours"] else f"the site's: {'; '.join(at.config.hours.open)}"


def _state(at: Desk, plan: dict[str, Any]) -> str:
    """Open or closed, until when, and why."""
    state = "open" if plan["open"] else f"closed ({plan['closed_reason'] or 'ordinary hours'})"
    until_wall_s = plan["open_until_wall_s"] or plan["closed_until_wall_s"]
    return state if until_wall_s is None else f"{state} until {at.when(until_wall_s)}"


def _plans(at: Desk) -> list[dict[str, Any]]:
    """All keys of each plan, and how it is now."""
    from collections import Counter  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from portal.domain import policy  # noqa: PLC0415
    from portal.domain.siterules import SiteRules  # noqa: PLC0415
    from portal.store import closures, people, sessions  # noqa: PLC0415

    rules = SiteRules(at.config)
    with at.database.read() as db:
        moment = people.moment(db, at.now, rules.zone)
        acts = closures.acts(db, moment.wall_s)
        online = Counter(rules.plan(one.plan).id for one in sessions.not_ended(db) if policy.is_running(one, at.now))

    def said(one: Plan) -> dict[str, Any]:
        opening = rules.opening(one, acts, moment)
        return {
            **msgspec.to_builtins(one),
            "open": opening.is_open,
            "open_until_wall_s": opening.until_wall_s if opening.is_open else None,
            "closed_until_wall_s": None if opening.is_open else opening.until_wall_s,
            "closed_reason": opening.reason,
            "online": online[one.id],
        }

    return [said(one) for one in at.config.plan]


# --- hours ----------------------------------------------------------------------------------------------------------


@click.group()
def hours() -> None:
    """Opening hours, and opening or closing beside them."""


_span = options(
    click.option("--from", "begin", metavar="WHEN", help="2026-12-31, 2026-12-31T16:00 or 16:00.  [default: now]"),
    click.option("--until", metavar="WHEN", help="The same; a day is its end.  [default: until cancelled]"),
)


@command(hours, "show")
def hours_show(at: Desk) -> None:
    """Show the hours, what comes beside them, and what holds now."""
    from portal.store import closures, people  # noqa: PLC0415

    with at.database.read() as db:
        moment = people.moment(db, at.now, at.zone)
        acts = closures.pending(db, moment.wall_s)
    plans = _plans(at)
    shown = ("id", "hours", "open", "open_until_wall_s", "closed_until_wall_s", "closed_reason")
    said = {
        "clock_ok": moment.calendar.clock_ok,
        "hours": list(at.config.hours.open),
        "holidays": [
            {"first": str(one.first), "last": str(one.last or one.first), "reason": one.reason}
            for one in at.config.closed
        ],
        "acts": [{**asdict(act), "kind": act.kind.value} for act in acts],
        "plans": [{name: one[name] for name in shown} for one in plans],
    }
    lines = [] if moment.calendar.clock_ok else ["The clock is not set: plans that ever close are closed.", ""]
    lines.append(
        table(
            ("plan", "now", "hours"),
            [(one["id"], _state(at, one), _hours(at, one)) for one in plans],
        )
    )
    if acts:
        head = ("act", "kind", "from", "until", "by", "reason")
        rows = [
            (act.id, act.kind.value, at.when(act.from_wall_s), at.when(act.until_wall_s), act.created_by, act.reason)
            for act in acts
        ]
        lines += ["", table(head, rows)]
    at.answer(said, "\n".join(lines))


@command(hours, "close", click.option("--reason", required=True, help="Why; the page shows it."), _span)
def hours_close(at: Desk, reason: str, begin: str | None, until: str | None) -> None:
    """Close to all but plans that are always open."""
    done = at.acts.close(reason, at.moment(begin), at.moment(until, end=True))
    ends = at.when(done.value.until_wall_s, "it is cancelled")
    at.done(done, {"id": done.value.id}, f"Closed until {ends}. Undo: gerbang hours cancel {done.value.id}")


@command(hours, "open", click.option("--reason", default="", help="Why; only the staff see it."), _span)
def hours_open(at: Desk, reason: str, begin: str | None, until: str | None) -> None:
    """Open beyond the ordinary hours and holidays."""
    done = at.acts.open(reason, at.moment(begin), at.moment(until, end=True))
    ends = at.when(done.value.until_wall_s, "it is cancelled")
    at.done(done, {"id": done.value.id}, f"Open until {ends}. Undo: gerbang hours cancel {done.value.id}")


@command(hours, "cancel", click.argument("act", type=int))
def hours_cancel(at: Desk, act: int) -> None:
    """Take an opening or closing back, by the number that `hours show` gives."""
    done = at.acts.cancel(act)
    at.done(done, {"id": act, "cancelled": True}, f"The {done.value.kind.value} {act} is cancelled.")


# --- notices --------------------------------------------------------------------------------------------------------


@click.group()
def notice() -> None:
    """Village news that the page shows, with or without the Internet."""


NEVER = "none"


def _body_of(default: str | None) -> Command:
    return click.option(
        "--body", default=default, show_default=True, help="The text, in Markdown; - reads it from standard input."
    )


_shown = options(
    click.option("--from", "begin", metavar="WHEN", help="First shown then: 2026-12-31 or 2026-12-31T16:00."),
    click.option("--until", metavar="WHEN", help="The same; a day is its end.  [default: until deleted]"),
)


@command(notice, "list")
def notice_list(at: Desk) -> None:
    """List all notices, the last changed first."""
    from portal.store import notices  # noqa: PLC0415

    with at.database.read() as db:
        found = notices.every(db)
        shown = {one.id for one in notices.shown(db, at.now.wall_s)}
    said = [{**asdict(one), "shown": one.id in shown} for one in found]
    rows = [
        (one.id, "yes" if one.id in shown else "no", at.when(one.from_wall_s), at.when(one.until_wall_s), one.title)
        for one in found
    ]
    at.answer(said, table(("id", "shown", "from", "until", "title"), rows) if rows else "There are no notices.")


@command(notice, "add", click.option("--title", required=True, help="At most 80 characters."), _body_of("-"), _shown)
def notice_add(at: Desk, title: str, body: str, begin: str | None, until: str | None) -> None:
    """Write a notice."""
    done = at.acts.write_notice(
        title, _body(body), from_wall_s=at.moment(begin), until_wall_s=at.moment(until, end=True)
    )
    at.done(done, asdict(done.value), f"Notice {done.value.id} is written.")


@command(
    notice,
    "edit",
    click.argument("number", type=int),
    click.option("--title", help="Another title."),
    _body_of(None),
    _shown,
)
def notice_edit(
    at: Desk, *, number: int, title: str | None, body: str | None, begin: str | None, until: str | None
) -> None:
    """Change a notice; what is not named stays, and `--until none` takes the end away."""
    from portal.domain.asking import AdministrationError  # noqa: PLC0415
    from portal.store import notices  # noqa: PLC0415

    with at.database.read() as db:
        old = notices.by_id(db, number)
    if old is None:
        raise AdministrationError("notice-unknown", id=number)
    done = at.acts.write_notice(
        old.title if title is None else title,
        old.body if body is None else _body(body),
        notice_id=number,
        from_wall_s=old.from_wall_s if begin is None else None if begin == NEVER else at.moment(begin),
        until_wall_s=old.until_wall_s if until is None else None if until == NEVER else at.moment(until, end=True),
    )
    at.done(done, asdict(done.value), f"Notice {number} is changed.")


@command(notice, "delete", click.argument("number", type=int))
def notice_delete(at: Desk, number: int) -> None:
    """Delete a notice."""
    done = at.acts.delete_notice(number)
    at.done(done, {"id": number, "deleted": True}, f"Notice {number} is deleted.")


def _body(given: str) -> str:
    return sys.stdin.read() if given == "-" else given


COMMANDS = (plan, hours, notice)
