"""Lets this machine's kernel run another architecture's programs for as long as a build takes, through qemu-user.

It must not know what they are. Where the machine does that already, nothing is changed; what was registered here is
taken out again.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from image.commands import run
from image.errors import BuildError
from image.targets import Target

BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
NAME: Final = "gerbang-qemu-aarch64"
INTERPRETER: Final = Path("/usr/bin/qemu-aarch64-static")
# An ELF of 64 bits, little-endian, for AArch64, executable or shared. F: the interpreter is opened now, so that a tree
# needs none of its own.
_MAGIC: Final = r"\x7fELF\x02\x01\x01\x00" + r"\x00" * 8 + r"\x02\x00\xb7\x00"
_MASK: Final = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
RULE: Final = f":{NAME}:M::{_MAGIC}:{_MASK}:{INTERPRETER}:F"


@contextlib.contextmanager
def foreign(target: Target) -> Iterator[None]:
    """Programs of ``target`` can be run meanwhile."""
    if platform.machine() == target.machine:
        yield
        return
    if target.machine != "aarch64":
        message = f"A {target.name} image cannot be built on {platform.machine()}."
        raise BuildError(os.EX_UNAVAILABLE, message, "Build it on a machine of amd64.")
    with contextlib.ExitStack() as undo:
        if not (BINFMT / "register").exists():
            run("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
            undo.callback(run, "umount", BINFMT)
        if not any((BINFMT / name).exists() for name in (NAME, "qemu-aarch64")):
            if not INTERPRETER.exists():
                message = f"{INTERPRETER} is missing."
                raise BuildError(os.EX_UNAVAILABLE, message, "Install it: apt install qemu-user-static")
            _write(BINFMT / "register", RULE)
            undo.callback(_write, BINFMT / NAME, "-1")
        yield


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        message = f"The kernel refuses {path}: {error.strerror}."
        raise BuildError(os.EX_OSERR, message, "Build the Pi's image where binfmt_misc may be used.") from error
