"""Commands for what leaves the box: the office's key, and the outbox. It must not know how it is done.

Those of the office need no gateway: they work on files alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portal.cli_acting import Desk, desk, fields, reading, refuse
from portal.cli_keys import content_of, passphrase_from, signing_key, stdin_option, unlocked, write_new
from portal.cli_parts import FILE, json_option, print_json
from portal.paths import Paths

if TYPE_CHECKING:
    from portal.domain.batchcheck import Report
    from portal.sealing import OfficeSecret, SigningKey
    from portal.store.outbox import Stored

CHUNK = 32  # batches that are held in memory at once: 2 MB at most

_directory = click.argument("directory", type=FILE, metavar="DIR")
_gateway = click.option(
    "--gateway", "gateways", multiple=True, help="Fingerprint of a gateway that may have signed; any number."
)


# --- the office -----------------------------------------------------------------------------------------------------


@click.group()
def office() -> None:
    """At the office: the key that gateways seal for."""


@office.command("key")
@click.argument("file", type=FILE)
@stdin_option
@json_option
def office_key(file: Path, from_stdin: bool, as_json: bool) -> None:
    """Make the office's key, once: the private half into FILE, the public line for site.toml to the screen.

    FILE is protected by a passphrase of at least 16 characters. Without both, nobody ever opens what gateways have
    sealed: keep copies of FILE in two places, and the passphrase apart from them.
    """
    from portal import sealing  # noqa: PLC0415

    passphrase = passphrase_from(from_stdin, confirm=True)
    if wrong := sealing.objection(passphrase):
        refuse(as_json, os.EX_DATAERR, "passphrase", wrong, "Choose a longer one.")
    secret = sealing.new_office_secret()
    write_new(file, secret.locked(passphrase), as_json)
    if as_json:
        print_json({"file": str(file), "line": secret.key.line, "fingerprint": secret.key.fingerprint})
        return
    click.echo(f"The private half is in {file}. The public line, for site.toml of every gateway:\n")
    click.echo(f'[office]\nkey = "{secret.key.line}"')


@office.command("ack")
@_directory
@click.option("--key", "key_file", type=FILE, required=True, help="The office's private key.")
@click.option("--out", type=FILE, required=True, help="The file to write; it must not exist yet.")
@_gateway
@stdin_option
@json_option
def office_ack(
    *, directory: Path, key_file: Path, out: Path, gateways: tuple[str, ...], from_stdin: bool, as_json: bool
) -> None:
    """Sign for gateways which of their batches the office has: all good ones in DIR.

    The technician takes the file to the gateways (`gerbang outbox ack`), which then need to keep these no longer. One
    file serves all gateways. Sign only for what is kept safely: the gateways remove it.
    """
    from portal import acknowledge  # noqa: PLC0415

    secret = unlocked(key_file, from_stdin, as_json)
    report = _checked(directory, gateways, secret, as_json)
    write_new(out, acknowledge.make(report.chains, secret, time.time()), as_json)
    count = sum(len(chain.batches) for chain in report.chains)
    if as_json:
        print_json({"file": str(out), "batches": count, **_told(report)})
    else:
        _say(report)
        click.echo(f"{out} acknowledges {count} batches.")
    sys.exit(os.EX_OK if report.good else os.EX_DATAERR)


# --- the outbox -----------------------------------------------------------------------------------------------------


@click.group(invoke_without_command=True)
@reading
@click.pass_context
def outbox(context: click.Context, site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Batches for the office: without a command, say how many there are and whose signature they carry."""
    if context.invoked_subcommand is not None:
        return
    signing = signing_key(Paths(run_dir, data_dir))
    with desk(site, run_dir, data_dir, as_json) as at:
        told = _state(at, signing)
    if as_json:
        print_json(told)
        return
    dropped = ", ".join(f"{count} {kind}" for kind, count in told["dropped"]["records"].items()) or "nothing"
    text = {
        "batches": told["batches"],
        "of which empty": told["hollow"],
        "size": f"{told['bytes'] / 1e6:.1f} MB of {told['most_megabytes']} MB",
        "oldest": at.when(told["oldest_wall_s"]),
        "days told until": told["day"] or "-",
        "dropped untaken": dropped,
        "sealed for": told["office"] or "nobody: office.key is not set, and nothing is made",
        "epoch, last number": f"{told['epoch']}, {told['number']}" if told["epoch"] else "-",
        "signed with": told["public"] or "no key yet",
        "fingerprint": told["fingerprint"] or "-",
    }
    click.echo(fields(text))


