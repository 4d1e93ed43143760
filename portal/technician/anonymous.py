"""Replaces in a text what names a person or a device, the same thing by the same number. Pure: it reads no files.

It must not know where a text comes from. Numbers are those of one bundle: nobody can tell by two bundles that a
device was in both. What looks like a MAC, an IP address, a voucher or return code, a password's hash or a long random
number goes, wherever it stands.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from portal.domain import codes

_MAC: Final = re.compile(r"(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:])")
_IPV4: Final = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.]*[0-9])")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")  # what may be one; ipaddress says whether it is
_CODE: Final = re.compile(
    rf"(?<![A-Za-z0-9])[{codes.ALPHABET}]{{4}}-?[{codes.ALPHABET}]{{4}}(?![A-Za-z0-9])", re.IGNORECASE
)
_HASH: Final = re.compile(r"\$argon2[^\s\"']*|(?<![0-9A-Za-z])[0-9a-f]{32,}(?![0-9A-Za-z])", re.IGNORECASE)


class Anonymous:
    """Of one bundle. ``names``: words to take out as they stand; ``kept``: addresses that are nobody's, like the
    gateway's own and the networks of its rules."""

    def __init__(self, names: Iterable[str] = (), kept: Iterable[str] = ()) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._kept = {*kept, "0.0.0.0", "255.255.255.255", "127.0.0.1", "::", "::1"}  # noqa: S104 - not listened on
        words = sorted({name for name in names if len(name) > 1}, key=len, reverse=True)
        pattern = "|".join(re.escape(word) for word in words)
        self._names = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE) if words else None

    def text(self, text: str) -> str:
        """``text`` without any of them."""
        text = _HASH.sub("<hash>", text)
        if self._names is not None:
            text = self._names.sub(lambda found: self._number("name", found[0].lower()), text)
        text = _MAC.sub(lambda found: self._number("mac", found[0].lower().replace("-", ":")), text)
        text = _IPV6.sub(self._address, text)
        text = _IPV4.sub(self._address, text)
        return _CODE.sub(self._code, text)

    def _address(self, found: re.Match[str]) -> str:
        text = found[0]
        # A sentence's colon or full stop may stand behind an address, and an address may end with two colons itself.
        for end in range(len(text), max(len(text) - 3, 0), -1):
            try:
                address = str(ipaddress.ip_address(text[:end]))
            except ValueError:
                continue
            return (text[:end] if address in self._kept else self._number("ip", address)) + text[end:]
        return text  # a time, a version

    def _code(self, found: re.Match[str]) -> str:
        return "<code>" if codes.parse(found[0]) is not None else found[0]

    def _number(self, kind: str, value: str) -> str:
        number = self._numbers.setdefault((kind, value), 1 + sum(known == kind for known, _ in self._numbers))
        return f"<{kind} {number}>"
