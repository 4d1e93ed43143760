"""The reviewer pages on a log that is made up: what they say, when there is little to say, and what nonsense gets."""

from __future__ import annotations

import datetime as dt
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest

from portal.staff.review import door
from portal.staff.review.charts import Drawing, Kind, Series, Size, draw
from portal.staff.shared import Shared
from portal.store import rollups
from portal.store.db import BUSY, DATABASE, Database, StoreError
from tests.unit.portal.fakes import Clock
from tests.unit.staff.conftest import Browser
from tests.unit.staff.made_up import MadeUp

NOW = dt.datetime(2026, 11, 3, 12, 0, tzinfo=dt.timezone(dt.timedelta(hours=8))).timestamp()
INTERFACE = ("CHUNK", "behind", "catch_up", "days", "hours", "period", "stretches", "sessions", "session_count")
PAGES = (
    *(
        "/review",
        "/review/month/2026-10",
        "/review/day/2026-10-14",
        "/review/sessions?first=2026-10-01&last=2026-10-31",
    ),
    *("/review/hours/2026-10", "/review/compare?a=2026-10&b=2026-09", "/review/definitions"),
)

MakeLog = Callable[..., MadeUp]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> MakeLog:
    """Gives the pages a log that is made up, read in the middle of 3 November 2026."""
    clock.set_wall(NOW)

    def put(**what: object) -> MadeUp:
        made = MadeUp(**{"until": dt.date(2026, 11, 3)} | what)  # type: ignore[arg-type]
        for name in (*INTERFACE, "first_day", "months"):
            monkeypatch.setattr(rollups, name, getattr(made, name))
        return made

    return put


