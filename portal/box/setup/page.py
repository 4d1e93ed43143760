"""The setup page: four steps and a card, without scripts, for a telephone of 320 px. It runs unprivileged.

It must not touch the system: what changes something is asked of portal.box.setup.helper over a socket pair. There is
one technician; the answers are in this process's memory, and a power cut begins anew.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import flask
import segno
from werkzeug.wrappers import Response

from portal import listener, privileges, wsgi
from portal.box import tray
from portal.box.setup import line as lines
from portal.box.setup.answers import Answers
from portal.box.setup.helper import CHANNEL, OWN_ADDRESS
from portal.box.setup.line import Row
from portal.box.setup.words import LANGUAGES, words
from portal.config import SiteConfig
from portal.release import VERSION

CSS: Final = Path(__file__).parents[2] / "guest/templates/style.css"
MORE_CSS: Final = (
    "select{width:100%;min-height:3rem;padding:.5rem .75rem;border:2px solid var(--edge);border-radius:.5rem;"
    "background:var(--bg);color:var(--ink);font:inherit}"
    "pre{padding:.75rem;border:1px solid var(--line);border-radius:.5rem;font-size:.9375rem;white-space:pre-wrap;"
    "overflow-wrap:anywhere}"
    ".verdict{margin:0 0 .75rem;padding:.5rem 1rem;border:.1875rem solid currentColor;border-radius:.5rem;"
    "font-size:1.5rem;font-weight:700;text-align:center}.qr{background:#fff;padding:.5rem}"
    ".secret{font-family:ui-monospace,monospace;white-space:nowrap}"
)
KINDS: Final = ("dhcp", "static", "pppoe", "usb")


class Channel:
    """Asks the helper, one request at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._lines = end.makefile("rwb")
        self._lock = threading.Lock()

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        with self._lock:
            self._lines.write(json.dumps({"do": do, **more}).encode() + b"\n")
            self._lines.flush()
            answer = self._lines.readline()
        found: dict[str, Any] = json.loads(answer) if answer else {"error": "The helper has ended."}
        return found


