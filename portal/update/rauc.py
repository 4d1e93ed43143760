"""Speaks to RAUC: which slots there are, what a bundle is, installing one. It must not know when or why.

Everything goes through the rauc program, whose service does the work. It writes GRUB's variables on a partition that is
made writable for it, and must see that: so it has no mounts of its own (systemd/rauc.service.d).
"""

from __future__ import annotations

import configparser
import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portal.update import errors, grub
from portal.update.errors import UpdateError

RAUC: Final = "/usr/bin/rauc"
CONFIG: Final = Path("/etc/rauc/system.conf")
INFO_S: Final = 300.0  # over a satellite line too: of an address it reads the end of the file, by ranges
_PROGRESS: Final = re.compile(r"^\s*(\d{1,3})%\s+(.*)$")
_LAST_ERROR: Final = re.compile(r"^(?:LastError|rauc.*?error|.*?[Ff]ailed.*?):\s*(.+)$")


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle says of itself; its signature was verified."""

    compatible: str
    version: str


@dataclass(frozen=True, slots=True)
class System:
    """What /etc/rauc/system.conf says: the name of this sort of box, and where each slot lies."""

    compatible: str
    devices: Mapping[str, Path]


def system(config: Path = CONFIG) -> System:
    """Raises UpdateError on a machine that is no box."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(config.read_text(encoding="utf-8"))
        slots = [parser[name] for name in parser.sections() if name.startswith("slot.")]
        devices = {slot["bootname"]: Path(slot["device"]) for slot in slots if "bootname" in slot}
        return System(parser["system"]["compatible"], devices)
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
        message = f"{config} does not say which slots this machine has."
        raise UpdateError(errors.NO_BOX, message, "Only an installed image can be updated.") from None


def info(bundle: str) -> Bundle:
    """What a file or an http address holds. Raises UpdateError, also for a signature that is not ours."""
    command = [RAUC, "info", "--output-format=json", bundle]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INFO_S, check=False
        )
    except subprocess.TimeoutExpired:
        message = f"`rauc info` did not end within {INFO_S:.0f} s."
        raise UpdateError(errors.RAUC, message, "Look into the journal, then try again.") from None
    except OSError as error:
        raise _missing(error) from None
    if done.returncode != 0:
        reason = reason_of((done.stdout + "\n" + done.stderr).splitlines())
        hint = "Check the file: copy it again, and see that it was made for this box."
        raise UpdateError(errors.BUNDLE, f"rauc: {reason}", hint)
    try:
        told = json.loads(done.stdout[done.stdout.index("{") :])
        return Bundle(str(told["compatible"]), str(told["version"]))
    except (ValueError, KeyError, TypeError):
        raise UpdateError(errors.BUNDLE, f"{bundle} says nothing of its version.", "Fetch it again.") from None


def install(bundle: str, boot: Path, tell: Callable[[int, str], object]) -> None:
    """Write the bundle into the slot that does not run, and let the next start take it. Raises UpdateError.

    ``tell`` is called with percent and step.
    """
    with grub.writable(boot):
        said: list[str] = []
        try:
            process = subprocess.Popen(
                [RAUC, "install", bundle],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise _missing(error) from None
        with process:
            assert process.stdout is not None  # noqa: S101 - asked for
            for line in process.stdout:
                said.append(line.rstrip())
                if (step := progress_of(line)) is not None:
                    tell(*step)
        if process.returncode != 0:
            raise UpdateError(
                errors.INSTALL, f"RAUC did not install it: {reason_of(said)}", "Nothing was changed. Try again."
            )


def progress_of(line: str) -> tuple[int, str] | None:
    """(percent, step) of a line of `rauc install`."""
    found = _PROGRESS.match(line)
    return None if found is None else (min(100, int(found[1])), found[2].strip())


def reason_of(lines: Sequence[str]) -> str:
    """The sentence in what RAUC said when it failed."""
    for line in reversed(lines):
        if (found := _LAST_ERROR.match(line.strip())) is not None:
            return found[1]
    told = [line for line in lines if line.strip() and progress_of(line) is None]
    return told[-1].strip() if told else "it gave no reason."


def _missing(error: OSError) -> UpdateError:
    return UpdateError(
        errors.RAUC, f"RAUC cannot be started: {error.strerror}.", "Only an installed image can be updated."
    )
