"""Says which version is being built and of which moment, from pyproject.toml and git. It must not know what for."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from image.commands import output
from image.errors import BuildError


@dataclass(frozen=True, slots=True)
class Release:
    """``version`` is IMAGE_VERSION of os-release(5); ``epoch`` SOURCE_DATE_EPOCH, when the commit was made."""

    version: str
    epoch: int


def of(repository: Path) -> Release:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    try:
        commit, epoch = output("git", "log", "-1", "--format=%h %ct", "--abbrev=8", cwd=repository).split()
        changed = output("git", "status", "--porcelain", "--untracked-files=normal", cwd=repository)
    except BuildError as error:
        hint = "An image says which commit it was made of: build it in a clone."
        raise BuildError(os.EX_NOINPUT, "git does not say which commit this is.", hint) from error
    return Release(name(project, commit, bool(changed.strip())), int(epoch))


def name(project: str, commit: str, changed: bool) -> str:
    """os-release(5) allows 0-9, a-z, '.', '_' and '-' here."""
    return f"{project}-{commit}{'-changed' if changed else ''}".replace("+", "-").lower()


def os_release(text: str, facts: dict[str, str]) -> str:
    """Debian's own lines, with ours in the place of lines of the same names or at the end."""
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in facts]
    return "\n".join([*lines, *(f'{key}="{value}"' for key, value in facts.items())]) + "\n"
