"""Makes Debian's part of a tree with mmdebstrap, and keeps it for the next build. It must not know what is put on top.

The tar is kept under a name that is made of its package list, so that only another list makes another one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.commands import run
from image.mirror import SUITE, Mirror

OLD_DAYS: Final = 14
# Debian's manuals and translations stay out; the copyright files, which licences ask for, do not.
_DPKG: Final = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
_APT: Final = ('Apt::Install-Recommends "false"', 'Acquire::Retries "5"', 'Acquire::Languages "none"')


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tree of Debian packages."""

    name: str
    architecture: str
    packages: tuple[str, ...]
    variant: str

    @property
    def key(self) -> str:
        recipe = (SUITE, self.architecture, self.variant, sorted(self.packages), _DPKG)
        return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def tarball(wanted: Wanted, mirror: Mirror, cache: Path, epoch: int, fresh: bool) -> Path:
    """The tree as a tar: the one that was kept, or a new one."""
    path = cache / f"{wanted.name}-{wanted.architecture}-{wanted.key}.tar"
    if path.exists() and not fresh:
        days = (time.time() - path.stat().st_mtime) / 86400
        if days > OLD_DAYS:
            print(f"image: the packages of {path.name} are {days:.0f} days old; --fresh fetches today's", flush=True)
        return path
    print(f"image: fetching Debian {SUITE} for {wanted.architecture}: {len(wanted.packages)} packages", flush=True)
    partial = path.with_suffix(".partial")
    run(
        "mmdebstrap",
        f"--variant={wanted.variant}",
        f"--architectures={wanted.architecture}",
        "--format=tar",
        *(f"--aptopt={option}" for option in _APT),
        *(f"--dpkgopt={option}" for option in _DPKG),
        f"--include={','.join(sorted(wanted.packages))}",
        SUITE,
        partial,
        *mirror.sources(),
        # No initrd yet: it is made once the layers have said what is in it. Debian's kernel packages listen to this.
        env={"SOURCE_DATE_EPOCH": str(epoch), "INITRD": "No"},
    )
    partial.rename(path)
    for old in cache.glob(f"{wanted.name}-{wanted.architecture}-*.tar"):
        if old != path:
            old.unlink()
    return path


def unpack(tar: Path, tree: Path) -> None:
    """As root: owners, modes and device nodes are the tar's."""
    if tree.exists():
        shutil.rmtree(tree)
    tree.mkdir(parents=True)
    tree.chmod(0o755)
    run("tar", "--extract", "--numeric-owner", "--preserve-permissions", "--xattrs", "--file", tar, "--directory", tree)
