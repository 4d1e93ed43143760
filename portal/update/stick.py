"""Looks for bundles on USB sticks when somebody asks, and mounts one for the time of an installation.

It must not know what a bundle is. Nothing is mounted by itself: a stick that somebody puts in is looked at when a
technician asks for it, read-only, without programs or devices, and let go of again. So a prepared file system reaches
the kernel only by the hand of one who may install anyway, and an update never by a stick that was forgotten in the box.
"""

from __future__ import annotations

import contextlib
import fcntl
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
OPTIONS: Final = "ro,nosuid,nodev,noexec"
FILE_SYSTEMS: Final[Mapping[str, tuple[str, str]]] = {
    "vfat": ("vfat", OPTIONS),
    "exfat": ("exfat", OPTIONS),
    "ext4": ("ext4", f"{OPTIONS},errors=remount-ro"),  # its superblock may say that an error is to stop the machine
    "ntfs": ("ntfs3", OPTIONS),
}
"""What is read, as lsblk calls it: what the kernel calls it, and how it is mounted."""
TIMEOUT_S: Final = 30.0
MOST: Final = 20


@dataclass(frozen=True, slots=True)
class Found:
    """A file of an update in the root of a stick."""

    name: str
    bytes: int
    device: str


def offered(where: Path) -> list[Found]:
    """All bundles on all sticks, the newest name last. Raises UpdateError where there is none, and a stick that cannot
    be read."""
    found: list[Found] = []
    problem: UpdateError | None = None
    with _alone(where):
        for device, kind in partitions(_listed()):
            try:
                with _mounted(device, kind, where) as root:
                    found += _bundles(root, device)
            except UpdateError as error:
                problem = error
    if not found and problem is not None:
        raise problem
    return sorted(found, key=lambda one: one.name)[-MOST:]


@contextlib.contextmanager
def mounted(where: Path, name: str) -> Iterator[Path]:
    """The file of this name on the first stick that has it. Raises UpdateError."""
    if not offer.is_name(name):
        raise offer.not_a_name(name)
    hint = "Put the stick in, wait some seconds, and look again."
    problem = UpdateError(errors.NO_STICK, f"No stick has {name}.", hint)
    with _alone(where):
        for device, kind in partitions(_listed()):
            with contextlib.ExitStack() as stack:
                try:
                    root = stack.enter_context(_mounted(device, kind, where))
                    names = [found.name for found in _bundles(root, device)]
                except UpdateError as error:
                    problem = error
                    continue
                if name in names:
                    yield root / name
                    return
    raise problem


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
def _alone(where: Path) -> Iterator[None]:
    """One process at a time. So what is mounted there before it begins was left by one that was killed, and would pass
    for a disk in use. Raises UpdateError."""
    where.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with where.with_suffix(".lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = "A stick is being read already."
            raise UpdateError(errors.BUSY, message, "Wait until that has ended.") from None
        _let_go(where)
        yield


@contextlib.contextmanager
def _mounted(device: str, kind: str, where: Path) -> Iterator[Path]:
    where.mkdir(mode=0o700, exist_ok=True)
    driver, options = FILE_SYSTEMS[kind]
    _run([MOUNT, "-t", driver, "-o", options, device, str(where)])
    try:
        yield where
    finally:
        with contextlib.suppress(UpdateError):  # who looks next lets go of it
            _let_go(where)


def _let_go(where: Path) -> None:
    """Also while RAUC's service still reads it, whom nobody waits for any more: nothing is written there."""
    while where.is_mount():
        _run([UMOUNT, "--lazy", str(where)])


def _bundles(root: Path, device: str) -> list[Found]:
    try:
        files = [entry for entry in root.iterdir() if offer.is_name(entry.name) and entry.is_file()]
        return [Found(file.name, file.stat().st_size, device) for file in files]
    except OSError as error:
        raise _unreadable(str(error.strerror)) from None


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or b""
        raise _unreadable(said.decode(errors="replace").strip() or str(error)) from None


def _unreadable(why: str) -> UpdateError:
    message = f"The stick cannot be read: {why}."
    return UpdateError(errors.NO_STICK, message, "Try another stick, formatted as FAT32 or exFAT.")
