"""The technician's page of what leaves for the office. It must not know what batches tell, nor how they are made.

Only root can sign, so a technician takes away what is made each night. What the office has received is told to the
gateway by a command (`gerbang outbox ack`): to prove its signature here, this process would need 9 MB more for good.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import IO, Final

import flask

from portal import batchfiles, sealing
from portal import outbox as making
from portal.domain import localtime
from portal.domain.staff import Role
from portal.staff import technician_files
from portal.staff.auth import me, roles
from portal.staff.frame import date, language
from portal.staff.handout import hand_out
from portal.staff.shared import shared
from portal.staff.technician import show
from portal.store import outbox as store

blueprint = technician_files.blueprint
"""This page is among the technician's."""

MIMETYPE: Final = "application/zip"


@blueprint.get("/technician/outbox")
@roles(Role.TECHNICIAN)
def outbox() -> flask.Response:
    at = shared()
    with at.database.read() as db:
        found = making.state(db)
        waits = not store.clock_is_trusted(db, at.read_clock().boot_id)
    return show(
        "outbox",
        held=found.held,
        size=language().size(found.held.bytes),
        day=date(dt.date.fromisoformat(found.epoch.day)) if found.epoch and found.epoch.day else None,
        fingerprint=None if found.gateway is None else sealing.fingerprint(found.gateway),
        has_key=at.config.office.key is not None,
        waits=waits,
    )


@blueprint.post("/technician/outbox")
@roles(Role.TECHNICIAN)
def take_outbox() -> flask.Response:
    """All that is held, as one file; nothing leaves the outbox by that."""
    at = shared()

    def work(file: IO[bytes]) -> None:
        count = batchfiles.archive(file, _batches())
        at.administration(me().name, me().role).record("outbox.export", "outbox", None, {"batches": count})

    today = localtime.local_date(at.read_clock().wall_s, at.zone)
    return hand_out(f"gerbang-kantor-{at.config.site.code}-{today}.zip", MIMETYPE, work)


def _batches() -> Iterator[bytes]:
    """One after the other, so that neither memory nor the database is held for all of them."""
    database = shared().database
    with database.read() as db:
        numbers = store.numbers(db)
    for one in numbers:
        with database.read() as db:
            found = store.read(db, [one])
        yield from map(making.to_file, found)
