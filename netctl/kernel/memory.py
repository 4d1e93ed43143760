"""Keep what must survive the daemon in a file beside its state, so that teardown puts everything back as it was.

It must not know how the kernel is asked. The file is believed only about what setup itself changes.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from netctl.api.errors import KERNEL, NetctlError


class Memory(msgspec.Struct):
    """How things were before, and what stands since.

    ``isolated``: names of the bridge's ports that were not so before. ``standing``: per family a digest of the rules as
    asked for and as the kernel then held them. ``notes``: what setup could not do and why, '' where it could.
    """

    switches: dict[str, str] = {}
    addresses: list[str] = []
    isolated: list[str] = []
    standing: dict[str, tuple[str, str]] = {}
    notes: dict[str, str] = {}

    @classmethod
    def load(cls, path: Path) -> Memory:
        """What was kept; nothing at the first start, and where the file was cut short."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError):
            return cls()

    def save(self, path: Path) -> None:
        """Replace the file as a whole. Raises NetctlError."""
        aside = path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(aside, flags, 0o600), "wb") as file:
                file.write(msgspec.json.encode(self))
            aside.replace(path)
        except OSError as exc:
            raise NetctlError(KERNEL, f"cannot write {path}: {exc.strerror}") from exc
