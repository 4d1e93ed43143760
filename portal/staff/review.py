"""The reviewer's first page. It must not know how figures are made: there are none here yet."""

from __future__ import annotations

import flask

from portal.domain.staff import Role
from portal.staff.auth import roles
from portal.staff.frame import render

blueprint = flask.Blueprint("review", __name__)


@blueprint.get("/review")
@roles(Role.REVIEWER)
def start() -> flask.Response:
    """What a reviewer finds here, and what not yet."""
    return render("review.html")
