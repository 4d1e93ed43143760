"""Which partitions are looked at for bundles, out of what the real lsblk says of disks that are made up; and sticks
that are really mounted, also after a process that was killed with one."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.update import errors, stick
from portal.update.errors import UpdateError

NAME = "gerbang-x86-0.3.0-1a2b3c4d.raucb"


def one_disk(root: Path, name: str, *, file_system: str = "vfat", partition: bool = True) -> dict[str, Any]:
    """What lsblk says where there is one disk, with a partition or a file system of its own."""
    names = [name, f"{name}/{name}1"] if partition else [name]
    for number, path in enumerate(names):
        at, device = root / "sys/devices" / path, f"8:{number}"
        at.mkdir(parents=True)
        (at / "dev").write_text(f"{device}\n")
        (at / "size").write_text("2048\n")
        link(root / "sys/dev/block" / device, at)
        if number:
            (at / "partition").write_text("1\n")
        else:
            link(root / "sys/block" / name, at)
    dev = root / "dev" / Path(names[-1]).name
    dev.parent.mkdir()
    dev.write_text(f"ID_FS_TYPE={file_system}\n")  # where lsblk looks for udev's words below another root
    done = subprocess.run([*stick.LIST, "--sysroot", str(root)], capture_output=True, check=True)
    (disk,) = json.loads(done.stdout)["blockdevices"]
    return dict(disk)


def link(path: Path, to: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(to, path.parent))  # below the other root, too


@pytest.mark.parametrize(("partition", "found"), [(True, "/dev/sdx1"), (False, "/dev/sdx")])
def test_a_stick_is_looked_at_with_a_partition_table_and_without(
    tmp_path: Path, *, partition: bool, found: str
) -> None:
    disk = one_disk(tmp_path, "sdx", partition=partition)
    assert list(stick.partitions([disk])) == [], "it is on no USB port"
    assert list(stick.partitions([disk | {"tran": "usb"}])) == [(found, "vfat")]


def test_other_file_systems_and_disks_in_use_are_left_alone(tmp_path: Path) -> None:
    disk = one_disk(tmp_path, "sdx", file_system="swap")
    assert list(stick.partitions([disk | {"tran": "usb"}])) == []
    (part,) = disk["children"]
    used = disk | {"tran": "usb", "children": [part | {"fstype": "vfat", "mountpoints": ["/boot/firmware"]}]}
    assert list(stick.partitions([used])) == []


# --- mounted for real -----------------------------------------------------------------------------------------------


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "run/stick"
    yield found
    while found.is_mount():
        subprocess.run(["umount", "--lazy", found], check=True)


@pytest.fixture
def plug(tmp_path: Path, where: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A stick with these files, in place of all that is in; ``whole``: its file system can be read."""
    parts: list[Path] = []

    def listed() -> list[dict[str, Any]]:
        mounts = [str(where)] if where.is_mount() else [None]
        return [
            {"path": str(part), "tran": "usb", "fstype": "ext4", "mountpoints": mounts, "children": []}
            for part in parts
        ]

    def plugged(*names: str, whole: bool = True) -> Path:
        content, image = tmp_path / f"content{len(parts)}", tmp_path / f"stick{len(parts)}"
        content.mkdir()
        for name in names:
            (content / name).write_bytes(b"bundle")
        with image.open("wb") as file:
            file.truncate(2 * 1024 * 1024)
        if whole:
            subprocess.run(["mkfs.ext4", "-q", "-d", content, image], check=True)
        parts.append(image)
        return image

    monkeypatch.setattr(stick, "_listed", listed)
    return plugged


def mount(image: Path, where: Path) -> None:
    where.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-o", "ro,loop", image, where], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("nothing can be mounted here")


def options(where: Path) -> list[str]:
    found = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [words[3] for words in found if words[1] == str(where)]


@pytest.fixture
def can_mount(plug: Callable[..., Path], where: Path) -> None:
    mount(plug(), where)
    subprocess.run(["umount", where], check=True)


@pytest.mark.usefixtures("can_mount")
def test_a_stick_is_mounted_for_the_time_and_let_go_of(where: Path, plug: Callable[..., Path]) -> None:
    plug(NAME, "photo.jpg")
    assert [(one.name, one.bytes) for one in stick.offered(where)] == [(NAME, 6)]
    assert not where.is_mount()
    with stick.mounted(where, NAME) as file:
        assert file.read_bytes() == b"bundle"
        (said,) = options(where)
        assert {"ro", "nosuid", "nodev", "noexec", "errors=remount-ro"} <= set(said.split(",")), (
            "its superblock may say errors=panic"
        )
    assert not where.is_mount()


@pytest.mark.usefixtures("can_mount")
def test_a_stick_that_a_killed_process_left_mounted_is_found(where: Path, plug: Callable[..., Path]) -> None:
    image = plug(NAME)
    mount(image, where)
    assert [one.name for one in stick.offered(where)] == [NAME] and not where.is_mount()
    mount(image, where)
    with stick.mounted(where, NAME) as file:
        assert file.read_bytes() == b"bundle"
    assert not where.is_mount()


@pytest.mark.usefixtures("can_mount")
def test_a_stick_that_somebody_still_reads_is_let_go_of(where: Path, plug: Callable[..., Path]) -> None:
    """RAUC's service does, where only who asked it was killed."""
    plug(NAME)
    with stick.mounted(where, NAME) as file:
        reading = file.open("rb")
    with reading:
        assert not where.is_mount() and reading.read() == b"bundle"
        assert [one.name for one in stick.offered(where)] == [NAME]


def test_what_another_process_has_mounted_is_left_alone(where: Path, plug: Callable[..., Path]) -> None:
    """A command installs from a stick while the page looks for one."""
    plug(NAME)
    where.parent.mkdir()
    with where.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UpdateError) as error:
            stick.offered(where)
        assert error.value.code == errors.BUSY
        with pytest.raises(UpdateError) as error, stick.mounted(where, NAME):
            pass
        assert error.value.code == errors.BUSY


@pytest.mark.usefixtures("can_mount")
def test_a_stick_that_cannot_be_read_is_told_unless_another_one_has_an_update(
    where: Path, plug: Callable[..., Path]
) -> None:
    assert stick.offered(where) == []
    plug(whole=False)
    for look in (lambda: stick.offered(where), lambda: stick.mounted(where, NAME).__enter__()):
        with pytest.raises(UpdateError, match="cannot be read") as error:
            look()
        assert error.value.code == errors.NO_STICK and "FAT32" in error.value.hint
    plug(NAME)
    assert [one.name for one in stick.offered(where)] == [NAME]
    with stick.mounted(where, NAME) as file:
        assert file.name == NAME


@pytest.mark.usefixtures("can_mount")
@pytest.mark.parametrize("name", ["gerbang-x86-0.3.0 (1).raucb", "gerbang-x86-0.3.0(12).gdelta"])
def test_a_file_that_a_browser_has_fetched_twice_is_found(where: Path, plug: Callable[..., Path], name: str) -> None:
    plug(name)
    assert [one.name for one in stick.offered(where)] == [name]
    with stick.mounted(where, name) as file:
        assert file.read_bytes() == b"bundle"
