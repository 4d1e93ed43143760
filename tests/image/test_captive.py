"""With a certificate and the time, DHCP tells systems where the portal is: systemd-networkd believes it (RFC 8910)."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.image.conftest import NewPlace
from tests.image.machine import Machine
from tests.image.place import SITE
from tests.village.gateway import merged

NAME = "portal.example"
# chrony has asked the time server, and the gateway has looked at clock and certificate again.
TOLD_WITHIN_S = 240.0
_NETWORK = "[Match]\nName=client0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n"
# A networkd beside the box's own: in a namespace, on a port of the LAN's bridge, with nothing of the other's in sight.
_PROPERTIES: dict[str, str] = {
    "Type": "exec",
    "NetworkNamespacePath": "/run/netns/client",
    "BindReadOnlyPaths": "/run/client-network:/etc/systemd/network",
    "TemporaryFileSystem": "/run/systemd /run/dbus /var/lib/systemd",
    "ProtectKernelTunables": "yes",  # a read-only /sys: it does not wait for udev, which knows no namespaces
}


def _certificate(directory: Path) -> tuple[Path, Path]:
    chain, key = directory / "portal.pem", directory / "portal.key"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={NAME}"]
    words += ["-keyout", str(key), "-out", str(chain), "-days", "60", "-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    return chain, key


def _networkd_hears(box: Machine) -> str:
    """What networkd as a client of this LAN has been told of the portal; empty where nothing."""
    box.run("mkdir -p /run/client-network && cat > /run/client-network/client.network", stdin=_NETWORK)
    box.run("ip netns add client && ip link add clientport type veth peer name client0 netns client")
    box.run("ip link set clientport master lan0 up")
    properties = [f"--property={name}={value}" for name, value in _PROPERTIES.items()]
    box.run(["systemd-run", "--quiet", "--unit=client", *properties, "/usr/lib/systemd/systemd-networkd"])
    inside = "nsenter -m -t $(systemctl show -P MainPID client.service)"
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        said = box.run(f"{inside} sh -c 'cat /run/systemd/netif/links/* || true'")
        known = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        if known.get("ADDRESS_STATE") == "routable":
            return known.get("CAPTIVE_PORTAL", "")
        time.sleep(1)
    raise AssertionError(f"networkd got no address: {said}")


@pytest.mark.long
def test_systems_are_told_of_the_portal_once_certificate_and_clock_hold(new_place: NewPlace, tmp_path: Path) -> None:
    on_card = {"certificate": "/boot/firmware/portal.pem", "key": "/boot/firmware/portal.key"}
    site: dict[str, Any] = merged(SITE, {"portal": {"name": NAME, **on_card}})
    place = new_place(site=site, phones=1)
    for path in _certificate(tmp_path):
        place.disk.put(path.name, path.read_bytes())
    place.boot()
    (phone,) = place.phones
    end_s = time.monotonic() + TOLD_WITHIN_S
    while (told := phone.dhcp().captive_portal) is None and time.monotonic() < end_s:
        time.sleep(5)
    assert told is not None and told.startswith(f"https://{NAME}/"), place.machine.run("chronyc -n sources")
    assert _networkd_hears(place.machine) == told
