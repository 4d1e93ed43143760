"""The box's own radio: phones join the open network and the encrypted one, meet the portal and go online."""

from __future__ import annotations

import pytest

from tests.image import radio
from tests.image.place import Place

SSID = "Wi-Fi Desa"


@pytest.mark.parametrize(
    ("network", "key_management"),
    [
        (f'ssid="{SSID}"\nkey_mgmt=NONE', "NONE"),
        (f'ssid="{SSID}"\nkey_mgmt=OWE\nieee80211w=2', "OWE"),
    ],
    ids=["open", "owe"],
)
def test_a_phone_joins_meets_the_portal_and_is_online(place: Place, network: str, key_management: str) -> None:
    with radio.station(place.machine) as phone:
        status = phone.join(network)
        assert status["key_mgmt"] == key_management, status
        address = phone.dhcp()
        assert address.startswith("10.77.")
        assert phone.browse() == [302, 200, 303, 204]
        (session,) = place.gateway.sql("SELECT mac FROM session WHERE ipv4 = ? AND ended_wall_s IS NULL", address)
        assert session["mac"] == status["address"]
        phone.leave()


def test_the_radio_runs_without_rights_that_it_does_not_need(place: Place) -> None:
    shown = place.machine.run(["systemctl", "show", "-P", "MainPID", "gerbang-hostapd.service"])
    status = place.machine.read(f"/proc/{shown.strip()}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["CapBnd"], 16) == 1 << 12 | 1 << 13, "CAP_NET_ADMIN and CAP_NET_RAW"
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert "ap_isolate=1" in place.machine.read("/run/gerbang-box/hostapd.conf").splitlines()
