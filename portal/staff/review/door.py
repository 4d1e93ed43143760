"""What the reviewer pages share: who reads them, which month or day is meant, figures brought up to date. It must not
know what a page shows.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from typing import Any, Final

import flask
from werkzeug.exceptions import NotFound

from portal.domain import localtime
from portal.domain.staff import Role
from portal.reports.definitions import Figure
from portal.staff.frame import now_wall_s, render
from portal.staff.review import said
from portal.staff.shared import shared
from portal.store import rollups
from portal.store.db import BUSY, StoreError

log = logging.getLogger("gerbang.staff")

blueprint = flask.Blueprint("review", __name__)

READERS: Final = (Role.REVIEWER, Role.TECHNICIAN)
"""A technician sees whether the log works; only a reviewer takes reports away."""
CHUNKS: Final = 3
"""So many parts of the log at most are taken in before a page: some weeks, in some seconds."""
_MONTH: Final = re.compile(r"(20\d\d)-(\d\d)", re.ASCII)
_DAY: Final = re.compile(r"(20\d\d)-(\d\d)-(\d\d)", re.ASCII)


def parse_month(text: str) -> dt.date | None:
    """The first day of "2026-10"; None: there is no such month."""
    found = _MONTH.fullmatch(text)
    try:
        return dt.date(int(found[1]), int(found[2]), 1) if found else None
    except ValueError:
        return None


def parse_day(text: str) -> dt.date | None:
    """The day "2026-10-14"; None: there is no such day."""
    found = _DAY.fullmatch(text)
    try:
        return dt.date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


def month_of(text: str) -> dt.date:
    """For addresses. NotFound: there is no such month."""
    if (found := parse_month(text)) is None:
        raise NotFound
    return found


def day_of(text: str) -> dt.date:
    if (found := parse_day(text)) is None:
        raise NotFound
    return found


def code(first: dt.date) -> str:
    """A month as it stands in addresses: 2026-10."""
    return first.isoformat()[:7]


def show(page: str, title: str, **values: Any) -> flask.Response:
    """A reviewer page; all of them can say figures and name their definitions."""
    return render(f"review/{page}.html", title=title, said=said, Figure=Figure, **values)


def today() -> dt.date:
    return localtime.local_date(now_wall_s(), shared().zone)


def catch_up() -> str:
    """Take in what the log has told since. "" where that is done, else the id of the sentence that says why the figures
    are older: the database cannot be written, or there is much to take in, of which each page does a part."""
    zone = shared().zone
    try:
        for _ in range(CHUNKS):
            with shared().database.read() as db:
                if not rollups.behind(db, zone):
                    return ""
            with shared().database.write() as db:
                rollups.catch_up(db, zone, limit=rollups.CHUNK)
    except StoreError as error:
        log.warning("the roll-ups could not be brought up to date: %s", error)
        return "review.behind" if error.code == BUSY else "review.stale"
    with shared().database.read() as db:
        return "review.behind" if rollups.behind(db, zone) else ""
