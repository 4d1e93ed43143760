"""A card dies while people are online: every write to it fails, and ext4 makes itself read-only. Then it is well again.

``python -m tests.powercut.dying FOLDER`` prints what is wrong, one JSON list. As root, in namespaces of its own
(tests.powercut.namespaces). It knows no user: those are the script's.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

from portal.store import setup
from tests.powercut import disk
from tests.powercut.record import mounted
from tests.powercut.replay import Promised, wrong_with_data
from tests.powercut.scripted import MACS, SLOT_S, Script


def is_read_only(data: Path) -> bool:
    """Asked by trying: since Linux 6.15 an ext4 in trouble does not say so in statvfs(2)."""
    try:
        (data / "something").touch()
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def die(folder: Path) -> list[str]:
    promises = folder / "promises"
    with mounted(folder, "errors=remount-ro") as (device, data):

        def live() -> list[str]:
            out = os.open(promises, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            script = Script(data, out)
            script.tick_after(SLOT_S)
            for mac in MACS[:2]:
                script.enter(mac)
            script.tick_after(SLOT_S)
            (device / disk.FAULT).write_text("write")
            os.sync()  # whatever is written next meets it
            script.enter(MACS[2], once=True)
            script.enter(MACS[2], once=True)
            wrong = [] if is_read_only(data) else ["the file system is still writable"]
            script.tick_after(SLOT_S)  # the meter goes on, and says itself if anybody is put out
            return wrong + [f"the page of {mac} is not shown" for mac in MACS[:2] if not script.has_page(mac)]

        found = setup.in_child(live)
        assert isinstance(found, list)
        (device / disk.FAULT).write_text("none")
        # The next boot: Debian checks what is marked as faulty, then mounts it.
        subprocess.run(["umount", data], check=True)
        checked = subprocess.run(["e2fsck", "-p", device / disk.DISK], capture_output=True, text=True, check=False)
        if checked.returncode > 1:
            found.append(f"e2fsck: {checked.stdout}")
        subprocess.run(["mount", "-t", "ext4", "-o", "loop", device / disk.DISK, data], check=True)
        promised = Promised(ready=True)
        lines = promises.read_text().splitlines()
        for line in lines:
            promised.hear(line)
        if sum(line.startswith("refused database") for line in lines) != 2:
            found.append("who came then was not refused with a code")
        after = setup.in_child(lambda: list(wrong_with_data(data, promised)))
        assert isinstance(after, list)
        return [*found, *promised.failed, *after]


if __name__ == "__main__":
    print(json.dumps(die(Path(sys.argv[1]))))
