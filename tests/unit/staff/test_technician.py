"""The technician's pages: what each shows, who may see it, and what the supervisor is asked for."""

from __future__ import annotations

import gzip
import io
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from portal import report
from portal.config import Staff, Uplink
from portal.control import MISTAKES, PENDING, Control, ControlError, Outcome, Pending, State
from portal.paths import Paths
from portal.staff import technician as pages
from portal.staff.app import create_app
from portal.staff.shared import Shared
from portal.technician.findings import Finding
from portal.technician.speedtest import Measured
from portal.technician.words import like
from tests.unit.portal.fakes import Netctl
from tests.unit.staff.conftest import Browser

SITE = '[site]\ncode = "64.03.01.2001"\nname = "Desa Muara Kaman Ulu"\n[lan]\naddress = "10.77.0.1/20"\n'
PAGES = tuple(f"/technician{end}" for end in ("", "/device", "/rates", "/speed", "/config", "/backup", "/outbox"))
REST = State("/etc/gerbang/site.toml", None, None)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, paths: Paths) -> dict[str, Any]:
    """A gateway whose supervisor and doctor are stand-ins; what the supervisor was asked is in the dictionary."""
    asked: dict[str, Any] = {"state": REST}
    paths.site.write_text(SITE)
    found = [Finding("ok", "disk", "Well."), Finding("fail", "ap", "No cable <b>.", "Plug it in.")]
    monkeypatch.setattr(report, "doctor", lambda *_: list(found))
    monkeypatch.setattr("portal.sitecheck.interfaces", lambda: ["lan0", "wan0"])
    monkeypatch.setattr("portal.sitecheck.routes", list)

    def apply(_: Control, text: str, by: str) -> State:
        asked["apply"] = (text, by)
        if "error" in asked:
            raise asked["error"]
        return REST

    monkeypatch.setattr(Netctl, "dump", lambda _: (), raising=False)
    monkeypatch.setattr("portal.technician.bundle._status", lambda _: {})
    monkeypatch.setattr("portal.technician.bundle._log", lambda _: ["12:00:00 guest started"])
    monkeypatch.setattr(Control, "state", lambda _: asked["state"])
    monkeypatch.setattr(Control, "apply", apply)
    monkeypatch.setattr(Control, "confirm", lambda _, by: asked.setdefault("confirm", by))
    monkeypatch.setattr(Control, "revert", lambda _, by: asked.setdefault("revert", by))
    return asked


@pytest.mark.parametrize("path", PAGES)
def test_only_a_technician_sees_them(browser: Any, path: str) -> None:
    browser.log_in("ani")
    assert browser.get(path).status_code == 403


@pytest.mark.parametrize("language", ["id", "en"])
@pytest.mark.parametrize("path", PAGES)
def test_no_page_shows_the_name_of_a_message(browser: Any, path: str, language: str) -> None:
    browser.log_in("tono")
    page = browser.get(f"{path}?lang={language}")
    assert page.status_code == 200, page.text
    known = {message for message in like("en").messages._catalog if isinstance(message, str) and "." in message}  # type: ignore[attr-defined]
    assert [message for message in known if f">{message}<" in page.text] == []


def test_what_is_wrong_stands_first_with_what_to_do(browser: Any) -> None:
    browser.log_in("tono")
    page = browser.get("/technician").text
    assert page.index("Plug it in.") < page.index("Well.")
    assert "No cable &lt;b&gt;." in page


def test_a_device_is_found_by_its_mac_and_told_in_one_sentence(browser: Any) -> None:
    browser.log_in("tono")
    page = browser.get("/technician/device?device=02-00-00-00-00-01").text
    assert "02:00:00:00:00:01" in page and "netctl tidak menjawab" in page, "there is none in this test"
    assert "bukan MAC" in browser.get("/technician/device?device=<nobody>").text


def test_mistakes_are_shown_with_their_lines_and_nothing_is_asked_of_the_gateway(
    browser: Any, quiet: dict[str, Any]
) -> None:
    browser.log_in("tono")
    wrong = SITE.replace("10.77.0.1/20", "10.77.0.0/20") + "[portal]\nport = 80\n"
    page = browser.post("/technician/config", text=wrong.replace("\n", "\r\n"), do="apply")
    assert page.status_code == 422
    assert "baris 5" in page.text and "lan.address" in page.text
    assert "baris 7" in page.text and "portal.port" in page.text
    assert "apply" not in quiet


