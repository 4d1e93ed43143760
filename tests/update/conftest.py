"""Images to update from and to, and a server that gives them out. It must not know the project's formats."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(old, new): of the second, one stretch is another, one is gone and one has come in. Neither can be compressed."""
    folder, chance = tmp_path_factory.mktemp("images"), random.Random(7)
    before = chance.randbytes(3_000_000)
    after = b"head" * 24 + before[:900_000] + chance.randbytes(40_000) + before[900_000:1_700_000] + before[1_800_000:]
    old, new = folder / "old.squashfs", folder / "new.raucb"
    old.write_bytes(before)
    new.write_bytes(after)
    return old, new


@pytest.fixture
def needs_zstd() -> None:
    if shutil.which("zstd") is None:
        pytest.skip("no zstd here")
