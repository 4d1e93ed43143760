"""Writes what systemd-networkd and udev read: which card is what, and how the uplink gets its address. Text alone.

It must not know how the text gets to its place, and gives the LAN nothing: no address, no advertisement, not even that
it is up. All of that netctl does once its rules stand (docs/image.md).

Sources: systemd.link(5), systemd.netdev(5), systemd.network(5), of systemd 257. A .link file names a card when udev
hears that it was added, and only then ("Not applying Name= on 'move' uevent" in src/udev/net/link-config.c); cards that
were there before these files are named by portal.box.network.
"""

from __future__ import annotations

from typing import Final

from portal.box.contradictions import PLUGGED
from portal.box.interfaces import (
    LAN,
    MANAGEMENT,
    RADIO,
    SOLDERED_USB,
    TETHERS,
    WAN,
    WAN_PORT,
    WAN_VLAN,
    Match,
    Roles,
)
from portal.config import Site, SiteConfig

Sections = list[tuple[str, list[str]]]
SETUP_ADDRESS: Final = "10.77.0.1/24"
NOTHING: Final = SiteConfig(site=Site(code="00.00.00.0000"))  # all at its default; of the site nothing is read here
NO_ADDRESS: Final = ["DHCP=no", "LinkLocalAddressing=no", "IPv6AcceptRA=no", "IPv6SendRA=no"]


def bottom(config: SiteConfig) -> str:
    """The name of the uplink's card, or of the bridge that stands for it."""
    return WAN if config.uplink.vlan is None and config.uplink.kind != "pppoe" else WAN_PORT


def pppoe_interface(config: SiteConfig) -> str:
    return WAN_PORT if config.uplink.vlan is None else WAN_VLAN


def files(config: SiteConfig, roles: Roles) -> dict[str, str]:
    """Every file by its name in /run/systemd/network."""
    return {name: _text(sections) for name, sections in (_links(config, roles) | _networks(config, roles)).items()}


def setup_files(config: SiteConfig, roles: Roles) -> dict[str, str]:
    """The same before there is a site: the uplink as ``config`` has it, and a LAN with an address for the setup page.

    Devices on it reach nothing but that page: nothing is forwarded.
    """
    found = _links(config, roles) | _networks(config, roles)
    found["20-gerbang-lan.network"] = [
        ("Match", [f"Name={LAN}"]),
        ("Link", ["RequiredForOnline=no"]),
        ("Network", [f"Address={SETUP_ADDRESS}", "ConfigureWithoutCarrier=yes", *NO_ADDRESS]),
    ]
    return {name: _text(sections) for name, sections in found.items()}


def _links(config: SiteConfig, roles: Roles) -> dict[str, Sections]:
    found: dict[str, Sections] = {}
    if roles.plugged:
        # The bridge has the modem's own address: some of them speak to no other.
        found["10-gerbang-uplink.link"] = [
            ("Match", [f"OriginalName={bottom(config)}", "Kind=bridge"]),
            ("Link", ["MACAddressPolicy=none"]),
        ]
    elif roles.uplink is not None:
        found["10-gerbang-uplink.link"] = _link(roles.uplink, bottom(config))
    for number, port in enumerate(roles.ports, 1):
        found[f"11-gerbang-lan{number}.link"] = _link(roles.match(port), f"lan{number}")
    if roles.radio is not None:
        found["12-gerbang-radio.link"] = _link(roles.match(roles.radio), RADIO)
    return found


def _link(match: Match, name: str) -> Sections:
    return [("Match", _match(match)), ("Link", [f"Name={name}"])]


def _networks(config: SiteConfig, roles: Roles) -> dict[str, Sections]:
    return {**_uplink(config, roles), **_management(config), **_lan(config)}


def _uplink(config: SiteConfig, roles: Roles) -> dict[str, Sections]:
    uplink, below = config.uplink, bottom(config)
    found: dict[str, Sections] = {}
    over: list[str] = []  # VLANs on the uplink's card
    if uplink.vlan is not None:
        name = WAN_VLAN if uplink.kind == "pppoe" else WAN
        over.append(f"VLAN={name}")
        found["13-gerbang-uplink-vlan.netdev"] = _vlan(name, uplink.vlan)
    if config.management.vlan is not None and uplink.kind not in PLUGGED:
        over.append(f"VLAN={MANAGEMENT}")
    if roles.plugged:
        found["10-gerbang-uplink.netdev"] = [
            ("NetDev", [f"Name={below}", "Kind=bridge", "MACAddress=none"]),
            ("Bridge", ["STP=no", "ForwardDelaySec=0", "MulticastSnooping=no"]),
        ]
        if roles.uplink is not None:
            found["10-gerbang-modem.network"] = [
                ("Match", _match(roles.uplink)),
                ("Link", ["RequiredForOnline=no"]),
                ("Network", [f"Bridge={below}", *NO_ADDRESS]),
            ]
        own: list[str] | None = [f"Name={below}"]
    else:
        # Not by its name: a card that could not be named must not be taken for one of the LAN's.
        own = None if roles.uplink is None else _match(roles.uplink)
    if own is not None:
        carries = below == WAN
        content = _addressing(config, over) if carries else [("Network", [*over, *NO_ADDRESS])]
        found["14-gerbang-uplink.network"] = [("Match", own), ("Link", ["RequiredForOnline=no"]), *content]
    if uplink.kind == "pppoe":
        if uplink.vlan is not None:
            found["15-gerbang-pppoe.network"] = [("Match", [f"Name={WAN_VLAN}"]), ("Network", NO_ADDRESS)]
        found["16-gerbang-ppp.network"] = [("Match", [f"Name={WAN}"]), ("Link", ["Unmanaged=yes"])]
    elif below != WAN:
        found["15-gerbang-wan.network"] = [("Match", [f"Name={WAN}"]), *_addressing(config, [])]
    return found


