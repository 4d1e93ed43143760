"""Writes files and directories where they are not as they should be. It must not know what is in them.

A file that says the same already is left alone, so that a boot writes nothing to the card.
"""

from __future__ import annotations

import os
from pathlib import Path

from portal import wholefile


def put(path: Path, content: str | bytes, mode: int = 0o644) -> bool:
    """Did it have to be written? Raises OSError."""
    data = content.encode() if isinstance(content, str) else content
    if has(path, data, mode):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    wholefile.write(path, data, mode)
    return True


def has(path: Path, data: bytes, mode: int) -> bool:
    try:
        return path.read_bytes() == data and path.stat().st_mode & 0o777 == mode and not path.is_symlink()
    except OSError:
        return False


def directory(path: Path, mode: int, uid: int = 0, gid: int = 0) -> None:
    """Make it, or set right what it is."""
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(path, uid, gid)
    path.chmod(mode)