def test_a_change_is_shown_first_and_tried_after_that(browser: Any, quiet: dict[str, Any], paths: Paths) -> None:
    browser.log_in("tono")
    new = SITE + "lease_minutes = 30\n"
    page = browser.post("/technician/config", text=new, do="check").text
    assert "+lease_minutes = 30" in page and 'value="apply"' in page
    assert "apply" not in quiet
    page = browser.post("/technician/config", text=new, do="apply").text
    assert quiet["apply"] == (new, "tono")
    assert 'http-equiv="refresh"' in page and "url=/technician/config" in page
    with sqlite3.connect(paths.database) as database:
        entry = database.execute("SELECT actor, action, before, after FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    assert entry == ("tono", "config.apply", "{}", '{"lan.lease_minutes": 30}')


def test_another_address_leads_the_browser_there(browser: Any) -> None:
    browser.log_in("tono")
    page = browser.post("/technician/config", text=SITE.replace("10.77.0.1", "10.78.0.1"), do="apply").text
    assert "url=https://10.78.0.1:8444/technician/config" in page


def test_what_root_finds_beyond_that_is_shown_too(browser: Any, quiet: dict[str, Any]) -> None:
    mistake = {"file": "site.toml", "key": "lan.address", "message": "The key cannot be read.", "hint": "Look."}
    quiet["error"] = ControlError(MISTAKES, "1 mistake.", "Mend it.", (mistake,))
    browser.log_in("tono")
    page = browser.post("/technician/config", text=SITE + "ipv6 = false\n", do="apply")
    assert page.status_code == 422 and "The key cannot be read." in page.text and "baris 5" in page.text
    quiet["error"] = ControlError(PENDING, "A change waits.", "Wait.")
    assert "A change waits." in browser.post("/technician/config", text=SITE + "ipv6 = false\n", do="apply").text


def test_while_it_is_tried_the_page_counts_down_and_offers_both_ways(browser: Any, quiet: dict[str, Any]) -> None:
    quiet["state"] = State("/nowhere", Pending("tono", 41.7, ("guest",)), None)
    browser.log_in("tono")
    page = browser.get("/technician/config").text
    assert "42 detik" in page and "tono" in page and 'http-equiv="refresh"' in page
    assert browser.post("/technician/config/confirm").status_code == 303
    assert browser.post("/technician/config/revert").status_code == 200
    assert (quiet["confirm"], quiet["revert"]) == ("tono", "tono")


def test_how_the_last_one_ended_is_said(browser: Any, quiet: dict[str, Any]) -> None:
    quiet["state"] = State("/x", None, Outcome("reverted", "tono", "guest ended with status 69.", 1.7e9))
    browser.log_in("tono")
    assert "guest ended with status 69." in browser.get("/technician/config").text


def test_a_backup_and_a_bundle_are_handed_out(browser: Any, quiet: dict[str, Any]) -> None:
    browser.log_in("tono")
    browser.get("/technician/backup")
    for path in ("/technician/backup", "/technician/bundle"):
        there = f"https://{browser.host}"
        answer = browser.client.post(
            path,
            base_url=there,
            data={"csrf_token": browser.token},
            headers={"Referer": there + "/"},
            environ_overrides={"REMOTE_ADDR": browser.ip, "SERVER_NAME": "::ffff:10.77.0.1"},
        )
        assert answer.status_code == 200
        assert answer.mimetype == "application/gzip"
        assert "64.03.01.2001" in answer.headers["Content-Disposition"]
        assert gzip.decompress(answer.data)


def test_a_restore_hands_over_the_open_file(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def restore(_: Control, file: int, by: str, role: str, **flags: bool) -> dict[str, Any]:
        given.append((Path(f"/proc/self/fd/{file}").read_bytes(), by, role, flags))
        return {
            "site": "64.03.01.2001",
            "created_wall_s": 1.7e9,
            "carried": 3,
            "ended": 1,
            "staff_from_backup": True,
            "site_changed": True,
        }

    monkeypatch.setattr(Control, "restore", restore)
    browser.log_in("tono")
    content = b"x" * 2_000_000  # more than a form may have
    page = browser.post("/technician/restore", file=(io.BytesIO(content), "b.tar.gz"), what="people", force_site="1")
    assert page.status_code == 200 and "3 sesi berlanjut" in page.text
    assert given == [(content, "tono", "technician", {"force_site": True, "keep_site": True})]
    assert browser.post("/technician/restore", what="all").status_code == 422


def test_without_an_address_nothing_is_measured(browser: Any) -> None:
    browser.log_in("tono")
    assert "staff.speed_test_url" in browser.get("/technician/speed").text
    assert browser.post("/technician/speed").status_code == 303


def test_a_speed_test_is_measured_beside_the_line(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    staff = Staff(speed_test_url="http://speed.example/10MB")
    config = structs.replace(shared.config, staff=staff, uplink=Uplink(down_kbit=20_000))
    browser = Browser(create_app(replace(shared, config=config)))
    browser.log_in("tono")
    done = Measured(1.7e9, mbit_s=7.5, received_bytes=9_400_000, seconds=10.0)
    monkeypatch.setattr(pages.SpeedTest, "last", done)
    page = browser.get("/technician/speed").text
    assert "7,5" in page and "9,4" in page and "20\N{NO-BREAK SPACE}Mbps" in page
