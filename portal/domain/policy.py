"""Decides who is online, until when and at which rates, from rows and one reading of the clocks. Pure: no SQL, no I/O.

Everything here is decided on CLOCK_BOOTTIME, so that a wall clock that jumps (no battery, late NTP) moves nobody.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from netctl.api.types import DesiredState, Grant
from portal.config import Plan
from portal.domain.model import EndReason, Now, Session

MAX_GRANTS = 8192  # netctl.api.types.DesiredState.grants

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def is_device(mac: str) -> bool:
    """A unicast MAC (IEEE 802: lowest bit of the first byte 0) in the form that netctl writes, and not all zeros."""
    return bool(_MAC.fullmatch(mac)) and not int(mac[:2], 16) & 1 and mac != "00:00:00:00:00:00"


class Lan:
    """Which IPv4 addresses a device can have on the LAN. netctl refuses a whole state for one that has another.

    ``address`` is the gateway's own with its prefix length, ``10.77.0.1/20``.
    """

    def __init__(self, address: str) -> None:
        interface = ipaddress.IPv4Interface(address)
        self._own = interface.ip
        self._network = interface.network

    def holds(self, ipv4: str) -> bool:
        try:
            address = ipaddress.IPv4Address(ipv4)
        except ValueError:
            return False
        network = self._network
        return address in network and address not in (self._own, network.network_address, network.broadcast_address)


class Running(NamedTuple):
    """What of a session without a recorded end decides whether and how its device may pass (see Session)."""

    id: int
    mac: str
    ipv4: str | None
    plan: str
    boot_id: str
    deadline_boot_s: float | None
    remaining_s: float | None


def plan_of(session: Session, plans: Sequence[Plan]) -> Plan:
    """The plan that a session runs under. One that site.toml no longer has is the site's first plan, never no limit."""
    return next((plan for plan in plans if plan.id == session.plan), plans[0])


def remaining_s(session: Session, now: Now) -> float | None:
    """Seconds left, at least 0; None where the session has no time limit."""
    if session.deadline_boot_s is None or session.remaining_s is None:
        return None
    if session.boot_id == now.boot_id:
        return max(0.0, session.deadline_boot_s - now.boot_s)
    return max(0.0, session.remaining_s)


def is_running(session: Session, now: Now) -> bool:
    """Not ended, and time left: a session whose time is over no longer runs, recorded or not."""
    return session.ended_wall_s is None and remaining_s(session, now) != 0


def why_over(session: Session, plan: Plan, now: Now, active_boot_s: float) -> EndReason | None:
    """Why a session that is not ended must end now, or None.

    ``active_boot_s`` is when the device was last seen to send, in this boot.
    """
    if remaining_s(session, now) == 0:
        return EndReason.TIME
    if plan.idle_minutes is not None and now.boot_s - active_boot_s >= plan.idle_minutes * 60:
        return EndReason.IDLE
    return None


def desired_state(
    running: Iterable[Running], plans: Sequence[Plan], now: Now, epoch: str, generation: int
) -> DesiredState:
    """The whole state for netctl: one grant for each session that has time left, in order of id.

    Deadlines are of the boot of ``now``: a session from an earlier boot gets what it had left, from now on.
    """
    by_id: Mapping[str, Plan] = {plan.id: plan for plan in plans}
    grants = []
    for session in sorted(running):  # by id, which is unique and stands first
        deadline = session.deadline_boot_s
        if deadline is not None and session.remaining_s is not None and session.boot_id != now.boot_id:
            deadline = now.boot_s + session.remaining_s
        if deadline is not None and deadline <= now.boot_s:
            continue
        plan = by_id.get(session.plan, plans[0])
        grants.append(
            Grant(
                id=session.id,
                mac=session.mac,
                ipv4=session.ipv4,
                down_kbit=plan.down_kbit,
                up_kbit=plan.up_kbit,
                guaranteed_kbit=plan.guaranteed_kbit,
                deadline_boot_s=deadline,
            )
        )
    return DesiredState(epoch=epoch, generation=generation, grants=tuple(grants))
