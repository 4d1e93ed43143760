"""Whether a card is there that uplink.port names, and what a backup of another box becomes here."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from portal import backup, prepare, restore, site, uplinkport
from portal.box.interfaces import Device, Medium
from portal.paths import Paths
from portal.update.places import Places

OLD, NEW, STICK = "2c:cf:67:0a:11:30", "2c:cf:67:0a:99:99", "00:e0:4c:68:00:01"
CARDS = [
    Device("wan0", NEW, "pci-0000:01:00.0", "pci", "r8169"),
    Device("lan1", STICK, "", "usb", "r8152"),
    Device("ap0", "2c:cf:67:0a:99:9a", "pci-0000:02:00.0", "pci", "ath10k", Medium.RADIO),
]
SITE = '[site]\ncode = "64.03.01.2001"\n'


@pytest.mark.parametrize("port", [None, "usb", NEW, STICK, "pci-0000:01:00.0"])
def test_what_is_plugged_in_is_there(port: str | None) -> None:
    assert uplinkport.is_there(port, CARDS)


@pytest.mark.parametrize("port", [OLD, "pci-0000:05:00.0", "2c:cf:67:0a:99:9a", "pci-0000:02:00.0"])
def test_another_box_s_card_is_not_nor_a_radio(port: str) -> None:
    assert not uplinkport.is_there(port, CARDS)


def test_a_place_is_not_denied_where_no_place_is_known() -> None:
    placeless = [Device("wan0", NEW, "", "pci", "r8169")]
    assert uplinkport.is_there("pci-0000:01:00.0", placeless)
    assert not uplinkport.is_there(OLD, placeless)


@pytest.mark.parametrize(
    ("own", "line"), [(NEW, f'port = "{NEW}"'), ("usb", 'port = "usb"'), (None, f'# port = "{OLD}" # old box')]
)
def test_a_replacement_box_keeps_its_own_port(own: str | None, line: str) -> None:
    text = f'{SITE}[uplink]\nkind = "dhcp"\nport = "{OLD}" # old box\nvlan = 7\n[lan]\nipv6 = false\n'
    fitted, replaced = uplinkport.fitted(text, own, CARDS)
    assert replaced == OLD
    assert fitted == f'{SITE}[uplink]\nkind = "dhcp"\n{line}\nvlan = 7\n[lan]\nipv6 = false\n'


@pytest.mark.parametrize(
    "uplink",
    [
        "",
        '[uplink]\nport = "usb"\n',
        f'[uplink]\nport = "{NEW}"\n',
        f'uplink = {{ port = "{OLD}" }}\n',
        f'[uplink]\nport = "{OLD}\n',
    ],
)
def test_all_else_stays_to_the_letter(uplink: str) -> None:
    text = f"{uplink}{SITE}"
    assert uplinkport.fitted(text, STICK, CARDS) == (text, None)
    text = f'{SITE}[uplink]\nport = "{OLD}"\n'
    assert uplinkport.fitted(text, OLD, CARDS) == (text, None), "it is this box's own already"


@pytest.mark.parametrize(("is_box", "keeps"), [(True, True), (False, False)])
def test_a_backup_of_another_box_leaves_a_box_its_uplink(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_box: bool, keeps: bool
) -> None:
    def checked(text: str, name: str) -> object:
        return site.check_text(name, text, files=False, here=False)[0]

    monkeypatch.setattr(Places, "is_box", is_box)
    monkeypatch.setattr(uplinkport, "cards", lambda: CARDS)
    monkeypatch.setattr(prepare, "checked", checked)
    monkeypatch.setattr(restore, "_prepare_database", lambda *_: None)
    monkeypatch.setattr("os.chown", lambda *_: None)
    paths.site.write_text(f'{SITE}[uplink]\nport = "{OLD}"\n')
    file, here = io.BytesIO(), tmp_path / "here.toml"
    backup.make(file, paths, paths.site)
    file.seek(0)
    here.write_text(f'{SITE}[uplink]\nport = "{NEW}"\n')
    with restore._checked(file, paths, here, restore.Wish("tono", "technician")) as (unpacked, config, port):
        assert config.uplink.port == (NEW if keeps else OLD)
        assert (NEW in unpacked.site) is keeps
        assert port == (OLD if keeps else None)
