"""Lets python-iptables read the option tables of newer iptables. It must not know any rule.

iptables 1.8.11 (Debian trixie) has made ``min`` and ``max`` of an option 64 bits wide (struct xt_option_entry in
xtables.h), so that entries are 56 bytes apart and no longer 48. python-iptables 1.2 walks the tables with the old
width: it finds the first option of an extension alone ("no such parameter"), and may crash looking for others.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any, Final

# One of whose table both widths tell something: "connlimit-upto", the first of several options, has no maximum.
KNOWN: Final = "connlimit"
NARROW: Final = 48


class WideEntry(ctypes.Structure):
    """struct xt_option_entry since 1.8.11."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        *((name, ctypes.c_uint) for name in ("type", "id", "excl", "also", "flags", "ptroff")),
        ("size", ctypes.c_size_t),
        ("min", ctypes.c_uint64),
        ("max", ctypes.c_uint64),
    )


def are_wide(table: Any) -> bool:
    """Of KNOWN's table: is what would be the second name, were entries narrow, none?"""
    second = ctypes.addressof(table.contents) + NARROW
    return ctypes.c_uint64.from_address(second).value == 0


def entries(table: Any, kind: Any) -> Iterator[Any]:
    """Those of a wide table, as the narrow ``kind`` that begins alike, each where it lies."""
    wide = ctypes.cast(table, ctypes.POINTER(WideEntry))
    index = 0
    while wide[index].name:
        yield kind.from_address(ctypes.addressof(wide[index]))
        index += 1


def mend(iptc: Any) -> None:
    """Once, before the first rule; nothing is done where the tables are as python-iptables knows them."""
    known = iptc.Rule().create_match(KNOWN)
    if not are_wide(known._module.x6_options):
        return
    module = sys.modules["iptc.xtables"]
    kind, of = module.xt_option_entry, module.xtables
    check = of._options_fcheck

    def lookup(_self: Any, table: Any, name: bytes) -> Any:
        return next((entry for entry in entries(table, kind) if entry.name == name), None)

    def final_check(self: Any, name: str, xflags: int, table: Any) -> None:
        """Its own walks the table once more: over a copy that is as it knows it."""
        narrow = (kind * (1 + sum(1 for _ in entries(table, kind))))()
        for index, entry in enumerate(entries(table, kind)):
            ctypes.memmove(ctypes.addressof(narrow[index]), ctypes.addressof(entry), ctypes.sizeof(kind) - 8)
        check(self, name, xflags, narrow)

    of._option_lookup, of._options_fcheck = lookup, final_check
