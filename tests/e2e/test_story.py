"""One phone's story on the real gateway, every operating system's probe, and the demo that plays it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import NewPhone
from tests.village import demo, story
from tests.village.gateway import GerbangGateway
from tests.village.phone import Phone
from tests.village.village import Village
from tests.village.webserver import PROBES

KNOWN: list[dict[str, Any]] = json.loads(Path(PROBES).read_text())["probes"]


def test_story(village: Village, new_phone: NewPhone) -> None:
    """Each step holds what it claims; see tests.village.story."""
    (phone,) = village.add_phones(1)
    try:
        scene = story.Scene(village, phone)
        for step in story.STEPS:
            step.play(scene)
    finally:
        phone.close()


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
