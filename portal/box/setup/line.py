"""Looks whether the uplink works, step by step, so that a technician knows which one fails. It changes nothing."""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from portal import probes
from portal.box.interfaces import WAN
from portal.box.services import PPP_DUMMY
from portal.config import Uplink
from portal.domain.uplink import Check
from portal.uplink import Checker

ADDRESS_S: Final = 30.0  # DHCP over a satellite modem that has just started; PPPoE with its first refusals
_SIOCGIFADDR: Final = 0x8915
_PPP_WAITS: Final = ("10.64.", PPP_DUMMY)  # what pppd gives itself until the provider has


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was tested: ``well`` None where it cannot be told; ``shown`` is what was found."""

    name: str
    well: bool | None
    shown: str = ""


def address(interface: str = WAN) -> str | None:
    """The IPv4 address of an interface (netdevice(7)); None without one that somebody else has given."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("256s", interface.encode()))
        except OSError:
            return None
    found = socket.inet_ntoa(answer[20:24])
    return None if found.startswith(_PPP_WAITS) else found


def look(
    uplink: Uplink,
    *,
    check: Callable[[], Check] | None = None,
    read_address: Callable[[], str | None] = address,
    carrier: Callable[[], bool] = lambda: probes.has_carrier(WAN),
    pause: Callable[[float], None] = time.sleep,
    within_s: float = ADDRESS_S,
) -> list[Row]:
    """Waits for an address, then asks the router, the resolver and the Web; what follows from a failure is left out."""
    end = time.monotonic() + within_s
    while (found := read_address()) is None and time.monotonic() < end:
        pause(0.5)
    cable = found is not None or carrier()
    rows = [Row("cable", cable), Row("address", found is not None, found or "")]
    if found is None:
        return rows
    pause(1.0)  # the resolvers are written a moment after the address
    seen = (check or Checker(uplink).check)()
    rows += [Row("router", seen.gateway), Row("dns", seen.dns), Row("web", seen.reached)]
    return rows


def passed(rows: list[Row]) -> bool:
    return bool(rows) and all(row.well is not False for row in rows)
