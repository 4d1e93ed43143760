"""What tests of an image have measured, by name; printed at the end, for docs/measurements.md. No figure fails one."""

from __future__ import annotations

import pytest

Figures = dict[str, str]
FIGURES = pytest.StashKey[Figures]()
