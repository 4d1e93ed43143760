"""Sheets for tests, and what a phone's camera and a person read from a rendered page. It knows no renderer."""

from __future__ import annotations

from collections.abc import Sequence

import pypdfium2
import zxingcpp

from portal.config import Lan, Plan, Site, SiteConfig, Wifi
from portal.domain import codes
from portal.domain.office import Batch, Voucher
from portal.vouchers.sheet import Sheet, sheet_of

WARGA = Plan(id="warga", name="Warga", down_kbit=5000, daily_minutes=120, daily_megabytes=500)


def config(name: str = "Desa Muara Kaman Ulu", ssid: str = "Wi-Fi Desa") -> SiteConfig:
    return SiteConfig(
        site=Site(code="64.03.01.2001", name=name), wifi=Wifi(ssid=ssid), lan=Lan(address="10.77.0.1/20"), plan=(WARGA,)
    )


def vouchers(count: int) -> tuple[Batch, list[Voucher]]:
    batch = Batch(7, "warga", 2, None, 1_798_732_800.0, "", 1_790_000_000.0, "sari")  # to 2026-12-31 24:00 WITA
    return batch, [Voucher(number, codes.new_code(), batch, None, 0) for number in range(count)]


def sheet(count: int, **site: str) -> Sheet:
    batch, made = vouchers(count)
    return sheet_of(config(**site), batch, made)


def qrs_of(pdf: bytes, dpi: int = 200) -> list[list[str]]:
    """What a camera reads from each page, as a printer of ``dpi`` dots an inch puts it on paper."""
    pages = []
    for page in pypdfium2.PdfDocument(pdf):
        picture = page.render(scale=dpi / 72, grayscale=True).to_pil()
        pages.append(sorted(found.text for found in zxingcpp.read_barcodes(picture)))
    return pages


def texts_of(pdf: bytes) -> list[str]:
    """The text of each page."""
    return [page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(pdf)]


def chunks(values: Sequence[str], size: int) -> list[list[str]]:
    return [sorted(values[at : at + size]) for at in range(0, len(values), size)]
