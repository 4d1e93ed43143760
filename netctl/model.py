"""What the engine believes the kernel holds: the last observation, and what was done since. It must not know a kernel.

It exists so that a login costs no reading back of everybody's state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace

from netctl.kernel.base import Member, Observed
from netctl.ops import ClassRates, DelClass, DelMember, DelNeighbour, Direction, Op, SetClass, SetMember, SetNeighbour

MAX_NEIGHBOURS = 65_536  # between two observations; a flood of addresses must not become a flood of memory


@dataclass(slots=True)
class Model:
    """``as_of_boot_s`` is when the timeouts of all members count from."""

    members: dict[str, Member]
    classes: dict[tuple[Direction, int], ClassRates]
    neighbours: dict[str, str]
    pinned: dict[str, str]
    as_of_boot_s: float

    @classmethod
    def of(cls, found: Observed, as_of_boot_s: float, mac_of: Mapping[int, str]) -> Model:
        """``mac_of``: grant -> MAC, for members of a set that holds no MACs (IPv6 on a kernel without hash:ip,mac)."""
        members = dict(found.members)
        for ip, member in found.members.items():
            if member.mac is None:
                members[ip] = replace(member, mac=mac_of.get(member.grant))
        return cls(members, dict(found.classes), dict(found.neighbours), dict(found.pinned), as_of_boot_s)

    def view(self) -> Observed:
        """The same, as plan() reads it: shared, not copied."""
        return Observed(self.members, self.classes, self.neighbours, self.pinned)

    def part(self, macs: Set[str]) -> Observed:
        """The same of these devices alone."""
        members = {ip: m for ip, m in self.members.items() if m.mac in macs}
        minors = {m.minor for m in members.values()}
        neighbours = {
            ip: mac
            for ip, mac in self.neighbours.items()
            if mac in macs and (ip in members or ip not in self.members)  # not what another device's member holds
        }
        return Observed(
            members,
            {key: rates for key, rates in self.classes.items() if key[1] in minors},
            neighbours,
            {ip: mac for ip, mac in self.pinned.items() if ip in members or mac in macs},
        )

    def minors_except(self, macs: Set[str]) -> set[int]:
        """Class numbers of all other devices."""
        return {m.minor for m in self.members.values() if m.mac not in macs}

    def hear(self, ip: str, mac: str) -> None:
        """A neighbour entry turned valid."""
        if ip not in self.pinned and len(self.neighbours) < MAX_NEIGHBOURS:
            self.neighbours[ip] = mac

    def record(self, ops: Iterable[Op], now_boot_s: float) -> None:
        """The kernel did these operations."""
        for op in ops:
            match op:
                case SetMember():
                    self._set_member(op, now_boot_s)
                case SetClass():
                    self.classes[op.direction, op.minor] = op.rates
                case SetNeighbour():
                    self.pinned[op.ip] = self.neighbours[op.ip] = op.mac
                case DelMember():
                    self.members.pop(op.ip, None)
                case DelClass():
                    self.classes.pop((op.direction, op.minor), None)
                case DelNeighbour():
                    self.pinned.pop(op.ip, None)  # an ordinary entry of the same device stays

    def _set_member(self, op: SetMember, now_boot_s: float) -> None:
        old = self.members.get(op.ip) or Member(op.ip, op.mac, 0, 0, None, 0, 0, 0, 0)
        timeout = None if op.timeout_s is None else round(op.timeout_s + now_boot_s - self.as_of_boot_s)
        member = replace(old, mac=op.mac, minor=op.minor, grant=op.grant, timeout_s=timeout, complete=True)
        if op.counters is not None:
            up, down, up_packets, down_packets = op.counters
            member = replace(member, up_bytes=up, down_bytes=down, up_packets=up_packets, down_packets=down_packets)
        self.members[op.ip] = member
