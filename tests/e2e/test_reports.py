"""A report as a real browser prints it: every figure is on paper, on pages of A4. No village is needed."""

from __future__ import annotations

import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pypdfium2
import pytest

from portal.reports import html
from portal.reports.tables import make
from tests.unit.reports import sources

COUNTS = (60, 12, 3, 0, 41, *range(20, 46))


class _Rows(HTMLParser):
    """The words of each row below the headings, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_body = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_body = tag == "tbody" or (self._in_body and tag != "thead")
        if tag == "tr" and self._in_body:
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        if tag == "tbody":
            self._in_body = False

    def handle_data(self, data: str) -> None:
        if self._in_body and self.rows:
            self.rows[-1] += data.split()


def printed(page: str, home: Path) -> bytes:
    """What chromium sends to the printer."""
    (home / "report.html").write_text(page)
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer")
    places = (f"--user-data-dir={home / 'profile'}", f"--print-to-pdf={home / 'report.pdf'}", str(home / "report.html"))
    subprocess.run(["chromium", *flags, *places], check=True, capture_output=True, timeout=60)
    return (home / "report.pdf").read_bytes()


@pytest.mark.browser
def test_every_figure_is_on_paper(tmp_path: Path) -> None:
    page = html.render(make(sources.source(COUNTS)))
    pdf = pypdfium2.PdfDocument(printed(page, tmp_path))
    words = " ".join(" ".join(one.get_textpage().get_text_range() for one in pdf).split())
    parser = _Rows()
    parser.feed(page)
    days = [row for row in parser.rows if row[1:3] == ["Okt", "2026"]]
    assert len(days) == 2 * len(COUNTS)
    missing = [row for row in parser.rows if row and f" {' '.join(row)} " not in f" {words} "]
    assert [row for row in missing if any(word[0].isdigit() for word in row)] == []
    for one in pdf:
        assert (round(one.get_width()), round(one.get_height())) in ((595, 842), (596, 842))
