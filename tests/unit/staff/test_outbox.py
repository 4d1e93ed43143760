"""The technician's page of batches for the office: what it says, and that the office can read what it hands out."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from portal import batchfiles
from portal.config import Office
from portal.staff.app import create_app
from portal.staff.shared import Shared
from portal.store import outbox as store
from tests.unit.outbox.making import GATEWAY, OFFICE, Maker, hold
from tests.unit.portal.fakes import Clock
from tests.unit.staff.conftest import Browser

PAGE = "/technician/outbox"
COUNT = 40
NO_KEY, NO_CLOCK, EMPTY = "belum berisi office.key", "Jam gateway belum disetel", "Belum ada batch"


@pytest.fixture
def desk(shared: Shared) -> Browser:
    """A technician where the office has a key and the clock is NTP's."""
    shared = replace(shared, config=structs.replace(shared.config, office=Office(key=OFFICE.key.line)))
    with shared.database.write() as db:
        db.execute("UPDATE meta SET trusted_boot_id = ?", (shared.read_clock().boot_id,))
    browser = Browser(create_app(shared))
    browser.log_in("tono")
    return browser


@pytest.fixture
def made(shared: Shared, clock: Clock) -> Maker:
    with shared.database.write() as db:
        return hold(db, COUNT, clock.now.wall_s)


def test_the_page_says_what_is_held_and_whose_it_is(desk: Browser, made: Maker) -> None:
    page = desk.get(PAGE).text
    assert re.search(rf"Batch yang disimpan</dt><dd>{COUNT}<small>[\d,]+\N{{NO-BREAK SPACE}}kB", page)
    assert "24 Nov 2026" in page and GATEWAY.fingerprint in page
    for sentence in (NO_KEY, NO_CLOCK, EMPTY):
        assert sentence not in page


def test_the_office_reads_what_was_downloaded(desk: Browser, made: Maker, tmp_path: Path) -> None:
    desk.get(PAGE)
    answer = desk.post(PAGE)
    assert answer.status_code == 200 and answer.mimetype == "application/zip"
    assert re.search(r"gerbang-kantor-64\.03\.01\.2001-\d{4}-\d\d-\d\d\.zip", answer.headers["Content-Disposition"])
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "kantor")
    assert {path.name: path.read_bytes() for path in (tmp_path / "kantor").iterdir()} == made.files
    report = batchfiles.check(tmp_path / "kantor", [GATEWAY.fingerprint], OFFICE)
    assert [len(chain.batches) for chain in report.chains] == [COUNT]
    assert report.good


def test_a_download_removes_nothing_and_is_in_the_audit_trail(desk: Browser, made: Maker, shared: Shared) -> None:
    desk.get(PAGE)
    assert desk.post(PAGE).data == desk.post(PAGE).data
    with shared.database.read() as db:
        assert store.held(db).batches == COUNT
        rows = db.execute("SELECT actor, role, after FROM audit WHERE action = 'outbox.export'").fetchall()
    assert [(actor, role, json.loads(after)) for actor, role, after in rows] == [
        ("tono", "technician", {"batches": COUNT})
    ] * 2


def test_what_is_missing_is_said(desk: Browser, technician: Browser, shared: Shared) -> None:
    page = desk.get(PAGE).text
    assert EMPTY in page and NO_KEY not in page and NO_CLOCK not in page
    assert f'action="{PAGE}"' not in page, "there is nothing to take"
    assert NO_KEY in technician.get(PAGE).text, "a site without a key"
    with shared.database.write() as db:
        db.execute("UPDATE meta SET trusted_boot_id = 'another'")
    assert NO_CLOCK in desk.get(PAGE).text
    assert NO_CLOCK not in technician.get(PAGE).text, "the key comes first"


@pytest.mark.parametrize("name", ["ani", "rina"])
def test_nobody_else_takes_it(browser: Any, name: str) -> None:
    browser.log_in(name)
    assert browser.get(PAGE).status_code == 403
    assert browser.post(PAGE).status_code == 403
