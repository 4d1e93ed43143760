"""The technician's sentences: one catalogue for the command line and for the pages. It must not know who shows them."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from portal.language import Language, load_languages


@functools.cache
def languages() -> Mapping[str, Language]:
    """All catalogues by code. ValueError: one that cannot be read."""
    return load_languages(__package__)


def english() -> Language:
    """For the command line, the log and files."""
    return languages()["en"]


def like(code: str) -> Language:
    """The language that a page is in, else the first."""
    found = languages()
    return found.get(code) or next(iter(found.values()))
