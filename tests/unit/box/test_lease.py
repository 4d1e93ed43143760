"""What the line says of resolvers and time servers is read from networkd and pppd, and only what can be used of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portal.box import commands, lease
from portal.box.places import Places

STATUS = {  # as `networkctl --json=short status wan0` of systemd 257 prints it, shortened
    "Name": "wan0",
    "DNS": [
        {"Family": 2, "Address": [203, 0, 113, 53], "ConfigSource": "DHCPv4"},
        {"Family": 10, "Address": [0xFE, 0x80, *([0] * 13), 1], "ConfigSource": "NDisc"},
        {"Family": 10, "Address": [0x20, 1, 0xD, 0xB8, *([0] * 11), 0x53], "ConfigSource": "DHCPv6"},
    ],
    "NTP": [{"Family": 2, "Address": [203, 0, 113, 123]}, {"Server": "ntp.example.id"}],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    seen: list[tuple[str, ...]] = []

    def run(*command: str, **_more: Any) -> str:
        seen.append(command)
        return json.dumps(STATUS) if command[0] == "networkctl" else ""

    monkeypatch.setattr(commands, "run", run)
    return seen


def site(places: Places, uplink: str) -> None:
    places.site.parent.mkdir(parents=True)
    places.site.write_text(f'[site]\ncode = "64.03.01.2001"\n[uplink]\n{uplink}\n')


def servers(places: Places) -> list[str]:
    return [line.split()[1] for line in places.resolv.read_text().splitlines() if line.startswith("nameserver")]


def test_link_local_resolvers_are_left_out_since_dnsmasq_is_told_no_interface() -> None:
    assert lease.told(STATUS, "DNS") == ("203.0.113.53", "2001:db8::53")
    assert lease.told(STATUS, "NTP") == ("203.0.113.123",)
    assert lease.told({}, "DNS") == ()


def test_both_are_passed_on_and_chrony_is_told_once(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    places = Places(tmp_path)
    for _ in range(2):
        assert lease.main(places, tmp_path / "ppp") == 0
    assert servers(places) == ["203.0.113.53", "2001:db8::53"]
    assert places.ntp.read_text() == "server 203.0.113.123 iburst\n"
    assert [command[0] for command in asked].count("chronyc") == 1


def test_resolvers_of_site_toml_stay(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    places = Places(tmp_path)
    site(places, 'dns = ["198.51.100.1"]')
    lease.main(places, tmp_path / "ppp")
    assert servers(places) == ["198.51.100.1"]


@pytest.mark.parametrize("is_set_up", [True, False], ids=["site", "setup"])
def test_with_pppoe_the_peer_tells(tmp_path: Path, asked: list[tuple[str, ...]], *, is_set_up: bool) -> None:
    """Also while the setup page tries a line that no site.toml names yet."""
    places, ppp, kind = Places(tmp_path), tmp_path / "ppp", tmp_path / "sys" / "wan0" / "type"
    if is_set_up:
        site(places, 'kind = "pppoe"\nuser = "u"\npassword = "p"')
    ppp.write_text("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    kind.parent.mkdir(parents=True)
    kind.write_text("512\n")
    lease.main(places, ppp, tmp_path / "sys")
    assert servers(places) == ["192.0.2.1", "192.0.2.2"]
    assert not [command for command in asked if command[0] == "networkctl"]
    kind.write_text("1\n")  # another kind is tried; what the last provider said lies there still
    lease.main(places, ppp, tmp_path / "sys")
    assert servers(places) == ["203.0.113.53", "2001:db8::53"]


def test_in_an_outage_the_last_resolvers_stay(
    tmp_path: Path, asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(tmp_path)
    lease.main(places, tmp_path / "ppp")
    monkeypatch.setattr(commands, "run", lambda *_, **__: "{}")
    lease.main(places, tmp_path / "ppp")
    assert servers(places) == ["203.0.113.53", "2001:db8::53"]
