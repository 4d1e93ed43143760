"""Commands of the technician: configuration, diagnosis, backup, restore, bundle. It must not know how it is done."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from portal.cli_acting import desk, login_name
from portal.cli_parts import (
    FILE,
    SITE,
    fail,
    json_option,
    places,
    print_json,
    running_site_option,
    site_option,
    user_option,
)
from portal.paths import Paths

if TYPE_CHECKING:
    from portal.control import Control, ControlError, State

T = TypeVar("T")
_out = click.option("--out", type=FILE, required=True, help="The file to write; it must not exist yet.")


# --- configuration --------------------------------------------------------------------------------------------------


@click.group()
def config() -> None:
    """Change the running gateway's configuration, with a way back."""


@config.command("check")
@click.argument("file", type=FILE)
@json_option
def config_check(file: Path, as_json: bool) -> None:
    """Say all mistakes in FILE, compared with this machine too. Changes nothing."""
    from portal import site  # noqa: PLC0415

    _found, mistakes = site.check(file, here=True)
    told = [{"file": m.file, "key": m.key, "message": m.message, "hint": m.hint} for m in mistakes]
    _say_mistakes(told, as_json)
    if as_json and not mistakes:
        print_json({"mistakes": []})
    elif not mistakes:
        click.echo(f"{file}: no mistakes.")
    sys.exit(os.EX_CONFIG if mistakes else os.EX_OK)


@config.command("apply")
@click.argument("file", type=FILE, default=SITE)
@places
@json_option
def config_apply(file: Path, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Try FILE on the running gateway: in force at once, undone after 60 s unless confirmed.

    Users stay online. What a box reads only as it starts is named, and waits for that. FILE is by default
    /etc/gerbang/site.toml, for one that was edited in its place.
    """
    from portal.domain import sitechange  # noqa: PLC0415

    paths = Paths(run_dir, data_dir)
    try:
        text = file.read_text(encoding="utf-8")
        before = paths.site.read_text(encoding="utf-8") if paths.site.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        fail(os.EX_NOINPUT, f"{file} cannot be read: {error}.", "Check the path, and that it is UTF-8 text.")
    if not as_json:
        _warn_of_port(text)
    found = _ask(paths, as_json, lambda gateway: gateway.apply(text, login_name()))
    _record(paths, "config.apply", *sitechange.keys(before, text))
    _say_state(found, as_json)


def _warn_of_port(text: str) -> None:
    from portal import site, uplinkport  # noqa: PLC0415
    from portal.update.places import Places  # noqa: PLC0415

    found, _ = site.check_text(SITE.name, text, files=False, here=False)
    if found is not None and Places().is_box and uplinkport.is_missing(found.uplink.port):
        message = f"No card of this box is uplink.port, {found.uplink.port}: after the next start it has no uplink."
        click.echo(f"{message} `gerbang ports` lists those that are there.", err=True)


@config.command("confirm")
@places
@json_option
def config_confirm(run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Keep the configuration that is being tried: it becomes the site's own file."""
    paths = Paths(run_dir, data_dir)
    found = _ask(paths, as_json, lambda gateway: gateway.confirm(login_name()))
    _record(paths, "config.confirm")
    _say_state(found, as_json)


@config.command("revert")
@places
@json_option
def config_revert(run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Go back at once to the configuration before the one that is being tried."""
    paths = Paths(run_dir, data_dir)
    found = _ask(paths, as_json, lambda gateway: gateway.revert(login_name()))
    _record(paths, "config.revert")
    _say_state(found, as_json)


@config.command("state")
@places
@json_option
def config_state(run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Say whether a changed configuration is being tried, and how the last one ended."""
    _say_state(_ask(Paths(run_dir, data_dir), as_json, lambda gateway: gateway.state()), as_json)


def _say_state(state: State, as_json: bool) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    from portal.update.places import Places  # noqa: PLC0415

    if as_json:
        print_json(asdict(state))
        return
    if state.pending is not None:
        click.echo(f"A change by {state.pending.by or 'somebody'} is being tried: {state.pending.left_s:.0f} s left.")
        click.echo("Keep it: gerbang config confirm. Undo it: gerbang config revert, or wait.")
    elif state.last is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.last.wall_s))
        click.echo(f"Nothing is being tried. The last change, {when}, was {state.last.outcome}: {state.last.message}")
    else:
        click.echo("Nothing is being tried, and nothing was since the gateway started.")
    if state.at_start and Places().is_box:
        click.echo(f"In force only after a restart of the box, so no trial shows it: {', '.join(state.at_start)}")
    click.echo(f"The site's own file: {state.source}")


