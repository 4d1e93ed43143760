"""Answers villagers' phones: connectivity probes, the pages, login and logout, the RFC 8908 API. It must not know the
kernel, SQL, or how the gate does what it is asked.

A request for one of the gateway's own names gets a page. Every other one is a phone asking for somebody else and
redirected here because the kernel does not let it pass: it gets 302 to the portal, whatever it asked for. A device is
known by the MAC that the kernel gives for its address; there are no cookies, and the language travels in the URL.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import threading
import time
from collections import OrderedDict
from zoneinfo import ZoneInfo

import flask
from werkzeug.exceptions import HTTPException

from portal.admission import GateError, Gatekeeper
from portal.config import Plan, SiteConfig
from portal.domain.model import Session, UplinkState
from portal.guest.captive_api import CONTENT_TYPE, captive_state
from portal.guest.pages import Page, Pages
from portal.language import Language

log = logging.getLogger("gerbang.guest")

RETRY_AFTER_S = 10
_HTML = "text/html; charset=utf-8"
# What a Host header may hold for us to repeat it in a Location: a name or IPv4 address, and a port (RFC 3986, 3.2).
_PLAIN_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,252})(?::[0-9]{1,5})?")
_REFUSED_CODE = "other-site"


def create_app(config: SiteConfig, gate: Gatekeeper) -> flask.Flask:
    """The WSGI application of one site. Everything it will need is loaded when this returns.

    :raises ValueError: a catalogue that cannot be read
    """
    app = flask.Flask(__name__, static_folder=None, template_folder=None)
    portal = _Portal(config, gate)
    app.before_request(portal.captive_redirect)
    for path, view, method in (
        ("/", portal.landing, "GET"),
        ("/status", portal.status, "GET"),
        ("/info", portal.info, "GET"),
        ("/api/captive", portal.api, "GET"),
        ("/favicon.ico", portal.no_icon, "GET"),
        ("/login", portal.login, "POST"),
        ("/logout", portal.logout, "POST"),
    ):
        app.add_url_rule(path, view_func=view, methods=[method], provide_automatic_options=False)
    app.register_error_handler(GateError, portal.gate_problem)
    # An unknown path or a wrong method here is a person who should see the first page, not "404".
    app.register_error_handler(HTTPException, lambda _: portal.redirect(302, "/"))
    app.register_error_handler(Exception, portal.mistake)
    return app


class _Portal:
    """The views, with what they share."""

    def __init__(self, config: SiteConfig, gate: Gatekeeper) -> None:
        self._gate = gate
        self._ipv4 = str(ipaddress.IPv4Interface(config.lan.address).ip)
        self._name = config.portal.name.lower()
        self._terms_version = config.portal.terms_version
        self._plans = {plan.id: plan for plan in config.plan}
        self._plan = config.plan[0]
        self._zone = ZoneInfo(config.site.timezone)
        self._pages = Pages(config, self._ipv4)
        self._elsewhere = _redirect_body(f"http://{self._ipv4}/")
        self._returns = _Returns()
        self._complaints = _Complaints()
        policy = (
            f"default-src 'none'; style-src '{self._pages.style_hash}'; img-src data:; form-action 'self'; "
            "frame-ancestors 'none'; base-uri 'none'"
        )
        self._page_headers = (
            ("Content-Security-Policy", policy),
            # same-origin and not no-referrer: with that, browsers send "Origin: null" from our own forms.
            ("Referrer-Policy", "same-origin"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        )

    # --- requests for others ------------------------------------------------------------------------------------

    def captive_redirect(self) -> flask.Response | None:
        host = flask.request.headers.get("Host", "").strip().lower()
        if self._is_own(host):
            return None
        back = self._let_back_in(host)
        if back is not None:
            return _answer(302, _redirect_body(back), [("Location", back)])
        return _answer(302, self._elsewhere, [("Location", f"http://{self._ipv4}/")])

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this gateway, by whatever port.

        The LAN's IPv6 addresses come and go with the uplink's prefix, so a literal is compared with the address that
        the connection was made to; a literal that the redirect has changed gets one hop to the IPv4 address."""
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if not (name and (port.isdigit() or not port)):
            name = host
        if name in (self._ipv4, self._name):
            return True
        if name.startswith("["):
            return _normal_ip(name.strip("[]")) == _normal_ip(flask.request.environ.get("SERVER_NAME", ""))
        return False

    def _let_back_in(self, host: str) -> str | None:
        """The URL to send a device back to that has a session but was not let pass: it came on another address."""
        request = flask.request
        if request.method not in ("GET", "HEAD") or not _PLAIN_HOST.fullmatch(host):
            return None
        try:
            mac, session = self._who()
            if mac is None or session is None or not self._returns.may_return(mac):
                return None
            self._renew(mac, session)
        except GateError as error:
            self._complaints.tell("a device could not be let back in", error)
            return None
        path = request.environ.get("RAW_URI") or request.full_path
        return f"http://{host}{path}" if path.startswith("/") else None

    # --- pages --------------------------------------------------------------------------------------------------

    def landing(self) -> flask.Response:
        language = self._language()
        _, session = self._who()
        if session is not None:
            return self.redirect(302, "/status")
        return self._page(self._pages.landing(language, self._uplink_down(language)))

    def status(self) -> flask.Response:
        language = self._language()
        session = self._session_here()
        if session is None:
            return self.redirect(302, "/")
        up_bytes, down_bytes = self._gate.bytes_used(session)
        page = self._pages.status(
            language,
            self._plan_of(session),
            remaining_s=self._gate.remaining_s(session),
            up_bytes=up_bytes,
            down_bytes=down_bytes,
            uplink_down=self._uplink_down(language),
        )
        return self._page(page)

    def info(self) -> flask.Response:
        return self._page(self._pages.info(self._language()))

    def no_icon(self) -> flask.Response:
        return _answer(204, b"", [])

    def login(self) -> flask.Response:
        if self._is_from_elsewhere():
            return self._problem(403, _REFUSED_CODE)
        mac, session = self._who()
        if mac is None:
            return self._problem(403, "unknown-device")
        self._gate.login(mac, self._ipv4_of(session), self._plan, self._terms_version)
        return self.redirect(303, "/status")

    def logout(self) -> flask.Response:
        if self._is_from_elsewhere():
            return self._problem(403, _REFUSED_CODE)
        _, session = self._who()
        if session is not None:
            self._gate.logout(session)
        return self.redirect(303, "/")

    def api(self) -> flask.Response:
        secure = flask.request.scheme == "https"
        base_url = f"https://{self._name}" if secure else f"http://{self._ipv4}"
        session = self._session_here()
        if session is None:
            body = captive_state(base_url, captive=True)
        else:
            body = captive_state(base_url, captive=False, remaining_s=self._gate.remaining_s(session))
        return _answer(200, body, [], content_type=CONTENT_TYPE, cache_control="private, no-store")

    # --- errors -------------------------------------------------------------------------------------------------

    def gate_problem(self, error: GateError) -> flask.Response:
        self._complaints.tell(f"{flask.request.method} {flask.request.path} failed", error)
        return self._problem(503, error.code)

    def mistake(self, error: Exception) -> flask.Response:
        log.error("%s %s failed", flask.request.method, flask.request.path, exc_info=error)
        return self._problem(500, "error")

    def _problem(self, status: int, code: str) -> flask.Response:
        if flask.request.path == "/api/captive":
            # No state is known, so none is told: the client falls back on its probes.
            return _answer(status, b"", [("Retry-After", str(RETRY_AFTER_S))], cache_control="private, no-store")
        response = self._page(self._pages.problem(self._language(), code), status)
        if status == 503:
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response

    # --- what the views share -----------------------------------------------------------------------------------

    def redirect(self, status: int, path: str) -> flask.Response:
        location = path + self._pages.query(self._language())
        return _answer(status, _redirect_body(location), [("Location", location)])

    def _page(self, page: Page, status: int = 200) -> flask.Response:
        headers = list(self._page_headers)
        body = page.plain
        if flask.request.accept_encodings.quality("gzip") > 0:
            body = page.gzipped
            headers.append(("Content-Encoding", "gzip"))
        return flask.Response(body, status, headers, content_type=_HTML)

    def _language(self) -> Language:
        """What the URL asks for, else the site's own. Not Accept-Language: cheap phones come set to English, whoever
        holds them, and English is one tap away."""
        return self._pages.languages.get(flask.request.args.get("lang", ""), self._pages.default)

    def _who(self) -> tuple[str | None, Session | None]:
        mac = self._gate.whois(_remote_ip())
        return mac, None if mac is None else self._gate.session(mac)

    def _session_here(self) -> Session | None:
        """The running session, in force for the address that the request came from."""
        mac, session = self._who()
        if mac is None or session is None or session.ipv4 == self._ipv4_of(session):
            return session
        return self._renew(mac, session)

    def _renew(self, mac: str, session: Session) -> Session:
        """Have the kernel know the address that the device uses now."""
        return self._gate.login(mac, self._ipv4_of(session), self._plan_of(session), session.terms_version)

    def _ipv4_of(self, session: Session | None) -> str | None:
        """The IPv4 address to let in: the request's, or the one the session has when it came by IPv6."""
        ip = _remote_ip()
        return (session.ipv4 if session else None) if ":" in ip else ip

    def _plan_of(self, session: Session) -> Plan:
        return self._plans.get(session.plan, self._plan)

    def _uplink_down(self, language: Language) -> str | None:
        uplink = self._gate.uplink()
        if uplink.state is not UplinkState.DOWN:
            return None
        if uplink.since_wall_s is None:
            return language.text("uplink.down")
        since = language.moment(uplink.since_wall_s, time.time(), self._zone)
        return language.text("uplink.down-since", time=since)

    def _is_from_elsewhere(self) -> bool:
        """Whether a browser says that another site sent this form (Fetch Metadata; RFC 6454). Browsers that say nothing
        are believed: they are too old to be told apart from curl, and what is at stake is a tap."""
        site = flask.request.headers.get("Sec-Fetch-Site")
        if site is not None:
            return site not in ("same-origin", "none")
        origin = flask.request.headers.get("Origin")
        return (
            origin is not None and origin.partition("://")[2].lower() != flask.request.headers.get("Host", "").lower()
        )