class Text(HTMLParser):
    """The words of a page as they are read, and the addresses of its links and pictures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.ids: set[str] = set()
        self.alts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [found[name] or "" for name in ("href", "src", "srcset") if found.get(name)]
        self.ids |= {found["id"] or ""} if "id" in found else set()
        self.alts += [found["alt"] or ""] if tag == "img" else []

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(browser: Browser, path: str) -> Text:
    response = browser.get(path)
    assert response.status_code == 200, f"{path}: {response.text[:300]}"
    return Text(response.text)


class TestMonth:
    def test_key_figures_stand_beside_those_of_the_month_before(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        text = read(reviewer, "/review/month/2026-10").text
        # 60 + n sessions on day n; n GB down, n/4 GB up. Per day: 76 in October, 75.5 in September.
        assert "Sesi 2.356 September 2026: 2.265; per hari naik 0,7%" in text
        assert "Unduh 496 GB September 2026: 465 GB; per hari naik 3,2%" in text
        assert "Unggah 124 GB September 2026: 116 GB" in text
        assert "Perangkat, rata-rata per hari 36 paling banyak 51 dalam sehari September 2026: 35,5; naik 1,4%" in text
        assert "Lama sesi (median) 1 jam 10 menit September 2026: 1 jam 10 menit; sama" in text
        # Off one hour and down 40 minutes of each day.
        assert "Internet tersedia 93% dari waktu yang diketahui: Jalur baik 692 jam 20 menit" in text
        assert "Jalur putus 20 jam 40 menit; Gateway mati 31 jam." in text

    def test_the_first_month_has_none_before(self, log: MakeLog, reviewer: Browser) -> None:
        log(since=dt.date(2026, 10, 1))
        text = read(reviewer, "/review/month/2026-10").text
        assert "Sesi 2.356 " in text
        assert "September 2026" not in text

    def test_a_day_without_a_log_is_not_zero(self, log: MakeLog, reviewer: Browser) -> None:
        log(without={dt.date(2026, 10, 5), dt.date(2026, 10, 6)})
        page = read(reviewer, "/review/month/2026-10")
        assert "2 hari tidak ada catatannya." in page.text
        assert "Sen 5 tidak ada catatan – – – – – – – –" in page.text
        picture = ET.fromstring(reviewer.get("/review/chart/bytes/2026-10.svg").text)
        assert "tidak ada catatan" in ET.tostring(picture, "unicode", "text")

    def test_what_is_lost_or_uncertain_is_said(self, log: MakeLog, reviewer: Browser) -> None:
        log(lost={dt.date(2026, 10, 20)}, uncertain={dt.date(2026, 10, 9)})
        text = read(reviewer, "/review/month/2026-10").text
        assert "Pada 1 hari sebagian catatan hilang" in text
        assert "Sel 20 catatan hilang 2 jam" in text
        assert "Pada 1 hari sebagian waktu tidak pasti" in text
        assert "Jum 9 waktu tidak pasti" in text

    def test_a_month_without_a_trusted_clock_says_so(self, log: MakeLog, reviewer: Browser) -> None:
        log(since=dt.date(2026, 10, 30), uncertain={dt.date(2026, 10, 30), dt.date(2026, 10, 31)})
        assert "Jam gateway belum pernah dicocokkan" in read(reviewer, "/review/month/2026-10").text

    def test_the_running_month_ends_today(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        page = read(reviewer, "/review")
        assert "Pemakaian November 2026" in page.text
        assert "Bulan ini masih berjalan: angkanya sampai 3 Nov 2026." in page.text
        assert "/review/day/2026-11-03" in page.addresses
        assert "/review/day/2026-11-04" not in page.addresses
        assert "tidak ada catatan" not in reviewer.get("/review/chart/bytes/2026-11.svg").text

    def test_the_heat_map_says_when_it_is_busiest(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        page = read(reviewer, "/review/month/2026-10")
        assert "pukul 19.00–20.00, rata-rata 12 perangkat online bersamaan." in page.text
        row = re.search(r"Sen in (.*?) Sel asa", page.text)
        assert row is not None
        assert row[1].split()[:8] == ["0", "0", "0", "0", "0", "0", "–", "0"], "from 6 to 7 the gateway was off"
        assert row[1].split()[19] == "12"

    def test_the_funnel_in_figures_and_shares(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        text = read(reviewer, "/review/month/2026-10").text
        said = "Dari 1.612 perangkat-hari yang tersambung ke Wi-Fi, 1.364 melihat halaman dan 1.178 masuk ke internet."
        assert said in text
        assert "Android 1.426 1.271 89,1% 1.116 78,3%" in text
        assert "Tidak diketahui 186 93 50% 62 33,3%" in text

    def test_the_line_by_provider(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        response = reviewer.get("/review/month/2026-10")
        assert "Telkom &amp; Anak, satelit" in response.text
        assert "Telkom & Anak, satelit 93% 20 jam 40 menit 31 jam 600 ms 900 ms 1% 5%" in Text(response.text).text

    def test_each_strip_shows_the_day_in_words_too(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        text = read(reviewer, "/review/month/2026-10").text
        day = "00.00–06.00 Jalur baik 06.00–07.00 Gateway mati 07.00–13.00 Jalur baik 13.00–14.00 Jalur putus"
        assert f"Kam 1 {day} 14.00–24.00 Jalur baik 93%" in text

    @pytest.mark.parametrize("path", ["2026-13", "2026-1", "26-10", "1999-10", "x", "2026-10-01", "٢٠٢٦-١٠"])
    def test_there_is_no_such_month(self, log: MakeLog, reviewer: Browser, path: str) -> None:
        log()
        assert reviewer.get(f"/review/month/{path}").status_code == 404
        assert reviewer.get(f"/review/hours/{path}").status_code == 404
        assert reviewer.get(f"/review/chart/bytes/{path}.svg").status_code == 404

    def test_another_month_by_form(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        assert reviewer.get("/review?month=2026-09").location == "/review/month/2026-09"
        assert "Pemakaian November" in read(reviewer, "/review?month=never").text


class TestEmpty:
    def test_the_first_minutes_of_a_site(self, log: MakeLog, reviewer: Browser) -> None:
        log(since=dt.date(2027, 1, 1))
        assert "Belum ada catatan" in read(reviewer, "/review").text
        assert "Tidak ada catatan bulan ini" in read(reviewer, "/review/month/2026-10").text
        assert "Tidak ada catatan hari ini" in read(reviewer, "/review/day/2026-10-14").text
        for path in PAGES:
            read(reviewer, path)

    def test_nobody_came(self, log: MakeLog, reviewer: Browser) -> None:
        log(no_sessions=True, no_funnel=True)
        text = read(reviewer, "/review/month/2026-10").text
        assert "Sesi 0 " in text
        assert "Lama sesi (median) – " in text
        assert "Tidak ada perangkat yang online dalam bulan ini." in text
        assert "Belum diketahui siapa yang tersambung." in text
        assert "Tidak ada sesi yang cocok." in read(reviewer, "/review/day/2026-10-14").text

    @pytest.mark.parametrize("name", ["bytes", "devices", "latency", "funnel"])
    def test_charts_of_nothing_can_be_drawn(self, log: MakeLog, reviewer: Browser, name: str) -> None:
        log(since=dt.date(2027, 1, 1), no_funnel=True)
        assert reviewer.get(f"/review/chart/{name}/2026-10.svg").status_code == 200


class TestDay:
    def test_a_day_in_figures(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        page = read(reviewer, "/review/day/2026-10-14")
        assert "Rabu, 14 Oktober 2026" in page.text
        assert "Jalur baik 22 jam 20 menit; Jalur putus 40 menit; Gateway mati 1 jam." in page.text
        assert "13.10 13.50 Jalur putus 40 menit" in page.text
        assert "19.00–20.00 12 6 12 12 108 MB 12 MB 100% 619 ms 1%" in page.text
        assert "06.00–07.00 0 0 0 0 0 byte 0 byte 0% – –" in page.text
        assert "74 sesi" in page.text
        assert "/review/sessions?first=2026-10-14&last=2026-10-14" in page.addresses

    def test_today_is_not_over(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        page = read(reviewer, "/review/day/2026-11-03")
        assert "Hari ini masih berjalan" in page.text
        assert "/review/day/2026-11-04" not in page.addresses

    @pytest.mark.parametrize("path", ["2026-02-30", "2026-10", "x", "2026-1-1"])
    def test_there_is_no_such_day(self, log: MakeLog, reviewer: Browser, path: str) -> None:
        log()
        assert reviewer.get(f"/review/day/{path}").status_code == 404


OCTOBER = "first=2026-10-01&last=2026-10-31"


class TestSessions:
    def test_every_session_is_on_one_page_and_no_page_follows_the_last(self, log: MakeLog, reviewer: Browser) -> None:
        made = log()
        seen: list[str] = []
        path: str | None = "/review/sessions?first=2026-10-14&last=2026-10-15"
        while path:
            html = reviewer.get(path).text
            seen += re.findall(r"<b>(.*?)</b></td>", html)
            older = re.search(r'rel="next" href="([^"]+)"', html)
            path = older[1].replace("&amp;", "&") if older else None
            assert len(seen) <= 1000
        assert len(seen) == 74 + 75
        assert seen[0] == "15 Okt 14.10"
        assert seen[-1] == "14 Okt 08.00"
        assert made.entries == 0

    def test_a_page_past_the_end_says_so(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        page = read(reviewer, f"/review/sessions?{OCTOBER}&before=1")
        assert "Tidak ada sesi yang lebih lama." in page.text
        assert f"/review/sessions?{OCTOBER}" in page.addresses

    @pytest.mark.parametrize(
        ("query", "holds"),
        [
            ("", lambda _: True),
            ("&plan=kantor", lambda number: number % 9 == 0),
            ("&method=voucher", lambda number: number % 5 == 0),
            ("&reason=power", lambda number: number % 10 == 3),
            ("&device=10-lopo-07", lambda number: number % 30 == 7),
            ("&plan=kantor&method=voucher", lambda number: number % 45 == 0),
        ],
    )
    def test_filters(self, log: MakeLog, reviewer: Browser, query: str, holds: Callable[[int], bool]) -> None:
        log()
        count = sum(holds(number) for day in range(1, 32) for number in range(60 + day))
        text = read(reviewer, f"/review/sessions?{OCTOBER}{query}").text
        assert f" {count:,} sesi ".replace(",", ".") in text

    def test_nobody_like_that(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        assert "Tidak ada sesi yang cocok." in read(reviewer, f"/review/sessions?{OCTOBER}&device=nobody").text

    def test_paging_keeps_the_filter(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        page = read(reviewer, f"/review/sessions?{OCTOBER}&method=voucher")
        (older,) = [one for one in page.addresses if "before=" in one]
        assert "method=voucher" in older
        assert "persetujuan" not in read(reviewer, older).text.partition("Sesi")[2].partition("1 Okt 2026")[2]

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ("first=kemarin", "“kemarin” bukan tanggal. Dipakai 1 Nov 2026."),
            ("first=2026-10-09&last=2026-10-02", "keduanya ditukar"),
            ("method=pintu", "Tidak ada pilihan “pintu”."),
            ("reason=%00", "Tidak ada pilihan"),
        ],
    )
    def test_nonsense_is_said_and_left_out(self, log: MakeLog, reviewer: Browser, query: str, says: str) -> None:
        log()
        assert says in read(reviewer, f"/review/sessions?{query}").text

    @pytest.mark.parametrize(
        "query",
        [
            *(
                "before=x",
                "before=-1",
                "before=99999999999999999999",
                "first=9999-12-31",
                "last=0001-01-01",
                "first=&last=",
            ),
            *("device=" + "a" * 5000, "plan=%F0%9F%98%80", "first=2099-12-31", "last=2000-01-01", "before=1&before=2"),
        ],
    )
    def test_other_nonsense_breaks_nothing(self, log: MakeLog, reviewer: Browser, query: str) -> None:
        log(since=dt.date(2026, 11, 1))
        read(reviewer, f"/review/sessions?{query}")

    def test_what_is_typed_is_never_markup(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        evil = '"><script>alert(1)</script>'
        for name in ("first", "plan", "method", "device"):
            html = reviewer.get(f"/review/sessions?{name}={evil}").text
            assert "<script>" not in html
            assert "&lt;script&gt;" in html

    def test_a_device_leads_to_all_its_sessions_of_its_month(self, log: MakeLog, reviewer: Browser) -> None:
        log()
        page = read(reviewer, "/review/day/2026-10-14")
        assert "/review/sessions?first=2026-10-01&last=2026-10-31&device=10-lopo-13" in page.addresses


def test_two_months_side_by_side(log: MakeLog, reviewer: Browser) -> None:
    log(without={dt.date(2026, 9, 2)})
    page = read(reviewer, "/review/compare?a=2026-10&b=2026-09")
    assert "Hari tercatat 31 29" in page.text
    assert "Sesi 2.356 2.203 per hari sama" in page.text
    assert "Gateway mati 31 jam 29 jam" in page.text
    assert " 2 2,5 GB – 22 – 3 3,8 GB 3,8 GB 23 23 " in page.text
    assert "Data per hari tercatat: rata-rata 20 GB pada Oktober 2026 dan 20 GB pada September 2026." in page.text
    assert "Oktober 2026 dan September 2026" in read(reviewer, "/review/compare?a=2026-10").text
    assert "November 2026 dan Oktober 2026" in read(reviewer, "/review/compare?a=x&b=").text


def test_hours_of_one_weekday(log: MakeLog, reviewer: Browser) -> None:
    log()
    text = read(reviewer, "/review/hours/2026-10?weekday=2").text
    assert "Rabu, Oktober 2026, jam demi jam" in text
    assert text.count("19.00–20.00") == 4
    for query in ("", "?weekday=7", "?weekday=-1", "?weekday=x"):
        assert "Senin, Oktober" in read(reviewer, f"/review/hours/2026-10{query}").text


@pytest.mark.parametrize("language", ["id", "en"])
def test_every_figure_leads_to_its_definition_and_every_link_somewhere(
    log: MakeLog, reviewer: Browser, language: str
) -> None:
    log(lost={dt.date(2026, 10, 20)})
    reviewer.get(f"/review?lang={language}")
    defined = read(reviewer, "/review/definitions").ids
    known: set[str] = set()
    for path in PAGES:
        page = read(reviewer, path)
        assert {one.partition("#")[2] for one in page.addresses if "/review/definitions#" in one} <= defined, path
        assert {one[1:] for one in page.addresses if one.startswith("#") and one != "#main"} <= page.ids, path
        known |= {one.partition("#")[0] for one in page.addresses if one.startswith("/")}
    sample = [one for one in sorted(known) if "/review/" in one]
    assert len(sample) > 60
    for address in [*sample[::9], *(one for one in sample if "chart" in one)]:
        assert reviewer.get(address).status_code == 200, address


def test_a_technician_may_look_and_an_operator_not(
    log: MakeLog, technician: Browser, new_browser: Callable[..., Browser]
) -> None:
    log()
    for path in PAGES:
        page = read(technician, path)
        assert not any("/review/export" in one for one in page.addresses)
    assert "XLSX" not in read(technician, "/review/month/2026-10").text
    operator = new_browser()
    operator.log_in("ani")
    assert operator.get("/review").status_code == 403


# --- keeping up with the log ----------------------------------------------------------------------------------------


def test_new_entries_are_taken_in_before_figures_are_shown(log: MakeLog, reviewer: Browser) -> None:
    made = log(entries=3)
    read(reviewer, "/review")
    assert made.entries == 0


def test_a_long_log_is_taken_in_by_parts_and_the_page_says_so(log: MakeLog, reviewer: Browser) -> None:
    made = log(entries=10 * MadeUp.CHUNK)
    assert "belum lengkap" in read(reviewer, "/review/month/2026-10").text
    assert made.entries == (10 - door.CHUNKS) * MadeUp.CHUNK


def test_a_database_that_cannot_be_written_shows_what_is_there(
    log: MakeLog, reviewer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(entries=3)

    @contextmanager
    def refuse(_: Database) -> Iterator[None]:
        raise StoreError(DATABASE, "attempt to write a readonly database")
        yield

    monkeypatch.setattr(Database, "write", refuse)
    text = read(reviewer, "/review/month/2026-10").text
    assert "mungkin belum yang terbaru" in text
    assert "Sesi 2.356" in text


def test_a_database_that_somebody_else_writes_for_long_is_not_called_broken(
    log: MakeLog, reviewer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(entries=3)

    @contextmanager
    def refuse(_: Database) -> Iterator[None]:
        raise StoreError(BUSY, "database is locked")
        yield

    monkeypatch.setattr(Database, "write", refuse)
    assert "belum lengkap" in read(reviewer, "/review/month/2026-10").text


def test_a_database_that_is_gone_is_told_so(log: MakeLog, reviewer: Browser, shared: Shared) -> None:
    log()
    shared.database.close()
    shared.paths.database.unlink()
    for path in ("/review", "/review/day/2026-10-14", "/review/sessions", "/review/chart/bytes/2026-10.svg"):
        assert reviewer.get(path).status_code == 503


# --- taking it away -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "begins", "name"),
    [
        ("xlsx", b"PK\x03\x04", "gerbang-64.03.01.2001-2026-10.xlsx"),
        ("csv", b"Tanggal,", "gerbang-64.03.01.2001-2026-10-hari.csv"),
        ("csv-id", b"\xef\xbb\xbfTanggal;", "gerbang-64.03.01.2001-2026-10-hari.csv"),
        ("html", b"<!doctype html>", ""),
    ],
)
def test_a_report_is_taken_away_and_that_is_recorded(
    log: MakeLog, reviewer: Browser, form: str, begins: bytes, name: str
) -> None:
    log()
    read(reviewer, "/review/month/2026-10")
    reviewer.get("/review/month/2026-10")
    response = reviewer.post(f"/review/export/2026-10.{form}")
    assert response.status_code == 200
    assert response.data.startswith(begins)
    assert name in response.headers.get("Content-Disposition", "")
    if form == "html":
        (nonce,) = re.findall(r"'nonce-([^']+)'", response.headers["Content-Security-Policy"])
        assert f'<style nonce="{nonce}">' in response.text
    trail = read(reviewer, "/audit").text
    assert "gerbang-64.03.01.2001-2026-10" in trail
    assert f"format: {form}" in trail


@pytest.mark.parametrize("path", ["2026-08.xlsx", "2026-10.pdf", "2026-13.xlsx", "x.csv"])
def test_what_is_not_there_is_not_taken_away(log: MakeLog, reviewer: Browser, path: str) -> None:
    log()
    reviewer.get("/review/month/2026-10")
    assert reviewer.post(f"/review/export/{path}").status_code == 404
    assert reviewer.post("/review/export/2026-10.csv", table="sandi").status_code == 404
    assert "Mengambil laporan" not in read(reviewer, "/audit").text


def test_nothing_leaves_where_it_cannot_be_recorded(
    log: MakeLog, reviewer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    log()
    reviewer.get("/review/month/2026-10")

    @contextmanager
    def refuse(_: Database) -> Iterator[None]:
        raise StoreError(DATABASE, "attempt to write a readonly database")
        yield

    monkeypatch.setattr(Database, "write", refuse)
    response = reviewer.post("/review/export/2026-10.csv")
    assert response.status_code == 503
    assert "Tanggal" not in response.text


# --- charts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bytes", "devices", "latency", "funnel"])
@pytest.mark.parametrize("size", ["", "?size=small"])
def test_a_chart_runs_nothing_and_fetches_nothing(log: MakeLog, reviewer: Browser, name: str, size: str) -> None:
    log()
    response = reviewer.get(f"/review/chart/{name}/2026-10.svg{size}")
    assert response.mimetype == "image/svg+xml"
    root = ET.fromstring(response.text)
    tags = {node.tag.rpartition("}")[2] for node in root.iter()}
    assert "script" not in tags
    assert not re.search(r"\s(style|on\w+|href)=", response.text)
    policy = response.headers["Content-Security-Policy"]
    (nonce,) = re.findall(r"'nonce-([^']+)'", policy)
    assert f'nonce="{nonce}"' in response.text
    assert "unsafe" not in policy
    title = next(node for node in root.iter() if node.tag.endswith("title"))
    assert title.text in read(reviewer, "/review/month/2026-10").alts


@pytest.mark.parametrize(
    "path",
    ["none/2026-10.svg", "two-bytes/2026-10.svg", "hours/2026-10.svg", "bytes/2026-10-14.svg", "two-bytes/,,.svg"],
)
def test_there_is_no_such_chart(log: MakeLog, reviewer: Browser, path: str) -> None:
    log()
    assert reviewer.get(f"/review/chart/{path}").status_code == 404


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("size", Size)
def test_names_in_a_chart_are_text(kind: Kind, size: Size) -> None:
    evil = "</text><script>alert(1)</script>&"
    series = [Series(evil, [1.0, None]), Series("b", [2.0, 3.0])]
    svg = draw(Drawing(kind, [evil, "2"], series, lambda _: evil, evil, (evil, [False, True])), size, "n")
    assert "<script" not in svg
    assert evil in ET.tostring(ET.fromstring(svg), "unicode", "text")


@pytest.mark.parametrize("values", [[None, None], [0, 0], [0, None], [1e15, 1], [1e-9, 2]])
def test_any_values_can_be_drawn(values: list[float | None]) -> None:
    for kind in Kind:
        ET.fromstring(draw(Drawing(kind, ["1", "2"], [Series("a", values)], str, "a"), Size.SMALL, "n"))
