"""Commands of the NAT log: its state, the look-up, the export. It must not know how it is done."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from portal.cli_acting import desk, fields, login_name, reading, refuse, table
from portal.cli_keys import signing_key, stdin_option, unlocked, write_new
from portal.cli_parts import FILE, options, print_json
from portal.paths import Paths

if TYPE_CHECKING:
    from portal.domain.natlog import Question
    from portal.natlook import Dated, Found
    from portal.sealing import OfficeSecret, SigningKey

PAGE = 100  # chunks read at once for an export


@click.group(invoke_without_command=True)
@reading
@click.pass_context
def natlog(context: click.Context, site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Who spoke with which address when, where log.nat is on: without a command, say what there is of it."""
    if context.invoked_subcommand is not None:
        return
    from portal.domain.natlog import covers  # noqa: PLC0415
    from portal.store import natlog as store  # noqa: PLC0415

    with desk(site, run_dir, data_dir, as_json) as at:
        with at.database.read() as db:
            held, clock = store.held(db), store.Clock(db)
        since_s = None if held.oldest is None else covers(held.oldest, clock.times(held.oldest))[0] / 1000
        until_s = None if held.newest is None else covers(held.newest, clock.times(held.newest))[1] / 1000
        on, log = at.config.log.nat, at.config.log
        told = {
            "on": on,
            "days": log.nat_days,
            "most_megabytes": log.nat_megabytes,
            "chunks": held.chunks,
            "bytes": held.bytes,
            "connections": held.connections,
            "lost_at_least": held.lost,
            "dropped": held.dropped,
            "erased_or_dropped_until": held.gone,
            "since_wall_s": since_s,
            "until_wall_s": until_s,
        }
        text = {
            "log": "on" if on else "off",
            "kept for": f"{log.nat_days} days",
            "from": at.when(since_s),
            "until": at.when(until_s),
            "chunks": held.chunks,
            "connections": held.connections,
            "size": f"{held.bytes / 1e6:.1f} MB of {log.nat_megabytes} MB",
            "lost": f"{held.lost} sightings or more" if held.lost else "nothing that is known",
            "dropped for want of room": f"{held.dropped} connections",
        }
        at.answer(told, fields(text))


