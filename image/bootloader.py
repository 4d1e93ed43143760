"""Fills the boot partition, from programs and firmware of the tree itself. It must not know what is started."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from image import disk
from image.commands import inside
from image.errors import BuildError
from image.layers import fill
from image.targets import Target

# What grub.cfg uses, and what it takes to read it and a kernel out of a squashfs.
MODULES: Final = (
    *("part_msdos", "fat", "squash4", "xzio", "gzio", "search_label", "regexp", "test", "echo", "normal"),
    *("configfile", "linux", "loadenv", "minicmd", "boot", "serial", "terminal", "reboot", "sleep", "all_video"),
)
BIOS: Final = "i386-pc"
_PI_FIRMWARE: Final = ("bootcode.bin", "start*.elf", "fixup*.dat")
# The boards that are supported; each file is the firmware's choice by the board that it runs on.
_PI_BOARDS: Final = ("bcm2837-rpi-*.dtb", "bcm2710-rpi-*.dtb", "bcm2711-rpi-*.dtb")


def fill_partition(target: Target, tree: Path, stage: Path) -> list[str]:
    """Put all files of the boot partition below ``stage``/boot; their names, in a stable order."""
    boot = stage / "boot"
    known = disk.variables(target)
    for name, place in (("grub.cfg", "grub/grub.cfg"), ("site.toml", "site.toml")):
        _write(boot / place, fill((disk.BOOT / name).read_text(encoding="utf-8"), known, name).encode())
    # On standard input: a mistake in it is found here, not by a box that stands still.
    inside(tree, "/usr/bin/grub-script-check", text=(boot / "grub/grub.cfg").read_text(encoding="utf-8"))
    _write(boot / "grubenv", disk.first_grubenv())
    platform, file = target.efi
    _write(boot / "EFI/BOOT" / file, core(target, tree, platform, (*MODULES, *target.efi_modules)))
    if target.name == "x86":
        _write(stage / "core.img", core(target, tree, BIOS, (*MODULES, "biosdisk")))
        # The first sector's code; the partition table that follows it is genimage's.
        _write(stage / "mbr.bin", (tree / f"usr/lib/grub/{BIOS}/boot.img").read_bytes()[:440])
    else:
        _pi(tree, boot)
    return sorted(str(path.relative_to(boot)) for path in boot.rglob("*") if path.is_file())


def core(target: Target, tree: Path, platform: str, modules: tuple[str, ...]) -> bytes:
    """GRUB of the tree, with the modules in it and the way to the boot partition."""
    early = tree / "tmp/early.cfg"
    early.write_text(first_lines(target), encoding="utf-8")
    made = tree / "tmp/grub.img"
    # The first partition of the disk that it is started from.
    command = ("/usr/bin/grub-mkimage", "-O", platform, "-c", "/tmp/early.cfg", "-p", "(,msdos1)/grub")  # noqa: S108 - the tree's own
    inside(tree, *command, "-o", "/tmp/grub.img", *modules)  # noqa: S108
    data = made.read_bytes()
    early.unlink()
    made.unlink()
    return data


def first_lines(target: Target) -> str:
    """What is compiled in, without comments: an apostrophe in one would begin a string there."""
    text = fill((disk.BOOT / "early.cfg").read_text(encoding="utf-8"), disk.variables(target), "early.cfg")
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def _pi(tree: Path, boot: Path) -> None:
    shutil.copyfile(disk.BOOT / "config.txt", boot / "config.txt")
    shutil.copyfile(_one(tree, "usr/lib/u-boot/rpi_arm64/u-boot.bin"), boot / "u-boot.bin")
    for pattern in _PI_FIRMWARE:
        for path in _some(tree, f"usr/lib/raspi-firmware/{pattern}"):
            shutil.copyfile(path, boot / path.name)
    for pattern in _PI_BOARDS:
        for path in sorted(tree.glob(f"usr/lib/linux-image-*/broadcom/{pattern}")):
            shutil.copyfile(path, boot / path.name)
    for path in _some(tree, "usr/lib/raspi-firmware/overlays/*.dtbo"):
        (boot / "overlays").mkdir(exist_ok=True)
        shutil.copyfile(path, boot / "overlays" / path.name)


def _one(tree: Path, pattern: str) -> Path:
    return _some(tree, pattern)[0]


def _some(tree: Path, pattern: str) -> list[Path]:
    found = sorted(tree.glob(pattern))
    if not found:
        raise BuildError(os.EX_SOFTWARE, f"The tree has no /{pattern}.", "A Debian package has moved it; see image/.")
    return found


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
