"""The setup page of a box in a browser with scripts off: every step at 320 and 1280 px, light and dark, with axe.

The line and the root half are played: portal.box.setup.helper has tests of its own, and tests/image the real box.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select
from selenium.webdriver.support.wait import WebDriverWait
from werkzeug.serving import make_server

from portal.box.setup.line import Row
from portal.box.setup.page import create_app
from portal.staff.start import FIRST_USERS, first_passwords
from tests.e2e.axe import needs_axe, serious_findings
from tests.e2e.browser import Screen, browser, complaints, is_gone, layout, requests_made, shoot

pytestmark = pytest.mark.browser

HOST = "127.0.0.1"
WORDS = ("batuki-sorame-lipanu", "sagora-mitelu-dabona", "kelora-fanide-rusamo")
PASSWORDS = dict(zip(FIRST_USERS, WORDS, strict=True))
LINE = [
    Row("cable", True),
    Row("address", True, "192.0.2.17"),
    Row("router", None),
    Row("dns", True),
    Row("web", True),
]
ANSWERS = {
    "state": {"radio": True, "ports": ["lan1", "lan2"], "device": "3b1c0a52-7d1e-4f0b-9a57-2f8f0f6f1c11"},
    "line": {},
    "save": {"passwords": first_passwords("https://10.77.0.1:8444", PASSWORDS)},
    "restart": {},
}


@contextmanager
def setup_page() -> Iterator[str]:
    """Its address; each has a technician of its own."""

    def ask(do: str, **_: Any) -> dict[str, Any]:
        return dict(ANSWERS[do])

    server = make_server(HOST, 0, create_app(ask, lambda _uplink: LINE, HOST), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join(10)


def fill(driver: webdriver.Chrome, **fields: str) -> None:
    for name, text in fields.items():
        box = driver.find_element(By.NAME, name.replace("__", "."))
        if box.tag_name == "select":
            Select(box).select_by_value(text)
        else:
            box.clear()
            box.send_keys(text)


def press(driver: webdriver.Chrome) -> None:
    button = driver.find_element(By.TAG_NAME, "button")
    button.click()
    WebDriverWait(driver, 30).until(lambda _: is_gone(button))


def walk(driver: webdriver.Chrome, url: str) -> Iterator[str]:
    """Go through all steps; the name of each page while it is open."""
    driver.get(url)
    yield "site"
    fill(driver, site__code="99", site__name="Muara Kaman Ulu")
    press(driver)
    yield "site-mistake"
    fill(driver, site__code="6403012001")
    press(driver)
    yield "line"
    fill(driver, uplink__kind="dhcp", uplink__down_kbit="18000", uplink__up_kbit="4500")
    press(driver)
    yield "tested"
    press(driver)
    yield "wifi"
    fill(driver, wifi__ssid="Wi-Fi Muara Kaman")
    press(driver)
    yield "finish"
    press(driver)
    yield "saved"
    press(driver)
    yield "restarting"


PAGES = ["site", "site-mistake", "line", "tested", "wifi", "finish", "saved", "restarting"]


@pytest.mark.parametrize("screen", [Screen(320), Screen(320, scheme="dark"), Screen(1280, 800)], ids=lambda s: s.name)
def test_a_technician_sets_a_box_up_without_scripts(screen: Screen) -> None:
    with setup_page() as url, browser(screen) as driver:
        seen = []
        for name in walk(driver, url):
            seen.append(name)
            shoot(driver, f"setup-{screen.name}-{name}")
            found = layout(driver)
            assert found["scroll_width"] <= screen.width, f"{name}: wider than the screen"
            small = [tap for tap in found["taps"] if tap["height"] < 48 or tap["width"] < 48]
            assert not small, f"{name}: too small to tap: {small}"
            assert all(asked.startswith(url) for asked in requests_made(driver)), f"{name}: asks another host"
            said = [line for line in complaints(driver) if "422" not in line]  # a form with mistakes is answered so
            assert not said, f"{name}: {said}"
        assert seen == PAGES


@needs_axe
@pytest.mark.parametrize("language", ["id", "en"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_from_using_it(language: str, scheme: str) -> None:
    with setup_page() as url, browser(Screen(320, scheme=scheme), scripts=True) as driver:
        start = url if language == "id" else f"{url}?lang=en"
        for name in walk(driver, start):
            assert driver.find_element(By.TAG_NAME, "html").get_attribute("lang") == language, name
            assert serious_findings(driver) == [], name
