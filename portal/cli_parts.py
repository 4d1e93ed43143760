"""What the commands of `gerbang` share: options, JSON, failing with a sentence. It must not know any command.

Commands stand in portal.cli and in modules beside it (cli_office and others), each with a ``COMMANDS`` tuple that
portal.cli adds to the program.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from portal.paths import Paths

SITE = Path("/etc/gerbang/site.toml")
FILE = click.Path(path_type=Path, readable=False)  # whoever opens it says what is wrong, and what to do
Command = Callable[..., Any]


def options(*several: Command) -> Command:
    """Several options as one decorator, in this order in the help."""

    def decorate(command: Command) -> Command:
        for option in reversed(several):
            command = option(command)
        return command

    return decorate


site_option = click.option("--site", type=FILE, default=SITE, show_default=True, help="The site's configuration.")
running_site_option = click.option(
    "--site", type=FILE, default=None, help="The site's configuration.  [default: the running gateway's]"
)
data_option = click.option(
    "--data-dir", type=FILE, default=Paths().data, show_default=True, help="Database and leases."
)
run_option = click.option(
    "--run-dir", type=FILE, default=Paths().run, show_default=True, help="Sockets and generated files."
)
places = options(run_option, data_option)
user_option = click.option("--user", default="gerbang", show_default=True, help="The portal's unprivileged user.")
json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def fail(status: int, message: str, hint: str) -> NoReturn:
    """Say it on standard error and exit with ``status`` (sysexits)."""
    click.echo(f"{message}\n    {hint}", err=True)
    sys.exit(status)
