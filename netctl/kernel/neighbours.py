"""The LAN's neighbour table: who answers for which address, and the pins. It must not know sessions or grants.

A pin is a permanent entry (NUD_PERMANENT): while it stands nobody else can answer for that address. Pins carry
Gerbang's mark (NDA_PROTOCOL), so that another program's permanent entries are told apart and left alone.

Sources: include/uapi/linux/neighbour.h, net/core/neighbour.c, RFC 4861 (states).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Final

from netctl.kernel.wire import NLM_F_CREATE, NLM_F_REPLACE, Message, Netlink, attr, attributes

RTMGRP_NEIGH: Final = 0x4
PIN_PROTOCOL: Final = 71  # a free number of rtnetlink.h's RTPROT_*; the kernel only keeps it

_RTM_NEWNEIGH, _RTM_DELNEIGH, _RTM_GETNEIGH = 28, 29, 30
_NUD_REACHABLE, _NUD_STALE, _NUD_DELAY, _NUD_PROBE, _NUD_PERMANENT = 0x02, 0x04, 0x08, 0x10, 0x80
_VALID: Final = _NUD_REACHABLE | _NUD_STALE | _NUD_DELAY | _NUD_PROBE | _NUD_PERMANENT
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX, _NDA_PROTOCOL = 1, 2, 8, 12
_NDMSG = struct.Struct("=BBHiHBB")


def _packed(ip: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return family, socket.inet_pton(family, ip)


def whois(netlink: Netlink, index: int, ip: str) -> str | None:
    """MAC of a valid entry for ``ip`` on interface ``index``. ValueError: not an address."""
    try:
        family, packed = _packed(ip)
    except OSError as exc:
        raise ValueError(f"not an IP address: {ip}") from exc
    body = _NDMSG.pack(family, 0, 0, index, 0, 0, 0) + attr(_NDA_DST, packed)
    answer = netlink.get(Message(_RTM_GETNEIGH, 0, body))
    if answer is None:
        return None
    entry = _entry(answer, 0, len(answer), index)
    return entry[1] if entry else None


def _entry(data: bytes, start: int, end: int, index: int) -> tuple[str, str, bool] | None:
    """(address, MAC, pinned by us) of a valid entry on interface ``index``, else None."""
    family, _, _, ifindex, state, _, _ = _NDMSG.unpack_from(data, start)
    if ifindex != index or not state & _VALID or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = attributes(data, start + _NDMSG.size, end)
    if _NDA_DST not in found or len(found.get(_NDA_LLADDR, b"")) != 6:
        return None
    pinned = bool(state & _NUD_PERMANENT) and found.get(_NDA_PROTOCOL) == bytes((PIN_PROTOCOL,))
    return socket.inet_ntop(family, found[_NDA_DST]), found[_NDA_LLADDR].hex(":"), pinned


def table(netlink: Netlink, index: int) -> tuple[dict[str, str], dict[str, str]]:
    """Address -> MAC of all valid entries on interface ``index``, and of our pins among them."""
    valid: dict[str, str] = {}
    pinned: dict[str, str] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        body = _NDMSG.pack(family, 0, 0, 0, 0, 0, 0) + attr(_NDA_IFINDEX, struct.pack("=I", index))
        for data, start, end in netlink.dump(Message(_RTM_GETNEIGH, 0, body)):
            entry = _entry(data, start, end, index)
            if entry:
                ip, mac, is_pin = entry
                valid[ip] = mac
                if is_pin:
                    pinned[ip] = mac
    return valid, pinned


def events(netlink: Netlink, index: int) -> Iterator[tuple[str, str]]:
    """(address, MAC) of entries on interface ``index`` that changed and are valid; never blocks.

    Raises OSError ENOBUFS where the kernel dropped events: the table then tells.
    """
    for kind, data, start, end in netlink.events():
        if kind == _RTM_NEWNEIGH:
            entry = _entry(data, start, end, index)
            if entry:
                yield entry[0], entry[1]


def pin_message(index: int, ip: str, mac: str) -> Message:
    family, packed = _packed(ip)
    body = _NDMSG.pack(family, 0, 0, index, _NUD_PERMANENT, 0, 0) + attr(_NDA_DST, packed)
    body += attr(_NDA_LLADDR, bytes.fromhex(mac.replace(":", ""))) + attr(_NDA_PROTOCOL, bytes((PIN_PROTOCOL,)))
    return Message(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)


def unpin_message(index: int, ip: str) -> Message:
    """Make the entry an ordinary one (stale: the kernel asks the device again), so that ``whois`` still knows it."""
    family, packed = _packed(ip)
    body = _NDMSG.pack(family, 0, 0, index, _NUD_STALE, 0, 0) + attr(_NDA_DST, packed)
    return Message(_RTM_NEWNEIGH, NLM_F_REPLACE, body)


def forget_message(index: int, ip: str) -> Message:
    family, packed = _packed(ip)
    return Message(_RTM_DELNEIGH, 0, _NDMSG.pack(family, 0, 0, index, 0, 0, 0) + attr(_NDA_DST, packed))


def absent(error: int) -> bool:
    """The refusal that means: there is no such entry."""
    return error == errno.ENOENT
