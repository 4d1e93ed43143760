"""The command line, `gerbang`: parses options, calls the parts, says mistakes, exits with sysexits codes.

It must not know how anything is done; each command imports what it needs, so that `gerbang version` loads nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from portal import (
    cli_box,
    cli_hours,
    cli_journal,
    cli_natlog,
    cli_office,
    cli_outbox,
    cli_report,
    cli_rollup,
    cli_staff,
    cli_technician,
    cli_update,
    cli_vouchers,
)
from portal.cli_parts import (
    FILE,
    SITE,
    data_option,
    fail,
    json_option,
    places,
    print_json,
    running_site_option,
    site_option,
    user_option,
)
from portal.paths import Paths

EXITS = """\b
Exit status (sysexits): 0 done, 64 wrong use, 65 what was asked for cannot be,
69 something needed is missing or does not work, 73 a directory that is not ours
or a file that cannot be written, 75 busy, 77 not allowed, 78 mistakes in
site.toml."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXITS)
def gerbang() -> None:
    """Captive portal and hotspot controller of a village's gateway."""


@gerbang.command()
@site_option
@places
@user_option
@click.option("--keep", is_flag=True, help="On stopping, leave the rules in the kernel: users stay online.")
def run(site: Path, run_dir: Path, data_dir: Path, user: str, keep: bool) -> None:
    """Run the whole gateway in the foreground until SIGTERM or Ctrl-C.

    Starts netctl, dnsmasq, the meter and the guest pages on the interfaces that site.toml names, restarts what dies,
    and prints one log. A second signal kills what is left.
    """
    from portal import prepare, privileges  # noqa: PLC0415
    from portal.site import SiteErrors  # noqa: PLC0415

    try:
        prepare.start(site, Paths(run_dir, data_dir), user, keep)
    except SiteErrors as errors:
        _say_mistakes(errors.mistakes, as_json=False)
        sys.exit(os.EX_CONFIG)
    except prepare.StartError as error:
        fail(error.status, error.message, error.hint)
    except privileges.PrivilegeError as error:
        fail(os.EX_NOPERM, error.message, error.hint)


@gerbang.command()
@click.argument("file", type=FILE, default=SITE)
@click.option("--here", is_flag=True, help="Also compare with this machine's interfaces and networks.")
@json_option
def check(file: Path, here: bool, as_json: bool) -> None:
    """Say all mistakes in a site.toml at once.

    FILE is the configuration, by default /etc/gerbang/site.toml. Exit status 0 without mistakes, 78 with.
    """
    from portal import site  # noqa: PLC0415

    config, mistakes = site.check(file, here=here)
    if config is None:
        _say_mistakes(mistakes, as_json)
        sys.exit(os.EX_CONFIG)
    if as_json:
        import msgspec  # noqa: PLC0415

        print_json({"file": str(file), "mistakes": [], "config": msgspec.to_builtins(config)})
    else:
        click.echo(f"{file}: no mistakes.")


@gerbang.command()
@site_option
@places
@user_option
@click.option("--tls", is_flag=True, help="Serve https on tls_port.")
def guest(site: Path, run_dir: Path, data_dir: Path, user: str, tls: bool) -> None:
    """Serve the guest pages (started by `run`, or by a systemd unit)."""
    _serve("guest-tls" if tls else "guest", site, run_dir, data_dir, user)


@gerbang.command()
@site_option
@places
@user_option
def meter(site: Path, run_dir: Path, data_dir: Path, user: str) -> None:
    """Count usage, end sessions, watch the uplink (started by `run`, or by a systemd unit)."""
    _serve("meter", site, run_dir, data_dir, user)


def _serve(role: str, site: Path, run_dir: Path, data_dir: Path, user: str) -> NoReturn:
    from portal import serve  # noqa: PLC0415

    sys.exit(serve.serve(serve.Orders(role, str(site), str(run_dir), str(data_dir), user)))


