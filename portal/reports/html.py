"""Writes a report as one HTML file to be printed: A4, letterhead, place for signatures. It makes no figure.

It needs nothing from elsewhere and no scripts. Numbers are written whole, as people in Indonesia write them; the
sessions, which fill volumes, are left to the other formats.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
from collections.abc import Iterator
from decimal import Decimal
from importlib.resources import files
from typing import Final

from babel.dates import format_date
from babel.numbers import format_decimal
from jinja2 import Environment, Template
from markupsafe import Markup

from portal.domain.suppression import Hidden
from portal.reports.report import Cell, Column, Report, Row
from portal.reports.shown import HIDDEN_WORDS

_NUMBER: Final = Markup('<td class="n">{}</td>')
_TEXT: Final = Markup("<td>{}</td>")


def render(report: Report, nonce: str | None = None) -> str:
    """The file. ``nonce``: of the page's content security policy, where it is served and not saved."""
    return _template().render(
        report=report,
        nonce=nonce,
        code=report.code,
        footer=_css_string(f"{report.title}, {report.desa}, {report.period}. Dibuat {report.made:%d/%m/%Y %H.%M}"),
        summary=[
            (part, [row[1:] for row in rows])
            for part, rows in itertools.groupby(report.summary.rows(), key=lambda row: row[0])
        ],
        days=list(_days(report)),
        about=list(report.about.rows()),
        definitions=list(report.definitions.rows()),
        td=_td,
    )


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((files("portal.reports") / "report.html").read_text(encoding="utf-8"))


def _days(report: Report) -> Iterator[tuple[str, str, list[Column], list[Row]]]:
    """Two tables, since all of a day's figures are wider than a page: of people, and of the line."""
    rows, columns = list(report.days.rows()), list(report.days.columns)
    at = report.line_from
    for name, caption, first, last in (
        ("hari", "Penggunaan per hari", 1, at),
        ("jalur", "Jalur internet per hari", at, len(columns)),
    ):
        yield name, caption, [columns[0], *columns[first:last]], [(row[0], *row[first:last]) for row in rows]


def _td(cell: Cell, heads: bool) -> Markup:
    """A cell of a table; the first of a row says what the row is about."""
    if heads:
        return Markup('<th scope="row">{}</th>').format(_text(cell))
    if isinstance(cell, Hidden):
        return Markup('<td class="h">{}</td>').format(HIDDEN_WORDS[cell])
    return (_NUMBER if isinstance(cell, int | Decimal) else _TEXT).format(_text(cell))


def _text(cell: Cell) -> str:
    match cell:
        case None:
            text = ""
        case Hidden():
            text = HIDDEN_WORDS[cell]
        case int():
            text = f"{cell:,}".replace(",", ".")
        case Decimal():
            text = format_decimal(cell, f"#,##0.{'0' * -int(cell.as_tuple().exponent)}", locale="id")
        case dt.datetime():
            text = _time(cell.isoformat(), f"{_day(cell.date())} {cell:%H.%M.%S}")
        case dt.date():
            text = _time(cell.isoformat(), _day(cell))
        case str():
            text = cell
    return text


def _time(exact: str, shown: str) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(exact, shown)


def _day(day: dt.date) -> str:
    return str(format_date(day, "d MMM y", locale="id"))


def _css_string(text: str) -> str:
    """As it stands between quotes in a style sheet (CSS Syntax 3, 4.3.7): all but letters, digits and the plainest
    signs as their number, so that no name ends the string or the style.
    """
    return "".join(one if one.isalnum() or one in " .,:" else f"\\{ord(one):06x}" for one in text)
