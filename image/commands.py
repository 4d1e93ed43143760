"""Runs the programs that a build is made of, on this machine or inside a tree. It must not know what they do.

No shell takes part. What a program prints goes to the terminal as it comes: a build takes minutes, and its last lines
say what was wrong.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from image.errors import BuildError

# Programs of a tree see this and nothing of the build host: its locale, proxies and paths must not get into an image.
INSIDE: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root", "TZ": "UTC"}


def run(
    *argv: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str | None = None,
    quiet: bool = False,
) -> None:
    """Run a program to its end. ``env`` is added to the environment; ``text`` is its standard input."""
    _run(argv, {**os.environ, **(env or {})}, cwd, text, subprocess.DEVNULL if quiet else None)


def output(*argv: str | Path, cwd: Path | None = None, text: str | None = None) -> str:
    """What a program prints."""
    return _run(argv, dict(os.environ), cwd, text, subprocess.PIPE)


def inside(tree: Path, *argv: str | Path, env: Mapping[str, str] | None = None, text: str | None = None) -> None:
    """Run a program of ``tree`` in it, with its own /proc; all that was mounted for it goes with it."""
    apart = ("unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={tree / 'proc'}", "chroot", tree)
    _run((*apart, *argv), {**INSIDE, **(env or {})}, None, text, None)


def _run(
    argv: Sequence[str | Path], env: Mapping[str, str], cwd: Path | None, text: str | None, stdout: int | None
) -> str:
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, check=True, env=dict(env), cwd=cwd, input=text or "", stdout=stdout, encoding="utf-8"
        )
    except FileNotFoundError as error:
        hint = "./build.sh image installs what it needs; was it started in another way?"
        raise BuildError(os.EX_UNAVAILABLE, f"The program {words[0]} is not installed.", hint) from error
    except subprocess.CalledProcessError as error:
        said = f"`{' '.join(words)[:300]}` ended with code {error.returncode}."
        raise BuildError(os.EX_SOFTWARE, said, "The lines above say why.") from error
    return done.stdout or ""
