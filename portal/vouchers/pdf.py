"""Draws a sheet of vouchers as a PDF. It must not know where the words or the codes come from.

fpdf2 is loaded when a PDF is made, and not before: it is 35 MB of memory. Lengths are millimetres, font sizes points.
Texts are set in PDF's own Helvetica where Latin letters do, which every viewer has; a name in other letters is set in
DejaVu Sans (Debian: fonts-dejavu-core), or spelt with what there is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from portal.vouchers.sheet import QUIET_MODULES, Paper, Sheet, qr_rows, runs

if TYPE_CHECKING:
    from fpdf import FPDF

COLUMNS, ROWS = 4, 8
_A4_WIDTH, _A4_HEIGHT = 210.0, 297.0
_A4_MARGIN = 7.0  # what printers of a desa cannot print
_PADDING = 2.0
_ROLL_WIDTH, _ROLL_MARGIN = 58.0, 5.0
_CORE_ENCODING: Final = "cp1252"  # what PDF calls WinAnsiEncoding
_DEJAVU: Final = Path("/usr/share/fonts/truetype/dejavu")
_SMALLEST = 0.7  # of a text's own size; what is still too long then is cut

Style = Literal["", "B"]


@dataclass(frozen=True, slots=True)
class _Text:
    """A line on each card: baseline from the card's upper left corner."""

    x: float
    y: float
    style: Style
    size: float
    text: str


def render(sheet: Sheet, paper: Paper) -> bytes:
    """The PDF file."""
    from fpdf import FPDF  # noqa: PLC0415 - see above

    pdf = FPDF(unit="mm", format="A4")
    pdf.set_auto_page_break(False)
    pdf.set_title(f"Voucher {sheet.site}")
    pdf.set_lang("id")
    pen = _Pen(pdf, sheet)
    if paper is Paper.A4:
        _draw_a4(pen, sheet)
    else:
        _draw_roll(pen, sheet)
    return bytes(pdf.output())


class _Pen:
    """fpdf2 with one typeface for the whole sheet."""

    def __init__(self, pdf: FPDF, sheet: Sheet) -> None:
        self.pdf = pdf
        words = "".join((sheet.site, sheet.wifi, *sheet.terms, sheet.validity, sheet.steps, sheet.help))
        self._only_core = False
        if _is_core(words):
            self._family = "helvetica"
            pdf.core_fonts_encoding = _CORE_ENCODING
        elif (_DEJAVU / "DejaVuSans.ttf").exists() and (_DEJAVU / "DejaVuSans-Bold.ttf").exists():
            self._family = "dejavu"
            pdf.add_font("dejavu", "", _DEJAVU / "DejaVuSans.ttf")
            pdf.add_font("dejavu", "B", _DEJAVU / "DejaVuSans-Bold.ttf")
        else:
            self._family = "helvetica"
            pdf.core_fonts_encoding = _CORE_ENCODING
            self._only_core = True

    def fitted(self, x: float, y: float, style: Style, size: float, *, text: str, width: float) -> _Text:
        """The text in a size in which it is no wider than ``width``, cut if that would be too small to read."""
        if self._only_core:
            text = _spelt(text)
        smallest = size * _SMALLEST
        while self.width(text, style, size) > width and size > smallest:
            size -= 0.25
        while self.width(text, style, size) > width and len(text) > 1:
            text = text.removesuffix("…")[:-1].rstrip() + "…"
        return _Text(x, y, style, size, text)

    def wrapped(self, x: float, y: float, size: float, text: str, width: float) -> list[_Text]:
        """Words in as many lines as they need, the next one below."""
        rows: list[str] = []
        for word in (_spelt(text) if self._only_core else text).split():
            if rows and self.width(f"{rows[-1]} {word}", "", size) <= width:
                rows[-1] += f" {word}"
            else:
                rows.append(word)
        return [_Text(x, y + number * size * 0.42, "", size, row) for number, row in enumerate(rows)]

    def width(self, text: str, style: Style, size: float) -> float:
        self.pdf.set_font(self._family, style, size)
        return float(self.pdf.get_string_width(text))

    def write(self, x: float, y: float, line: _Text) -> None:
        self.pdf.set_font(self._family, line.style, line.size)
        self.pdf.text(x + line.x, y + line.y, line.text)

    def qr(self, x: float, y: float, side: float, url: str) -> None:
        """With the white around it, ``side`` is the whole."""
        from fpdf.enums import RenderStyle  # noqa: PLC0415 - see above; fpdf2 takes half as long with it as with "F"

        rows = qr_rows(url)
        dot = side / (len(rows) + 2 * QUIET_MODULES)
        left, top = x + QUIET_MODULES * dot, y + QUIET_MODULES * dot
        for column, row, length in runs(rows):
            self.pdf.rect(left + column * dot, top + row * dot, length * dot, dot, style=RenderStyle.F)


