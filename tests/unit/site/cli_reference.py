"""Prints docs/cli.md from the programs' own help: `python tests/unit/site/cli_reference.py > docs/cli.md`."""

from __future__ import annotations

from collections.abc import Iterator

import click

HEAD = """# Command line

Two programs: `gerbang` is for people and for the gateway as a whole; `netctl` is the part that runs as root and owns
the kernel's state, with verbs to look at it. Everything that answers does so in JSON too, with `--json`. This page is
their own `--help`.
"""

PROBLEMS_HEAD = """### Refused acts

A command that changes what the office manages answers with `{"error": {"code", "message", "hint"}}` under `--json`, and
exits with 65, where what was asked for cannot be. These codes are stable; those of database and netctl are in
[operations.md](operations.md).
"""


def sections(name: str, command: click.Command, parent: click.Context | None = None) -> Iterator[str]:
    settings = {**command.context_settings, "terminal_width": 110, "max_content_width": 110}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"{'##' if parent is None else '###'} {context.command_path}\n\n```\n{text}\n```\n"
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            found = command.get_command(context, verb)
            if found is not None and not found.hidden:
                yield from sections(verb, found, context)


def problems() -> str:
    """What an act may be refused for: with --json, ``error.code``."""
    from portal.domain.asking import PROBLEMS

    rows = [f"| `{code}` | {message.replace('!r', '')} | {hint} |" for code, (message, hint) in PROBLEMS.items()]
    head = ["| code | what it says | what to do |", "|---|---|---|"]
    return "\n".join([PROBLEMS_HEAD, *head, *rows, ""])


def reference() -> str:
    from netctl.__main__ import cli
    from portal.cli import gerbang

    return "\n".join([HEAD, *sections("gerbang", gerbang), problems(), *sections("netctl", cli)])


if __name__ == "__main__":
    print(reference(), end="")
