"""Decides which network card is the uplink and which are the LAN's, from what a card is and where it is plugged in.

It must not know sysfs, udev's database or how a name is given (portal.box.devices), and never looks at the names or
numbers that the kernel gave: these follow the order in which it found the cards, which no two boots need share.

Roles and their names: `wan0` is what carries the uplink's addresses and `lan0` the LAN's bridge, whatever is below
them. A card that is the uplink by itself is called wan0; one that carries it in a VLAN or by PPPoE is called
`wanport`, and the VLAN or the PPP link on it wan0. What is plugged into USB comes and goes, and netctl's classes hang
on wan0: then wan0 (or wanport) is a bridge that is always there, and the modem its only port. LAN ports are lan1, lan2
and so on, the radio is ap0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from portal.box.contradictions import PLUGGED
from portal.config import Uplink

WAN, WAN_PORT, WAN_VLAN, LAN, MANAGEMENT, RADIO = "wan0", "wanport", "wanvlan", "lan0", "mgmt0", "ap0"
# Soldered to boards (Raspberry Pi 3 and before), though the bus is USB. Sold as adapters, too, but rarely.
SOLDERED_USB: Final = ("smsc95xx", "lan78xx")
# What phones and modems show themselves as. Never ports of the LAN: a telephone that is charged gives out addresses.
TETHERS: Final = (
    *("cdc_eem", "cdc_ether", "cdc_mbim", "cdc_ncm", "cdc_subset", "huawei_cdc_ncm"),
    *("ipheth", "qmi_wwan", "rndis_host", "sierra_net"),
)


class Medium(StrEnum):
    ETHERNET = "ethernet"
    RADIO = "radio"


@dataclass(frozen=True, slots=True)
class Device:
    """A network card. ``path`` is udev's ID_PATH, '' where it has none; ``bus`` is "usb" or another one."""

    name: str
    mac: str
    path: str
    bus: str
    driver: str
    medium: Medium = Medium.ETHERNET
    phy: str = ""

    @property
    def built_in(self) -> bool:
        return self.bus != "usb" or self.driver in SOLDERED_USB

    @property
    def tether(self) -> bool:
        return self.bus == "usb" and self.driver in TETHERS


@dataclass(frozen=True, slots=True)
class Match:
    """How udev and networkd know a card again: by one of these."""

    path: str = ""
    mac: str = ""
    drivers: tuple[str, ...] = ()
    bus: str = ""


@dataclass(frozen=True, slots=True)
class Roles:
    """``uplink``: None where nothing could ever be it. ``plugged``: it comes and goes, so a bridge stands for it."""

    uplink: Match | None
    plugged: bool
    uplink_now: Device | None
    ports: tuple[Device, ...]
    radio: Device | None
    by_path: frozenset[str]  # paths that name one card only

    def match(self, device: Device) -> Match:
        """Where it is plugged in says who it is: a card that is replaced has the role of the old one."""
        return Match(path=device.path) if device.path in self.by_path else Match(mac=device.mac)

    def names(self, bottom: str) -> dict[str, str]:
        """What each card is to be called, by what it is called now; ``bottom`` is the uplink's card."""
        wanted = {device.name: f"lan{number}" for number, device in enumerate(self.ports, 1)}
        if self.radio is not None:
            wanted[self.radio.name] = RADIO
        if self.uplink_now is not None and not self.plugged:
            wanted[self.uplink_now.name] = bottom
        return wanted


def decide(devices: Iterable[Device], uplink: Uplink) -> Roles:
    """The same roles for the same cards, whatever order they come in and whatever they are called."""
    found = sorted(devices, key=_rank)
    ethernet = [device for device in found if device.medium is Medium.ETHERNET]
    paths = [device.path for device in found if device.path]
    by_path = frozenset(path for path in paths if paths.count(path) == 1)
    plugged = uplink.kind in PLUGGED or uplink.port == "usb"
    chosen = _uplink(ethernet, uplink)
    radio = next((device for device in found if device.medium is Medium.RADIO), None)
    ports = tuple(device for device in ethernet if device != chosen and not device.tether)
    roles = Roles(None, plugged, chosen, ports, radio, by_path)
    return Roles(_match(roles, uplink), plugged, chosen, ports, radio, by_path)


def _rank(device: Device) -> tuple[bool, bool, str, str]:
    """Built in before plugged in, then by place; those without a place, and of one place, by address."""
    return not device.built_in, device.path == "", device.path, device.mac


def _uplink(ethernet: list[Device], uplink: Uplink) -> Device | None:
    if uplink.port not in (None, "usb"):
        named = [device for device in ethernet if uplink.port in (device.mac, device.path)]
        return named[0] if named else None
    if uplink.kind in PLUGGED:
        return next((device for device in ethernet if device.tether), None)
    if uplink.port == "usb":
        return next((device for device in ethernet if not device.built_in), None)
    return next((device for device in ethernet if not device.tether), None)


def _match(roles: Roles, uplink: Uplink) -> Match | None:
    """How the uplink's card is known again when it comes later than this was decided."""
    if uplink.port not in (None, "usb"):
        port = str(uplink.port)
        return Match(mac=port) if port.count(":") == 5 and len(port) == 17 else Match(path=port)
    if uplink.kind in PLUGGED:
        return Match(drivers=TETHERS)
    if uplink.port == "usb":
        return Match(bus="usb")
    return None if roles.uplink_now is None else roles.match(roles.uplink_now)


def moves(wanted: dict[str, str]) -> list[tuple[str, str]]:
    """Renames, in order, that lead from the names now to those wanted, though one is another's still."""
    todo = {old: new for old, new in wanted.items() if old != new}
    taken = set(todo) & set(todo.values())
    first = [(old, f"gb{number}") for number, old in enumerate(sorted(taken))]
    aside = dict(first)
    return [*first, *((aside.get(old, old), new) for old, new in sorted(todo.items()))]
