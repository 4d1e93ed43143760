"""Decides from delay and traffic at what rates to shape a line whose own rate changes. Pure: no clock, no sockets.

In the manner of cake-autorate: where answers to pings come later than usual while the line is in use, a queue stands in
it, so it is slower than its shaper now, and the shaper goes below what arrives; while the line is full and answers are
prompt it goes up slowly; while the line is hardly used it returns to a middle rate. Round trips do not tell the
direction; the traffic does.

Rates are kbit/s (1000 bits), times seconds of CLOCK_BOOTTIME that the caller gives.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from portal.domain.reflectors import Delay, Reflectors

TICK_S: Final = 0.5
IDLE_TICK_S: Final = 1.0
# Six a second find a queue within a second and cost 2 MB in an hour of use, both ways together; one in ten seconds
# keeps the usual delays known while nobody uses the line.
PING_EVERY_S: Final = 1 / 6
IDLE_PING_EVERY_S: Final = 10.0
BUSY_FOR_S: Final = 5.0  # after the last traffic, so that pauses between pages do not count
TRAFFIC_OVER_S: Final = 1.0  # what passed is averaged over this; less is one burst of one sender
PAUSE_S: Final = 5.0  # a longer gap between ticks was a pause of the machine: what was measured before is void

DELAYED_MS: Final = 30.0  # more than radio schedulers and other customers' bursts do, less than people notice
DELAYED_SHARE: Final = 0.1  # of a long path: a satellite's jitter grows with it
PACKETS_AHEAD: Final = 2  # of 12 kbit each; at slow rates they alone take many milliseconds
WINDOW: Final = 6  # delays looked at; a queue is one when half of them are long
DELAYED_OF_WINDOW: Final = 3

CUT_LEAST, CUT_MOST = 0.9, 0.8  # just over the limit, and from twice the limit on
REACT_S: Final = 0.5  # senders take a few round trips to go slower; echoes sent before tell of the queue that was cut
EMPTIES_MS_PER_S: Final = 100.0  # a queue that gets shorter so fast needs no further cut: the line is 10 % faster
GROW_PER_S: Final = 1.1  # doubles in 7 s; a queue is found in 1 s, when the rate is at most 10 % too high
SLOWED_BY: Final = 4.0  # for each second of the usual delay: news of a queue is as old, and it grows meanwhile
RETURN_PER_S: Final = 1.01
HIGH_LOAD, LOW_LOAD = 0.75, 0.5  # share of the shaped rate
SETTLE_S: Final = 5.0  # at the start: so long at the least rate, for the usual delays to be found without a queue


@dataclass(frozen=True, slots=True)
class Bounds:
    """``0 < min_kbit <= max_kbit``."""

    min_kbit: int
    max_kbit: int

    @property
    def base_kbit(self) -> float:
        """Where a line that nobody uses waits: as many times the least rate as the highest is times it."""
        return math.sqrt(self.min_kbit * self.max_kbit)


class Rates(NamedTuple):
    down_kbit: int
    up_kbit: int


@dataclass(slots=True)
class _Direction:
    bounds: Bounds
    rate_kbit: float
    passed: deque[tuple[float, int]] = field(default_factory=deque)  # (when, bytes so far), the oldest first

    def note(self, now_boot_s: float, total_bytes: int) -> None:
        if self.passed and total_bytes < self.passed[-1][1]:  # counted from 0 again
            self.passed.clear()
        self.passed.append((now_boot_s, total_bytes))
        while len(self.passed) > 2 and self.passed[1][0] <= now_boot_s - TRAFFIC_OVER_S:
            self.passed.popleft()

    @property
    def achieved_kbit(self) -> float:
        (begin_s, before), (end_s, after) = self.passed[0], self.passed[-1]
        return (after - before) * 8 / 1000 / (end_s - begin_s) if end_s > begin_s else 0.0

    @property
    def load(self) -> float:
        return self.achieved_kbit / self.rate_kbit

    @property
    def is_used(self) -> bool:
        """Enough to fill the line at its slowest; less makes no queue that shaping could mend."""
        return self.achieved_kbit >= self.bounds.min_kbit / 2

    def set(self, rate_kbit: float) -> None:
        self.rate_kbit = min(float(self.bounds.max_kbit), max(float(self.bounds.min_kbit), rate_kbit))

    def approach(self, goal_kbit: float, factor: float) -> None:
        low, high = self.rate_kbit / factor, self.rate_kbit * factor
        self.set(min(high, max(low, goal_kbit)))


class Follower:
    """Told what was sent, what came back and what passed, it says the rates. One line, two directions."""

    def __init__(self, down: Bounds, up: Bounds, reflectors: Sequence[str], now_boot_s: float) -> None:
        self._down = _Direction(down, float(down.min_kbit))
        self._up = _Direction(up, float(up.min_kbit))
        self._reflectors = Reflectors(reflectors)
        self._settle_until_boot_s: float | None = now_boot_s + SETTLE_S
        self._window: deque[Delay] = deque(maxlen=WINDOW)
        self._cut_boot_s = -math.inf
        self._emptying: tuple[float, float] | None = None  # when the last queue was judged, and how long it was in ms
        self._used_boot_s = now_boot_s
        self._tick_boot_s = now_boot_s
        self._ping_boot_s = now_boot_s

    # --- what it wants ----------------------------------------------------------------------------------------------

    @property
    def rates(self) -> Rates:
        return Rates(round(self._down.rate_kbit), round(self._up.rate_kbit))

    @property
    def is_busy(self) -> bool:
        """Is the line in use, or are the usual delays still to be found?"""
        return self._settle_until_boot_s is not None or self._tick_boot_s - self._used_boot_s < BUSY_FOR_S

    @property
    def is_blind(self) -> bool:
        """Nobody answers, so that nothing can be decided."""
        return self._reflectors.are_silent

    @property
    def next_ping_boot_s(self) -> float:
        return self._ping_boot_s + (PING_EVERY_S if self.is_busy else IDLE_PING_EVERY_S)

    @property
    def next_tick_boot_s(self) -> float:
        return self._tick_boot_s + (TICK_S if self.is_busy else IDLE_TICK_S)

    # --- what it is told --------------------------------------------------------------------------------------------

    def ping(self, now_boot_s: float) -> tuple[str, int]:
        """The echo to send now: to whom, and with which sequence."""
        self._ping_boot_s = now_boot_s
        return self._reflectors.ask(now_boot_s)

    def answered(self, address: str, sequence: int, now_boot_s: float) -> None:
        """An answer came. One to an echo from around the last cut tells of a queue that was cut already."""
        delay = self._reflectors.answered(address, sequence, now_boot_s)
        if delay is not None and delay.sent_boot_s > self._cut_boot_s + REACT_S:
            self._window.append(delay)

    def tick(self, now_boot_s: float, down_bytes: int, up_bytes: int) -> Rates:
        """Decide anew. The bytes are those that passed so far in each direction; they may begin from 0 again."""
        elapsed_s = now_boot_s - self._tick_boot_s
        if elapsed_s <= 0:
            return self.rates
        self._tick_boot_s = now_boot_s
        if elapsed_s > PAUSE_S:
            self._forget(now_boot_s)
            elapsed_s = TICK_S
        self._down.note(now_boot_s, down_bytes)
        self._up.note(now_boot_s, up_bytes)
        if self._down.is_used or self._up.is_used:
            self._used_boot_s = now_boot_s
        self._reflectors.note_lost(now_boot_s)
        while self._window and self._window[0].sent_boot_s < now_boot_s - PAUSE_S:
            self._window.popleft()
        if self._settle_until_boot_s is not None:
            if self._reflectors.are_known or now_boot_s >= self._settle_until_boot_s:
                self._begin()
        elif self._reflectors.are_silent:
            self._hold(elapsed_s)
        elif self._is_queued():
            self._cut(now_boot_s)
        else:
            self._grow_or_return(elapsed_s)
        return self.rates

    # --- decisions --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """The usual delays were found, at the least rate: with a queue from the start it would pass for usual."""
        self._settle_until_boot_s = None
        self._window.clear()
        for direction in (self._down, self._up):
            # Where nobody ever answers nothing can be followed: then the line is shaped as if it were fixed.
            bounds = direction.bounds
            direction.set(bounds.base_kbit if self._reflectors.ever_answered else bounds.max_kbit)

    def _hold(self, elapsed_s: float) -> None:
        """Nobody answers. With traffic the echoes are blocked: the middle is the safest guess. Without, the line
        stalls: it comes back as it went."""
        self._window.clear()
        if self._reflectors.ever_answered and (self._down.is_used or self._up.is_used):
            for direction in (self._down, self._up):
                direction.approach(direction.bounds.base_kbit, RETURN_PER_S**elapsed_s)

    def _limit_ms(self, delay: Delay) -> float:
        packets_ms = sum(PACKETS_AHEAD * 12_000 / one.rate_kbit for one in (self._down, self._up))
        return max(DELAYED_MS, DELAYED_SHARE * delay.usual_ms) + packets_ms

    def _excess(self) -> float:
        """The window's mean delay as a share of what is allowed."""
        return statistics.fmean(delay.extra_ms / self._limit_ms(delay) for delay in self._window)

    def _is_queued(self) -> bool:
        return sum(delay.extra_ms > self._limit_ms(delay) for delay in self._window) >= DELAYED_OF_WINDOW

    def _cut(self, now_boot_s: float) -> None:
        extra_ms = statistics.median(delay.extra_ms for delay in self._window)
        before, self._emptying = self._emptying, (now_boot_s, extra_ms)
        excess = self._excess()
        self._window.clear()
        since_s = math.inf if before is None else now_boot_s - before[0]
        if before is not None and since_s < PAUSE_S and before[1] - extra_ms >= EMPTIES_MS_PER_S * since_s:
            return
        factor = CUT_LEAST - (CUT_LEAST - CUT_MOST) * min(1.0, max(0.0, excess - 1))
        highest = max(self._down.load, self._up.load)
        for direction in (self._down, self._up):
            if direction.is_used and direction.load >= highest / 2:
                direction.set(min(direction.rate_kbit, direction.achieved_kbit) * factor)
                self._cut_boot_s = now_boot_s

    def _grow_or_return(self, elapsed_s: float) -> None:
        for direction in (self._down, self._up):
            if direction.load >= HIGH_LOAD:
                if len(self._window) >= DELAYED_OF_WINDOW:  # not on news from before the last cut
                    room = max(0.0, 1 - self._excess())
                    usual_s = statistics.fmean(delay.usual_ms for delay in self._window) / 1000
                    grown = (1 + (GROW_PER_S - 1) * room) ** (elapsed_s / (1 + SLOWED_BY * usual_s))
                    direction.set(direction.rate_kbit * grown)
            elif direction.load < LOW_LOAD:
                direction.approach(direction.bounds.base_kbit, RETURN_PER_S**elapsed_s)

    def _forget(self, now_boot_s: float) -> None:
        self._window.clear()
        self._reflectors.forget_pending()
        self._emptying = None
        for direction in (self._down, self._up):
            direction.passed.clear()
        self._ping_boot_s = min(self._ping_boot_s, now_boot_s)
