"""A phone's browser for tests: Debian's chromium, headless, scripts off, with a phone's or a desk's screen.

``python -m tests.e2e.browser '<json>'`` is the same as a program, to be run inside a phone's network namespace:
it carries out a visit (see ``Visit``) and prints what it saw as JSON.

``GERBANG_SHOTS=DIR`` leaves a picture of every page that is looked at in DIR, for people; no test asks for one.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = Path("/usr/bin/chromium")
CHROMEDRIVER = Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-features=OptimizationHints,MediaRouter,Translate,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
    "--no-proxy-server",
)
# Links within sentences are as high as their line (WCAG 2.2, 2.5.8, "inline").
TAPS = """
const text = one => one.innerText.replaceAll("\\u00a0", " ").trim();
return [...document.querySelectorAll("a:not(article a), button, summary, input")]
  .filter(one => one.checkVisibility({opacityProperty: true, visibilityProperty: true}))
  .map(one => {
    const {x, y, width, height} = one.getBoundingClientRect();
    const within = one.localName === "a" && text(one) !== text(one.parentElement);
    return {text: text(one), x: x + scrollX, y: y + scrollY, width, height, within};
  })
  .filter(({x, y, width, height}) => x + width > 0 && y + height > 0);
"""
SCRIPTS_OFF = 2  # a content setting: 1 allows, 2 blocks


@dataclass
class Screen:
    """``width`` and ``height`` in CSS pixels; ``scheme`` is light or dark."""

    width: int = 320
    height: int = 568
    scheme: str = "light"

    @property
    def name(self) -> str:
        return f"{self.width}-{self.scheme}"


@contextmanager
def browser(screen: Screen, scripts: bool = False, flags: tuple[str, ...] = ()) -> Iterator[webdriver.Chrome]:
    """A fresh browser, which runs pages' scripts only if asked to. Its profile is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="gerbang-browser-") as profile:
        options = Options()
        options.binary_location = str(CHROMIUM)
        for flag in (
            *FLAGS,
            *flags,
            f"--user-data-dir={profile}",
            f"--window-size={max(screen.width, 500)},{screen.height}",
        ):
            options.add_argument(flag)
        if not scripts:
            off = {"profile.managed_default_content_settings.javascript": SCRIPTS_OFF}
            options.add_experimental_option("prefs", off)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
        try:
            driver.set_page_load_timeout(30)
            take(driver, screen)
            yield driver
        finally:
            driver.quit()


def take(driver: webdriver.Chrome, screen: Screen) -> None:
    """From here on it is a device with this screen."""
    mobile = screen.width < 600
    metrics = {"width": screen.width, "height": screen.height, "deviceScaleFactor": 2 if mobile else 1}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics | {"mobile": mobile})
    scheme = {"name": "prefers-color-scheme", "value": screen.scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def look(driver: webdriver.Chrome, name: str) -> dict[str, Any]:
    """The page that is open: URL, title, text, requests, complaints and layout; a picture of it has this name."""
    shoot(driver, name)
    return {
        "url": driver.current_url,
        "title": driver.title,
        "text": driver.find_element(By.TAG_NAME, "body").text,
        "requests": requests_made(driver),
        "complaints": complaints(driver),
        "layout": layout(driver),
    }


def shoot(driver: webdriver.Chrome, name: str) -> None:
    """The whole page as a picture, where pictures are asked for."""
    if directory := os.environ.get("GERBANG_SHOTS"):
        picture = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        Path(directory).mkdir(parents=True, exist_ok=True)
        Path(directory, f"{name}.png").write_bytes(base64.b64decode(picture["data"]))


def requests_made(driver: webdriver.Chrome) -> list[str]:
    """The URLs fetched over the network since the last call."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
        and message["params"]["request"]["url"].startswith(("http:", "https:"))
    ]


def complaints(driver: webdriver.Chrome) -> list[str]:
    """What the browser itself found wrong with the pages since the last call: CSP, failed loads, bad markup."""
    return [entry["message"] for entry in driver.get_log("browser")]


def layout(driver: webdriver.Chrome) -> dict[str, Any]:
    """Measures of the page: its scroll width, and each thing to tap that is shown, with its text, its box in CSS
    pixels and whether it is a link within a sentence."""
    metrics = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})
    return {"scroll_width": metrics["cssContentSize"]["width"], "taps": driver.execute_script(TAPS)}


def is_gone(element: WebElement) -> bool:
    """Whether the page that held ``element`` has given way to the next. In between chromedriver says it in words of
    its own instead of as a stale element."""
    try:
        element.is_enabled()
    except StaleElementReferenceException:
        return True
    except WebDriverException as error:
        if "does not belong to the document" not in str(error):
            raise
        return True
    return False


@dataclass
class Visit:
    """Open ``url``, press what leads to the next page, one after the other, open what stays on the page, go elsewhere.

    ``presses`` and ``opens`` are CSS selectors, ``then`` a URL.
    """

    url: str
    name: str
    screen: dict[str, Any] = field(default_factory=dict)
    presses: list[str] = field(default_factory=list)
    opens: str | None = None
    then: str | None = None

    def carry_out(self) -> list[dict[str, Any]]:
        """What was seen of each page, as `look` tells it."""
        screen = Screen(**self.screen)
        seen: list[dict[str, Any]] = []
        with browser(screen) as driver:

            def see() -> None:
                seen.append(look(driver, f"{self.name}-{screen.name}-{len(seen)}"))

            driver.get(self.url)
            see()
            for press in self.presses:
                button = driver.find_element(By.CSS_SELECTOR, press)
                button.click()
                WebDriverWait(driver, 30).until(lambda _, pressed=button: is_gone(pressed))
                see()
            if self.opens:
                driver.find_element(By.CSS_SELECTOR, self.opens).click()
                see()
            if self.then:
                driver.get(self.then)
                see()
        return seen


if __name__ == "__main__":
    print(json.dumps(Visit(**json.loads(sys.argv[1])).carry_out()))
