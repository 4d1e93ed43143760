"""The record of changes: who did what, when, with before and after. It must not know how an entry comes about."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import flask

from portal.domain.office import AuditEntry
from portal.domain.staff import Role
from portal.staff.auth import me, roles
from portal.staff.frame import language, moment, render, word_or
from portal.staff.shared import shared
from portal.store import audit as store

blueprint = flask.Blueprint("audit", __name__)

PER_PAGE: Final = 50
_MAC: Final = re.compile(r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b")


@dataclass(frozen=True, slots=True)
class Line:
    """One entry as a row of the page; ``changes`` are (what, before, after), "" where there is nothing."""

    when: str
    actor: str
    role: str
    action: str
    object: str
    changes: tuple[tuple[str, str, str], ...]


@blueprint.get("/audit")
@roles(Role.TECHNICIAN, Role.REVIEWER)
def audit() -> flask.Response:
    """The newest first; ``?before=`` an id for those before it."""
    before = flask.request.args.get("before", type=int)
    with shared().database.read() as db:
        found = store.latest(db, PER_PAGE + 1, before)
    older = found[PER_PAGE - 1].id if len(found) > PER_PAGE else None
    lines = [_line(entry) for entry in found[:PER_PAGE]]
    return render("audit.html", lines=lines, older=older, newest=before is None)


def _line(entry: AuditEntry) -> Line:
    return Line(
        when=moment(entry.wall_s),
        actor=entry.actor,
        role=word_or(f"role.{entry.role}", entry.role),
        action=word_or(f"act.{entry.action}", entry.action),
        object=_without_macs(_object(entry.object)),
        changes=tuple((what, _without_macs(old), _without_macs(new)) for what, old, new in changes(entry)),
    )


def _object(text: str) -> str:
    """``batch 3`` in the page's language."""
    kind, space, rest = text.partition(" ")
    return word_or(f"object.{kind}", kind) + space + rest


def _without_macs(text: str) -> str:
    """Devices by the name that they have on the other pages. Whoever repairs the gateway sees MACs there anyway."""
    if me().role is Role.TECHNICIAN:
        return text
    return _MAC.sub(lambda found: shared().device_name(found[0]), text)


def changes(entry: AuditEntry) -> list[tuple[str, str, str]]:
    """(what, before, after) of all that differs, by key; of values that have no keys, the whole."""
    old, new = (None if text is None else json.loads(text) for text in (entry.before, entry.after))
    if not isinstance(old, dict | None) or not isinstance(new, dict | None):
        return [("", _shown("", old), _shown("", new))]
    keys = list(dict.fromkeys([*(old or {}), *(new or {})]))
    return [
        (word_or(f"key.{key}", key), _shown(key, (old or {}).get(key)), _shown(key, (new or {}).get(key)))
        for key in keys
        if (old or {}).get(key) != (new or {}).get(key)
    ]


def _shown(key: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return language().text("word.yes" if value else "word.no")
    if key.endswith("_wall_s") and isinstance(value, int | float):
        return moment(value)
    if isinstance(value, str):
        return word_or(f"value.{value}", value)
    return json.dumps(value, ensure_ascii=False)
