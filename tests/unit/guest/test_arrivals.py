"""Whom the guest pages count, and as what: portal.guest.arrivals."""

from __future__ import annotations

from portal.gatekeeper import GateError
from tests.unit.guest.conftest import MAC, Phone
from tests.unit.guest.fake_gate import FakeGate


def test_a_probe_counts_the_device_and_its_family_but_shows_it_no_page(phone: Phone, gate: FakeGate) -> None:
    phone.get("/hotspot-detect.html", "captive.apple.com")
    assert gate.arrivals == [(MAC, "apple", False)]


def test_the_first_page_is_seen(phone: Phone, gate: FakeGate) -> None:
    phone.get("/", User_Agent="Mozilla/5.0 (Linux; Android 13; SM-A135F)")
    assert gate.arrivals == [(MAC, "android", True)]


def test_an_error_a_form_and_the_api_are_not_the_page(phone: Phone, gate: FakeGate) -> None:
    phone.get("/api/captive")
    phone.post("/login")
    gate.login_broken = GateError("database-full", "The disk is full.")
    phone.post("/login")
    assert [saw for _, _, saw in gate.arrivals] == [False, False, False]


def test_who_is_not_known_is_not_counted(phone: Phone, gate: FakeGate) -> None:
    gate.macs.clear()
    phone.get("/")
    assert gate.arrivals == []
