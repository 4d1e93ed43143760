"""Option tables of iptables as python-iptables finds them in memory, of either width: netctl.kernel.optiontables."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from netctl.kernel import optiontables
from netctl.kernel.optiontables import WideEntry

NAMES = (b"connlimit-upto", b"connlimit-above", b"connlimit-mask")


class NarrowEntry(ctypes.Structure):
    """struct xt_option_entry until 1.8.10, as python-iptables has it."""

    _fields_ = (*WideEntry._fields_[:-2], ("min", ctypes.c_uint), ("max", ctypes.c_uint))


def table(kind: Any) -> Any:
    array = (kind * (len(NAMES) + 1))()
    for number, name in enumerate(NAMES):
        array[number].name, array[number].id, array[number].size = name, number, 4
    found = ctypes.cast(array, ctypes.POINTER(NarrowEntry))
    found.kept = array
    return found


def walk(_self: Any, options: Any, name: bytes) -> Any:
    """python-iptables' own look-up."""
    for entry in options:
        if not entry.name:
            break
        if entry.name == name:
            return entry
    return None


def check(seen: list[tuple[bytes, int]]) -> Any:
    def final_check(_self: Any, _name: str, _flags: int, options: Any) -> None:
        for entry in options:
            if entry.name is None:
                break
            seen.append((entry.name, entry.id))

    return final_check


@pytest.mark.parametrize("kind", [NarrowEntry, WideEntry])
def test_every_option_is_found_where_it_lies(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, int]] = []
    options, of = table(kind), type("xtables", (), {"_option_lookup": walk, "_options_fcheck": check(seen)})
    module = SimpleNamespace(xt_option_entry=NarrowEntry, xtables=of)
    monkeypatch.setitem(sys.modules, "iptc.xtables", module)
    rule = SimpleNamespace(create_match=lambda _name: SimpleNamespace(_module=SimpleNamespace(x6_options=options)))
    optiontables.mend(SimpleNamespace(Rule=lambda: rule))
    found: Any = of()
    for number, name in enumerate(NAMES):
        entry = found._option_lookup(options, name)
        assert (entry.name, entry.id, entry.size) == (name, number, 4)
        assert ctypes.addressof(entry) == ctypes.addressof(options.kept[number]), "iptables reads on from there"
    assert found._option_lookup(options, b"connlimit-beside") is None
    found._options_fcheck("connlimit", 0, options)
    assert seen == [(name, number) for number, name in enumerate(NAMES)]


def test_the_width_is_told_by_what_would_be_the_second_name() -> None:
    assert ctypes.sizeof(NarrowEntry) == optiontables.NARROW
    assert optiontables.are_wide(table(WideEntry))
    assert not optiontables.are_wide(table(NarrowEntry))
