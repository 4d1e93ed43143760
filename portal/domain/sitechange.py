"""Says how one site.toml differs from another: line by line for people, key by key for the audit trail. Pure.

It must not know what the keys mean, nor where the texts come from.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

NAMES: Final = ("id", "first")  # by these the tables of a list are told apart: a plan's id, a closure's first day


def lines(old: str, new: str) -> list[str]:
    """A unified diff with two lines of context: each line begins with a blank, ``-``, ``+`` or ``@``."""
    found = difflib.unified_diff(old.splitlines(), new.splitlines(), n=2, lineterm="")
    return list(found)[2:]  # without the two lines that name files


def keys(old: str, new: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the keys that differ held before and hold after; a key that is missing on one side is missing there too.

    Keys are written as in mistakes, the tables of a list by their own names: ``plan[warga].down_kbit``. Texts that are
    no TOML differ as a whole.
    """
    try:
        before, after = dict(_flat("", tomllib.loads(old))), dict(_flat("", tomllib.loads(new)))
    except tomllib.TOMLDecodeError:
        before, after = {"": old}, {"": new}
    missing = object()
    differ = [key for key in before | after if before.get(key, missing) != after.get(key, missing)]
    return (
        {key: before[key] for key in differ if key in before},
        {key: after[key] for key in differ if key in after},
    )


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, inner)
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value, 1):
            name = next((item[key] for key in NAMES if key in item), number)
            yield from _flat(f"{prefix}[{name}]", item)
    else:
        yield prefix, value if isinstance(value, str | int | float | bool | list) else str(value)


def line_of(text: str, key: str) -> int | None:
    """The line, from 1, that a mistake's key path stands on: ``plan[2].down_kbit``, ``lan``; its table's head where the
    key is missing; None: nowhere."""
    table, _, name = key.partition(".")
    table, _, number = table.partition("[")
    wanted, seen, head = int(number.rstrip("]") or 1) if number else 1, 0, None
    inside = False
    for at, line in enumerate(text.splitlines(), 1):
        stripped = line.split("#")[0].strip()
        if stripped.startswith("["):
            seen += stripped.strip("[] ") == table
            inside = stripped.strip("[] ") == table and seen == wanted
            head = at if inside else head
            continue
        found = stripped.partition("=")[0].strip()
        if (inside and name == found) or (head is None and not name and table == found):
            return at
    return head
