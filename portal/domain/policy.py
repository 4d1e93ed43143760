"""Decides who is online, until when and at which rates, from rows and one reading of the clocks. Pure: no SQL, no I/O.

Everything here is decided on CLOCK_BOOTTIME, so that a wall clock that jumps (no battery, late NTP) moves nobody.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from netctl.api.types import DesiredState, Grant
from portal.config import Plan
from portal.domain import budget
from portal.domain.model import EndReason, Now, Session

MAX_GRANTS = 8192  # netctl.api.types.DesiredState.grants
PRIORITY = {"high": 0, "normal": 1, "low": 2}  # netctl.api.types.Grant: the lowest first

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
    """What of a session without a recorded end decides whether and how its device may pass (see Session).

    ``blocked``: an operator's rule on the MAC. ``used_s`` and ``used_bytes`` (both ways): the person's row of today in
    person_day, as flushed. Whoever writes there what spends a budget makes the next generation in that transaction.
    """

    id: int
    mac: str
    ipv4: str | None
    plan: str
    boot_id: str
    deadline_boot_s: float | None
    remaining_s: float | None
    blocked: int
    used_s: float
    used_bytes: int


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


def why_over(
    session: Session,
    plan: Plan,
    now: Now,
    active_boot_s: float,
    *,
    is_open: bool = True,
    spent: bool = False,
    blocked: bool = False,
) -> EndReason | None:
    """Why a session that is not ended must end now, or None. IDLE only where there is no other reason.

    ``active_boot_s`` is when the device was last seen to send, in this boot. ``is_open``: the plan is (hours.opening);
    ``spent``: the person's budget of the day is (budget.left); ``blocked``: the device is, by an operator.
    """
    if blocked:
        return EndReason.BLOCKED
    if remaining_s(session, now) == 0:
        return EndReason.TIME
    if not is_open:
        return EndReason.CLOSED
    if spent and plan.after_budget == "stop":
        return EndReason.BUDGET
    if plan.idle_minutes is not None and now.boot_s - active_boot_s >= plan.idle_minutes * 60:
        return EndReason.IDLE
    return None


class _Lane(NamedTuple):
    """What a plan comes to for its sessions, worked out once for a state; the names are those of netctl's Grant."""

    down_kbit: int | None
    up_kbit: int | None
    guaranteed_kbit: int
    priority: int
    burst_kbytes: int | None


class _Lanes(NamedTuple):
    """``after``: with the budget of the day spent; None: nothing passes then."""

    budget_s: float
    budget_bytes: float
    before: _Lane
    after: _Lane | None


def _lanes(plan: Plan) -> _Lanes:
    before = _Lane(plan.down_kbit, plan.up_kbit, plan.guaranteed_kbit, PRIORITY[plan.priority], plan.burst_kbytes)
    slow_down_kbit, slow_up_kbit = budget.slow_rates(plan)
    slow = before._replace(down_kbit=slow_down_kbit, up_kbit=slow_up_kbit, burst_kbytes=None)
    return _Lanes(budget.limit_s(plan), budget.limit_bytes(plan), before, None if plan.after_budget == "stop" else slow)


def desired_state(
    running: Iterable[Running],
    plans: Sequence[Plan],
    now: Now,
    epoch: str,
    generation: int,
    *,
    closed: Collection[str] = (),
) -> DesiredState:
    """The whole state for netctl: one grant for each session that has time left, in order of id.

    None for who is blocked, whose plan is closed (``closed``: ids of plans), or whose budget is spent under a plan that
    stops then: also while the end of their sessions is not recorded yet. A plan that slows gives its slow rates.
    Deadlines are of the boot of ``now``: a session from an earlier boot gets what it had left, from now on.
    """
    lanes_of: Mapping[str, _Lanes | None] = {plan.id: None if plan.id in closed else _lanes(plan) for plan in plans}
    first = lanes_of[plans[0].id]
    grants = []
    # By id, which is unique and stands first. Unpacked, since this runs for everybody with each login.
    for id_, mac, ipv4, plan_id, boot_id, deadline_boot_s, left_s, blocked, used_s, used_bytes in sorted(running):
        lanes = lanes_of.get(plan_id, first)
        if lanes is None or blocked:
            continue
        ends_boot_s = deadline_boot_s if boot_id == now.boot_id or left_s is None else now.boot_s + left_s
        if ends_boot_s is not None and ends_boot_s <= now.boot_s:
            continue
        budget_s, budget_bytes, before, after = lanes
        lane = before if used_s < budget_s and used_bytes < budget_bytes else after
        if lane is None:
            continue
        down_kbit, up_kbit, guaranteed_kbit, priority, burst_kbytes = lane
        grants.append(
            Grant(
                id=id_,
                mac=mac,
                ipv4=ipv4,
                down_kbit=down_kbit,
                up_kbit=up_kbit,
                guaranteed_kbit=guaranteed_kbit,
                priority=priority,
                burst_kbytes=burst_kbytes,
                deadline_boot_s=ends_boot_s,
            )
        )
    return DesiredState(epoch=epoch, generation=generation, grants=tuple(grants))
