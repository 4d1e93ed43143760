"""Writes a report as an Excel workbook, row after row, so that a year needs little memory. It makes no figure.

Numbers are numbers and days are days, each with its format; texts are written as texts, whatever they begin with.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import IO, Any, Final

import xlsxwriter

from portal.domain.suppression import Hidden
from portal.reports.report import Report, Table
from portal.reports.shown import HIDDEN_WORDS

_A4: Final = 9  # ECMA-376 part 1, 18.3.1.63: paperSize
_ROWS: Final = 1_048_576  # most that a sheet holds
_EPOCH: Final = dt.datetime(1899, 12, 30)  # day 0 of the 1900 date system, from March 1900 on


def write(report: Report, file: IO[bytes]) -> None:
    """Sheets Ringkasan, Per hari, Sesi, Metadata. ``file`` is left open."""
    book = xlsxwriter.Workbook(file, {"constant_memory": True})
    title = f"{report.title}, {report.desa}, {report.period}"
    book.set_properties({"title": title, "author": report.office, "created": report.made.replace(tzinfo=None)})
    writer = _Writer(book, report)
    for tables in ((report.summary,), (report.days,), (report.sessions,), (report.about, report.definitions)):
        writer.sheet(tables)
    book.close()


class _Writer:
    def __init__(self, book: Any, report: Report) -> None:
        self._book = book
        self._report = report
        self._heading = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1})
        self._text = book.add_format({"valign": "top"})
        self._wrapped = book.add_format({"text_wrap": True, "valign": "top"})
        self._hidden = book.add_format({"align": "right", "italic": True, "valign": "top"})
        self._whole = book.add_format({"num_format": "#,##0", "valign": "top"})
        self._day = book.add_format({"num_format": "yyyy-mm-dd", "align": "left", "valign": "top"})
        self._moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss", "align": "left", "valign": "top"})
        self._decimals: dict[int, Any] = {}
        self._put: dict[type, Callable[[Any, int, int, Any], None]] = {
            str: self._put_text,
            int: self._put_whole,
            Decimal: self._put_decimal,
            Hidden: self._put_hidden,
            dt.datetime: self._put_moment,
            dt.date: self._put_day,
        }

    def sheet(self, tables: Sequence[Table]) -> None:
        """A sheet named after the first table; the others stand below it."""
        report, sheet = self._report, self._book.add_worksheet(tables[0].name)
        sheet.set_landscape()
        sheet.set_paper(_A4)
        sheet.set_margins(left=0.4, right=0.4, top=0.8, bottom=0.7)
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(0)
        # In a header & begins a code; twice it is itself.
        title = f"{report.title}: {report.desa}, {report.period}".replace("&", "&&")
        sheet.set_header(f"&L{title}&R{report.classification}")
        sheet.set_footer("&L&A&RHalaman &P dari &N")
        sheet.freeze_panes(1, 0)
        widths = [max(widths) for widths in zip(*(_widths(table, tables) for table in tables), strict=True)]
        for number, width in enumerate(widths):
            sheet.set_column(number, number, width)
        row = 0
        for table in tables:
            row = self._table(sheet, table, row) + 2
        if len(tables) == 1:
            sheet.autofilter(0, 0, max(row - 2, 1), len(tables[0].columns) - 1)

    def _table(self, sheet: Any, table: Table, row: int) -> int:
        """The last row's number."""
        for number, column in enumerate(table.columns):
            sheet.write_string(row, number, column.title, self._heading)
        for cells in table.rows():
            row += 1
            if row >= _ROWS:
                raise ValueError(f"The sheet {table.name} is full.")
            for number, cell in enumerate(cells):
                if cell is not None:
                    self._put[type(cell)](sheet, row, number, cell)
        return row

    def _put_text(self, sheet: Any, row: int, column: int, cell: str) -> None:
        sheet.write_string(row, column, cell, self._wrapped if len(cell) > 40 else self._text)

    def _put_whole(self, sheet: Any, row: int, column: int, cell: int) -> None:
        sheet.write_number(row, column, cell, self._whole)

    def _put_decimal(self, sheet: Any, row: int, column: int, cell: Decimal) -> None:
        sheet.write_number(row, column, float(cell), self._decimal(cell))

    def _put_hidden(self, sheet: Any, row: int, column: int, cell: Hidden) -> None:
        sheet.write_string(row, column, HIDDEN_WORDS[cell], self._hidden)

    def _put_moment(self, sheet: Any, row: int, column: int, cell: dt.datetime) -> None:
        sheet.write_number(row, column, _serial(cell.replace(tzinfo=None)), self._moment)

    def _put_day(self, sheet: Any, row: int, column: int, cell: dt.date) -> None:
        sheet.write_number(row, column, (cell - _EPOCH.date()).days, self._day)

    def _decimal(self, cell: Decimal) -> Any:
        places = -int(cell.as_tuple().exponent)
        if places not in self._decimals:
            self._decimals[places] = self._book.add_format({"num_format": f"#,##0.{'0' * places}", "valign": "top"})
        return self._decimals[places]


def _widths(table: Table, tables: Sequence[Table]) -> list[int]:
    """Of as many columns as the widest table of the sheet has."""
    widths = [column.width for column in table.columns]
    return widths + [0] * (max(len(one.columns) for one in tables) - len(widths))


def _serial(local: dt.datetime) -> float:
    """A moment as spreadsheets count it: days since the epoch, the time of day as their fraction."""
    since = local - _EPOCH
    return since.days + since.seconds / 86_400
