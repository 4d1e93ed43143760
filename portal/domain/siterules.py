"""What site.toml says of plans, hours, methods and room, read once and asked often. Pure: it must not know SQL.

A plan that site.toml no longer has is the site's first plan: never no limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

from portal.config import Plan, SiteConfig
from portal.domain import budget, hours
from portal.domain.budget import Calendar
from portal.domain.hours import Act
from portal.domain.model import BudgetLeft, DayUse, Now, Opening


class Moment(NamedTuple):
    """One reading of the clocks, with what is known of the calendar then.

    ``wall_s`` is ``now.wall_s``, or where that cannot be right (``calendar.clock_ok``) a moment that has surely passed.
    ``day``: the local day whose budgets hold, as portal.domain.budget.day_of gives it.
    """

    now: Now
    calendar: Calendar
    wall_s: float
    day: str


class SiteRules:
    """Of one site.toml. ``plans`` in its order; ``access_plan``: of those who come in by a tap."""

    def __init__(self, config: SiteConfig) -> None:
        self.plans: tuple[Plan, ...] = config.plan
        self._by_id = {plan.id: plan for plan in config.plan}
        self.access_plan: Plan = self.plan(config.access.plan)
        self.methods: frozenset[str] = frozenset(config.access.methods)
        self.capacity: int | None = config.access.capacity
        self.terms_version: str = config.portal.terms_version
        self.zone = ZoneInfo(config.site.timezone)
        self.line_down_kbit: int | None = config.uplink.down_kbit
        self.line_up_kbit: int | None = config.uplink.up_kbit
        self._week = hours.parse(config.hours.open)
        self._weeks = {plan.id: None if plan.hours is None else hours.parse(plan.hours) for plan in config.plan}
        self._holidays = config.closed

    def plan(self, plan_id: str | None) -> Plan:
        return self._by_id.get(plan_id or "", self.plans[0])

    def plan_now(self, method: str, given: str | None) -> Plan:
        """The plan that people of a method have now: the one ``given`` by voucher, account or rule, else the site's."""
        return self.access_plan if method == "terms" or given is None else self.plan(given)

    def opening(self, plan: Plan, acts: Sequence[Act], moment: Moment) -> Opening:
        return hours.opening(
            self._weeks[plan.id],
            self._week,
            self._holidays,
            acts,
            wall_s=moment.wall_s,
            zone=self.zone,
            clock_ok=moment.calendar.clock_ok,
        )

    def closed(self, acts: Sequence[Act], moment: Moment) -> frozenset[str]:
        """Ids of the plans that are closed at this moment."""
        found: dict[object, bool] = {}  # most plans have the site's hours
        closed = []
        for plan in self.plans:
            if plan.hours not in found:
                found[plan.hours] = not self.opening(plan, acts, moment).is_open
            if found[plan.hours]:
                closed.append(plan.id)
        return frozenset(closed)

    def left(self, plan: Plan, use: DayUse, moment: Moment) -> BudgetLeft:
        return budget.left(plan, use, moment.wall_s, self.zone)
