"""One phone's story on the real gateway, every operating system's probe, and the demo that plays it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO
from urllib.request import Request, urlopen

import pytest

from tests.e2e.conftest import NewPhone, descendants, namespaces_of, processes_in
from tests.village import demo, story
from tests.village.gateway import GerbangGateway
from tests.village.internet import REPOSITORY
from tests.village.phone import Phone
from tests.village.village import Village
from tests.village.webserver import PROBES

KNOWN: list[dict[str, Any]] = json.loads(Path(PROBES).read_text())["probes"]


def test_the_demo_plays_the_story_then_lets_a_browser_be_the_phone_and_leaves_nothing() -> None:
    """The command itself, as a person runs it: every step of tests.village.story, the address, a tap, Ctrl-C."""
    child = subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.village.demo"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    said = ""
    try:
        while (line := child.stdout.readline()) and "http://127.0.0.1:" not in line:
            said += line
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, said
        for number, step in enumerate(story.STEPS, 1):
            assert re.search(rf"^ *{number}  {step.name} +ok", said, re.MULTILINE), said
        url = found.group()
        assert "the phone is not online" in _next_news(child.stdout)
        assert b"/login" in urlopen(url).read()
        with urlopen(Request(f"{url}login", method="POST", headers={"Origin": url.rstrip("/")})) as status:
            assert status.url == f"{url}status", "the 303 leads the browser on, to this machine's address"
            assert b"/logout" in status.read()
        assert "the phone is online" in _next_news(child.stdout)
        inside = namespaces_of(descendants(child.pid))
        assert len(inside) == 2, "the Internet and the gateway run programs"
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read()
        assert child.wait(timeout=10) == 0, rest
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert "Everything is gone" in rest
    assert processes_in(inside) == []


def _next_news(lines: TextIO) -> str:
    while line := lines.readline():
        if "the phone is" in line:
            return line
    raise AssertionError("the demo ended")


def test_the_demo_fails_when_a_step_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`demo --once` is in CI: it must not be able to pass by accident."""

    def broken(_: story.Scene) -> str:
        raise story.StepFailed("the moon is not made of cheese")

    monkeypatch.setattr(
        story, "STEPS", [story.STEPS[0], story.Step("moon", broken), story.Step("unreached", lambda _: "no")]
    )
    assert demo.main(["--once"]) == 1
    said = capsys.readouterr()
    assert "the moon is not made of cheese" in said.err
    assert "moon      FAILED" in said.out
    assert "unreached" not in said.out, "the story ends there"


def _is_online(probe: dict[str, Any], phone: Phone, family: int) -> bool:
    """The verdict that this operating system comes to (probes.json)."""
    answer = phone.http(probe["url"], family=family)
    online = probe["online"]
    if answer.status != online["status"]:
        return False
    if "starts" in online:
        return answer.text.startswith(online["starts"])
    return answer.text == online.get("body", "")


def test_every_system_sees_the_portal_before_login_and_the_internet_after(village: Village, phone: Phone) -> None:
    phone.wait_ipv6()
    for probe in KNOWN:
        for family in (4, 6):
            answer = phone.http(probe["url"], family=family)
            where = f"{probe['os']} over IPv{family}"
            assert answer.status == 302, where
            assert answer.location == village.gateway.url, where
            assert answer.headers["cache-control"] == "no-store", where
            assert answer.headers["connection"].lower() == "close", where
    phone.login()
    for probe in KNOWN:
        for family in (4, 6):
            assert _is_online(probe, phone, family), f"{probe['os']} over IPv{family}"
    assert phone.logout(f"{village.gateway.url}status").status == 303
    for probe in KNOWN:
        assert phone.http(probe["url"]).status == 302, probe["os"]


def test_logging_in_twice_keeps_the_session(gateway: GerbangGateway, phone: Phone) -> None:
    first = phone.login()
    rows = gateway.sql("SELECT id FROM session WHERE mac = ?", phone.mac)
    again = phone.http(first.post.url, method="POST")
    assert again.status == 303
    assert gateway.sql("SELECT id FROM session WHERE mac = ?", phone.mac) == rows
    assert phone.is_online()


def test_each_phone_has_its_own_gate(gateway: GerbangGateway, new_phone: NewPhone) -> None:
    one, two = new_phone(), new_phone()
    one.login()
    assert one.is_online()
    assert not two.is_online()
    two.login()
    one.logout(f"{gateway.url}status")
    assert not one.is_online()
    assert two.is_online()


def test_a_device_that_comes_back_within_its_session_is_online_at_once(gateway: GerbangGateway, phone: Phone) -> None:
    """It left for the field and joins again: same session, no page."""
    phone.login()
    phone.dhcp()
    assert phone.is_online()
    assert len(gateway.sql("SELECT id FROM session WHERE mac = ?", phone.mac)) == 1
