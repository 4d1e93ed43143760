"""The staff pages' catalogues: complete, of the same ids, and with words for every code that a page may have to say."""

from __future__ import annotations

import functools
import io
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from flask import Flask

from portal import language, staff
from portal.config import Uplink
from portal.domain import asking
from portal.domain.model import UplinkState
from portal.domain.office import ClosureKind, VoucherState
from portal.domain.rollup import OS_FAMILIES
from portal.domain.staff import Role
from portal.language import load_languages
from portal.staff.frame import NAVIGATION
from portal.staff.review import about, exports, rows
from portal.store import db

PACKAGE = Path(staff.__file__).parent
OWN_PAGES = sorted((PACKAGE / "templates").glob("*.html"))  # those in folders have catalogues of their own
LANGUAGES = load_languages("portal.staff")
ID = re.compile(r"""(?:_|text|counted)\(\s*['"]([a-z-]+(?:\.[a-z-]+)+)['"]""")


@functools.cache
def catalogue(code: str) -> Catalog:
    return read_po(io.BytesIO((PACKAGE / f"translations/{code}/LC_MESSAGES/messages.po").read_bytes()))


def ids(code: str) -> set[str]:
    return {message.id if isinstance(message.id, str) else message.id[0] for message in catalogue(code) if message.id}


def test_both_languages_have_the_same_ids_and_placeholders() -> None:
    assert ids("id") == ids("en")
    for message_id in ids("id"):
        found = [catalogue_of.get(message_id).string for catalogue_of in (catalogue("id"), catalogue("en"))]
        wanted = [
            {name for text in ([one] if isinstance(one, str) else one) for name in re.findall(r"%\((\w+)\)s", text)}
            for one in found
        ]
        assert wanted[0] == wanted[1], message_id


def test_every_id_in_use_has_words() -> None:
    files = [*PACKAGE.rglob("*.html"), *PACKAGE.rglob("*.py"), Path(language.__file__)]
    used = {found for path in files for found in ID.findall(path.read_text())}
    assert len(used) > 100
    assert used - ids("id") == set()


@pytest.mark.parametrize("code", ["id", "en"])
def test_every_code_has_words(app: Flask, code: str) -> None:
    blueprints = {endpoint.partition(".")[0] for endpoints in NAVIGATION.values() for endpoint in endpoints}
    told = {
        found
        for path in PACKAGE.glob("*.py")
        for found in re.findall(r"""\bdone\(\s*"[a-z._]+",\s*"([a-z-]+)\"""", path.read_text())
    }
    wanted = {
        *(f"asked.{name}" for name in asking.PROBLEMS),
        *(f"nav.{name}" for name in blueprints),
        *(f"role.{role.value}" for role in Role),
        *(f"uplink.{state.value}" for state in UplinkState),
        *(f"voucher.{state.value}" for state in VoucherState),
        *(f"hours.{kind.value}{now}" for kind in ClosureKind for now in ("", "-now")),
        *(f"told.{name}" for name in told),
        *(f"review.method.{name}" for name in rows.METHODS),
        *(f"review.reason.{name}" for name in rows.REASONS),
        *(f"review.os.{name}" for name in OS_FAMILIES),
        *(f"review.link.{name}" for name in get_args(get_type_hints(Uplink)["link"])),
        *(f"review.table.{name}" for name in exports.TABLES),
        *(f"term.{name}{part}" for name in about.TERMS for part in ("", ".definition")),
        *(f"review.{way}{per}" for way in ("same", "grew", "fell") for per in ("", "-day")),
        *(f"problem.{name}.{part}" for name in db._HINTS for part in ("what", "todo")),
        *(
            f"{path.stem}.title"
            for path in (PACKAGE / "templates").glob("*.html")
            if path.stem not in ("base", "batch")
        ),
    }
    assert told
    missing = {name for name in wanted if not name.startswith("_") and LANGUAGES[code].text(name) == name}
    assert missing == set()


def test_no_id_is_left_over() -> None:
    """Words that nothing says are words that nobody keeps right."""
    source = "".join(
        path.read_text() for path in [*PACKAGE.rglob("*.html"), *PACKAGE.rglob("*.py"), Path(language.__file__)]
    )
    built = (
        *("asked.", "field.", "nav.", "role.", "uplink.", "voucher.", "told.", "problem.", "figure."),
        *("act.", "key.", "object.", "value.", "hours.", "today.open", "today.closed"),
        *("review.method.", "review.os.", "review.link.", "review.reason.", "review.table.", "term."),
    )
    left = {
        one
        for one in ids("id")
        if not one.startswith(built)
        and not one.endswith(".title")
        and f'"{one}"' not in source
        and f"'{one}'" not in source
    }
    assert left == set()
