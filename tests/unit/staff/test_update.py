"""The technician's page of updates: who sees it, what it shows in each state, how an upload arrives and who is
asked.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from portal.paths import Paths
from portal.staff import incoming, technician_update
from portal.staff.incoming import Incoming
from portal.technician.words import like
from portal.update import errors, offer
from portal.update.asking import Updates
from portal.update.errors import UpdateError
from portal.update.places import Places
from tests.unit.staff.conftest import GATEWAY, Browser

NAME = "gerbang-x86-0.3.0-1a2b3c4d.raucb"
TRIAL = {"slot": "B", "version": "0.3.0", "before_version": "0.2.0"}
REST: dict[str, Any] = {
    "slot": "A",
    "version": "0.2.0",
    "proven": "A",
    "trial": None,
    "progress": None,
    "last": None,
    "went_back": None,
    "free_bytes": 10**9,
}


class Box:
    """Stands for the update service."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = dict(REST)
        self.asked: list[Any] = []
        self.error: UpdateError | None = None

    def do(self, what: str, answer: Any = None) -> Any:
        def done(_: Updates, *arguments: Any, **named: Any) -> Any:
            if self.error is not None:
                raise self.error
            if what != "state":
                self.asked.append((what, arguments, named))
            return self.state if what == "state" else answer

        return done


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Box:
    found = Box()
    sticks = [{"name": NAME, "bytes": 400_000_000, "device": "/dev/sdb1"}]
    for verb, answer in (("state", None), ("sticks", sticks), ("install", None), ("reboot", None)):
        monkeypatch.setattr(Updates, verb, found.do(verb, answer))
    (tmp_path / "update" / "incoming").mkdir(parents=True)
    monkeypatch.setattr(technician_update, "Places", lambda: Places(update=tmp_path / "update"))
    monkeypatch.setattr(incoming, "PIECE_BYTES", 1000)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "update" / "incoming"


@pytest.mark.usefixtures("box")
@pytest.mark.parametrize("verb", ["GET /technician/update", "GET /technician/update/piece?name=x&size=1"])
@pytest.mark.parametrize("name", ["ani", "rina"])
def test_only_a_technician_sees_it(browser: Browser, name: str, verb: str) -> None:
    browser.log_in(name)
    assert browser(*verb.split(" ")).status_code == 403


@pytest.mark.parametrize("path", ["piece?name=x&size=1&at=0", "sticks", "install", "reboot"])
def test_nobody_else_does_anything(browser: Browser, box: Box, folder: Path, path: str) -> None:
    for name in ("ani", "rina"):
        browser.log_in(name)
        assert browser.post(f"/technician/update/{path}").status_code == 403
    browser.log_in("tono")
    browser.token = "wrong"
    assert browser.post(f"/technician/update/{path}").status_code == 403, "without the form's token"
    assert box.asked == [] and list(folder.iterdir()) == []


STATES: dict[str, dict[str, Any]] = {
    "rest": {},
    "waiting": {"trial": TRIAL},
    "trial": {"trial": TRIAL | {"slot": "A"}},
    "working": {"progress": {"what": NAME, "percent": 41, "step": "Updating slots", "ended": False, "error": None}},
    "failed": {
        "progress": {
            "what": NAME,
            "percent": 20,
            "step": "x",
            "ended": True,
            "error": {"code": "bundle", "message": "m", "hint": ""},
        }
    },
    **{
        outcome: {
            "last": {
                "outcome": outcome,
                "slot": "B",
                "from_version": "0.2.0",
                "to_version": "0.3.0",
                "by": "tono",
                "wall_s": 2_000_000_000.0,
                "code": "" if outcome == "done" else "drift",
                "message": "The kernel differs.",
            }
        }
        for outcome in ("done", "back", "interrupted", "failed-then", "fallback")
        if outcome != "failed-then"
    },
    "lost": {
        "went_back": {
            "kept": "/data/gerbang/newer-1.gerbang.db",
            "since_wall_s": 2_000_000_000.0,
            "lost": {"sessions": 3, "vouchers": None, "acts": 1, "log_entries": 9},
        }
    },
}


@pytest.mark.parametrize("language", ["id", "en"])
@pytest.mark.parametrize("state", STATES)
def test_every_state_has_words(browser: Browser, box: Box, state: str, language: str) -> None:
    box.state |= STATES[state]
    browser.log_in("tono")
    page = browser.get(f"/technician/update?lang={language}")
    assert page.status_code == 200 and "update." not in page.text.replace("/technician/update", "")
    known = {one for one in like("en").messages._catalog if isinstance(one, str) and "." in one}  # type: ignore[attr-defined]
    assert [message for message in known if f">{message}<" in page.text] == []


