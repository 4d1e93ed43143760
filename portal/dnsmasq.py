"""Writes dnsmasq's configuration from the site's: addresses, names, advertisements. It must not run dnsmasq.

dnsmasq(8) is the source of the options. What it cannot do: no version up to 2.92 sends the captive-portal option (37)
in router advertisements (its src/radv.c builds a fixed list of options), so the API's address goes out in the two forms
of RFC 8910 that it can send: DHCPv4 option 114, and DHCPv6 option 103, which the advertisement's O flag makes devices
ask for.

Tried with 2.90: `address=/name/192.0.2.1` alone passes questions for other types on, so that an AAAA or HTTPS record
would lead around the block; with `local=/name/` beside it they get NODATA. 100000 names so are 16 MB of dnsmasq's
memory and 0.15 s of its start; hosts files need less but know no names below a name. `ipset=` puts an address in when
the answer comes from the provider, not when it comes from the cache.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from portal import blocklist
from portal.config import Block, SiteConfig
from portal.paths import Paths

API_PATH: Final = "/api/captive"
GARDEN_SETS: Final = "gerbang_garden4,gerbang_garden6"  # netctl makes them; each takes the addresses of its family
# Phones ask again after 5 minutes and the provider is asked again after an hour, which puts the addresses into the sets
# again; netctl forgets them only long after.
GARDEN_TTLS: Final = ("max-ttl=300", "max-cache-ttl=3600")
# Firefox and Apple's relay ask for these, and use the network's resolver where they do not exist: their makers'
# documented way for a network with a duty to filter. Other DNS over https is not met by it.
CANARIES: Final = ("use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com")
LONGEST_LINE: Final = 900  # bytes; dnsmasq reads lines of at most 1024 (MAXDNAME)


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
        *_garden(config),
        *_block(config, paths),
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


def render_block(block: Block) -> str:
    """The text of the file that render's `conf-file` names: every blocked name, and all names below it."""
    names = blocklist.names(block)
    lines = [f"local={chunk}" for chunk in _chunks(names)]
    lines += [f"address={chunk}{blocklist.ADDRESS}" for chunk in _chunks(names)]
    return "\n".join(lines) + "\n"


def _chunks(names: Iterable[str]) -> Iterator[str]:
    """``/a.example/b.example/`` and so on, as much as a line may hold: the file lies in RAM."""
    chunk = "/"
    for name in names:
        if len(chunk) + len(name) > LONGEST_LINE:
            yield chunk
            chunk = "/"
        chunk += f"{name}/"
    if chunk != "/":
        yield chunk


def _garden(config: SiteConfig) -> list[str]:
    names = [name for text in config.garden.names if (name := blocklist.host_name(text)) is not None]
    if not names:
        return []
    sets = [f"ipset={chunk}{GARDEN_SETS}" for chunk in _chunks(names)]
    return ["", "# The walled garden: these names' addresses are open to everybody.", *sets, *GARDEN_TTLS]


def _block(config: SiteConfig, paths: Paths) -> list[str]:
    if not blocklist.is_used(config.block):
        return []
    return [
        "",
        "# The block list, and the names by which Firefox and Apple's relay ask whether there is one.",
        f"conf-file={paths.dnsmasq_block}",
        *(f"address=/{name}/" for name in CANARIES),
    ]


def _upstream(config: SiteConfig) -> list[str]:
    if not config.uplink.dns:
        return ["resolv-file=/etc/resolv.conf"]
    return ["no-resolv", "no-poll", *(f"server={address}" for address in config.uplink.dns)]
