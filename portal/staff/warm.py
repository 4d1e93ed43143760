"""Has libraries load now what they would load at their first use, when the source may be unreadable. It knows no page.

Privileges are dropped after this (portal.serve). tests/e2e/test_staff.py forbids every read after the start and visits
the pages.
"""

from __future__ import annotations

import datetime as dt

from portal import certificate, passwords, release, site  # noqa: F401 - two of them are for later
from portal.config import SiteConfig
from portal.domain.office import Batch, Voucher
from portal.markdown import to_html
from portal.reports import files
from portal.staff.review import charts
from portal.technician import words
from portal.vouchers import html
from portal.vouchers.sheet import Paper, sheet_of


def warm(config: SiteConfig) -> None:
    """Check one site.toml with mistakes, print one voucher, check one password, render one of each kind of Markdown and
    of each kind of chart, write one report in each format."""
    words.languages()
    files.warm()
    for kind in charts.Kind:
        series = [charts.Series("a", [1.5, None]), charts.Series("b", [2.0, 1.0])]
        for size in charts.Size:
            charts.draw(charts.Drawing(kind, ["1", "2"], series, str, "", ("-", [False, True])), size, "")
    site.check_text("any", '[sit]\n[site]\ncode = "64.03.01.2001"\ntimezone = "WITA"\n', files=False, here=True)
    dt.datetime.strptime("2026", "%Y")
    to_html("# a\n\n**b** [c](https://d.example) `e` &amp;\n\n- f\n\n1. g\n\n> h\n\n```\ni\n```\n")
    batch = Batch(1, config.plan[0].id, 1, 0.0, 90_000.0, "", 0.0, "")
    for paper in Paper:
        html.render(sheet_of(config, batch, [Voucher(1, "ABCDEFGH", batch, None, 0)]), paper)
    passwords.verify(None, "")
