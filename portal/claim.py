"""Holds a run directory for one gateway, as long as the process lives. It must not know who asks.

The standard library is all it needs.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

NAME = "gerbang.lock"


class TakenError(Exception):
    """Another gateway holds it; ``process`` is its number, or "unknown"."""

    def __init__(self, process: str) -> None:
        super().__init__(f"process {process}")
        self.process = process


def claim(run: Path) -> int:
    """A descriptor that holds ``run`` until it is closed. Raises TakenError, OSError."""
    descriptor = os.open(run / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        other = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise TakenError(other) from None
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor
