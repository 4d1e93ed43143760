"""What is written for networkd, hostapd, chrony, pppd and sshd, word for word; and what must stand in it whatever."""

from __future__ import annotations

import configparser
import itertools
import re

import pytest

from portal.box import networkd, services
from portal.box.interfaces import decide
from portal.config import Management, Uplink
from tests.unit.box.golden_texts import CARDS, CASES, GOLDEN, PPPOE, STATIC, config

FORWARDING = re.compile(r"^(IPForward|IPv[46]Forwarding|IPMasquerade)", re.MULTILINE)
KINDS = [Uplink(), STATIC, PPPOE, Uplink(kind="usb"), Uplink(kind="lte"), Uplink(vlan=7), Uplink(port="usb")]


@pytest.mark.parametrize("name", CASES)
def test_the_text_is_as_it_was_read_and_kept(name: str) -> None:
    assert CASES[name]() == (GOLDEN / f"{name}.txt").read_text(), "read it, then renew it: golden_texts.py"


def test_no_golden_text_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def parsed(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


@pytest.mark.parametrize("uplink", KINDS, ids=lambda uplink: f"{uplink.kind}-{uplink.vlan}-{uplink.port}")
def test_the_lan_gets_nothing_from_networkd(uplink: Uplink) -> None:
    """No address, no advertisement asked for or sent, and it stays down: netctl takes it up once its rules stand."""
    written = networkd.files(config(uplink), decide(CARDS, uplink))
    lan = parsed(written["20-gerbang-lan.network"])
    assert lan["Link"]["ActivationPolicy"] == "manual"
    assert lan["Network"]["KeepConfiguration"] == "yes"
    assert (lan["Network"]["IPv6AcceptRA"], lan["Network"]["IPv6SendRA"], lan["Network"]["DHCP"]) == ("no", "no", "no")
    assert "Address" not in lan["Network"]
    assert not FORWARDING.search("\n".join(written.values()))


@pytest.mark.parametrize("uplink", KINDS, ids=lambda uplink: f"{uplink.kind}-{uplink.vlan}-{uplink.port}")
def test_something_is_called_wan0_and_the_uplinks_card_is_never_a_port_of_the_lan(uplink: Uplink) -> None:
    roles = decide(CARDS, uplink)
    written = networkd.files(config(uplink), roles)
    by_link = [parsed(text)["Link"].get("Name") for name, text in written.items() if name.endswith(".link")]
    by_netdev = [parsed(text)["NetDev"]["Name"] for name, text in written.items() if name.endswith(".netdev")]
    by_pppd = ["wan0"] if uplink.kind == "pppoe" else []
    assert [*by_link, *by_netdev, *by_pppd].count("wan0") == 1
    # networkd takes the first file that fits: what is for the uplink's card comes before the one for all the rest.
    order = sorted(name for name in written if name.endswith(".network"))
    assert order[-1] == "30-gerbang-port.network"
    if roles.uplink is not None:
        known = parsed(written["10-gerbang-modem.network" if roles.plugged else "14-gerbang-uplink.network"])["Match"]
        assert known.get("Path") or known.get("Driver") or known.get("PermanentMACAddress") or known.get("Property")


def test_two_vlans_of_one_card_are_both_on_it() -> None:
    wanted = config(Uplink(vlan=100), management=Management(vlan=99))
    text = networkd.files(wanted, decide(CARDS, wanted.uplink))["14-gerbang-uplink.network"]
    assert "VLAN=wan0\nVLAN=mgmt0\n" in text


def test_resolvers_of_site_toml_go_before_those_of_the_line() -> None:
    assert services.of_lease(("192.0.2.1",), ("203.0.113.53",), ()) == ("203.0.113.53",)
    assert services.of_lease(("192.0.2.1", "192.0.2.1"), (), ("192.0.2.2",)) == ("192.0.2.1", "192.0.2.2")


def test_a_password_cannot_become_an_option_of_pppd() -> None:
    from portal import site

    for bad in ('a"\nplugin evil.so', "a\\", 'x"'):
        text = f'[site]\ncode = "64.03.01.2001"\n[uplink]\nkind = "pppoe"\nuser = "u"\npassword = {bad!r}\n'
        document = {
            "site": {"code": "64.03.01.2001"},
            "uplink": {"kind": "pppoe", "user": "u", "password": bad},
        }
        _, mistakes = site.check_document("site.toml", document, files=False, here=False)
        assert [mistake.key for mistake in mistakes] == ["uplink.password"], text


def test_names_are_short_enough_for_the_kernel() -> None:
    wanted = config(PPPOE, management=Management(vlan=99))
    written = networkd.files(wanted, decide(CARDS, wanted.uplink))
    names = [
        value
        for text, key in itertools.product(written.values(), ("Name", "Bridge", "VLAN"))
        for section in parsed(text).values()
        if (value := section.get(key)) and not value.startswith("!")
    ]
    assert names
    assert all(len(name) <= 15 for name in names)
