"""Commands for the usage log as it is kept: check, show, follow, export. It must not know what is made of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from portal.cli_acting import Desk, command, desk, reading, refuse
from portal.cli_parts import FILE, print_json
from portal.domain.journal import Kind

if TYPE_CHECKING:
    from portal.domain.journalcheck import Finding, Head, Raw, Verdict
    from portal.domain.walltime import Clocks

_AGAIN_S = 1.0
_SHOWN_FINDINGS = 10


@click.group()
def journal() -> None:
    """The usage log: what happened, entry by entry, each chained to the one before."""


# --- verify ---------------------------------------------------------------------------------------------------------


def _head(_: click.Context, __: click.Parameter, value: str | None) -> Head | None:
    if value is None:
        return None
    if (found := re.fullmatch(r"(?:([1-9][0-9]*):)?([0-9a-fA-F]{64})", value)) is None:
        raise click.BadParameter("it is a number, a colon and 64 hexadecimal digits, or these digits alone.")
    return None if found[1] is None else int(found[1]), bytes.fromhex(found[2])


@journal.command("verify")
@click.argument("file", type=FILE, required=False)
@click.option("--head", callback=_head, metavar="[SEQ:]HASH", help="An entry as it was once: it must still be so.")
@reading
def verify(
    file: Path | None,
    head: Head | None,
    *,
    site: Path | None,
    run_dir: Path,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Check the log's chain, and name the first entry that was altered, is missing or out of order.

    FILE is one of `journal export`; without it the gateway's own log is read, and compared with the audit trail.
    Exit status 0 if it is whole, 65 if not. Note the head that it prints: with --head, a log that was cut short or
    written anew is noticed too. A report's metadata has the hash of one.
    """
    if file is not None:
        from portal import journalfile  # noqa: PLC0415
        from portal.domain import journalcheck  # noqa: PLC0415

        try:
            with journalfile.opened(file, "rb") as found:
                heads = [journalfile.head(found), *([] if head is None else [head])]
                verdict = journalcheck.verify(journalfile.read(found), heads=heads)
        except OSError as error:
            refuse(as_json, os.EX_NOINPUT, "file", f"{file} cannot be read: {error.strerror}.", "Check the path.")
        except journalfile.JournalFileError as error:
            refuse(as_json, os.EX_DATAERR, "journal-file", f"{file}: {error}", "Export it again, and copy it whole.")
        _say(verdict, as_json, _when)
    else:
        from portal.store import journalread as stored  # noqa: PLC0415

        with desk(site, run_dir, data_dir, as_json) as at:
            with at.database.read() as db:
                verdict = stored.check(db, head)
                clocks = stored.clocks(db)
            _say(verdict, as_json, lambda raw: _times(at, clocks, raw)[0])


def _when(raw: Raw) -> str:
    """As its clock went, in the local time of whoever asks."""
    return f"{_local(raw.wall_ms, None)}"


def _say(verdict: Verdict, as_json: bool, when: Any) -> None:
    head = f"{verdict.seq}:{verdict.hash.hex()}"
    sentences = [_sentence(found, when) for found in verdict.findings]
    if as_json:
        print_json(
            {
                "whole": not sentences,
                "entries": verdict.entries,
                "erased": verdict.erased,
                "lost": verdict.lost,
                "head": head if verdict.seq else None,
                "findings": [
                    {
                        "wrong": found.wrong.value,
                        "first": found.first,
                        "last": found.last,
                        "kind": found.entry and found.entry.kind,
                        "wall_ms": found.entry and found.entry.wall_ms,
                        "message": sentence,
                    }
                    for found, sentence in zip(verdict.findings, sentences, strict=True)
                ],
                "more": verdict.more,
            }
        )
    elif not sentences:
        gone = "".join(
            f", {count} {how}" for count, how in ((verdict.erased, "erased"), (verdict.lost, "lost")) if count
        )
        click.echo(f"The log is whole: {verdict.entries} entries{gone}.")
        click.echo(f"head {head}" if verdict.seq else "It has no entry yet.")
    else:
        for sentence in sentences[:_SHOWN_FINDINGS]:
            click.echo(sentence, err=True)
        if more := len(sentences[_SHOWN_FINDINGS:]) + verdict.more:
            click.echo(f"And {more} more.", err=True)
    sys.exit(os.EX_DATAERR if sentences else os.EX_OK)


