"""Keys as commands are given them, the office's and the gateway's, and the files that commands leave.

It must not know any command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portal.cli_acting import refuse
from portal.paths import Paths

if TYPE_CHECKING:
    from portal.sealing import OfficeSecret, SigningKey

stdin_option = click.option(
    "--stdin", "from_stdin", is_flag=True, help="Read the passphrase from standard input, not asked."
)


def signing_key(paths: Paths) -> SigningKey | None:
    """The gateway's key, for root; made where the gateway has not run yet. It is read before root is given up."""
    from portal import privileges, sealing  # noqa: PLC0415

    sealing.load()
    try:
        if os.geteuid() != 0 or not paths.data.exists():
            return sealing.load_signing(paths.staff)
        user = privileges.account(privileges.STAFF_USER)
        return sealing.load_or_make_signing(paths.staff, user.pw_uid, user.pw_gid)
    except (OSError, ValueError, privileges.PrivilegeError):
        return None


def unlocked(file: Path, from_stdin: bool, as_json: bool) -> OfficeSecret:
    """The office's private key in ``file``; exits with a sentence where file or passphrase are not right."""
    from portal import sealing  # noqa: PLC0415

    content = content_of(file, 65_536, as_json)
    try:
        return sealing.unlock(content, passphrase_from(from_stdin))
    except sealing.SealingError as error:
        refuse(as_json, os.EX_DATAERR, "office-key", error.message, error.hint)


def content_of(file: Path, most: int, as_json: bool) -> bytes:
    """At most so many bytes of a file; exits with a sentence where it cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(most)
    except OSError as error:
        refuse(as_json, os.EX_NOINPUT, "read", f"{file} cannot be read: {error.strerror}.", "Check the path.")


def passphrase_from(from_stdin: bool, *, confirm: bool = False) -> str:
    """Never an argument: those stand in the list of processes, and in the shell's history."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))


def write_new(file: Path, content: bytes | Callable[[Callable[[bytes], object]], None], as_json: bool) -> None:
    """Into a file that does not exist yet, for its owner alone, fsynced; one that fails half way is taken away."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        message = f"{file} exists already, and is not overwritten."
        refuse(as_json, os.EX_CANTCREAT, "exists", message, "Name another file.")
    except OSError as error:
        message = f"{file} cannot be written: {error.strerror}."
        refuse(as_json, os.EX_CANTCREAT, "write", message, "Check the path.")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content) if isinstance(content, bytes) else content(out.write)
            out.flush()
            os.fsync(descriptor)
    except OSError as error:
        file.unlink(missing_ok=True)
        message = f"{file} cannot be written: {error.strerror}."
        refuse(as_json, os.EX_CANTCREAT, "write", message, "Is the disk full?")