@gerbang.command()
@running_site_option
@places
@json_option
def housekeeping(site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Make the figures of the usage log, erase what was kept for long enough, fill the outbox.

    The gateway does it by itself, once an hour. As root it works as the user gerbang-staff. Exit status 69 if a part
    failed, 75 if it is being done already.
    """
    from portal import housekeeping as keeping  # noqa: PLC0415
    from portal import privileges  # noqa: PLC0415
    from portal.site import SiteErrors, load  # noqa: PLC0415

    paths = Paths(run_dir, data_dir)
    try:
        config = load(site or (paths.site if paths.site.exists() else SITE))
        parts = keeping.keep(config, paths, keeping.enter(config, paths, privileges.STAFF_USER, None))
    except SiteErrors as errors:
        _say_mistakes(errors.mistakes, as_json)
        sys.exit(os.EX_CONFIG)
    except privileges.PrivilegeError as error:
        fail(os.EX_NOPERM, error.message, error.hint)
    except keeping.Busy:
        fail(os.EX_TEMPFAIL, "Housekeeping is under way already.", "Wait until it has ended.")
    except PermissionError as error:
        fail(os.EX_NOPERM, f"{error}.", "Start it with sudo.")
    except OSError as error:
        fail(os.EX_UNAVAILABLE, f"{error}.", "Has the gateway run here? See --data-dir.")
    if as_json:
        from dataclasses import asdict  # noqa: PLC0415

        print_json([asdict(part) for part in parts])
    else:
        for part in parts:
            click.echo(part.text())
    sys.exit(os.EX_UNAVAILABLE if any(part.error is not None for part in parts) else os.EX_OK)


@gerbang.command()
@places
@json_option
def status(run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Say who is online, how the uplink is, and whether the kernel does what it was told."""
    from portal import report  # noqa: PLC0415

    report.use_time_zone_of(Paths(run_dir, data_dir).site)
    found = report.status(Paths(run_dir, data_dir))
    print_json(found.as_json()) if as_json else click.echo(found.text())
    sys.exit(os.EX_OK if found.well else os.EX_UNAVAILABLE)


@gerbang.command()
@running_site_option
@places
@json_option
def doctor(site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Examine the gateway, and say for each thing that is wrong what to do.

    Looks at site.toml, the database, the disk, the certificate, the clock and what netctl says of the kernel. Exit
    status 0 if nothing failed (warnings are well), 69 if something did.
    """
    from portal import report  # noqa: PLC0415

    paths = Paths(run_dir, data_dir)
    site = site or (paths.site if paths.site.exists() else SITE)
    report.use_time_zone_of(site)
    found = report.doctor(paths, site)
    if as_json:
        print_json([line.as_json() for line in found])
    else:
        for line in found:
            click.echo(line.text())
    sys.exit(os.EX_UNAVAILABLE if any(line.level == "fail" for line in found) else os.EX_OK)


@gerbang.command()
@data_option
@json_option
def recover(data_dir: Path, as_json: bool) -> None:
    """Start a new database where the old one is broken, and carry over what can still be read.

    The broken file is kept beside the new one, under a name with the time. Nothing is done where the database is
    whole. The gateway may be running; nobody who is online and can still be read is cut off.
    """
    from portal.store import recovery  # noqa: PLC0415
    from portal.store.db import StoreError  # noqa: PLC0415

    path = Paths(data=data_dir).database
    try:
        found = recovery.recover(path)
    except StoreError as error:
        fail(os.EX_UNAVAILABLE, error.message, error.hint)
    except PermissionError as error:
        fail(os.EX_NOPERM, f"{error}.", "Start it with sudo.")
    if as_json:
        from dataclasses import asdict  # noqa: PLC0415

        print_json({"recovered": found and asdict(found)})
    elif found is None:
        click.echo(f"{path} is whole. Nothing was done.")
    else:
        click.echo(f"{found.sessions} sessions were carried over, {found.running} of them running.")
        if not found.whole:
            click.echo("Part of the old database could not be read; there may have been more.")
        if found.kept:
            click.echo(f"The old file is kept as {found.kept}.")


@gerbang.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    from portal.release import VERSION  # noqa: PLC0415

    print_json({"version": VERSION}) if as_json else click.echo(f"gerbang {VERSION}")


def _say_mistakes(mistakes: Sequence[Any], as_json: bool) -> None:
    if as_json:
        import msgspec  # noqa: PLC0415

        print_json({"file": mistakes[0].file, "mistakes": msgspec.to_builtins(list(mistakes))})
        return
    for mistake in mistakes:
        click.echo(str(mistake), err=True)
    count = len(mistakes)
    click.echo(f"{count} mistake{'s' * (count != 1)}.", err=True)


for command in (
    *cli_vouchers.COMMANDS,
    *cli_office.COMMANDS,
    *cli_hours.COMMANDS,
    *cli_staff.COMMANDS,
    *cli_technician.COMMANDS,
    *cli_update.COMMANDS,
    *cli_outbox.COMMANDS,
    *cli_natlog.COMMANDS,
    *cli_journal.COMMANDS,
    *cli_report.COMMANDS,
    *cli_rollup.COMMANDS,
    *cli_box.COMMANDS,
):
    gerbang.add_command(command)


def main() -> None:
    """The console script. Wrong use exits with 64 (EX_USAGE), not with click's 2."""
    try:
        gerbang.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(os.EX_USAGE)
    except click.Abort:
        sys.exit(130)


if __name__ == "__main__":
    main()
