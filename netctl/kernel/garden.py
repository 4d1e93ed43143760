"""The walled garden's two sets: networks that everybody may reach. It must not know who puts a name's addresses in.

gerbang_garden4 and gerbang_garden6 hold networks without a timeout, those of the configuration, and addresses with one:
dnsmasq adds them when it resolves a name of the garden, and its adding again renews them. They have neither counters
nor classes: who is no member is counted nowhere, and one class (x:3, netctl.kernel.shaping) takes all of it.

Numbers: include/uapi/linux/netfilter/ipset/ip_set.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from netctl.kernel import sets
from netctl.kernel.sets import address, message, read_address, u32
from netctl.kernel.wire import NLM_F_CREATE, NLM_F_EXCL, Message, Netlink, Refusal, attr, attributes, nest, spans

GARDEN4: Final = "gerbang_garden4"
GARDEN6: Final = "gerbang_garden6"
TIMEOUT_S: Final = 7200  # dnsmasq answers from its cache for an hour at most, and then resolves and adds again
MAX_NETWORKS: Final = 65_536
KIND: Final = "hash:net"
_REVISION_USED: Final = 2  # the kernel's first with all that is used here; newer ones accept it
_CIDR: Final = 3


@dataclass(frozen=True, slots=True)
class Garden:
    """One set as it must be: ``networks`` stand in it without a timeout, in the form that ``ip_network`` prints."""

    name: str
    family: int
    networks: frozenset[str] = frozenset()

    def __str__(self) -> str:
        family = "inet" if self.family == socket.AF_INET else "inet6"
        return f"set {self.name} {KIND} family {family} maxelem {MAX_NETWORKS} timeout {TIMEOUT_S}"


def gardens(networks: Iterable[str]) -> tuple[Garden, Garden]:
    """Both sets for these networks and addresses of either family. ValueError: one is neither."""
    found = [ipaddress.ip_network(text) for text in networks]
    return (
        Garden(GARDEN4, socket.AF_INET, frozenset(str(n) for n in found if n.version == 4)),
        Garden(GARDEN6, socket.AF_INET6, frozenset(str(n) for n in found if n.version == 6)),
    )


def create_message(garden: Garden, name: str | None = None) -> Message:
    """Create the set (under another name if given), empty; refused with EEXIST where one of that name stands."""
    return message(
        sets.CREATE,
        name or garden.name,
        attr(sets.TYPENAME, KIND.encode() + b"\0"),
        attr(sets.REVISION, bytes((_REVISION_USED,))),
        attr(sets.FAMILY, bytes((garden.family,))),
        nest(sets.DATA, u32(sets.TIMEOUT, TIMEOUT_S), u32(sets.HASHSIZE, 1024), u32(sets.MAXELEM, MAX_NETWORKS)),
        flags=NLM_F_CREATE | NLM_F_EXCL,
    )


def try_create(netlink: Netlink, scratch: str) -> Refusal | None:
    """Create such a set under the name ``scratch`` and destroy it again; the refusal, if any."""
    garden = Garden(scratch, socket.AF_INET)
    refusals = netlink.transact([create_message(garden), sets.destroy_message(scratch)])
    return next((r for r in refusals if r.index == 0), None)


def as_specified(netlink: Netlink, garden: Garden) -> bool | None:
    """Is the set of that name of the right kind? None where there is none. Raises OSError."""
    head = sets.header(netlink, garden.name)
    if head is None:
        return None
    inner = attributes(head[sets.DATA], 0, len(head[sets.DATA]))
    return (
        head[sets.TYPENAME].rstrip(b"\0").decode() == KIND
        and head[sets.FAMILY][0] == garden.family
        and inner.get(sets.TIMEOUT) == TIMEOUT_S.to_bytes(4, "big")
        and inner.get(sets.MAXELEM) == MAX_NETWORKS.to_bytes(4, "big")
    )


def contents(netlink: Netlink, garden: Garden) -> dict[str, int | None]:
    """Network -> seconds left, None for those that stay. A set that is missing has none. Raises OSError."""
    try:
        answers = netlink.dump(message(sets.LIST, garden.name))
    except OSError as exc:
        if exc.errno == errno.ENOENT:
            return {}
        raise
    found: dict[str, int | None] = {}
    for data, start, end in answers:
        for kind, inner, inner_end in spans(data, start + 4, end):
            if kind == sets.ADT:
                for _, entry, entry_end in spans(data, inner, inner_end):
                    values = attributes(data, entry, entry_end)
                    network = f"{read_address(values[sets.IP])}/{values[_CIDR][0]}"
                    found[network] = int.from_bytes(values[sets.TIMEOUT], "big") or None
    return found


def stands(netlink: Netlink, garden: Garden) -> bool:
    """Is the set there, with every network that must be in it, and no other that would stay? Raises OSError."""
    if not as_specified(netlink, garden):
        return False
    found = contents(netlink, garden)
    # One that a name's address is the same as has got a timeout: it is in, and when it lapses it is missing.
    return garden.networks <= found.keys() and {n for n, left in found.items() if left is None} <= garden.networks


def fill_messages(garden: Garden, found: dict[str, int | None]) -> list[Message]:
    """Put in what must stay and take out what would stay and must not; a name's addresses are left alone."""
    stale = [network for network, left in found.items() if left is None and network not in garden.networks]
    missing = [network for network in sorted(garden.networks) if found.get(network, 0) is not None]
    return [*_entries(sets.DEL, garden, stale, b""), *_entries(sets.ADD, garden, missing, u32(sets.TIMEOUT, 0))]


def _entries(command: int, garden: Garden, networks: Sequence[str], tail: bytes) -> list[Message]:
    messages = []
    for text in networks:
        network = ipaddress.ip_network(text)
        entry = nest(
            sets.DATA, address(sets.IP, str(network.network_address)), attr(_CIDR, bytes((network.prefixlen,))), tail
        )
        messages.append(message(command, garden.name, entry, u32(sets.LINENO, 0), family=garden.family))
    return messages
