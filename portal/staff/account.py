"""Login, logout, and the change of one's own password. It must not know how passwords and logins are kept."""

from __future__ import annotations

import math

import flask
from flask_login import current_user

from portal import passwords
from portal.domain.staff import Role
from portal.staff import auth
from portal.staff.auth import me, public, roles
from portal.staff.frame import done, language, render
from portal.staff.shared import shared

blueprint = flask.Blueprint("account", __name__)

FIRST_PAGES = {Role.OPERATOR: "today.today", Role.TECHNICIAN: "today.today", Role.REVIEWER: "review.start"}


@blueprint.get("/")
@roles(*Role)
def home() -> flask.Response:
    """Each role's first page."""
    return _to(FIRST_PAGES[me().role])


@blueprint.get("/login")
@public
def login() -> flask.Response:
    if current_user.is_authenticated:
        return _to("account.home")
    return render("login.html", problem=None, name="", ended=flask.request.args.get("why") == "ended")


@blueprint.post("/login")
@public
def log_in() -> flask.Response:
    name, password = flask.request.form.get("name", ""), flask.request.form.get("password", "")
    found = shared()
    who = flask.request.remote_addr or ""
    wait_s = found.attempts.begin(who, found.read_clock().boot_s)
    if wait_s > 0:
        words = language()
        minutes = words.counted("duration.minutes", math.ceil(wait_s / 60))
        response = _login_again(429, words.text("login.wait", duration=minutes), name)
        response.headers["Retry-After"] = str(math.ceil(wait_s))
        return response
    token = None
    try:
        token = found.staffing.log_in(name, password)
    finally:
        found.attempts.settle(who, found.read_clock().boot_s, wrong=token is None)
    if token is None:
        return _login_again(403, language().text("login.wrong"), name)
    response = _to("account.home")
    auth.put_token(response, token)
    return response


def _login_again(status: int, problem: str, name: str) -> flask.Response:
    return render("login.html", status, problem=problem, name=name[:64], ended=False)


@blueprint.post("/logout")
@roles(*Role, first=True)
def log_out() -> flask.Response:
    shared().staffing.log_out(me().session)
    response = done("account.login", "logged-out")
    response.delete_cookie(auth.COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
    return response


@blueprint.get("/password")
@roles(*Role, first=True)
def password() -> flask.Response:
    return render("password.html", problem=None, least=passwords.MIN_LENGTH)


@blueprint.post("/password")
@roles(*Role, first=True)
def change_password() -> flask.Response:
    old, new, again = (flask.request.form.get(field, "") for field in ("old", "new", "again"))
    user, found = me(), shared()
    if (problem := _objection(old, new, again)) is not None:
        return _password_again(problem)
    # Whoever sits down at an open page must not try passwords faster than at the login.
    wait_s = found.attempts.begin(user.name, found.read_clock().boot_s)
    if wait_s > 0:
        minutes = language().counted("duration.minutes", math.ceil(wait_s / 60))
        return _password_again(language().text("login.wait", duration=minutes), 429)
    changed = False
    try:
        acting = found.administration(user.name, user.role)
        changed = found.staffing.change_password(acting, user.staff, old, new)
    finally:
        found.attempts.settle(user.name, found.read_clock().boot_s, wrong=not changed)
    if not changed:
        return _password_again(language().text("password.old-wrong"))
    forget_first_passwords()
    response = done("account.login", "password-changed")
    response.delete_cookie(auth.COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
    return response


def _objection(old: str, new: str, again: str) -> str | None:
    words = language()
    if new != again:
        return words.text("password.differ")
    if new == old:
        return words.text("password.same")
    if not passwords.MIN_LENGTH <= len(new) <= passwords.MAX_LENGTH:
        return words.text("password.length", least=str(passwords.MIN_LENGTH), most=str(passwords.MAX_LENGTH))
    return words.text("password.easy") if passwords.objection(new, me().name) else None


def _password_again(problem: str, status: int = 422) -> flask.Response:
    return render("password.html", status, problem=problem, least=passwords.MIN_LENGTH)


def forget_first_passwords() -> None:
    """Remove the file with the first passwords once nobody has one of them. Where it stands on a disk that this
    process may not write (a memory card's first partition), the next start does it."""
    found = shared()
    if found.staffing.all_have_own_passwords():
        try:
            found.paths.staff_passwords.unlink(missing_ok=True)
        except OSError:
            flask.current_app.logger.info("%s goes at the next start", found.paths.staff_passwords)


def _to(endpoint: str) -> flask.Response:
    response = flask.redirect(flask.url_for(endpoint), 303)
    assert isinstance(response, flask.Response)  # noqa: S101 - werkzeug's type is wider
    return response
