"""Finds contradictions between the keys of site.toml that only a flashed box uses. It must not look at the machine.

They are found wherever site.toml is checked, so that an office learns of them before a technician travels.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from portal.config import SiteConfig, Uplink
from portal.sitefinding import Finding

PLUGGED: Final = ("usb", "lte")
# Channels of 20 MHz; which of them the country allows, the radio itself says (portal.box.radio).
CHANNELS: Final = {"2.4": tuple(range(1, 14)), "5": (*range(36, 65, 4), *range(100, 145, 4), *range(149, 178, 4))}
OWN_KEYS: Final = {"static": ("address", "gateway"), "pppoe": ("user", "password")}


def findings(config: SiteConfig) -> Iterator[Finding]:
    yield from _kind(config.uplink)
    if config.uplink.kind == "static":
        yield from _static(config)
    yield from _vlan(config)
    yield from _wifi(config)
    yield from _management(config)


def band(config: SiteConfig) -> str:
    """The band that is wanted, in GHz."""
    channel = config.wifi.channel
    return config.wifi.band or ("5" if channel is not None and channel > 14 else "2.4")


def _kind(uplink: Uplink) -> Iterator[Finding]:
    for kind, keys in OWN_KEYS.items():
        for key in keys:
            given = getattr(uplink, key) is not None
            if kind == uplink.kind and not given:
                message = f'With kind = "{kind}" this key is needed.'
                yield Finding(f"uplink.{key}", message, "The provider's paper says it.", ("uplink.kind",))
            if kind != uplink.kind and given:
                message = f'It is for kind = "{kind}", and this line is "{uplink.kind}".'
                hint = f'Write kind = "{kind}" under [uplink], or take the key out.'
                yield Finding(f"uplink.{key}", message, hint, ("uplink.kind",))


def _static(config: SiteConfig) -> Iterator[Finding]:
    uplink, lan = config.uplink, _network(config.lan.address)
    if not uplink.dns:
        message = 'With kind = "static" nobody tells this box its resolvers.'
        yield Finding("uplink.dns", message, 'Write them down: dns = ["203.0.113.53"].', ("uplink.kind",))
    if uplink.address is None:
        return
    yield from _host_in_network("uplink.address", uplink.address)
    network = _network(uplink.address)
    if network is None:
        return
    if lan and network.overlaps(lan):
        message = f"{network} and the LAN ({lan}) overlap."
        yield Finding("uplink.address", message, "Give the LAN another network.", ("lan.address", "uplink.kind"))
    if uplink.gateway is None:
        return
    because = ("uplink.address", "uplink.kind")
    try:
        router = ipaddress.IPv4Address(uplink.gateway)
    except ValueError:
        yield Finding("uplink.gateway", f'"{uplink.gateway}" is not an IPv4 address.', "Like 203.0.113.9.")
        return
    if router not in network:
        message = f"{router} is not in {network}, the network of uplink.address."
        yield Finding("uplink.gateway", message, "Compare both with the provider's paper.", because)
    elif router == ipaddress.IPv4Interface(uplink.address).ip:
        message = f"{router} is this box's own address."
        yield Finding("uplink.gateway", message, "The router is another machine, the provider's.", because)


def _vlan(config: SiteConfig) -> Iterator[Finding]:
    if config.uplink.vlan is not None and config.uplink.kind in PLUGGED:
        message = f'A line of kind "{config.uplink.kind}" comes in no VLAN.'
        yield Finding("uplink.vlan", message, "Take the key out.", ("uplink.kind",))


def _wifi(config: SiteConfig) -> Iterator[Finding]:
    channel, wanted = config.wifi.channel, band(config)
    if channel is None:
        return
    if channel not in (*CHANNELS["2.4"], *CHANNELS["5"]):
        yield Finding("wifi.channel", f"There is no channel {channel}.", "2.4 GHz: 1, 6 or 11. 5 GHz: 36, 149.")
    elif channel not in CHANNELS[wanted]:
        message = f"Channel {channel} is not in the band of {wanted} GHz."
        hint = "Take one of the two out: a channel says its band."
        yield Finding("wifi.channel", message, hint, ("wifi.band",))


def _management(config: SiteConfig) -> Iterator[Finding]:
    management, lan = config.management, _network(config.lan.address)
    yield from _ssh_from(config, lan)
    if management.vlan is None:
        if management.address is not None:
            message = "The address is for a VLAN, and none is given."
            yield Finding("management.address", message, "Write vlan = and its number, or take it out.", _VLAN)
        return
    if config.uplink.kind in PLUGGED:
        message = f'A line of kind "{config.uplink.kind}" has no port that could carry a VLAN.'
        yield Finding("management.vlan", message, "Take the key out.", ("uplink.kind",))
    if management.vlan == config.uplink.vlan:
        message = f"VLAN {management.vlan} is the provider's already (uplink.vlan)."
        yield Finding("management.vlan", message, "The office needs one of its own.", ("uplink.vlan",))
    if management.address is None:
        return
    yield from _host_in_network("management.address", management.address)
    network = _network(management.address)
    if network and lan and network.overlaps(lan):
        message = f"{network} and the LAN ({lan}) overlap."
        yield Finding("management.address", message, "Take another network for one of them.", ("lan.address",))


_VLAN: Final = ("management.vlan",)


def _ssh_from(config: SiteConfig, lan: ipaddress.IPv4Network | None) -> Iterator[Finding]:
    key = "management.ssh_from"
    for number, text in enumerate(config.management.ssh_from, 1):
        entry = f"Entry {number}, {text},"
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            hint = 'Like "10.20.0.0/16", with no bits set outside the prefix.'
            yield Finding(key, f'Entry {number}, "{text}", is not a network.', hint)
            continue
        if network.prefixlen < (8 if network.version == 4 else 16):
            yield Finding(key, f"{entry} is next to the whole Internet.", "Name the networks that the office uses.")
        elif lan and network.version == 4 and network.subnet_of(lan):
            message = f"{entry} lies in the LAN ({lan}); from there nobody logs in."
            yield Finding(key, message, "Take it out: ssh is for the provider's side.", ("lan.address",))


def _network(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Interface(text).network
    except ValueError:
        return None


def _host_in_network(key: str, text: str) -> Iterator[Finding]:
    """Is it a host's address with a prefix length? One of a /31 is (RFC 3021)."""
    network = _network(text)
    if network is None or "/" not in text:
        yield Finding(key, f'"{text}" is not an IPv4 address with its prefix length.', "Like 203.0.113.10/30.")
        return
    address = ipaddress.IPv4Interface(text).ip
    if network.prefixlen == 32:
        yield Finding(key, f"With /32 nobody else is in the network of {address}.", "Like 203.0.113.10/30.")
    elif network.prefixlen < 31 and address in (network.network_address, network.broadcast_address):
        message = f"{address} is the first or last address of {network}, which no machine has."
        yield Finding(key, message, "Compare it with the provider's paper.")
