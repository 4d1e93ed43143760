"""Compare desired with observed state and name the operations between them: pure, the same input gives the same lines.

It must not know how an operation is done, nor clocks, files or sockets: all it needs is passed in.

Rules
* A device (MAC) with an address has one HTB class number for both directions. It keeps the one its members have,
  otherwise it gets the lowest free from FIRST_MINOR.
* Guaranteed rate: what the grant asks for, but not above its ceil, nor above its share of 80 % of the link. The share
  counts the grants rounded up to a power of two, so one user more seldom changes anybody else's class; the sum
  stays below the link. Below FLOOR_KBIT no class works: only a link of less than 8 kbit/s per user is promised twice.
* A burst is at most what the ceil carries in MAX_BURST_S: the kernel's bucket fills no further in one pause.
* Members are the grant's IPv4 address and the device's IPv6 addresses that the neighbour table gives inside the LAN's
  prefixes (link-local ones are never forwarded), at most MAX_IPV6, the most lately seen. An IPv6 member stays when its
  neighbour entry is gone, until the grant ends or the limit evicts it: a sleeping phone keeps its addresses.
* The kernel's timeout ends a second after the deadline: the daemon itself removes members at the deadline, last
  bytes read; the timeout is for the time when there is no daemon.
* Removals come first (an address may move from one device to another), members before the class they use;
  then classes, members, neighbours.
"""

from __future__ import annotations

import functools
import ipaddress
import math
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

from netctl.api.types import DesiredState, Grant
from netctl.kernel.base import Member, Observed
from netctl.ops import ClassRates, DelClass, DelMember, DelNeighbour, Direction, Op, SetClass, SetMember, SetNeighbour

FIRST_MINOR: Final = 0x10
LAST_MINOR: Final = 0xFFFE
FLOOR_KBIT: Final = 8
NO_LIMIT_KBIT: Final = 10_000_000  # a class must have a ceil: faster than any network card of a village gateway
LINK_SHARE: Final = 0.8
MAX_BURST_S: Final = 60  # a pause of HTB fills its buckets with no more (mbuffer, net/sched/sch_htb.c)
MAX_IPV6: Final = 16
TIMEOUT_GRACE_S: Final = 1
TIMEOUT_SLACK_S: Final = 3
MAX_TIMEOUT_S: Final = 2_147_483  # IPSET_MAX_TIMEOUT; renewed at half of it
NO_MAC: Final = "00:00:00:00:00:00"

Counters = tuple[int, int, int, int]  # up bytes, down bytes, up packets, down packets


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plan depends on besides the two states.

    ``now_boot_s``: seconds of CLOCK_BOOTTIME now, ``observed_boot_s``: when the timeouts in ``observed`` were read.
    ``lan_prefixes``: networks whose IPv6 addresses are forwarded. ``retired``: (grant, address) -> where its
    counters stood when it was removed. ``seen``: IPv6 address -> when it was last heard or used, boot seconds.

    A plan for some devices only is made from their part of both states; then ``sharers`` is the number of all live
    grants, and ``taken`` are the class numbers that the other devices have.
    """

    now_boot_s: float
    observed_boot_s: float
    link_down_kbit: int | None = None
    link_up_kbit: int | None = None
    lan_prefixes: tuple[str, ...] = ()
    retired: Mapping[tuple[int, str], Counters] = field(default_factory=dict)
    seen: Mapping[str, float] = field(default_factory=dict)
    sharers: int | None = None
    taken: Set[int] = frozenset()


def plan(desired: DesiredState | None, observed: Observed, around: Surroundings) -> list[Op]:
    """The operations that turn ``observed`` into ``desired``. Without a desired state: none (nobody is cut off)."""
    if desired is None:
        return []
    grants = sorted(live(desired.grants, around.now_boot_s), key=lambda grant: grant.id)
    owned = _owned(grants, observed)
    addresses = _addresses(grants, owned, observed, around)
    admitted = list({g.id: g for g in addresses.values()}.values())  # a grant without an address needs no class
    minors = _minors(admitted, owned, {minor for _, minor in observed.classes}, around)
    classes = _classes(admitted, minors, around, len(grants) if around.sharers is None else around.sharers)
    return [
        *_removals(observed, addresses),
        *_classes_to_set(observed, classes),
        *_members_to_set(observed, minors, addresses, around),
        *(SetNeighbour(ip, g.mac) for ip, g in sorted(addresses.items()) if observed.pinned.get(ip) != g.mac),
        *_classes_to_remove(observed, classes),  # last: a member that moves to another class is never without one
    ]


def live(grants: Iterable[Grant], now_boot_s: float) -> list[Grant]:
    """The grants whose deadline has not passed."""
    return [g for g in grants if is_live(g, now_boot_s)]


def is_live(grant: Grant, now_boot_s: float) -> bool:
    return grant.deadline_boot_s is None or grant.deadline_boot_s > now_boot_s


def places(sharers: int) -> int:
    """Into how many shares the link is divided: the next power of two."""
    return 1 << max(0, sharers - 1).bit_length()


def rates(
    grant: Grant, link_down_kbit: int | None, link_up_kbit: int | None, sharers: int
) -> tuple[ClassRates, ClassRates]:
    """What the device's classes get, down and up, of a link that so many grants share."""
    wish = (grant.guaranteed_kbit, grant.priority, grant.burst_kbytes)
    shares = places(sharers)
    return (_rates(grant.down_kbit, link_down_kbit, shares, wish), _rates(grant.up_kbit, link_up_kbit, shares, wish))


