"""Network devices whose other end is a file descriptor: tun and tap (Documentation/networking/tuntap.rst)."""

from __future__ import annotations

import fcntl
import os
import struct

from tests.village.netns import Namespace

TUNSETIFF = 0x400454CA  # include/uapi/linux/if_tun.h
IFF_TUN, IFF_TAP, IFF_NO_PI = 0x0001, 0x0002, 0x1000


def open_device(ns: Namespace, name: str, kind: int) -> int:
    """Make interface ``name`` in ``ns``: IFF_TUN's carries packets, IFF_TAP's frames. It goes with the descriptor."""

    def make() -> int:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), kind | IFF_NO_PI))
        return descriptor

    return ns.call(make)
