"""What RAUC says, read, and when it is asked again; and the configuration that names the slots."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.update import errors, places, rauc, stick
from portal.update.errors import UpdateError

SAID = """installing
  0% Installing
  0% Determining slot states
 20% Determining slot states done.
 40% Checking bundle done.
 80% Updating slots
 81% Copying image to rootfs.1
100% Installing done.
idle
"""


def test_progress_is_read_line_by_line() -> None:
    found = [step for line in SAID.splitlines() if (step := rauc.progress_of(line)) is not None]
    assert found[0] == (0, "Installing") and found[-1] == (100, "Installing done.")
    assert (81, "Copying image to rootfs.1") in found and len(found) == 7


def test_why_it_failed_is_one_sentence() -> None:
    lines = [*SAID.splitlines()[:4], "LastError: Failed to check bundle identifier: Invalid identifier.", "idle"]
    assert rauc.reason_of(lines) == "Failed to check bundle identifier: Invalid identifier."
    assert rauc.reason_of([]) and rauc.reason_of([" 20% Checking"]) == "it gave no reason."
    assert rauc.reason_of(["something odd"]) == "something odd"


def test_the_slots_are_those_of_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "system.conf"
    config.write_text(
        "[system]\ncompatible=gerbang-x86\n[keyring]\npath=/k\n"
        "[slot.rootfs.0]\ndevice=/dev/a\nbootname=A\n[slot.rootfs.1]\ndevice=/dev/b\nbootname=B\n"
    )
    assert rauc.system(config) == rauc.System("gerbang-x86", {"A": Path("/dev/a"), "B": Path("/dev/b")})
    for text in ("", "[system]\n", "compatible"):
        config.write_text(text)
        with pytest.raises(UpdateError) as error:
            rauc.system(config)
        assert error.value.code == errors.NO_BOX
    with pytest.raises(UpdateError):
        rauc.system(tmp_path / "none")


@pytest.mark.parametrize(
    ("line", "slot"),
    [
        ("root=PARTUUID=1-02 rauc.slot=A quiet\n", "A"),
        ("rauc.slot=B", "B"),
        ("quiet", None),
        ("rauc.slot=", None),
        ("rauc.slot=C", None),
        ("xrauc.slot=A", None),
    ],
)
def test_the_running_slot(tmp_path: Path, line: str, slot: str | None) -> None:
    (tmp_path / "cmdline").write_text(line)
    assert places.running_slot(tmp_path / "cmdline") == slot


def test_the_images_version(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('NAME="Debian"\nIMAGE_VERSION="0.2.0-1a2b3c4d"\n')
    assert places.version(release) == "0.2.0-1a2b3c4d"
    release.write_text("IMAGE_VERSION=\n")
    assert places.version(release) == places.VERSION == places.version(tmp_path / "none")


def disk(tran: str | None, *parts: dict[str, object], **own: object) -> dict[str, object]:
    return {"path": "/dev/x", "tran": tran, "fstype": None, "mountpoints": [None], "children": list(parts), **own}


def part(name: str, kind: str | None, *mounts: str | None) -> dict[str, object]:
    return {"path": name, "tran": None, "fstype": kind, "mountpoints": list(mounts or (None,))}


def test_only_sticks_that_nobody_uses_are_looked_at() -> None:
    listed = [
        disk("usb", part("/dev/sdb1", "vfat"), part("/dev/sdb2", "squashfs"), part("/dev/sdb3", None)),
        disk("usb", fstype="exfat", path="/dev/sdc"),
        disk("usb", part("/dev/sdd1", "vfat", "/boot/firmware"), part("/dev/sdd4", "ext4")),
        disk("sata", part("/dev/sda1", "vfat")),
        disk(None, part("/dev/mmcblk0p1", "vfat")),
        {"path": "/dev/sr0", "tran": "usb"},
    ]
    assert list(stick.partitions(listed)) == [("/dev/sdb1", "vfat"), ("/dev/sdc", "exfat")]