def _draw_a4(pen: _Pen, sheet: Sheet) -> None:
    width, height = (_A4_WIDTH - 2 * _A4_MARGIN) / COLUMNS, (_A4_HEIGHT - 2 * _A4_MARGIN) / ROWS
    inner, side = width - 2 * _PADDING, 20.0
    beside, column = _PADDING + side + 0.5, inner - side - 0.5
    fixed = [
        pen.fitted(_PADDING, 4.6, "B", 8, text=sheet.site, width=inner),
        pen.fitted(beside, 15.2, "B", 6.5, text=f"Wi-Fi: {sheet.wifi}", width=column),
        *(pen.fitted(beside, 18.2 + 2.7 * n, "", 6.5, text=line, width=column) for n, line in enumerate(sheet.terms)),
        *pen.wrapped(beside, 29.4, 6.5, sheet.validity, column),
        pen.fitted(_PADDING, height - 1.6, "", 6, text=sheet.steps, width=side),
    ]
    for number, card in enumerate(sheet.cards):
        at = number % (COLUMNS * ROWS)
        if at == 0:
            pen.pdf.add_page()
            _cut_lines(pen, width, height)
        x, y = _A4_MARGIN + at % COLUMNS * width, _A4_MARGIN + at // COLUMNS * height
        for line in (*fixed, pen.fitted(_PADDING, 11.2, "B", 18, text=card.code, width=inner)):
            pen.write(x, y, line)
        pen.qr(x + _PADDING - 1, y + 11.8, side + 1, card.url)


def _cut_lines(pen: _Pen, width: float, height: float) -> None:
    pdf = pen.pdf
    pdf.set_draw_color(150)
    pdf.set_line_width(0.15)
    pdf.set_dash_pattern(dash=1.2, gap=1.2)
    for column in range(COLUMNS + 1):
        x = _A4_MARGIN + column * width
        pdf.line(x, _A4_MARGIN, x, _A4_HEIGHT - _A4_MARGIN)
    for row in range(ROWS + 1):
        y = _A4_MARGIN + row * height
        pdf.line(_A4_MARGIN, y, _A4_WIDTH - _A4_MARGIN, y)
    pdf.set_dash_pattern()


def _draw_roll(pen: _Pen, sheet: Sheet) -> None:
    """One card a page: a roll's printer puts them one under the other, and cuts between pages if it can."""
    inner, side = _ROLL_WIDTH - 2 * _ROLL_MARGIN, 34.0
    top = 4.0
    fixed = [pen.fitted(0, top + 2, "B", 11, text=sheet.site, width=inner)]
    y = top + 7 + 7 + side + 4
    fixed.append(pen.fitted(0, y, "B", 9, text=f"Wi-Fi: {sheet.wifi}", width=inner))
    for text in (*sheet.terms, sheet.validity):
        y += 4.0
        fixed.append(pen.fitted(0, y, "", 9, text=text, width=inner))
    for line in pen.wrapped(0, y + 5.5, 8, f"{sheet.steps} {sheet.help}", inner):
        fixed.append(line)
        y = line.y
    height = y + 6
    for card in sheet.cards:
        pen.pdf.add_page(format=(_ROLL_WIDTH, height))
        for line in (*fixed, pen.fitted(0, top + 10.5, "B", 23, text=card.code, width=inner)):
            pen.write(_ROLL_MARGIN, 0, line)
        pen.qr((_ROLL_WIDTH - side) / 2, top + 12, side, card.url)
        pen.pdf.set_line_width(0.2)
        pen.pdf.set_dash_pattern(dash=1.5, gap=1.5)
        end = 0.2  # dashes have square ends, which stick out
        pen.pdf.line(_ROLL_MARGIN + end, height - 0.5, _ROLL_WIDTH - _ROLL_MARGIN - end, height - 0.5)


def _is_core(text: str) -> bool:
    try:
        text.encode(_CORE_ENCODING)
    except UnicodeEncodeError:
        return False
    return True


def _spelt(text: str) -> str:
    """With letters that Helvetica has: accents that it lacks go, and what is no Latin letter is a question mark."""

    def letters() -> Iterator[str]:
        for character in text:
            if _is_core(character):
                yield character
            else:
                base = "".join(part for part in unicodedata.normalize("NFKD", character) if _is_core(part))
                yield base or ("" if unicodedata.combining(character) else "?")

    return "".join(letters())
