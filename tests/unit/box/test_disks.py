"""A second disk of Gerbang's, out of udev's database and the kernel's command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.box.disks import has_twin

ROOT = "BOOT_IMAGE=(hd0,msdos2)/boot/vmlinuz root=PARTUUID=47455242-02 rauc.slot=A rw\n"
OURS, ITS_DATA = "E:ID_PART_ENTRY_UUID=47455242-02\nE:ID_FS_TYPE=squashfs\n", "E:ID_PART_ENTRY_UUID=47455242-04\n"


@pytest.mark.parametrize(
    ("command_line", "devices", "twin"),
    [
        (ROOT, {"b8:2": OURS, "b8:4": ITS_DATA}, False),
        (ROOT, {"b8:2": OURS, "b8:4": ITS_DATA, "b8:18": OURS}, True),
        (ROOT, {"b8:2": OURS, "b8:17": "E:ID_PART_ENTRY_UUID=47455242-021\n", "c5:1": OURS}, False),
        (ROOT, {"b8:2": OURS, "b8:17": "E:ID_PART_ENTRY_UUID=c3072e18-02\n"}, False),
        ("root=/dev/vda1 quiet\n", {"b8:2": OURS, "b8:18": OURS}, False),
        (ROOT, {}, False),
    ],
)
def test_two_partitions_with_the_roots_id(
    tmp_path: Path, command_line: str, devices: dict[str, str], twin: bool
) -> None:
    (tmp_path / "cmdline").write_text(command_line)
    (tmp_path / "data").mkdir()
    for name, text in devices.items():
        (tmp_path / "data" / name).write_text(text)
    assert has_twin(tmp_path / "cmdline", tmp_path / "data") is twin


def test_a_machine_that_has_no_udev(tmp_path: Path) -> None:
    assert not has_twin(tmp_path / "cmdline", tmp_path / "none")
