"""Works out how a device that is online stands: what is left, what ends it, how fast it may be. It must not know HTML.

The status page and the captive portal API tell the same figures, because both take them from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from portal.config import Plan
from portal.domain import budget
from portal.domain.model import BudgetLeft, Now, Opening


@dataclass(frozen=True, slots=True)
class Standing:
    """``session_s``: seconds that the session has left, None: no limit; ``used_bytes``: (up, down) of the session."""

    plan: Plan
    opening: Opening
    left: BudgetLeft
    session_s: float | None
    used_bytes: tuple[int, int]
    now: Now

    @property
    def closing_s(self) -> float | None:
        """Seconds until the plan's hours end."""
        if not self.opening.is_open or self.opening.until_wall_s is None:
            return None
        return max(0.0, self.opening.until_wall_s - self.now.wall_s)

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the first thing that ends it: session, hours, or the day's budget where it stops."""
        budget_s = self.left.seconds if self.plan.after_budget == "stop" else None
        limits = [limit for limit in (self.session_s, self.closing_s, budget_s) if limit is not None]
        return min(limits, default=None)

    @property
    def budget_bytes(self) -> int | None:
        """What is left of the day's bytes, both ways; None: no limit."""
        return self.left.bytes

    @property
    def remaining_bytes(self) -> int | None:
        """Bytes until it ends: those of the budget, where it stops then."""
        return self.budget_bytes if self.plan.after_budget == "stop" else None

    @property
    def rates_kbit(self) -> tuple[int | None, int | None]:
        """(down, up) now."""
        return budget.rates(self.plan, self.left)

    @property
    def closes_first(self) -> bool:
        """Whether it is the hours that end it, rather than the session's own time."""
        return self.closing_s is not None and (self.session_s is None or self.closing_s < self.session_s)
