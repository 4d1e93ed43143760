"""The box's own state, read from a made-up /sys and /proc: each thing that can be wrong is said, with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec import structs

from portal.config import Lan, Site, SiteConfig, Wifi
from portal.technician import machine, words
from portal.technician.findings import Finding, teller

TELL = teller(words.english())
CONFIG = SiteConfig(site=Site(code="64.03.01.2001"), lan=Lan(interface="lan0"), wifi=Wifi(ssid="Wi-Fi Desa"))


def file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A /sys in which this file system lies on the second partition of a memory card."""
    number = tmp_path.stat().st_dev
    disk = tmp_path / "sys/devices/mmcblk0"
    file(disk / "stat", "1 2 3 4 5 6 2000000000 8 9 10 11\n")
    file(disk / "mmcblk0p2/partition", "2\n")
    link = tmp_path / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(disk / "mmcblk0p2")
    return disk


def wear(tmp_path: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in machine.wear(tmp_path, TELL, tmp_path / "sys")}


def test_what_was_written_is_counted_on_the_whole_card(card: Path, tmp_path: Path) -> None:
    found = wear(tmp_path)
    assert found["written"].message == "1024.0 GB were written to mmcblk0 since the last start."
    assert "card" not in found, "a card that does not tell is not judged"


@pytest.mark.parametrize(
    ("life", "end", "level"),
    [
        ("0x01 0x02", "0x01", "ok"),
        ("0x09 0x01", "0x01", "warn"),
        ("0x0b 0x0b", "0x03", "warn"),
        ("0x01 0x01", "0x02", "warn"),
    ],
)
def test_a_card_that_tells_is_believed(card: Path, tmp_path: Path, life: str, end: str, level: str) -> None:
    file(card / "device/life_time", life + "\n")
    file(card / "device/pre_eol_info", end + "\n")
    found = wear(tmp_path)["card"]
    assert found.level == level and bool(found.fix) == (level == "warn")


def test_a_card_that_says_zero_says_nothing(card: Path, tmp_path: Path) -> None:
    file(card / "device/life_time", "0x00 0x00\n")
    file(card / "device/pre_eol_info", "0x00\n")
    assert "card" not in wear(tmp_path)


def test_memory_without_a_disk_has_no_wear(tmp_path: Path) -> None:
    assert wear(tmp_path) == {}


@pytest.mark.parametrize(("kib", "level"), [(500_000, "ok"), (20_000, "warn")])
def test_memory_that_runs_short_is_said(tmp_path: Path, kib: int, level: str) -> None:
    file(tmp_path / "meminfo", f"MemTotal: 1000000 kB\nMemAvailable: {kib} kB\nHugePages_Total: 0\n")
    assert [finding.level for finding in machine.memory(TELL, tmp_path)] == [level]


def test_the_hottest_sensor_counts(tmp_path: Path) -> None:
    for number, temperature in enumerate((41_000, 84_500)):
        file(tmp_path / f"class/thermal/thermal_zone{number}/temp", f"{temperature}\n")
    (found,) = machine.temperature(TELL, tmp_path)
    assert found.level == "warn" and "84" in found.message
    assert list(machine.temperature(TELL, tmp_path / "without")) == []


def lan(sys: Path, *, radio: bool | None = None, **ports: bool) -> None:
    """A bridge as on a box: ports with a cable or without; the radio sends, does not (hostapd is dead), or is none."""
    net = sys / "class/net"
    file(net / "lan0/carrier", f"{int(any(ports.values()) or bool(radio))}\n")
    for name in (*ports, *(["ap0"] if radio else [])):
        file(net / f"lan0/brif/{name}/state", "3\n")
    for name, there in ports.items():
        file(net / name / "carrier", f"{int(there)}\n")
    if radio is not None:
        file(net / "ap0/phy80211/name", "phy0\n")
        file(net / "ap0/carrier", f"{int(radio)}\n")


def seen(sys: Path, config: SiteConfig = CONFIG) -> list[tuple[str, str, str]]:
    return [(found.level, found.name, found.message) for found in machine.radio(config, TELL, sys)]


def test_an_external_access_point_is_seen_by_its_cable_alone(tmp_path: Path) -> None:
    """Without a bridge, as on a Linux machine that runs the gateway."""
    assert "no interface lan0" in seen(tmp_path)[0][2]
    file(tmp_path / "class/net/lan0/carrier", "0\n")
    assert [found[:2] for found in seen(tmp_path)] == [("fail", "ap")]
    file(tmp_path / "class/net/lan0/carrier", "1\n")
    ((level, _, message),) = seen(tmp_path)
    assert level == "ok" and "access point itself is not looked at" in message


def test_a_radio_of_its_own_is_named_with_its_network(tmp_path: Path) -> None:
    lan(tmp_path, radio=True, lan1=True)
    ((level, name, message),) = seen(tmp_path)
    assert (level, name) == ("ok", "ap") and "ap0" in message and "Wi-Fi Desa" in message


def test_a_radio_that_sends_hides_no_cable_that_is_out(tmp_path: Path) -> None:
    lan(tmp_path, radio=True, lan1=False, lan2=True)
    (_, (level, name, message)) = seen(tmp_path)
    assert (level, name) == ("ok", "port") and "lan1" in message and "lan2" not in message


def test_a_cable_hides_no_radio_that_does_not_send(tmp_path: Path) -> None:
    """hostapd puts it into the bridge, so it is not there while hostapd does not run."""
    lan(tmp_path, radio=False, lan1=True)
    (found,) = machine.radio(CONFIG, TELL, tmp_path)
    assert found.level == "fail" and "ap0" in found.message and "hostapd" in found.fix


def test_a_radio_that_site_toml_switches_off_is_not_missed(tmp_path: Path) -> None:
    off = structs.replace(CONFIG, wifi=Wifi(enabled=False))
    lan(tmp_path, radio=False, lan1=True, lan2=False)
    (level, _, message), port = seen(tmp_path, off)
    assert level == "ok" and "lan1" in message and "lan2" not in message
    assert port[:2] == ("ok", "port") and "lan2" in port[2]
    lan(tmp_path, radio=False, lan1=False, lan2=False)
    ((level, _, message),) = seen(tmp_path, off)
    assert level == "fail" and "lan1" in message and "lan2" in message


def test_a_disk_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert machine.disk(tmp_path / "none", TELL).level == "fail"
    assert machine.disk(tmp_path, TELL).name == "disk"
