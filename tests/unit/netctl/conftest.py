"""Fixtures of netctl's unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.netctl.bench import Gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)
