"""What `iw phy` says of a radio is read rightly, and what site.toml asks for is bent to what the radio can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from portal.box import radio
from portal.box.radio import Radio
from portal.config import Site, SiteConfig, Wifi

SAMPLES = Path(__file__).parent / "samples"
(HWSIM,) = radio.parse((SAMPLES / "iw-phy-hwsim.txt").read_text()).values()
(RASPBERRY,) = radio.parse((SAMPLES / "iw-phy-brcmfmac.txt").read_text()).values()


def config(code: str = "64.03.01.2001", **wifi: object) -> SiteConfig:
    return SiteConfig(site=Site(code=code), wifi=Wifi(**wifi))  # type: ignore[arg-type]


def test_a_radio_of_two_bands_is_read() -> None:
    assert HWSIM.access_point
    assert HWSIM.access_points == 2048
    assert HWSIM.protected_management
    assert HWSIM.bands == ("2.4", "5")
    assert (HWSIM.ht, HWSIM.vht) == ({"2.4", "5"}, {"5"})
    numbers = [channel.number for channel in HWSIM.channels]
    assert numbers == [*range(1, 14), 36, 40, 44, 48, 52, 56, 60, 64, 149, 153, 157, 161]
    assert [channel.number for channel in HWSIM.channels if channel.radar] == [52, 56, 60, 64]


def test_a_raspberry_pi_is_read() -> None:
    assert RASPBERRY.access_points == 1
    assert [channel.number for channel in RASPBERRY.channels if channel.band == "5"] == [52, 149]


def test_several_radios_are_told_apart() -> None:
    both = (SAMPLES / "iw-phy-hwsim.txt").read_text() + (SAMPLES / "iw-phy-brcmfmac.txt").read_text().replace(
        "Wiphy phy0", "Wiphy phy1"
    )
    found = radio.parse(both)
    assert found == {"phy0": HWSIM, "phy1": replace(RASPBERRY, phy="phy1")}
    assert radio.parse("") == {}


def test_what_the_radio_cannot_is_said_and_replaced() -> None:
    only_two = replace(HWSIM, channels=tuple(c for c in HWSIM.channels if c.band == "2.4"))
    use = radio.air(config(band="5"), only_two)
    assert use is not None
    assert use.band == "2.4"
    assert "no 5 GHz" in use.notes[0]
    use = radio.air(config(channel=100), HWSIM)
    assert use is not None
    assert use.channel.number in radio.USUAL["5"]
    assert "Channel 100" in use.notes[0]
    use = radio.air(config(channel=52), HWSIM)
    assert use is not None
    assert use.channel.number == 52
    assert "radar" in use.notes[0]


@pytest.mark.parametrize(
    ("one", "driver"),
    [
        (RASPBERRY, ""),  # one network at a time
        (HWSIM, "brcmfmac"),  # its firmware answers phones itself
        (replace(HWSIM, protected_management=False), ""),
    ],
)
def test_without_owe_the_network_is_open_and_that_is_said(one: Radio, driver: str) -> None:
    use = radio.air(config(), one, driver)
    assert use is not None
    assert not use.owe
    assert any("open" in note for note in use.notes)
    assert "owe" not in radio.render(config(), one, use).lower()
    asked_not = radio.air(config(owe=False), one, driver)
    assert asked_not is not None
    assert asked_not.notes == ()


def test_a_radio_that_is_no_access_point_is_left_alone() -> None:
    assert radio.air(config(), replace(HWSIM, access_point=False)) is None
    assert radio.air(config(), replace(HWSIM, channels=())) is None


def test_the_usual_channel_is_the_same_at_each_boot_and_not_everywhere_the_same() -> None:
    chosen = []
    for number in range(2001, 2031):
        use = radio.air(config(f"64.03.01.{number}"), HWSIM)
        assert use == radio.air(config(f"64.03.01.{number}"), HWSIM)
        assert use is not None
        chosen.append(use.channel.number)
    assert set(chosen) == {1, 6, 11}


def test_the_hidden_network_is_no_open_door() -> None:
    use = radio.air(config(), HWSIM)
    assert use is not None
    _, _, hidden = radio.render(config(), HWSIM, use).partition("bss=ap0owe")
    assert "wpa_key_mgmt=OWE" in hidden
    assert "ieee80211w=2" in hidden
    assert "ap_isolate=1" in hidden


def test_what_iw_of_trixie_prints_is_read() -> None:
    """The whole output for a radio of mac80211_hwsim under the rules of Indonesia: of its bands two are ours."""
    (one,) = radio.parse((SAMPLES / "iw-phy-hwsim-6.9.txt").read_text()).values()
    assert (one.access_point, one.access_points, one.protected_management) == (True, 2048, True)
    assert (one.bands, one.ht, one.vht) == (("2.4", "5"), {"2.4", "5"}, {"5"})
    numbers = [channel.number for channel in one.channels]
    assert numbers == [*range(1, 14), *range(36, 65, 4), *range(149, 162, 4)]
