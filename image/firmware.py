"""Decides which firmware stays: what a layer names, and what links lead to it. It must not know a chip."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping


def kept(paths: Iterable[str], links: Mapping[str, str], patterns: Iterable[str]) -> set[str]:
    """Of ``paths`` (files and links below /usr/lib/firmware) those to keep; ``links`` says where a link leads.

    Firmware is requested by one name and stored under another: what a kept link leads to is kept, too.
    """
    paths = set(paths)
    wanted = [_compiled(pattern) for pattern in patterns]
    todo = [path for path in paths if any(pattern.fullmatch(path.removesuffix(".xz")) for pattern in wanted)]
    keep: set[str] = set()
    while todo:
        path = todo.pop()
        if path in keep:
            continue
        keep.add(path)
        if path in links:
            leads = posixpath.normpath(posixpath.join(posixpath.dirname(path), links[path]))
            # To a file, or to a directory with all that is in it.
            todo += [other for other in paths if other == leads or other.startswith(f"{leads}/")]
    return keep


def unused(paths: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Patterns that name nothing: a package was renamed, or its files were."""
    paths = [path.removesuffix(".xz") for path in paths]
    return [pattern for pattern in patterns if not any(_compiled(pattern).fullmatch(path) for path in paths)]


def _compiled(pattern: str) -> re.Pattern[str]:
    """`**` stands for anything, `*` for anything within one directory."""
    words = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(words.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*)", pattern)))
