"""Decides from rounds of checks whether the uplink is up, degraded or down. Pure: it must not know how a check is made.

Down is what people would call so: a page on the Internet does not open. Which part fails is said beside it, the nearest
first: the provider's router, its resolver, the Web behind. A router that never answers pings is not called broken.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import Final

from portal.domain.model import Failing, UplinkState

CHECK_EVERY_S: Final = 15.0
RECHECK_AFTER_S: Final = 4.0  # the check that turns "down" comes soon: one lost packet is not an outage, but two are
QUALITY_OVER_S: Final = 60.0
# A page of 30 requests opens in spite of 10 % loss, hardly with 20 %; a geostationary satellite's 700 ms are normal,
# twice that is a queue. It is called better only well below, so that it does not come and go.
BAD_LOSS, FAIR_LOSS = 0.2, 0.1
BAD_LATENCY_MS, FAIR_LATENCY_MS = 1500.0, 1000.0
ENOUGH: Final = 10  # echoes in the window, for a share of loss to mean something


@dataclass(frozen=True, slots=True)
class Check:
    """One round. ``gateway`` and ``dns``: does it answer? None: not known. ``reached``: the page on the Web came.

    ``echoes`` were sent towards the Web; ``round_trips_ms`` are those of the answers (or, where ``echoes`` is 0 because
    nobody there answers pings, the time that a connection took).
    """

    reached: bool
    gateway: bool | None = None
    dns: bool | None = None
    echoes: int = 0
    round_trips_ms: tuple[float, ...] = ()

    @property
    def failing(self) -> Failing | None:
        """The first thing on the way that fails; what nobody knows is taken to work."""
        if self.reached:
            return None
        if self.gateway is False:
            return Failing.GATEWAY
        return Failing.DNS if self.dns is False else Failing.HTTP


@dataclass(frozen=True, slots=True)
class UplinkView:
    """What is held of the uplink: since when (CLOCK_BOOTTIME; of the first failed check for DOWN), and a doubt.

    ``doubt_boot_s`` is when the first check failed while the state is not DOWN. ``failing`` is what failed in the last
    check, while DOWN. ``latency_ms`` (median) and ``loss`` (share of echoes) are of the last minute; None: not known.
    """

    state: UplinkState = UplinkState.UNKNOWN
    since_boot_s: float | None = None
    doubt_boot_s: float | None = None
    failing: Failing | None = None
    latency_ms: float | None = None
    loss: float | None = None
    rounds: tuple[tuple[float, Check], ...] = ()  # those of the last minute, with their times

    def after(self, check: Check, boot_s: float) -> UplinkView:
        """The view after one more round, begun at ``boot_s``."""
        view = self._with_quality(check, boot_s)
        if check.reached:
            state = UplinkState.DEGRADED if view._is_bad() else UplinkState.UP
            since_boot_s = self.since_boot_s if state is self.state else boot_s
            return replace(view, state=state, since_boot_s=since_boot_s, doubt_boot_s=None, failing=None)
        if self.state is UplinkState.DOWN:
            return replace(view, failing=check.failing)
        if self.doubt_boot_s is None:
            return replace(view, doubt_boot_s=boot_s)
        return replace(
            view,
            state=UplinkState.DOWN,
            since_boot_s=self.doubt_boot_s,
            doubt_boot_s=None,
            failing=check.failing,
        )

    @property
    def next_check_after_s(self) -> float:
        return CHECK_EVERY_S if self.doubt_boot_s is None else RECHECK_AFTER_S

    def _with_quality(self, check: Check, boot_s: float) -> UplinkView:
        rounds = tuple((at, one) for at, one in self.rounds if boot_s - QUALITY_OVER_S < at <= boot_s)
        rounds += ((boot_s, check),)
        times = [ms for _, one in rounds for ms in one.round_trips_ms]
        echoes = sum(one.echoes for _, one in rounds)
        answers = sum(len(one.round_trips_ms) for _, one in rounds if one.echoes)
        return replace(
            self,
            rounds=rounds,
            latency_ms=statistics.median(times) if times else None,
            loss=(echoes - answers) / echoes if echoes >= ENOUGH else None,
        )

    def _is_bad(self) -> bool:
        was_bad = self.state is UplinkState.DEGRADED
        loss_limit, latency_limit_ms = (FAIR_LOSS, FAIR_LATENCY_MS) if was_bad else (BAD_LOSS, BAD_LATENCY_MS)
        too_lossy = self.loss is not None and self.loss >= loss_limit
        return too_lossy or (self.latency_ms is not None and self.latency_ms >= latency_limit_ms)