def _state(at: Desk, signing: SigningKey | None) -> dict[str, Any]:
    from portal import outbox as making  # noqa: PLC0415
    from portal import sealing  # noqa: PLC0415

    with at.database.read() as db:
        found = making.state(db, None if signing is None else signing.public)
    epoch, public = found.epoch, found.gateway
    return {
        **asdict(found.held),
        "most_megabytes": at.config.log.outbox_megabytes,
        "day": epoch.day if epoch else "",
        "dropped": {
            "batches": epoch.dropped_batches if epoch else 0,
            "records": epoch.dropped_records if epoch else {},
        },
        "office": sealing.parse_office_key(at.config.office.key).fingerprint if at.config.office.key else None,
        "epoch": epoch.id if epoch else None,
        "number": epoch.made if epoch else 0,
        "public": None if public is None else public.hex(),
        "fingerprint": None if public is None else sealing.fingerprint(public),
    }


@outbox.command("export")
@_directory
@reading
def outbox_export(directory: Path, site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Write what is not there yet into DIR, like /media/usb. Nothing leaves the outbox by that.

    What is over and not told yet is put into batches first; only root can sign those. A stick may be pulled out or be
    full: then say so, exit with 73, and go on with the next export.
    """
    from portal import batchfiles, privileges  # noqa: PLC0415
    from portal import outbox as making  # noqa: PLC0415
    from portal.store import outbox as store  # noqa: PLC0415

    signing = signing_key(Paths(run_dir, data_dir))
    with desk(site, run_dir, data_dir, as_json) as at:
        filled = None if signing is None else making.fill(at.database, at.config, signing, at.now)
        with at.database.read() as db:
            numbers, waits = store.numbers(db), not store.clock_is_trusted(db, at.now.boot_id)

    def some(wanted: list[tuple[str, int]]) -> list[Stored]:
        with privileges.as_owner_of(at.paths.data):
            try:
                with at.database.read() as db:
                    return store.read(db, wanted)
            finally:
                at.database.close()

    done, failed = batchfiles.Exported(), None
    try:
        for start in range(0, len(numbers), CHUNK):
            found = some(numbers[start : start + CHUNK])
            done.add(batchfiles.export(directory, map(making.to_file, found)))
    except batchfiles.StickError as error:
        done.written += error.written
        failed = error
    if done.written:
        with desk(site, run_dir, data_dir, as_json) as at:
            at.acts.record("outbox.export", "outbox", None, {"batches": done.written})
    if failed is not None:
        message = f"{failed.message} {done.written + done.there} of {len(numbers)} batches are on it."
        refuse(as_json, os.EX_CANTCREAT, "stick", message, failed.hint)
    if as_json:
        made = None if filled is None else asdict(filled)
        print_json({"directory": str(directory), "batches": len(numbers), **asdict(done), "filled": made})
        return
    if filled is not None and waits:
        click.echo("New ones wait until NTP has set the clock: connect the gateway to the Internet.", err=True)
    if not numbers:
        click.echo("The outbox is empty." + ("" if at.config.office.key else " Set office.key in site.toml first."))
        return
    click.echo(f"{directory}: {done.written} batches written, {done.there} were there already.")
    if signing is None:
        click.echo("New ones could not be made: only root can sign. Start it with sudo for those too.", err=True)


@outbox.command("ack")
@click.argument("file", type=FILE)
@reading
def outbox_ack(file: Path, site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Take FILE, which the office signed (`gerbang office ack`), and remove the batches that it names."""
    import sqlite3  # noqa: PLC0415

    from portal import acknowledge, sealing  # noqa: PLC0415
    from portal.administration import Change  # noqa: PLC0415
    from portal.domain.model import Now  # noqa: PLC0415

    content = content_of(file, acknowledge.MAX_BYTES, as_json)
    sealing.load()
    with desk(site, run_dir, data_dir, as_json) as at:
        if at.config.office.key is None:
            hint = "Only the office whose key stands there can acknowledge."
            refuse(as_json, os.EX_CONFIG, "office-key", "site.toml has no office.key.", hint)
        try:
            ack = acknowledge.parse(content, sealing.parse_office_key(at.config.office.key))
        except acknowledge.AckError as error:
            refuse(as_json, os.EX_DATAERR, "ack", error.message, error.hint)

        def take(db: sqlite3.Connection, _: Now) -> Change[int]:
            removed = acknowledge.take(db, ack)
            return Change(removed, "outbox", None, {"batches": removed})

        removed = at.acts.perform("outbox.ack", take).value
    said = {"removed": removed, "made": ack.made}
    at.answer(said, f"{removed} batches that the office has are removed from the outbox.")


@outbox.command("check")
@_directory
@click.option("--key", "key_file", type=FILE, default=None, help="The office's private key: open every batch too.")
@_gateway
@stdin_option
@json_option
def outbox_check(
    *, directory: Path, key_file: Path | None, gateways: tuple[str, ...], from_stdin: bool, as_json: bool
) -> None:
    """Say what is missing, altered, there twice or cut short in DIR. Needs no gateway and, without --key, no secret.

    Exit status 0 if every batch is good and none is missing between two, 65 if not. That more came after the last
    batch, no batch can tell.
    """
    secret = None if key_file is None else unlocked(key_file, from_stdin, as_json)
    report = _checked(directory, gateways, secret, as_json)
    if as_json:
        print_json(_told(report))
    else:
        _say(report)
    sys.exit(os.EX_OK if report.good else os.EX_DATAERR)


@outbox.command("open")
@_directory
@click.option("--key", "key_file", type=FILE, required=True, help="The office's private key.")
@click.option("--output", type=FILE, required=True, help="The file of NDJSON to write; it must not exist yet.")
@click.option("--every", is_flag=True, help="Every batch, not only the revision of each day that holds.")
@_gateway
@stdin_option
@json_option
def outbox_open(
    *,
    directory: Path,
    key_file: Path,
    output: Path,
    every: bool,
    gateways: tuple[str, ...],
    from_stdin: bool,
    as_json: bool,
) -> None:
    """At the office: open what is good in DIR, and write its records, one a line, each with where it is from.

    Of a day that was told again only what holds is written. Exit status as of `gerbang outbox check`.
    """
    from portal import batchfiles  # noqa: PLC0415
    from portal.domain import batchcheck  # noqa: PLC0415

    secret = unlocked(key_file, from_stdin, as_json)
    report = _checked(directory, gateways, secret, as_json)
    every_one = [one for chain in report.chains for one in chain.batches if one.body is not None]
    chosen = every_one if every else batchcheck.holding(report.chains)
    written = 0

    def work(write: Callable[[bytes], object]) -> None:
        nonlocal written
        for one in chosen:
            for line in batchfiles.with_origin(one, secret):
                write(line)
                written += 1

    write_new(output, work, as_json)
    if as_json:
        print_json({"file": str(output), "records": written, **_told(report)})
    else:
        _say(report)
        click.echo(f"{output}: {written} records.")
    sys.exit(os.EX_OK if report.good else os.EX_DATAERR)


# --- parts ----------------------------------------------------------------------------------------------------------


def _checked(directory: Path, gateways: tuple[str, ...], secret: OfficeSecret | None, as_json: bool) -> Report:
    from portal import batchfiles  # noqa: PLC0415

    try:
        return batchfiles.check(directory, gateways, secret)
    except OSError as error:
        message = f"{directory} cannot be read: {error.strerror}."
        refuse(as_json, os.EX_NOINPUT, "directory", message, "Check the path.")


def _told(report: Report) -> dict[str, Any]:
    from portal import sealing  # noqa: PLC0415

    return {
        "good": report.good,
        "chains": [
            {
                "site": chain.batches[0].header.site,
                "gateway": sealing.fingerprint(bytes.fromhex(chain.gateway)),
                "epoch": chain.epoch,
                "first": chain.batches[0].header.number,
                "last": chain.batches[-1].header.number,
                "batches": len(chain.batches),
                "days": [min(days), max(days)],
            }
            for chain in report.chains
            for days in [[one.header.day for one in chain.batches]]
        ],
        "findings": [asdict(found) for found in report.findings],
    }


def _say(report: Report) -> None:
    for chain in _told(report)["chains"]:
        click.echo(
            f"{chain['site']}, gateway {chain['gateway']}, epoch {chain['epoch'][:8]}: batches {chain['first']} to "
            f"{chain['last']}, {chain['batches']} of them here, days {chain['days'][0]} to {chain['days'][1]}"
        )
    for found in report.findings:
        click.echo(f"{found.code.value}: {found.where}: {found.message}")
    if not report.chains and not report.findings:
        click.echo("There are no batches.")
    elif report.good:
        click.echo("All are good.")


COMMANDS = (office, outbox)
