"""The technician's pages: health, one device, rates, speed test. It must not know how anything is found out.

Sentences are of portal.technician.words; ``t`` in these templates has them. Configuration and files are in
portal.staff.technician_files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import flask

from netctl.api.errors import NetctlError
from portal import report
from portal.domain.staff import Role
from portal.rates import Rate
from portal.staff.auth import me, roles
from portal.staff.frame import language, moment, render
from portal.staff.shared import shared
from portal.store import figures
from portal.technician import diagnosis
from portal.technician.speedtest import SpeedTest
from portal.technician.words import like

blueprint = flask.Blueprint("technician", __name__)

PAGES: Final = ("health", "device", "rates", "speed", "config", "backup", "outbox", "update")
_SPEED: Final = "gerbang-speedtest"


@dataclass(frozen=True, slots=True)
class Row:
    """A device that is online, with what it does now."""

    session_id: int
    name: str
    plan: str
    since: str
    down: str
    up: str


def show(page: str, status: int = 200, /, **values: Any) -> flask.Response:
    """One of PAGES, its title and the way to the others."""
    words = like(language().code)
    links = [(flask.url_for(f"technician.{name}"), words.text(f"page.{name}"), name == page) for name in PAGES]
    title = values.pop("title", words.text(f"page.{page}.title"))
    template = values.pop("template", page)
    return render(f"technician/{template}.html", status, title=title, t=words.text, links=links, **values)


@blueprint.get("/technician")
@roles(Role.TECHNICIAN)
def health() -> flask.Response:
    """What the doctor finds, what is wrong first."""
    words = like(language().code)
    found = report.doctor(shared().paths, shared().paths.site, words)
    found.sort(key=lambda finding: ("fail", "warn", "ok").index(finding.level))
    wrong = sum(finding.level == "fail" for finding in found)
    unsure = any(finding.level == "warn" for finding in found)
    return show("health", findings=found, wrong=wrong, unsure=unsure, part=_part)


def _part(name: str) -> str:
    """What people call a part of the gateway; netctl's own doctor has names of its own."""
    found = like(language().code).text(f"part.{name}")
    return name if found == f"part.{name}" else found


@blueprint.get("/technician/device")
@roles(Role.TECHNICIAN)
def device() -> flask.Response:
    """Why can this phone not get on?"""
    asked, at = flask.request.args.get("device", "").strip()[:64], shared()
    if not asked:
        return show("device", asked="", found=None)
    words = like(language().code)
    found = diagnosis.diagnose(asked, at.config, at.paths, at.database, words, key=at.key, now=at.read_clock())
    return show("device", asked=asked, found=found)


# --- rates ----------------------------------------------------------------------------------------------------------


@blueprint.get("/technician/rates")
@roles(Role.TECHNICIAN)
def rates() -> flask.Response:
    rows, problem = _rows()
    return show("rates", rows=rows, problem=problem)


@blueprint.get("/technician/rates/live")
@roles(Role.TECHNICIAN, quiet=True)
def live() -> flask.Response:
    """The same for the script of an open page."""
    rows, _ = _rows()
    texts = {f"down-{row.session_id}": row.down for row in rows}
    texts |= {f"up-{row.session_id}": row.up for row in rows}
    return flask.jsonify({"texts": texts, "devices": [row.session_id for row in rows]})


def _rows() -> tuple[list[Row], str | None]:
    """Who is online, the fastest first; a sentence where nobody's rate is known."""
    at = shared()
    with at.database.read() as db:
        online = figures.online(db)
    try:
        found, problem = at.rates.read(), None
    except NetctlError as error:
        found, problem = {}, error.message

    def speed(session_id: int) -> float:
        rate = found.get(session_id)
        return 0.0 if rate is None else rate.down_kbit + rate.up_kbit

    rows = [
        Row(
            session_id=one.session_id,
            name=at.device_name(one.mac),
            plan=at.rules.plan(one.plan).name,
            since=moment(one.started_wall_s),
            down=_shown(found.get(one.session_id), "down_kbit"),
            up=_shown(found.get(one.session_id), "up_kbit"),
        )
        for one in sorted(online, key=lambda one: -speed(one.session_id))
    ]
    return rows, problem


def _shown(rate: Rate | None, way: str) -> str:
    return "-" if rate is None else language().rate(round(getattr(rate, way)))


# --- speed test -----------------------------------------------------------------------------------------------------


@blueprint.get("/technician/speed")
@roles(Role.TECHNICIAN)
def speed() -> flask.Response:
    test, uplink = _speed_test(), shared().config.uplink
    down = None if uplink.down_kbit is None else language().rate(uplink.down_kbit)
    measured = test.last
    result = None if measured is None or measured.mbit_s is None else language().rate(round(measured.mbit_s * 1000))
    return show(
        "speed",
        url=shared().config.staff.speed_test_url,
        running=test.running,
        measured=measured,
        result=result,
        size=None if measured is None else language().size(measured.received_bytes),
        seconds=None if measured is None else language().number(measured.seconds),
        down=down,
    )


@blueprint.post("/technician/speed")
@roles(Role.TECHNICIAN)
def measure() -> flask.Response:
    if shared().config.staff.speed_test_url:
        _speed_test().start(shared().config.staff.speed_test_url)
    return _to("speed")


def _speed_test() -> SpeedTest:
    """The process's one test, made when it is first asked for."""
    extensions = flask.current_app.extensions
    found: SpeedTest = extensions.setdefault(_SPEED, SpeedTest(shared().read_clock))
    return found


def _to(page: str) -> flask.Response:
    response = flask.redirect(flask.url_for(f"technician.{page}"), 303)
    assert isinstance(response, flask.Response)  # noqa: S101 - werkzeug's type is wider
    return response


def who() -> str:
    """For the audit trail and the supervisor's log."""
    return me().name