def _sentence(found: Finding, when: Any) -> str:
    which = f"Entry {found.first}" if found.first == found.last else f"Entries {found.first} to {found.last}"
    are = "is" if found.first == found.last else "are"
    entry = "" if found.entry is None else f"{found.entry.seq} ({found.entry.kind}, {when(found.entry)})"
    match found.wrong.value:
        case "altered":
            said = f"Entry {entry} was altered: its contents do not fit its hash."
        case "missing":
            said = f"{which} {are} missing, " + (f"before {entry}." if entry else "and the log ends there.")
        case "unaccounted":
            said = f"{which} {are} gone in part or whole, and no entry tells of as many erased or lost."
        case "order":
            other = "" if found.first == found.last else f", and {found.last} stands in its place or before it"
            said = f"Entry {found.first} is out of order{other}: {entry}." if entry else f"{which} {are} out of order."
        case "audit":
            said = f"Entry {entry} tells of an act that the audit trail has otherwise, or not at all."
        case "unknown":
            said = "No entry has the hash that was given: the log was cut short or written anew, or that entry was "
            said += "erased or lost since."
        case _:
            said = f"{which} has another hash than the one given: the log was written anew" + (
                f" ({found.entry.kind}, {when(found.entry)})." if found.entry else "."
            )
    return said


# --- show, follow ---------------------------------------------------------------------------------------------------


@command(
    journal,
    "show",
    click.option("--from", "begin", metavar="WHEN", help="2026-12-31, 2026-12-31T16:00 or 16:00, corrected time."),
    click.option("--until", metavar="WHEN", help="The same; a day is its end."),
    click.option(
        "--kind", "kinds", type=click.Choice([kind.value for kind in Kind]), multiple=True, help="Only these."
    ),
    click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest so many."),
)
def show(at: Desk, begin: str | None, until: str | None, kinds: tuple[str, ...], limit: int) -> None:
    """Show entries, the newest last: corrected time, raw time of the wall clock as it went, and which to believe.

    The clock was "set" by NTP when the entry was written; or its time is "corrected" by what NTP set later in that
    boot; or NTP never came in that boot, and the time is "uncertain".
    """
    from portal.store import journalread as stored  # noqa: PLC0415

    first_wall_s, last_wall_s = at.moment(begin), at.moment(until, end=True)
    found: list[Raw] = []
    with at.database.read() as db:
        clocks = stored.clocks(db)
        for raw in stored.newest_first(db, kinds):
            wall_s = _corrected(clocks, raw)[0] / 1000
            if (first_wall_s is None or wall_s >= first_wall_s) and (last_wall_s is None or wall_s < last_wall_s):
                found.append(raw)
                if len(found) == limit:
                    break
    found.reverse()
    if at.as_json:
        print_json([_as_json(clocks, raw) for raw in found])
    else:
        for raw in found:
            click.echo(_line(at, clocks, raw))


@command(
    journal,
    "follow",
    click.option("-n", "last", type=click.IntRange(0), default=10, show_default=True, help="Begin with so many."),
)
def follow(at: Desk, last: int) -> None:
    """Show the last entries, and each new one as it comes, until Ctrl-C. With --json, one object a line."""
    from portal.domain.walltime import Clocks  # noqa: PLC0415
    from portal.store import journal as log  # noqa: PLC0415
    from portal.store import journalread as stored  # noqa: PLC0415

    clocks, seq = Clocks(), None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            with at.database.read() as db:
                if seq is None:
                    clocks = stored.clocks(db)
                    seq = max(0, log.head(db)[0] - last)
                new = list(stored.after(db, seq))
            for raw in new:
                if (entry := stored.entry(raw)) is not None:
                    clocks.add(entry)
                said = json.dumps(_as_json(clocks, raw), ensure_ascii=False) if at.as_json else _line(at, clocks, raw)
                click.echo(said)
                seq = raw.seq
            time.sleep(_AGAIN_S)


