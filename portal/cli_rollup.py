"""Commands for the figures that are made of the usage log: how far they go, and all anew. It must not know how."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from portal.cli_acting import desk, reading

_PART = 2000  # entries in one transaction: whoever logs in meanwhile waits for no more than that
_ONE_DAY = dt.timedelta(days=1)


@click.group(invoke_without_command=True)
@reading
@click.pass_context
def rollup(context: click.Context, *, site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Say how far the figures of hours and days have followed the usage log.

    They are made of it by whoever shows them, and each hour.
    """
    if context.invoked_subcommand is not None:
        return
    from portal.store import journal, rollups  # noqa: PLC0415

    with desk(site, run_dir, data_dir, as_json) as at:
        with at.database.read() as db:
            (seq, _), behind = journal.head(db), rollups.behind(db, at.zone)
            first, last = rollups.first_day(db, at.zone), rollups.last_day(db, at.zone)
        days = {"first_day": first and first.isoformat(), "last_day": last and last.isoformat()}
        days_text = f"There are figures from {first} to {last}." if first else "There are no figures yet."
        at.answer(
            {"taken_in": seq - behind, "not_taken_in": behind, **days},
            f"Entries taken in: {seq - behind} of {seq}.\n{days_text}",
        )


@rollup.command("rebuild")
@reading
def rebuild(*, site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Make all figures of hours and days again from the usage log, and say whether any has changed.

    None does, unless the database was damaged. Days whose entries were erased, since they were kept long enough, stay
    as they are. People log in meanwhile; pages and reports wait.
    """
    from portal.store import rollups  # noqa: PLC0415

    with desk(site, run_dir, data_dir, as_json) as at:
        with at.database.write() as db:
            rollups.catch_up(db, at.zone)
            last = rollups.last_day(db, at.zone)
            until = dt.date.min if last is None else last - _ONE_DAY  # the last one goes on meanwhile
            before = rollups.fingerprint(db, until)
            rollups.begin_again(db, at.zone)
        entries = 0
        while True:
            with at.database.write() as db:
                taken = rollups.catch_up(db, at.zone, _PART)
                if not rollups.behind(db, at.zone):
                    break
            entries += taken
        entries += taken
        with at.database.read() as db:
            same = rollups.fingerprint(db, until) == before
        told = f"All figures up to {until} are as they were." if same else "Some figures are others than before."
        at.answer({"entries": entries, "changed": not same}, f"Made again from {entries} entries. {told}")


COMMANDS = (rollup,)