def _ask(paths: Paths, as_json: bool, work: Callable[[Control], T]) -> T:
    from portal.control import Control, ControlError  # noqa: PLC0415

    try:
        return work(Control(paths.control_socket))
    except ControlError as error:
        _refused(error, as_json)


def _refused(error: ControlError, as_json: bool) -> NoReturn:
    from portal import control  # noqa: PLC0415

    status = {
        control.MISTAKES: os.EX_CONFIG,
        control.BUSY: os.EX_TEMPFAIL,
        control.PENDING: os.EX_TEMPFAIL,
        control.DENIED: os.EX_NOPERM,
        control.BAD_REQUEST: os.EX_DATAERR,
    }.get(error.code, os.EX_UNAVAILABLE)
    if as_json:
        told = {"code": error.code, "message": error.message, "hint": error.hint, "mistakes": list(error.mistakes)}
        print_json({"error": told})
        sys.exit(status)
    _say_mistakes(error.mistakes, as_json=False)
    fail(status, error.message, error.hint)


def _say_mistakes(mistakes: Sequence[Mapping[str, str]], as_json: bool) -> None:
    if as_json and mistakes:
        print_json({"mistakes": list(mistakes)})
        return
    for mistake in mistakes:
        where = f"{mistake['file']}: " + (f"{mistake['key']}: " if mistake["key"] else "")
        click.echo(f"{where}{mistake['message']}\n    {mistake['hint']}", err=True)


def _record(paths: Paths, action: str, before: object = None, after: object = None, thing: str = "site.toml") -> None:
    """The audit entry of an act that is done already: a database that cannot take it is said, and undoes nothing."""
    from portal import administration, privileges  # noqa: PLC0415
    from portal import site as sites  # noqa: PLC0415
    from portal.store.db import StoreError  # noqa: PLC0415

    try:
        with privileges.as_owner_of(paths.data):
            acts = administration.Administration(sites.load(paths.site), paths, login_name(), "cli")
            try:
                acts.record(action, thing, before, after)
            finally:
                acts.close_database()
    except (StoreError, sites.SiteErrors, OSError, privileges.PrivilegeError) as error:
        click.echo(f"It is done, but the audit trail could not be written: {error}", err=True)


