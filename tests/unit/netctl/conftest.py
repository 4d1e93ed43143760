"""Fixtures of netctl's unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.netctl.bench import Gateway


@pytest.fixture(params=[True, False], ids=["hash:ip,mac", "hash:ip"])
def gateway(tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    """On a kernel with and without sets that hold the MACs of IPv6 members."""
    return Gateway(tmp_path, ip_mac_hash=request.param)
