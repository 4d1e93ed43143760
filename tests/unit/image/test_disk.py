"""The disk's description, the boot loader's variables, and that all who name a partition name the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from image import bootloader, disk, layers
from image.errors import BuildError
from image.layers import fill
from image.targets import TARGETS

GOLDEN = Path(__file__).parent / "golden"
FILES = {"x86": ["EFI/BOOT/BOOTX64.EFI", "grub/grub.cfg", "grubenv", "site.toml"]}
FILES["pi"] = ["EFI/BOOT/BOOTAA64.EFI", "config.txt", "grub/grub.cfg", "grubenv", "overlays/a.dtbo", "site.toml"]


def filled(name: str, target: str) -> str:
    return fill((disk.BOOT / name).read_text(encoding="utf-8"), disk.variables(TARGETS[target]), name)


@pytest.mark.parametrize("target", TARGETS)
def test_genimage_is_told_this(target: str) -> None:
    text = disk.genimage(TARGETS[target], f"gerbang-1.0-{target}.img", "root.squashfs", FILES[target], 86400)
    golden = GOLDEN / f"{target}.genimage.cfg"
    assert text == golden.read_text(encoding="utf-8")


def test_a_root_that_does_not_fit_is_refused_before_the_disk_is_made() -> None:
    disk.check_slot(disk.SLOT_MIB << 20)
    with pytest.raises(BuildError, match="640"):
        disk.check_slot((disk.SLOT_MIB << 20) + 1)


def test_grubenv_is_a_block_that_grub_can_write_in_place() -> None:
    block = disk.first_grubenv()
    assert len(block) == 1024
    assert block.startswith(b"# GRUB Environment Block\nORDER=A B\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=0\n#")
    assert set(block[block.index(b"B_TRY=0\n") + 8 :]) == {ord("#")}


@pytest.mark.parametrize("target", TARGETS)
def test_grub_starts_the_partitions_that_rauc_writes(target: str) -> None:
    grub = filled("grub.cfg", target)
    starts = dict(re.findall(r"start ([AB]) (\d)", grub))
    assert len(re.findall(r"start [AB] \d", grub)) == 4, "where one has no kernel the other one is started at once"
    recipe = layers.recipe(target, {})
    known = {**disk.variables(TARGETS[target]), **recipe.variables}
    (source,) = [source for source, to in recipe.files if to == "etc/rauc/system.conf"]
    system = fill(source.read_text(encoding="utf-8"), known, "system.conf")
    slots = re.findall(r"device=/dev/disk/by-partuuid/(\w+)-0(\d)\ntype=raw\nbootname=([AB])", system)
    assert {name: part for _, part, name in slots} == starts == {"A": "2", "B": "3"}
    assert {signature for signature, _, _ in slots} == {disk.DISK_ID}
    assert f"root=PARTUUID={disk.DISK_ID}-0$2 rauc.slot=$1 " in grub
    assert f"compatible=gerbang-{target}\n" in system


@pytest.mark.parametrize("target", TARGETS)
def test_grub_s_last_word_is_reboot(target: str) -> None:
    """A GRUB that reaches the end of its script stands still at a prompt, for ever."""
    lines = [line for line in filled("grub.cfg", target).splitlines() if line.strip() and not line.startswith("#")]
    assert lines[-1] == "reboot"
    assert not any(line.lstrip().startswith(("menuentry", "set timeout=-1")) for line in lines)


@pytest.mark.parametrize("target", TARGETS)
def test_a_kernel_that_panics_starts_again_and_the_overlay_can_be_written(target: str) -> None:
    words = disk.kernel_arguments(TARGETS[target]).split()
    assert {"rw", "panic=10", "overlayroot=tmpfs:recurse=0", "rootfstype=squashfs"} <= set(words)
    assert "ro" not in words


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_system_is_mended_without_an_answer(target: str) -> None:
    assert "fsck.repair=yes" in disk.kernel_arguments(TARGETS[target]).split()


def test_what_is_compiled_into_grub_has_no_comment_and_ends_in_a_reboot() -> None:
    assert bootloader.first_lines(TARGETS["x86"]).splitlines() == [
        "configfile $prefix/grub.cfg",
        "search.fs_label GERBANG root",
        *("set prefix=($root)/grub", "configfile ($root)/grub/grub.cfg", "sleep 5", "reboot"),
    ]


def test_what_is_mounted_are_the_partitions_of_this_disk() -> None:
    recipe = layers.recipe("x86", {})
    (source,) = [source for source, to in recipe.files if to == "etc/fstab"]
    fstab = fill(source.read_text(encoding="utf-8"), {**disk.variables(TARGETS["x86"]), **recipe.variables}, "fstab")
    mounts = {fields[1]: fields for fields in map(str.split, fstab.splitlines()) if not fields[0].startswith("#")}
    assert mounts["/boot/firmware"][0] == f"PARTUUID={disk.DISK_ID}-01"
    assert "ro" in mounts["/boot/firmware"][3].split(",")
    assert mounts["/data"][0] == f"PARTUUID={disk.DISK_ID}-04"
    assert {"noatime", "commit=30"} <= set(mounts["/data"][3].split(","))
    for place in ("/boot/firmware", "/data"):
        assert {"nofail", "x-systemd.device-timeout=90s"} <= set(mounts[place][3].split(","))
    assert mounts["/var/lib/gerbang"][0] == "/data/gerbang"