def _addressing(config: SiteConfig, over: list[str]) -> Sections:
    """How the uplink gets its addresses. A prefix for the LAN is asked for even where nobody says there are any."""
    uplink, prefix = config.uplink, config.lan.ipv6
    sections: Sections = []
    if uplink.kind == "static":
        given = ["DHCP=ipv6", f"Address={uplink.address}", f"Gateway={uplink.gateway}"]
    else:
        given = ["DHCP=yes"]
        sections.append(
            # What the provider's server says of names is not ours to take.
            ("DHCPv4", ["ClientIdentifier=mac", "SendHostname=no", "UseHostname=no", "UseDomains=no"])
        )
    sections.insert(0, ("Network", [*over, *given, "LinkLocalAddressing=ipv6", "IPv6AcceptRA=yes", "IPv6SendRA=no"]))
    sections.append(("IPv6AcceptRA", ["UseDomains=no", *(["DHCPv6Client=always"] if prefix else [])]))
    if prefix:
        sections.append(("DHCPv6", ["PrefixDelegationHint=::/56", "UseHostname=no", "SendHostname=no"]))
    return sections


def _management(config: SiteConfig) -> dict[str, Sections]:
    management = config.management
    if management.vlan is None or config.uplink.kind in PLUGGED:
        return {}
    name = [("Match", [f"Name={MANAGEMENT}"]), ("Link", ["RequiredForOnline=no"])]
    if management.address is None:
        # No route but to its own network: the Internet is behind the provider's line.
        asks = ["DHCP=ipv4", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
        own: Sections = [("Network", asks), ("DHCPv4", ["UseGateway=no", "UseDNS=no", "UseNTP=no", "UseDomains=no"])]
    else:
        own = [("Network", [f"Address={management.address}", *NO_ADDRESS])]
    return {
        "17-gerbang-management.netdev": _vlan(MANAGEMENT, management.vlan),
        "17-gerbang-management.network": [*name, *own],
    }


def _vlan(name: str, number: int) -> Sections:
    return [("NetDev", [f"Name={name}", "Kind=vlan"]), ("VLAN", [f"Id={number}"])]


def _lan(config: SiteConfig) -> dict[str, Sections]:
    lan = config.lan
    network = ["KeepConfiguration=yes", "DHCP=no", "IPv6AcceptRA=no", "IPv6SendRA=no"]
    network.append(f"LinkLocalAddressing={'ipv6' if lan.ipv6 else 'no'}")
    delegated: Sections = []
    if lan.ipv6 and config.uplink.kind != "pppoe":
        network.append("DHCPPrefixDelegation=yes")
        delegated = [("DHCPPrefixDelegation", ["SubnetId=0", "Token=static:::1", "Announce=no"])]
    isolated: Sections = [("Bridge", ["Isolated=yes"])] if lan.isolate else []
    return {
        "20-gerbang-lan.netdev": [
            ("NetDev", [f"Name={LAN}", "Kind=bridge"]),
            ("Bridge", ["STP=no", "ForwardDelaySec=0", "MulticastSnooping=yes"]),
        ],
        "20-gerbang-lan.network": [
            ("Match", [f"Name={LAN}"]),
            # Down until netctl takes it up: nothing passes between its ports, nothing reaches this box from them.
            ("Link", ["ActivationPolicy=manual", "RequiredForOnline=no"]),
            ("Network", network),
            *delegated,
        ],
        # hostapd's, which puts it into the bridge.
        "21-gerbang-radio.network": [("Match", ["Type=wlan"]), ("Link", ["Unmanaged=yes"])],
        # Every card that is none of the above, those that are plugged in later, too.
        "30-gerbang-port.network": [
            ("Match", ["Type=ether", "Kind=!*", f"Driver=!{' '.join(TETHERS)}"]),
            ("Link", ["RequiredForOnline=no"]),
            ("Network", [f"Bridge={LAN}", *NO_ADDRESS]),
            *isolated,
        ],
    }


def _match(match: Match) -> list[str]:
    if match.path:
        lines = [f"Path={match.path}"]
    elif match.mac:
        lines = [f"PermanentMACAddress={match.mac}"]
    elif match.drivers:
        lines = [f"Driver={' '.join(match.drivers)}"]
    else:
        lines = [f"Property=ID_BUS={match.bus}", f"Driver=!{' '.join(SOLDERED_USB)}"]
    return [*lines, "Kind=!*"]


def _text(sections: Sections) -> str:
    said = "\n\n".join("\n".join([f"[{name}]", *lines]) for name, lines in sections)
    return f"# Written by gerbang-network at each boot; changes made here are lost.\n{said}\n"
