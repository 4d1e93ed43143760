"""The command that writes reports for the office. It must not know how a figure is made or a format written."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from portal.cli_acting import Desk, desk, reading, refuse
from portal.cli_parts import FILE, options, print_json

if TYPE_CHECKING:
    import datetime as dt

FORMATS = ("xlsx", "csv", "csv-id", "html")
TABLES = ("ringkasan", "hari", "sesi", "metadata", "definisi")


@click.command()
@options(
    click.option("--month", metavar="MONTH", help="Of this month, like 2026-10."),
    click.option("--year", metavar="YEAR", help="Of this year instead."),
    click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="xlsx",
        show_default=True,
        help="A workbook; a table for programs, or for an Excel set to Indonesian; or pages to print.",
    ),
    click.option(
        "--table",
        type=click.Choice(TABLES),
        default="hari",
        show_default=True,
        help="Which table; a CSV file holds one.",
    ),
    click.option("--out", type=FILE, help="The file to write; it must not exist yet.  [default: standard output]"),
    reading,
)
def report(
    *,
    month: str | None,
    year: str | None,
    form: str,
    table: str,
    out: Path | None,
    site: Path | None,
    run_dir: Path,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Write a report of a month or a year for the office.

    Groups of fewer than 5 devices are hidden in it, and sums leave them out. Today is not in it: it is not over. The
    export is in the audit trail.
    """
    period = _period(month, year)
    if out is not None and out.exists():
        refuse(as_json, os.EX_CANTCREAT, "file", f"{out} exists already.", "Name another file, or remove it first.")
    if out is None and as_json:
        raise click.UsageError("With --json the report goes into a file: name it with --out.")
    if out is None and form == "xlsx" and sys.stdout.isatty():
        raise click.UsageError("A workbook is not for a screen: name a file with --out.")
    from portal.reports import files  # noqa: PLC0415

    files.warm()
    with tempfile.TemporaryFile() as file:  # whole before a byte of it is where somebody may take it for a report
        with desk(site, run_dir, data_dir, as_json) as at:
            _make(at, period, form, table, file)
        file.seek(0)
        _hand_over(file, out, as_json)


def _period(month: str | None, year: str | None) -> tuple[dt.date, dt.date]:
    from portal.reports import reading as reports  # noqa: PLC0415

    if (month is None) == (year is None):
        raise click.UsageError("Name a month with --month, or a year with --year.")
    found = reports.month(month) if month is not None else reports.year(year or "")
    if found is None:
        what = f"{month!r} is no month like 2026-10." if month is not None else f"{year!r} is no year like 2026."
        raise click.UsageError(what)
    return found


def _make(at: Desk, period: tuple[dt.date, dt.date], form: str, table: str, file: IO[bytes]) -> None:
    from portal.reports import files  # noqa: PLC0415
    from portal.reports import reading as reports  # noqa: PLC0415
    from portal.store import rollups  # noqa: PLC0415

    with at.database.write() as db:
        rollups.catch_up(db, at.zone)
    with at.database.read() as db:
        found = reports.read(db, at.config, *period, at.now.wall_s)
        if found is not None:
            files.write(found, form, table, file)
    if found is None:
        message = f"There is no log of any day of {period[0]} to {period[1]} that is over."
        refuse(at.as_json, os.EX_DATAERR, "report-empty", message, "Name a month in which the gateway ran.")
    at.acts.record(
        "report.export", f"report {found.stem}", after={"format": form} | ({"table": table} if "csv" in form else {})
    )


def _hand_over(file: IO[bytes], out: Path | None, as_json: bool) -> None:
    if out is None:
        shutil.copyfileobj(file, sys.stdout.buffer)
        return
    try:
        with out.open("xb") as target:
            shutil.copyfileobj(file, target)
    except OSError as error:
        message = f"The file {out} cannot be written: {error.strerror}."
        refuse(as_json, os.EX_CANTCREAT, "file", message, "Name a file in a directory that you may write, with room.")
    if as_json:
        print_json({"file": str(out), "bytes": out.stat().st_size})
    else:
        click.echo(f"The report is in {out}.")


COMMANDS = (report,)