# --- diagnosis ------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("device")
@running_site_option
@places
@json_option
def why(device: str, site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Say why a phone can, or cannot, get on the Internet, and what to do.

    DEVICE is its MAC, its address on the LAN, or the name that an operator sees for it. Nothing is sent to it and
    nothing is changed: lease, neighbour, rules, budget, session and the kernel's own tables are looked at in turn. Exit
    status 0 if it can get on, 69 if not, 65 if no such device is known.
    """
    from portal import staffkey  # noqa: PLC0415
    from portal.technician import diagnosis  # noqa: PLC0415
    from portal.technician.words import english  # noqa: PLC0415

    try:
        key = staffkey.load(Paths(run_dir, data_dir).staff)  # before root is given up: it is the staff pages' own
    except (OSError, ValueError):
        key = None
    words = english()
    with desk(site, run_dir, data_dir, as_json) as at:
        found = diagnosis.diagnose(device, at.config, at.paths, at.database, words, key=key)
    if found is None:
        message = f"{device} is no MAC, no address of the LAN and no name of a device that is known."
        fail(os.EX_DATAERR, message, "Write it like 5c:e9:1e:00:00:01 or 10.77.0.23, as the phone shows it.")
    print_json(found.as_json()) if as_json else click.echo(found.text())
    sys.exit(os.EX_OK if found.well else os.EX_UNAVAILABLE)


# --- files ----------------------------------------------------------------------------------------------------------


@click.command()
@_out
@click.option("--keys", is_flag=True, help="With the private keys that site.toml names: keep such a file locked away.")
@site_option
@places
@json_option
def backup(*, out: Path, keys: bool, site: Path, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Write everything that must move to a replacement gateway into one file.

    A consistent copy of the database and site.toml, while the gateway runs. The file holds people's devices and voucher
    codes, so keep it as safe as the gateway.
    """
    from portal import backup as backups  # noqa: PLC0415

    paths = Paths(run_dir, data_dir)
    manifest = _write_new(out, lambda file: backups.make(file, paths, _own_site(site, paths), keys=keys))
    _record(paths, "backup.make", after={"keys": keys}, thing="backup")
    if as_json:
        print_json({"file": str(out), "manifest": backups.as_json(manifest)})
    else:
        click.echo(f"{out}: {out.stat().st_size} bytes, {manifest.site} {manifest.name}".rstrip())


@click.command()
@click.argument("file", type=FILE)
@click.option("--force-site", is_flag=True, help="Though the backup is of another site: this box becomes that one.")
@click.option("--keep-site", is_flag=True, help="Restore the database alone, and leave site.toml as it is.")
@site_option
@places
@user_option
@json_option
def restore(
    *,
    file: Path,
    force_site: bool,
    keep_site: bool,
    site: Path,
    run_dir: Path,
    data_dir: Path,
    user: str,
    as_json: bool,
) -> None:
    """Put a backup in this gateway's place.

    All of it is checked before anything is touched. The gateway may run: who is online stays online, and a site.toml
    that changes is tried and must be confirmed (`gerbang config confirm`). The replaced database is kept beside.
    """
    from portal import control, prepare, privileges  # noqa: PLC0415
    from portal import restore as restoring  # noqa: PLC0415
    from portal.backup import BackupError  # noqa: PLC0415
    from portal.site import SiteErrors  # noqa: PLC0415
    from portal.store.db import StoreError  # noqa: PLC0415

    if os.geteuid() != 0:
        fail(os.EX_NOPERM, "Only root can restore a backup here.", "Start it with sudo, or use the staff pages.")
    paths, name = Paths(run_dir, data_dir), login_name()
    try:
        with file.open("rb") as archive:
            try:
                found = control.Control(paths.control_socket).restore(
                    archive.fileno(), name, "cli", force_site=force_site, keep_site=keep_site
                )
                running = True
            except control.ControlError as error:
                if error.code != control.UNREACHABLE:
                    _refused(error, as_json)
                wish = restoring.Wish(name, "cli", force_site, keep_site)
                found = restoring.stand_alone(archive, paths, site, user, wish).as_json()
                running = False
    except OSError as error:
        fail(os.EX_NOINPUT, f"{file} cannot be read: {error.strerror}.", "Check the path.")
    except SiteErrors as errors:
        _say_mistakes(
            [{"file": m.file, "key": m.key, "message": m.message, "hint": m.hint} for m in errors.mistakes], as_json
        )
        hint = "Mend it in a copy and apply that later; --keep-site restores the database alone."
        fail(os.EX_CONFIG, "The backup's site.toml does not fit this machine; nothing was changed.", hint)
    except (BackupError, StoreError, privileges.PrivilegeError) as problem:
        fail(os.EX_DATAERR, problem.message, problem.hint)
    except prepare.StartError as problem:
        fail(problem.status, problem.message, problem.hint)
    if as_json:
        print_json({"restored": found, "running": running})
        return
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found["created_wall_s"]))
    click.echo(f"The backup of {found['site']} of {when} is in place.")
    click.echo(f"{found['carried']} sessions go on; {found['ended']} that the backup had as running are over.")
    if found["kept"]:
        click.echo(f"The replaced database is kept as {found['kept']}.")
    if not found["staff_from_backup"]:
        click.echo("Staff users and their passwords are those of this gateway: the backup's hold on another one only.")
    if found["port"]:
        click.echo(f"No card of this box is the backup's uplink.port, {found['port']}: this box's own is kept.")
    if found["site_changed"] and running:
        click.echo("site.toml is another now and is being tried. Keep it within 60 s: gerbang config confirm")


@click.command()
@_out
@site_option
@places
@json_option
def bundle(out: Path, site: Path, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Write a file for whoever helps from afar: how the gateway is, without personal data.

    Versions, configuration without names and secrets, what the doctor finds, the kernel's tables with every address
    replaced by a number, the last lines of the log. No device, voucher code or password can be read from it.
    """
    from portal.technician import bundle as bundles  # noqa: PLC0415

    paths = Paths(run_dir, data_dir)
    names = _write_new(out, lambda file: bundles.make(file, paths, _own_site(site, paths)))
    if as_json:
        print_json({"file": str(out), "holds": list(names)})
    else:
        click.echo(f"{out}: {', '.join(names)}")


def _own_site(site: Path, paths: Paths) -> Path:
    """The file named, else where it is missing the running gateway's copy."""
    return site if site.exists() or not paths.site.exists() else paths.site


def _write_new(out: Path, work: Callable[[Any], T]) -> T:
    """Let ``work`` fill a new file for its owner alone; a file that fails half way is taken away."""
    from portal.backup import BackupError  # noqa: PLC0415
    from portal.store.db import StoreError  # noqa: PLC0415

    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        fail(os.EX_CANTCREAT, f"{out} cannot be made: {error.strerror}.", "Name a file that does not exist yet.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            return work(file)
    except (BackupError, StoreError) as problem:
        out.unlink(missing_ok=True)
        fail(os.EX_UNAVAILABLE, problem.message, problem.hint)
    except OSError as error:
        out.unlink(missing_ok=True)
        fail(os.EX_IOERR, f"{out} cannot be written: {error.strerror}.", "Is the disk full?")


COMMANDS: tuple[click.Command, ...] = (config, why, backup, restore, bundle)
