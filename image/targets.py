"""What the two kinds of box differ in, as far as the disk and its boot loader go. It must not know what is installed.

What packages, variables and units differ in stands in the layers, in a table of the target's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Target:
    """``efi`` is GRUB's platform and the name under which any firmware looks for a boot loader on a disk."""

    name: str
    architecture: str  # Debian's
    machine: str  # the kernel's
    efi: tuple[str, str]
    efi_modules: tuple[str, ...]
    consoles: tuple[str, ...]


TARGETS: Final = {
    target.name: target
    for target in (
        Target("x86", "amd64", "x86_64", ("x86_64-efi", "BOOTX64.EFI"), ("efi_gop",), ("tty0", "ttyS0,115200")),
        Target(
            "pi",
            "arm64",
            "aarch64",
            ("arm64-efi", "BOOTAA64.EFI"),
            ("efi_gop", "fdt"),
            # The Pi's own serial lines are ttyS1 (3, 4: the one on the pins) and, without Bluetooth, ttyAMA0.
            ("tty0", "ttyS1,115200", "ttyAMA0,115200"),
        ),
    )
}
