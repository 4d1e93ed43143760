"""What the engine asks of a kernel, real or fake: observe, apply, and a few look-ups. It must not know how.

Both implementations pass the same contract suite (tests/contract).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from netctl.api.types import Feature
from netctl.ops import ClassRates, Direction, Op


@dataclass(frozen=True, slots=True)
class Member:
    """One admitted address as the kernel holds it, both directions joined. ``timeout_s`` None: no timeout.

    ``mac`` is None where the up set lacks the address, or holds no MACs (IPv6 on a kernel without hash:ip,mac).
    """

    ip: str
    mac: str | None
    minor: int
    grant: int
    timeout_s: int | None
    up_bytes: int
    down_bytes: int
    up_packets: int
    down_packets: int
    complete: bool = True  # False: only one direction's set holds it


@dataclass(frozen=True, slots=True)
class Observed:
    """Kernel state inside Gerbang's own names. Keys: address, (direction, minor), address.

    ``neighbours`` are the valid entries of the LAN, dynamic and permanent, link-local addresses included (address ->
    MAC); ``pinned`` are the permanent ones that Gerbang made: another program's are not among them.
    ``intact`` is False where rules, sets or root classes are missing or changed; ``setup`` then mends them. ``passed``
    is as `Kernel.passed` has it.
    """

    members: Mapping[str, Member] = field(default_factory=dict)
    classes: Mapping[tuple[Direction, int], ClassRates] = field(default_factory=dict)
    neighbours: Mapping[str, str] = field(default_factory=dict)
    pinned: Mapping[str, str] = field(default_factory=dict)
    intact: bool = True
    passed: Mapping[int, tuple[int, int]] = field(default_factory=dict)


class Flow(enum.StrEnum):
    """What was seen of a connection."""

    BEGIN = "begin"
    OPEN = "open"
    END = "end"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A connection from the LAN through the uplink was seen to begin, to be open or to end, at ``at_boot_ms``.

    ``inner`` is the device's own address, ``outer`` what the world sees in its place (the same without translation),
    ``remote`` whom it speaks with. ``protocol`` as IANA numbers them; ports are 0 where it has none, an echo's number
    stands for the first two.
    """

    flow: Flow
    at_boot_ms: int
    protocol: int
    inner: str
    inner_port: int
    outer: str
    outer_port: int
    remote: str
    remote_port: int


class Kernel(Protocol):
    """A kernel. Every method raises NetctlError with code ``kernel`` (refused) or ``unsupported`` (feature lacking)."""

    def probe(self) -> tuple[Feature, ...]:
        """What this kernel has, found by trying it in a scratch way that leaves no trace."""

    def put_rules(self) -> None:
        """The first part of ``setup``: rules that refuse, and sets. It needs no interface; idempotent."""

    def setup(self) -> None:
        """Make chains, sets, root classes and addresses stand; idempotent; existing members and classes survive.

        Order is fail-closed: the refusing rules stand before anything that admits.
        """

    def teardown(self) -> None:
        """Remove everything inside Gerbang's own names and nothing else; idempotent."""

    def observe(self) -> Observed:
        """Read everything back from the kernel."""

    def members(self) -> Mapping[str, Member]:
        """The members alone, as in ``observe``: for their counters, at a third of its cost."""

    def passed(self) -> Mapping[int, tuple[int, int]]:
        """Bytes (layer 3) and packets that have left each user class towards the LAN, by its minor."""

    def apply(self, ops: Sequence[Op]) -> None:
        """Do the operations in order, in as few messages as possible: neighbouring ones of a kind go as one batch.

        Raises at the first batch in which the kernel refuses one; others of that batch may have been done. Setting what
        stands is a change, deleting what is not there is success.
        """

    def whois(self, ip: str) -> str | None:
        """MAC of a valid neighbour entry for ``ip`` on the LAN interface, else None."""

    def keep_apart(self) -> tuple[str, ...]:
        """Isolate the ports of a LAN bridge from each other, if so configured; names of those that were not yet.

        Not a part of ``setup``: a port that comes later is nobody's meddling.
        """

    def shape_link(self, down_kbit: int | None, up_kbit: int | None) -> None:
        """Give the link's root classes these rates (None: not known); from now on they are what ``observe`` expects."""

    def link_bytes(self) -> tuple[int, int]:
        """Frame bytes that left through the link's root classes, down and up; cheap. 0 where there is none."""

    def neighbour_events(self) -> int:
        """File descriptor that turns readable when the LAN's neighbour table changes (drain with ``drain_events``)."""

    def drain_events(self) -> Sequence[tuple[str, str]]:
        """(address, MAC) of neighbours that turned valid since the last call; never blocks."""

    def flush_connections(self, ips: Sequence[str]) -> None:
        """Forget conntrack entries of these addresses and of no other (hygiene after a logout); best effort."""

    def take_sightings(self) -> tuple[Sequence[Sighting], int]:
        """Connections of the LAN seen since the last call, in order, and how many events were lost; never blocks.

        Only with ``log_connections``; the first call begins to look, with what is open then. The gateway's own
        connections may be among them. Raises ``kernel`` where it cannot look; the next call tries again.
        """

    def lan_prefixes(self) -> tuple[str, ...]:
        """The LAN's IPv4 network and IPv6 prefixes now in use, ``10.77.0.0/20``, ``fd..::/64``."""

    def dump(self) -> tuple[str, ...]:
        """Everything found inside Gerbang's own names as stable, sorted text lines without counters or times."""

    def close(self) -> None:
        """Release sockets; kernel state stays."""
