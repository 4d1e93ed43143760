"""Makes a Report of the log's figures: hides small groups, rounds, adds words. It must not know SQL or formats.

Its words are in Bahasa Indonesia, as are all files that leave a gateway.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from babel.dates import format_date

from portal.config import SiteConfig
from portal.domain import localtime, suppression
from portal.domain.rollup import OS_FAMILIES, DayFigures, Line, PeriodFigures, Quality, SessionRecord
from portal.domain.suppression import FOLDED, LEAD_DAYS, Hidden, SessionRows, ShownDay, ShownStep, ShownSums
from portal.release import VERSION
from portal.reports import words
from portal.reports.definitions import LINES, Definition, Figure, definition
from portal.reports.report import Cell, Column, Report, Row, Table, added, availability, decimal, moment, once, whole
from portal.technician.words import like

FAMILY_WORDS: Final = {
    "android": "Android",
    "apple": "Apple (iOS, macOS)",
    "windows": "Windows",
    "linux": "Linux",
    "other": "lainnya",
    "unknown": "tidak diketahui",
    FOLDED: "digabung (kelompok kecil)",
}
LINK_WORDS: Final = {
    "fibre": "serat optik",
    "copper": "kabel tembaga",
    "radio": "radio",
    "mobile": "seluler",
    "satellite": "satelit",
    "other": "jalur lain",
}
FOLDED_WORD: Final = "digabung"
_STEPS: Final = (Figure.JOINED, Figure.SAW, Figure.ONLINE)


@dataclass(frozen=True, slots=True)
class Source:
    """What a report is made of: days ``first`` to ``last``, both included, as far as they are over when it is made.

    ``days``: with a log, in order, LEAD_DAYS before ``first`` and all after ``last`` too, since a session that runs on
    a hidden day takes others along. ``period(without)``: of all, what is of people without those days.
    ``sessions_of``: all sessions begun on a day, in their order. ``head``: hash of the journal's last entry.
    """

    config: SiteConfig
    first: dt.date
    last: dt.date
    days: Sequence[DayFigures]
    period: Callable[[frozenset[dt.date]], PeriodFigures]
    sessions_of: Callable[[dt.date], Sequence[SessionRecord]]
    head: bytes
    made_wall_s: float

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.config.site.timezone)

    @property
    def until(self) -> dt.date:
        """The last of them that is over: two reports of a day that goes on would tell what lay between them."""
        return min(self.last, localtime.local_date(self.made_wall_s, self.zone) - dt.timedelta(days=1))


def make(source: Source) -> Report:
    """The report. ``source.sessions_of`` is asked when the rows of sessions are read."""
    hidden = suppression.hidden_days(source.days)
    shown = [suppression.day(found, hidden) for found in source.days]
    within = [one for one in shown if source.first <= one.day <= source.until]
    unsummed = suppression.unsummed(within)
    period = source.period(unsummed)
    sums = suppression.sums(within)
    config, made = source.config, moment(source.made_wall_s, source.zone)
    desa = config.site.name or f"Desa {config.site.code}"
    return Report(
        title="Laporan penggunaan Wi-Fi desa",
        desa=desa,
        code=config.site.code,
        period=_period_words(source.first, source.last),
        office=config.office.name,
        address=config.office.address,
        classification=config.office.classification,
        made=made,
        stem=f"gerbang-{config.site.code}-{_period_code(source.first, source.last)}",
        notes=_notes(source, within),
        summary=Table("Ringkasan", _SUMMARY, once(list(_summary(source, sums, within, period)))),
        days=Table("Per hari", _day_columns(), once([_day(one) for one in within])),
        line_from=1 + _DAY_FIGURES.index(Figure.AVAILABILITY),
        sessions=Table("Sesi", _SESSIONS, functools.partial(_sessions, source, hidden)),
        about=Table("Metadata", _ABOUT, once(_about(source, desa, made, within))),
        definitions=Table("Definisi", _DEFINITIONS, once([_defined(one) for one in map(_define, Figure)])),
    )


# --- words ------------------------------------------------------------------------------------------------------------


def _define(figure: Figure) -> Definition:
    return definition(figure, words.indonesian())


def _date(day: dt.date) -> str:
    return str(format_date(day, "d MMMM y", locale="id"))


def _is_month(first: dt.date, last: dt.date) -> bool:
    return first.day == 1 and (first + dt.timedelta(days=31)).replace(day=1) == last + dt.timedelta(days=1)


def _is_year(first: dt.date, last: dt.date) -> bool:
    return (first.month, first.day, last.month, last.day, first.year) == (1, 1, 12, 31, last.year)


def _period_words(first: dt.date, last: dt.date) -> str:
    if _is_year(first, last):
        return f"Tahun {first.year}"
    if _is_month(first, last):
        return str(format_date(first, "MMMM y", locale="id"))
    return f"{_date(first)} s.d. {_date(last)}"


def _period_code(first: dt.date, last: dt.date) -> str:
    if _is_year(first, last):
        return str(first.year)
    return f"{first:%Y-%m}" if _is_month(first, last) else f"{first}--{last}"


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """How many days do not count: in medians and percentiles; of these, in the number of sessions; of these, at all."""

    median: int
    sessions: int
    people: int


def _left_out(within: Sequence[ShownDay]) -> _LeftOut:
    return _LeftOut(
        len(suppression.unsummed(within)),
        sum(isinstance(one.sessions, Hidden) for one in within),
        sum(one.hidden for one in within),
    )


def _notes(source: Source, within: Sequence[ShownDay]) -> list[str]:
    """What a reader must know before the figures."""
    said = [
        "Kelompok yang kurang dari 5 disamarkan: “<5” berarti 1 sampai 4; “disamarkan” berarti angka lain dari "
        "kelompok sekecil itu."
    ]
    left_out = _left_out(within)
    if left_out.median:
        said.append(
            f"Karena disamarkan, {left_out.median} hari tidak ikut dalam lama sesi (median) dan persentil ke-95. Dari "
            f"hari-hari itu, {left_out.sessions} tidak ikut dalam jumlah sesi, dan {left_out.people} tidak ikut dalam "
            "angka perangkat, puncak dan byte. Angka jalur internet mencakup semua hari."
        )
    if source.until < source.last:
        said.append(f"Periode ini belum selesai: angkanya sampai {_date(source.until)}.")
    return said


# --- Ringkasan --------------------------------------------------------------------------------------------------------

_SUMMARY: Final = (
    Column("Bagian", width=34),
    Column("Data", width=34),
    Column("Nilai", width=20),
    Column("Satuan", width=12),
    Column("Terbaca", width=20),
)


def _summary(source: Source, sums: ShownSums, within: Sequence[ShownDay], period: PeriodFigures) -> Iterator[Row]:
    yield "Catatan", "Hari dalam periode", (source.last - source.first).days + 1, "hari", None
    yield "Catatan", "Hari dengan catatan", sums.days, "hari", None
    yield "Catatan", "Hari yang disamarkan", sums.days_hidden, "hari", None
    use = functools.partial(_figure, "Penggunaan")
    nothing = within and len(suppression.unsummed(within)) == len(within)
    yield use(Figure.DEVICES_MOST, sums.devices_most)
    yield use(Figure.DEVICES_MEAN, decimal(sums.devices_mean, 1))
    yield use(Figure.SESSIONS, sums.sessions)
    yield use(Figure.MEDIAN, Hidden.WITHHELD if nothing else _seconds(period.median_session_s))
    yield use(Figure.PEAK, sums.peak_online)
    peak = Hidden.WITHHELD if nothing else sums.peak_online
    yield use(Figure.P95, peak if isinstance(peak, Hidden) else _shown(period.p95_online))
    yield use(Figure.UP, sums.up_bytes)
    yield use(Figure.DOWN, sums.down_bytes)
    seconds, lines = _line_seconds(source, within), period.lines
    if len(lines) != 1:
        yield from _line("Jalur internet, semua", seconds, period.quality)
    for provider in sorted(lines, key=lambda provider: (provider.name, provider.link)):
        lasted, quality = lines[provider]
        name = f"{provider.name}, " if provider.name else ""
        part = f"Jalur internet: {name}{LINK_WORDS.get(provider.link, provider.link)}"
        yield from _line(part, seconds if len(lines) == 1 else whole(lasted), quality)
    yield from _funnel("Masuk, semua perangkat", sums.all_families)
    for family in (*OS_FAMILIES, FOLDED):
        if family in sums.funnel:
            yield from _funnel(f"Masuk, {FAMILY_WORDS[family]}", sums.funnel[family])


def _figure(part: str, figure: Figure, value: Cell) -> Row:
    found = _define(figure)
    return part, found.concept, value, found.unit, _readable(value, found.unit)


def _readable(value: Cell, unit: str) -> str | None:
    """The same for people, where a number is long."""
    if not isinstance(value, int) or not value:
        return None
    if unit == _define(Figure.UP).unit:
        return words.indonesian().size(value)
    return words.indonesian().duration(value) if unit == _define(Figure.MEDIAN).unit else None


def _line_seconds(source: Source, within: Sequence[ShownDay]) -> dict[Line, int]:
    """The sum of what the days show, and of days without any log that they were before it."""
    there = {one.day for one in within}
    before = sum(
        localtime.day_start(day + dt.timedelta(days=1), source.zone) - localtime.day_start(day, source.zone)
        for day in _days(source.first, source.until)
        if day not in there
    )
    return added([*(whole(one.seconds) for one in within), {Line.BEFORE: round(before)}])


def _line(part: str, seconds: Mapping[Line, int], quality: Quality) -> Iterator[Row]:
    yield _figure(part, Figure.AVAILABILITY, availability(seconds))
    for line, figure in LINES.items():
        yield _figure(part, figure, seconds.get(line, 0))
    for figure, value in zip(_QUALITY, _quality(quality), strict=True):
        yield _figure(part, figure, value)


def _funnel(part: str, step: ShownStep) -> Iterator[Row]:
    for figure, value in zip(_STEPS, (step.joined, step.saw, step.online), strict=True):
        yield part, _define(figure).concept, value, "perangkat-hari", None  # a device counts once for each day


_QUALITY: Final = (Figure.LATENCY_P50, Figure.LATENCY_P95, Figure.LOSS_P50, Figure.LOSS_P95)


def _quality(quality: Quality) -> tuple[Decimal | None, ...]:
    return (
        decimal(quality.latency_p50_ms, 1),
        decimal(quality.latency_p95_ms, 1),
        _percent(quality.loss_p50),
        _percent(quality.loss_p95),
    )


def _percent(share: float | None) -> Decimal | None:
    return None if share is None else decimal(share * 100, 1)


def _seconds(value: float | Hidden | None) -> int | Hidden | None:
    return value if isinstance(value, Hidden) or value is None else round(value)


def _shown(count: int) -> int | Hidden:
    return suppression.shown(count)


# --- Per hari ---------------------------------------------------------------------------------------------------------

_DAY_FIGURES: Final = (
    *(Figure.DEVICES, Figure.SESSIONS, Figure.MEDIAN, Figure.PEAK, Figure.P95, Figure.UP, Figure.DOWN, *_STEPS),
    *(Figure.AVAILABILITY, *LINES.values(), *_QUALITY),
)


def _day_columns() -> tuple[Column, ...]:
    figures = [Column(found.concept, found.unit, 15) for found in map(_define, _DAY_FIGURES)]
    return (Column("Tanggal"), *figures, Column(_define(Figure.CERTAIN).concept, width=9))


def _day(one: ShownDay) -> Row:
    seconds = whole(one.seconds)
    return (
        one.day,
        one.devices,
        one.sessions,
        _seconds(one.median_session_s),
        one.peak_online,
        one.p95_online,
        one.up_bytes,
        one.down_bytes,
        one.all_families.joined,
        one.all_families.saw,
        one.all_families.online,
        availability(seconds),
        *(seconds.get(line, 0) for line in LINES),
        *_quality(one.quality),
        _yes(one.certain),
    )


def _yes(value: bool) -> str:
    return "ya" if value else "tidak"


# --- Sesi -------------------------------------------------------------------------------------------------------------

_SESSIONS: Final = (
    Column("Tanggal"),
    Column("Nomor", width=13),
    Column("Perangkat (nama samaran)", width=24),
    Column("Paket", width=14),
    Column("Cara masuk", width=14),
    Column("Mulai", width=19),
    Column("Selesai", width=19),
    Column("Lama", "detik", 14),
    Column("Unggah", "byte", 16),
    Column("Unduh", "byte", 16),
    Column("Alasan berakhir", width=28),
    Column("Lanjutan", width=9),
    Column("Jam pasti", width=9),
)


def _sessions(source: Source, hidden: frozenset[dt.date]) -> Iterator[Row]:
    """A day's sessions, or one row that says that they are hidden.

    Numbers count within a day. The journal's own numbers would tell by their gaps how many are hidden.
    """
    rows = SessionRows(hidden, source.zone, source.made_wall_s)
    say = _session_words(source)
    for day in _days(source.first - dt.timedelta(days=LEAD_DAYS), source.until):
        found = source.sessions_of(day)
        told = rows.of_day(day, found)
        if day < source.first:
            continue
        if found and not told:
            yield day, *(Hidden.WITHHELD,) * (len(_SESSIONS) - 1)
        for number, one in enumerate(told, 1):
            yield say(day, number, one)


def _days(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    return (first + dt.timedelta(days=number) for number in range((last - first).days + 1))


def _session_words(source: Source) -> Callable[[dt.date, int, SessionRecord], Row]:
    catalogue, zone = like("id"), source.zone
    plans = {plan.id: plan.name for plan in source.config.plan}

    @functools.cache
    def word(kind: str, name: str) -> str:
        found = catalogue.text(f"{kind}.{name}")
        return FOLDED_WORD if name == FOLDED else name if found == f"{kind}.{name}" else found

    def row(day: dt.date, number: int, one: SessionRecord) -> Row:
        began = moment(one.began_wall_s, zone)
        ended = None if one.ended_wall_s is None else moment(one.ended_wall_s, zone)
        return (
            day,
            f"{day:%Y%m%d}-{number:03}",
            f"#{one.device}",  # with digits alone a spreadsheet would take it for a number
            FOLDED_WORD if one.plan == FOLDED else plans.get(one.plan, one.plan),
            word("method", one.method),
            began,
            ended,
            None if ended is None else round(ended.timestamp() - began.timestamp()),
            one.up_bytes,
            one.down_bytes,
            None if one.reason is None else word("reason", one.reason),
            None if one.continues is None else "ya",
            _yes(one.certain),
        )

    return row


# --- Metadata ---------------------------------------------------------------------------------------------------------

_ABOUT: Final = (Column("Keterangan", width=34), Column("Isi", width=80))
_DEFINITIONS: Final = (
    Column("Konsep", width=34),
    Column("Definisi", width=80),
    Column("Klasifikasi", width=34),
    Column("Ukuran", width=16),
    Column("Satuan", width=14),
)


def _about(source: Source, desa: str, made: dt.datetime, within: Sequence[ShownDay]) -> list[Row]:
    config, left_out = source.config, _left_out(within)
    return [
        ("Judul", "Laporan penggunaan Wi-Fi desa"),
        ("Desa", desa),
        ("Kode wilayah (Kemendagri)", config.site.code),
        ("Periode", _period_words(source.first, source.last)),
        ("Hari pertama", source.first),
        ("Hari terakhir", source.last),
        ("Angka sampai dengan", source.until),
        ("Zona waktu", config.site.timezone),
        ("Produsen data", config.office.name),
        ("Alamat produsen", config.office.address or None),
        ("Klasifikasi", config.office.classification),
        ("Dibuat pada", made),
        ("Dibuat dengan", f"Gerbang {VERSION}"),
        (
            "Cara pembuatan",
            "Dihitung dari catatan penggunaan gateway, yang hanya bertambah dan berantai sidik (SHA-256).",
        ),
        ("Catatan: sidik terakhir", source.head.hex()),  # its number would tell, report by report, how much is hidden
        ("Hari dengan catatan", len(within)),
        ("Penyamaran", "Kelompok 1 sampai 4 ditulis <5; angka lain dari kelompok itu ditulis disamarkan."),
        ("Hari yang disamarkan", left_out.people),
        ("Hari di luar jumlah sesi", left_out.sessions),
        ("Hari di luar median dan persentil ke-95", left_out.median),
        (
            "Median",
            "Dari sedikitnya 5 sesi, tanpa yang juga berjalan pada hari yang disamarkan; selain itu disamarkan.",
        ),
        (
            "Baris sesi",
            "Sesi suatu hari dimuat semua atau tidak sama sekali: tidak dimuat bila berasal dari kurang dari 5 "
            "perangkat, atau bila ada yang juga berjalan pada hari yang disamarkan.",
        ),
        ("Paket dan cara masuk", "Bila dipakai kurang dari 5 perangkat pada hari itu, ditulis digabung."),
    ]


def _defined(one: Definition) -> Row:
    return one.concept, one.definition, one.classification, one.measure, one.unit
