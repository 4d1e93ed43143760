"""Finds what time, use and the office have changed for who is online or waits, and writes it. It must not know netctl.

First it only looks, at each of the meter's ticks; only if something is to be done is there a transaction that writes.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from portal.config import Plan
from portal.domain import budget, policy
from portal.domain.budget import Spender
from portal.domain.model import DayUse, EndReason, Now, Session
from portal.domain.siterules import Moment, SiteRules
from portal.domain.usage import Delta, total
from portal.entrance import NOTHING_USED, Caller, Entrance
from portal.gatekeeper import GateError, Refused
from portal.leases import Lease
from portal.store import closures, people, sessions
from portal.store.people import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the meter has seen of sessions, by id, beyond what is on the disk.

    ``unflushed``: bytes that the totals do not include yet; ``ended``: of these sessions, the persons of those that
    have ended. ``bytes_s``: bytes per second of late, both ways.
    ``active_boot_s``: when the device last sent something. ``idle_too``: these are fresh, so that silence means idle.
    ``leases``: by MAC.
    """

    unflushed: Mapping[int, Delta]
    ended: Mapping[int, int]
    bytes_s: Mapping[int, float]
    active_boot_s: Mapping[int, float]
    idle_too: bool
    leases: Mapping[str, Lease]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is to be written, if anything. ``slow``: people whose budget is spent under a plan that slows then.

    ``counted``: the sessions whose bytes must be in the totals with it: of people who turn slow, or of whom one ends.
    ``check_again_s``: when somebody could have run out of the budget, at the earliest.
    """

    over: tuple[tuple[Session, EndReason], ...]
    replanned: tuple[tuple[int, str], ...]
    arrivals: tuple[Caller, ...]
    slow: frozenset[int]
    counted: frozenset[int]
    queue_turns: bool
    check_again_s: float


class Upkeep:
    """Of one meter. ``slow`` people and leases tried are remembered from one look to the next."""

    def __init__(self, rules: SiteRules, lan: policy.Lan) -> None:
        self._rules = rules
        self._lan = lan
        self._entrance = Entrance(rules)
        self._slow: frozenset[int] = frozenset()
        self._tried: dict[str, Lease] = {}  # a device that fell silent comes back when it renews its lease

    def look(self, db: sqlite3.Connection, moment: Moment, seen: Seen, at_most_s: float) -> Findings:
        """Only reads. ``at_most_s``: the ordinary tick."""
        rules = self._rules
        closed = rules.closed(closures.acts(db, moment.wall_s), moment)
        online = sessions.not_ended(db)
        standings = people.standings(db)
        persons = {one.id: one.person_id for one in online if one.person_id is not None} | dict(seen.ended)
        uses = _with_unflushed(people.uses(db, moment), persons, seen.unflushed)
        over, replanned, slow = [], [], set()
        spenders: dict[int, Spender] = {}
        devices = Counter(session.person_id for session in online)
        for session in online:
            standing = standings[session.id]
            plan = self._plan_of(session, standing)
            if plan.id != session.plan:
                replanned.append((session.id, plan.id))
            use = NOTHING_USED if session.person_id is None else uses.get(session.person_id, NOTHING_USED)
            left = rules.left(plan, use, moment)
            active_boot_s = max(session.active_boot_s, seen.active_boot_s.get(session.id, 0.0))
            reason = _withdrawn(session, standing, moment) or policy.why_over(
                session,
                plan,
                moment.now,
                active_boot_s,
                is_open=plan.id not in closed,
                spent=left.spent,
                blocked=standing.rule == "block",
            )
            # Without a fresh reading nobody can be called idle.
            if reason is not None and (reason is not EndReason.IDLE or seen.idle_too):
                over.append((session, reason))
            elif session.person_id is not None:
                if left.spent:
                    slow.add(session.person_id)
                before = spenders.get(session.person_id)
                bytes_s = seen.bytes_s.get(session.id, 0.0) + (0.0 if before is None else before.bytes_s)
                spenders[session.person_id] = Spender(plan, left, devices[session.person_id], bytes_s)
        _, turn = self._entrance.turn(db, moment.now)
        turned = (slow ^ self._slow) | {session.person_id for session, _ in over}
        counted = {session_id for session_id, person_id in persons.items() if person_id in turned}
        return Findings(
            over=tuple(over),
            replanned=tuple(replanned),
            arrivals=self._arrivals(db, moment, seen.leases),
            slow=frozenset(slow),
            counted=frozenset(counted | {session.id for session, _ in over}),
            queue_turns=bool(turn.lost or turn.called),
            check_again_s=budget.check_again_after_s(
                spenders.values(), rules.line_down_kbit, rules.line_up_kbit, at_most_s
            ),
        )

    def is_news(self, found: Findings) -> bool:
        """Is something to be written?"""
        return bool(found.over or found.replanned or found.arrivals or found.queue_turns or found.slow != self._slow)

    def carry_out(self, db: sqlite3.Connection, now: Now, found: Findings) -> tuple[Caller, ...]:
        """Write it, after what was used has been counted. Returns who has arrived."""
        for session, reason in found.over:
            sessions.end(db, session.id, reason, now, self._rules.zone)
        for session_id, plan in found.replanned:
            people.set_plan(db, session_id, plan, now)
        arrived = []
        for caller in found.arrivals:
            with contextlib.suppress(Refused, GateError):  # it was another moment; the next look decides again
                self._entrance.by_rule(db, now, caller)
                arrived.append(caller)
        self._entrance.call(db, now)
        sessions.next_generation(db)
        return tuple(arrived)

    def done(self, found: Findings, arrived: Iterable[Caller], leases: Mapping[str, Lease]) -> None:
        """It is on the disk."""
        self._slow = found.slow
        for caller in arrived:
            self._tried[caller.mac] = leases[caller.mac]
        for session, reason in found.over:
            if reason is not EndReason.IDLE:
                self._tried.pop(session.mac, None)

    def _plan_of(self, session: Session, standing: Standing) -> Plan:
        if session.person_id is None:
            return self._rules.plan(session.plan)
        given = standing.rule_plan if session.method == "rule" else standing.plan
        return self._rules.plan_now(session.method, given)

    def _arrivals(self, db: sqlite3.Connection, moment: Moment, leases: Mapping[str, Lease]) -> tuple[Caller, ...]:
        """Devices that an operator allows, that have an address and no session."""
        return tuple(
            Caller(mac, leases[mac].ipv4)
            for mac, plan in people.allowed_offline(db)
            if mac in leases
            and self._tried.get(mac) != leases[mac]
            and self._lan.holds(leases[mac].ipv4)
            and self._entrance.may_by_rule(db, moment, mac, plan)
        )


def _withdrawn(session: Session, standing: Standing, moment: Moment) -> EndReason | None:
    """Why the office no longer wants the session, or None. (A block is policy.why_over's.)"""
    if standing.rule == "block":
        return None
    if standing.withdrawn:
        return EndReason.VOIDED
    if session.method == "rule" and standing.rule != "allow":
        return EndReason.STAFF
    if standing.until_wall_s is not None and moment.wall_s >= standing.until_wall_s:
        return EndReason.TIME
    return None


def _with_unflushed(
    uses: Mapping[int, DayUse], persons: Mapping[int, int], unflushed: Mapping[int, Delta]
) -> dict[int, DayUse]:
    """``persons``: by session."""
    new: dict[int, Delta] = defaultdict(lambda: Delta(0, 0))
    for session_id, more in unflushed.items():
        if (person_id := persons.get(session_id)) is not None:
            new[person_id] = total((new[person_id], more))
    return {
        person_id: DayUse(
            use.seconds, use.up_bytes + new[person_id].up_bytes, use.down_bytes + new[person_id].down_bytes
        )
        for person_id, use in uses.items()
    }
