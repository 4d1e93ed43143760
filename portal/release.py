"""Which Gerbang this is: ``VERSION``. It knows nothing else, and costs nothing: every process of a boot imports it."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"  # a test holds it equal to pyproject.toml; importlib.metadata would cost 20 ms and 2 MB
