"""What every format shows alike: the words for hidden figures, and texts that no spreadsheet takes for a formula."""

from __future__ import annotations

from typing import Final

from portal.domain.suppression import Hidden

HIDDEN_WORDS: Final = {Hidden.FEW: "<5", Hidden.WITHHELD: "disamarkan"}


def harmless(text: str) -> str:
    """With an apostrophe before what Excel, LibreOffice and others would calculate (OWASP: CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
