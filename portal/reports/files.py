"""Writes a report in the format that was asked for. It must not know who asks, nor how a format is written.

Whoever gives up rights calls `warm` before: the source may be unreadable afterwards.
"""

from __future__ import annotations

import datetime as dt
import io
from typing import IO, Final

from portal.config import Site, SiteConfig
from portal.domain.rollup import PeriodFigures, Quality
from portal.reports import delimited, html, words, xlsx
from portal.reports.report import Report
from portal.reports.tables import Source, make
from portal.technician import words as technician

HTML: Final = "html"
XLSX: Final = "xlsx"
FORMATS: Final = (XLSX, *delimited.DIALECTS, HTML)


def write(report: Report, form: str, table: str, file: IO[bytes], nonce: str | None = None) -> None:
    """``table`` is that of CSV, which holds but one (Report.tables); ``nonce`` of the policy of a page that is served.

    ``file`` is left open.
    """
    if form == XLSX:
        xlsx.write(report, file)
    elif form == HTML:
        file.write(html.render(report, nonce).encode())
    else:
        delimited.write(report.tables[table], delimited.DIALECTS[form], file)


def warm() -> None:
    """Load what is read at the first use: words, templates, a language's numbers and months."""
    words.languages()
    technician.languages()
    day = dt.date(2026, 1, 1)
    figures = PeriodFigures(day, day, 0, 0, None, 0, None, 0, 0, 0, 0, {}, {}, Quality(None, None, None, None), {})
    config = SiteConfig(site=Site(code="64.03.01.2001"))
    report = make(Source(config, day, day, [], lambda _: figures, lambda _: [], b"", 0.0))
    for form in FORMATS:
        write(report, form, "hari", io.BytesIO())
