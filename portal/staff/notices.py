"""Village notices: the list, the form with its preview, deleting. It must not know how Markdown becomes HTML."""

from __future__ import annotations

import datetime as dt
from typing import Any

import flask
import werkzeug

from portal.domain import asking
from portal.domain.asking import AdministrationError
from portal.domain.model import Notice
from portal.domain.staff import Role
from portal.markdown import to_html
from portal.staff import forms
from portal.staff.auth import me, roles
from portal.staff.frame import done, language, moment, now_wall_s, render, sentence_of
from portal.staff.shared import shared
from portal.store import notices as store

blueprint = flask.Blueprint("notices", __name__)

STAFF = (Role.OPERATOR, Role.TECHNICIAN)


@blueprint.get("/notices")
@roles(*STAFF)
def notices() -> flask.Response:
    with shared().database.read() as db:
        found = store.every(db)
    rows = [{"notice": notice, "shown": _shown(notice), "changed": moment(notice.changed_wall_s)} for notice in found]
    return render("notices.html", rows=rows)


def _shown(notice: Notice) -> str:
    """When people see it."""
    words, now = language(), now_wall_s()
    if notice.from_wall_s is not None and notice.from_wall_s > now:
        return words.text("notices.later", time=moment(notice.from_wall_s))
    if notice.until_wall_s is None:
        return words.text("notices.shown")
    if notice.until_wall_s <= now:
        return words.text("notices.over", time=moment(notice.until_wall_s))
    return words.text("notices.shown-until", time=moment(notice.until_wall_s))


@blueprint.get("/notices/new")
@roles(*STAFF)
def new() -> flask.Response:
    return _form(None, {"title": "", "body": "", "from": "", "until": ""})


@blueprint.get("/notices/<int:notice_id>")
@roles(*STAFF)
def edit(notice_id: int) -> flask.Response:
    with shared().database.read() as db:
        found = store.by_id(db, notice_id)
    if found is None:
        raise AdministrationError("notice-unknown", id=notice_id)
    values = {
        "title": found.title,
        "body": found.body,
        "from": _field(found.from_wall_s),
        "until": _field(found.until_wall_s),
    }
    return _form(notice_id, values)


@blueprint.post("/notices/new")
@roles(*STAFF)
def create() -> flask.Response:
    return _save(None)


@blueprint.post("/notices/<int:notice_id>")
@roles(*STAFF)
def change(notice_id: int) -> flask.Response:
    return _save(notice_id)


def _save(notice_id: int | None) -> flask.Response:
    """Preview or save, as the button says."""
    given = flask.request.form
    try:
        title = asking.line("title", forms.text("title"), asking.MAX_TITLE, needed=True)
        body = asking.lines("body", given.get("body", ""), asking.MAX_BODY)
        if given.get("do") == "preview":
            return _form(notice_id, given, preview=(title, to_html(body)))
        shared().administration(me().name, me().role).write_notice(
            title,
            body,
            notice_id=notice_id,
            from_wall_s=forms.moment("from"),
            until_wall_s=forms.moment("until", end=True),
        )
    except AdministrationError as error:
        return _form(notice_id, given, 422, problem=sentence_of(error))
    return done("notices.notices", "notice-saved")


@blueprint.post("/notices/<int:notice_id>/delete")
@roles(*STAFF)
def delete(notice_id: int) -> flask.Response:
    shared().administration(me().name, me().role).delete_notice(notice_id)
    return done("notices.notices", "notice-deleted")


def _form(
    notice_id: int | None,
    given: dict[str, str] | werkzeug.datastructures.MultiDict[str, str],
    status: int = 200,
    problem: str | None = None,
    preview: tuple[str, Any] | None = None,
) -> flask.Response:
    return render(
        "notice.html",
        status,
        title=language().text("notice.new-title" if notice_id is None else "notice.title"),
        notice_id=notice_id,
        given=given,
        problem=problem,
        preview=preview,
        longest_title=asking.MAX_TITLE,
        longest_body=asking.MAX_BODY,
    )


def _field(wall_s: float | None) -> str:
    """As a datetime-local field has it."""
    if wall_s is None:
        return ""
    return dt.datetime.fromtimestamp(wall_s, shared().zone).strftime("%Y-%m-%dT%H:%M")
