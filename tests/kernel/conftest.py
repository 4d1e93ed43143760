"""Fixtures for tests of the real kernel: one scene a test, all of it in namespaces that end with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.scene import Scene


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Internet, gateway and switch; the kernel is not set up yet."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    with Scene(tmp_path, **getattr(request, "param", {})) as made:
        yield made


@pytest.fixture
def gateway(scene: Scene) -> Scene:
    """The same, set up."""
    scene.kernel.setup()
    return scene
