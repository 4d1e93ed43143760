"""Decides from single checks whether the uplink is up or down. Pure: it must not know how a check is made."""

from __future__ import annotations

from dataclasses import dataclass

from portal.domain.model import UplinkState

CHECK_EVERY_S = 15.0
RECHECK_AFTER_S = 4.0  # the second check that turns "down" must have its answer within some 5 s of the first failure


@dataclass(frozen=True, slots=True)
class UplinkView:
    """What is held of the uplink: since when (CLOCK_BOOTTIME; of the first failed check for DOWN), and a doubt.

    ``doubt_boot_s`` is when the first check failed while the state is not DOWN; one lost packet is not an outage.
    """

    state: UplinkState = UplinkState.UNKNOWN
    since_boot_s: float | None = None
    doubt_boot_s: float | None = None

    def after(self, reached: bool, boot_s: float) -> UplinkView:
        """The view after one more check, begun at ``boot_s``."""
        if reached:
            if self.state is UplinkState.UP:
                return UplinkView(self.state, self.since_boot_s)
            return UplinkView(UplinkState.UP, boot_s)
        if self.state is UplinkState.DOWN:
            return self
        if self.doubt_boot_s is None:
            return UplinkView(self.state, self.since_boot_s, doubt_boot_s=boot_s)
        return UplinkView(UplinkState.DOWN, self.doubt_boot_s)

    @property
    def next_check_after_s(self) -> float:
        return CHECK_EVERY_S if self.doubt_boot_s is None else RECHECK_AFTER_S