def test_what_became_of_it_is_said_in_plain_words(browser: Browser, box: Box) -> None:
    browser.log_in("tono")
    box.state |= STATES["done"]
    assert "Naik ke versi 0.3.0 dari 0.2.0" in browser.get("/technician/update").text
    box.state |= STATES["back"] | STATES["lost"]
    page = browser.get("/technician/update").text
    assert "Kembali ke versi 0.2.0 dari 0.3.0" in page and "aturan jaringan di kernel" in page
    assert "3 sesi, ? voucher, 1 tindakan" in page and "newer-1.gerbang.db" in page
    box.state["last"] = box.state["last"] | {"code": "brand-new", "message": "Something <new>."}
    assert "Something &lt;new&gt;." in browser.get("/technician/update").text, "what has no words yet is told as it is"


def test_while_it_is_installed_the_page_renews_itself_and_offers_nothing(browser: Browser, box: Box) -> None:
    browser.log_in("tono")
    box.state |= STATES["working"]
    page = browser.get("/technician/update").text
    assert 'http-equiv="refresh"' in page and "41%" in page and "data-upload" not in page
    box.state = REST | STATES["waiting"]
    page = browser.get("/technician/update").text
    assert 'http-equiv="refresh"' not in page and "/technician/update/reboot" in page
    box.state = REST | STATES["trial"]
    assert "data-upload" not in browser.get("/technician/update").text, "nothing is written over the way back"


def test_a_machine_that_is_no_box_says_so(browser: Browser, box: Box) -> None:
    browser.log_in("tono")
    box.error = UpdateError(errors.UNREACHABLE, "Nobody answers.", "")
    page = browser.get("/technician/update")
    assert page.status_code == 200 and "bukan alat Gerbang" in page.text and "<form" in page.text


def test_a_stick_is_looked_at_when_asked_and_installed_when_told(browser: Browser, box: Box) -> None:
    browser.log_in("tono")
    assert NAME not in browser.get("/technician/update").text and box.asked == []
    page = browser.post("/technician/update/sticks").text
    assert NAME in page and "400" in page and [what for what, *_ in box.asked] == ["sticks"]
    response = browser.post("/technician/update/install", **{"from": "stick", "name": NAME, "force": "1"})
    assert response.status_code == 303 and response.headers["Location"].startswith(
        "/technician/update?told=update-begun"
    )
    assert box.asked[-1] == ("install", ("stick", NAME, "tono", "technician"), {"force": True})


