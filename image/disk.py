"""Describes the disk: sizes, genimage's configuration, the boot loader's variables. It must not run anything."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from image.errors import BuildError
from image.layers import fill
from image.targets import Target

BOOT: Final = Path(__file__).parent / "boot"
LABEL: Final = "GERBANG"
MIB: Final = 1 << 20
SLOT_MIB: Final = 640  # what is in it may grow by half before a flashed box has no room for an update
BOOT_MIB: Final = 128
DATA_MIB: Final = 64  # grown to the end of the disk at first boot
GRUBENV_BYTES: Final = 1024
# "GERB", the same on every disk: PARTUUIDs are made of it, in grub.cfg and in RAUC's slots.
DISK_ID: Final = "47455242"
DATA_UUID: Final = "67657262-616e-4764-a174-610000000001"


def kernel_arguments(target: Target) -> str:
    """`rw` is for the overlay; the squashfs below cannot be written anyway.

    Nobody is there to answer e2fsck(8): what `-p` leaves to somebody would keep the data from being mounted for good.

    Huge pages would take 100 MB of a small box (60 in use, the rest kept free for more of them); of the kernel's
    security modules none is configured but these, and each that is there is asked at every call. Readers are asked for
    new cards as udev's 60-block.rules wants it.
    """
    consoles = " ".join(f"console={console}" for console in target.consoles)
    fixed = "rootfstype=squashfs rw overlayroot=tmpfs:recurse=0 panic=10 fsck.repair=yes loglevel=4"
    chosen = "transparent_hugepage=never lsm=lockdown,yama,landlock block.events_dfl_poll_msecs=2000"
    return f"{fixed} {chosen} {consoles}"


def variables(target: Target) -> dict[str, str]:
    """What the configurations in boot/ and the layers may name beside the layers' own."""
    return {
        "COMPATIBLE": f"gerbang-{target.name}",
        "DISK_ID": DISK_ID,
        "KERNEL_ARGUMENTS": kernel_arguments(target),
        "LABEL": LABEL,
    }


def genimage(target: Target, image: str, root: str, files: Iterable[str], epoch: int) -> str:
    """genimage's configuration. ``files``: paths below the boot partition's directory, which is called `boot`."""
    lines = [f'\t\tfile "{name}" {{\n\t\t\timage = "boot/{name}"\n\t\t}}' for name in files]
    known: Mapping[str, str] = {
        **variables(target),
        "BOOT_FILES": "\n".join(lines),
        "BOOT_SIZE": f"{BOOT_MIB}M",
        "DATA_SIZE": f"{DATA_MIB}M",
        "DATA_UUID": DATA_UUID,
        "IMAGE": image,
        "ROOT": root,
        "SLOT_SIZE": f"{SLOT_MIB}M",
        "WHEN": time.strftime("%Y%m%d%H%M%S", time.gmtime(epoch)),
    }
    path = BOOT / f"{target.name}.genimage.cfg"
    return fill(path.read_text(encoding="utf-8"), known, str(path))


def check_slot(size: int) -> None:
    """A root that does not fit its slot would be refused by genimage, in other words."""
    if size > SLOT_MIB * MIB:
        message = f"The root file system has {size / MIB:.0f} MiB; a slot of a flashed box has {SLOT_MIB}."
        raise BuildError(os.EX_DATAERR, message, "Leave something out of the layers: slots cannot grow in the field.")


def grubenv(values: Mapping[str, str]) -> bytes:
    """GRUB's block of variables (grub-editenv(1)): of a fixed size, since GRUB writes it in place."""
    text = "# GRUB Environment Block\n" + "".join(f"{key}={value}\n" for key, value in values.items())
    return text.encode("ascii").ljust(GRUBENV_BYTES, b"#")


def first_grubenv() -> bytes:
    """As a box is flashed: slot A may be started, slot B is empty."""
    return grubenv({"ORDER": "A B", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"})
