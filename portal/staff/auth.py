"""Decides who may see which page: cookie, login, roles, the forms' token. It must not know what the pages show.

The cookie holds a token of 256 random bits; what it opens is kept in the database (portal.staffing), so that a login
can be ended from here and ends with the machine. A page that names no role is shown to nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

import flask
from flask.sessions import SessionInterface, SessionMixin
from flask_login import LoginManager, UserMixin, current_user
from markupsafe import Markup

from portal.domain.staff import Role, StaffSession, StaffUser
from portal.staff.frame import render
from portal.staffing import Staffing, new_token
from portal.staffkey import StaffKey

log = logging.getLogger("gerbang.staff")

COOKIE: Final = "__Host-gerbang-staff"  # RFC 6265bis 4.1.3.2: from this host alone, by https alone, for all paths
FORM_FIELD: Final = "csrf_token"
FIRST_PAGE: Final = "account.password"

_HIDDEN: Final = Markup('<input type="hidden" name="{name}" value="{value}">')

View = TypeVar("View", bound=Callable[..., Any])


def roles(*allowed: Role, quiet: bool = False, first: bool = False) -> Callable[[View], View]:
    """Who may see a page; every page says so.

    ``quiet``: a script asks, which does not count as a click. ``first``: also with a password that the gateway made,
    which must be changed before anything else.
    """

    def mark(view: View) -> View:
        view.roles = frozenset(allowed)  # type: ignore[attr-defined]
        view.quiet = quiet  # type: ignore[attr-defined]
        view.first = first  # type: ignore[attr-defined]
        return view

    return mark


def public(view: View) -> View:
    """A page that is shown without login: the login itself, and what it looks like."""
    view.roles = None  # type: ignore[attr-defined]
    return view


class User(UserMixin):  # type: ignore[misc]
    """Flask-Login's view of a login."""

    def __init__(self, session: StaffSession) -> None:
        self.session = session

    @property
    def staff(self) -> StaffUser:
        return self.session.user

    @property
    def role(self) -> Role:
        return self.session.user.role

    @property
    def name(self) -> str:
        return self.session.user.name

    def get_id(self) -> str:
        return str(self.session.user.id)


class _TokenSession(dict[str, Any], SessionMixin):
    """Flask's session of one request: the cookie's token, and the forms' secret that follows from it. Nothing else is
    kept in it from one request to the next."""

    def __init__(self, key: StaffKey, token: str, *, is_new: bool) -> None:
        super().__init__({FORM_FIELD: key.form(token)})
        self.token = token
        self.is_new = is_new


class _TokenSessions(SessionInterface):
    def __init__(self, key: StaffKey) -> None:
        self._key = key

    def open_session(self, app: flask.Flask, request: flask.Request) -> _TokenSession:  # noqa: ARG002 - Flask's
        token = request.cookies.get(COOKIE, "")
        if len(token) < 40 or not token.isascii():
            return _TokenSession(self._key, new_token(), is_new=True)
        return _TokenSession(self._key, token, is_new=False)

    def save_session(self, app: flask.Flask, session: SessionMixin, response: flask.Response) -> None:  # noqa: ARG002
        # Only where a form may follow: what is cached (the style) must set no cookie.
        if isinstance(session, _TokenSession) and session.is_new and response.mimetype == "text/html":
            put_token(response, session.token)


def put_token(response: flask.Response, token: str) -> None:
    """Without an age: it goes when the browser is closed."""
    response.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="Strict")


def protect(app: flask.Flask, staffing: Staffing, key: StaffKey) -> None:
    """Put the door in front of every page of ``app``."""
    from flask_wtf.csrf import CSRFError, CSRFProtect, generate_csrf  # noqa: PLC0415 - loaded when an app is made

    app.secret_key = key.signing
    app.session_interface = _TokenSessions(key)
    app.config.update(WTF_CSRF_FIELD_NAME=FORM_FIELD, WTF_CSRF_TIME_LIMIT=None, WTF_CSRF_SSL_STRICT=True)
    manager = LoginManager()
    manager.init_app(app, add_context_processor=False)  # pages are handed their user, or none where that cannot be read
    manager.session_protection = None  # the token is all that counts

    @manager.request_loader  # type: ignore[untyped-decorator]
    def load(request: flask.Request) -> User | None:
        token = request.cookies.get(COOKIE)
        found = token and staffing.session(token, click=not getattr(_view(), "quiet", False))
        return User(found) if found else None

    @app.before_request
    def door() -> Any:
        view = _view()
        allowed: frozenset[Role] | None = frozenset() if view is None else getattr(view, "roles", frozenset())
        if view is None or allowed is None:
            return None  # no such page (said to everybody alike), or one for everybody
        if not current_user.is_authenticated:
            if getattr(view, "quiet", False):
                return flask.Response("", 401)
            return flask.redirect(flask.url_for("account.login", why=_why()), 303)
        if current_user.staff.must_change and not getattr(view, "first", False):
            return flask.redirect(flask.url_for(FIRST_PAGE), 303)
        if current_user.role not in allowed:
            return render("problem.html", 403, code="role")
        flask.request.max_content_length = getattr(view, "largest_body", flask.current_app.config["MAX_CONTENT_LENGTH"])
        return None

    CSRFProtect(app)
    app.jinja_env.globals["token"] = lambda: _HIDDEN.format(name=FORM_FIELD, value=generate_csrf())

    @app.errorhandler(CSRFError)
    def forged(error: CSRFError) -> flask.Response:
        log.warning("%s %s was refused: %s", flask.request.method, flask.request.path, error.description)
        return render("problem.html", 403, code="form")


def _view() -> Any:
    endpoint = flask.request.endpoint
    return None if endpoint is None else flask.current_app.view_functions[endpoint]


def _why() -> str | None:
    """A browser that has a login's cookie was logged in before."""
    token = flask.request.cookies.get(COOKIE, "0")
    return None if token.startswith("0") else "ended"


def me() -> User:
    """Who asks; only behind a page that names roles."""
    user: User = current_user
    return user
