"""What a technician reads on a screen at the box."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal import site
from portal.box import boxcheck, network, screen
from portal.box.interfaces import Device, decide
from portal.box.places import Places
from portal.config import Uplink

SITE = '[site]\ncode = "64.03.01.2001"\nname = "Muara \\\\ Wahau"\n'


def test_a_box_that_works_says_whose_it_is_and_where_its_pages_are() -> None:
    config, _ = site.check_text("site.toml", SITE, files=False, here=False)
    text = screen.of_site(config, is_new=False)
    assert "Muara \\ Wahau (64.03.01.2001)" in text and "https://10.77.0.1:8444/" in text


def test_a_new_box_says_where_it_is_set_up_and_one_that_lost_its_way_does_not() -> None:
    assert "setup page is open" in screen.of_site(None, is_new=True)
    assert "setup page" not in screen.of_site(None, is_new=False)


def test_mistakes_are_those_of_the_file_beside_site_toml() -> None:
    text = '[site]\ncode = "64.03.01.201"\n'
    _, mistakes = boxcheck.check("site.toml", text)
    shown = screen.of_mistakes("site.toml", text, mistakes, runs_on=False)
    assert "Baris 2, site.code" in shown and "\r" not in shown and "\ufeff" not in shown


def test_the_screen_shows_all_parts_in_order_whoever_speaks_last(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.terminal.parent.mkdir()
    places.terminal.touch()
    screen.show(places, screen.STATE, "gerbang: ready\n")
    screen.show(places, screen.DESA, "Muara Wahau\n")
    assert places.terminal.read_text() == "\x1b[H\x1b[2JMuara Wahau\n\ngerbang: ready\n"


def test_a_box_without_a_screen_goes_on_and_one_that_cannot_write(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    screen.show(Places(tmp_path), screen.DESA, "Muara Wahau\n")
    (tmp_path / "run/gerbang-box/screen/1-desa").unlink()
    (tmp_path / "run/gerbang-box/screen").rmdir()
    (tmp_path / "run/gerbang-box/screen").touch()
    screen.show(Places(tmp_path), screen.DESA, "Muara Wahau\n")
    assert "The screen does not show 1-desa" in capfd.readouterr().err


def test_a_file_cannot_write_where_it_likes_on_the_screen(tmp_path: Path) -> None:
    screen.show(Places(tmp_path), screen.DESA, "desa \x1b[2J\x07\r\u202e\n")
    assert (tmp_path / "run/gerbang-box/screen/1-desa").read_text() == "desa [2J\n"


def test_the_screen_says_in_which_ports_there_is_a_cable(tmp_path: Path) -> None:
    """Before networkd has taken them up nobody can tell. A login's or a VLAN's card is wanport, and wan0 is on it."""
    net = tmp_path / "sys/class/net"
    for name in ("lo", "wan0", "lan0", "lan1", "lan2", "ap0"):
        (net / name).mkdir(parents=True)
    assert screen.cables(net) == ""
    for name, carrier in (("lan0", 1), ("lan1", 0), ("lan2", 1), ("wan0", 1)):
        (net / name / "carrier").write_text(f"{carrier}\n")
    assert screen.cables(net) == "Kabel / cables: uplink ada/yes, lan1 tidak/no, lan2 ada/yes"
    (net / "wanport").mkdir()
    (net / "wanport/carrier").write_text("0\n")
    assert "uplink tidak/no" in screen.cables(net)


def test_what_is_wrong_with_the_cards_names_no_command_that_nobody_can_give() -> None:
    """There is no login on a screen, and no ssh from the LAN."""
    one = Device("eth0", "02:00:00:00:00:01", "pci-0000:01:00.0", "pci", "r8169")
    for uplink, cards in ((Uplink(port="usb"), [one]), (Uplink(port="02:00:00:00:00:09"), [one]), (Uplink(), [])):
        told = "\n".join(network._told(decide(cards, uplink)))
        assert told.startswith("uplink: ") and "`" not in told and " / " in told
        assert not cards or "lan1: 02:00:00:00:00:01 at pci-0000:01:00.0" in told, "what uplink.port takes"
    assert "LAN" in told and "USB" in told


def test_the_cables_stand_below_the_cards(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.terminal.parent.mkdir()
    places.terminal.touch()
    screen.show(places, screen.CARDS, "uplink: here\nlan1: there\n")
    assert "Kabel" not in places.terminal.read_text()
    (tmp_path / "sys/class/net/lan1").mkdir(parents=True)
    (tmp_path / "sys/class/net/lan1/carrier").write_text("1\n")
    screen.show(places, screen.STATE, "gerbang: ready\n")
    shown = places.terminal.read_text()
    assert shown.endswith("lan1: there\nKabel / cables: lan1 ada/yes\n\ngerbang: ready\n")
