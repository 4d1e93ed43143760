"""Forget the kernel's connection tracking entries of an IPv4 address. It must not know why.

One message an address: the kernel itself walks its table (CTA_FILTER on delete, Linux 6.8). An older kernel refuses it,
which does no harm: without membership no packet of those connections passes anyway. For IPv6 the kernel's filter is the
wrong way round (6.18, measured: it deletes the entries of all other addresses, ctnetlink_filter_match_tuple), so those
entries are left to time out.

Numbers: include/uapi/linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_conntrack_netlink.c.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

from netctl.kernel.wire import Message, attr, nest

_CT_DELETE: Final = 1 << 8 | 2
_CTA_TUPLE_ORIG, _CTA_TUPLE_IP, _CTA_FILTER, _CTA_FILTER_ORIG_FLAGS = 1, 1, 25, 1
_CTA_IP_V4_SRC = 1
_F_CTA_IP_SRC: Final = 1
_CTA_STATUS, _CTA_STATUS_MASK = 3, 26
_IPS_DST_NAT: Final = 1 << 5  # include/uapi/linux/netfilter/nf_conntrack_common.h


def flush_message(ip: str) -> Message:
    """Delete all entries whose original source is ``ip`` (IPv4), but not connections redirected to the portal.

    One of those carries the answer to the logout: without its entry that answer would leave from the portal's own port,
    and the device would not know it.
    """
    source = nest(_CTA_TUPLE_ORIG, nest(_CTA_TUPLE_IP, attr(_CTA_IP_V4_SRC, socket.inet_aton(ip))))
    only = nest(_CTA_FILTER, attr(_CTA_FILTER_ORIG_FLAGS, struct.pack("=I", _F_CTA_IP_SRC)))
    status = attr(_CTA_STATUS, struct.pack(">I", 0)) + attr(_CTA_STATUS_MASK, struct.pack(">I", _IPS_DST_NAT))
    return Message(_CT_DELETE, 0, bytes((socket.AF_INET, 0, 0, 0)) + source + only + status)
