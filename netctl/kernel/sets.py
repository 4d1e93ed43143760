"""The four ipsets: what they are made of, and the messages that fill, empty and read them. It must not know policy.

gerbang_up4/up6 hold who may send (address and MAC), gerbang_dn4/dn6 who may receive (address). A member carries, beside
its counters and timeout, the HTB class that its packets go to (skbprio) and the grant it belongs to (skbmark,
identity only: no rule maps it). One message holds many members (IPSET_ATTR_ADT, as ``ipset restore`` does).

Numbers: include/uapi/linux/netfilter/ipset/ip_set.h, include/uapi/linux/netfilter/nfnetlink.h.

Two traps of the kernel (net/netfilter/ipset/ip_set_hash_gen.h, ip_set_bitmap_gen.h, ip_set.h): an add that names no
skbinfo wipes what the member had, and an add that names no counters leaves in place whatever stood in the slot, even if
that was another member's. So skbinfo is always given, and ``upsert`` makes a missing member with counters 0 before it
renews it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from netctl.kernel.base import Member
from netctl.kernel.wire import (
    NET_BYTEORDER,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Netlink,
    Refusal,
    attr,
    attributes,
    nest,
    refused,
    spans,
)
from netctl.ops import DelMember, Direction, SetMember

UP4: Final = "gerbang_up4"
DN4: Final = "gerbang_dn4"
UP6: Final = "gerbang_up6"
DN6: Final = "gerbang_dn6"

MAX_TIMEOUT_S: Final = 2_147_483  # IPSET_MAX_TIMEOUT
MAX_MEMBERS4: Final = 65_536
MAX_MEMBERS6: Final = 131_072  # 8192 grants with 16 addresses each
ROOT_MAJOR: Final = {Direction.DOWN: 1, Direction.UP: 2}

_NFNL_SUBSYS_IPSET: Final = 6 << 8
CREATE, DESTROY, LIST, ADD, DEL = 2, 3, 7, 9, 10
_PROTOCOL: Final = 6  # spoken by every kernel since 3.x
_PROTOCOL_ATTR, _SETNAME, TYPENAME, REVISION, FAMILY, _FLAGS, DATA, ADT, LINENO = 1, 2, 3, 4, 5, 6, 7, 8, 9
IP, _IP_TO, TIMEOUT, _CADT_FLAGS, _ETHER, _BYTES, _PACKETS, _SKBMARK, _SKBPRIO = 1, 2, 6, 8, 17, 24, 25, 27, 28
HASHSIZE, MAXELEM = 18, 19
_LIST_HEADER: Final = 1 << 2
_EXTENSIONS: Final = 1 << 3 | 1 << 6  # IPSET_FLAG_WITH_COUNTERS, IPSET_FLAG_WITH_SKBINFO
_ERR_EXIST: Final = 4103  # added and was there, or deleted and was not
_SKBINFO_REVISION: Final = {"hash:ip": 4, "bitmap:ip,mac": 3, "hash:ip,mac": 0}
_ADT_MEMBERS: Final = 400  # an attribute's length is 16 bit
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class SetSpec:
    """One set as it must be. ``network`` is the range of a bitmap, None for a hash. ``keyed_by_mac``: (ip, mac)."""

    name: str
    kind: str
    family: int
    direction: Direction
    network: ipaddress.IPv4Network | None = None

    @property
    def keyed_by_mac(self) -> bool:
        return self.kind.endswith("mac")

    @property
    def revision(self) -> int:
        return _SKBINFO_REVISION[self.kind]

    def __str__(self) -> str:
        size = f"range {self.network}" if self.network else f"maxelem {self.maxelem}"
        family = "inet" if self.family == socket.AF_INET else "inet6"
        return f"set {self.name} {self.kind} family {family} {size} timeout 0 counters skbinfo"

    @property
    def maxelem(self) -> int:
        return MAX_MEMBERS4 if self.family == socket.AF_INET else MAX_MEMBERS6


def specs(lan: ipaddress.IPv4Network, ip_mac_hash: bool) -> tuple[SetSpec, SetSpec, SetSpec, SetSpec]:
    """The four sets for this LAN; ``ip_mac_hash``: the kernel has hash:ip,mac.

    Without it IPv4 uses a bitmap over the LAN (at most a /16, ValueError beyond), and IPv6 is keyed by address alone.
    """
    v4, v6, up, down = socket.AF_INET, socket.AF_INET6, Direction.UP, Direction.DOWN
    if ip_mac_hash:
        up4 = SetSpec(UP4, "hash:ip,mac", v4, up)
        up6 = SetSpec(UP6, "hash:ip,mac", v6, up)
    else:
        if lan.prefixlen < 16:
            raise ValueError(f"the LAN {lan} has more than 65536 addresses, and the kernel lacks hash:ip,mac")
        up4 = SetSpec(UP4, "bitmap:ip,mac", v4, up, lan)
        up6 = SetSpec(UP6, "hash:ip", v6, up)
    return up4, SetSpec(DN4, "hash:ip", v4, down), up6, SetSpec(DN6, "hash:ip", v6, down)


# --- whole sets -----------------------------------------------------------------------------------------------------


def message(
    command: int, name: str | None, *attributes_: bytes, flags: int = 0, family: int = socket.AF_INET
) -> Message:
    body = bytes((family, 0, 0, 0)) + attr(_PROTOCOL_ATTR, bytes((_PROTOCOL,)))
    if name is not None:
        body += attr(_SETNAME, name.encode() + b"\0")
    return Message(_NFNL_SUBSYS_IPSET | command, flags, body + b"".join(attributes_))


def address(kind: int, ip: str) -> bytes:
    if ":" in ip:
        return nest(kind, attr(2 | NET_BYTEORDER, socket.inet_pton(socket.AF_INET6, ip)))
    return nest(kind, attr(1 | NET_BYTEORDER, socket.inet_aton(ip)))


def u32(kind: int, value: int) -> bytes:
    return attr(kind | NET_BYTEORDER, _U32.pack(value))


def create_message(spec: SetSpec, name: str | None = None) -> Message:
    """Create ``spec`` (under another name if given); refused with EEXIST where a set of that name stands."""
    data = [u32(TIMEOUT, 0), u32(_CADT_FLAGS, _EXTENSIONS)]
    if spec.network is not None:
        data += [address(IP, str(spec.network[0])), address(_IP_TO, str(spec.network[-1]))]
    else:
        data += [u32(HASHSIZE, 1024), u32(MAXELEM, spec.maxelem)]
    return message(
        CREATE,
        name or spec.name,
        attr(TYPENAME, spec.kind.encode() + b"\0"),
        attr(REVISION, bytes((spec.revision,))),
        attr(FAMILY, bytes((spec.family,))),
        nest(DATA, *data),
        flags=NLM_F_CREATE | NLM_F_EXCL,
    )


def destroy_message(name: str) -> Message:
    return message(DESTROY, name)


def try_create(netlink: Netlink, kind: str, scratch: str) -> Refusal | None:
    """Create a set of this kind under the name ``scratch`` and destroy it again; the refusal, if any."""
    lan = ipaddress.IPv4Network("198.18.0.0/30") if kind.startswith("bitmap") else None
    spec = SetSpec(scratch, kind, socket.AF_INET, Direction.UP, lan)
    refusals = netlink.transact([create_message(spec), destroy_message(scratch)])
    return next((r for r in refusals if r.index == 0), None)


def header(netlink: Netlink, name: str) -> dict[int, bytes] | None:
    """What the set of that name is made of, by attribute; None where there is none. Raises OSError."""
    try:
        answers = netlink.dump(message(LIST, name, u32(_FLAGS, _LIST_HEADER)))
    except OSError as exc:
        if exc.errno == errno.ENOENT:
            return None
        raise
    heads = (attributes(data, start + 4, end) for data, start, end in answers)
    return next((head for head in heads if DATA in head), None)


def as_specified(netlink: Netlink, spec: SetSpec) -> bool | None:
    """Is the set of that name made as its spec says? None where there is none. Raises OSError."""
    head = header(netlink, spec.name)
    return None if head is None else _matches(spec, head)


def _matches(spec: SetSpec, head: dict[int, bytes]) -> bool:
    inner = attributes(head[DATA], 0, len(head[DATA]))
    flags = _U32.unpack(inner.get(_CADT_FLAGS, bytes(4)))[0]
    if (
        head[TYPENAME].rstrip(b"\0").decode() != spec.kind
        or (head[FAMILY][0], head[REVISION][0]) != (spec.family, spec.revision)
        or flags & _EXTENSIONS != _EXTENSIONS
        or TIMEOUT not in inner
    ):
        return False
    if spec.network is None:
        return bool(_U32.unpack(inner[MAXELEM])[0] == spec.maxelem)
    return (read_address(inner[IP]), read_address(inner[_IP_TO])) == (str(spec.network[0]), str(spec.network[-1]))


# --- members --------------------------------------------------------------------------------------------------------


def _entry(spec: SetSpec, ip: str, mac: str, tail: bytes, line: int) -> bytes:
    ether = attr(_ETHER, bytes.fromhex(mac.replace(":", ""))) if spec.keyed_by_mac else b""
    return nest(DATA, address(IP, ip), ether, tail, u32(LINENO, line))


def _skbinfo(direction: Direction, op: SetMember) -> bytes:
    mark = attr(_SKBMARK | NET_BYTEORDER, struct.pack(">II", op.grant, 0xFFFF_FFFF))
    return mark + attr(_SKBPRIO | NET_BYTEORDER, struct.pack(">HH", ROOT_MAJOR[direction], op.minor))


def _counters(direction: Direction, counters: tuple[int, int, int, int]) -> bytes:
    side = 0 if direction is Direction.UP else 1
    return attr(_BYTES | NET_BYTEORDER, _U64.pack(counters[side])) + attr(
        _PACKETS | NET_BYTEORDER, _U64.pack(counters[2 + side])
    )


def upsert(all_specs: Sequence[SetSpec], ops: Sequence[SetMember]) -> list[Message]:
    """The messages that make these members stand. Some may be refused with ``harmless`` refusals.

    A member whose op names counters is written in one batch per set. One that shall keep its counters is first added
    with counters 0, which the kernel refuses if it is there, and then renewed without naming counters.
    """
    messages = []
    for spec in all_specs:
        entries = []
        for line, op in enumerate(ops):
            if (":" in op.ip) != (spec.family == socket.AF_INET6):
                continue
            timeout = u32(TIMEOUT, 0 if op.timeout_s is None else max(1, min(op.timeout_s, MAX_TIMEOUT_S)))
            tail = timeout + _skbinfo(spec.direction, op)
            start = tail + _counters(spec.direction, op.counters or (0, 0, 0, 0))
            if op.counters is None:
                new = _entry(spec, op.ip, op.mac, start, line)
                messages.append(message(ADD, spec.name, new, u32(LINENO, 0), flags=NLM_F_EXCL, family=spec.family))
                entries.append(_entry(spec, op.ip, op.mac, tail, line))
            else:
                entries.append(_entry(spec, op.ip, op.mac, start, line))
        messages += _batches(ADD, spec, entries)
    return messages


def delete(all_specs: Sequence[SetSpec], ops: Sequence[DelMember]) -> list[Message]:
    """The messages that remove these members; a missing one is refused with a ``harmless`` refusal."""
    messages = []
    for spec in all_specs:
        for op in ops:
            if (":" in op.ip) == (spec.family == socket.AF_INET6):
                entry = _entry(spec, op.ip, op.mac, b"", 0)
                messages.append(message(DEL, spec.name, entry, u32(LINENO, 0), family=spec.family))
    return messages


def _batches(command: int, spec: SetSpec, entries: Sequence[bytes]) -> list[Message]:
    return [
        message(
            command,
            spec.name,
            u32(LINENO, 0),
            nest(ADT, *entries[i : i + _ADT_MEMBERS]),
            family=spec.family,
        )
        for i in range(0, len(entries), _ADT_MEMBERS)
    ]


def harmless(refusal: Refusal) -> bool:
    """An add of what is there, or a delete of what is not."""
    return refusal.errno == _ERR_EXIST


@dataclass(slots=True)
class _Half:
    mac: str | None = None
    minor: int = 0
    grant: int = 0
    timeout_s: int | None = None
    bytes: int = 0
    packets: int = 0


def members(netlink: Netlink, all_specs: Sequence[SetSpec]) -> dict[str, Member]:
    """Every member of the four sets by address, both directions joined. A set that is missing has none.

    Where a hash:ip,mac holds two MACs for one address, the one that does not belong to the receiving side's grant is
    reported, as incomplete: the engine then removes it.
    """
    up: dict[str, _Half] = {}
    down: dict[str, _Half] = {}
    twice: set[str] = set()
    for spec in all_specs:
        into = up if spec.direction is Direction.UP else down
        for ip, half in _halves(netlink, spec):
            if ip in into:
                twice.add(ip)
                other = down.get(ip)
                if other and half.grant == other.grant:
                    continue
            into[ip] = half
    return {ip: _join(ip, up.get(ip), down.get(ip), ip not in twice) for ip in up | down}


def _join(ip: str, up: _Half | None, down: _Half | None, single: bool) -> Member:
    either = up or down
    assert either is not None  # noqa: S101 - the caller passes keys of one of the two
    same = up is not None and down is not None and (up.minor, up.grant) == (down.minor, down.grant)
    return Member(
        ip=ip,
        mac=up.mac if up else None,
        minor=either.minor,
        grant=either.grant,
        timeout_s=either.timeout_s,
        up_bytes=up.bytes if up else 0,
        down_bytes=down.bytes if down else 0,
        up_packets=up.packets if up else 0,
        down_packets=down.packets if down else 0,
        complete=same and single,
    )


def _halves(netlink: Netlink, spec: SetSpec) -> Iterable[tuple[str, _Half]]:
    try:
        answers = netlink.dump(message(LIST, spec.name))
    except OSError as exc:
        if exc.errno == errno.ENOENT:
            return
        raise refused(f"list the set {spec.name}", exc) from exc
    for data, start, end in answers:
        for kind, inner, inner_end in spans(data, start + 4, end):
            if kind != ADT:
                continue
            for _, entry, entry_end in spans(data, inner, inner_end):
                found = attributes(data, entry, entry_end)
                yield read_address(found[IP]), _half(found)


def _half(found: dict[int, bytes]) -> _Half:
    half = _Half()
    if _ETHER in found:
        half.mac = found[_ETHER].hex(":")
    if TIMEOUT in found:
        half.timeout_s = _U32.unpack(found[TIMEOUT])[0] or None
    if _BYTES in found:
        half.bytes = _U64.unpack(found[_BYTES])[0]
        half.packets = _U64.unpack(found[_PACKETS])[0]
    if _SKBMARK in found:
        half.grant = _U32.unpack_from(found[_SKBMARK])[0]
    if _SKBPRIO in found:
        half.minor = struct.unpack_from(">H", found[_SKBPRIO], 2)[0]
    return half


def read_address(nested: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(nested) == 8 else socket.AF_INET6, nested[4:])
