"""The words of figures and reports: one catalogue for files and pages. It must not know who shows them."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from portal.language import SOURCE, Language, load_languages


@functools.cache
def languages() -> Mapping[str, Language]:
    """All catalogues by code. ValueError: one that cannot be read."""
    return load_languages(__package__)


def indonesian() -> Language:
    """For every file that is written: those who read them do so in Bahasa Indonesia."""
    return languages()[SOURCE]


def like(code: str) -> Language:
    """The language that a page is in, else the first."""
    found = languages()
    return found.get(code) or next(iter(found.values()))
