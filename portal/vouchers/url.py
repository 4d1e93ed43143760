"""The address that a printed or shown QR leads to. It must not know what lies behind it."""

from __future__ import annotations

from portal.config import SiteConfig


def code_url(config: SiteConfig, code: str) -> str:
    """Where a phone gets in with ``code`` (ABCDEFGH) by one tap.

    By address and over http: it works before any name does, and a printed sheet outlives a certificate.
    """
    return f"http://{config.lan.address.partition('/')[0]}/v/{code}"
