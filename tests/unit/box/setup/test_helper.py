"""The root half of the setup page: what it is told it checks, and it does no more than its four verbs."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from portal.box import commands
from portal.box.places import Places
from portal.box.setup import helper as helpers
from portal.box.setup import line
from portal.box.setup.answers import Answers
from portal.box.setup.helper import Helper
from portal.config import SiteConfig, Uplink
from portal.domain.uplink import Check

GOOD = '[site]\ncode = "64.03.01.2001"\n'


class Played:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.lines: list[SiteConfig] = []
        monkeypatch.setattr(commands, "run", self.run)
        monkeypatch.setattr(helpers.network, "prepare", self.prepare)
        monkeypatch.setattr(helpers, "first_staff", lambda _config, _places: "operator  x\n")

    def run(self, *command: str, **_more: Any) -> str:
        self.commands.append(command)
        return ""

    def prepare(self, config: SiteConfig, _places: Places, *, setup: bool) -> None:
        assert setup
        self.lines.append(config)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("boot/firmware", "data/site", "data/gerbang", "data/identity", "run/gerbang-box"):
        (tmp_path / name).mkdir(parents=True)
    return Places(tmp_path)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


def ask(places: Places, do: str, **more: Any) -> dict[str, Any]:
    return Helper(places, places.root / "lock").answer({"do": do, **more})


def test_a_line_is_brought_up_as_it_was_asked(places: Places, played: Played) -> None:
    assert ask(places, "line", uplink={"kind": "pppoe", "user": "u", "password": "p", "vlan": 9}) == {}
    (config,) = played.lines
    assert (config.uplink.kind, config.uplink.vlan, config.uplink.user) == ("pppoe", 9, "u")
    assert ("networkctl", "reload") in played.commands
    assert ("systemctl", "start", "--no-block", "gerbang-pppoe.service") in played.commands
    ask(places, "line", uplink={"kind": "dhcp"})
    assert played.commands.count(("systemctl", "start", "--no-block", "gerbang-pppoe.service")) == 1


@pytest.mark.parametrize(
    "uplink",
    [
        {"kind": "pppoe"},
        {"kind": "dhcp", "user": 'x"\nplugin /tmp/evil.so'},
        {"kind": "pppoe", "user": "u", "password": 'x"\nplugin /tmp/evil.so'},
        {"port": "usb"},
        {"interface": "lo"},
        {"check_url": "http://10.0.0.1/"},
        {"kind": "static", "address": "x"},
        {"vlan": "9; reboot"},
    ],
)
def test_a_line_that_makes_no_sense_changes_nothing(places: Places, played: Played, uplink: dict[str, Any]) -> None:
    assert "error" in ask(places, "line", uplink=uplink)
    assert played.lines == []
    assert played.commands == []


def test_only_what_was_made_for_the_last_try_is_taken_away(tmp_path: Path) -> None:
    for name in ("wan0", "wanport", "lan0", "eth7"):
        (tmp_path / name).mkdir()
    (tmp_path / "wanport/device").mkdir()
    assert helpers._made(tmp_path) == ["wan0"]


def test_what_is_saved_is_checked_written_and_in_the_tray(places: Places, played: Played) -> None:
    assert ask(places, "save", text=GOOD) == {"passwords": "operator  x\n"}
    assert places.site.read_text() == GOOD
    assert places.tray.read_text() == GOOD
    assert "error" in ask(places, "save", text=GOOD.replace("2001", "2002"))
    assert places.site.read_text() == GOOD


def test_a_wrong_configuration_is_not_saved(places: Places, played: Played) -> None:
    for text in ("", "[site]\ncode = 5\n", GOOD + '[lan]\ninterface = "eth0"\n', GOOD + "[site\n"):
        assert "error" in ask(places, "save", text=text)
    assert not places.site.exists()
    assert "error" in ask(places, "restart")
    assert played.commands == []


def test_it_restarts_once_there_is_something_to_start_with(places: Places, played: Played) -> None:
    ask(places, "save", text=GOOD)
    assert ask(places, "restart") == {}
    assert played.commands[-1] == ("systemctl", "--no-block", "reboot")


def test_other_requests_are_none(places: Places, played: Played) -> None:
    for request in (
        {},
        {"do": "run", "command": "sh"},
        {"do": "line"},
        {"do": "line", "uplink": 5},
        {"do": ["save"]},
        [],
    ):
        assert set(Helper(places).answer(request)) == {"error"}  # type: ignore[arg-type]
    assert played.commands == []


def test_requests_come_over_a_socket_until_it_closes(places: Places, played: Played) -> None:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=helpers.serve, args=(ours, Helper(places)))
    thread.start()
    with theirs, theirs.makefile("rwb") as lines:
        for line_ in (b"no json\n", b'{"do": "state"}\n'):
            lines.write(line_)
            lines.flush()
            answer = json.loads(lines.readline())
        assert answer == {"radio": None, "ports": [], "device": "", "site_error": ""}
    theirs.close()
    thread.join(5)
    assert not thread.is_alive()
    ours.close()


def test_between_requests_the_screen_follows_the_cables(
    places: Places, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    looked: list[str] = []

    def idle() -> None:
        looked.append("at the cables")
        if len(looked) == 2:
            theirs.close()

    monkeypatch.setattr(helpers, "IDLE_S", 0)
    with ours:
        helpers.serve(ours, Helper(places), idle)
    assert len(looked) == 2


def test_the_screen_is_drawn_anew_where_a_cable_went_in_or_out(monkeypatch: pytest.MonkeyPatch, places: Places) -> None:
    drawn: list[str] = []
    said = iter(["lan1 no", "lan1 no", "lan1 yes", "lan1 yes"])
    monkeypatch.setattr(helpers.screen, "cables", lambda _net: next(said))
    monkeypatch.setattr(helpers.screen, "show", lambda _places, _part, text: drawn.append(text))
    follow = helpers.follow_cables(places, "the setup page")
    for _ in range(3):
        follow()
    assert drawn == ["the setup page", "the setup page"], "at first, and when it changed"


def test_a_line_is_looked_at_step_by_step_until_all_is_well() -> None:
    addresses = iter([None, None, "192.0.2.7", "192.0.2.7"])
    checks = iter([Check(False, gateway=True, dns=False), Check(True, gateway=None, dns=True)])
    pauses: list[float] = []
    rows = line.look(
        Uplink(),
        check=lambda: next(checks),
        read_address=lambda: next(addresses),
        carrier=lambda _interface: True,
        pause=pauses.append,
    )
    assert [(row.name, row.well) for row in rows] == [
        ("cable", True),
        ("address", True),
        ("router", None),
        ("dns", True),
        ("web", True),
    ]
    assert line.passed(rows)
    assert pauses[0] == line.SETTLE_S, "the address of the last try goes first"
    assert len(pauses) == 4, "its resolvers came a moment after the address"


def test_what_fails_to_the_end_is_told_and_what_follows_from_it_is_not() -> None:
    def look(address: str | None) -> list[tuple[str, bool | None]]:
        rows = line.look(
            Uplink(),
            check=lambda: Check(False, gateway=True, dns=False),
            read_address=lambda: address,
            carrier=lambda _interface: False,
            pause=lambda _s: None,
            within_s=0,
        )
        assert not line.passed(rows)
        return [(row.name, row.well) for row in rows]

    assert look(None) == [("cable", False), ("address", False)]
    known = [("cable", True), ("address", True), ("router", True), ("dns", False), ("web", False)]
    assert look("192.0.2.7") == known
    assert not line.passed([])


def test_a_login_is_dialled_by_the_first_question() -> None:
    asked: list[bool] = []

    def check() -> Check:
        asked.append(True)
        return Check(len(asked) > 1, gateway=True, dns=len(asked) > 1)

    rows = line.look(
        Uplink(kind="pppoe", user="u", password="p"),
        check=check,
        read_address=lambda: "198.51.100.7" if asked else None,
        carrier=lambda _interface: True,
        pause=lambda _s: None,
    )
    assert line.passed(rows)


@pytest.mark.parametrize("kind", ["dhcp", "static", "usb"])
def test_an_address_of_a_providers_own_network_is_one(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like 10.64.64.64, which on a login is the one that pppd makes up until the provider has given another."""
    monkeypatch.setattr(line.socket, "socket", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(line.fcntl, "ioctl", lambda *_: bytes(20) + bytes([10, 64, 64, 64]))
    given = {"address": "10.64.64.64/24", "gateway": "10.64.64.1", "dns": ("10.64.64.1",)} if kind == "static" else {}
    assert line.passed(looked(Uplink(kind=kind, **given), line.address()))  # type: ignore[arg-type]


@pytest.mark.parametrize(("address", "well"), [("10.64.64.64", False), ("10.64.3.7", True), (None, False)])
def test_a_login_that_waits_has_no_address(address: str | None, well: bool) -> None:
    rows = looked(Uplink(kind="pppoe", user="u", password="p"), address)
    assert line.passed(rows) == well
    assert [row.well for row in rows if row.name == "address"] == [well]


def test_a_logins_cable_is_that_of_its_card() -> None:
    """wan0 is the PPP link then, which is there without any cable."""
    asked: list[str] = []
    for uplink in (Uplink(kind="pppoe", user="u", password="p"), Uplink(), Uplink(vlan=7)):
        looked(uplink, None, asked)
    assert asked == ["wanport", "wan0", "wan0"]


def looked(uplink: Uplink, address: str | None, asked: list[str] | None = None) -> list[line.Row]:
    """One look at a line that is well but for its address and its cable."""

    def carrier(interface: str) -> bool:
        if asked is not None:
            asked.append(interface)
        return False

    return line.look(
        uplink,
        check=lambda: Check(True, gateway=True, dns=True),
        read_address=lambda: address,
        carrier=carrier,
        pause=lambda _s: None,
        within_s=0,
    )


def test_answers_become_a_site_toml() -> None:
    answers = Answers().with_step("site", {"site.code": " 6403012001 ", "site.name": 'A "b"', "evil": "x"})
    answers = answers.with_step("line", {"uplink.kind": "static", "uplink.dns": "203.0.113.53, 203.0.113.54"})
    assert answers.document() == {
        "site": {"code": "64.03.01.2001", "name": 'A "b"'},
        "uplink": {"kind": "static", "dns": ["203.0.113.53", "203.0.113.54"]},
    }
    assert {mistake.key for mistake in answers.mistakes()} == {"uplink.address", "uplink.gateway"}
    assert answers.mistakes("site") == []
