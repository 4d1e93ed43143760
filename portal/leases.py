"""Reads which device has which address from dnsmasq's lease file. It must not know who may come in."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from portal.domain import policy


class Lease(NamedTuple):
    """``expires``: as dnsmasq writes it, Unix seconds; it changes with each renewal."""

    ipv4: str
    expires: str


def read(path: Path) -> dict[str, Lease]:
    """IPv4 leases by MAC; empty where there is no file yet. Raises OSError where it may not be read.

    A line of dnsmasq's src/lease.c (lease_update_file): expiry, MAC, address, name or *, client id or *; from a line
    that starts with "duid" on they are of IPv6. What is no Ethernet has its kind before the address ("06-02:00:...").
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    found = {}
    for line in text.splitlines():
        words = line.split(" ")
        if words[0] == "duid":
            break
        if len(words) >= 4 and policy.is_device(words[1]):  # a line that is being written may be cut short
            found[words[1]] = Lease(words[2], words[0])
    return found
