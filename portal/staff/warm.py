"""Has libraries load now what they would load at their first use, when the source may be unreadable. It knows no page.

Privileges are dropped after this (portal.serve). tests/e2e/test_staff.py forbids every read after the start and visits
the pages.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from portal import passwords
from portal.config import SiteConfig
from portal.domain.office import Batch, Voucher
from portal.language import Language
from portal.markdown import to_html
from portal.technician import words
from portal.vouchers import html
from portal.vouchers.sheet import Paper, sheet_of


def warm(config: SiteConfig, languages: Iterable[Language]) -> None:
    """Say one of each kind of thing in each language, print one voucher, check one password."""
    zone = ZoneInfo(config.site.timezone)
    for language in languages:
        language.number(1.5)
        language.size(1_500_000)
        language.rate(1500)
        language.duration(3660)
        language.day(dt.date(2026, 1, 31))
        language.weekdays()
        language.clock(1440)
        language.moment(0.0, 86_400.0, zone)
        words.like(language.code)
    dt.datetime.strptime("2026", "%Y")
    to_html("# a\n\n**b** [c](https://d.example) `e` &amp;\n\n- f\n\n1. g\n\n> h\n\n```\ni\n```\n")
    batch = Batch(1, config.plan[0].id, 1, 0.0, 90_000.0, "", 0.0, "")
    for paper in Paper:
        html.render(sheet_of(config, batch, [Voucher(1, "ABCDEFGH", batch, None, 0)]), paper)
    passwords.verify(None, "")
