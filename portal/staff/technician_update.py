"""The technician's page of updates: upload, install, restart, and what became of it.

It must not know how any of it is done: portal.update.service does it with root's rights, portal.staff.incoming takes
uploads.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

import flask

from portal.domain.staff import Role
from portal.staff import pieces, technician_outbox
from portal.staff.auth import me, roles
from portal.staff.frame import done, language, moment
from portal.staff.incoming import PIECE_BYTES, Incoming
from portal.staff.shared import shared
from portal.staff.technician import show
from portal.store.db import StoreError
from portal.technician.words import like
from portal.update import errors
from portal.update.asking import Updates
from portal.update.errors import UpdateError
from portal.update.places import Places

blueprint = technician_outbox.blueprint
"""This page is among the technician's."""

RESTART_S: Final = 90
_NAME: Final = "gerbang-incoming"


def _incoming() -> Incoming:
    """The process's one, made when it is first asked for."""
    found: Incoming = flask.current_app.extensions.setdefault(_NAME, Incoming(Places().incoming))
    return found


@blueprint.get("/technician/update")
@roles(Role.TECHNICIAN)
def update() -> flask.Response:
    return _page()


def _page(status: int = 200, **values: Any) -> flask.Response:
    given: dict[str, Any] = {"problem": None, "sticks": None, "why": why} | values
    try:
        state = Updates().state()
    except UpdateError as error:
        return show("update", status, state=None, unreachable=error, **given)
    progress = state["progress"]
    working = progress is not None and not progress["ended"]
    last, back = state["last"], state["went_back"]
    return show(
        "update",
        status,
        state=state,
        working=working,
        failed=None if progress is None or not progress["ended"] else progress["error"],
        waiting=state["trial"] is not None and state["trial"]["slot"] != state["slot"] and not working,
        on_trial=state["trial"] is not None and state["trial"]["slot"] == state["slot"],
        ended=None if last is None else _ending(last),
        lost=None if back is None else _lost(back),
        step=None if progress is None else _step(progress["step"]),
        ready=[] if working else _incoming().ready(),
        piece=PIECE_BYTES,
        **given,
    )


def why(code: str, message: str) -> str:
    """What is wrong in the page's language; what has no words there as the box says it."""
    found = like(language().code).text(f"update.why-{code}")
    return message if found == f"update.why-{code}" else found


def _step(step: str) -> str:
    found = like(language().code).text(f"update.step-{step}")
    return step if found == f"update.step-{step}" else found


def _ending(last: dict[str, Any]) -> dict[str, Any]:
    words = like(language().code)
    text = words.text(
        f"update.ended-{last['outcome']}",
        to=last["to_version"] or "-",
        before=last["from_version"] or "-",
        when=moment(last["wall_s"]),
        by=last["by"] or "-",
    )
    return {"good": last["outcome"] == "done", "text": text, "why": why(last["code"], last["message"])}


def _lost(back: dict[str, Any]) -> dict[str, str]:
    """How much the database that was gone back to does not have."""
    counts = {name: "?" if count is None else language().number(count) for name, count in back["lost"].items()}
    named = {name: counts.get(name, "?") for name in ("sessions", "vouchers", "acts")}
    return named | {"since": moment(back["since_wall_s"]), "kept": back["kept"].rpartition("/")[2]}


# --- upload ---------------------------------------------------------------------------------------------------------


@blueprint.get("/technician/update/piece")
@roles(Role.TECHNICIAN)
def arrived() -> flask.Response:
    """For the page's script: how much of an upload is here already."""
    return pieces.told(_incoming().arrived, _why)


@blueprint.post("/technician/update/piece")
@roles(Role.TECHNICIAN)
def piece() -> flask.Response:
    """One piece of a bundle, as the request's body."""

    def add(name: str, size: int) -> int:
        found = _incoming().add(name, size, pieces.number("at"), pieces.body())
        if found == size:
            _record("update.upload", name, {"bytes": size})
        return found

    return pieces.told(add, _why)


piece.largest_body = PIECE_BYTES  # type: ignore[attr-defined]


def _why(error: UpdateError) -> str:
    return why(error.code, error.message)


# --- acts -----------------------------------------------------------------------------------------------------------


@blueprint.post("/technician/update/sticks")
@roles(Role.TECHNICIAN)
def sticks() -> flask.Response:
    """Look at USB sticks, since somebody asks for it."""
    try:
        return _page(sticks=Updates().sticks())
    except UpdateError as error:
        return _page(422, problem=error)


@blueprint.post("/technician/update/install")
@roles(Role.TECHNICIAN)
def install() -> flask.Response:
    form = flask.request.form
    try:
        Updates().install(
            form.get("from", ""), form.get("name", "")[:200], me().name, me().role, force=form.get("force") == "1"
        )
    except UpdateError as error:
        return _page(409 if error.code == errors.BUSY else 422, problem=error)
    return done("technician.update", "update-begun")


@blueprint.post("/technician/update/reboot")
@roles(Role.TECHNICIAN)
def reboot() -> flask.Response:
    """The entry first: there is no time for it afterwards."""
    _record("box.reboot", "system", None)
    try:
        Updates().reboot(me().name)
    except UpdateError as error:
        return _page(409, problem=error)
    return show("update", template="restart", seconds=RESTART_S, target=flask.url_for("technician.update"))


def _record(action: str, thing: str, after: Any) -> None:
    with contextlib.suppress(StoreError):
        shared().administration(me().name, me().role).record(action, thing, after=after)
