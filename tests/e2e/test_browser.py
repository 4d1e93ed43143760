"""A villager's phone in Debian's chromium, scripts off: against the real web server, and in the village."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.e2e.axe import needs_axe, serious_findings
from tests.e2e.browser import CHROMEDRIVER, CHROMIUM, Screen, Visit, browser, is_gone, look, take
from tests.e2e.conftest import NewPhone
from tests.e2e.guest_server import ROOT, SITE_NAME, guest_server
from tests.unit.guest.scenes import SCENES
from tests.village.village import Village

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM.exists() and CHROMEDRIVER.exists()), reason="needs Debian's chromium and chromium-driver"
    ),
]

PHONE_LIGHT = {"width": 320, "height": 568, "scheme": "light"}
PHONE_DARK = PHONE_LIGHT | {"scheme": "dark"}
DESK = {"width": 1280, "height": 800, "scheme": "light"}
SCREENS = [PHONE_LIGHT, PHONE_DARK, DESK]
EVERY_SCREEN = [*SCREENS, DESK | {"scheme": "dark"}]
LOGIN, LOGOUT = "form[action^='/login'] button", "form[action^='/logout'] button"
MIN_TAP_PX = 48
TEXT_CONTRAST, THING_CONTRAST = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11, level AA


@pytest.fixture(scope="module")
def portal() -> Iterator[str]:
    with guest_server() as (port, _):
        yield f"http://localhost:{port}"


def visit(**what: Any) -> list[dict[str, Any]]:
    return Visit(**what).carry_out()


def assert_sound(page: dict[str, Any], screen: dict[str, Any]) -> None:
    """Nothing that the browser itself complains about, no sideways scrolling, everything to tap large enough."""
    assert page["complaints"] == []
    assert page["layout"]["scroll_width"] <= screen["width"]
    for tap in page["layout"]["taps"]:
        assert tap["height"] >= MIN_TAP_PX, tap
        assert tap["width"] >= MIN_TAP_PX, tap
        assert tap["x"] >= 0, tap
        assert tap["x"] + tap["width"] <= screen["width"], tap


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: f"{screen['width']}-{screen['scheme']}")
def test_login_and_logout_without_scripts(portal: str, screen: dict[str, Any]) -> None:
    landing, status, after = visit(url=f"{portal}/", name="guest", screen=screen, presses=[LOGIN, LOGOUT])
    for page in (landing, status, after):
        assert_sound(page, screen)
    assert landing["requests"] == [f"{portal}/"]
    assert SITE_NAME in landing["text"]
    assert "Masuk ke internet" in landing["text"]
    button = next(tap for tap in landing["layout"]["taps"] if tap["text"] == "Masuk ke internet")
    assert button["y"] + button["height"] <= screen["height"], "the button is not on the first screen"
    assert status["url"] == f"{portal}/status"
    assert status["requests"] == [f"{portal}/login", f"{portal}/status"]
    assert "Anda sudah masuk" in status["text"]
    assert "7 jam 55 menit" in status["text"] or "7 jam 54 menit" in status["text"]
    assert after["url"] == f"{portal}/"


def test_english_by_link(portal: str) -> None:
    pages = visit(
        url=f"{portal}/",
        name="english",
        screen=PHONE_LIGHT,
        presses=["footer a[hreflang]", LOGIN, "main a[href^='/status']", LOGOUT],
    )
    assert [page["url"].removeprefix(portal) for page in pages] == [
        "/",
        "/?lang=en",
        "/status?lang=en",
        "/status?lang=en",
        "/?lang=en",
    ]
    assert "Go online" in pages[1]["text"]
    assert "You are logged in" in pages[2]["text"]
    for page in pages:
        assert_sound(page, PHONE_LIGHT)


@pytest.mark.parametrize("screen", [PHONE_LIGHT, PHONE_DARK], ids=["light", "dark"])
def test_the_rules_open_and_the_info_page_reads(portal: str, screen: dict[str, Any]) -> None:
    (info,) = visit(url=f"{portal}/info", name="info", screen=screen)
    assert_sound(info, screen)
    assert "Aturan pakai versi 1" in info["text"]
    closed, opened = visit(url=f"{portal}/", name="rules", screen=screen, opens="main > details:last-of-type > summary")
    assert "Patuhi hukum" not in closed["text"]
    assert "Patuhi hukum" in opened["text"]
    assert_sound(opened, screen)


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    with browser(Screen(**PHONE_LIGHT)) as driver:
        yield driver


@pytest.fixture(scope="module")
def with_scripts() -> Iterator[webdriver.Chrome]:
    with browser(Screen(**PHONE_LIGHT), scripts=True) as driver:
        yield driver


@needs_axe
@pytest.mark.parametrize("name", SCENES)
def test_axe_finds_nothing_serious_on_any_page(with_scripts: webdriver.Chrome, name: str) -> None:
    scene = SCENES[name]
    with guest_server(scene=name) as (port, _):
        for screen in (PHONE_LIGHT, PHONE_DARK):
            take(with_scripts, Screen(**screen))
            with_scripts.get(f"http://localhost:{port}{scene.path}")
            if scene.form is not None:
                send(with_scripts, *scene.form)
            for folded in with_scripts.find_elements(By.TAG_NAME, "summary"):
                folded.click()
            # That a page refreshes itself is what a queue is: real time (WCAG 2.2, 2.2.1, its exception).
            found = [finding for finding in serious_findings(with_scripts) if not finding.startswith("meta-refresh ")]
            assert found == [], screen


@pytest.mark.parametrize("name", SCENES)
def test_every_page_on_every_screen(driver: webdriver.Chrome, name: str) -> None:
    scene = SCENES[name]
    with guest_server(scene=name) as (port, _):
        for screen in EVERY_SCREEN:
            take(driver, Screen(**screen))
            driver.get(f"http://localhost:{port}{scene.path}")
            if scene.form is not None:
                send(driver, *scene.form)
            page = look(driver, f"{name}-{Screen(**screen).name}")
            if scene.form is not None:  # the browser calls an answer of 403 or 429 a failure
                page["complaints"] = [line for line in page["complaints"] if not re.search(r"status of 4(03|29)", line)]
            if name == "qr-wrong":
                page["complaints"] = []
            assert_sound(page, screen)
            assert len(page["requests"]) == (2 if scene.form else 1)
            for text in scene.says:
                assert text in page["text"].replace("\N{NO-BREAK SPACE}", " "), page["text"]


def send(driver: webdriver.Chrome, action: str, fields: dict[str, str]) -> None:
    """Fill in the form and press its button, as a person does; what is folded is unfolded first."""
    form = driver.find_element(By.CSS_SELECTOR, f"form[action^='{action}']")
    if not form.is_displayed():
        form.find_element(By.XPATH, "ancestor::details/summary").click()
    for name, value in fields.items():
        form.find_element(By.NAME, name).send_keys(value)
    form.find_element(By.TAG_NAME, "button").click()
    WebDriverWait(driver, 30).until(lambda _: is_gone(form))


def test_a_downed_uplink_and_a_full_disk_are_told() -> None:
    with guest_server(uplink_down_since=time.time() - 60, site_name="Desa " + "Panjang" * 10) as (port, _):
        for screen in (PHONE_LIGHT, PHONE_DARK):
            pages = visit(url=f"http://localhost:{port}/", name="down", screen=screen, presses=[LOGIN, LOGOUT])
            for page in pages:
                assert "Internet terputus sejak" in page["text"]
                assert_sound(page, screen)
            assert "Silakan pakai internet" not in pages[1]["text"]
    with guest_server(problem="database-full") as (port, _):
        _, problem = visit(url=f"http://localhost:{port}/", name="full", screen=PHONE_LIGHT, presses=[LOGIN])
        assert "penyimpanan" in problem["text"]
        assert [line for line in problem["complaints"] if "503" not in line] == []
        assert_sound(problem | {"complaints": []}, PHONE_LIGHT)


class TestContrast:
    """Every pair of colours that meet on a page, in both schemes."""

    @pytest.fixture(params=["light", "dark"])
    def colours(self, request: pytest.FixtureRequest) -> dict[str, str]:
        css = (ROOT / "portal/guest/templates/style.css").read_text()
        light, dark = re.findall(r":root\{(.*?)\}", css)
        chosen = light if request.param == "light" else dark
        return dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", chosen))

    @pytest.mark.parametrize(
        ("front", "back", "least"),
        [
            ("ink", "bg", TEXT_CONTRAST),
            ("ink", "card", TEXT_CONTRAST),
            ("dim", "bg", TEXT_CONTRAST),
            ("dim", "card", TEXT_CONTRAST),
            ("go", "card", TEXT_CONTRAST),
            ("go", "bg", TEXT_CONTRAST),
            ("go-ink", "go", TEXT_CONTRAST),
            ("warn-ink", "warn", TEXT_CONTRAST),
            ("focus", "card", THING_CONTRAST),
            ("focus", "bg", THING_CONTRAST),
            ("edge", "card", THING_CONTRAST),
            ("edge", "bg", THING_CONTRAST),
            ("edge", "warn", THING_CONTRAST),
        ],
    )
    def test_is_enough(self, colours: dict[str, str], front: str, back: str, least: float) -> None:
        assert contrast(colours[front], colours[back]) >= least


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: (lighter + 0.05) / (darker + 0.05) of the relative luminances."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_computed_as_the_standard_says() -> None:
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("screen", [PHONE_LIGHT, PHONE_DARK], ids=["light", "dark"])
def test_in_the_village_a_phone_s_browser_lands_on_the_portal_and_goes_online(
    village: Village, new_phone: NewPhone, tmp_path: Path, screen: dict[str, Any]
) -> None:
    """The whole way with everything real: the phone's own DNS, a page it asked for, the portal, one tap, that page."""
    phone = new_phone()
    assert phone.lease is not None
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("".join(f"nameserver {server}\n" for server in phone.lease.dns))
    wanted = f"http://{village.internet.host}/"
    what = {"url": wanted, "name": "village", "screen": screen, "presses": [LOGIN], "then": wanted}
    # A mount namespace of its own, so that /etc/resolv.conf is this phone's.
    inside = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
    program = [sys.executable, "-m", "tests.e2e.browser", json.dumps(what)]
    command = ["unshare", "--mount", "sh", "-c", f"cd {ROOT} && {inside}", "sh", str(resolver), *program]
    landing, status, online = json.loads(phone.run(command, timeout_s=90).stdout)
    assert landing["url"] == f"http://{phone.lease.router}/"
    assert_sound(landing, screen)
    assert status["url"] == f"http://{phone.lease.router}/status"
    assert "Anda sudah masuk" in status["text"]
    assert_sound(status, screen)
    assert online["url"] == wanted
    assert phone.is_online()
