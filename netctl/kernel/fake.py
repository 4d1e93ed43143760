"""A kernel in memory: keeps what it is told, counts what a test says, refuses what the real one refuses.

It must not know grants, the engine or the socket. It passes the same contract suite as the real kernel.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netctl.api.errors import KERNEL, NetctlError
from netctl.api.types import Feature, GatewayConfig
from netctl.kernel.base import Flow, Member, Observed, Sighting
from netctl.ops import ClassRates, DelClass, DelMember, DelNeighbour, Direction, Op, SetClass, SetMember, SetNeighbour

MAX_TIMEOUT_S = 2_147_483  # IPSET_MAX_TIMEOUT, include/linux/netfilter/ipset/ip_set.h: UINT_MAX / 2 / MSEC_PER_SEC
MAX_MEMBERS = 65536  # per set: a bitmap's range, a hash's default maxelem


def _key(sighting: Sighting) -> tuple[int, str, int, str, int]:
    return sighting.protocol, sighting.inner, sighting.inner_port, sighting.remote, sighting.remote_port


@dataclass(slots=True)
class _Entry:
    """A member of one direction's set."""

    mac: str
    minor: int
    grant: int
    ends_s: float | None
    bytes: int = 0
    packets: int = 0


@dataclass(slots=True)
class FakeKernel:
    """``clock`` gives seconds and moves the timeouts. ``broken`` (an error) makes every method raise it; ``refuse`` is
    asked about each operation and names the reason to refuse it. ``calls`` and ``done`` record what was asked.
    ``ports`` are those of the LAN bridge and whether they are isolated, all by Gerbang.
    ``link`` are the rates of its root classes, ``passed`` the bytes that a test lets pass them.
    ``looking``: connections are told; a new daemon sets it back.
    ``ip_mac_hash`` False: a kernel without hash:ip,mac, whose IPv6 members show no MAC.
    """

    config: GatewayConfig
    clock: Callable[[], float] = time.monotonic
    refuse: Callable[[Op], str | None] = lambda _op: None
    broken: NetctlError | None = None
    ip_mac_hash: bool = True
    features: tuple[Feature, ...] = ()
    calls: list[str] = field(default_factory=list)
    done: list[Op] = field(default_factory=list)
    flushed: list[str] = field(default_factory=list)
    standing: bool = False
    ports: dict[str, bool] = field(default_factory=dict)
    looking: bool = False
    link: tuple[int | None, int | None] = (None, None)
    link_passed: tuple[int, int] = (0, 0)
    left: dict[int, tuple[int, int]] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()
    sets: dict[Direction, dict[str, _Entry]] = field(default_factory=lambda: {d: {} for d in Direction})
    classes: dict[tuple[Direction, int], ClassRates] = field(default_factory=dict)
    neighbours: dict[str, str] = field(default_factory=dict)
    pinned: dict[str, str] = field(default_factory=dict)
    _heard: list[tuple[str, str]] = field(default_factory=list)
    _open: dict[tuple[int, str, int, str, int], Sighting] = field(default_factory=dict)
    _sightings: list[Sighting] = field(default_factory=list)
    _lost: int = 0
    _event_fd: int = -1

    def __post_init__(self) -> None:
        self.link = (self.config.link_down_kbit, self.config.link_up_kbit)
        network = ipaddress.ip_interface(self.config.lan_address).network
        self.prefixes = (str(network), *((self.config.ula_prefix,) if self.config.ula_prefix else ()))

    # --- what a test does to it -------------------------------------------------------------------------------------

    def hear(self, ip: str, mac: str) -> None:
        """A device answers for ``ip``: its dynamic neighbour entry turns valid (a pinned one does not move)."""
        if ip in self.pinned:
            return
        self.neighbours[ip] = mac
        self._heard.append((ip, mac))
        if self._event_fd >= 0:
            os.eventfd_write(self._event_fd, 1)

    def forget(self, ip: str) -> None:
        """A dynamic neighbour entry ages."""
        self.neighbours.pop(ip, None)

    def count(self, ip: str, up_bytes: int = 0, down_bytes: int = 0, dropped_bytes: int = 0) -> None:
        """Traffic of an admitted address; one packet in each direction that has bytes. KeyError: it may not pass.

        ``dropped_bytes`` came for it, too, and a full queue dropped them.
        """
        self._expire()
        for direction, amount in ((Direction.UP, up_bytes), (Direction.DOWN, down_bytes + dropped_bytes)):
            if amount:
                entry = self.sets[direction][ip]
                entry.bytes += amount
                entry.packets += 1
        if down_bytes:
            minor = self.sets[Direction.DOWN][ip].minor
            octets, packets = self.left.get(minor, (0, 0))
            self.left[minor] = (octets + down_bytes, packets + 1)

    def connect(self, sighting: Sighting) -> None:
        """A connection through the uplink begins. Nothing of it is seen where nobody looks."""
        self._open[_key(sighting)] = sighting
        self._sightings.append(sighting)

    def disconnect(self, sighting: Sighting, at_boot_ms: int) -> None:
        """It ends."""
        if self._open.pop(_key(sighting), None):
            self._sightings.append(replace(sighting, flow=Flow.END, at_boot_ms=at_boot_ms))

    def overlook(self, count: int) -> None:
        """The kernel had to drop so many events."""
        self._lost += count

    def lose(self, ip: str, *directions: Direction) -> None:
        """Somebody else deleted the member, in the directions given or (none) in both."""
        for direction in directions or tuple(Direction):
            self.sets[direction].pop(ip, None)

    # --- Kernel -------------------------------------------------------------------------------------------------------

    def probe(self) -> tuple[Feature, ...]:
        self._call("probe")
        return self.features

    def put_rules(self) -> None:
        self._call("put_rules")

    def setup(self) -> None:
        self._call("setup")
        self.standing = True

    def teardown(self) -> None:
        self._call("teardown")
        self.standing = False
        self.ports = dict.fromkeys(self.ports, False)
        for entries in self.sets.values():
            entries.clear()
        self.classes.clear()
        self.left.clear()
        self.pinned.clear()

    def observe(self) -> Observed:
        self._call("observe")
        members = self._members()
        valid = {**self.neighbours, **self.pinned}
        return Observed(members, dict(self.classes), valid, dict(self.pinned), self.standing, self._left())

    def members(self) -> Mapping[str, Member]:
        self._call("members")
        return self._members()

    def passed(self) -> Mapping[int, tuple[int, int]]:
        self._call("passed")
        return self._left()

    def _left(self) -> dict[int, tuple[int, int]]:
        """Each class's, also of those that nothing has left yet."""
        minors = (minor for direction, minor in self.classes if direction is Direction.DOWN)
        return {minor: self.left.get(minor, (0, 0)) for minor in minors}

    def apply(self, ops: Sequence[Op]) -> None:
        self._call("apply")
        self._expire()
        for op in ops:
            reason = self._refusal(op) or self.refuse(op)
            if reason:
                raise NetctlError(KERNEL, f"The kernel refused `{op}`: {reason}.")
            self._do(op)
            self.done.append(op)

    def keep_apart(self) -> tuple[str, ...]:
        self._call("keep_apart")
        wanted = self.config.isolate
        changed = tuple(name for name, isolated in self.ports.items() if wanted and not isolated)
        self.ports = dict.fromkeys(self.ports, wanted)
        return changed

    def shape_link(self, down_kbit: int | None, up_kbit: int | None) -> None:
        self._call("shape_link")
        before, self.link = self.link, (down_kbit, up_kbit)
        if self.link != before and not self.standing:
            raise NetctlError(KERNEL, "The kernel refused to shape the link: there is no root class.")

    def link_bytes(self) -> tuple[int, int]:
        self._call("link_bytes")
        return self.link_passed if self.standing else (0, 0)

    def whois(self, ip: str) -> str | None:
        self._call("whois")
        return self.pinned.get(ip) or self.neighbours.get(ip)

    def neighbour_events(self) -> int:
        if self._event_fd < 0:
            self._event_fd = os.eventfd(len(self._heard), os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return self._event_fd

    def __del__(self) -> None:
        if self._event_fd >= 0:  # a run of all tests makes some thousands of these kernels
            os.close(self._event_fd)

    def drain_events(self) -> Sequence[tuple[str, str]]:
        self._call("drain_events")
        if self._heard and self._event_fd >= 0:
            os.eventfd_read(self._event_fd)
        heard, self._heard = self._heard, []
        return heard

    def flush_connections(self, ips: Sequence[str]) -> None:
        self._call("flush_connections")
        self.flushed.extend(ips)
        for sighting in list(self._open.values()):
            if sighting.inner in ips and ":" not in sighting.inner:
                self.disconnect(sighting, round(self.clock() * 1000))

    def take_sightings(self) -> tuple[Sequence[Sighting], int]:
        self._call("take_sightings")
        if not self.config.log_connections:
            return (), 0
        found, lost = (self._sightings, self._lost) if self.looking else ([], 0)
        self._sightings = [] if self.looking else [replace(one, flow=Flow.OPEN) for one in self._open.values()]
        self.looking, self._lost = True, 0
        return found, lost

    def lan_prefixes(self) -> tuple[str, ...]:
        return self.prefixes

    def dump(self) -> tuple[str, ...]:
        self._call("dump")
        self._expire()
        lines = [
            f"member {d.value} {ip} {e.mac} class {e.minor:#x} grant {e.grant}"
            for d, entries in self.sets.items()
            for ip, e in entries.items()
        ]
        lines += [f"class {d.value} {minor:#x} {rates}" for (d, minor), rates in self.classes.items()]
        lines += [f"port {name} isolated" for name, isolated in self.ports.items() if isolated]
        lines += [f"neighbour {ip} {mac}" for ip, mac in self.pinned.items()]
        return tuple(sorted(lines))

    def close(self) -> None:
        if self._event_fd >= 0:
            os.close(self._event_fd)
            self._event_fd = -1

    # --- inside -----------------------------------------------------------------------------------------------------

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.broken:
            raise self.broken

    def _expire(self) -> None:
        now = self.clock()
        for entries in self.sets.values():
            for ip in [ip for ip, e in entries.items() if e.ends_s is not None and e.ends_s <= now]:
                del entries[ip]

    def _members(self) -> dict[str, Member]:
        self._expire()
        up, down = self.sets[Direction.UP], self.sets[Direction.DOWN]
        return {ip: self._join(ip, up.get(ip), down.get(ip)) for ip in {**up, **down}}

    def _join(self, ip: str, up: _Entry | None, down: _Entry | None) -> Member:
        either = up or down
        if either is None:
            raise KeyError(ip)
        left = None if either.ends_s is None else max(0, int(either.ends_s - self.clock()))
        return Member(
            ip=ip,
            mac=up.mac if up and (self.ip_mac_hash or ":" not in ip) else None,
            minor=either.minor,
            grant=either.grant,
            timeout_s=left,
            up_bytes=up.bytes if up else 0,
            down_bytes=down.bytes if down else 0,
            up_packets=up.packets if up else 0,
            down_packets=down.packets if down else 0,
            complete=up is not None and down is not None,
        )

    def _refusal(self, op: Op) -> str | None:
        if not self.standing and not isinstance(op, SetNeighbour | DelNeighbour):
            return "its set or root class does not exist"
        if not isinstance(op, SetMember):
            return None
        if op.timeout_s is not None and not 0 < op.timeout_s <= MAX_TIMEOUT_S:
            return f"the timeout is not within 1..{MAX_TIMEOUT_S}"  # 0 would be a member for ever
        address = ipaddress.ip_address(op.ip)
        if address.version == 4 and address not in ipaddress.ip_network(self.prefixes[0]):
            return "the address is out of the set's range"
        if op.ip not in self.sets[Direction.UP] and len(self.sets[Direction.UP]) >= MAX_MEMBERS:
            return "the set is full"
        return None

    def _do(self, op: Op) -> None:
        match op:
            case SetClass():
                self.classes[op.direction, op.minor] = op.rates
            case DelClass():
                self.classes.pop((op.direction, op.minor), None)
                if op.direction is Direction.DOWN:
                    self.left.pop(op.minor, None)
            case SetMember():
                self._admit(op)
            case DelMember():
                self.lose(op.ip)
            case SetNeighbour():
                self.pinned[op.ip] = op.mac
                self.neighbours.pop(op.ip, None)
            case DelNeighbour():
                if op.ip in self.pinned:  # becomes an ordinary entry, which may age
                    self.neighbours[op.ip] = self.pinned.pop(op.ip)

    def _admit(self, op: SetMember) -> None:
        ends = None if op.timeout_s is None else self.clock() + op.timeout_s
        start = op.counters
        counters = {Direction.UP: start and (start[0], start[2]), Direction.DOWN: start and (start[1], start[3])}
        for direction, entries in self.sets.items():
            old = entries.get(op.ip)
            entry = entries[op.ip] = _Entry(op.mac, op.minor, op.grant, ends)
            entry.bytes, entry.packets = counters[direction] or ((old.bytes, old.packets) if old else (0, 0))
