"""The HTML sheet as a real browser prints it: pages, and QRs that a camera reads. No village is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pypdfium2
import pytest

from portal.vouchers import html
from portal.vouchers.sheet import Paper
from tests.unit.vouchers import sheets


def printed(page: str, home: Path) -> bytes:
    """What chromium sends to the printer."""
    (home / "sheet.html").write_text(page)
    subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={home / 'profile'}",
            "--no-pdf-header-footer",
            f"--print-to-pdf={home / 'sheet.pdf'}",
            str(home / "sheet.html"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return (home / "sheet.pdf").read_bytes()


@pytest.mark.browser
@pytest.mark.parametrize(("paper", "on_page", "size_mm"), [(Paper.A4, 32, (210, 297)), (Paper.RECEIPT, 1, (58, 96))])
def test_the_html_sheet_prints_whole_cards(
    tmp_path: Path, paper: Paper, on_page: int, size_mm: tuple[int, int]
) -> None:
    made = sheets.sheet(35, name="Desa Muara Kaman Ulu Seberang Hilir")
    pdf = printed(html.render(made, paper), tmp_path)
    assert sheets.qrs_of(pdf) == sheets.chunks([card.url for card in made.cards], on_page)
    for text in sheets.texts_of(pdf):
        said = " ".join(text.split())
        assert "Sambung. Pindai. Masuk." in said and "s.d. 31 Des 2026" in said
    size = pypdfium2.PdfDocument(pdf)[0].get_size()
    assert [round(points / 72 * 25.4) for points in size] == pytest.approx(size_mm, abs=1)
