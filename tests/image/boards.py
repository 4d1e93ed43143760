"""The machines that QEMU plays: a mini PC, and what a Pi's image runs on. It must not know cables, disks' content, ssh.

What a test adds to an image comes as systemd's credentials (systemd.system-credentials(7)), by the way that the machine
has: SMBIOS strings on a PC, QEMU's own fw_cfg where the firmware is U-Boot.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

OVMF = Path("/usr/share/OVMF")
U_BOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")


@dataclass(frozen=True, slots=True)
class Board:
    """``machine``: QEMU's arguments for board, processor and firmware; ``disk``: how the disk is attached.

    ``secrets``: the way for credentials, None where there is none. ``cards``: has it network cards? ``button``: a power
    button that its kernel hears? ``pins``: a second serial line, into the file `pins` of the machine's directory.
    """

    program: str
    machine: tuple[str, ...]
    memory_mb: int
    secrets: Literal["smbios", "fw_cfg"] | None
    disk: str = "if=virtio"
    cards: bool = True
    button: bool = True
    pins: bool = False

    def credentials(self, texts: Mapping[str, str], directory: Path) -> list[str]:
        """Arguments that hand these to systemd; ``directory`` is for files that QEMU reads when it starts."""
        found = []
        for name, text in texts.items():
            if self.secrets == "smbios":
                value = base64.b64encode(text.encode()).decode()
                found += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={value}"]
            elif self.secrets == "fw_cfg":
                path = directory / f"credential-{name}"
                path.write_text(text, encoding="utf-8")
                found += ["-fw_cfg", f"name=opt/io.systemd.credentials/{name},file={path}"]
        return found


# A processor of 2009, older than any mini PC that a desa has. One of AMD's: on Intel's of that time the kernel changes
# its page tables at each system call (Meltdown), which empties the emulator's caches; a boot took 1.4 times as long.
PC = Board(
    "qemu-system-x86_64",
    ("-M", "q35", "-cpu", "Opteron_G3", "-smp", "2", "-vga", "std", "-device", "virtio-rng-pci"),
    2048,
    "smbios",
)
# A Pi 3's processor and memory, with two network cards and a disk that the real board does not have.
PI_LIKE = Board(
    "qemu-system-aarch64",
    ("-M", "virt", "-cpu", "cortex-a53", "-smp", "2", "-bios", str(U_BOOT), "-device", "virtio-rng-pci"),
    1024,
    "fw_cfg",
    button=False,
)


def pi3(firmware: Path) -> Board:
    """The Pi 3B itself. QEMU plays its first stage: it starts what ``firmware``, a copy of the FAT partition, holds. It
    has no network card that works in QEMU. U-Boot, GRUB and systemd do not all speak on the same serial line."""
    tree = firmware / "bcm2837-rpi-3-b.dtb"
    machine = ("-M", "raspi3b", "-kernel", str(firmware / "u-boot.bin"), "-dtb", str(tree))
    return Board("qemu-system-aarch64", machine, 1024, None, "if=sd", cards=False, button=False, pins=True)
