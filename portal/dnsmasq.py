"""Writes dnsmasq's configuration from the site's: addresses, names, advertisements. It must not run dnsmasq.

dnsmasq(8) is the source of the options. What it cannot do: no version up to 2.92 sends the captive-portal option (37)
in router advertisements (its src/radv.c builds a fixed list of options), so the API's address goes out in the two forms
of RFC 8910 that it can send: DHCPv4 option 114, and DHCPv6 option 103, which the advertisement's O flag makes devices
ask for.
"""

from __future__ import annotations

import ipaddress

from portal.config import SiteConfig
from portal.paths import Paths

API_PATH = "/api/captive"


def api_url(config: SiteConfig) -> str:
    """Where phones find the RFC 8908 API; the rules lead port 443 of the gateway to the portal's TLS port."""
    return f"https://{config.portal.name}{API_PATH}"


def dhcp_range(config: SiteConfig) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]:
    """First and last address for devices: the LAN but for its first ten (on a small LAN fewer), kept for fixed things.

    The gateway's own address may lie inside; dnsmasq never gives that away.
    """
    network = ipaddress.IPv4Interface(config.lan.address).network
    kept = min(10, network.num_addresses // 16)
    return network.network_address + 1 + kept, network.broadcast_address - 1


def render(config: SiteConfig, paths: Paths, *, announce_api: bool) -> str:
    """The text of dnsmasq.conf. ``announce_api``: send phones to the https API (portal.certificate decides it)."""
    lan, network = config.lan, ipaddress.IPv4Interface(config.lan.address).network
    first, last = dhcp_range(config)
    lines = [
        "# Written by gerbang from site.toml at each start; changes made here are lost.",
        "",
        "# On the LAN only. bind-dynamic follows an interface that comes, goes or changes its addresses.",
        f"interface={lan.interface}",
        "except-interface=lo",
        "bind-dynamic",
        "pid-file=",
        "",
        "# Names. Answers are passed on as the provider's resolvers give them, private addresses and blocks included.",
        f"interface-name={config.portal.name},{lan.interface}",
        f"local=/{config.portal.name}/",
        "no-hosts",
        "domain-needed",
        "bogus-priv",
        "no-ident",
        *_upstream(config),
        "cache-size=2000",
        "dns-forward-max=400",
        "# In an outage names that were known still resolve, so that phones find the page that explains it.",
        "use-stale-cache",
        "",
        "# Addresses. A gateway is the only DHCP server of its LAN, and takes over devices that remember an address.",
        f"dhcp-range={first},{last},{network.netmask},{network.broadcast_address},{lan.lease_minutes}m",
        f"dhcp-lease-max={int(last) - int(first) + 1}",
        f"dhcp-leasefile={paths.leases}",
        "dhcp-authoritative",
        "dhcp-rapid-commit",
        "# Else dnsmasq pings each new address for 3 s and serves no other device meanwhile. Every address of the",
        "# range comes from this lease file, which outlives power cuts, and devices probe it by ARP (RFC 5227).",
        "no-ping",
        "# Names that devices give themselves are neither published nor kept.",
        "dhcp-ignore-names",
    ]
    if announce_api:
        lines += [
            "# RFC 8910, sent whether asked for or not.",
            f"dhcp-option-force=114,{api_url(config)}",
        ]
    if lan.ipv6:
        lines += [
            "",
            "# IPv6: devices make their own addresses in every prefix of the LAN; advertisements name the resolver.",
            "enable-ra",
            f"dhcp-range=::,constructor:{lan.interface},ra-stateless,64,{max(lan.lease_minutes, 10)}m",
            f"ra-param={lan.interface},high,60,1800",
        ]
        if announce_api:
            lines.append(f"dhcp-option-force=option6:103,{api_url(config)}")
    lines += [
        "",
        "# To standard error, without one line for each device: who was here belongs in no log.",
        "log-facility=-",
        "quiet-dhcp",
        "quiet-dhcp6",
        "quiet-ra",
    ]
    return "\n".join(lines) + "\n"


def _upstream(config: SiteConfig) -> list[str]:
    if not config.uplink.dns:
        return ["resolv-file=/etc/resolv.conf"]
    return ["no-resolv", "no-poll", *(f"server={address}" for address in config.uplink.dns)]
