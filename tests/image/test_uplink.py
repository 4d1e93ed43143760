"""How the line is used: a login by PPPoE in the provider's VLAN, as most fibre here asks for; a fixed address with the
management in a VLAN of its own; a modem on USB, which is pulled out and plugged in again."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import pytest

from tests.image.concentrator import Concentrator, Line
from tests.image.conftest import NewPlace
from tests.image.place import SITE, Place
from tests.village import delegation, internet
from tests.village.gateway import merged
from tests.village.phone import Phone

LINE = Line("desa-2001@isp.example", "rahasia-1", "198.18.7.1", "198.18.7.2", internet.DNS, vlan=100)
PPPOE: Mapping[str, Any] = {"kind": "pppoe", "user": LINE.user, "password": LINE.password, "vlan": LINE.vlan}


def online(place: Place) -> Phone:
    (phone,) = place.phones
    phone.dhcp()
    phone.login()
    phone.wait_online(timeout_s=60)
    return phone


def test_a_login_by_pppoe_in_the_provider_s_vlan(new_place: NewPlace) -> None:
    place = new_place(site=merged(SITE, {"uplink": dict(PPPOE)}), phones=1)
    provider = Concentrator(place.internet.ns, internet.UPLINK, LINE)
    try:
        place.machine.address = LINE.there
        place.boot()
        phone = online(place)
        assert provider.logins == 1 and provider.refused == 0
        box = place.machine
        assert "mtu 1492" in box.run(["ip", "link", "show", "dev", "wan0"])
        assert LINE.dns in box.read("/run/gerbang-box/resolv.conf")
        # Whole segments get through a line that is narrower than the users' network.
        answer = phone.http(f"http://{internet.HOST}/bytes?n=300000", timeout_s=30)
        assert len(answer.body) == 300_000
        for path in ("/run/gerbang/site.toml", "/data/site/site.toml", "/run/gerbang-box/pppd.options"):
            refused = box.try_run(["setpriv", "--reuid=nobody", "--clear-groups", "cat", path])
            assert refused.returncode != 0, f"{path} is there for everybody, with the password"
        # The provider ends the session, as many do each night: the box dials again, and who was in is in.
        place.gateway.hang_up()
        box.hang_up()
        provider.hang_up()
        phone.wait_online(timeout_s=120)
        assert provider.logins == 2
    finally:
        provider.close()


FIXED, OFFICE_NETWORK = "198.18.0.77", "10.99.0.12/24"
OTHER_PREFIX = ipaddress.IPv6Network("2001:db8:b800::/56")
STATIC: Mapping[str, Any] = {
    "uplink": {"kind": "static", "address": f"{FIXED}/24", "gateway": internet.ROUTER, "dns": [internet.DNS]},
    "management": {"vlan": 9, "address": OFFICE_NETWORK},
}


@pytest.mark.long
def test_an_address_that_does_not_change_a_prefix_that_does_and_a_vlan_for_the_office(new_place: NewPlace) -> None:
    place = new_place(site=merged(SITE, STATIC), phones=1)
    place.machine.address = FIXED
    with delegation.Provider(place.internet) as provider:
        place.boot()
        phone = online(place)
        for prefix in (delegation.PREFIX, OTHER_PREFIX):
            provider.prefix = prefix
            own = delegation.wait_prefix(phone, prefix)
            phone.wait_online(family=6)
            assert delegation.seen_by_server(phone) in own, "nothing translates it"
    said = {
        name: rest for name, _, *rest in map(str.split, place.machine.run(["ip", "-br", "-4", "address"]).splitlines())
    }
    assert said["wan0"] == [f"{FIXED}/24"]
    assert said["mgmt0@wan0"] == [OFFICE_NETWORK]


@pytest.mark.long
def test_a_modem_on_usb_comes_and_goes_while_the_box_runs(new_place: NewPlace) -> None:
    place = new_place(site=merged(SITE, {"uplink": {"kind": "lte"}}), phones=1, modem=True)
    place.boot()
    phone = online(place)
    box = place.machine
    assert f"{internet.GATEWAY}/24" in box.run(["ip", "-br", "-4", "address", "show", "dev", "wan0"])
    answer = phone.http(f"http://{internet.HOST}/bytes?n=300000", timeout_s=30)
    assert len(answer.body) == 300_000
    place.gateway.hang_up()
    box.hang_up()
    box.pull_modem()
    assert not phone.is_online()
    box.plug_modem()
    phone.wait_online(timeout_s=120)
    assert box.run("systemctl --failed --no-legend --plain").strip() == ""
