"""Which family of operating systems a device is of, by real probes and User-Agents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.domain.osfamily import family, later
from portal.domain.rollup import OS_FAMILIES

PROBES = json.loads((Path(__file__).parents[2] / "data/probes.json").read_text())["probes"]
FAMILY_OF_PROBE = {
    "android": "android",
    "ios": "apple",
    "macos": "apple",
    "windows": "windows",
    "networkmanager": "linux",
    "chromeos": "unknown",  # Chrome on any system asks for the same
    "firefox": "unknown",
}
AGENTS = [
    ("Mozilla/5.0 (Linux; Android 13; SM-A135F) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Mobile", "android"),
    ("Mozilla/5.0 (Linux; Android 10; K; wv) AppleWebKit/537.36 Version/4.0 Chrome/119.0.6045.66", "android"),
    ("Dalvik/2.1.0 (Linux; U; Android 11; vivo 1906 Build/RP1A.200720.012)", "android"),
    (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/60.0.3112.32 Safari/537.36",
        "android",
    ),
    ("Mozilla/5.0 (Android 13; Mobile; rv:120.0) Gecko/120.0 Firefox/120.0", "android"),
    ("CaptiveNetworkSupport-443.120.2 wispr", "apple"),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "apple"),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.1 Safari/605.1.15", "apple"),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:120.0) Gecko/20100101 Firefox/120.0", "windows"),
    ("Microsoft NCSI", "windows"),
    (
        "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 650) AppleWebKit/537.36 Mobile Edge/15.15254",
        "other",
    ),
    ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0", "linux"),
    ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0", "other"),
    ("Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5", "other"),
    ("Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 Version/6.0 TV Safari/537.36", "other"),
    ("Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15", "other"),
    ("curl/8.5.0", "unknown"),
    ("okhttp/4.9.3", "unknown"),
    ("", "unknown"),
]


@pytest.mark.parametrize(("agent", "expected"), AGENTS)
def test_a_user_agent_tells_the_family(agent: str, expected: str) -> None:
    assert family("10.77.0.1", "/", agent) == expected


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: f"{probe['os']}-{probe['url']}")
def test_a_probe_tells_the_family_whatever_it_says_of_itself(probe: dict) -> None:
    host, _, path = probe["url"].removeprefix("http://").partition("/")
    expected = FAMILY_OF_PROBE[probe["os"]]
    assert family(host, f"/{path}", "") == expected
    if expected != "unknown":
        assert family(f"{host}:80", f"/{path}", "Mozilla/5.0 (X11; Linux x86_64)") == expected


@given(st.text(), st.text(), st.text())
def test_whatever_is_sent_some_family_comes_out(host: str, path: str, agent: str) -> None:
    assert family(host, path, agent) in OS_FAMILIES


def test_later_knowledge_wins_unless_it_is_none() -> None:
    assert later("unknown", "apple") == "apple"
    assert later("linux", "android") == "android"
    assert later("android", "unknown") == "android"
