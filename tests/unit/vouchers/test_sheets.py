"""Printed vouchers: every QR on paper is read back, every code parses, names in any letters print."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.config import Plan
from portal.domain import codes
from portal.vouchers import html, pdf, sheet
from portal.vouchers.sheet import Paper
from portal.vouchers.url import code_url
from tests.unit.vouchers import sheets

DOT_MM = 1 / 8  # of a receipt printer, 203 dots an inch
WITA = ZoneInfo("Asia/Makassar")


def test_a4_holds_32_cards_whose_qrs_lead_in() -> None:
    made = sheets.sheet(40)
    urls = [card.url for card in made.cards]
    assert sheets.qrs_of(pdf.render(made, Paper.A4)) == sheets.chunks(urls, 32)
    for card in made.cards:
        found = re.fullmatch(r"http://10\.77\.0\.1/v/([A-Z2-9]{8})", card.url)
        assert found is not None and codes.parse(found[1]) == codes.parse(card.code) == found[1]


def test_a_roll_holds_one_card_under_the_other() -> None:
    made = sheets.sheet(3)
    printed = pdf.render(made, Paper.RECEIPT)
    assert sheets.qrs_of(printed) == [[card.url] for card in made.cards]
    for page in pypdfium2.PdfDocument(printed):
        width_mm = page.get_width() / 72 * 25.4
        assert width_mm == pytest.approx(58, abs=0.1)
        left, right = _ink_mm(page)
        assert left >= 5 - DOT_MM and right <= 53 + DOT_MM, "48 mm are printed, whatever is on the card"


def _ink_mm(page: pypdfium2.PdfPage) -> tuple[float, float]:
    """Between where there is ink, millimetres from the left edge."""
    picture = page.render(scale=25.4 / 72 / DOT_MM, grayscale=True).to_pil()
    box = picture.point(lambda value: 255 * (value < 128)).getbbox()
    assert box is not None
    return box[0] * DOT_MM, box[2] * DOT_MM


def test_a_card_says_what_people_ask() -> None:
    made = sheets.sheet(1)
    for paper in Paper:
        (text,) = sheets.texts_of(pdf.render(made, paper))
        said = " ".join(text.split())
        for words in (
            "Desa Muara Kaman Ulu",
            made.cards[0].code,
            "Wi-Fi: Wi-Fi Desa",
            "Warga, sampai 5 Mbps",
            "8 jam sekali masuk",
            "2 jam, 500 MB per hari",
            "untuk 2 perangkat",
            "Berlaku s.d. 31 Des 2026",
            "Sambung. Pindai. Masuk.",
        ):
            assert words in said, (paper, words)


@pytest.mark.parametrize("name", ["Désa Sungai Wàin", "Kampung Žółć Ćirić", "Desa – “Baru”…"])
def test_names_with_accents_print(name: str) -> None:
    for paper in Paper:
        (text,) = sheets.texts_of(pdf.render(sheets.sheet(1, name=name, ssid=name), paper))
        assert text.count(name) >= 1, text


def test_without_a_typeface_for_them_letters_are_spelt(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(pdf, "_DEJAVU", tmp_path)
    (text,) = sheets.texts_of(pdf.render(sheets.sheet(1, name="Kampung Ćirić Żé 村"), Paper.A4))
    assert "Kampung Ciric Zé ?" in text


@pytest.mark.parametrize("paper", Paper)
def test_long_names_stay_on_the_card(paper: Paper) -> None:
    made = sheets.sheet(1, name="W" * 80, ssid="M" * 32)
    (page,) = pypdfium2.PdfDocument(pdf.render(made, paper))
    left, right = _ink_mm(page)
    first, last = {Paper.A4: (7, 203), Paper.RECEIPT: (5, 53)}[paper]
    assert first - DOT_MM <= left and right <= last + DOT_MM
    assert sheets.qrs_of(pdf.render(made, paper)) == [[made.cards[0].url]]


def test_html_needs_nothing_from_elsewhere_and_takes_no_markup_from_names() -> None:
    made = sheets.sheet(33, name="<script>alert(1)</script>", ssid='"><img src=x>')
    for paper, pages in ((Paper.A4, 2), (Paper.RECEIPT, 33)):
        text = html.render(made, paper, nonce="abc")
        assert "<script" not in text and "<img" not in text
        assert not re.search(r"\b(src|href)=|url\(|@import", html.render(sheets.sheet(2), paper))
        assert text.count('<section class="page">') == pages
        assert text.count("<svg ") == 33
        assert '<style nonce="abc">' in text
        assert all(card.code in text for card in made.cards)


@pytest.mark.parametrize(
    ("plan", "devices", "expected"),
    [
        (Plan(id="a", name="A", session_minutes=None), 1, ("A", "untuk 1 perangkat")),
        (
            Plan(id="a", name="A", down_kbit=1500, session_minutes=90, daily_megabytes=1500),
            3,
            ("A, sampai 1,5 Mbps", "1 jam 30 menit sekali masuk", "1,5 GB per hari", "untuk 3 perangkat"),
        ),
        (
            Plan(id="a", name="A", down_kbit=512, session_minutes=10_080, daily_minutes=45),
            1,
            ("A, sampai 512 kbps", "7 hari sekali masuk", "45 menit per hari", "untuk 1 perangkat"),
        ),
    ],
)
def test_terms_in_words(plan: Plan, devices: int, expected: tuple[str, ...]) -> None:
    assert sheet.terms(plan, devices) == expected


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (None, None, "Berlaku tanpa batas tanggal"),
        (1_798_732_800.0, None, "Berlaku mulai 1 Jan 2027"),
        (None, 1_798_732_800.0, "Berlaku s.d. 31 Des 2026"),  # midnight in Makassar: the 31st is the last day
        (None, 1_798_732_800.0 - 8 * 3600, "Berlaku s.d. 31 Des 2026 16.00"),
        (1_796_054_400.0, 1_798_732_800.0, "Berlaku 1 Des 2026 s.d. 31 Des 2026"),
    ],
)
def test_validity_in_words(begin: float | None, end: float | None, expected: str) -> None:
    assert sheet.validity(begin, end, WITA) == expected


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), min_size=1, max_size=12))
def test_runs_are_the_black_dots_and_no_others(rows: list[list[int]]) -> None:
    drawn = [(x + step, y) for x, y, length in sheet.runs(rows) for step in range(length)]
    assert sorted(drawn) == sorted((x, y) for y, row in enumerate(rows) for x, dot in enumerate(row) if dot)


def test_the_address_is_the_gateways_own() -> None:
    assert code_url(sheets.config(), "ABCDEFGH") == "http://10.77.0.1/v/ABCDEFGH"
