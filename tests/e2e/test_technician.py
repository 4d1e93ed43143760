"""The technician's pages on the whole gateway: a change is tried and kept by clicks, a backup goes both ways."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from portal.staff import technician_files
from tests.village import story
from tests.village.gateway import SITE_FILE, GerbangGateway, to_toml
from tests.village.staffbrowser import StaffBrowser, of_the_paper
from tests.village.village import Village

NEW_PASSWORD = "empat kata yang panjang"


@pytest.fixture(scope="module")
def village() -> Iterator[Village]:
    with Village(phones=1, site={"plan": [story.PLAN]}) as found:
        found.phones[0].dhcp()
        found.phones[0].login()
        yield found


@pytest.fixture(scope="module")
def gateway(village: Village) -> GerbangGateway:
    assert isinstance(village.gateway, GerbangGateway)
    return village.gateway


@pytest.fixture(scope="module")
def browser(gateway: GerbangGateway) -> StaffBrowser:
    """Logged in as the technician, by the paper of the first start."""
    found = StaffBrowser(gateway.ns)
    paper = gateway.data / "STAFF-PASSWORDS.txt"
    end_s = time.monotonic() + 20  # the staff pages are the last to start
    while not paper.exists() and time.monotonic() < end_s:
        time.sleep(0.1)
    found.first_log_in("teknisi", of_the_paper("teknisi", paper.read_text()), NEW_PASSWORD)
    return found


def test_a_change_is_seen_tried_and_kept_by_clicks(
    village: Village, gateway: GerbangGateway, browser: StaffBrowser
) -> None:
    text = to_toml(gateway.site | {"plan": [{**story.PLAN, "down_kbit": 9000}]})
    assert "5000" in browser.get("/technician/config")
    status, page = browser.post("/technician/config", text=text, do="check")
    assert status == 200 and b"+down_kbit = 9000" in page
    status, page = browser.post("/technician/config", text=text, do="apply")
    assert status == 200 and b'http-equiv="refresh"' in page, page[:2000]
    time.sleep(technician_files.AGAIN_AFTER_S)  # as the page's refresh does
    browser.wait("/technician/config", "/technician/config/confirm")
    assert "9000" not in gateway.box.read(SITE_FILE)
    assert browser.post("/technician/config/confirm")[0] == 303
    assert "9000" in gateway.box.read(SITE_FILE)
    assert village.phones[0].is_online()
    entries = [row["action"] for row in gateway.sql("SELECT action FROM audit WHERE actor = 'teknisi' ORDER BY id")]
    assert entries[-2:] == ["config.apply", "config.confirm"]


def test_health_and_one_phone_are_told_by_the_unprivileged_pages(
    village: Village, gateway: GerbangGateway, browser: StaffBrowser
) -> None:
    page = browser.get("/technician")
    assert "Router penyedia" in page and "Basis data" in page and "netctl menjawab" in page
    phone = village.phones[0]
    page = browser.get(f"/technician/device?device={phone.address}")
    assert "Ia tersambung: di sini tidak ada yang menghalangi." in page, page[page.find("<main") :][:3000]
    assert "ceil 9000" in page


def test_a_backup_made_and_restored_by_clicks(village: Village, gateway: GerbangGateway, browser: StaffBrowser) -> None:
    browser.get("/technician/backup")
    status, content = browser.post("/technician/backup")
    assert status == 200 and content[:2] == b"\x1f\x8b", content[:300]
    browser.get("/technician/backup")
    status, page = browser.upload("/technician/restore", content[:-100], what="all")
    assert status == 422 and b"cannot be read" in page
    status, page = browser.upload("/technician/restore", content, what="all")
    assert status == 200 and b"1 sesi berlanjut" in page, page[page.find(b"<main") :][:2000]
    assert village.phones[0].is_online()
    assert "Kesehatan" in browser.get("/technician"), "still logged in"
    assert list(gateway.data.glob("replaced-*.gerbang.db"))
    browser.get("/technician")
    status, content = browser.post("/technician/bundle")
    assert status == 200 and content[:2] == b"\x1f\x8b"
