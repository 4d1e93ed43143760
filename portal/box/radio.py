"""Reads from `iw phy` what a radio can, and writes hostapd's configuration for it. It must not run either.

Sources: print_phy_handler in info.c of iw; hostapd.conf as it comes with hostapd 2.10. Channels are of 20 MHz: a
village's line is slower than that, and a narrow channel carries farther and is disturbed less.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from portal.box.contradictions import band as wanted_band
from portal.box.interfaces import LAN, RADIO
from portal.config import SiteConfig

OWE_BSS: Final = f"{RADIO}owe"
CONTROL: Final = "/run/hostapd"
# Apart from each other and allowed everywhere without listening for radar first; the lowest and the highest of 5 GHz.
USUAL: Final = {"2.4": (1, 6, 11), "5": (36, 40, 44, 48, 149, 153, 157, 161)}
# Their firmware answers phones itself, so that hostapd cannot do OWE's part of it.
FIRMWARE_ANSWERS: Final = ("brcmfmac", "wl", "mwifiex", "rtl8723bs")


@dataclass(frozen=True, slots=True)
class Channel:
    number: int
    band: str
    radar: bool


@dataclass(frozen=True, slots=True)
class Radio:
    """What a phy can do as an access point. ``channels`` are those on which it may begin to send."""

    phy: str
    access_point: bool
    channels: tuple[Channel, ...]
    ht: frozenset[str]  # bands
    vht: frozenset[str]
    protected_management: bool
    access_points: int

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(name for name in USUAL if any(channel.band == name for channel in self.channels))


@dataclass(frozen=True, slots=True)
class Air:
    """How the radio is used, and what of site.toml could not be."""

    band: str
    channel: Channel
    owe: bool
    notes: tuple[str, ...]


def parse(text: str) -> dict[str, Radio]:
    """Every phy in the output of `iw phy`, by name."""
    pieces = re.split(r"^Wiphy (\S+)$", text, flags=re.MULTILINE)[1:]
    return {name: _radio(name, body) for name, body in zip(pieces[::2], pieces[1::2], strict=True)}


def _radio(name: str, body: str) -> Radio:
    channels: list[Channel] = []
    ht: set[str] = set()
    vht: set[str] = set()
    for part in re.split(r"^\tBand \d+:$", body, flags=re.MULTILINE)[1:]:
        part = re.split(r"^\t(?=\S)", part, maxsplit=1, flags=re.MULTILINE)[0]  # noqa: PLW2901  till the band ends
        found = list(_channels(part))
        channels += found
        bands = {channel.band for channel in found}
        ht |= bands if re.search(r"^\t\tCapabilities: 0x", part, re.MULTILINE) else set()
        vht |= bands if "VHT Capabilities" in part else set()
    return Radio(
        phy=name,
        access_point=re.search(r"^\t\t \* AP$", body, re.MULTILINE) is not None,
        channels=tuple(channels),
        ht=frozenset(ht),
        vht=frozenset(vht),
        protected_management=re.search(r"\* (CMAC|AES-CMAC|BIP)\b.*00-0f-ac:6", body) is not None,
        access_points=_access_points(body),
    )


def _channels(part: str) -> list[Channel]:
    found = []
    for mhz, number, rest in re.findall(r"^\t\t\t\* (\d+)(?:\.\d+)? MHz \[(\d+)\](.*)$", part, re.MULTILINE):
        name = "2.4" if int(mhz) < 2500 else "5" if int(mhz) < 5900 else ""
        if name and not re.search(r"\((disabled|no IR|passive scanning)", rest):
            found.append(Channel(int(number), name, "radar" in rest))
        elif name and "radar detection" in rest and "disabled" not in rest:
            found.append(Channel(int(number), name, True))  # "no IR" until nobody was heard there
    return found


def _access_points(body: str) -> int:
    """The most networks at once that any combination allows; 1 where none is told."""
    counts = [int(most) for names, most in re.findall(r"#\{([^}]*)\} <= (\d+)", body) if re.search(r"\bAP\b", names)]
    return max(counts, default=1)


def air(config: SiteConfig, radio: Radio, driver: str = "") -> Air | None:
    """How to use this radio; None where it cannot be an access point here."""
    if not radio.access_point or not radio.bands:
        return None
    notes = []
    band = wanted_band(config)
    if band not in radio.bands:
        notes.append(f"The radio has no {band} GHz here; it uses {radio.bands[0]} GHz.")
        band = radio.bands[0]
    there = {channel.number: channel for channel in radio.channels if channel.band == band}
    number = config.wifi.channel
    if number is not None and number not in there:
        notes.append(f"Channel {number} is not allowed or not known to the radio; another is used.")
        number = None
    channel = there[number if number is not None else _usual(config.site.code, band, there)]
    if channel.radar:
        notes.append(f"Channel {channel.number} is shared with radar: the network comes up a minute later.")
    owe = config.wifi.owe and radio.protected_management and radio.access_points >= 2 and driver not in FIRMWARE_ANSWERS
    if config.wifi.owe and not owe:
        notes.append("The radio cannot encrypt without a password (OWE); the network is open.")
    return Air(band, channel, owe, tuple(notes))


def _usual(code: str, band: str, there: dict[int, Channel]) -> int:
    """The same channel at each boot; neighbouring desa as a rule have others."""
    usual = [number for number in USUAL[band] if number in there] or sorted(there)
    return usual[int.from_bytes(hashlib.sha256(code.encode()).digest()[:4], "big") % len(usual)]


def render(config: SiteConfig, radio: Radio, use: Air) -> str:
    """The text of hostapd.conf: an open network, and where it can be, an encrypted one that is hidden beside it."""
    wifi = config.wifi
    lines = [
        *_head(config.wifi.country, radio, use),
        *_network(wifi.ssid),
        *_shared(config),
    ]
    if use.owe:
        # Phones that know OWE see one network and join the hidden one (Wi-Fi Alliance, Opportunistic Wireless
        # Encryption Specification, transition mode).
        lines += [
            f"owe_transition_ifname={OWE_BSS}",
            "",
            f"bss={OWE_BSS}",
            *_network(owe_name(wifi.ssid)),
            *_shared(config),
            "ignore_broadcast_ssid=1",
            "wpa=2",
            "wpa_key_mgmt=OWE",
            "rsn_pairwise=CCMP",
            "ieee80211w=2",
            f"owe_transition_ifname={RADIO}",
        ]
    return "\n".join(lines) + "\n"


def render_setup(country: str, ssid: str, password: str, radio: Radio, use: Air) -> str:
    """The text of hostapd.conf for the setup page alone: WPA2, since the page takes passwords."""
    lines = [
        *_head(country, radio, use),
        *_network(ssid),
        f"bridge={LAN}",
        "max_num_sta=4",
        "wpa=2",
        "wpa_key_mgmt=WPA-PSK",
        "rsn_pairwise=CCMP",
        f"wpa_passphrase={password}",
    ]
    return "\n".join(lines) + "\n"


def owe_name(ssid: str) -> str:
    """The hidden network's name, which nobody reads: phones learn it from the open one."""
    return f"owe-{hashlib.sha256(ssid.encode()).hexdigest()[:12]}"


