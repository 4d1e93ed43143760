"""Puts the guest's web application together: which address leads to which view. It must not know what they do.

A request for one of the gateway's own names gets a page. Every other one is a phone asking for somebody else, and
redirected here because the kernel does not let it pass (portal.guest.captive).
"""

from __future__ import annotations

from collections.abc import Callable

import flask
from werkzeug.exceptions import HTTPException

from portal import clock
from portal.blocklist import Blocklist
from portal.config import SiteConfig
from portal.domain.model import Now
from portal.gatekeeper import GateError, Gatekeeper, Refused
from portal.guest.arrivals import Arrivals, Complaints
from portal.guest.captive import Captive
from portal.guest.views import Views


def create_app(config: SiteConfig, gate: Gatekeeper, read_clock: Callable[[], Now] = clock.now) -> flask.Flask:
    """The WSGI application of one site. Everything it will need is loaded when this returns.

    :raises ValueError: a catalogue that cannot be read
    """
    app = flask.Flask(__name__, static_folder=None, template_folder=None)
    arrivals, complaints, blocked = Arrivals(gate), Complaints(), Blocklist.load(config)
    views = Views(config, gate, arrivals=arrivals, complaints=complaints, blocked=blocked, read_clock=read_clock)
    ipv4 = config.lan.address.partition("/")[0]
    app.after_request(arrivals.note)
    app.before_request(Captive(arrivals, complaints, blocked, ipv4, config.portal.name).redirect)
    for path, view, method in (
        ("/", views.landing, "GET"),
        ("/status", views.status, "GET"),
        ("/return", views.return_code, "GET"),
        ("/info", views.info, "GET"),
        ("/info/<int:notice_id>", views.notice, "GET"),
        ("/v/<code>", views.code_page, "GET"),
        ("/blocked", views.blocked, "GET"),
        ("/api/captive", views.api, "GET"),
        ("/favicon.ico", views.no_icon, "GET"),
        ("/login", views.login, "POST"),
        ("/code", views.code, "POST"),
        ("/account", views.account, "POST"),
        ("/wait", views.wait, "POST"),
        ("/told", views.told, "POST"),
        ("/logout", views.logout, "POST"),
    ):
        app.add_url_rule(path, view_func=view, methods=[method], provide_automatic_options=False)

    def not_a_page(error: HTTPException) -> flask.Response:
        # An unknown path or a wrong method here is a person who should see the first page, not "404".
        return views.problem(error.code, "error") if error.code in (411, 413) else views.go(302, "/")

    app.register_error_handler(GateError, views.gate_problem)
    # An operator's word, come in between two questions to the gate: the next page tells it.
    app.register_error_handler(Refused, lambda _: views.go(302, "/"))
    app.register_error_handler(HTTPException, not_a_page)
    app.register_error_handler(Exception, views.mistake)
    return app
