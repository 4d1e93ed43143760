"""The guest's pages and forms: asks the gate, decides which page is the answer. It must not know the kernel or SQL.

There are no cookies, and the language travels in the URL. A form changes something only where no other site sent it;
what the gate refuses is said on the page where the next attempt is made.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import flask

from portal.blocklist import Blocklist, host_name
from portal.config import SiteConfig
from portal.domain import codes
from portal.domain.model import Notice, Now, Refusal, Session, Uplink, UplinkState, Visit
from portal.gatekeeper import GateError, Gatekeeper, Refused
from portal.guest.answers import HTML, answer, is_from_elsewhere, redirect, remote_ipv4
from portal.guest.arrivals import Arrivals, Complaints
from portal.guest.captive_api import CONTENT_TYPE, captive_state
from portal.guest.door import Door, Doorkeeper, Form
from portal.guest.pages import Page, Pages
from portal.guest.standing import Standing
from portal.guest.words import Words
from portal.language import Language

log = logging.getLogger("gerbang.guest")

RETRY_AFTER_S: Final = 10
MOST_TYPED: Final = 24  # of a wrong code, to be shown again
T = TypeVar("T")
Enter = Callable[[str, str | None], Session]


class Views:
    """Of one site. Everything they will need is loaded when this is made.

    :raises ValueError: a catalogue that cannot be read
    """

    def __init__(
        self,
        config: SiteConfig,
        gate: Gatekeeper,
        *,
        arrivals: Arrivals,
        complaints: Complaints,
        blocked: Blocklist,
        read_clock: Callable[[], Now],
    ) -> None:
        self._gate = gate
        self._arrivals = arrivals
        self._complaints = complaints
        self._blocked = blocked
        self._read_clock = read_clock
        self._ipv4 = config.lan.address.partition("/")[0]
        self._name = config.portal.name.lower()
        self._terms_version = config.portal.terms_version
        self._words = Words(config)
        self._pages = Pages(config, self._words)
        self._doors = Doorkeeper(config, self._words)
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
        self._make_common_pages()

    # --- pages ------------------------------------------------------------------------------------------------------

    def landing(self) -> flask.Response:
        visit, session = self._arrivals.online()
        if session is not None:
            return self.go(302, "/status")
        if visit is not None and visit.place is not None and visit.rule != "block":
            # Whoever looks at this page is still waiting.
            visit = dataclasses.replace(visit, place=self._gate.wait(visit.mac))
        language = self._language()
        return self._page(self._pages.landing(language, self._door(language, visit)))

    def status(self) -> flask.Response:
        visit, session = self._arrivals.online()
        if visit is None or session is None:
            return self.go(302, "/")
        if visit.moved_wall_s is not None:  # the page where it came in again has told it
            self._gate.told_moved(visit.mac)
        page = self._pages.status(
            self._language(),
            self._standing(visit, session),
            return_code=_return_code(visit, session),
            may_leave=session.method != "rule",
            uplink=self._gate.uplink(),
        )
        return self._page(page)

    def return_code(self) -> flask.Response:
        visit, session = self._arrivals.online()
        code = _return_code(visit, session) if visit is not None and session is not None else None
        return self.go(302, "/") if code is None else self._page(self._pages.return_code(self._language(), code))

    def code_page(self, code: str) -> flask.Response:
        """Where a QR leads. Opening it does nothing: whatever fetches links by itself must not use up a voucher."""
        language = self._language()
        visit = self._arrivals.visit()
        parsed = codes.parse(code)
        if parsed is None:
            return self._refused(visit, Refused(Refusal.CODE_WRONG), Form.CODE, code)
        moved = self._door(language, visit).moved
        online = visit is not None and visit.session is not None
        return self._page(self._pages.code(language, parsed, online=online, moved=moved))

    def info(self) -> flask.Response:
        """Readable whatever is broken: it is where people look then."""
        language, now = self._language(), self._read_clock()
        visit = self._or_none(self._arrivals.visit)
        closed = None
        if visit is not None and not visit.opening.is_open:
            plan = self._words.plan(visit.plan)
            closed = self._words.closed(language, visit.opening, plan, now.wall_s)
        uplink = self._or_none(self._gate.uplink) or Uplink(UplinkState.UNKNOWN, None)
        page = self._pages.info(
            language,
            self._notices(),
            uplink=self._words.uplink(language, uplink, now.wall_s),
            closed=closed,
            now_wall_s=now.wall_s,
        )
        return self._page(page)

    def notice(self, notice_id: int) -> flask.Response:
        for notice in self._notices() or ():
            if notice.id == notice_id:
                return self._page(self._pages.notice(self._language(), notice))
        return self.go(302, "/info")

    def blocked(self) -> flask.Response:
        """Only names that are blocked are repeated: a link made up by somebody names nothing."""
        name = host_name(flask.request.args.get("name", "")) or ""
        shown = name if self._blocked.covers(name) else ""
        return self._page(self._pages.blocked(self._language(), shown))

    def no_icon(self) -> flask.Response:
        return answer(204, b"", [])

    def api(self) -> flask.Response:
        secure = flask.request.scheme == "https"
        base_url = f"https://{self._name}" if secure else f"http://{self._ipv4}"
        visit, session = self._arrivals.online()
        if visit is None or session is None:
            body = captive_state(base_url, captive=True)
        else:
            standing = self._standing(visit, session)
            body = captive_state(
                base_url,
                captive=False,
                remaining_s=standing.remaining_s,
                remaining_bytes=standing.remaining_bytes,
            )
        return answer(200, body, [], content_type=CONTENT_TYPE, cache_control="private, no-store")

    # --- forms ------------------------------------------------------------------------------------------------------

    def login(self) -> flask.Response:
        return self._enter(lambda mac, ipv4: self._gate.enter_by_terms(mac, ipv4, self._terms_version))

    def code(self) -> flask.Response:
        typed = flask.request.form.get("code", "")
        return self._enter(lambda mac, ipv4: self._gate.enter_by_code(mac, ipv4, typed), Form.CODE, typed)

    def account(self) -> flask.Response:
        name, password = flask.request.form.get("name", "").strip(), flask.request.form.get("password", "")
        return self._enter(lambda mac, ipv4: self._gate.enter_by_account(mac, ipv4, name, password), Form.ACCOUNT)

    def wait(self) -> flask.Response:
        return self._act(self._wait)

    def told(self) -> flask.Response:
        return self._act(self._gate.told_moved)

    def logout(self) -> flask.Response:
        def leave(mac: str) -> None:
            session = self._gate.session(mac)
            if session is not None:
                self._gate.logout(session)

        return self._act(leave)

    def _act(self, act: Callable[[str], object]) -> flask.Response:
        """What leads to the first page, whatever comes of it."""
        if is_from_elsewhere():
            return self.problem(403, "other-site")
        mac = self._arrivals.mac()
        if mac is not None:
            act(mac)
        return self.go(303, "/")

    def _wait(self, mac: str) -> None:
        try:
            self._gate.wait(mac)
        except Refused as refused:  # the first page says it
            log.debug("may not wait: %s", refused.refusal)

    def _enter(self, enter: Enter, tried: Form | None = None, typed: str = "") -> flask.Response:
        if is_from_elsewhere():
            return self.problem(403, "other-site")
        mac = self._arrivals.mac()
        if mac is None:
            return self.problem(403, "unknown-device")
        try:
            enter(mac, remote_ipv4())
        except Refused as refused:
            if refused.refusal is Refusal.FULL:  # who has tapped to come in wants to wait, if need be
                self._wait(mac)
                return self.go(303, "/")
            return self._refused(self._gate.visit(mac), refused, tried, typed)
        return self.go(303, "/status")

    def _refused(self, visit: Visit | None, refused: Refused, tried: Form | None, typed: str) -> flask.Response:
        language = self._language()
        door = self._door(language, visit)
        now = self._read_clock()
        door = self._doors.refused(language, door, refused, now, tried=tried, typed=typed[:MOST_TYPED])
        response = self._page(self._pages.landing(language, door), 429 if refused.refusal is Refusal.ATTEMPTS else 403)
        if refused.wait_s is not None:
            response.headers["Retry-After"] = str(int(refused.wait_s) + 1)
        return response

    # --- errors -----------------------------------------------------------------------------------------------------

    def gate_problem(self, error: GateError) -> flask.Response:
        self._complaints.tell(f"{flask.request.method} {flask.request.path} failed", error)
        return self.problem(503, error.code)

    def mistake(self, error: Exception) -> flask.Response:
        log.error("%s %s failed", flask.request.method, flask.request.path, exc_info=error)
        return self.problem(500, "error")

    def problem(self, status: int, code: str) -> flask.Response:
        if flask.request.path == "/api/captive":
            # No state is known, so none is told: the client falls back on its probes.
            return answer(status, b"", [("Retry-After", str(RETRY_AFTER_S))], cache_control="private, no-store")
        response = self._page(self._pages.problem(self._language(), code), status)
        if status == 503:
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response

    def go(self, status: int, path: str) -> flask.Response:
        """A redirect to another page in the same language."""
        return redirect(status, path + self._pages.query(self._language()))

    # --- what they share --------------------------------------------------------------------------------------------

    def _page(self, page: Page, status: int = 200) -> flask.Response:
        headers = list(self._page_headers)
        body = page.plain
        if flask.request.accept_encodings.quality("gzip") > 0:
            body = page.gzipped
            headers.append(("Content-Encoding", "gzip"))
        return flask.Response(body, status, headers, content_type=HTML)

    def _language(self) -> Language:
        """What the URL asks for, else the site's own. Not Accept-Language: cheap phones come set to English, whoever
        holds them, and English is one tap away."""
        return self._pages.languages.get(flask.request.args.get("lang", ""), self._pages.default)

    def _door(self, language: Language, visit: Visit | None) -> Door:
        return self._doors.door(language, visit, self._gate.uplink(), self._read_clock())

    def _standing(self, visit: Visit, session: Session) -> Standing:
        return Standing(
            plan=self._words.plan(session.plan),
            opening=visit.opening,
            left=visit.left,
            session_s=self._gate.remaining_s(session),
            used_bytes=self._gate.bytes_used(session),
            now=self._read_clock(),
        )

    def _notices(self) -> Sequence[Notice] | None:
        return self._or_none(self._gate.notices)

    def _or_none(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except GateError as error:
            self._complaints.tell(f"{flask.request.path} is without something", error)
            return None

    def _make_common_pages(self) -> None:
        """Before privileges are dropped, so that nothing is left to be read from disk, and to have them at once."""
        now = self._read_clock()
        for language in self._pages.languages.values():
            self._pages.landing(language, self._doors.door(language, None, Uplink(UplinkState.UNKNOWN, None), now))
            self._pages.info(language, (), uplink=None, closed=None, now_wall_s=now.wall_s)


def _return_code(visit: Visit, session: Session) -> str | None:
    """None: there is nothing to come back to. An operator's rule is on a MAC, and its code opens nothing."""
    return None if visit.person is None or session.method == "rule" else visit.person.code
