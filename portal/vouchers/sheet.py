"""What stands on a voucher's card, in plain Bahasa Indonesia. It must not know PDF, HTML or SQL.

Cards of one batch differ in code and QR only; all else is said once.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from babel.dates import format_date
from babel.numbers import format_decimal

from portal.config import Plan, SiteConfig
from portal.domain import codes, localtime
from portal.domain.office import Batch, Voucher
from portal.vouchers.url import code_url

# Which of the eight masks is on a QR only evens out its dots; every reader reads all eight (ISO/IEC 18004, 7.8).
# To try them all for each code is five sixths of the time that a thousand codes take.
_QR_MASK: Final = 3
QUIET_MODULES: Final = 4  # ISO/IEC 18004, 6.3.8: white around the dots, in dots


class Paper(enum.StrEnum):
    A4 = "a4"  # cards to cut
    RECEIPT = "receipt"  # a roll 58 mm wide, of which 48 mm are printed; one card a page


@dataclass(frozen=True, slots=True)
class Card:
    """``code`` as people read it, ABCD-EFGH; ``url`` is what the QR says."""

    code: str
    url: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """All cards of a print, and what is the same on each. ``terms``: what the voucher gives, a short line each."""

    site: str
    wifi: str
    terms: tuple[str, ...]
    validity: str
    steps: str
    help: str
    cards: tuple[Card, ...]


def sheet_of(config: SiteConfig, batch: Batch, vouchers: Iterable[Voucher]) -> Sheet:
    """The print of these vouchers of one batch. A plan that is gone from site.toml is the site's first."""
    plan = next((plan for plan in config.plan if plan.id == batch.plan), config.plan[0])
    zone = ZoneInfo(config.site.timezone)
    return Sheet(
        site=config.site.name or f"Desa {config.site.code}",
        wifi=config.wifi.ssid,
        terms=terms(plan, batch.devices),
        validity=validity(batch.valid_from_wall_s, batch.valid_until_wall_s, zone),
        steps="Sambung. Pindai. Masuk.",
        help="Tanpa kamera: sambungkan HP ke Wi-Fi ini, tunggu halamannya terbuka, lalu ketik kode di atas.",
        cards=tuple(Card(codes.shown(voucher.code), code_url(config, voucher.code)) for voucher in vouchers),
    )


def terms(plan: Plan, devices: int) -> tuple[str, ...]:
    """What the plan gives, in words; limits that it does not have are not mentioned."""
    speed = "" if plan.down_kbit is None else f", sampai {_rate(plan.down_kbit)}"
    said = [f"{plan.name}{speed}"]
    if plan.session_minutes is not None:
        said.append(f"{_minutes(plan.session_minutes)} sekali masuk")
    daily = []
    if plan.daily_minutes is not None:
        daily.append(_minutes(plan.daily_minutes))
    if plan.daily_megabytes is not None:
        daily.append(_megabytes(plan.daily_megabytes))
    if daily:
        said.append(f"{', '.join(daily)} per hari")
    said.append(f"untuk {devices} perangkat")
    return tuple(said)


def validity(from_wall_s: float | None, until_wall_s: float | None, zone: dt.tzinfo) -> str:
    """When the code works. An end at midnight is said as the day before it, which is the last."""
    begin = "" if from_wall_s is None else _day(from_wall_s, zone)
    if until_wall_s is None:
        return f"Berlaku mulai {begin}" if begin else "Berlaku tanpa batas tanggal"
    if until_wall_s == localtime.day_start(localtime.local_date(until_wall_s, zone), zone):
        end = _day(until_wall_s - 1, zone)
    else:
        end = f"{_day(until_wall_s, zone)} {dt.datetime.fromtimestamp(until_wall_s, zone):%H.%M}"
    return f"Berlaku {begin} s.d. {end}" if begin else f"Berlaku s.d. {end}"


def qr_rows(url: str) -> Sequence[Sequence[int]]:
    """The QR's dots, row by row, 1 is black; without the quiet zone. At least level M: 15 % may be unreadable."""
    import segno  # noqa: PLC0415 - as the PDF library: loaded where something is printed

    return segno.make_qr(url, error="m", mask=_QR_MASK).matrix  # type: ignore[no-any-return, unused-ignore]


def runs(rows: Sequence[Sequence[int]]) -> Iterator[tuple[int, int, int]]:
    """(x, y, length) of the black stretches of all rows: a quarter of as many shapes as there are dots."""
    for y, row in enumerate(rows):
        x = 0
        while x < len(row):
            end = x
            while end < len(row) and row[end]:
                end += 1
            if end > x:
                yield x, y, end - x
            x = max(end, x + 1)


def _rate(kbit: int) -> str:
    return f"{_number(kbit / 1000)} Mbps" if kbit >= 1000 else f"{kbit} kbps"


def _megabytes(megabytes: int) -> str:
    return f"{_number(megabytes / 1000)} GB" if megabytes >= 1000 else f"{megabytes} MB"


def _minutes(minutes: int) -> str:
    if minutes % 1440 == 0 and minutes > 1440:
        return f"{minutes // 1440} hari"
    hours, rest = divmod(minutes, 60)
    return " ".join(part for part in (f"{hours} jam" if hours else "", f"{rest} menit" if rest else "") if part)


def _number(value: float) -> str:
    return str(format_decimal(value, "#,##0.#", locale="id"))


def _day(wall_s: float, zone: dt.tzinfo) -> str:
    return str(format_date(localtime.local_date(wall_s, zone), "d MMM y", locale="id"))
