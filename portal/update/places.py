"""Where updates keep what they know, and which slot runs. It must not know what any of it means."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from portal import wholefile
from portal.release import VERSION

SLOTS: Final = ("A", "B")
SOCKET: Final = Path("/run/gerbang-update.sock")


@dataclass(frozen=True, slots=True)
class Places:
    """``update`` is on the data disk and root's; ``incoming`` below it belongs to the staff pages' user."""

    update: Path = Path("/data/update")
    boot: Path = Path("/boot/firmware")
    run: Path = Path("/run/gerbang-update")

    @property
    def incoming(self) -> Path:
        return self.update / "incoming"

    @property
    def state(self) -> Path:
        return self.update / "state.json"

    @property
    def last(self) -> Path:
        """How the last update ended, for pages."""
        return self.update / "last.json"

    @property
    def history(self) -> Path:
        return self.update / "history.jsonl"

    @property
    def progress(self) -> Path:
        """How far the present installation is; in RAM."""
        return self.run / "progress.json"

    @property
    def lock(self) -> Path:
        return self.update / "lock"

    @property
    def is_box(self) -> bool:
        """Is this an installed image? Elsewhere there is nothing to update."""
        return running_slot() is not None and self.update.parent.is_dir()


def running_slot(command_line: Path = Path("/proc/cmdline")) -> str | None:
    """The slot that GRUB started, as it told the kernel; None: this machine has none."""
    found = re.search(r"(?:^|\s)rauc\.slot=(\S+)", command_line.read_text(encoding="ascii", errors="replace"))
    return found[1] if found is not None and found[1] in SLOTS else None


def other(slot: str) -> str:
    return "B" if slot == "A" else "A"


def version(release: Path = Path("/etc/os-release")) -> str:
    """The image's version (os-release(5), IMAGE_VERSION), which its bundle has too; else the program's."""
    with contextlib.suppress(OSError):
        for line in release.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            if name == "IMAGE_VERSION" and (found := value.strip().strip("\"'")):
                return found
    return VERSION


def write_json(path: Path, value: Any, mode: int = wholefile.READABLE) -> None:
    """Whole or not at all, and on the disk when it returns. Raises OSError."""
    wholefile.write(path, f"{json.dumps(value, ensure_ascii=False)}\n".encode(), mode)


def free_bytes(directory: Path) -> int:
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize
