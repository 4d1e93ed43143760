"""Makes updates of the image under test: a higher version, one schema more, and mistakes that can be switched on.

It must not know QEMU. ``/data/misbehave`` says what a box with it does wrong: nothing, or bad, panic, hang, freeze.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from image import bundle, keys
from image.__main__ import default_cache
from image.build import squash
from portal.update import delta

PACKAGES: Final = "usr/lib/gerbang/lib/python3.13/site-packages"
VERSION: Final = "99.0.0-update"
ACT: Final = """#!/bin/sh
case "$(cat /data/misbehave 2>/dev/null)" in
panic) echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger ;;
hang) exec sleep infinity ;;
freeze) kill -SEGV 1; exec sleep infinity ;;
esac
"""
FILES: Final = {
    "usr/lib/systemd/system/misbehave.service": """[Unit]
Description=A version with a mistake
RequiresMountsFor=/data
After=gerbang-update-slot.service
Before=gerbang-good.service
[Service]
Type=oneshot
ExecStart=/usr/lib/misbehave
TimeoutStartSec=infinity
""",
    "usr/lib/systemd/system/gerbang-guest.service.d/misbehave.conf": """[Service]
ExecStartPre=/bin/sh -c 'test "$(cat /data/misbehave 2>/dev/null)" != bad'
""",
    "usr/lib/systemd/system/gerbang-good.service.d/misbehave.conf": "[Service]\nEnvironment=WITHIN_S=120\n",
    "usr/lib/systemd/system/gerbang-update-deadline.timer.d/misbehave.conf": "[Timer]\nOnBootSec=\nOnBootSec=420\n",
}
STEP: Final = """

@steps()  # type: ignore[untyped-decorator, unused-ignore]
def step_of_the_update(database: Database) -> None:
    database.conn.execute("ALTER TABLE meta ADD COLUMN colour TEXT")
    database.conn.execute(f"PRAGMA user_version = {db.SCHEMA_VERSION}")
"""


def root_of(image: Path, directory: Path) -> Path:
    """The slot's image, out of the bundle that was made with the image."""
    subprocess.run(
        ["unsquashfs", "-q", "-n", "-d", directory / "bundle", image.with_suffix(".raucb"), bundle.ROOT],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return directory / "bundle" / bundle.ROOT


def make(image: Path, directory: Path, cache: Path | None = None, *, starts: bool = True) -> Path:
    """A signed bundle of VERSION. It takes a minute or two; some seconds with the image's own root, for one that is
    never to be started.
    """
    root = root_of(image, directory)
    if starts:
        tree, changed = directory / "tree", directory / "root.squashfs"
        subprocess.run(["unsquashfs", "-q", "-n", "-d", tree, root], check=True)
        change(tree)
        squash(tree, changed, 1_900_000_000)
        root = changed
    work = directory / "work"
    work.mkdir()
    made = directory / f"gerbang-x86-{VERSION}.raucb"
    signing = keys.find(os.environ, cache or default_cache())
    bundle.make(root, bundle.manifest("gerbang-x86", VERSION), signing, work, made)
    return made


def make_delta(update: Path) -> Path:
    """What differs between the image that ``make`` was given and the bundle that it made; beside that."""
    made = update.with_suffix(".gdelta")
    delta.make(update.parent / "bundle" / bundle.ROOT, update, made)
    return made


def change(tree: Path) -> None:
    for name, text in FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tree / "usr/lib/misbehave").write_text(ACT)
    (tree / "usr/lib/misbehave").chmod(0o755)
    wants = tree / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "misbehave.service").symlink_to("/usr/lib/systemd/system/misbehave.service")
    release = tree / "usr/lib/os-release"
    release.write_text(re.sub(r"^IMAGE_VERSION=.*$", f'IMAGE_VERSION="{VERSION}"', release.read_text(), flags=re.M))
    store = tree / PACKAGES / "portal/store"
    store.joinpath("migrations.py").write_text(
        store.joinpath("migrations.py").read_text().replace("\n\ndef migrate(", STEP + "\n\ndef migrate(")
    )
    source = store.joinpath("db.py").read_text()
    (number,) = re.findall(r"^SCHEMA_VERSION: Final = (\d+)", source, re.M)
    store.joinpath("db.py").write_text(
        source.replace(f"SCHEMA_VERSION: Final = {number}", f"SCHEMA_VERSION: Final = {int(number) + 1}")
    )
    for compiled in store.glob("__pycache__/*.pyc"):
        if compiled.name.split(".")[0] in ("db", "migrations"):
            compiled.unlink()
