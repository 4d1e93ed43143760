"""Writes one table of a report as CSV, in two dialects. It must not know how a figure is made.

``csv`` is RFC 4180 for programs: comma, decimal point, ISO 8601. ``csv-id`` opens right with a double click in an Excel
that is set to Indonesia: UTF-8 with a byte order mark, semicolon, decimal comma. Both end lines with CR LF.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from dataclasses import dataclass
from decimal import Decimal
from typing import IO, Final

from portal.domain.suppression import Hidden
from portal.reports.report import Cell, Table
from portal.reports.shown import HIDDEN_WORDS, harmless


@dataclass(frozen=True, slots=True)
class Dialect:
    delimiter: str
    decimal_point: str
    encoding: str
    with_zone: bool  # moments with their offset from UTC, which Excel would take for a text


DIALECTS: Final = {
    "csv": Dialect(",", ".", "utf-8", with_zone=True),
    "csv-id": Dialect(";", ",", "utf-8-sig", with_zone=False),
}


def write(table: Table, dialect: Dialect, file: IO[bytes]) -> None:
    """The table with its headings. ``file`` is left open."""
    text = io.TextIOWrapper(file, encoding=dialect.encoding, newline="")
    try:
        writer = csv.writer(text, delimiter=dialect.delimiter, lineterminator="\r\n")
        writer.writerow(harmless(column.title) for column in table.columns)
        writer.writerows([_cell(cell, dialect) for cell in row] for row in table.rows())
    finally:
        text.detach()


def _cell(cell: Cell, dialect: Dialect) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return harmless(cell)
    if isinstance(cell, Hidden):
        return HIDDEN_WORDS[cell]
    if isinstance(cell, Decimal):
        return f"{cell:f}".replace(".", dialect.decimal_point)
    if isinstance(cell, dt.datetime):
        return cell.isoformat() if dialect.with_zone else f"{cell:%Y-%m-%d %H:%M:%S}"
    return cell.isoformat() if isinstance(cell, dt.date) else str(cell)