class Wizard:
    """What is known so far, and the pages that ask for the rest. ``ask`` is Channel.ask; ``look`` tests the line."""

    def __init__(self, ask: Callable[..., dict[str, Any]], look: Callable[..., list[Row]]) -> None:
        self.answers = Answers()
        self.rows: list[Row] = []  # of the line
        self.token = secrets.token_urlsafe(18)
        self.saved: dict[str, Any] | None = None
        self.saved_by: str | None = None  # the address of who saved: nobody else is shown the passwords
        self._ask = ask
        self._look = look
        self._css = CSS.read_text(encoding="utf-8") + MORE_CSS

    # --- answering ------------------------------------------------------------------------------------------------

    def show(self, template: str, status: int = 200, **more: Any) -> tuple[str, int]:
        said = {"w": words(_language()), "css": self._css, "lang": _language(), "languages": LANGUAGES, "to": _to}
        known = {"token": self.token, "answers": self.answers, "kinds": KINDS, "nonce": flask.g.nonce}
        return flask.render_template(template, **said, **known, **more), status

    def step(self, name: str, number: int, **more: Any) -> tuple[str, int] | None:
        """Take the form of a step; the page with its mistakes, or None where there are none."""
        self.answers = self.answers.with_step(name, flask.request.form)
        found = [(tray.in_indonesian(m), m) for m in self.answers.mistakes(name)]
        return self.show(f"{name}.html", 422, number=number, mistakes=found, **more) if found else None

    def asked(self, number: int, again: str, do: str, **more: Any) -> tuple[dict[str, Any], Any]:
        """The helper's answer, and the page that says why there is none."""
        answer = self._ask(do, **more)
        if "error" not in answer:
            return answer, None
        return answer, self.show("broken.html", 503, number=number, error=answer["error"], again=again)

    # --- pages ----------------------------------------------------------------------------------------------------

    def site(self) -> Any:
        return self.show("site.html", number=1, mistakes=(), site_error=self._ask("state").get("site_error", ""))

    def take_site(self) -> Any:
        return self.step("site", 1) or _see_other("/line")

    def line(self) -> Any:
        return self.show("line.html", number=2, mistakes=())

    def take_line(self) -> Any:
        if (wrong := self.step("line", 2)) is not None:
            return wrong
        self.rows = []
        _, broken = self.asked(2, "/line", "line", uplink=self.answers.document().get("uplink", {}))
        if broken is not None:
            return broken
        self.rows = self._look(_config(self.answers).uplink)
        return self.show("tested.html", number=2, rows=self.rows, passed=lines.passed(self.rows))

    def wifi(self) -> Any:
        state, broken = self.asked(3, "/wifi", "state")
        return broken or self.show("wifi.html", number=3, mistakes=(), state=state, rows=_wifi_rows(state))

    def take_wifi(self) -> Any:
        state, broken = self.asked(3, "/wifi", "state")
        return broken or self.step("wifi", 3, state=state) or _see_other("/finish")

    def finish(self) -> Any:
        if self.answers.mistakes():
            return _see_other("/")
        return self.show("finish.html", number=4, rows=self.rows, text=_without_password(self.answers))

    def save(self) -> Any:
        state, broken = self.asked(4, "/finish", "state")
        if broken is None:
            answer, broken = self.asked(4, "/finish", "save", text=self.answers.text())
        if broken is not None:
            return broken
        wifi = _config(self.answers).wifi
        ssid = wifi.ssid if wifi.enabled and state.get("radio") else None
        found = {"rows": [*self.rows, *_wifi_rows(state, own=wifi.enabled)], "ssid": ssid}
        self.saved = answer | found | {"device": state.get("device", "")}
        self.saved_by = flask.request.remote_addr
        return _see_other("/saved")

    def show_saved(self) -> Any:
        if self.saved is None:
            return _see_other("/")
        config, rows = _config(self.answers), self.saved["rows"]
        passed = bool(self.rows) and lines.passed(rows)  # a line that nobody tested has not passed
        qr = card(config, self.saved["device"], passed, self.saved["ssid"])
        staff_pages, users = read_paper(self.saved["passwords"])
        more: dict[str, Any] = {"saved": self.saved, "staff_pages": staff_pages, "users": users}
        return self.show("saved.html", config=config, rows=rows, passed=passed, qr=qr, **more)

    def restart(self) -> Any:
        _, broken = self.asked(4, "/saved", "restart")
        return broken or self.show("restarting.html", ssid=(self.saved or {}).get("ssid"))


def create_app(
    ask: Callable[..., dict[str, Any]], look: Callable[..., list[Row]] = lines.look, address: str = OWN_ADDRESS
) -> flask.Flask:
    app = flask.Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    wizard = Wizard(ask, look)
    for path, method, view in (
        ("/", "GET", wizard.site),
        ("/", "POST", wizard.take_site),
        ("/line", "GET", wizard.line),
        ("/line", "POST", wizard.take_line),
        ("/wifi", "GET", wizard.wifi),
        ("/wifi", "POST", wizard.take_wifi),
        ("/finish", "GET", wizard.finish),
        ("/finish", "POST", wizard.save),
        ("/saved", "GET", wizard.show_saved),
        ("/restart", "POST", wizard.restart),
    ):
        app.add_url_rule(path, f"{method} {path}", view, methods=[method])

    def home(_error: Exception | None = None) -> Response:
        return flask.redirect(f"http://{address}/", 302)

    app.register_error_handler(404, home)
    app.register_error_handler(405, home)

    @app.before_request
    def guard() -> Response | tuple[str, int] | None:
        """Every other name leads here (so do telephones' own checks), and only our own form may change anything."""
        flask.g.nonce = secrets.token_urlsafe(12)
        request = flask.request
        if request.host.partition(":")[0] != address:
            return home()
        if request.method == "POST" and not secrets.compare_digest(request.form.get("token", ""), wizard.token):
            return _see_other("/")
        if wizard.saved is None:
            return None
        if request.remote_addr != wizard.saved_by:
            return wizard.show("done.html", 403)
        return None if request.path in ("/saved", "/restart") else _see_other("/saved")

    @app.after_request
    def headers(response: flask.Response) -> flask.Response:
        response.headers["Cache-Control"] = "no-store"
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'nonce-{flask.g.get('nonce', '')}'; img-src data:; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return app


