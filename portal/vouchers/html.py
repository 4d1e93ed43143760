"""Writes a sheet of vouchers as one HTML file that any browser prints, without anything from elsewhere.

It must not know where the words or the codes come from.
"""

from __future__ import annotations

import functools
from importlib.resources import files

from jinja2 import Environment, Template

from portal.vouchers.sheet import QUIET_MODULES, Paper, Sheet, qr_rows, runs

CARDS_ON_A4 = 32  # four in a row, as in sheet.html


def render(sheet: Sheet, paper: Paper, nonce: str | None = None) -> str:
    """The file. ``nonce``: of the page's content security policy, where it is served and not saved."""
    on_page = CARDS_ON_A4 if paper is Paper.A4 else 1
    return _template().render(
        sheet=sheet,
        pages=[sheet.cards[at : at + on_page] for at in range(0, len(sheet.cards), on_page)],
        paper=paper.value,
        nonce=nonce,
        qr=qr_path,
    )


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((files("portal.vouchers") / "sheet.html").read_text(encoding="utf-8"))


def qr_path(url: str) -> tuple[int, str]:
    """(side of the whole in dots, the white around it included; SVG path whose strokes, 1 wide, are the black dots)."""
    rows = qr_rows(url)
    strokes = (f"M{x + QUIET_MODULES} {y + QUIET_MODULES}.5h{length}" for x, y, length in runs(rows))
    return len(rows) + 2 * QUIET_MODULES, "".join(strokes)