def _corrected(clocks: Clocks, raw: Raw) -> tuple[int, bool]:
    """Where nothing is known of a boot, the raw time is all there is."""
    return clocks.corrected(raw.boot_id, raw.boot_ms) or (raw.wall_ms, False)


def _times(at: Desk, clocks: Clocks, raw: Raw) -> tuple[str, str, str]:
    """Corrected time, raw time, which to believe."""
    wall_ms, certain = _corrected(clocks, raw)
    believe = "uncertain" if not certain else "set" if raw.trusted else "corrected"
    return _local(wall_ms, at.zone), _local(raw.wall_ms, at.zone), believe


def _local(wall_ms: int, zone: dt.tzinfo | None) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(wall_ms / 1000, zone):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # altered
        return f"{wall_ms} ms"


def _line(at: Desk, clocks: Clocks, raw: Raw) -> str:
    from portal.store import journalread as stored  # noqa: PLC0415

    corrected, showed, believe = _times(at, clocks, raw)
    entry = stored.entry(raw)
    said = raw.body if entry is None else " ".join(f"{key}={_value(value)}" for key, value in entry.body.items())
    return f"{raw.seq:>7}  {corrected}  {showed}  {believe:<9}  {raw.kind:<7}  {said}".rstrip()


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _as_json(clocks: Clocks, raw: Raw) -> dict[str, Any]:
    from portal.store import journalread as stored  # noqa: PLC0415

    entry = stored.entry(raw)
    wall_ms, certain = _corrected(clocks, raw)
    return {
        "seq": raw.seq,
        "kind": raw.kind,
        "corrected_wall_ms": wall_ms,
        "certain": certain,
        "wall_ms": raw.wall_ms,
        "trusted": bool(raw.trusted),
        "boot_id": raw.boot_id,
        "boot_ms": raw.boot_ms,
        "body": raw.body if entry is None else entry.body,
        "hash": raw.hash.hex(),
    }


# --- export ---------------------------------------------------------------------------------------------------------


@journal.command("export")
@click.argument("file", type=FILE)
@reading
def export(file: Path, *, site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Copy the whole log into FILE: one JSON object a line, compressed if the name ends in .gz.

    It holds pseudonyms of devices and times: keep it like the gateway itself. `journal verify FILE` checks it anywhere.
    """
    from portal import journalfile  # noqa: PLC0415
    from portal.store import journal as log  # noqa: PLC0415
    from portal.store import journalread as stored  # noqa: PLC0415

    with (
        _new(file, as_json) as out,
        desk(site, run_dir, data_dir, as_json) as at,
        at.database.read() as db,
    ):
        head = log.head(db)
        count = journalfile.write(out, stored.chain(db), site=at.config.site.code, head=head)
    if as_json:
        print_json({"file": str(file), "entries": count, "head": f"{head[0]}:{head[1].hex()}" if head[0] else None})
    else:
        click.echo(f"{count} entries are in {file}.")


@contextlib.contextmanager
def _new(file: Path, as_json: bool) -> Iterator[IO[bytes]]:
    """A new file with the caller's own rights, for its owner alone; gone again if it does not come to its end."""
    from portal import journalfile  # noqa: PLC0415

    before = os.umask(0o077)
    try:
        out = journalfile.opened(file, "xb")
    except FileExistsError:
        refuse(as_json, os.EX_CANTCREAT, "exists", f"{file} exists already, and is not overwritten.", "Name another.")
    except OSError as error:
        refuse(as_json, os.EX_CANTCREAT, "write", f"{file} cannot be written: {error.strerror}.", "Check the path.")
    finally:
        os.umask(before)
    try:
        with out:
            yield out
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        file.unlink(missing_ok=True)
        refuse(as_json, os.EX_CANTCREAT, "write", f"{file} cannot be written: {error.strerror}.", "Make room for it.")
    except BaseException:
        file.unlink(missing_ok=True)
        raise


COMMANDS = (journal,)
