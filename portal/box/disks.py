"""Finds a second disk of Gerbang's in this box. It must not know what either of them is for.

Every disk that was flashed has the same id (image/disk.py), by which root, data and the slots of an update are found.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

TWIN: Final = "There are two disks of Gerbang's in this box, and it cannot tell which one is meant."
COMMAND_LINE: Final = Path("/proc/cmdline")
UDEV: Final = Path("/run/udev/data")  # udev's database: b8:2 has the properties of that block device


def has_twin(command_line: Path = COMMAND_LINE, udev: Path = UDEV) -> bool:
    """Is the id of the root's partition that of another one, too? False where root is not found by an id."""
    try:
        found = re.search(r"(?:^|\s)root=PARTUUID=(\S+)", command_line.read_text(encoding="ascii", errors="replace"))
        if found is None:
            return False
        line = f"E:ID_PART_ENTRY_UUID={found[1].lower()}"
        known = (path.read_text(encoding="utf-8", errors="replace").splitlines() for path in udev.glob("b*"))
        return sum(line in lines for lines in known) > 1
    except OSError:  # a device that has just gone
        return False
