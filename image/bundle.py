"""Makes the signed update of a root file system (RAUC, verity). It must not know how a box takes it in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from image.commands import run
from image.keys import Keys

ROOT = "rootfs.img"
# The root is compressed already. Stored as it is, it can be told from the slot that boxes have by what was changed
# (docs/updates.md); compressed once more, each block that gets smaller by it differs whole.
STORED = "--mksquashfs-args=-noI -noD -noF -noX"


def manifest(compatible: str, version: str) -> str:
    update = f"[update]\ncompatible={compatible}\nversion={version}\n"
    return f"{update}\n[bundle]\nformat=verity\n\n[image.rootfs]\nfilename={ROOT}\n"


def make(root: Path, text: str, keys: Keys, work: Path, path: Path) -> None:
    """A bundle with the manifest ``text``.

    The directory is made anew each time: RAUC writes digests into the manifest, and refuses to see them twice.
    """
    content = work / "bundle"
    if content.exists():
        shutil.rmtree(content)
    content.mkdir()
    os.link(root, content / ROOT)
    (content / "manifest.raucm").write_text(text, encoding="ascii")
    path.unlink(missing_ok=True)
    signed = (f"--cert={keys.certificate}", f"--key={keys.key}")
    run("rauc", "bundle", STORED, *signed, content, path, quiet=True)
    run("rauc", "info", f"--keyring={keys.authority}", path, quiet=True)  # as a box will look at it
