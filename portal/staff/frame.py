"""Puts a page together: template, words, navigation, headers. It must not know what pages show or who may see them.

Templates, style and script are read once, before privileges are dropped. Pages are never kept by a browser; style and
script have a hash in their names and are kept for good, because every request is a connection of its own.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import flask
from flask_login import current_user
from jinja2 import DictLoader, StrictUndefined

from portal.config import SiteConfig
from portal.domain.asking import AdministrationError
from portal.domain.staff import Role
from portal.language import Language, load_languages
from portal.staff.shared import shared

LANGUAGE_COOKIE: Final = "__Host-gerbang-staff-language"
_NAME: Final = "gerbang-frame"
_STATIC_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # same-origin and not no-referrer: the forms' check asks where a form came from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

OFFICE: Final = ("today.today", "hours.hours", "vouchers.vouchers", "notices.notices", "devices.devices")
# What each role finds at the head of every page, in this order: endpoints. Their words are "nav.<endpoint>".
NAVIGATION: Final[Mapping[Role, tuple[str, ...]]] = {
    Role.OPERATOR: OFFICE,
    Role.TECHNICIAN: (*OFFICE, "technician.health", "review.start", "audit.audit"),
    Role.REVIEWER: ("review.start", "audit.audit"),
}


@dataclass(frozen=True, slots=True)
class Static:
    body: bytes
    mimetype: str


class Frame:
    """What is the same on every page of one site."""

    def __init__(self, config: SiteConfig) -> None:
        self.config = config
        self.languages: Mapping[str, Language] = load_languages(__package__)
        self.default = self.languages.get(config.site.language) or next(iter(self.languages.values()))
        self.statics: dict[str, Static] = {}
        self.static_names: dict[str, str] = {}
        for entry in (files(__package__) / "static").iterdir():
            stem, dot, end = entry.name.rpartition(".")
            if dot + end in _STATIC_TYPES:
                body = entry.read_bytes()
                name = f"{stem}-{hashlib.sha256(body).hexdigest()[:12]}.{end}"
                self.statics[name] = Static(body, _STATIC_TYPES[dot + end])
                self.static_names[entry.name] = name


def install(app: flask.Flask, config: SiteConfig) -> None:
    """Load all that pages are made of. ValueError: a catalogue that cannot be read."""
    frame = Frame(config)
    app.extensions[_NAME] = frame
    sources = dict(_templates())
    app.jinja_loader = DictLoader(sources)
    environment = app.jinja_env
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.undefined = StrictUndefined
    environment.auto_reload = False
    environment.globals.update(static=lambda name: flask.url_for("static", filename=frame.static_names[name]))
    for name in sources:
        environment.get_template(name)

    @app.before_request
    def only_our_names() -> flask.Response | None:
        return None if _is_own(flask.request.host) else flask.Response("This is not the gateway's name.\n", 421)

    @app.after_request
    def guard(response: flask.Response) -> flask.Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _templates(folder: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in (files(__package__) / "templates" / folder).iterdir():
        if entry.is_dir():
            found |= _templates(f"{folder}{entry.name}/")
        elif entry.name.endswith(".html"):
            found[folder + entry.name] = entry.read_text("utf-8")
    return found


def _is_own(host: str) -> bool:
    """Does a Host header name this gateway? A page of another name that leads here (DNS rebinding) gets nothing."""
    config = shared().config
    name = host.lower() if host.endswith("]") else host.lower().rpartition(":")[0] or host.lower()
    own = (config.portal.name.lower(), str(ipaddress.IPv4Interface(config.lan.address).ip))
    if name in own:
        return True
    return name.startswith("[") and _address(name.strip("[]")) == _address(flask.request.environ.get("SERVER_NAME", ""))


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return text


def of(app: flask.Flask) -> Frame:
    found: Frame = app.extensions[_NAME]
    return found


def frame() -> Frame:
    """That of the application which answers now."""
    return of(flask.current_app)


def language() -> Language:
    """What the link asks for, else what was asked for last, else the site's own."""
    found = frame()
    asked = flask.request.args.get("lang") or flask.request.cookies.get(LANGUAGE_COOKIE, "")
    return found.languages.get(asked, found.default)


def now_wall_s() -> float:
    return shared().read_clock().wall_s


def moment(wall_s: float) -> str:
    """A moment as people say it, on the site's clock."""
    return language().moment(wall_s, now_wall_s(), shared().zone)


def date(day: dt.date) -> str:
    """A day as people write it: 24 Des 2026."""
    return language().day(day)


def render(template: str, status: int = 200, /, **values: Any) -> flask.Response:
    """The page made of ``template``; its title is the message ``<template's name>.title`` unless ``title`` is given.

    Templates have ``_`` (text of a message), ``lang``, ``moment``, ``role``, and ``told``: a sentence on what was just
    done, for pages that were come to by ``done``.
    """
    words, here = language(), flask.request.endpoint
    user = None if flask.g.get("without_user") or not current_user.is_authenticated else current_user
    stem = template.rpartition("/")[2].removesuffix(".html")
    config = frame().config
    told = flask.request.args.get("told", "")
    values.setdefault("title", words.text(f"{stem}.title"))
    html = flask.render_template(
        template,
        **{
            "_": words.text,
            "lang": words,
            "languages": tuple(frame().languages.values()),
            "moment": moment,
            "site": config.site.name or config.wifi.ssid,
            "user": user,
            "role": user.role if user else None,
            "navigation": [] if user is None or user.staff.must_change else _navigation(user.role, here),
            "told": word_or(f"told.{told}", "") if told else "",
            "here": flask.request.path if flask.request.method == "GET" else flask.url_for("account.home"),
            "warning": flask.request.args.get("late") == "1",
            **values,
        },
    )
    response = flask.Response(html, status)
    if flask.request.args.get("lang") == words.code:
        response.set_cookie(LANGUAGE_COOKIE, words.code, path="/", secure=True, httponly=True, samesite="Strict")
    return response


def _navigation(role: Role, here: str | None) -> list[dict[str, Any]]:
    blueprint = (here or "").partition(".")[0]
    return [
        {
            "href": flask.url_for(endpoint),
            "label": language().text(f"nav.{endpoint.partition('.')[0]}"),
            "here": endpoint.partition(".")[0] == blueprint,
        }
        for endpoint in NAVIGATION[role]
    ]


def word_or(message_id: str, otherwise: str) -> str:
    """The message where the catalogue has it: for names that other parts of the program give."""
    found = language().text(message_id)
    return otherwise if found == message_id else found


def sentence_of(error: AdministrationError) -> str:
    """Why something that was asked for cannot be done, in the page's language: the message ``asked.<code>``."""
    words = language()
    values = {name: str(value) for name, value in error.values.items()}
    if "field" in values:
        values["field"] = words.text(f"field.{values['field']}")
    return words.text(f"asked.{error.code}", **values) if values else words.text(f"asked.{error.code}")


def done(endpoint: str, told: str, *, late: bool = False, **values: Any) -> flask.Response:
    """303 to a page that says what was done: the message ``told.<told>``. ``late``: netctl does not follow yet."""
    target = flask.url_for(endpoint, told=told, late="1" if late else None, **values)
    response = flask.redirect(target, 303)
    assert isinstance(response, flask.Response)  # noqa: S101 - werkzeug's type is wider
    return response
