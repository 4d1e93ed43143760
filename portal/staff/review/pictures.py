"""Gives out charts, each under an address of its own, as pictures that run nothing. It must not know what they show.

A picture may be seen by whoever may see its page; a browser keeps none.
"""

from __future__ import annotations

import datetime as dt
import secrets
import sqlite3
from collections.abc import Callable
from typing import Final

import flask
from werkzeug.exceptions import NotFound

from portal.domain.rollup import HourFigures
from portal.staff.auth import roles
from portal.staff.review import drawings
from portal.staff.review.charts import Drawing, Size, draw
from portal.staff.review.compare import days_of
from portal.staff.review.door import READERS, blueprint, day_of, month_of
from portal.staff.shared import shared
from portal.store import rollups

Make = Callable[[sqlite3.Connection, str], Drawing]


def _of_month(make: Callable[[dt.date, drawings.Days], Drawing]) -> Make:
    return lambda db, of: make(month_of(of), days_of(db, month_of(of)))


def _of_day(make: Callable[[dt.date, list[HourFigures]], Drawing]) -> Make:
    return lambda db, of: make(day_of(of), rollups.hours(db, shared().zone, day_of(of), day_of(of)))


def _of_two(make: Callable[[tuple[dt.date, drawings.Days], tuple[dt.date, drawings.Days]], Drawing]) -> Make:
    def of_two(db: sqlite3.Connection, of: str) -> Drawing:
        a, b = (month_of(one) for one in (*of.split(","), "", "")[:2])
        return make((a, days_of(db, a)), (b, days_of(db, b)))

    return of_two


PICTURES: Final[dict[str, Make]] = {
    "bytes": _of_month(drawings.bytes_of_days),
    "devices": _of_month(drawings.devices_of_days),
    "latency": _of_month(drawings.latency_of_days),
    "funnel": _of_month(drawings.funnel),
    "hours": _of_day(drawings.online_of_hours),
    "hour-bytes": _of_day(drawings.bytes_of_hours),
    "two-bytes": _of_two(drawings.two_of_bytes),
    "two-devices": _of_two(drawings.two_of_devices),
}


@blueprint.get("/review/chart/<name>/<of>.svg")
@roles(*READERS)
def chart(name: str, of: str) -> flask.Response:
    """``of``: a month, a day, or two months with a comma between; ``?size=small`` for a phone."""
    make = PICTURES.get(name)
    if make is None:
        raise NotFound
    with shared().database.read() as db:
        drawing = make(db, of)
    nonce = secrets.token_urlsafe(16)
    size = Size.SMALL if flask.request.args.get("size") == "small" else Size.WIDE
    response = flask.Response(draw(drawing, size, nonce), mimetype="image/svg+xml")
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'"
    )
    return response
