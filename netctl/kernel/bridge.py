"""The ports of a LAN bridge, and whether they exchange frames with each other. It must not know why they must not.

An isolated port exchanges frames with the bridge itself and with ports that are not isolated, and with no other. The
gateway is the bridge, so it is reached all the same.

Numbers: include/uapi/linux/if_link.h; the flag: net/bridge/br_netlink.c (Linux 4.18).
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final

from netctl.kernel.wire import Message, Netlink, attr, attributes, nest

_RTM_GETLINK, _RTM_SETLINK = 18, 19
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_PROTINFO, _IFLA_LINKINFO = 3, 10, 12, 18
_IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 4, 5
_IFLA_BRPORT_ISOLATED: Final = 33
_IFINFOMSG = struct.Struct("=BxHiII")


@dataclass(frozen=True, slots=True)
class Port:
    name: str
    index: int
    isolated: bool


def ports(netlink: Netlink, bridge_index: int) -> list[Port]:
    """The ports of the bridge with that interface index; none where it is no bridge. Raises OSError."""
    request = _IFINFOMSG.pack(0, 0, 0, 0, 0) + attr(_IFLA_MASTER, struct.pack("=I", bridge_index))
    found = []
    for data, start, end in netlink.dump(Message(_RTM_GETLINK, 0, request)):
        index = _IFINFOMSG.unpack_from(data, start)[2]
        values = attributes(data, start + _IFINFOMSG.size, end)
        info = values.get(_IFLA_LINKINFO, b"")
        slave = attributes(info, 0, len(info))
        if values.get(_IFLA_MASTER) != struct.pack("=I", bridge_index):
            continue  # a kernel that does not filter
        if slave.get(_IFLA_INFO_SLAVE_KIND) == b"bridge\0":
            flags = attributes(slave[_IFLA_INFO_SLAVE_DATA], 0, len(slave[_IFLA_INFO_SLAVE_DATA]))
            name = values[_IFLA_IFNAME].rstrip(b"\0").decode()
            found.append(Port(name, index, flags.get(_IFLA_BRPORT_ISOLATED) == b"\1"))
    return found


def isolate_message(port: Port, on: bool) -> Message:
    head = _IFINFOMSG.pack(socket.AF_BRIDGE, 0, port.index, 0, 0)
    return Message(_RTM_SETLINK, 0, head + nest(_IFLA_PROTINFO, attr(_IFLA_BRPORT_ISOLATED, bytes((on,)))))
