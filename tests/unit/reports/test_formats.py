"""Every format of a report is read back, and says the same to the byte: figures, texts, days, hidden cells."""

from __future__ import annotations

import io
import itertools
import re
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.domain.suppression import Hidden
from portal.reports import delimited, html, xlsx
from portal.reports.report import Report, Row, Table
from portal.reports.tables import make
from tests.unit.reports import sources


def csv_of(table: Table, dialect: str) -> bytes:
    file = io.BytesIO()
    delimited.write(table, delimited.DIALECTS[dialect], file)
    return file.getvalue()


def xlsx_of(report: Report) -> bytes:
    file = io.BytesIO()
    xlsx.write(report, file)
    return file.getvalue()


def whole(table: Table) -> list[Row]:
    return [tuple(column.title for column in table.columns), *table.rows()]


def check_all_say(report: Report) -> None:
    """What the value says."""
    sheets, page = sources.from_xlsx(xlsx_of(report)), sources.from_html(html.render(report))
    for name, table in report.tables.items():
        expected, width = whole(table), len(table.columns)
        for read, dialect in ((sources.from_csv, "csv"), (sources.from_csv_id, "csv-id")):
            assert sources.padded(read(csv_of(table, dialect)), width) == expected, (name, dialect)
        if name in ("metadata", "definisi"):
            continue
        assert sources.padded(sheets[table.name], width) == expected, name
    below = len(whole(report.about))
    assert sources.padded(sheets["Metadata"][:below], 2) == whole(report.about)
    assert sources.padded(sheets["Metadata"][below:], 5) == whole(report.definitions)

    assert page["metadata"] == [list(row) for row in report.about.rows()]
    assert page["definisi"] == [list(row) for row in whole(report.definitions)]
    parts = [
        [*([[part]] if part != "Bagian" else []), *(list(row[1:]) for row in rows)]
        for part, rows in itertools.groupby(whole(report.summary), key=lambda row: row[0])
    ]
    assert page["ringkasan"] == list(itertools.chain(*parts))
    days = [(*left, *right[1:]) for left, right in zip(page["hari"], page["jalur"], strict=True) if left[0] == right[0]]
    assert days == whole(report.days)


def test_all_formats_say_the_same() -> None:
    report = make(sources.source())
    check_all_say(report)
    assert len(list(report.days.rows())) == 5
    sessions = list(report.sessions.rows())
    assert [row for row in sessions if Hidden.WITHHELD in row], "a hidden day says so"


counts = st.lists(st.integers(0, 60), max_size=8).map(tuple)
office_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=30)


@settings(max_examples=40)
@given(counts, st.integers(0, 10**6))
def test_all_formats_say_the_same_of_any_figures(devices: tuple[int, ...], seed: int) -> None:
    check_all_say(make(sources.source(devices, seed)))


@settings(max_examples=40)
@given(st.one_of(st.sampled_from(["=1+1", "+62", "-1", "@x", '"', "a;b,c", "</style>", "&amp;"]), office_texts))
def test_no_name_is_a_formula_or_markup(name: str) -> None:
    report = make(sources.source((6,), name=name, address=name[::-1]))
    for dialect, delimiter in (("csv", ","), ("csv-id", ";")):
        for table in report.tables.values():
            text = csv_of(table, dialect).decode("utf-8-sig")
            assert not re.search(rf'(^|[{delimiter}\n])"?[=+\-@\t\r]', text.replace("\r\n", "\n"))
    sources.from_xlsx(xlsx_of(report))  # fails on formulas
    page = html.render(report, nonce="abc")
    sources.from_html(page)  # fails on scripts
    assert page.count("</style>") == 1 and page.count("<style") == 1


def test_the_page_needs_nothing_from_elsewhere_and_keeps_to_a_policy() -> None:
    page = html.render(make(sources.source()), nonce="abc")
    assert not re.search(r"\b(src|href|style)=|url\(|@import|<script", page)
    assert '<style nonce="abc">' in page
    assert "nonce" not in html.render(make(sources.source()))


def test_the_workbook_is_made_to_be_printed_and_read() -> None:
    with zipfile.ZipFile(io.BytesIO(xlsx_of(make(sources.source())))) as book:
        names = re.findall(r'<sheet name="([^"]+)"', book.read("xl/workbook.xml").decode())
        sheets = [book.read(f"xl/worksheets/sheet{number}.xml").decode() for number in range(1, 5)]
    assert names == ["Ringkasan", "Per hari", "Sesi", "Metadata"]
    for sheet in sheets:
        assert 'paperSize="9"' in sheet and 'orientation="landscape"' in sheet and 'state="frozen"' in sheet
        assert "<cols>" in sheet and "<f>" not in sheet


def test_the_same_report_is_the_same_file() -> None:
    assert xlsx_of(make(sources.source())) == xlsx_of(make(sources.source()))


@pytest.mark.parametrize("dialect", delimited.DIALECTS)
def test_lines_end_as_rfc_4180_says(dialect: str) -> None:
    data = csv_of(make(sources.source()).days, dialect)
    assert data.count(b"\r\n") == data.count(b"\n") == 6 and data.endswith(b"\r\n")
