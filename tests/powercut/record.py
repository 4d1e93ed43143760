"""Records what users do to a disk. Run as root in namespaces of its own: ``tests.powercut.namespaces.command``.

``python -m tests.powercut.record FOLDER SECONDS SEED`` leaves FOLDER/log. It knows the file system, but no user.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from portal.store import migrations, setup
from tests.powercut import disk, users

DISK_BYTES = 48 * 1024 * 1024


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[tuple[Path, Path]]:
    """A disk that records, and a new ext4 on it with an empty database: (where the disk's files are, where it is)."""
    device, data = folder / "device", folder / "data"
    for directory in (device, data):
        directory.mkdir()
    server = subprocess.Popen([sys.executable, "-m", "tests.powercut.disk", device, folder / "log", str(DISK_BYTES)])
    try:
        until_s = time.monotonic() + 10
        while not (device / disk.DISK).exists():
            if time.monotonic() > until_s or server.poll() is not None:
                raise RuntimeError("the recording disk did not come up")
            time.sleep(0.02)
        # A card as the image formats it: blocks of 4 KiB, a journal; nothing is left to be initialised later.
        lazy = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", lazy, device / disk.DISK], check=True)
        mount = ["mount", "-t", "ext4", "-o", ",".join(["loop", *options])]
        subprocess.run([*mount, device / disk.DISK, data], check=True)
        setup.in_child(lambda: setup.create_or_migrate(data / "gerbang.db", migrations.migrate))
        os.sync()
        yield device, data
    finally:
        for point in (data, device):
            subprocess.run(["umount", point], check=False)
        server.wait(20)


def record(folder: Path, seconds: float, seed: int) -> None:
    with mounted(folder) as (device, data):
        (device / disk.MARKS).write_text("ready\n")
        users.run(data, device / disk.MARKS, seconds, seed)


if __name__ == "__main__":
    record(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
