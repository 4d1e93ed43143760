"""Made-up figures of a month, and readers of each format back into cells. It knows no writer."""

from __future__ import annotations

import csv
import datetime as dt
import io
import random
import re
import xml.etree.ElementTree as ET
import zipfile
from decimal import Decimal
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

from portal.config import Office, Plan, Site, SiteConfig
from portal.domain import localtime
from portal.domain.rollup import DayFigures, Line, PeriodFigures, Provider, Quality, SessionRecord, Step
from portal.domain.suppression import Hidden
from portal.reports.report import Cell, Row
from portal.reports.tables import Source

WITA = ZoneInfo("Asia/Makassar")
FIRST, LAST = dt.date(2026, 10, 1), dt.date(2026, 10, 31)
FORMULA = '=HYPERLINK("http://x.example")'


def config(**office: str) -> SiteConfig:
    return SiteConfig(
        site=Site(code="64.03.01.2001", name="Desa Muara Kaman Ulu"),
        office=Office(**({"name": "Dinas Komunikasi & Informatika", "address": "Jalan Basuki Rahmat 41"} | office)),
        plan=(Plan(id="warga", name="Warga"), Plan(id="puskesmas", name=FORMULA)),
    )


def day(number: int, devices: int, rng: random.Random) -> DayFigures:
    off, down = rng.random() * 9_000, rng.random() * 3_000
    seconds = {Line.OFF: off, Line.DOWN: down, Line.UP: 86_400 - off - down}
    android, apple = devices * 3 // 4, devices - devices * 3 // 4
    steps = {"android": Step(android + 9, android + 2, android), "apple": Step(apple + 1, apple, apple)}
    return DayFigures(
        day=FIRST + dt.timedelta(days=number),
        devices=devices,
        sessions=devices * 3,
        median_session_s=rng.random() * 7_000 if devices else None,
        ended=devices * 3,
        ended_since=FIRST + dt.timedelta(days=number) if devices else None,
        peak_online=devices // 2,
        p95_online=devices // 3,
        up_bytes=rng.randrange(10**11),
        down_bytes=rng.randrange(10**14),
        funnel=steps if devices else {},
        seconds=seconds,
        quality=Quality(rng.random() * 700, rng.random() * 2_000, 0.0, rng.random()),
        certain=rng.random() < 0.8,
    )


def source(counts: tuple[int, ...] = (60, 12, 3, 0, 41), seed: int = 1, **office: str) -> Source:
    """Days from FIRST with so many devices each; a session of each device a day, of the first plan but for the last."""
    rng = random.Random(seed)
    days = [day(number, devices, rng) for number, devices in enumerate(counts)]
    provider, quality = Provider("@Telkom", "satellite"), Quality(612.34, 1_033.25, 0.0, 0.0261)
    seconds = {line: sum(one.seconds.get(line, 0.0) for one in days) for line in Line}

    def period(without: frozenset[dt.date]) -> PeriodFigures:
        told = [one for one in days if one.day not in without]
        return PeriodFigures(
            first=FIRST,
            last=LAST,
            days_with_log=len(told),
            devices_most=max((one.devices for one in told), default=0),
            devices_mean=None,
            sessions=sum(one.sessions for one in told),
            median_session_s=1833.5,
            peak_online=max((one.peak_online for one in told), default=0),
            p95_online=max((one.p95_online for one in told), default=0),
            up_bytes=sum(one.up_bytes for one in told),
            down_bytes=sum(one.down_bytes for one in told),
            funnel={},
            seconds=seconds,
            quality=quality,
            lines={provider: (seconds, quality)},
        )

    def sessions_of(asked: dt.date) -> list[SessionRecord]:
        number = (asked - FIRST).days
        devices = counts[number] if 0 <= number < len(counts) else 0
        begin_s = localtime.day_start(asked, WITA)
        return [
            SessionRecord(
                id=1000 * number + one,
                device=f"{one * 7919:016x}",
                plan="warga" if one < devices - 5 else "puskesmas",
                method="terms",
                began_wall_s=begin_s + one * 60.25,
                ended_wall_s=None if one == 1 else begin_s + one * 61.75 + 600,
                up_bytes=one * 10**9 + 7,
                down_bytes=one * 10**12 + 1,
                reason=None if one == 1 else "idle",
                continues=None,
                certain=True,
            )
            for one in range(devices)
        ]

    made_s = localtime.day_start(LAST + dt.timedelta(days=1), WITA) + 30_000.4
    # Those that still run were begun on a day of many and would run over hidden ones: they count as running until now.
    return Source(config(**office), FIRST, LAST, days, period, sessions_of, bytes(range(32)), made_s)


# --- readers ----------------------------------------------------------------------------------------------------------

_WORDS: dict[str, Cell] = {"<5": Hidden.FEW, "disamarkan": Hidden.WITHHELD}


def from_csv(data: bytes) -> list[list[Cell]]:
    text = data.decode("utf-8")
    return [[_typed(cell, ".") for cell in row] for row in csv.reader(io.StringIO(text, newline=""), strict=True)]