@pytest.mark.parametrize("code", [errors.BUSY, errors.TRIAL, errors.NO_STICK, "brand-new"])
def test_what_the_box_refuses_is_shown(browser: Browser, box: Box, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    browser.log_in("tono")

    def refuse(*_: Any, **__: Any) -> None:
        raise UpdateError(code, "It cannot be.", "")

    monkeypatch.setattr(Updates, "install", refuse)
    page = browser.post("/technician/update/install", **{"from": "incoming", "name": NAME})
    assert page.status_code == (409 if code == errors.BUSY else 422) and 'role="alert"' in page.text


def test_a_restart_is_in_the_audit_trail_first(browser: Browser, box: Box, paths: Paths) -> None:
    browser.log_in("tono")
    page = browser.post("/technician/update/reboot")
    assert page.status_code == 200 and "url=/technician/update" in page.text
    assert box.asked == [("reboot", ("tono",), {})]
    with sqlite3.connect(paths.database) as database:
        entry = database.execute("SELECT actor, role, action FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    assert entry == ("tono", "technician", "box.reboot")


# --- upload ---------------------------------------------------------------------------------------------------------


def send(browser: Browser, at: int, data: bytes, size: int, name: str = NAME) -> Any:
    return browser.client.open(
        "/technician/update/piece",
        base_url=f"https://{GATEWAY}:8444",
        method="POST",
        query_string={"name": name, "size": size, "at": at},
        data=data,
        content_type="application/octet-stream",
        headers={"Referer": f"https://{GATEWAY}:8444/", "X-CSRFToken": browser.token},
        environ_overrides={
            "REMOTE_ADDR": "10.77.0.9",
            "SERVER_NAME": f"::ffff:{GATEWAY}",
            "wsgi.input_terminated": True,  # as gunicorn says
        },
    )


@pytest.mark.usefixtures("box")
def test_pieces_become_a_file_and_an_audit_entry(browser: Browser, folder: Path, paths: Paths) -> None:
    browser.log_in("tono")
    browser.get("/technician/update")
    content = bytes(range(256)) * 10
    for at in range(0, len(content), 1000):
        assert browser.get(f"/technician/update/piece?name={NAME}&size=2560").json == {"at": at}
        found = send(browser, at, content[at : at + 1000], 2560)
        assert found.json == {"at": min(2560, at + 1000)}, found.text
        assert (folder / NAME).exists() == (at == 2000)
    assert (folder / NAME).read_bytes() == content and [entry.name for entry in folder.iterdir()] == [NAME]
    assert (folder / NAME).stat().st_mode & 0o777 == 0o600
    assert NAME in browser.get("/technician/update").text
    assert browser.get(f"/technician/update/piece?name={NAME}&size=2560").json == {"at": 2560}, "it is here already"
    with sqlite3.connect(paths.database) as database:
        entries = database.execute("SELECT actor, object, after FROM audit WHERE action = 'update.upload'").fetchall()
    assert entries == [("tono", NAME, '{"bytes": 2560}')]


@pytest.mark.usefixtures("box")
def test_pieces_are_as_large_as_the_page_s_script_makes_them(browser: Browser, folder: Path) -> None:
    browser.log_in("tono")
    page, piece = browser.get("/technician/update").text, technician_update.PIECE_BYTES
    assert f'data-piece="{piece}"' in page
    for at in (0, piece):
        found = send(browser, at, bytes(piece), 2 * piece)
        assert (found.status_code, found.json) == (200, {"at": at + piece}), found.text
    assert (folder / NAME).stat().st_size == 2 * piece


@pytest.mark.usefixtures("box")
def test_a_piece_too_large_for_the_door_is_refused_there(browser: Browser, folder: Path) -> None:
    browser.log_in("tono")
    browser.get("/technician/update")
    size = technician_update.PIECE_BYTES + 1
    assert send(browser, 0, bytes(size), size).status_code == 413
    assert not (folder / NAME).exists()


@pytest.mark.parametrize(
    ("at", "data", "size", "name", "code"),
    [
        (5, b"x", 10, NAME, errors.REQUEST),
        (-1, b"x", 10, NAME, errors.REQUEST),
        (0, b"x" * 11, 10, NAME, errors.REQUEST),
        (0, b"x", 10, "../../etc/passwd", errors.REQUEST),
        (0, b"x", 10, "gerbang-x.img", errors.REQUEST),
        (0, b"x", 0, NAME, errors.ROOM),
        (0, b"x", -1, NAME, errors.ROOM),
        (0, b"x", incoming.MOST_BYTES + 1, NAME, errors.ROOM),
    ],
)
def test_what_cannot_be_an_update_is_not_kept(
    tmp_path: Path, at: int, data: bytes, size: int, name: str, code: str
) -> None:
    with pytest.raises(UpdateError) as error:
        Incoming(tmp_path).add(name, size, at, [data])
    assert error.value.code == code
    assert not [entry for entry in tmp_path.iterdir() if not entry.name.startswith(".")]


def test_a_broken_upload_goes_on_and_another_one_takes_its_place(tmp_path: Path) -> None:
    upload = Incoming(tmp_path)
    assert upload.add(NAME, 10, 0, [b"abc", b"d"]) == 4
    assert Incoming(tmp_path).arrived(NAME, 10) == 4
    assert upload.arrived(NAME, 11) == 0, "another file of this name"
    with pytest.raises(UpdateError):
        upload.add(NAME, 10, 3, [b"x"])
    assert upload.add(NAME, 10, 4, [b"efghij"]) == 10 and upload.ready() == [NAME]
    assert upload.add("gerbang-b.raucb", 3, 0, [b"x"]) == 1 and upload.ready() == []
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    folder, target = tmp_path / "incoming", tmp_path / "target"
    folder.mkdir()
    target.write_bytes(b"1234")
    (folder / f".{NAME}.10.part").symlink_to(target)
    with pytest.raises(UpdateError):
        Incoming(folder).add(NAME, 10, 4, [b"567890"])
    assert target.read_bytes() == b"1234"


def test_no_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.update.places.free_bytes", lambda _: offer.ROOM_BYTES + 9)
    with pytest.raises(UpdateError) as error:
        Incoming(tmp_path).add(NAME, 10, 0, [b"x"])
    assert error.value.code == errors.ROOM and list(tmp_path.iterdir()) == []
