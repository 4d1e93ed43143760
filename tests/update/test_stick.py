"""Which partitions are looked at for bundles, out of what the real lsblk says of disks that are made up."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from portal.update import stick


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