@natlog.command("verify")
@reading
def natlog_verify(site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Read all of it, and say what is missing or altered. Exit status 0: nothing is, 69: something is."""
    from portal.store import natlog as store  # noqa: PLC0415

    with desk(site, run_dir, data_dir, as_json) as at:
        with at.database.read() as db:
            faults, chunks = store.faults(db, at.config.site.code), store.held(db).chunks
        at.answer(
            {"chunks": chunks, "faults": faults}, "\n".join(faults) or f"{chunks} chunks, none missing or altered."
        )
    if faults:
        raise SystemExit(os.EX_UNAVAILABLE)


# --- look-up --------------------------------------------------------------------------------------------------------

PORT = click.IntRange(1, 65535)
_question = options(
    click.option("--address", required=True, help="The outside address that was seen."),
    click.option("--port", type=PORT, default=None, help="Its port; without one, whoever used the address is found."),
    click.option("--protocol", type=click.Choice(["tcp", "udp", "icmp", "icmpv6", "sctp"]), default=None),
    click.option("--to", default=None, help="The address that was spoken with."),
    click.option("--to-port", type=PORT, default=None, help="Its port."),
    click.option("--at", required=True, help="When: 2026-10-14T20:15:30, or with an offset, +08:00."),
    click.option(
        "--window",
        "window_s",
        type=click.IntRange(1, 3600),
        default=60,
        show_default=True,
        help="So many seconds before and after it, for clocks that differ.",
    ),
)
_act = options(
    click.option("--key", "key", type=FILE, required=True, help="The office's private key."),
    click.option("--reason", required=True, help="Why: number and date of the request."),
    click.option("--by", required=True, help="Who asks."),
    click.option("--out", type=FILE, required=True, help="The signed protocol; the file must not exist yet."),
    click.option(
        "--from", "source", type=FILE, default=None, help="Look into this export, not into the gateway's log."
    ),
    stdin_option,
)


@natlog.command("lookup")
@_question
@_act
@reading
def natlog_lookup(
    *,
    key: Path,
    reason: str,
    by: str,
    out: Path,
    source: Path | None,
    from_stdin: bool,
    site: Path | None,
    run_dir: Path,
    data_dir: Path,
    as_json: bool,
    **asked: Any,
) -> None:
    """Say who had an outside address at a time, for a lawful request; only with the office's private key.

    Opens the chunks around that time and no others. The look-up is in the audit trail before anything is opened, and
    the protocol, signed by the office and the gateway, is in FILE before anything is shown: without both there is no
    answer. Exit status 65: the key does not fit, or there is nothing of that time.
    """
    from portal import natlook  # noqa: PLC0415

    if out.exists():
        refuse(as_json, os.EX_CANTCREAT, "exists", f"{out} exists already, and is not overwritten.", "Name another.")
    for name, text in (("reason", reason), ("by", by)):
        if not text.strip() or len(text) > 200 or not text.isprintable():
            refuse(as_json, os.EX_DATAERR, name, f"--{name} must be a line of 1 to 200 characters.", "Say it in words.")
    paths = Paths(run_dir, data_dir)
    act = Act(by, reason, out, asked, as_json)
    try:
        if source is None:
            _look_up_here(act, lambda: unlocked(key, from_stdin, as_json), site, paths)
        else:
            _look_up_there(act, lambda: unlocked(key, from_stdin, as_json), source)
    except natlook.NatLogError as error:
        refuse(as_json, os.EX_DATAERR, error.code, error.message, error.hint)


@dataclass(frozen=True, slots=True)
class Act:
    """One look-up, as it was asked for; ``asked`` is what portal.natlook.question needs."""

    by: str
    reason: str
    out: Path
    asked: dict[str, Any]
    as_json: bool
    identity: str = field(default_factory=lambda: secrets.token_hex(8))

    def question(self, zone: ZoneInfo) -> Question:
        from portal import natlook  # noqa: PLC0415

        return natlook.question(**self.asked, zone=zone)

    def answered(
        self,
        site: str,
        asked: Question,
        found: Found,
        *,
        macs: dict[int, str],
        zone: ZoneInfo,
        wall_s: float,
        secret: OfficeSecret,
        gateway: SigningKey | None,
    ) -> tuple[bytes, bytes]:
        """The answer, and the protocol, which is on the disk now."""
        from portal import natlook  # noqa: PLC0415

        answer = natlook.answer(self.identity, site, asked, found, macs=macs, zone=zone)
        protocol = natlook.protocol(
            self.identity,
            site,
            asked,
            found,
            answer,
            by=self.by,
            account=login_name(),
            reason=self.reason,
            wall_s=wall_s,
            zone=zone,
            secret=secret,
            gateway=gateway,
        )
        write_new(self.out, protocol, self.as_json)
        return answer, protocol

    def show(self, answer: bytes) -> None:
        told = json.loads(answer)
        if self.as_json:
            print_json(told)
            return
        rows = [
            (
                one["from"] if one["begin_seen"] else f"before {one['from']}",
                one["until"] if one["end_seen"] else f"after {one['until']}",
                one["open_then"],
                f"{one['inner']} {one['inner_port']}",
                f"{one['outer']} {one['outer_port']}",
                f"{one['protocol']} {one['to']} {one['to_port']}",
                one["session"],
                one["device"] or "-",
                one["mac"] or "erased",
            )
            for one in told["connections"]
        ]
        head = ("from", "until", "open then", "inside", "outside", "to", "session", "device", "MAC")
        click.echo(table(head, rows) if rows else "Nobody that the log has seen.")
        for first, last in told["uncovered"]:
            click.echo(f"Of {first} to {last} the log says nothing.")
        if told["lost_at_least"]:
            click.echo(f"At least {told['lost_at_least']} sightings were lost around that time.")
        for fault in told["faults"]:
            click.echo(fault)
        if told["not_opened"]:
            click.echo(f"{len(told['not_opened'])} chunks of that time are sealed for another key.")
        if any(not one["clock_certain"] for one in told["connections"]):
            click.echo("The gateway's clock was not set then: these times are uncertain.")
        click.echo(f"The protocol is in {self.out}.")


def _look_up_here(act: Act, unlock: Callable[[], OfficeSecret], site: Path | None, paths: Paths) -> None:
    """In the gateway's own log. What is read, is read with the rights of the data's owner; keys and files with ours."""
    from portal import natlook  # noqa: PLC0415
    from portal.store import natlog as store  # noqa: PLC0415

    signing = signing_key(paths)
    if signing is None:
        hint = "Start it with sudo."
        refuse(act.as_json, os.EX_NOPERM, "permission", "Only root can sign the protocol with the gateway's key.", hint)
    secret = unlock()
    with desk(site, paths.run, paths.data, act.as_json) as at:
        code, zone = at.config.site.code, at.zone
        asked = act.question(zone)
        with at.database.read() as db:
            times = store.Clock(db)
            numbers = natlook.needed(asked, [(head, times.times(head)) for head in store.heads(db)])
        what = {
            "by": act.by,
            "reason": act.reason,
            **{name: told for name, told in natlook.asked_text(asked, zone).items() if told is not None},
            "chunks": len(numbers),
            "office": secret.key.fingerprint,
        }
        at.acts.record("natlog.lookup", f"lookup {act.identity}", after=what)
        with at.database.read() as db:
            chunks = [natlook.Dated(chunk, times.times(chunk.head)) for chunk in store.chunks(db, numbers)]
            faults = store.faults(db, code, numbers)
        found = natlook.find(code, secret, asked, chunks, faults)
        with at.database.read() as db:
            macs = store.macs(db, sorted({one.span.session for one in found.answers}))
    answer, protocol = act.answered(
        code, asked, found, macs=macs, zone=zone, wall_s=at.now.wall_s, secret=secret, gateway=signing
    )
    try:
        with desk(site, paths.run, paths.data, act.as_json) as at:
            done = {
                "connections": len(found.answers),
                "answer_sha256": hashlib.sha256(answer).hexdigest(),
                "protocol_sha256": hashlib.sha256(protocol).hexdigest(),
            }
            at.acts.record("natlog.answer", f"lookup {act.identity}", after=done)
    except BaseException:
        act.out.unlink(missing_ok=True)  # nothing was answered
        raise
    act.show(answer)


def _look_up_there(act: Act, unlock: Callable[[], OfficeSecret], source: Path) -> None:
    """In an export, wherever that is. The protocol, which the office signs, is the only trace there."""
    import time  # noqa: PLC0415

    from portal import natlook  # noqa: PLC0415

    try:
        exported = natlook.Exported.load(source)
        zone = ZoneInfo(exported.zone)
        asked = act.question(zone)
        numbers = natlook.needed(asked, exported.heads())
        chunks, faults = exported.read(numbers)
    except OSError as error:
        refuse(act.as_json, os.EX_NOINPUT, "read", f"{source} cannot be read: {error.strerror}.", "Check the path.")
    secret = unlock()
    found = natlook.find(exported.site, secret, asked, chunks, faults)
    answer, _ = act.answered(
        exported.site, asked, found, macs={}, zone=zone, wall_s=time.time(), secret=secret, gateway=None
    )
    act.show(answer)
    if not act.as_json:
        click.echo(f"The export was signed by the gateway {exported.gateway}: compare.")


# --- export ---------------------------------------------------------------------------------------------------------


@natlog.command("export")
@click.argument("file", type=FILE)
@reading
def natlog_export(file: Path, site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Write all of it into FILE, still sealed, so that the office can look up without the gateway."""
    from portal import natlook, privileges  # noqa: PLC0415
    from portal.store import natlog as store  # noqa: PLC0415

    signing = signing_key(Paths(run_dir, data_dir))
    if signing is None:
        refuse(as_json, os.EX_NOPERM, "permission", "Only root can sign an export.", "Start it with sudo.")
    with desk(site, run_dir, data_dir, as_json) as at:
        with at.database.read() as db:
            times, heads = store.Clock(db), store.heads(db)
        numbers = [head.number for head in heads]
        if not numbers:
            refuse(as_json, os.EX_DATAERR, "nothing", "The NAT log is empty.", "It is written where log.nat is on.")
        at.acts.record(
            "natlog.export", "natlog", after={"chunks": len(numbers), "first": numbers[0], "last": numbers[-1]}
        )

    def some(wanted: Sequence[int]) -> list[Dated]:
        with privileges.as_owner_of(at.paths.data):
            try:
                with at.database.read() as db:
                    return [natlook.Dated(chunk, times.times(chunk.head)) for chunk in store.chunks(db, wanted)]
            finally:
                at.database.close()

    def pages() -> Iterator[list[Dated]]:
        for start in range(0, len(numbers), PAGE):
            yield some(numbers[start : start + PAGE])

    config = at.config.site

    def write_all(write: Callable[[bytes], object]) -> None:
        natlook.export(config.code, config.timezone, signing, pages(), write)

    write_new(file, write_all, as_json)
    at.answer(
        {"file": str(file), "chunks": len(numbers), "gateway": signing.fingerprint},
        f"{file}: {len(numbers)} chunks, signed by the gateway {signing.fingerprint}.",
    )


COMMANDS = (natlog,)
