"""Files on the FAT partition: what is synced, and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portal.box import firmware


def test_a_file_is_synced_under_its_own_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vfat writes where a renamed file's content is with the file; until then a power cut leaves it without any."""
    path = tmp_path / "SITE-ERROR.txt"
    done: list[str] = []
    rename, sync = Path.rename, os.fsync

    def renamed(self: Path, target: Path) -> Path:
        done.append(f"{self.name} is now {target.name}")
        return rename(self, target)

    def synced(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(os, "fsync", synced)
    firmware.write(path, b"Tidak ada.\r\n")
    assert done == ["SITE-ERROR.NEW", "SITE-ERROR.NEW is now SITE-ERROR.txt", "SITE-ERROR.txt", tmp_path.name]
    assert path.read_bytes() == b"Tidak ada.\r\n"
