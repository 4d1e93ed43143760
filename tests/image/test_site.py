"""site.toml on the FAT partition: with mistakes, mended, not written at all, and made on the setup page."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.image import radio
from tests.image.concentrator import Concentrator
from tests.image.conftest import NewPlace
from tests.image.place import PAGE_S, READY_WITHIN_S, SITE
from tests.image.test_uplink import LINE
from tests.village import internet
from tests.village.gateway import to_toml
from tests.village.http import Response, first_form
from tests.village.phone import PROBE, Phone
from tests.village.staffbrowser import StaffBrowser

# As Notepad saves it: a mark at the start, CRLF; with a mistake of each kind.
WRONG = (
    b"\xef\xbb\xbf"
    + "\r\n".join(
        [
            "[site]",
            'code = "64.03.01.201"',
            "[lan]",
            'address = "198.51.99.1/24"',
            'colour = "red"',
            "[[plan]]",
            'id = "warga"',
            'name = "Warga"',
            "down_kbit = 0",
        ]
    ).encode()
)
SETUP_WIFI = r"setup Wi-Fi: (\S+) +kata sandi / password: (\S+)"
KEYS = ("site.code", "lan.address", "lan.colour", "plan[1].down_kbit")


@pytest.mark.long
def test_mistakes_are_told_beside_site_toml_and_mending_them_is_enough(new_place: NewPlace) -> None:
    place = new_place(site=WRONG, phones=1)
    box = place.machine
    box.power_on()
    box.wait_console("There is no good site.toml yet", READY_WITHIN_S)
    box.wait_console(r"gerbang: not ready slot=A", READY_WITHIN_S)
    (phone,) = place.phones
    phone.dhcp()
    assert not phone.is_online(), "a box that nobody has configured lets nobody through"
    place.shut_down()
    told = place.disk.get("SITE-ERROR.txt").decode("utf-8-sig")
    assert [key for key in KEYS if key not in told] == []
    assert f"{len(KEYS)} kesalahan" in told
    assert told.count("\r\n") == told.count("\n"), "Notepad of old Windows shows one line otherwise"
    place.disk.put("site.toml", to_toml(SITE))
    assert place.boot().slot == "A"
    assert "SITE-ERROR.txt" not in box.run("ls /boot/firmware").split()
    phone.dhcp()
    phone.login()
    phone.wait_online(timeout_s=30)


def test_a_box_that_nobody_has_configured_opens_the_setup_page(new_place: NewPlace) -> None:
    place = new_place(site=None, phones=1)
    place.machine.power_on()
    place.machine.wait_console(r"gerbang: not ready slot=A", READY_WITHIN_S)
    (phone,) = place.phones
    phone.dhcp()
    answer = phone.http(PROBE, timeout_s=PAGE_S)
    assert answer.status == 302
    page = phone.http(answer.location)
    assert page.status == 200
    assert "Kode desa" in page.text or "kode desa" in page.text
    assert not phone.is_online()
    with pytest.raises(OSError):
        phone.connect("198.18.5.80", 443, timeout_s=2)


@pytest.mark.long
def test_a_technician_sets_a_box_up_from_a_telephone(new_place: NewPlace) -> None:
    place = new_place(site=None, phones=2, credentials=radio.PLUGGED)
    place.machine.power_on()
    name, password = place.machine.wait_console(SETUP_WIFI, READY_WITHIN_S).groups()
    place.machine.wait_console(r"gerbang: not ready slot=A", READY_WITHIN_S)
    with radio.station(place.machine) as station:
        assert station.join(f'ssid="{name}"\npsk="{password}"')["key_mgmt"] == "WPA2-PSK"
        station.dhcp()
        assert 'name="site.code"' in station.run("busybox", "wget", "-q", "-O", "-", place.gateway.url)
        station.leave()
    phone, villager = place.phones
    phone.dhcp()
    page = phone.http(phone.http(PROBE).location)
    page = send(phone, page, **{"site.code": "6403012001", "site.name": "Muara Kaman Ulu"})
    page = send(phone, page, **{"uplink.kind": "dhcp", "uplink.down_kbit": "18000", "uplink.up_kbit": "4500"})
    assert "LULUS" in page.text and "BELUM" not in page.text, page.text
    assert internet.GATEWAY in page.text
    page = send(phone, phone.http(f"{place.gateway.url}wifi"), **{"wifi.ssid": "Wi-Fi Muara Kaman"})
    assert "Muara Kaman Ulu" in page.text, "what is going to be saved"
    page = send(phone, page)
    assert "LULUS" in page.text and "BELUM" not in page.text, page.text
    words = dict(re.findall(r'<dt>(\w+)</dt><dd class="secret">([^<]+)</dd>', page.text))
    here = place.machine.mark()
    assert send(phone, page).status == 200
    assert place.wait_ready(since=here).slot == "A"

    villager.dhcp()
    villager.login()
    villager.wait_online(timeout_s=30)
    phone.dhcp()
    desk = StaffBrowser(phone.ns, timeout_s=PAGE_S)
    desk.wait("/login", 'name="password"', READY_WITHIN_S)
    desk.first_log_in("teknisi", words["teknisi"], "empat kata yang panjang")
    assert "Muara Kaman Ulu" in desk.get("/technician/config")
    place.shut_down()
    kept = tomllib.loads(place.disk.get("site.toml").decode("utf-8-sig"))
    assert kept["site"] == {"code": "64.03.01.2001", "name": "Muara Kaman Ulu"}, "so a new card can be made of this one"


@pytest.mark.long
def test_a_login_is_tried_on_the_setup_page(new_place: NewPlace) -> None:
    place = new_place(site=None, phones=1)
    provider = Concentrator(place.internet.ns, internet.UPLINK, LINE)
    try:
        place.machine.power_on()
        place.machine.wait_console(r"gerbang: not ready slot=A", READY_WITHIN_S)
        (phone,) = place.phones
        phone.dhcp()
        page = send(phone, phone.http(phone.http(PROBE).location), **{"site.code": "6403012001"})
        login = {"uplink.kind": "pppoe", "uplink.vlan": str(LINE.vlan), "uplink.user": LINE.user}
        wrong = send(phone, page, **login, **{"uplink.password": "salah"})
        assert "BELUM LULUS" in wrong.text and provider.refused > 0
        page = send(phone, phone.http(f"{place.gateway.url}line"), **login, **{"uplink.password": LINE.password})
        assert "BELUM" not in page.text, page.text
        assert LINE.there in page.text and provider.logins == 1
    finally:
        provider.close()


def send(phone: Phone, page: Response, **fields: str) -> Response:
    """Fill the page's form in, press its button, and follow where that leads."""
    form = first_form(page)
    form.fields |= fields
    answer = phone.http(form.action, method="POST", body=form.body, timeout_s=120)
    return phone.http(answer.location) if answer.status == 303 else answer
