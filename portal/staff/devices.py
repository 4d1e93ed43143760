"""The devices that are kept out: why, since when, and letting them in again. It must not show a MAC."""

from __future__ import annotations

import hmac

import flask

from portal.domain.staff import Role
from portal.staff.auth import me, roles
from portal.staff.frame import done, moment, render
from portal.staff.shared import shared
from portal.store import devices as store

blueprint = flask.Blueprint("devices", __name__)

STAFF = (Role.OPERATOR, Role.TECHNICIAN)


@blueprint.get("/devices")
@roles(*STAFF)
def devices() -> flask.Response:
    with shared().database.read() as db:
        blocked = store.ruled(db, "block")
    rows = [
        {
            "handle": shared().key.handle(device.mac),
            "name": shared().device_name(device.mac),
            "note": device.note,
            "when": "" if device.ruled_wall_s is None else moment(device.ruled_wall_s),
            "by": device.ruled_by or "",
        }
        for device in blocked
    ]
    return render("devices.html", rows=rows)


@blueprint.post("/devices/<handle>/unblock")
@roles(*STAFF)
def unblock(handle: str) -> flask.Response:
    with shared().database.read() as db:
        blocked = store.ruled(db, "block")
    mac = next((one.mac for one in blocked if hmac.compare_digest(shared().key.handle(one.mac), handle)), None)
    if mac is None:
        return done("devices.devices", "unblocked")  # somebody else did it meanwhile
    made = shared().administration(me().name, me().role).unrule(mac)
    return done("devices.devices", "unblocked", late=made.warning is not None)
