"""HTB classes and their queues: plan kbit/s turned into the kernel's numbers and back. It must not know grants.

Download is shaped on LAN egress (qdisc 1:), upload on uplink egress (2:): the gateway queues where it is itself the
narrow place. The kernel finds the class from skb->priority, which the sets map (netctl.kernel.sets): no filter.

    1:1 / 2:1          the link's rate; every user class is its child
    1:2                traffic of the gateway itself to the LAN (pages, DNS, DHCP, ARP). Not a child of 1:1, because it
                       does not cross the link, and as fast as the LAN. Forwarded traffic cannot land here: FORWARD
                       refuses who is not a member, and a member's class exists before it.
    2:2                traffic of the gateway itself to the uplink: child of 2:1 with a tenth of the link guaranteed
    1:3 / 2:3          the walled garden for who is no member: a tenth of the link and no more (what the users' 80 % and
                       2:2 leave of it), 1 Mbit/s where the link is not known; served last
    1:N / 2:N, N>=0x10 one user; leaf qdisc N:

Sources: include/uapi/linux/{rtnetlink,pkt_sched}.h, net/sched/sch_{htb,fifo,fq_codel}.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from netctl.kernel.wire import NLM_F_CREATE, NLM_F_REPLACE, Message, Netlink, attr, attributes, nest
from netctl.ops import ClassRates, Direction

ROOT_MINOR: Final = 0x1
OWN_MINOR: Final = 0x2
GARDEN_MINOR: Final = 0x3
GARDEN_LEAF: Final = 0xE
OWN_LEAF: Final = 0xF
FIRST_USER_MINOR: Final = 0x10
LAST_USER_MINOR: Final = 0xFFFE
ROOT_HANDLE: Final = {Direction.DOWN: 0x1_0000, Direction.UP: 0x2_0000}
UNSHAPED_KBIT: Final = 10_000_000  # faster than any card of a village gateway
UNKNOWN_GARDEN_KBIT: Final = 1000

LAST_PRIORITY: Final = 7

LEAF_KINDS: Final = ("fq_codel", "bfifo")  # best first; cake would need 1 MiB a user (its tins), fq_codel 9 KiB
FQ_CODEL_FLOWS: Final = 128

_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_RTM_NEWTCLASS, _RTM_DELTCLASS, _RTM_GETTCLASS = 40, 41, 42
_TCA_KIND, _TCA_OPTIONS, _TCA_STATS2 = 1, 2, 7
_TCA_STATS_BASIC: Final = 1
_TCA_FQ_CODEL_FLOWS: Final = 5
_TCA_HTB_PARMS, _TCA_HTB_INIT, _TCA_HTB_RATE64, _TCA_HTB_CEIL64 = 1, 2, 6, 7
_TC_H_ROOT: Final = 0xFFFF_FFFF
_LINKLAYER_ETHERNET: Final = 1  # without it HTB wants the rate tables of 2002
_TICK_NS: Final = 64  # PSCHED_SHIFT 6, include/net/pkt_sched.h: the unit of burst
_TCMSG = struct.Struct("=BBHiIII")
_OPTIONS = struct.Struct("=BBHhHIBBHhHIIIIII")  # struct tc_htb_opt: two tc_ratespec, then five u32
_GLOB = struct.Struct("=IIIII")  # struct tc_htb_glob: version, rate2quantum, default class, debug, direct packets
_HTB_CLASS_HEAD: Final = attr(_TCA_KIND, b"htb\0") + struct.pack("=HHHH", 52, _TCA_OPTIONS, 48, _TCA_HTB_PARMS)
_HTB_PARMS_AT: Final = len(_HTB_CLASS_HEAD)
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_BASIC = struct.Struct("=QI")  # struct gnet_stats_basic: bytes, packets


# --- the one conversion -----------------------------------------------------------------------------------------------


def overhead(mtu: int) -> float:
    """Frame bytes for one byte that the user gets: HTB counts frames, a plan promises goodput.

    Counted for a full IPv4 TCP segment with timestamps: MTU + 14 bytes of frame carry MTU - 52, 1.046 for 1500. A full
    UDP datagram then comes out 1.7 % above the plan, a full IPv6 TCP segment 1.4 % below.
    """
    return (mtu + 14) / (mtu - 52)


def frame_rate(kbit: int, mtu: int) -> int:
    """A plan's rate in the kernel's unit: frame bytes per second."""
    return round(kbit * 125 * overhead(mtu))


def plan_kbit(frame_bytes_s: int, mtu: int) -> int:
    """The inverse of ``frame_rate``: exact, because one kbit/s is more than 125 frame bytes."""
    return round(frame_bytes_s / 125 / overhead(mtu))


def burst_bytes(bytes_s: int, mtu: int) -> int:
    """What may leave at once: 4 ms of the rate and one frame, at least two frames."""
    return min(max(bytes_s // 250 + mtu + 100, 2 * (mtu + 100)), 1 << 20)


def ceil_bucket(burst_kbytes: int | None, bytes_s: int, mtu: int) -> int:
    """Size of the ceil's bucket in ticks: what always may leave at once, and the burst of the user's kilobytes."""
    return _ticks(burst_bytes(bytes_s, mtu) + round((burst_kbytes or 0) * 1000 * overhead(mtu)), bytes_s)


def plan_burst(ticks: int, bytes_s: int, mtu: int) -> int | None:
    """The inverse of ``ceil_bucket``, exact for bursts of up to 60 s: half a tick is less than half a kilobyte."""
    size_bytes = ticks * _TICK_NS * bytes_s / 1e9
    return round((size_bytes - burst_bytes(bytes_s, mtu)) / 1000 / overhead(mtu)) or None


def _ticks(size_bytes: int, bytes_s: int) -> int:
    """Time that so many bytes take at this rate, to the nearest tick."""
    return min((size_bytes * 1_000_000_000 // bytes_s + _TICK_NS // 2) // _TICK_NS, 0xFFFF_FFFF)


def queue_bytes(bytes_s: int) -> int:
    """Size of a user's queue where it is a plain FIFO, in frame bytes; bytes / rate is the delay when it is full.

    40 ms, but six full frames at least (below that TCP stalls), and not more than 18 kB until 12 ms need it: a full
    queue delays by 40 ms at 2 Mbit/s, 28 at 5, 14 at 10, and TCP loses no goodput against 60 ms.
    """
    return int(max(min(max(9000, bytes_s * 0.040), 18_000), bytes_s * 0.012))


# --- messages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Egress:
    """One interface as it is shaped. ``link_kbit`` None: not known. ``leaf``: one of LEAF_KINDS."""

    index: int
    direction: Direction
    link_kbit: int | None
    mtu: int
    leaf: str

    @property
    def root(self) -> int:
        return ROOT_HANDLE[self.direction]


@dataclass(frozen=True, slots=True)
class _Class:
    """One HTB class: rate and ceil in frame bytes/s, ``leaf``: number of its queue (None: an inner class)."""

    minor: int
    parent: int
    rate: int
    ceil: int
    priority: int
    leaf: int | None
    burst_kbytes: int | None = None


def class_messages(egress: Egress, minor: int, rates: ClassRates) -> list[Message]:
    """Create or change one user's class and its queue."""
    rate, ceil = frame_rate(rates.guaranteed_kbit, egress.mtu), frame_rate(rates.ceil_kbit, egress.mtu)
    parent = egress.root | ROOT_MINOR
    return _messages(egress, _Class(minor, parent, rate, ceil, rates.priority, minor, rates.burst_kbytes))


