"""The technician's pages: what each shows, who may see it, and what the supervisor is asked for."""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from portal import report
from portal.box.interfaces import Device
from portal.config import Staff, Uplink
from portal.control import MISTAKES, PENDING, Control, ControlError, Outcome, Pending, State
from portal.paths import Paths
from portal.staff import technician as pages
from portal.staff.app import create_app
from portal.staff.arriving import Arriving
from portal.staff.incoming import MOST_BYTES, PIECE_BYTES
from portal.staff.shared import Shared
from portal.technician.findings import Finding
from portal.technician.speedtest import Measured
from portal.technician.words import like
from portal.update import asking, errors
from portal.update.errors import UpdateError
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


@pytest.fixture
def box() -> None:
    """This machine has a service of updates, as a flashed box does."""
    asking.SOCKET.touch()


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


PPPOE = SITE + '[uplink]\nkind = "pppoe"\nuser = "a"\npassword = "salah"\n'
AT_START = ("uplink.kind", "uplink.password", "uplink.user")


def test_what_a_trial_cannot_show_is_named_before_and_while_it_is_tried(
    browser: Any, quiet: dict[str, Any], box: None
) -> None:
    browser.log_in("tono")
    page = browser.post("/technician/config", text=PPPOE, do="check").text
    assert "60 detik percobaan tidak mengujinya" in page and "<code>uplink.password</code>" in page
    page = browser.post("/technician/config", text=SITE + "lease_minutes = 30\n", do="check").text
    assert "tidak mengujinya" not in page
    quiet["state"] = State("/nowhere", Pending("tono", 41.7, ("guest",)), None, AT_START)
    page = browser.get("/technician/config").text
    assert "tidak mengujinya" in page and "<code>uplink.password</code>" in page
    assert "/technician/update/reboot" not in page, "a restart now would undo it"


def test_a_port_that_no_card_has_is_named_before_it_cuts_the_line(
    browser: Any, quiet: dict[str, Any], box: None, monkeypatch: pytest.MonkeyPatch, paths: Paths
) -> None:
    card = Device("wan0", "2c:cf:67:0a:11:30", "", "pci", "r8169")
    monkeypatch.setattr("portal.uplinkport.cards", lambda: [card])
    browser.log_in("tono")
    old = SITE + '[uplink]\nport = "2c:cf:67:0a:99:99"\n'
    warned = "Tidak ada kartu jaringan 2c:cf:67:0a:99:99 di alat ini"
    assert warned in browser.post("/technician/config", text=old, do="check").text
    assert "Tidak ada kartu" not in browser.post("/technician/config", text=old.replace("99:99", "11:30")).text
    paths.site.write_text(old)
    quiet["state"] = State("/nowhere", Pending("tono", 41.7, ("guest",)), None, ("uplink.port",))
    assert warned in browser.get("/technician/config").text


def test_once_it_is_kept_a_restart_is_offered(browser: Any, quiet: dict[str, Any], box: None) -> None:
    browser.log_in("tono")
    quiet["state"] = State("/x", None, Outcome("confirmed", "tono", "", 1.7e9), AT_START)
    page = browser.get("/technician/config").text
    assert "baru berlaku seluruhnya setelah alat dimulai ulang" in page and "<code>uplink.kind</code>" in page
    assert 'action="/technician/update/reboot"' in page
    quiet["state"] = State("/x", None, Outcome("confirmed", "tono", "", 1.7e9))
    assert "dimulai ulang" not in browser.get("/technician/config").text


def test_elsewhere_than_on_a_box_nothing_waits_for_a_start(browser: Any, quiet: dict[str, Any]) -> None:
    browser.log_in("tono")
    quiet["state"] = State("/x", None, Outcome("confirmed", "tono", "", 1.7e9), AT_START)
    assert "dimulai ulang" not in browser.get("/technician/config").text
    assert "dimulai ulang" not in browser.post("/technician/config", text=PPPOE, do="check").text


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
            "port": "2c:cf:67:0a:11:30",
        }

    monkeypatch.setattr(Control, "restore", restore)
    browser.log_in("tono")
    content = b"x" * 2_000_000  # more than a form may have
    page = browser.post("/technician/restore", file=(io.BytesIO(content), "b.tar.gz"), what="people", force_site="1")
    assert page.status_code == 200 and "3 sesi berlanjut" in page.text
    assert "2c:cf:67:0a:11:30, tidak ada di alat ini" in page.text
    assert given == [(content, "tono", "technician", {"force_site": True, "keep_site": True})]
    assert browser.post("/technician/restore", what="all").status_code == 422


