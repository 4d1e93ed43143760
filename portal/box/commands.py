"""Runs the system's own programs for the box's services, and says what they said. It must not know what they do."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

LONGEST_S: Final = 60


class CommandError(Exception):
    """A program failed, or is not there: a sentence."""


def run(*command: str, stdin: str | None = None, within_s: float = LONGEST_S) -> str:
    """What it wrote. Raises CommandError."""
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False, **given)
    except subprocess.TimeoutExpired:
        raise CommandError(f"`{' '.join(command)}` did not end within {within_s:.0f} s.") from None
    except OSError as error:
        raise CommandError(f"`{command[0]}` cannot be started: {error.strerror}.") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().replace("\n", "; ") or "nothing"
        raise CommandError(f"`{' '.join(command)}` ended with status {done.returncode} and said: {said}")
    return str(done.stdout)


def tried(*command: str, stdin: str | None = None) -> str | None:
    """The same where all else goes on without it: None, and a line in the log."""
    try:
        return run(*command, stdin=stdin)
    except CommandError as error:
        say(str(error))
        return None


def is_active(unit: str) -> bool:
    """Does systemd have it running?"""
    try:
        run("systemctl", "--quiet", "is-active", unit)
    except CommandError:
        return False
    return True


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
