"""Makes a device of an image: the data partition as large as the disk, directories, this device's own keys and name.

Once; later boots only set links and the machine's id. It must not know site.toml. Each step may be cut off by a power
cut at any point and is then done again: what is made is made beside its place, synced and renamed, and the marker that
ends it all is written last, after a sync.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from portal import wholefile
from portal.box import commands, files
from portal.box.commands import CommandError, say
from portal.box.places import Places
from portal.release import VERSION

HOST_KEY: Final = "ssh_host_ed25519_key"
SECRET_BYTES: Final = 32
DIRECTORIES: Final = (  # name, mode, owner
    ("gerbang", 0o2771, ""),  # gerbang-prepare gives it to the portal's users
    ("site", 0o755, ""),
    ("ssh", 0o700, ""),
    ("identity", 0o700, ""),
    ("rauc", 0o700, ""),
    ("clock", 0o755, "_chrony"),
)


def first_boot(places: Places, grow: Callable[[Path], None]) -> None:
    """All that is made once. Raises OSError, CommandError."""
    for name, mode, owner in DIRECTORIES:
        uid, gid = _owner(owner)
        files.directory(places.data / name, mode, uid, gid)
    _sweep(places)
    secret = places.identity / "secret.key"
    if not secret.exists() or secret.stat().st_size != SECRET_BYTES:
        files.put(secret, secrets.token_bytes(SECRET_BYTES), 0o600)
    device = places.identity / "device-uuid"
    if not _is_uuid(device):
        files.put(device, f"{uuid.uuid4()}\n", 0o600)
    if not (places.ssh / HOST_KEY).exists():
        host_key(places.ssh)
    if places.made.exists():
        return
    try:
        grow(places.data)
    except CommandError as error:  # a small disk works, and a later boot may find it mended
        say(f"The data partition stays as small as the image made it, until a boot can grow it: {error}")
        return
    os.sync()
    files.put(places.made, f"{VERSION}\n")
    say(f"This device is made: {device.read_text(encoding='ascii').strip()}")


def host_key(directory: Path) -> None:
    """The private key comes to its place last: where it is, its public half is, too."""
    new = directory / f".new-{HOST_KEY}"
    for leftover in (new, new.with_suffix(".pub")):
        leftover.unlink(missing_ok=True)
    commands.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "gerbang", "-f", str(new))
    for part in (new, Path(f"{new}.pub")):
        wholefile.sync(part)
    Path(f"{new}.pub").rename(directory / f"{HOST_KEY}.pub")
    new.rename(directory / HOST_KEY)
    wholefile.sync(directory)


def grow(data: Path) -> None:
    """The partition and its file system as large as the disk has room; both may be so already."""
    device = commands.run("findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", str(data)).strip()
    disk, number = partition(device)
    # sfdisk writes the whole table in one sector; where nothing can grow it says so, and the rest does nothing.
    commands.tried("sfdisk", "--no-reread", "--no-tell-kernel", "-N", number, disk, stdin=", +\n")
    commands.tried("partx", "--update", "--nr", number, disk)
    commands.run("resize2fs", device, within_s=600)


def partition(device: str) -> tuple[str, str]:
    """/dev/mmcblk0p4 is partition 4 of /dev/mmcblk0, /dev/sda4 of /dev/sda. Raises CommandError."""
    found = re.fullmatch(r"(/dev/\w*\d)p([1-9]\d*)|(/dev/(?:sd|vd|xvd|hd)[a-z]+)([1-9]\d*)", device)
    if found is None:
        raise CommandError(f"/data is on {device}, which is no partition of a disk.")
    return (found[1], found[2]) if found[1] else (found[3], found[4])


def each_boot(places: Places) -> None:
    """What lies in memory or in the overlay, and so has to be set again."""
    kept, etc = places.identity / "machine-id", places.root / "etc/machine-id"
    if not _is_machine_id(kept):
        # systemd gave one for this boot, where it could.
        files.put(kept, etc.read_bytes() if _is_machine_id(etc) else f"{uuid.uuid4().hex}\n", 0o444)
    if etc.read_bytes() != kept.read_bytes():
        etc.write_bytes(kept.read_bytes())
    for name in (HOST_KEY, f"{HOST_KEY}.pub"):
        link, target = places.root / "etc/ssh" / name, places.ssh / name
        if target.exists() and not (link.is_symlink() and link.readlink() == target):
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def _sweep(places: Places) -> None:
    """What a power cut left half made."""
    for directory in (places.ssh, places.identity):
        for leftover in directory.glob(".*"):
            if leftover.is_file():
                leftover.unlink()


def _is_machine_id(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return re.fullmatch(rb"[0-9a-f]{32}\n", path.read_bytes()) is not None
    return False


def _is_uuid(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):  # it cannot be read, is no text, is no UUID
        text = path.read_text(encoding="ascii").strip()
        return str(uuid.UUID(text)) == text
    return False


def _owner(name: str) -> tuple[int, int]:
    with contextlib.suppress(KeyError):
        if name:
            account = pwd.getpwnam(name)
            return account.pw_uid, account.pw_gid
    return 0, 0


def main(places: Places | None = None) -> int:
    places = places or Places()
    if not places.data.is_mount():
        say("There is no data partition: nothing that happens on this box will be kept.")
        return os.EX_UNAVAILABLE
    status = os.EX_OK
    steps: tuple[Callable[[], None], ...] = (lambda: first_boot(places, grow), lambda: each_boot(places))
    for step in steps:
        try:
            step()
        except (OSError, CommandError) as error:
            say(str(error))
            status = os.EX_UNAVAILABLE
    return status


if __name__ == "__main__":
    sys.exit(main())
