"""The pages: small, strict, in two languages, without cookies or scripts, and true."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re

import msgspec
import pytest
from flask import Flask

from portal.config import SiteConfig
from portal.domain.model import Uplink, UplinkState
from portal.gatekeeper import GateError
from portal.guest import arrivals
from portal.guest.app import create_app
from portal.guest.pages import PROBLEMS
from tests.unit.guest.conftest import GATEWAY, MAC, PHONE, Phone
from tests.unit.guest.fake_gate import NOW, VOUCHER, FakeGate

MAX_GZIPPED_BYTES = 8 * 1024


def every_page(phone: Phone, gate: FakeGate) -> dict[str, bytes]:
    """Each page in each language, with the uplink down, where the page is longest."""
    gate.state = Uplink(UplinkState.DOWN, NOW.wall_s)
    pages = {}
    for lang in ("id", "en"):
        pages[f"landing-{lang}"] = phone.get(f"/?lang={lang}")
        pages[f"info-{lang}"] = phone.get(f"/info?lang={lang}")
        for code in PROBLEMS:
            gate.login_broken = GateError(code, "made by the test")
            pages[f"problem-{code}-{lang}"] = phone.post(f"/login?lang={lang}")
        gate.login_broken = None
        assert phone.post(f"/login?lang={lang}").status_code == 303
        pages[f"status-{lang}"] = phone.get(f"/status?lang={lang}")
        assert phone.post(f"/logout?lang={lang}").status_code == 303
    return pages


def test_every_page_is_one_small_strict_request(phone: Phone, gate: FakeGate) -> None:
    phone.headers = {"Accept-Encoding": "gzip, deflate"}
    for name, response in every_page(phone, gate).items():
        assert response.headers["Content-Encoding"] == "gzip", name
        assert len(response.data) <= MAX_GZIPPED_BYTES, name
        html = gzip.decompress(response.data).decode()
        assert not re.search(r"<script|<link(?![^>]*href=\"data:,\")|<img|<iframe|\son\w+=|url\(|@import", html), name
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", html), name
        assert not re.search(r"\sstyle=", html), name
        assert "Set-Cookie" not in response.headers
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "same-origin"


def test_the_policy_allows_the_page_s_own_style_and_nothing_else(phone: Phone) -> None:
    response = phone.get("/")
    policy = dict(rule.strip().split(" ", 1) for rule in response.headers["Content-Security-Policy"].split(";"))
    style = re.search(r"<style>(.*?)</style>", response.text, re.S)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }


@pytest.mark.parametrize(
    ("accepts", "compressed"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("identity", False), ("br", False)],
)
def test_gzip_only_for_those_who_take_it(phone: Phone, accepts: str, compressed: bool) -> None:
    response = phone.get("/", Accept_Encoding=accepts)
    assert (response.headers.get("Content-Encoding") == "gzip") == compressed
    body = gzip.decompress(response.data) if compressed else response.data
    assert body.startswith(b"<!doctype html>")
    assert response.content_length == len(response.data)


def words(html: str) -> str:
    return html.replace("\N{NO-BREAK SPACE}", " ")


class TestOneTap:
    def test_login_is_303_to_status_and_logout_303_to_the_first_page(self, phone: Phone, gate: FakeGate) -> None:
        response = phone.post("/login")
        assert (response.status_code, response.headers["Location"]) == (303, "/status")
        assert gate.logins == [(MAC, PHONE, "terms", "3")]
        assert phone.get("/status").status_code == 200
        assert phone.get("/").headers["Location"] == "/status"
        response = phone.post("/logout")
        assert (response.status_code, response.headers["Location"]) == (303, "/")
        assert gate.sessions == {}
        assert phone.get("/status").headers["Location"] == "/"

    def test_the_landing_page_s_form_is_that_login(self, phone: Phone) -> None:
        html = phone.get("/").text
        forms = re.findall(r'<form method="post" action="(/\w+)">', html)
        assert forms == ["/login", "/code"]
        assert re.search(r'<form method="post" action="/login">\s*<button>Masuk ke internet</button>', html)

    def test_tapping_twice_is_no_error(self, phone: Phone, gate: FakeGate) -> None:
        assert [phone.post("/login").status_code for _ in range(2)] == [303, 303]
        assert len(gate.sessions) == 1

    def test_a_mapped_address_is_the_same_phone(self, app: Flask, gate: FakeGate) -> None:
        assert Phone(app, ip=f"::ffff:{PHONE}").post("/login").status_code == 303
        assert gate.logins[0][:2] == (MAC, PHONE)

    def test_a_phone_on_ipv6_alone_is_let_in_without_an_ipv4_address(self, app: Flask, gate: FakeGate) -> None:
        gate.macs["fd12::5"] = MAC
        assert Phone(app, ip="fd12::5").post("/login").status_code == 303
        assert gate.logins[0][:2] == (MAC, None)

    def test_an_unknown_device_is_told_what_to_do_and_stays_outside(self, app: Flask, gate: FakeGate) -> None:
        response = Phone(app, ip="10.77.0.200").post("/login")
        assert response.status_code == 403
        assert "Matikan Wi-Fi di HP Anda" in response.text
        assert gate.logins == []

    def test_logging_out_without_a_session_is_no_error(self, phone: Phone) -> None:
        assert phone.post("/logout").headers["Location"] == "/"


@pytest.mark.parametrize("path", ["/login", "/code", "/account", "/wait", "/told", "/logout"])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": f"http://{GATEWAY}"}, True),
        ({"Origin": f"HTTP://{GATEWAY}"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": f"http://{GATEWAY}"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": f"http://{GATEWAY}.evil.example"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": f"http://{GATEWAY}"}, False),
    ],
)
def test_a_form_of_another_site_does_nothing(
    phone: Phone, gate: FakeGate, path: str, headers: dict[str, str], allowed: bool
) -> None:
    gate.enter_by_terms(MAC, PHONE, "3")
    gate.logins.clear()
    phone.headers = headers
    gate.codes[VOUCHER], gate.accounts["kantor"], gate.methods = 1, "rahasia", ("terms", "account")
    response = phone.post(path, data={"code": VOUCHER, "name": "kantor", "password": "rahasia"})
    assert response.status_code == (303 if allowed else 403)
    if not allowed:
        assert gate.logins == gate.waited == gate.told == []
        assert MAC in gate.sessions
        assert "situs lain" in response.text


class TestLanguages:
    def test_bahasa_indonesia_first_whatever_the_phone_prefers(self, phone: Phone) -> None:
        response = phone.get("/", Accept_Language="en-US,en;q=0.9")
        assert '<html lang="id">' in response.text
        assert "Selamat datang" in response.text
        assert 'href="/?lang=en" lang="en" hreflang="en">English</a>' in response.text

    def test_english_stays_english_through_the_whole_visit(self, phone: Phone) -> None:
        html = phone.get("/?lang=en").text
        assert '<html lang="en">' in html
        assert 'action="/login?lang=en"' in html
        assert phone.post("/login?lang=en").headers["Location"] == "/status?lang=en"
        html = phone.get("/status?lang=en").text
        assert "You are logged in" in html
        assert 'action="/logout?lang=en"' in html
        assert 'href="/status?lang=id"' in html
        assert phone.post("/logout?lang=en").headers["Location"] == "/?lang=en"
        assert phone.get("/status?lang=en").headers["Location"] == "/?lang=en"

    @pytest.mark.parametrize("lang", ["", "xx", "../../etc", "id%00", "EN"])
    def test_an_unknown_language_is_the_site_s_own(self, phone: Phone, lang: str) -> None:
        assert '<html lang="id">' in phone.get(f"/?lang={lang}").text

    def test_the_site_may_start_in_another_language(self, config: SiteConfig, gate: FakeGate) -> None:
        site = msgspec.structs.replace(config.site, language="en")
        phone = Phone(create_app(msgspec.structs.replace(config, site=site), gate))
        assert '<html lang="en">' in phone.get("/").text
        assert phone.post("/login?lang=id").headers["Location"] == "/status?lang=id"


class TestTruth:
    def test_the_plan_in_plain_words(self, phone: Phone) -> None:
        html = phone.get("/").text
        assert "8 jam setiap kali masuk" in html
        assert "unduh 5 Mbps, unggah 1,5 Mbps" in words(html)
        assert "Aturan pakai versi 3" in html

    def test_a_plan_without_limits_says_so(self, config: SiteConfig, gate: FakeGate) -> None:
        phone = Phone(create_app(msgspec.structs.replace(config, plan=config.plan[1:]), gate))
        assert phone.get("/").text.count("tanpa batas") == 2
        phone.post("/login")
        gate.left_s = None
        html = phone.get("/status").text
        assert "Sisa waktu" not in html

    def test_the_status_page_shows_time_and_bytes_as_indonesians_write_them(self, phone: Phone, gate: FakeGate) -> None:
        phone.post("/login")
        gate.left_s, gate.used = 7 * 3600 + 59 * 60 + 59.9, (1_500_000, 1_234_567_890)
        html = words(phone.get("/status").text)
        for text in ("7 jam 59 menit", "unduh 1,2 GB, unggah 1,5 MB", "unduh 5 Mbps"):
            assert text in html
        english = words(phone.get("/status?lang=en").text)
        for text in ("7 hours 59 minutes", "1.5 MB", "1.2 GB"):
            assert text in english

    def test_the_rate_shown_is_the_session_s_plan(self, phone: Phone, gate: FakeGate, config: SiteConfig) -> None:
        gate.plan = config.plan[1].id
        phone.post("/login")
        assert phone.get("/status").text.count("tanpa batas") == 1

    def test_the_uplink_s_state_is_told_before_and_after_login(self, phone: Phone, gate: FakeGate) -> None:
        assert "Internet terputus" not in phone.get("/").text
        gate.state = Uplink(UplinkState.DOWN, NOW.wall_s)  # 09.12 in Makassar (UTC+8)
        assert "Internet terputus sejak 09.12." in phone.get("/").text
        phone.post("/login")
        html = phone.get("/status").text
        assert "Internet terputus sejak 09.12." in html
        gate.state = Uplink(UplinkState.DOWN, NOW.wall_s - 86_400)
        assert "Internet terputus sejak 28 Mei 09.12." in phone.get("/status").text
        assert "Silakan pakai internet" not in html
        assert "down since" in phone.get("/status?lang=en").text
        gate.state = Uplink(UplinkState.DOWN, None)
        assert "Internet sedang terputus." in phone.get("/status").text
        gate.state = Uplink(UplinkState.UNKNOWN, None)
        assert "Internet terputus" not in phone.get("/status").text
        gate.state = Uplink(UplinkState.DEGRADED, NOW.wall_s)
        html = phone.get("/status").text
        assert "Internet sedang lambat atau tersendat." in html
        assert "Silakan pakai internet" in html

    def test_a_name_cannot_bring_markup(self, config: SiteConfig, gate: FakeGate) -> None:
        site = msgspec.structs.replace(config.site, name='<b onclick="x">&')
        html = Phone(create_app(msgspec.structs.replace(config, site=site), gate)).get("/").text
        assert "<b onclick" not in html
        assert "&lt;b onclick=&#34;x&#34;&gt;&amp;" in html


class TestProblems:
    @pytest.mark.parametrize("code", ["database", "database-full", "database-corrupt", "netctl", "busy"])
    def test_each_is_503_in_plain_words_with_what_to_do(self, phone: Phone, gate: FakeGate, code: str) -> None:
        gate.login_broken = GateError(code, "the sentence for the log", "and its hint")
        response = phone.post("/login")
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "10"
        html = response.text
        assert "Orang yang sudah terhubung tetap bisa memakai internet." in html
        assert f"Kode untuk petugas: {code}" in html
        assert 'href="/"' in html
        assert "the sentence" not in html
        assert gate.sessions == {}

    def test_pages_differ_by_code(self, phone: Phone, gate: FakeGate) -> None:
        pages = set()
        for code in PROBLEMS:
            gate.login_broken = GateError(code, "")
            pages.add(re.sub(r"Kode untuk petugas.*", "", phone.post("/login").text))
        assert len(pages) == len(PROBLEMS)

    def test_a_code_nobody_wrote_words_for(self, phone: Phone, gate: FakeGate) -> None:
        gate.login_broken = GateError("quota-of-the-moon", "")
        response = phone.post("/login")
        assert response.status_code == 503
        assert "Ada kesalahan pada alat Wi-Fi ini." in response.text
        assert "quota-of-the-moon" in response.text

    @pytest.mark.parametrize("path", ["/", "/status"])
    def test_reading_pages_too(self, phone: Phone, gate: FakeGate, path: str) -> None:
        gate.broken = GateError("netctl", "no socket")
        response = phone.get(path)
        assert response.status_code == 503
        assert "tidak menjawab" in response.text

    def test_the_log_says_it_once_a_minute_with_how_often(
        self, phone: Phone, gate: FakeGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        now_s = 1000.0
        monkeypatch.setattr(arrivals.time, "monotonic", lambda: now_s)
        gate.broken = GateError("netctl", "no socket", "Start netctl.")
        for _ in range(50):
            phone.get("/")
            phone.get("/generate_204", "connectivitycheck.gstatic.com")
        gate.broken = GateError("database", "disk gone")
        phone.get("/")
        assert [record.message for record in caplog.records] == [
            "GET / failed: no socket [netctl] Start netctl.",
            "GET / failed: disk gone [database]",
        ]
        caplog.clear()
        now_s += 61
        gate.broken = GateError("netctl", "no socket")
        phone.get("/status")
        assert [record.message for record in caplog.records] == [
            "GET /status failed: no socket [netctl] (99 more since the last of these lines)"
        ]

    def test_a_failed_logout_says_so(self, phone: Phone, gate: FakeGate) -> None:
        phone.post("/login")
        gate.login_broken = GateError("netctl", "no socket")
        assert phone.post("/logout").status_code == 503
        assert MAC in gate.sessions

    def test_a_mistake_in_the_program_is_a_page_and_no_traceback(self, phone: Phone, gate: FakeGate) -> None:
        gate.enter_by_terms = None  # type: ignore[method-assign,assignment]
        response = phone.post("/login")
        assert response.status_code == 500
        assert "Ada kesalahan pada alat Wi-Fi ini." in response.text
        assert "Traceback" not in response.text


class TestCaptiveApi:
    def test_a_captive_client(self, phone: Phone) -> None:
        response = phone.get("/api/captive")
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/captive+json"
        assert response.headers["Cache-Control"] == "private, no-store"
        assert json.loads(response.data) == {
            "captive": True,
            "user-portal-url": f"http://{GATEWAY}/",
            "venue-info-url": f"http://{GATEWAY}/info",
            "can-extend-session": False,
        }

    def test_a_client_online_learns_what_it_has_left(self, phone: Phone, gate: FakeGate) -> None:
        phone.post("/login")
        gate.left_s = 1234.9
        state = json.loads(phone.get("/api/captive").data)
        assert (state["captive"], state["seconds-remaining"]) == (False, 1234)
        gate.left_s = None
        assert "seconds-remaining" not in json.loads(phone.get("/api/captive").data)

    def test_a_client_that_came_on_another_address_is_let_in_first(
        self, phone: Phone, app: Flask, gate: FakeGate
    ) -> None:
        phone.post("/login")
        gate.macs["10.77.3.9"] = MAC
        assert json.loads(Phone(app, ip="10.77.3.9").get("/api/captive").data)["captive"] is False
        assert "10.77.3.9" in gate.allowed

    def test_each_client_gets_its_own_answer(self, phone: Phone, app: Flask, gate: FakeGate) -> None:
        gate.macs["10.77.0.6"] = "02:00:00:00:00:06"
        phone.post("/login")
        assert json.loads(phone.get("/api/captive").data)["captive"] is False
        assert json.loads(Phone(app, ip="10.77.0.6").get("/api/captive").data)["captive"] is True

    @pytest.mark.parametrize(
        "accept", ["application/captive+json", "application/json", "text/html", "*/*", "", "rubbish"]
    )
    def test_whatever_it_accepts(self, phone: Phone, accept: str) -> None:
        response = phone.get("/api/captive", Accept=accept)
        assert response.content_type == "application/captive+json"
        assert len(response.data) < 1024

    def test_over_https_the_urls_are_https_with_the_name(self, app: Flask) -> None:
        from werkzeug.test import Client

        overrides = {"REMOTE_ADDR": PHONE, "HTTP_HOST": "gerbang.lan", "wsgi.url_scheme": "https"}
        state = json.loads(Client(app).open("/api/captive", environ_overrides=overrides).data)
        assert state["user-portal-url"] == "https://gerbang.lan/"
        assert state["venue-info-url"] == "https://gerbang.lan/info"

    def test_while_the_state_is_not_known_none_is_told(self, phone: Phone, gate: FakeGate) -> None:
        gate.broken = GateError("netctl", "no socket")
        response = phone.get("/api/captive")
        assert (response.status_code, response.data) == (503, b"")

    def test_the_urls_it_gives_are_pages(self, phone: Phone) -> None:
        state = json.loads(phone.get("/api/captive").data)
        for key in ("user-portal-url", "venue-info-url"):
            path = state[key].removeprefix(f"http://{GATEWAY}")
            assert phone.get(path).status_code == 200


def test_a_favicon_costs_nothing(phone: Phone) -> None:
    response = phone.get("/favicon.ico")
    assert (response.status_code, response.data) == (204, b"")
