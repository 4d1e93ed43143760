"""Commands for what leaves the box: the office's key, and the outbox. It must not know how it is done."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from portal.cli_acting import refuse
from portal.cli_parts import FILE, json_option, print_json

_stdin = click.option("--stdin", "from_stdin", is_flag=True, help="Read the passphrase from standard input, not asked.")


# --- the office -----------------------------------------------------------------------------------------------------


@click.group()
def office() -> None:
    """At the office: the key that gateways seal for."""


@office.command("key")
@click.argument("file", type=FILE)
@_stdin
@json_option
def office_key(file: Path, from_stdin: bool, as_json: bool) -> None:
    """Make the office's key, once: the private half into FILE, the public line for site.toml to the screen.

    FILE is protected by a passphrase of at least 16 characters. Without both, nobody ever opens what gateways have
    sealed: keep copies of FILE in two places, and the passphrase apart from them.
    """
    from portal import sealing  # noqa: PLC0415

    passphrase = _passphrase(from_stdin, confirm=True)
    if wrong := sealing.objection(passphrase):
        refuse(as_json, os.EX_DATAERR, "passphrase", wrong, "Choose a longer one.")
    secret = sealing.new_office_secret()
    _write_new(file, secret.locked(passphrase), as_json)
    if as_json:
        print_json({"file": str(file), "line": secret.key.line, "fingerprint": secret.key.fingerprint})
        return
    click.echo(f"The private half is in {file}. The public line, for site.toml of every gateway:\n")
    click.echo(f'[office]\nkey = "{secret.key.line}"')


def _passphrase(from_stdin: bool, *, confirm: bool = False) -> str:
    """Never an argument: those stand in the list of processes, and in the shell's history."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))


def _write_new(file: Path, content: bytes, as_json: bool) -> None:
    """Into a file that does not exist yet, for its owner alone, fsynced: a key is never overwritten."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(descriptor)
    except FileExistsError:
        message = f"{file} exists already, and is not overwritten."
        refuse(as_json, os.EX_CANTCREAT, "exists", message, "Name another file.")
    except OSError as error:
        message = f"{file} cannot be written: {error.strerror}."
        refuse(as_json, os.EX_CANTCREAT, "write", message, "Check the path, and that there is room.")


COMMANDS = (office,)
