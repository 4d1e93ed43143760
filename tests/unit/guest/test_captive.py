"""Whatever a phone that may not pass asks of whomever, it is sent to the portal; the gateway's own names are pages."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from portal.config import SiteConfig
from portal.gatekeeper import GateError
from portal.guest.answers import normal_ip
from portal.guest.app import create_app
from tests.unit.guest.conftest import GATEWAY, MAC, PHONE, Phone
from tests.unit.guest.fake_gate import FakeGate

OWN_NAMES = {GATEWAY, "gerbang.lan"}
PROBES = json.loads((Path(__file__).parents[2] / "data/probes.json").read_text())["probes"]
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND", "XYZ")


def assert_sent_to_portal(response, method: str = "GET") -> None:
    assert response.status_code == 302
    assert response.headers["Location"] == f"http://{GATEWAY}/"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers
    assert response.content_length < 200
    if method != "HEAD":
        assert f'href="http://{GATEWAY}/"'.encode() in response.data


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: f"{probe['os']}-{probe['url']}")
def test_every_probe_gets_302(phone: Phone, probe: dict) -> None:
    host, _, path = probe["url"].removeprefix("http://").partition("/")
    response = phone.get(f"/{path}", host)
    assert_sent_to_portal(response)
    online = probe["online"]
    assert response.status_code != online["status"]
    assert "body" not in online or online["body"].encode() not in response.data


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/", "/login", "/logout", "/status", "/api/captive", "/favicon.ico", "/a/b?c=d&e"])
def test_any_method_and_path_for_another_host_gets_302_and_changes_nothing(
    phone: Phone, gate: FakeGate, method: str, path: str
) -> None:
    assert_sent_to_portal(phone(method, path, "www.example.com"), method)
    assert gate.logins == []


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "10.77.0.2",
        "10.77.0.1.example.com",
        "gerbang.lan.example.com",
        "xgerbang.lan",
        "10.77.0.1:80:80",
        "10.77.0.1:x",
        "[::1]",
        "[fd00::1",
        "10.77.0.1@evil.example",
        "gerbang.lan/..",
        '"><script>alert(1)</script>',
        "evil.example\tx",
        "\xff\xfe",
        "a" * 4000,
    ],
)
def test_forged_and_missing_hosts_get_302(phone: Phone, host: str) -> None:
    phone.host = host
    response = phone.get("/")
    assert_sent_to_portal(response)
    assert b"script" not in response.data


@settings(max_examples=200)
@given(host=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60))
def test_no_host_header_breaks_it(host: str) -> None:
    app = _made_once()
    assume(host.strip().lower().partition(":")[0] not in OWN_NAMES)  # a generator that reads the source finds them
    response = Phone(app).get("/generate_204", host or "-")
    assert response.status_code == 302
    assert response.headers["Location"] == f"http://{GATEWAY}/"


@functools.cache
def _made_once() -> Flask:
    from portal.config import Lan, Site

    return create_app(SiteConfig(site=Site(code="64.03.01.2001"), lan=Lan(address=f"{GATEWAY}/20")), FakeGate())


@pytest.mark.parametrize(
    "host",
    [GATEWAY, f"{GATEWAY}:80", f"{GATEWAY}:8080", "gerbang.lan", "GERBANG.LAN", "Gerbang.Lan:443", "gerbang.lan:"],
)
def test_own_names_get_the_page(phone: Phone, host: str) -> None:
    assert phone.get("/", host).status_code == 200


@pytest.mark.parametrize(
    ("local", "host", "status"),
    [
        ("fd12:3456::1", "[fd12:3456::1]", 200),
        ("fd12:3456::1", "[FD12:3456:0::1]:80", 200),
        ("fe80::1%lan0", "[fe80::1]", 200),
        ("fd12:3456::1", "[fd12:3456::2]", 302),
        ("::ffff:10.77.0.1", "[::ffff:10.77.0.1]", 200),
    ],
)
def test_an_ipv6_literal_is_own_if_the_connection_was_made_to_it(
    app: Flask, local: str, host: str, status: int
) -> None:
    from werkzeug.test import Client

    overrides = {"REMOTE_ADDR": "fd12:3456::99", "SERVER_NAME": local, "HTTP_HOST": host}
    assert Client(app).open("/", environ_overrides=overrides).status_code == status


@pytest.mark.parametrize(
    "path", ["/generate_204", "/wp-login.php", "/login", "/code", "/v", "/v/", "/v/a/b", "/info/x", "/logout"]
)
def test_unknown_pages_and_wrong_methods_on_own_name_lead_to_the_first_page(phone: Phone, path: str) -> None:
    response = phone.get(path)
    assert (response.status_code, response.headers["Location"]) == (302, "/")


def test_while_netctl_is_away_probes_still_get_302(phone: Phone, gate: FakeGate) -> None:
    gate.broken = GateError("netctl", "no socket")
    assert_sent_to_portal(phone.get("/generate_204", "connectivitycheck.gstatic.com"))


class TestComingBackOnAnotherAddress:
    """A device with a running session whose address the kernel does not know is let in and sent on its way."""

    @pytest.fixture
    def moved(self, app: Flask, gate: FakeGate, phone: Phone) -> Phone:
        assert phone.post("/login").status_code == 303
        gate.macs["10.77.3.9"] = MAC
        return Phone(app, ip="10.77.3.9")

    def test_it_is_renewed_and_sent_where_it_wanted_to_go(self, moved: Phone, gate: FakeGate) -> None:
        response = moved.get("/page?x=1&y=%20a", "news.example.com:8000")
        assert response.status_code == 302
        assert response.headers["Location"].startswith("http://news.example.com:8000/page?x=1&y=")
        assert gate.sessions[MAC].ipv4 == "10.77.3.9"
        assert "10.77.3.9" in gate.allowed

    def test_a_kernel_that_still_blocks_it_does_not_make_it_run_in_a_circle(self, moved: Phone) -> None:
        locations = [moved.get("/x", "news.example.com").headers["Location"] for _ in range(5)]
        assert locations == ["http://news.example.com/x"] * 3 + [f"http://{GATEWAY}/"] * 2

    def test_the_status_page_renews_too(self, moved: Phone, gate: FakeGate) -> None:
        assert moved.get("/status").status_code == 200
        assert gate.sessions[MAC].ipv4 == "10.77.3.9"

    def test_a_form_is_not_sent_back(self, moved: Phone) -> None:
        assert_sent_to_portal(moved.post("/x", "news.example.com"))

    def test_a_host_that_cannot_stand_in_a_url_is_not_sent_back(self, moved: Phone) -> None:
        assert_sent_to_portal(moved.get("/x", 'news.example.com"<b>'))

    def test_one_that_comes_by_ipv6_keeps_its_ipv4_address(self, app: Flask, gate: FakeGate, phone: Phone) -> None:
        phone.post("/login")
        gate.macs["fd12::5"] = MAC
        assert Phone(app, ip="fd12::5").get("/x", "v6.example.com").headers["Location"] == "http://v6.example.com/x"
        assert gate.sessions[MAC].ipv4 == PHONE

    def test_when_it_cannot_be_renewed_it_goes_to_the_portal(self, moved: Phone, gate: FakeGate) -> None:
        gate.login_broken = GateError("database-full", "no space")
        assert_sent_to_portal(moved.get("/x", "news.example.com"))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("::ffff:10.77.0.5", "10.77.0.5"),
        ("10.77.0.5", "10.77.0.5"),
        ("fe80::1%lan0", "fe80::1"),
        ("FD00:0:0::1", "fd00::1"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_addresses_have_one_spelling(text: str, normal: str) -> None:
    assert normal_ip(text) == normal
