"""Builds the staff pages' application: frame, door, pages, errors. It must not know what a page shows."""

from __future__ import annotations

import logging

import flask
from flask_login import current_user
from werkzeug.exceptions import HTTPException

from portal.domain.asking import AdministrationError
from portal.staff import (
    account,
    audit,
    auth,
    devices,
    frame,
    hours,
    notices,
    review,
    shared,
    technician_update,
    today,
    vouchers,
)
from portal.staff.auth import public
from portal.staff.shared import Shared
from portal.staff.warm import warm
from portal.store.db import StoreError

log = logging.getLogger("gerbang.staff")

PAGES = (
    account.blueprint,
    today.blueprint,
    hours.blueprint,
    vouchers.blueprint,
    notices.blueprint,
    devices.blueprint,
    audit.blueprint,
    review.blueprint,
    technician_update.blueprint,
)
"""Each module of pages has one blueprint, named as the module."""
MAX_FORM_BYTES = 256 * 1024
KEEP_S = 365 * 86_400
RETRY_AFTER_S = 10


def create_app(found: Shared) -> flask.Flask:
    """The WSGI application. Everything it will need is loaded when this returns.

    :raises ValueError: a catalogue that cannot be read
    """
    app = flask.Flask(__name__, static_folder=None, template_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_FORM_BYTES, MAX_FORM_MEMORY_SIZE=MAX_FORM_BYTES)
    shared.install(app, found)
    frame.install(app, found.config)
    warm(found.config)
    auth.protect(app, found.staffing, found.key)
    app.add_url_rule("/static/<filename>", "static", _static, methods=["GET"], provide_automatic_options=False)
    app.add_url_rule("/favicon.ico", "icon", _icon, methods=["GET"], provide_automatic_options=False)
    for blueprint in PAGES:
        app.register_blueprint(blueprint)
    app.register_error_handler(AdministrationError, _refused)
    app.register_error_handler(StoreError, _store_failed)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _mistake)
    return app


@public
def _static(filename: str) -> flask.Response:
    found = frame.frame().statics.get(filename)
    if found is None:
        return flask.Response("", 404)
    response = flask.Response(found.body, mimetype=found.mimetype)
    response.headers["Cache-Control"] = f"private, max-age={KEEP_S}, immutable"
    return response


@public
def _icon() -> flask.Response:
    return flask.Response("", 204)


def _refused(error: AdministrationError) -> flask.Response:
    return frame.render("problem.html", 422, code="asked", sentence=frame.sentence_of(error))


def _store_failed(error: StoreError) -> flask.Response:
    log.warning("%s %s failed: %s", flask.request.method, flask.request.path, error)
    flask.g.without_user = True  # who asks is in the database
    response = frame.render("problem.html", 503, code=error.code)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _http_error(error: HTTPException) -> flask.Response:
    # Without a login every path is alike: it is nobody's business which pages there are.
    if not current_user.is_authenticated:
        return flask.redirect(flask.url_for("account.login"), 303)  # type: ignore[return-value]
    code = {404: "no-page", 405: "no-page", 413: "too-large"}.get(error.code or 500, "error")
    return frame.render("problem.html", error.code or 500, code=code)


def _mistake(error: Exception) -> flask.Response:
    log.error("%s %s failed", flask.request.method, flask.request.path, exc_info=error)
    flask.g.without_user = True
    return frame.render("problem.html", 500, code="error")
