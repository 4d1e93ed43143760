"""Runs a module as root where its mounts and processes are its own: all go when it ends or is killed, loops too."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def command(module: str, *arguments: object) -> list[str]:
    """To be run in ROOT. The module is process 1 of its namespace: with it the kernel kills all that it started, and
    unmounts what it had mounted, which frees the loop devices below (they are set to clear themselves). It is killed
    when its caller ends in any way."""
    alone = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
    return [*alone, sys.executable, "-m", module, *map(str, arguments)]
