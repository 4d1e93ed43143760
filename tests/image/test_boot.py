"""The image becomes a box: by both kinds of firmware, with what is its own made on it, and kept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Figures
from tests.image.conftest import NewPlace
from tests.image.disk import CARD_BYTES
from tests.image.place import OFFICE, Place, Ready

# What a device makes itself, and how it lies on the data partition.
OWN = {
    "/data/identity": "700 root root",
    "/data/identity/device-uuid": "600 root root",
    "/data/identity/machine-id": "444 root root",
    "/data/identity/secret.key": "600 root root",
    "/data/ssh": "700 root root",
    "/data/ssh/ssh_host_ed25519_key": "600 root root",
    "/data/ssh/ssh_host_ed25519_key.pub": "644 root root",
}


def told(ready: Ready) -> str:
    return f"{ready.up_s:.0f} s up, {ready.wall_s:.0f} s from power on, {ready.cpu_s:.0f} s of emulation"


def identity(place: Place) -> dict[str, str]:
    """Digests of what is this device's own, by path."""
    said = place.machine.run("find /data/ssh /data/identity -type f -exec sha256sum {} +")
    return {path: digest for digest, path in (line.split() for line in said.splitlines())}


@pytest.fixture(scope="session")
def first_identity(shared: Place, first_boot: Ready) -> dict[str, str]:
    """What the shared box has made for itself."""
    shared.be_on()
    return identity(shared)


def test_the_first_boot_makes_a_device(place: Place, first_boot: Ready, image: Path, figures: Figures) -> None:
    assert first_boot.slot == "A"
    assert image.name == f"gerbang-{first_boot.version}-x86.img"
    box = place.machine
    assert box.run(["hostname"]).strip() == "gerbang-64-03-01-2001"
    said = box.run(f"stat -c '%n %a %U %G' {' '.join(OWN)}")
    assert dict(line.split(" ", 1) for line in said.splitlines()) == OWN
    assert box.run("cat /etc/machine-id") == box.run("cat /data/identity/machine-id")
    assert box.run("cat /data/site/site.toml").startswith("[site]")
    shown = box.run("cat /run/gerbang-box/screen/*")
    for part in ("Desa Uji (64.03.01.2001)", "uplink: ", "lan1: ", "gerbang: ready slot=A"):
        assert part in shown, "what a screen shows"
    figures["first boot, SeaBIOS"] = told(first_boot)


def test_the_data_partition_reaches_to_the_end_of_the_disk(place: Place) -> None:
    device = place.machine.run("findmnt -no SOURCE /data").strip()
    disk = json.loads(place.machine.run(["sfdisk", "--json", re.sub(r"\d+$", "", device)]))["partitiontable"]
    last = disk["partitions"][-1]
    assert last["node"] == device
    assert (last["start"] + last["size"]) * 512 >= CARD_BYTES - (1 << 20)
    size = int(place.machine.run("findmnt -bno SIZE /data"))
    assert size > 0.9 * last["size"] * 512, "the file system has grown with its partition"
    assert "Block size:               4096" in place.machine.run(["dumpe2fs", "-h", device])


def test_ssh_is_for_the_networks_that_site_toml_names_and_by_key_alone(place: Place) -> None:
    """From the office's network this very test got in; the provider's router, next door, is not let in."""
    assert OFFICE.startswith("10.")
    said = place.machine.run(["sshd", "-T"])
    for line in ("passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin without-password"):
        assert line in said.splitlines(), line
    assert place.machine.ssh_refusal(source="198.18.0.1"), "the provider's own address logs in"


def test_uefi_makes_another_device_and_the_next_boot_keeps_it(
    new_place: NewPlace, first_identity: dict[str, str], figures: Figures
) -> None:
    place = new_place(uefi=True)
    first = place.boot()
    assert first.slot == "A"
    assert "Gerbang: starting slot A" in place.machine.console()
    assert place.machine.run("test -d /sys/firmware/efi && echo uefi").strip() == "uefi"
    made = identity(place)
    assert made.keys() == first_identity.keys()
    same = [path for path in made if made[path] == first_identity[path]]
    assert same == [], "two boxes of one image share a secret"
    place.shut_down()
    second = place.boot()
    # Had the host key changed, ssh would refuse to go on: it has seen this box before.
    assert identity(place) == made
    assert second.slot == "A"
    assert place.machine.run("ls /boot/firmware").split().count("SITE-ERROR.txt") == 0
    figures["first boot, UEFI"], figures["second boot, UEFI"] = told(first), told(second)
