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
    """What a plan comes to for its sessions, worked out once for a state. Rates are kbit/s."""

    budget_s: float
    budget_bytes: float
    stops: bool  # when the budget is spent; else it slows
    down_kbit: int | None
    up_kbit: int | None
    slow_down_kbit: int | None
    slow_up_kbit: int | None
    guaranteed_kbit: int


def _lane(plan: Plan) -> _Lane:
    slow_down_kbit, slow_up_kbit = budget.slow_rates(plan)
    return _Lane(
        budget_s=budget.limit_s(plan),
        budget_bytes=budget.limit_bytes(plan),
        stops=plan.after_budget == "stop",
        down_kbit=plan.down_kbit,
        up_kbit=plan.up_kbit,
        slow_down_kbit=slow_down_kbit,
        slow_up_kbit=slow_up_kbit,
        guaranteed_kbit=plan.guaranteed_kbit,
    )


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
    lanes: Mapping[str, _Lane | None] = {plan.id: None if plan.id in closed else _lane(plan) for plan in plans}
    first = lanes[plans[0].id]
    grants = []
    for session in sorted(running):  # by id, which is unique and stands first
        lane = lanes.get(session.plan, first)
        if lane is None or session.blocked:
            continue
        deadline = session.deadline_boot_s
        if deadline is not None and session.remaining_s is not None and session.boot_id != now.boot_id:
            deadline = now.boot_s + session.remaining_s
        if deadline is not None and deadline <= now.boot_s:
            continue
        spent = session.used_s >= lane.budget_s or session.used_bytes >= lane.budget_bytes
        if spent and lane.stops:
            continue
        grants.append(
            Grant(
                id=session.id,
                mac=session.mac,
                ipv4=session.ipv4,
                down_kbit=lane.slow_down_kbit if spent else lane.down_kbit,
                up_kbit=lane.slow_up_kbit if spent else lane.up_kbit,
                guaranteed_kbit=lane.guaranteed_kbit,
                deadline_boot_s=deadline,
            )
        )
    return DesiredState(epoch=epoch, generation=generation, grants=tuple(grants))
