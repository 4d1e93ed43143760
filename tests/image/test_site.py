"""site.toml on the FAT partition: with mistakes, mended, and not written at all."""

from __future__ import annotations

import pytest

from tests.image.conftest import NewPlace
from tests.image.place import READY_WITHIN_S, SITE
from tests.village.gateway import to_toml
from tests.village.phone import PROBE

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
    answer = phone.http(PROBE)
    assert answer.status == 302
    page = phone.http(answer.location)
    assert page.status == 200
    assert "Kode desa" in page.text or "kode desa" in page.text
    assert not phone.is_online()
    with pytest.raises(OSError):
        phone.connect("198.18.5.80", 443, timeout_s=2)