def from_csv_id(data: bytes) -> list[list[Cell]]:
    assert data.startswith(b"\xef\xbb\xbf")
    text = io.StringIO(data.decode("utf-8-sig"), newline="")
    return [[_typed(cell, ",") for cell in row] for row in csv.reader(text, delimiter=";", strict=True)]


def _typed(cell: str, point: str) -> Cell:
    if re.fullmatch(r"\d+", cell):
        return int(cell)
    if re.fullmatch(rf"\d+{re.escape(point)}\d+", cell):
        return Decimal(cell.replace(point, "."))
    if re.fullmatch(r"\d{4}-\d\d-\d\d", cell):
        return dt.date.fromisoformat(cell)
    if re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\+08:00)?", cell):
        return dt.datetime.fromisoformat(cell).replace(tzinfo=WITA)
    return _WORDS.get(cell, cell.removeprefix("'") or None)


_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def from_xlsx(data: bytes) -> dict[str, list[list[Cell]]]:
    """Cells of each sheet; a number is what its format says. Formulas and other kinds of cells fail."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        styles = ET.fromstring(book.read("xl/styles.xml"))
        formats = {
            one.get("numFmtId"): one.get("formatCode") for one in styles.iterfind(f"{_MAIN}numFmts/{_MAIN}numFmt")
        } | {"3": "#,##0", "0": "General"}
        of_style = [formats[one.get("numFmtId")] for one in styles.iterfind(f"{_MAIN}cellXfs/{_MAIN}xf")]
        names = [one.get("name") for one in ET.fromstring(book.read("xl/workbook.xml")).iter(f"{_MAIN}sheet")]
        assert not any("formula" in name or "externalLink" in name for name in book.namelist())
        sheets = [ET.fromstring(book.read(f"xl/worksheets/sheet{number}.xml")) for number in range(1, len(names) + 1)]
    found: dict[str, list[list[Cell]]] = {}
    for name, sheet in zip(names, sheets, strict=True):
        assert name is not None
        found[name] = [_xlsx_row(row, of_style) for row in sheet.iter(f"{_MAIN}row")]
    return found


def _xlsx_row(row: ET.Element, of_style: list[str | None]) -> list[Cell]:
    cells: dict[int, Cell] = {}
    for cell in row:
        letters = re.match("[A-Z]+", cell.get("r", ""))
        assert letters is not None and cell.find(f"{_MAIN}f") is None
        column = 0
        for letter in letters[0]:
            column = column * 26 + ord(letter) - 64
        cells[column - 1] = _xlsx_cell(cell, of_style[int(cell.get("s", "0"))] or "")
    return [cells.get(column) for column in range(max(cells, default=-1) + 1)]


def _xlsx_cell(cell: ET.Element, form: str) -> Cell:
    if cell.get("t") == "inlineStr":
        text = "".join(one.text or "" for one in cell.iter(f"{_MAIN}t"))
        return _WORDS.get(text, text)
    assert cell.get("t", "n") == "n", cell.attrib
    value = cell.findtext(f"{_MAIN}v") or ""
    if form == "#,##0":
        return int(value)
    if places := re.fullmatch(r"#,##0\.(0+)", form):
        shortest = Decimal(repr(float(value)))
        assert shortest == round(shortest, len(places[1])), f"{value} has more places than are shown"
        return shortest.quantize(Decimal(1).scaleb(-len(places[1])))
    epoch = dt.datetime(1899, 12, 30, tzinfo=WITA)
    if form == "yyyy-mm-dd":
        return (epoch + dt.timedelta(days=int(value))).date()
    assert form == "yyyy-mm-dd hh:mm:ss", form
    return epoch + dt.timedelta(seconds=round(float(value) * 86_400))


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[Cell]]] = {}
        self._section = ""
        self._cell: list[str] | None = None
        self._kind = ""
        self._exact = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in ("script", "img", "link", "iframe") and not any(name.startswith("on") for name in given)
        if tag == "section" and given.get("id"):
            self._section = given["id"] or ""
            self.tables[self._section] = []
        elif tag == "tr" and self._section:
            self.tables[self._section].append([])
        elif tag in ("td", "th") and self._section:
            self._cell, self._kind, self._exact = [], given.get("class") or given.get("scope") or "", ""
        elif tag == "time":
            self._exact = given["datetime"] or ""

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("td", "th") or self._cell is None:
            return
        text = "".join(self._cell)
        cell: Cell = _WORDS.get(text, text or None)
        if self._kind == "n":
            cell = _typed(text.replace(".", ""), ",")
        elif self._exact:
            cell = _typed(self._exact, ".")
        self.tables[self._section][-1].append(cell)
        self._cell = None


def from_html(text: str) -> dict[str, list[list[Cell]]]:
    """Rows of the tables of each section, headings and all."""
    parser = _Tables()
    parser.feed(text)
    return parser.tables


def padded(rows: list[list[Cell]], width: int) -> list[Row]:
    """Cells that are empty at the end are not written everywhere."""
    return [(*row, *[None] * (width - len(row))) for row in rows]
