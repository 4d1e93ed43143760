"""Who an operator lets in without a tap: its DHCP lease is all that the gateway needs of it."""

from __future__ import annotations

import pwd
import stat

from portal.meter import TICK_S
from tests.e2e.conftest import NewPhone
from tests.e2e.test_office_cli import office
from tests.village.gateway import DATA, GerbangGateway


def test_an_allowed_device_is_online_with_nothing_but_its_lease(gateway: GerbangGateway, new_phone: NewPhone) -> None:
    camera, other = new_phone(), new_phone()
    assert not camera.is_online(timeout_s=1)
    office(gateway, "device", "allow", camera.mac, "--plan", "warga", "--note", "kamera balai desa")
    camera.wait_online(timeout_s=2 * TICK_S)
    assert not other.is_online(timeout_s=1)
    (session,) = gateway.sql("SELECT method, ipv4 FROM session WHERE mac = ?", camera.mac)
    assert session == {"method": "rule", "ipv4": camera.address}
    office(gateway, "device", "clear", camera.mac)
    assert not camera.is_online(timeout_s=1)


def test_the_leases_are_for_the_portal_to_read_and_for_nobody_else(
    gateway: GerbangGateway, new_phone: NewPhone
) -> None:
    new_phone()
    leases = gateway.box.root / str(DATA / "dnsmasq" / "leases").lstrip("/")
    directory = leases.parent.stat()
    assert stat.S_IMODE(directory.st_mode) == 0o750
    assert directory.st_gid == pwd.getpwnam("gerbang").pw_gid
    assert leases.stat().st_mode & stat.S_IROTH, "the directory keeps others out"
