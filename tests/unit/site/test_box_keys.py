"""Contradictions between the keys that only a flashed box uses; a site.toml without them is as it always was."""

from __future__ import annotations

import pytest

from portal import site

CODE = '[site]\ncode = "64.03.01.2001"\n'
STATIC = 'kind = "static"\naddress = "203.0.113.10/30"\ngateway = "203.0.113.9"\ndns = ["203.0.113.53"]\n'
PPPOE = 'kind = "pppoe"\nuser = "122@telkom.net"\npassword = "rahasia"\n'


def mistakes(text: str) -> list[site.Mistake]:
    return site.check_text("site.toml", CODE + text, files=False, here=False)[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"[uplink]\n{STATIC}",
        f"[uplink]\n{PPPOE}vlan = 100\n",
        '[uplink]\nkind = "lte"\n',
        '[uplink]\nport = "usb"\n',
        '[uplink]\nport = "2c:cf:67:0a:11:30"\n',
        '[uplink]\nport = "pci-0000:01:00.0"\n',
        '[uplink]\nport = "platform-3f980000.usb-usb-0:1.1:1.0"\n',
        "[wifi]\nchannel = 36\n",
        '[wifi]\nband = "5"\nchannel = 149\n',
        "[management]\nvlan = 99\n",
        '[management]\nvlan = 99\naddress = "10.20.0.12/24"\nssh_from = ["10.20.0.0/16", "fd00::/16"]\n',
        "[management]\nssh_from = []\n",
    ],
)
def test_what_fits_together_is_no_mistake(text: str) -> None:
    assert mistakes(text) == []


@pytest.mark.parametrize(
    ("text", "key", "sentence"),
    [
        ('[uplink]\nkind = "pppoe"\npassword = "x"', "uplink.user", "is needed"),
        ('[uplink]\nkind = "pppoe"\nuser = "x"', "uplink.password", "is needed"),
        ('[uplink]\nuser = "x"', "uplink.user", 'for kind = "pppoe"'),
        ('[uplink]\nkind = "static"\ngateway = "203.0.113.9"\ndns = ["1.1.1.1"]', "uplink.address", "is needed"),
        ('[uplink]\naddress = "203.0.113.10/30"', "uplink.address", 'for kind = "static"'),
        (f"[uplink]\n{STATIC}".replace('["203.0.113.53"]', "[]"), "uplink.dns", "resolvers"),
        (f"[uplink]\n{STATIC}".replace("113.9", "113.66"), "uplink.gateway", "not in 203.0.113.8/30"),
        (f"[uplink]\n{STATIC}".replace("113.9", "113.10"), "uplink.gateway", "own address"),
        (f"[uplink]\n{STATIC}".replace("203.0.113.9", "router"), "uplink.gateway", "not an IPv4 address"),
        (f"[uplink]\n{STATIC}".replace("113.10/30", "113.8/30"), "uplink.address", "first or last"),
        (f"[uplink]\n{STATIC}".replace("/30", ""), "uplink.address", "prefix length"),
        (f"[uplink]\n{STATIC}".replace("/30", "/32"), "uplink.address", "With /32"),
        (
            '[uplink]\nkind = "static"\naddress = "10.77.3.2/24"\ngateway = "10.77.3.1"\ndns = ["1.1.1.1"]',
            "uplink.address",
            "overlap",
        ),
        ('[uplink]\nkind = "usb"\nvlan = 5', "uplink.vlan", "no VLAN"),
        ("[uplink]\nvlan = 4095", "uplink.vlan", "from 1 to 4094"),
        ('[uplink]\nport = "eth0"', "uplink.port", "MAC address"),
        ('[uplink]\nport = "2C:CF:67:0A:11:30"', "uplink.port", "small letters"),
        ('[wifi]\nband = "2.4"\nchannel = 36', "wifi.channel", "not in the band of 2.4 GHz"),
        ("[wifi]\nchannel = 14", "wifi.channel", "no channel 14"),
        ("[wifi]\nchannel = 37", "wifi.channel", "no channel 37"),
        ("[wifi]\nmax_stations = 0", "wifi.max_stations", "from 1 to 500"),
        ('[management]\naddress = "10.20.0.12/24"', "management.address", "for a VLAN"),
        ('[management]\nvlan = 99\naddress = "10.77.0.9/24"', "management.address", "overlap"),
        ("[uplink]\nvlan = 99\n[management]\nvlan = 99", "management.vlan", "provider's already"),
        ('[uplink]\nkind = "lte"\n[management]\nvlan = 99', "management.vlan", "no port"),
        ('[management]\nssh_from = ["0.0.0.0/0"]', "management.ssh_from", "whole Internet"),
        ('[management]\nssh_from = ["10.20.0.1/16"]', "management.ssh_from", "not a network"),
        ('[management]\nssh_from = ["10.77.4.0/24"]', "management.ssh_from", "lies in the LAN"),
    ],
)
def test_each_contradiction_is_one_mistake_with_a_hint(text: str, key: str, sentence: str) -> None:
    found = mistakes(text)
    assert [mistake.key for mistake in found] == [key]
    assert sentence in found[0].message
    assert found[0].hint


def test_a_key_that_is_wrong_itself_is_not_said_to_be_missing() -> None:
    assert [m.key for m in mistakes('[uplink]\nkind = "pppoe"\nuser = 5\npassword = "x"')] == ["uplink.user"]
    assert [m.key for m in mistakes('[uplink]\nkind = "dsl"\nuser = "x"')] == ["uplink.kind"]