def piece(browser: Any, at: int, data: bytes, size: int, token: str | None = None) -> Any:
    return browser.client.open(
        "/technician/restore/piece",
        base_url=f"https://{browser.host}",
        method="POST",
        query_string={"name": "cadangan (1).gz", "size": size, "at": at},
        data=data,
        content_type="application/octet-stream",
        headers={"Referer": f"https://{browser.host}/", "X-CSRFToken": browser.token if token is None else token},
        environ_overrides={
            "REMOTE_ADDR": browser.ip,
            "SERVER_NAME": "::ffff:10.77.0.1",
            "wsgi.input_terminated": True,  # as gunicorn says
        },
    )


def test_a_backup_as_large_as_a_year_s_comes_in_pieces(
    browser: Any, monkeypatch: pytest.MonkeyPatch, paths: Paths
) -> None:
    given: list[bytes] = []
    refusal: list[ControlError] = [ControlError("failed", "The backup is of another.", "Use --force-site.")]

    def restore(_: Control, file: int, *__: str, **___: bool) -> dict[str, Any]:
        given.append(os.read(file, 100_000_000))
        if refusal:
            raise refusal.pop()
        return dict.fromkeys(("site", "carried", "ended", "staff_from_backup", "site_changed", "port"), 1) | {
            "created_wall_s": 1.7e9
        }

    monkeypatch.setattr(Control, "restore", restore)
    browser.log_in("tono")
    page = browser.get("/technician/backup").text
    assert f'data-piece="{PIECE_BYTES}"' in page and 'src="/static/upload' in page
    content, there = os.urandom(1000) * 10_000, "/technician/restore/piece?name=cadangan (1).gz&size=10000000"
    for at in range(0, len(content), PIECE_BYTES):
        assert browser.get(there).json == {"at": at}
        found = piece(browser, at, content[at : at + PIECE_BYTES], len(content))
        assert found.json == {"at": min(len(content), at + PIECE_BYTES)}, found.text
    assert sorted(path.name for path in paths.data.iterdir() if "cadangan" in path.name) == [], "it has no name there"
    what = {"name": "cadangan (1).gz", "size": str(len(content)), "what": "all"}
    assert browser.post("/technician/restore", **what | {"size": "9"}).status_code == 422 and given == []
    page = browser.post("/technician/restore", **what)
    assert page.status_code == 422 and "The backup is of another." in page.text
    page = browser.post("/technician/restore", **what, force_site="1")
    assert page.status_code == 200 and given == [content, content], "whole again, without another upload"
    assert browser.get(there).json == {"at": 0}, "then it is gone"
    assert browser.post("/technician/restore", **what).status_code == 422


def test_pieces_of_a_backup_come_from_a_technician_alone(browser: Any) -> None:
    for name in ("ani", "rina"):
        browser.log_in(name)
        assert piece(browser, 0, b"x", 10).status_code == 403
        assert browser.get("/technician/restore/piece?name=x&size=1").status_code == 403
    browser.log_in("tono")
    assert piece(browser, 0, b"x", 10, token="wrong").status_code == 403
    assert piece(browser, 0, bytes(PIECE_BYTES + 1), PIECE_BYTES + 1).status_code == 413


@pytest.mark.parametrize(
    ("at", "data", "size", "code"),
    [
        (5, b"x", 10, errors.REQUEST),
        (-1, b"x", 10, errors.REQUEST),
        (0, b"x" * 11, 10, errors.REQUEST),
        (0, b"x", 0, errors.ROOM),
        (0, b"x", -1, errors.ROOM),
        (0, b"x", MOST_BYTES + 1, errors.ROOM),
    ],
)
def test_what_is_no_piece_is_not_kept(tmp_path: Path, at: int, data: bytes, size: int, code: str) -> None:
    arriving = Arriving(tmp_path)
    with pytest.raises(UpdateError) as error:
        arriving.add("b.gz", size, at, [data])
    assert error.value.code == code and arriving.open("b.gz", size) is None


def test_a_piece_that_came_half_is_sent_again_and_another_file_begins_anew(tmp_path: Path) -> None:
    arriving = Arriving(tmp_path)
    assert arriving.add("b.gz", 10, 0, [b"abc", b"d"]) == 4
    with pytest.raises(UpdateError):
        arriving.add("b.gz", 10, 4, [b"xx", b"too much"])
    assert arriving.arrived("b.gz", 10) == 4 and arriving.open("b.gz", 10) is None
    assert arriving.add("b.gz", 10, 4, [b"efghij"]) == 10
    file = arriving.open("b.gz", 10)
    assert file is not None and file.read() == b"abcdefghij"
    assert arriving.add("c.gz", 3, 0, [b"123"]) == 3
    assert arriving.open("b.gz", 10) is None and list(tmp_path.glob("*.gz")) == []


def test_a_full_disk_is_said_and_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arriving = Arriving(tmp_path)
    monkeypatch.setattr("portal.update.places.free_bytes", lambda _: 9)
    with pytest.raises(UpdateError) as error:
        arriving.add("b.gz", 10, 0, [b"x"])
    assert error.value.code == errors.ROOM and arriving.arrived("b.gz", 10) == 0


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
