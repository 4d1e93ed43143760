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
from portal.box.interfaces import WAN, WAN_PORT
from portal.box.services import PPP_OWN
from portal.config import Uplink
from portal.domain.uplink import Check
from portal.uplink import Checker

WITHIN_S: Final = 30.0  # DHCP over a satellite modem that has just started; PPPoE with its first refusals
SETTLE_S: Final = 1.0  # until an address of the last try is gone
_SIOCGIFADDR: Final = 0x8915


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was tested: ``well`` None where it cannot be told; ``shown`` is what was found."""

    name: str
    well: bool | None
    shown: str = ""


def address(interface: str = WAN) -> str | None:
    """The IPv4 address of an interface (netdevice(7)); None without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("256s", interface.encode()))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


def look(
    uplink: Uplink,
    *,
    check: Callable[[], Check] | None = None,
    read_address: Callable[[], str | None] = address,
    carrier: Callable[[str], bool] = probes.has_carrier,
    pause: Callable[[float], None] = time.sleep,
    within_s: float = WITHIN_S,
) -> list[Row]:
    """Looks for an address, then asks the router, the resolver and the Web; what follows from a failure is left out.

    Again and again until all is well or the time is over: resolvers and routes come some moments after the address.
    """
    check = check or Checker(uplink).check
    login = uplink.kind == "pppoe"
    cable = WAN_PORT if login else WAN  # a login's wan0 is the PPP link, and there without a cable
    end = time.monotonic() + within_s
    pause(SETTLE_S)
    while True:
        found = read_address()
        if login and found in (None, PPP_OWN):
            found = None
            check()  # pppd dials when there is something to send (its option demand)
        rows = _round(check, found, lambda: carrier(cable))
        if passed(rows) or time.monotonic() >= end:
            return rows
        pause(0.5)


def _round(check: Callable[[], Check], found: str | None, carrier: Callable[[], bool]) -> list[Row]:
    rows = [Row("cable", found is not None or carrier()), Row("address", found is not None, found or "")]
    if found is None:
        return rows
    seen = check()
    return [*rows, Row("router", seen.gateway), Row("dns", seen.dns), Row("web", seen.reached)]


def passed(rows: list[Row]) -> bool:
    return bool(rows) and all(row.well is not False for row in rows)
