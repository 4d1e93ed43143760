"""Looks for bundles on USB sticks when somebody asks, and mounts one for the time of an installation.

It must not know what a bundle is. Nothing is mounted by itself: a stick that somebody puts in is looked at when a
technician asks for it, read-only, without programs or devices, and let go of again. So a prepared file system reaches
the kernel only by the hand of one who may install anyway, and an update never by a stick that was forgotten in the box.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from portal.update import errors, offer
from portal.update.errors import UpdateError

# With NAME it is a tree; without it lsblk(8) puts partitions beside their disks.
LIST: Final = ("/usr/bin/lsblk", "--json", "--output", "NAME,PATH,TRAN,FSTYPE,MOUNTPOINTS")
MOUNT: Final = "/usr/bin/mount"
UMOUNT: Final = "/usr/bin/umount"
FILE_SYSTEMS: Final = ("vfat", "exfat", "ext4", "ntfs")
OPTIONS: Final = "ro,nosuid,nodev,noexec"
TIMEOUT_S: Final = 30.0
MOST: Final = 20


@dataclass(frozen=True, slots=True)
class Found:
    """A file of an update in the root of a stick."""

    name: str
    bytes: int
    device: str


def offered(where: Path) -> list[Found]:
    """All bundles on all sticks, the newest name last. A stick that cannot be read is left out."""
    found: list[Found] = []
    for device, kind in partitions(_listed()):
        with contextlib.suppress(UpdateError, OSError), _mounted(device, kind, where) as root:
            names = sorted(entry.name for entry in root.iterdir() if offer.is_name(entry.name))
            found += [Found(name, (root / name).stat().st_size, device) for name in names if (root / name).is_file()]
    return sorted(found, key=lambda one: one.name)[-MOST:]


@contextlib.contextmanager
def mounted(where: Path, name: str) -> Iterator[Path]:
    """The file of this name on the first stick that has it. Raises UpdateError."""
    if not offer.is_name(name):
        raise offer.not_a_name(name)
    for device, kind in partitions(_listed()):
        with contextlib.ExitStack() as stack:
            try:
                root = stack.enter_context(_mounted(device, kind, where))
            except UpdateError:
                continue
            if (root / name).is_file():
                yield root / name
                return
    raise UpdateError(errors.NO_STICK, f"No stick has {name}.", "Put the stick in, wait some seconds, and look again.")


def partitions(listed: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(device, file system) of what is on USB disks of which nothing is in use, out of what lsblk says."""
    for disk in listed:
        if disk.get("tran") != "usb":
            continue
        parts = [disk, *disk.get("children", ())]
        if any(mount for part in parts for mount in part.get("mountpoints") or () if mount):
            continue  # the box itself may be started from such a disk
        for part in parts:
            if part.get("fstype") in FILE_SYSTEMS:
                yield str(part["path"]), str(part["fstype"])


def _listed() -> list[Mapping[str, Any]]:
    try:
        done = subprocess.run(LIST, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=True)
        found: list[Mapping[str, Any]] = json.loads(done.stdout)["blockdevices"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise UpdateError(errors.NO_STICK, f"The disks cannot be listed: {error}.", "Put the stick in again.") from None
    return found


@contextlib.contextmanager
def _mounted(device: str, kind: str, where: Path) -> Iterator[Path]:
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = "ntfs3" if kind == "ntfs" else kind
    _run([MOUNT, "-t", kind, "-o", OPTIONS, device, str(where)])
    try:
        yield where
    finally:
        _run([UMOUNT, str(where)])


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or b""
        message = f"The stick cannot be read: {said.decode(errors='replace').strip() or error}."
        raise UpdateError(errors.NO_STICK, message, "Try another stick, formatted as FAT32 or exFAT.") from None
