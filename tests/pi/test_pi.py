"""A Pi's image: U-Boot and GRUB start it on the board itself, and with two network cards it is the same gateway.

QEMU's Pi 3 has no network card that works, so the portal is met on a board that has the Pi's processor and memory. What
QEMU cannot play is the Pi's own first stage (bootcode.bin, start.elf): only hardware tests that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Figures
from tests.image.boards import PI_LIKE, pi3
from tests.image.machine import PATIENCE
from tests.image.place import PYTHON, Place, newest
from tests.village import story

# Emulating another processor takes longer than emulating one's own kind.
READY_WITHIN_S = 900.0
pytestmark = [
    pytest.mark.timeout(3600 * PATIENCE),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]


@pytest.fixture(scope="session")
def image() -> Path:
    return newest("pi")


@pytest.fixture
def place(image: Path, tmp_path: Path) -> Iterator[Place]:
    with Place(image, tmp_path, board=PI_LIKE, phones=1) as found:
        yield found


def test_with_two_network_cards_it_is_the_same_gateway(place: Place, image: Path, figures: Figures) -> None:
    first = place.boot(READY_WITHIN_S)
    assert first.slot == "A" and image.name == f"gerbang-{first.version}-pi.img"
    box = place.machine
    assert box.run(["uname", "-m"]).strip() == "aarch64"
    assert box.run(["systemctl", "--failed", "--no-legend", "--plain"]).strip() == ""
    box.run(["gerbang", "doctor"])
    box.run([PYTHON, "-P", "-c", "import iptc, pyroute2, cryptography"])
    (phone,) = place.phones
    scene = story.Scene(place, phone, place.gateway, measure_s=10)
    for step in story.STEPS:
        print(f"{step.name:<9} {step.play(scene)}")
    figures["Pi image, first boot"] = f"{first.up_s:.0f} s up, {first.wall_s:.0f} s from power on"
    figures["Pi image, memory"] = "{} MiB used of {}".format(*place.memory_mib())
    figures["Pi image, boot"] = box.run(["systemd-analyze", "time"]).splitlines()[0]
    place.shut_down()
    second = place.boot(READY_WITHIN_S)
    assert second.slot == "A"
    figures["Pi image, second boot"] = f"{second.up_s:.0f} s up, {second.wall_s:.0f} s from power on"


def test_the_board_itself_starts_it(image: Path, tmp_path: Path) -> None:
    firmware = tmp_path / "firmware"
    firmware.mkdir()
    with Place(image, tmp_path, board=pi3(firmware)) as place:
        for name in ("u-boot.bin", "bcm2837-rpi-3-b.dtb"):
            (firmware / name).write_bytes(place.disk.get(name))
        # QEMU's watchdog resets the board at once; a real one waits as long as it was told to.
        settings = place.disk.get("grub/grub.cfg")
        assert settings.count(b" panic=10 ") == 1
        place.disk.put("grub/grub.cfg", settings.replace(b" panic=10 ", b" panic=10 systemd.watchdog_sec=off "))
        box = place.machine
        box.power_on()
        box.wait_console("This device is made: ", READY_WITHIN_S)
        box.wait_console(r"site\.toml was taken: 64\.03\.01\.2001 Desa Uji", READY_WITHIN_S)
        # A Pi without a single network card can serve nobody; it says so, and its console is there.
        box.wait_console("The LAN has neither a port nor a radio", READY_WITHIN_S)
        said = box.console() + (tmp_path / "pins").read_text(errors="replace")
        assert "U-Boot " in said and "Gerbang: starting slot A" in said
