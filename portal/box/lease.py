"""Passes on what the uplink has told of resolvers and time servers, each time that it tells anew.

A path unit starts it. It must not decide anything about the line: networkd and pppd hold it.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

from portal.box import commands, files, services
from portal.box.interfaces import WAN
from portal.box.network import configured
from portal.box.places import Places

PPP_RESOLV: Final = Path("/etc/ppp/resolv.conf")
ARPHRD_PPP: Final = 512  # include/uapi/linux/if_arp.h


def told(status: Any, key: str) -> tuple[str, ...]:
    """Addresses under ``key`` (DNS, NTP) in what `networkctl --json=short status` prints; bytes in a list each."""
    found = []
    for entry in status.get(key) or []:
        address = entry.get("Address")
        if isinstance(address, list):
            found.append(str(ipaddress.ip_address(bytes(address))))
    return tuple(address for address in found if not ipaddress.ip_address(address).is_link_local)


def peer(text: str) -> tuple[str, ...]:
    """The resolvers in pppd's resolv.conf."""
    return tuple(re.findall(r"^nameserver\s+(\S+)", text, re.MULTILINE))


def is_ppp(sysfs: Path) -> bool:
    """Is the uplink a login (PPPoE)? Asked of the kernel: the setup page tries lines that no site.toml names yet."""
    try:
        return int((sysfs / WAN / "type").read_text(encoding="ascii")) == ARPHRD_PPP
    except OSError:
        return False


def main(places: Places | None = None, ppp: Path = PPP_RESOLV, sysfs: Path = Path("/sys/class/net")) -> int:
    places = places or Places()
    config = configured(places)
    if is_ppp(sysfs):
        status: Any = {}
        from_peer = peer(ppp.read_text(encoding="utf-8", errors="replace")) if ppp.exists() else ()
    else:
        said = commands.tried("networkctl", "--json=short", "status", WAN)
        status, from_peer = json.loads(said) if said else {}, ()
    resolvers = services.of_lease(told(status, "DNS"), config.uplink.dns if config else (), from_peer)
    if resolvers:  # in an outage the last ones stay: they are as good as none, and better when the line is back
        files.put(places.resolv, services.resolvers(resolvers))
    if files.put(places.ntp, services.ntp_sources(told(status, "NTP"))):
        commands.tried("chronyc", "reload", "sources")
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
