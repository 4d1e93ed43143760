"""What a command needs that reads or changes what the office manages: configuration, database, rights, and sentences.

It must not know any command.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from zoneinfo import ZoneInfo

import click

from portal.cli_parts import SITE, Command, fail, json_option, options, places, print_json, running_site_option
from portal.paths import Paths

if TYPE_CHECKING:
    from portal.administration import Administration, Done
    from portal.config import SiteConfig
    from portal.domain.model import Now
    from portal.store.db import Database

T = TypeVar("T")
ROLE = "cli"

reading = options(running_site_option, places, json_option)
"""Options of every command of the office."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One command's place of work."""

    config: SiteConfig
    paths: Paths
    database: Database
    acts: Administration
    now: Now
    as_json: bool

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.config.site.timezone)

    def moment(self, text: str | None, *, end: bool = False) -> float | None:
        """The Unix time that somebody wrote (portal.domain.asking.moment); None where nothing was."""
        from portal import clock  # noqa: PLC0415
        from portal.domain import asking  # noqa: PLC0415

        if text is None:
            return None
        clock_ok = clock.wall_is_plausible(self.now.wall_s)
        return asking.moment(text, self.zone, self.now.wall_s, clock_ok=clock_ok, end=end)

    def when(self, wall_s: float | None, none: str = "-") -> str:
        """Local time for people, to the minute."""
        return none if wall_s is None else f"{dt.datetime.fromtimestamp(wall_s, self.zone):%Y-%m-%d %H:%M}"

    def done(self, done: Done[Any], said: object, text: str) -> None:
        """Say that an act is done: ``said`` in JSON, ``text`` to people, and what does not follow yet to both."""
        if self.as_json:
            print_json({"done": said, "warning": done.warning})
            return
        click.echo(text)
        if done.warning:
            click.echo(done.warning, err=True)

    def answer(self, said: object, text: str) -> None:
        print_json(said) if self.as_json else click.echo(text)


@contextlib.contextmanager
def desk(site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> Iterator[Desk]:
    """A Desk, with the rights of the data directory's owner where root asks; exits with a sentence on what goes wrong.

    Exit status: 65 what was asked for cannot be, 69 the database cannot do it, 75 busy, 77 no rights, 78 site.toml.
    """
    import argon2  # noqa: F401, PLC0415 - all that is needed is loaded before the source tree may be out of reach

    from portal import administration, clock, privileges  # noqa: PLC0415
    from portal import site as sites  # noqa: PLC0415
    from portal.domain.asking import AdministrationError  # noqa: PLC0415
    from portal.store import db  # noqa: PLC0415

    paths = Paths(run_dir, data_dir)
    actor = login_name()
    try:
        config = sites.load(site or (paths.site if paths.site.exists() else SITE))
    except sites.SiteErrors as errors:
        first = errors.mistakes[0]
        refuse(as_json, os.EX_CONFIG, "site", f"{first.file}: {first.key}: {first.message}", first.hint)
    database = db.Database(paths.database)
    try:
        _check_rights(paths, as_json)
        with privileges.as_owner_of(paths.data) if paths.data.exists() else contextlib.nullcontext():
            try:
                acts = administration.Administration(config, paths, actor, ROLE, database=database)
                yield Desk(config, paths, database, acts, clock.now(), as_json)
            finally:
                database.close()  # as who opened it
    except AdministrationError as error:
        refuse(as_json, os.EX_DATAERR, error.code, error.message, error.hint)
    except db.StoreError as error:
        status = os.EX_TEMPFAIL if error.code == db.BUSY else os.EX_UNAVAILABLE
        refuse(as_json, status, error.code, error.message, error.hint)


def login_name() -> str:
    """Who sits at the keyboard: the name before sudo where there is one. Nobody but root is believed about that."""
    import pwd  # noqa: PLC0415

    if os.geteuid() == 0 and (name := os.environ.get("SUDO_USER")):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need to be, for people."""
    texts = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts
    )


def fields(values: Mapping[str, object]) -> str:
    """One thing, a line for each of its parts."""
    width = max(map(len, values)) + 1
    return "\n".join(f"{name + ':':<{width}} {value}" for name, value in values.items())


def _check_rights(paths: Paths, as_json: bool) -> None:
    try:
        there = paths.database.exists()
    except PermissionError:
        there, allowed = True, False
    else:
        allowed = os.access(paths.database, os.R_OK | os.W_OK) and os.access(paths.data, os.W_OK)
    if there and not allowed:
        refuse(
            as_json,
            os.EX_NOPERM,
            "permission",
            f"You may not read and write the database {paths.database}.",
            "Start it with sudo, or as a member of the data directory's group.",
        )


def refuse(as_json: bool, status: int, code: str, message: str, hint: str) -> NoReturn:
    """Exit with ``status`` (sysexits), and say why in the way that was asked for."""
    if as_json:
        print_json({"error": {"code": code, "message": message, "hint": hint}})
        sys.exit(status)
    fail(status, message, hint)


def command(group: click.Group, name: str, *parameters: Command) -> Command:
    """A command of ``group``: its own parameters first, then those of every command here; it is given a Desk.

    What it returns, if anything, is called when the desk is left: with the caller's own rights, to write their files.
    """

    def decorate(work: Command) -> click.Command:
        def run(site: Path | None, run_dir: Path, data_dir: Path, as_json: bool, **given: Any) -> None:
            with desk(site, run_dir, data_dir, as_json) as at:
                afterwards = work(at, **given)
            if afterwards is not None:
                afterwards()

        run.__doc__ = work.__doc__
        return group.command(name)(options(*parameters, reading)(run))

    return decorate