class _Returns:
    """Counts how often a device was sent back to where it wanted to go, so that a kernel that still does not let it
    pass cannot make it run in a circle. A phone asks several hosts at once, so a few in a row are right."""

    WITHIN_S = 10.0
    AT_MOST = 3
    KEPT = 1024

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def may_return(self, mac: str) -> bool:
        now_s = time.monotonic()
        with self._lock:
            since_s, count = self._seen.get(mac, (now_s, 0))
            if now_s - since_s > self.WITHIN_S:
                since_s, count = now_s, 0
            self._seen[mac] = (since_s, count + 1)
            self._seen.move_to_end(mac)
            if len(self._seen) > self.KEPT:
                self._seen.popitem(last=False)
            return count < self.AT_MOST


class _Complaints:
    """Logs what is wrong with the gate once a minute for each code, and how often it was: phones ask many times a
    second, and the log is on an SD card."""

    EVERY_S = 60.0

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def tell(self, what: str, error: GateError) -> None:
        now_s = time.monotonic()
        with self._lock:
            told_s, unsaid = self._told.get(error.code, (-self.EVERY_S, 0))
            quiet = now_s - told_s < self.EVERY_S
            self._told[error.code] = (told_s, unsaid + 1) if quiet else (now_s, 0)
        if not quiet:
            log.warning("%s: %s%s", what, error, f" ({unsaid} more since the last of these lines)" if unsaid else "")


def _remote_ip() -> str:
    return _normal_ip(flask.request.remote_addr or "")


def _normal_ip(text: str) -> str:
    """One spelling per address: IPv4 that arrived on the dual-stack socket without its ::ffff: (RFC 4291, 2.5.5.2),
    IPv6 without its zone. Text that is no address comes back as it is."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip)


def _redirect_body(location: str) -> bytes:
    """For the few clients that show a redirect's body; ``location`` holds no character that HTML minds but ``&``."""
    href = location.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace('"', "%22")
    return f'<!doctype html><title>Wi-Fi</title><a href="{href}">Wi-Fi</a>\n'.encode()


def _answer(
    status: int,
    body: bytes,
    headers: list[tuple[str, str]],
    content_type: str = _HTML,
    cache_control: str = "no-store",
) -> flask.Response:
    headers.append(("Cache-Control", cache_control))
    response = flask.Response(body, status, headers, content_type=content_type)
    response.autocorrect_location_header = False
    return response