def _head(country: str, radio: Radio, use: Air) -> list[str]:
    five = use.band == "5"
    lines = [
        "# Written by gerbang from site.toml at each boot; changes made here are lost.",
        f"interface={RADIO}",
        "driver=nl80211",
        f"ctrl_interface={CONTROL}",
        f"country_code={country}",
        "ieee80211d=1",
        *(["ieee80211h=1"] if five else []),
        f"hw_mode={'a' if five else 'g'}",
        f"channel={use.channel.number}",
        *(["ieee80211n=1", "wmm_enabled=1"] if use.band in radio.ht else []),
        *(["ieee80211ac=1"] if use.band in radio.vht and five else []),
    ]
    if not five:
        # Rates of 1999 take the air from everybody: 1 Mbit/s to one phone stops all others for a second.
        lines += ["supported_rates=60 90 120 180 240 360 480 540", "basic_rates=60 120 240"]
    return lines


def _network(ssid: str) -> list[str]:
    return [f"ssid={ssid}", *([] if ssid.isascii() else ["utf8_ssid=1"])]


def _shared(config: SiteConfig) -> list[str]:
    most = config.wifi.max_stations
    return [
        f"bridge={LAN}",
        f"ap_isolate={int(config.lan.isolate)}",
        *([] if most is None else [f"max_num_sta={most}"]),
    ]