def fixed_messages(egress: Egress) -> list[Message]:
    """Create or change x:1, x:2 and x:3."""
    return [message for wanted in _fixed(egress) for message in _messages(egress, wanted)]


def _fixed(egress: Egress) -> tuple[_Class, _Class, _Class]:
    """x:1, x:2 and x:3. The link's rate is the provider's figure: headers are not added to it."""
    parent = egress.root | ROOT_MINOR
    link = (egress.link_kbit or UNSHAPED_KBIT) * 125
    tenth = max(link // 10, 1000)
    modest = UNKNOWN_GARDEN_KBIT * 125 if egress.link_kbit is None else tenth
    free = UNSHAPED_KBIT * 125
    own = _Class(OWN_MINOR, parent, tenth, link, 0, OWN_LEAF)
    if egress.direction is Direction.DOWN:
        own = _Class(OWN_MINOR, egress.root, free, free, 0, OWN_LEAF)
    return (
        _Class(ROOT_MINOR, egress.root, link, link, 0, None),
        own,
        _Class(GARDEN_MINOR, parent, modest, modest, LAST_PRIORITY, GARDEN_LEAF),
    )


def root_message(egress: Egress) -> Message:
    """Put an empty HTB at the interface's root, in the place of whatever stood there."""
    glob = attr(_TCA_HTB_INIT, _GLOB.pack(3, 10, OWN_MINOR, 0, 0))
    body = _TCMSG.pack(0, 0, 0, egress.index, egress.root, _TC_H_ROOT, 0) + attr(_TCA_KIND, b"htb\0")
    return Message(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body + nest(_TCA_OPTIONS, glob))


def delete_root_message(index: int) -> Message:
    """Remove the root qdisc: the kernel puts its default there."""
    return Message(_RTM_DELQDISC, 0, _TCMSG.pack(0, 0, 0, index, 0, _TC_H_ROOT, 0))


def delete_message(egress: Egress, minor: int) -> Message:
    return Message(_RTM_DELTCLASS, 0, _TCMSG.pack(0, 0, 0, egress.index, egress.root | minor, 0, 0))


def _messages(egress: Egress, wanted: _Class) -> list[Message]:
    handle = egress.root | wanted.minor
    body = _TCMSG.pack(0, 0, 0, egress.index, handle, wanted.parent, 0) + attr(_TCA_KIND, b"htb\0")
    messages = [Message(_RTM_NEWTCLASS, NLM_F_CREATE, body + nest(_TCA_OPTIONS, *_htb_options(wanted, egress.mtu)))]
    if wanted.leaf is not None:
        messages.append(leaf_message(egress.index, handle, wanted.leaf << 16, wanted.ceil, egress.leaf))
    return messages


def _htb_options(wanted: _Class, mtu: int) -> list[bytes]:
    rate, ceil = wanted.rate, wanted.ceil
    # Users share what is left in proportion to their guaranteed rates: HTB serves `quantum` bytes a turn.
    quantum = min(max(mtu + 14, (mtu + 14) * rate // frame_rate(64, mtu)), 60_000)
    fixed = _OPTIONS.pack(
        *(0, _LINKLAYER_ETHERNET, 0, 0, 0, min(rate, 0xFFFF_FFFF)),
        *(0, _LINKLAYER_ETHERNET, 0, 0, 0, min(ceil, 0xFFFF_FFFF)),
        *(ceil_bucket(None, rate, mtu), ceil_bucket(wanted.burst_kbytes, ceil, mtu), quantum, 0, wanted.priority),
    )
    options = [attr(_TCA_HTB_PARMS, fixed)]
    if rate > 0xFFFF_FFFF:
        options.append(attr(_TCA_HTB_RATE64, _U64.pack(rate)))
    if ceil > 0xFFFF_FFFF:
        options.append(attr(_TCA_HTB_CEIL64, _U64.pack(ceil)))
    return options


def leaf_message(index: int, parent: int, handle: int, bytes_s: int, kind: str) -> Message:
    """Create or change the queue ``handle`` below ``parent``, sized for ``bytes_s``."""
    body = _TCMSG.pack(0, 0, 0, index, handle, parent, 0) + attr(_TCA_KIND, kind.encode() + b"\0")
    flags = NLM_F_CREATE | NLM_F_REPLACE
    if kind == "bfifo":
        return Message(_RTM_NEWQDISC, flags, body + attr(_TCA_OPTIONS, _U32.pack(queue_bytes(bytes_s))))
    # How many flows it has can be said once: a queue that stands refuses it (fq_codel_change in sch_fq_codel.c).
    options = _fq_codel_options(bytes_s)
    change = Message(_RTM_NEWQDISC, 0, body + nest(_TCA_OPTIONS, *options))
    flows = attr(_TCA_FQ_CODEL_FLOWS, _U32.pack(FQ_CODEL_FLOWS))
    return Message(_RTM_NEWQDISC, flags, body + nest(_TCA_OPTIONS, *options, flows), instead=change)


def _fq_codel_options(bytes_s: int) -> list[bytes]:
    """target 5 ms, but never below the time of 1.5 frames (RFC 8289, 4.4); interval 95 ms more."""
    target_us = max(5_000, 1514 * 1_500_000 // bytes_s)
    values = {
        1: target_us,
        2: 1024,  # packets
        3: 95_000 + target_us,
        4: 1,  # ECN
        6: 300 if bytes_s < 12_500_000 else 1514,
        9: 1 << 20,  # bytes of memory
    }
    return [attr(kind, _U32.pack(value)) for kind, value in values.items()]


# --- reading back -----------------------------------------------------------------------------------------------------


FRAME_HEAD_BYTES: Final = 14  # of Ethernet, which the kernel's figures of a class include


def observe(netlink: Netlink, egress: Egress) -> tuple[dict[int, ClassRates], dict[int, tuple[int, int]], bool]:
    """The user classes by minor, what has left each, and whether the root qdisc, x:1, x:2 and x:3 stand as they must.

    A class whose queue is not ours is left out: setting it again mends it.
    """
    wanted = {fixed.minor: (fixed.rate, fixed.ceil) for fixed in _fixed(egress)}
    standing: dict[int, tuple[int, int]] = {}
    users: dict[int, ClassRates] = {}
    left: dict[int, tuple[int, int]] = {}
    mtu = egress.mtu
    for minor, leaf, data, start, end in _classes(netlink, egress.index, egress.root):
        found = _parameters(data, start, end)
        if found is None:
            continue
        rate, ceil, bucket, priority = found
        if minor in wanted:
            standing[minor] = (rate, ceil)
        elif leaf == minor << 16:
            burst_kbytes = plan_burst(bucket, ceil, mtu)
            users[minor] = ClassRates(plan_kbit(rate, mtu), plan_kbit(ceil, mtu), priority, burst_kbytes)
            left[minor] = _passed(data, start, end)
    return users, left, standing == wanted and root_stands(netlink, egress)


def passed(netlink: Netlink, index: int, direction: Direction) -> dict[int, tuple[int, int]]:
    """Bytes (layer 3) and packets that have left each user class of this interface, by its minor."""
    return {
        minor: _passed(data, start, end)
        for minor, _, data, start, end in _classes(netlink, index, ROOT_HANDLE[direction])
        if minor >= FIRST_USER_MINOR
    }


def _passed(data: bytes, start: int, end: int) -> tuple[int, int]:
    """What is counted when a packet leaves the class's queue (net/sched/sch_htb.c, htb_dequeue_tree)."""
    stats = attributes(data, start, end).get(_TCA_STATS2, b"")
    basic = attributes(stats, 0, len(stats)).get(_TCA_STATS_BASIC, bytes(12))
    octets, packets = _BASIC.unpack_from(basic)
    return octets - FRAME_HEAD_BYTES * packets, packets


def passed_bytes(netlink: Netlink, index: int, direction: Direction) -> int:
    """Frame bytes that have left through x:1 of this interface; 0 where there is none."""
    root = ROOT_HANDLE[direction]
    answer = netlink.get(Message(_RTM_GETTCLASS, 0, _TCMSG.pack(0, 0, 0, index, root | ROOT_MINOR, 0, 0)))
    if answer is None:
        return 0
    stats = attributes(answer, _TCMSG.size, len(answer)).get(_TCA_STATS2, b"")
    basic = attributes(stats, 0, len(stats)).get(_TCA_STATS_BASIC, bytes(8))
    return int(_U64.unpack_from(basic)[0])


def root_stands(netlink: Netlink, egress: Egress) -> bool:
    """Is the interface's root qdisc our HTB with default class x:2?"""
    answer = netlink.get(Message(_RTM_GETQDISC, 0, _TCMSG.pack(0, 0, 0, egress.index, 0, _TC_H_ROOT, 0)))
    if answer is None or _TCMSG.unpack_from(answer)[4] != egress.root:
        return False
    found = attributes(answer, _TCMSG.size, len(answer))
    if found.get(_TCA_KIND) != b"htb\0":
        return False
    glob = attributes(found[_TCA_OPTIONS], 0, len(found[_TCA_OPTIONS]))[_TCA_HTB_INIT]
    return bool(_GLOB.unpack_from(glob)[2] == OWN_MINOR)


def _classes(netlink: Netlink, index: int, root: int) -> Iterator[tuple[int, int, bytes, int, int]]:
    """(minor, handle of the leaf, message, begin and end of its attributes) of every class below ``root``."""
    for data, start, end in netlink.dump(Message(_RTM_GETTCLASS, 0, _TCMSG.pack(0, 0, 0, index, 0, root, 0))):
        _, _, _, _, handle, _, leaf = _TCMSG.unpack_from(data, start)
        if handle & 0xFFFF_0000 == root:
            yield handle & 0xFFFF, leaf, data, start + _TCMSG.size, end


def _parameters(data: bytes, start: int, end: int) -> tuple[int, int, int, int] | None:
    """Rate, ceil, the ceil's bucket and priority of one class, None where it is not HTB's."""
    if data.startswith(_HTB_CLASS_HEAD, start):  # all but 64-bit rates: read at once, there are thousands
        values = _OPTIONS.unpack_from(data, start + _HTB_PARMS_AT)
        return values[5], values[11], values[13], values[16]
    found = attributes(data, start, end)
    if found.get(_TCA_KIND) != b"htb\0":
        return None
    options = attributes(found[_TCA_OPTIONS], 0, len(found[_TCA_OPTIONS]))
    values = _OPTIONS.unpack_from(options[_TCA_HTB_PARMS])
    rate = _U64.unpack(options[_TCA_HTB_RATE64])[0] if _TCA_HTB_RATE64 in options else values[5]
    ceil = _U64.unpack(options[_TCA_HTB_CEIL64])[0] if _TCA_HTB_CEIL64 in options else values[11]
    return rate, ceil, values[13], values[16]
