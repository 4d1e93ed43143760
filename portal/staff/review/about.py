"""What each figure means: the page that every figure leads to. It must not know any figure's value."""

from __future__ import annotations

import flask

from portal.reports import words
from portal.reports.definitions import definitions as all_definitions
from portal.staff.auth import roles
from portal.staff.frame import language
from portal.staff.review.door import READERS, blueprint, show

TERMS = ("day", "heat", "change", "strip", "device", "os", "hidden")
"""What the pages show besides figures; their words are ``term.<id>`` and ``term.<id>.definition``."""


@blueprint.get("/review/definitions")
@roles(*READERS)
def definitions() -> flask.Response:
    text = language().text
    return show(
        "definitions",
        text("review.definitions-title"),
        definitions=all_definitions(words.like(language().code)),
        terms=[(term, text(f"term.{term}"), text(f"term.{term}.definition")) for term in TERMS],
    )