def _language() -> str:
    return "en" if flask.request.args.get("lang") == "en" else "id"


def _to(path: str) -> str:
    return path + ("?lang=en" if _language() == "en" else "")


def _see_other(path: str) -> Response:
    return flask.redirect(_to(path), 303)


def _config(answers: Answers) -> SiteConfig:
    """With a code that stands in while there is none: a step may be tried out of its turn."""
    from portal import site  # noqa: PLC0415

    document = answers.document()
    document["site"].setdefault("code", "11.01.01.2001")
    config, mistakes = site.check_document("site.toml", document, files=False, here=False)
    if config is None:
        raise ValueError(str(mistakes[0]))
    return config


def _wifi_rows(state: Mapping[str, Any], *, own: bool = True) -> list[Row]:
    """Villagers need a radio that sends or an access point on a port: one of the two. ``own``: the radio shall send.

    Where it shall not, the access point is plugged in afterwards: whoever is on it could set the box up.
    """
    radio, ports = state.get("radio"), list(state.get("ports", ()))
    if radio is not None and not own:
        return [Row("port", bool(ports) or None, ", ".join(ports))]
    sends = [] if radio is None else [Row("radio", bool(radio) or (None if ports else False))]
    return [*sends, Row("port", bool(ports) or (None if radio else False), ", ".join(ports))]


def _without_password(answers: Answers) -> str:
    said = {key: "***" if key == "uplink.password" and text else text for key, text in answers.given.items()}
    return Answers(said).text().partition("\n\n")[2]


def read_paper(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The staff pages' address, and each name with its password, of what portal.staff.start.first_passwords wrote."""
    heading, *lines = text.splitlines()
    users = [line.split()[:2] for line in lines if line.startswith("  ")]
    return heading.rpartition(" ")[2], [(name, password) for name, password in users]


def card(config: SiteConfig, device: str, passed: bool, ssid: str | None) -> str:
    """What was set, for whoever photographs the card: a data: address of an SVG. No secret is in it.

    ``ssid``: None where an access point has it.
    """
    said = [
        f"GERBANG {config.site.code}",
        config.site.name,
        f"uplink {config.uplink.kind}" + (f" vlan {config.uplink.vlan}" if config.uplink.vlan else ""),
        "access point" if ssid is None else f"ssid {ssid}",
        f"device {device}",
        f"version {VERSION}",
        "PASS" if passed else "NOT PASSED",
    ]
    code = segno.make("\n".join(part for part in said if part), error="m", micro=False)
    return str(code.svg_data_uri(scale=4, border=2))


class _Nothing:
    """There is nothing behind these pages."""

    def start(self) -> None:
        return

    def close(self) -> None:
        return


def main() -> None:
    logging.basicConfig(level=logging.INFO, handlers=[logging.StreamHandler()], format="%(message)s")
    channel = Channel(socket.socket(fileno=int(os.environ.pop(CHANNEL))))
    page = listener.inherited()
    if page is None:
        sys.exit(os.EX_USAGE)
    app = create_app(channel.ask)
    with app.test_request_context(base_url=f"http://{OWN_ADDRESS}/"):
        app.preprocess_request()
        app.jinja_env.get_template("site.html")  # loaded while the source can be read
    time.tzset()
    privileges.drop(privileges.PORTAL_USER, os.getppid())
    wsgi.run(wsgi.Prepared(app, _Nothing(), None, "gerbang-setup"), page, Path("/dev/shm"))  # noqa: S108


if __name__ == "__main__":
    main()
