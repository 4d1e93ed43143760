"""Writes what chrony, pppd and sshd read, and the resolvers' addresses. Text alone: it must not start or ask them.

Sources: chrony.conf(5) of chrony 4.6, pppd(8) of ppp 2.5, sshd_config(5) of OpenSSH 10, resolv.conf(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from portal.box.interfaces import LAN, WAN
from portal.box.networkd import SETUP_ADDRESS, pppoe_interface
from portal.box.places import Places
from portal.config import SiteConfig

POOL: Final = "id.pool.ntp.org"
PPP_MTU: Final = 1492  # Ethernet's 1500 less PPPoE's 8 (RFC 2516)
# What pppd gives the link until the provider has: a packet to it is what makes pppd dial.
PPP_DUMMY: Final = "10.112.112.112"
# What pppd takes for itself until then (ip_demand_conf in ipcp.c, of the only link there is).
PPP_OWN: Final = "10.64.64.64"
WRITTEN: Final = "# Written by gerbang at each boot; changes made here are lost."


def chrony(places: Places) -> str:
    """The pool by its name, and whatever servers the uplink names (`sourcedir`). No RTC: large steps are expected."""
    lines = [
        WRITTEN,
        f"pool {POOL} iburst maxsources 4",
        f"sourcedir {places.run / 'ntp'}",
        f"driftfile {places.clock / 'drift'}",
        "# A Raspberry Pi starts with the time of its last stop, days behind: set it, however late the line comes.",
        "makestep 1 -1",
        "rtcsync",
        "# A client alone, that root can ask over its socket.",
        "port 0",
        "cmdport 0",
    ]
    return "\n".join(lines) + "\n"


def ntp_sources(addresses: Iterable[str]) -> str:
    return "".join(f"server {address} iburst\n" for address in addresses)


def resolvers(addresses: Iterable[str]) -> str:
    """resolv.conf: what dnsmasq and this box itself ask. The C library reads three of them."""
    return "\n".join([WRITTEN, *(f"nameserver {address}" for address in addresses), "options timeout:2 attempts:2", ""])


def ppp_options(config: SiteConfig) -> str:
    """pppd's options, with the password: for root alone. `demand` makes the interface before the line is there, and
    leaves it when the line goes: netctl's classes stay on it."""
    lines = [
        WRITTEN,
        "plugin pppoe.so",
        f"nic-{pppoe_interface(config)}",
        f"ifname {WAN}",
        f'user "{config.uplink.user}"',
        f'password "{config.uplink.password}"',
        "hide-password",
        "noauth",
        "noipdefault",
        "ipcp-accept-local",
        "ipcp-accept-remote",
        "defaultroute",
        *([] if config.uplink.dns else ["usepeerdns"]),
        "noipv6",
        f"mtu {PPP_MTU}",
        f"mru {PPP_MTU}",
        "noaccomp",
        "nopcomp",
        "demand",
        "persist",
        "maxfail 0",
        "holdoff 5",
        "lcp-echo-interval 10",
        "lcp-echo-failure 6",
        f":{PPP_DUMMY}",
        "nodetach",
    ]
    return "\n".join(lines) + "\n"


def sshd(config: SiteConfig) -> str:
    """Who may log in, by where they come from; nobody from the LAN, whatever the list says.

    The rules of netctl refuse ssh on the LAN's interface already; this is the second lock, and the only one towards
    the provider's side. `Match` blocks: of each option the first that fits counts.
    """
    lan, allowed = config.lan.address, config.management.ssh_from
    network = _network_of(lan)
    lines = [WRITTEN, f"Match Address {network}", "    DenyUsers *"]
    if allowed:
        lines += [f"Match Address *,{','.join('!' + text for text in allowed)}", "    DenyUsers *"]
    else:
        lines += ["Match all", "    DenyUsers *"]
    lines.append("Match all")
    return "\n".join(lines) + "\n"


def _network_of(address: str) -> str:
    import ipaddress  # noqa: PLC0415

    return str(ipaddress.ip_interface(address).network)


def of_lease(leased: Sequence[str], configured: Sequence[str], peer: Sequence[str]) -> tuple[str, ...]:
    """The resolvers to ask: those that site.toml names, else those that the line has told, each once."""
    return tuple(dict.fromkeys(configured or (*leased, *peer)))


def setup_dnsmasq() -> str:
    """Addresses for the technician's telephone, and every name leads to the setup page."""
    own = SETUP_ADDRESS.partition("/")[0]
    start = own.rpartition(".")[0]
    lines = [
        WRITTEN,
        f"interface={LAN}",
        "except-interface=lo",
        "bind-dynamic",
        "pid-file=",
        "no-resolv",
        "no-hosts",
        f"address=/#/{own}",
        f"dhcp-range={start}.50,{start}.150,10m",
        "dhcp-authoritative",
        "no-ping",
        "leasefile-ro",
        "log-facility=-",
        "quiet-dhcp",
    ]
    return "\n".join(lines) + "\n"