@functools.lru_cache(maxsize=1024)  # plans are few
def _rates(plan_kbit: int | None, link_kbit: int | None, shares: int, wish: tuple[int, int, int | None]) -> ClassRates:
    guaranteed_kbit, priority, burst_kbytes = wish
    ceil = min(plan_kbit or NO_LIMIT_KBIT, link_kbit or NO_LIMIT_KBIT)
    share = NO_LIMIT_KBIT if link_kbit is None else int(link_kbit * LINK_SHARE / shares)
    burst = None if burst_kbytes is None else min(burst_kbytes, ceil * MAX_BURST_S // 8)
    return ClassRates(max(FLOOR_KBIT, min(guaranteed_kbit, ceil, share)), ceil, priority, burst)


def class_name(minor: int) -> str:
    """What stands for an address where a class's counters are named (netctl.api.types.Counter)."""
    return f"0.0.{minor >> 8}.{minor & 0xFF}"


def counters(member: Member) -> Counters:
    return member.up_bytes, member.down_bytes, member.up_packets, member.down_packets


def highest(known: Counters | None, found: Counters) -> Counters:
    """Where a counter stands that may have lost one direction since it was known; it never goes down."""
    up, down, up_packets, down_packets = (max(pair) for pair in zip(known or found, found, strict=True))
    return up, down, up_packets, down_packets


# --- who has what -------------------------------------------------------------------------------------------------


def _owned(grants: list[Grant], observed: Observed) -> dict[str, list[Member]]:
    """MAC of a live grant -> its members in the kernel. A half member has no MAC; its grant id then names the owner."""
    owned: dict[str, list[Member]] = {g.mac: [] for g in grants}
    mac_of = {g.id: g.mac for g in grants}
    for member in observed.members.values():
        mac = member.mac or mac_of.get(member.grant)
        if mac in owned:
            owned[mac].append(member)
    return owned


def _minors(
    grants: list[Grant], owned: Mapping[str, list[Member]], standing: Set[int], around: Surroundings
) -> dict[str, int]:
    """MAC -> class number, each used once. A grant keeps its class, also where it lost all members; a new one gets one
    that does not stand yet, because a class counts what leaves it."""
    minors: dict[str, int] = {}
    taken = set(around.taken)
    had = {g.id: {m.minor for m in owned[g.mac] if m.grant == g.id} for g in grants}
    left = {g.id: {minor for minor in standing if (g.id, class_name(minor)) in around.retired} for g in grants}
    for known in (had, left):
        for grant in grants:
            own = sorted(minor for minor in known[grant.id] - taken if FIRST_MINOR <= minor <= LAST_MINOR)
            if own and grant.mac not in minors:
                minors[grant.mac] = own[0]
                taken.add(own[0])
    free = (minor for minor in range(FIRST_MINOR, LAST_MINOR + 1) if minor not in taken and minor not in standing)
    for grant in grants:
        if grant.mac not in minors:
            minors[grant.mac] = next(free)  # the protocol caps the grants far below the number of classes
    return minors


def _classes(
    grants: list[Grant], minors: Mapping[str, int], around: Surroundings, sharers: int
) -> dict[tuple[Direction, int], ClassRates]:
    wanted = {}
    for g in grants:
        down, up = rates(g, around.link_down_kbit, around.link_up_kbit, sharers)
        wanted[Direction.DOWN, minors[g.mac]] = down
        wanted[Direction.UP, minors[g.mac]] = up
    return wanted


def _addresses(
    grants: list[Grant], owned: Mapping[str, list[Member]], observed: Observed, around: Surroundings
) -> dict[str, Grant]:
    """Address -> the grant under which it may pass."""
    candidates: dict[str, set[str]] = {}
    held: dict[str, str] = {}  # a member of a live grant stays that device's, whoever else claims the address
    for mac, members in owned.items():
        for member in members:
            if forwarded_ipv6(member.ip, around.lan_prefixes):
                held[member.ip] = mac
                candidates.setdefault(mac, set()).add(member.ip)
    for ip, mac in observed.neighbours.items():
        if mac in owned and held.get(ip, mac) == mac and forwarded_ipv6(ip, around.lan_prefixes):
            candidates.setdefault(mac, set()).add(ip)
    addresses: dict[str, Grant] = {}
    for grant in grants:
        if grant.ipv4 is not None:
            addresses[grant.ipv4] = grant
        found: Collection[str] = candidates.get(grant.mac, ())
        if len(found) > MAX_IPV6:
            found = sorted(found, key=lambda ip: (around.seen.get(ip, 0.0), ip in observed.members, ip))[-MAX_IPV6:]
        addresses.update(dict.fromkeys(found, grant))
    return addresses


@functools.lru_cache(maxsize=8192)
def forwarded_ipv6(ip: str, lan_prefixes: tuple[str, ...]) -> bool:
    """Is this an IPv6 address of the LAN that leaves it: inside the prefixes, and not link-local or multicast?"""
    if ":" not in ip:
        return False
    address = ipaddress.IPv6Address(ip)
    if address.is_link_local or address.is_multicast:
        return False
    return any(address in network for network in map(_network, lan_prefixes) if network.version == 6)


@functools.lru_cache(maxsize=64)
def _network(prefix: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(prefix, strict=False)


# --- the difference -----------------------------------------------------------------------------------------------


def _removals(observed: Observed, addresses: Mapping[str, Grant]) -> list[Op]:
    ops: list[Op] = []
    for ip, member in sorted(observed.members.items()):
        grant = addresses.get(ip)
        if grant is None or (member.mac is not None and member.mac != grant.mac):
            ops.append(DelMember(ip, member.mac or NO_MAC))
    ops += [DelNeighbour(ip) for ip in sorted(observed.pinned) if ip not in addresses]
    return ops


def _classes_to_remove(observed: Observed, classes: Mapping[tuple[Direction, int], ClassRates]) -> list[Op]:
    gone = [key for key in observed.classes if key not in classes]
    return [DelClass(*key) for key in sorted(gone, key=lambda key: (key[0].value, key[1]))]


def _classes_to_set(observed: Observed, classes: Mapping[tuple[Direction, int], ClassRates]) -> list[Op]:
    changed = [key for key, rates in classes.items() if observed.classes.get(key) != rates]
    changed.sort(key=lambda key: (key[0].value, key[1]))
    return [SetClass(*key, classes[key]) for key in changed]


def _members_to_set(
    observed: Observed, minors: Mapping[str, int], addresses: Mapping[str, Grant], around: Surroundings
) -> list[Op]:
    ops: list[Op] = []
    for ip, grant in sorted(addresses.items()):
        member, minor = observed.members.get(ip), minors[grant.mac]
        if member is not None and member.mac is not None and member.mac != grant.mac:
            member = None  # removed above
        kept = around.retired.get((grant.id, ip))
        start: Counters | None = None
        if member is None:
            start = kept
        elif member.grant != grant.id:
            start = kept or (0, 0, 0, 0)  # changed in place: a running transfer meets no closed moment
        elif not member.complete:
            start = highest(kept, counters(member))
        elif member.minor == minor and _timeout_stands(member, grant, around):
            continue
        ops.append(SetMember(ip, grant.mac, minor, grant.id, _timeout_s(grant, around.now_boot_s), start))
    return ops


def _timeout_s(grant: Grant, now_boot_s: float) -> int | None:
    if grant.deadline_boot_s is None:
        return None
    return min(MAX_TIMEOUT_S, math.ceil(grant.deadline_boot_s - now_boot_s) + TIMEOUT_GRACE_S)


def _timeout_stands(member: Member, grant: Grant, around: Surroundings) -> bool:
    if grant.deadline_boot_s is None or member.timeout_s is None:
        return grant.deadline_boot_s is None and member.timeout_s is None
    ends = around.observed_boot_s + member.timeout_s
    wanted = grant.deadline_boot_s + TIMEOUT_GRACE_S
    if wanted - around.now_boot_s > MAX_TIMEOUT_S:
        return ends - around.now_boot_s > MAX_TIMEOUT_S / 2
    return abs(ends - wanted) <= TIMEOUT_SLACK_S
