"""Reads the fields of a form: text, numbers, moments. It must not know what they are for.

Mistakes are AdministrationErrors, whose codes the pages have words for.
"""

from __future__ import annotations

import flask

from portal.domain import asking
from portal.domain.asking import AdministrationError
from portal.staff.shared import shared
from portal.store import people


def text(field: str) -> str:
    return flask.request.form.get(field, "").strip()


def number(field: str, high: int) -> int:
    """From 1 to ``high``."""
    found = text(field)
    if not (found.isascii() and found.isdigit() and len(found) < 10):
        raise AdministrationError("number-range", field=field, low=1, high=high, value=found or "-")
    return asking.number(field, int(found), high)


def moment(field: str, *, end: bool = False) -> float | None:
    """The Unix time of a date or time field on the site's clock; None: left empty. ``end``: a day's end is meant."""
    found = text(field)
    if not found:
        return None
    now = shared().read_clock()
    with shared().database.read() as db:
        clock_ok = people.moment(db, now, shared().zone).calendar.clock_ok
    return asking.moment(found, shared().zone, now.wall_s, clock_ok=clock_ok, end=end)
