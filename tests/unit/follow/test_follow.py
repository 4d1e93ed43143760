"""Rates that follow a line: bounds whatever happens, down under a queue, slowly up, and a line that is simulated."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.domain import follow
from portal.domain.follow import Bounds, Follower
from portal.domain.reflectors import IN_TURN, LOST_AFTER_S, Reflectors

DOWN, UP = Bounds(2000, 20_000), Bounds(500, 4000)
HOSTS = tuple(f"192.0.2.{number}" for number in range(1, 7))
STEP_S = 0.01


@dataclass
class Line:
    """A line with a queue of its own, full of downloads, and echoes that stand in that queue. Fluid, in steps of 10 ms.

    ``line_kbit`` of time is what it carries; ``demand_kbit`` of time what people ask for; senders need a second to
    adapt to the shaper, and always try a little more than it lets pass. ``answers``: which hosts answer.
    """

    line_kbit: Callable[[float], float]
    demand_kbit: Callable[[float], float]
    usual_ms: Callable[[float], float] = lambda _: 40.0
    answers: Callable[[str, float], bool] = lambda host, at_s: True
    queue_ms: float = 2000.0
    follows: bool = True
    begin_s: float = 1000.0
    now_s: float = 1000.0
    extra_ms: list[tuple[float, float]] = field(default_factory=list)  # the queue's delay, each step
    passed_kbit: list[tuple[float, float]] = field(default_factory=list)
    rates: list[tuple[float, follow.Rates]] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.follower = Follower(DOWN, UP, HOSTS, self.now_s)
        self._sent_kbit = self._queue_kbit = self._total_bytes = 0.0
        self._back: list[tuple[float, str, int]] = []

    def run(self, seconds: float) -> Line:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self._step()
        return self

    def _step(self) -> None:
        self.now_s += STEP_S
        at_s = self.now_s - self.begin_s
        shaped = self.follower.rates.down_kbit if self.follows else DOWN.max_kbit
        line = self.line_kbit(at_s)
        wanted = min(self.demand_kbit(at_s), shaped * 1.1)
        self._sent_kbit += (wanted - self._sent_kbit) * STEP_S
        arriving = self._sent_kbit * STEP_S + self._queue_kbit
        carried = min(arriving, line * STEP_S)
        self._queue_kbit = min(arriving - carried, line * self.queue_ms / 1000)
        passed = min(carried, shaped * STEP_S)
        self._total_bytes += passed * 1000 / 8
        queue_ms = self._queue_kbit / line * 1000 if line else self.queue_ms
        self.extra_ms.append((at_s, queue_ms))
        self.passed_kbit.append((at_s, passed / STEP_S))
        while self._back and self._back[0][0] <= self.now_s:
            _, host, sequence = heapq.heappop(self._back)
            self.follower.answered(host, sequence, self.now_s)
        if self.now_s >= self.follower.next_ping_boot_s:
            host, sequence = self.follower.ping(self.now_s)
            self.pings.append(at_s)
            if line and self.answers(host, at_s):
                back_s = self.now_s + (self.usual_ms(at_s) + queue_ms) / 1000
                heapq.heappush(self._back, (back_s, host, sequence))
        if self.now_s >= self.follower.next_tick_boot_s:
            rates = self.follower.tick(self.now_s, int(self._total_bytes), int(self._total_bytes / 40))
            self.rates.append((at_s, rates))

    def median(self, of: list[tuple[float, float]], begin_s: float, end_s: float) -> float:
        return statistics.median(value for at_s, value in of if begin_s <= at_s < end_s)


def slower_for_a_while(at_s: float) -> float:
    return 6000 if 40 <= at_s < 80 else 20_000


@pytest.mark.parametrize("usual_ms", [40, 150, 620])
def test_a_line_that_gets_slower_loses_its_queue_and_is_used_again_when_it_is_back(usual_ms: int) -> None:
    busy = Line(slower_for_a_while, lambda _: 1e6, usual_ms=lambda _: usual_ms).run(170)
    fixed = Line(slower_for_a_while, lambda _: 1e6, follows=False).run(140)
    assert busy.median(fixed.extra_ms, 60, 80) > 1500, "a fixed shaper leaves the queue where it is"
    assert busy.median(busy.extra_ms, 60, 80) < 60
    over = [at_s for at_s, ms in busy.extra_ms if 40 <= at_s < 80 and ms > 500]
    assert over and max(over) < 55, "the queue is gone within seconds"
    assert busy.median(busy.passed_kbit, 60, 80) > 0.6 * 6000
    assert busy.median(busy.passed_kbit, 130, 170) > 0.7 * 20_000


def test_a_satellite_s_long_way_is_no_queue() -> None:
    line = Line(lambda _: 20_000, lambda _: 1e6, usual_ms=lambda at_s: 620 + 25 * (at_s * 7 % 1)).run(90)
    assert line.median(line.passed_kbit, 60, 90) > 0.7 * 20_000


def test_another_path_becomes_the_usual_one() -> None:
    line = Line(lambda _: 20_000, lambda _: 1e6, usual_ms=lambda at_s: 40 if at_s < 60 else 100).run(90)
    assert line.median(line.passed_kbit, 80, 90) < 0.5 * 20_000, "it looks like a queue at first"
    line.run(1800)
    assert line.median(line.passed_kbit, 1800, 1890) > 0.75 * 20_000


def test_without_load_it_returns_slowly_to_the_middle_and_sends_next_to_no_pings() -> None:
    line = Line(slower_for_a_while, lambda at_s: 1e6 if at_s < 75 else 100).run(75)
    low_kbit = line.follower.rates.down_kbit
    line.run(300)
    assert low_kbit < DOWN.base_kbit
    at_base = [at_s for at_s, rates in line.rates if at_s > 75 and rates.down_kbit == round(DOWN.base_kbit)]
    assert at_base
    assert at_base[0] - 75 > 0.9 * 100 * (DOWN.base_kbit / low_kbit - 1) / 2, "not faster than 1 % a second"
    assert len([at_s for at_s in line.pings if at_s > 90]) <= 30
    assert 4 <= len([at_s for at_s in line.pings if 50 <= at_s < 70]) / 20 <= 10


def test_hosts_that_stop_answering_are_replaced() -> None:
    def answers(host: str, at_s: float) -> bool:
        return at_s < 20 or host not in HOSTS[:2]

    line = Line(slower_for_a_while, lambda _: 1e6, answers=answers).run(80)
    assert set(line.follower._reflectors.in_turn) == set(HOSTS[2:])
    assert line.median(line.extra_ms, 60, 80) < 60


def drive(
    found: Follower,
    until_s: float,
    delay_s: Callable[[str, float], float],
    passes_kbit: Callable[[], tuple[float, float]],
) -> Iterator[float]:
    """Ping and tick as the thread does, from 0 s on; yields the time after each tick.

    ``delay_s`` is what each host's answer takes now, ``passes_kbit`` what passes (down, up).
    """
    now_s = down = up = 0.0
    back: list[tuple[float, str, int]] = []
    while now_s < until_s:
        now_s += STEP_S
        down_kbit, up_kbit = passes_kbit()
        down, up = down + down_kbit * STEP_S * 125, up + up_kbit * STEP_S * 125
        while back and back[0][0] <= now_s:
            _, host, sequence = heapq.heappop(back)
            found.answered(host, sequence, now_s)
        if now_s >= found.next_ping_boot_s:
            host, sequence = found.ping(now_s)
            heapq.heappush(back, (now_s + delay_s(host, now_s), host, sequence))
        if now_s >= found.next_tick_boot_s:
            found.tick(now_s, int(down), int(up))
            yield now_s


def test_one_slow_host_of_four_is_not_taken_for_a_queue() -> None:
    found = Follower(DOWN, UP, HOSTS, 0.0)
    slow = drive(found, 60, lambda host, at_s: 0.3 if host == HOSTS[1] and at_s > 20 else 0.04, lambda: (4000, 0))
    for now_s in slow:
        assert now_s < 20 or found.rates.down_kbit >= DOWN.base_kbit * 0.99


def test_nobody_ever_answers_and_the_line_is_shaped_as_if_it_were_fixed() -> None:
    line = Line(lambda _: 20_000, lambda _: 1e6, answers=lambda *_: False).run(60)
    assert line.follower.rates == (DOWN.max_kbit, UP.max_kbit)
    assert line.follower.is_blind


def test_a_line_that_stalls_comes_back_as_it_went() -> None:
    line = Line(lambda at_s: 0 if 60 <= at_s < 90 else 20_000, lambda _: 1e6).run(59)
    before = line.follower.rates.down_kbit
    line.run(31)
    assert line.follower.rates.down_kbit >= before * 0.7


def test_echoes_that_are_blocked_while_people_are_online_end_in_the_middle() -> None:
    line = Line(lambda _: 20_000, lambda _: 1e6, answers=lambda _, at_s: at_s < 60).run(60)
    assert line.follower.rates.down_kbit > 1.5 * DOWN.base_kbit
    line.run(200)
    assert line.follower.rates.down_kbit == round(DOWN.base_kbit)


@given(st.sampled_from([150.0, 400.0, 1500.0]), st.floats(0.5, 1.0))
@settings(max_examples=20)
def test_under_a_queue_that_never_goes_it_reaches_the_least_rate_soon(queue_ms: float, share: float) -> None:
    """The echoes see a queue whatever is done, as behind another customer; what passes is what is shaped."""
    found = Follower(DOWN, UP, HOSTS, 0.0)
    ticks = drive(
        found,
        60,
        lambda _, at_s: 0.04 + (queue_ms / 1000 if at_s > 10 else 0),
        lambda: (found.rates.down_kbit * share, 0),
    )
    reached_s = next(now_s for now_s in ticks if now_s > 10 and found.rates.down_kbit == DOWN.min_kbit)
    assert reached_s < 10 + 10 * (1 + queue_ms / 1000)


bounds = st.integers(8, 100_000).flatmap(lambda low: st.builds(Bounds, st.just(low), st.integers(low, 10_000_000)))
events = st.one_of(
    st.tuples(st.just("tick"), st.floats(-10, 100), st.integers(0, 10**10), st.integers(0, 10**10)),
    st.tuples(st.just("ping"), st.floats(0, 1)),
    st.tuples(st.just("answer"), st.floats(0, 10), st.integers(0, 20), st.sampled_from([*HOSTS, "203.0.113.9"])),
)


@given(bounds, bounds, st.lists(st.sampled_from(HOSTS), min_size=1, max_size=6), st.lists(events, max_size=150))
def test_rates_never_leave_their_bounds(
    down: Bounds, up: Bounds, hosts: list[str], happening: list[tuple[str, ...]]
) -> None:
    found, now_s = Follower(down, up, hosts, 500.0), 500.0
    sent: list[tuple[str, int]] = []
    for what, pause_s, *rest in happening:  # type: ignore[assignment]
        now_s += float(pause_s)
        if what == "tick":
            found.tick(now_s, *rest)  # type: ignore[arg-type]
        elif what == "ping":
            sent.append(found.ping(now_s))
            assert sent[-1][0] in hosts
        elif sent:
            found.answered(str(rest[1]), sent[-1 - int(rest[0]) % len(sent)][1], now_s)
        assert down.min_kbit <= found.rates.down_kbit <= down.max_kbit
        assert up.min_kbit <= found.rates.up_kbit <= up.max_kbit
        assert found.next_ping_boot_s > found._ping_boot_s and found.next_tick_boot_s > found._tick_boot_s


def test_a_pause_of_the_machine_is_no_queue_and_no_traffic() -> None:
    line = Line(lambda _: 20_000, lambda _: 1e6).run(60)
    before = line.follower.rates.down_kbit
    line.now_s += 7200
    line._total_bytes = 0  # netctl was started again meanwhile, too
    line.run(2)
    assert line.follower.rates.down_kbit >= before * 0.95


def test_the_direction_that_is_used_is_the_one_that_is_cut() -> None:
    found = Follower(DOWN, UP, HOSTS, 0.0)
    for _ in drive(found, 30, lambda _, at_s: 0.04 if at_s < 15 else 0.4, lambda: (1000, found.rates.up_kbit)):
        pass
    assert found.rates.up_kbit == UP.min_kbit
    assert found.rates.down_kbit >= 0.95 * DOWN.base_kbit


# --- hosts ----------------------------------------------------------------------------------------------------------


def test_hosts_are_asked_in_turn_and_each_delay_is_against_its_own_usual_one() -> None:
    hosts = Reflectors(HOSTS)
    extra: dict[str, float] = {}
    for number in range(40):
        address, sequence = hosts.ask(float(number))
        assert address == HOSTS[number % IN_TURN]
        usual_s = 0.02 * (1 + HOSTS.index(address))
        late_s = 0.05 if number >= 36 else 0.0
        delay = hosts.answered(address, sequence, number + usual_s + late_s)
        assert delay is not None
        extra[address] = delay.extra_ms
    assert all(ms == pytest.approx(50, rel=0.02) for ms in extra.values())


def test_answers_of_nobody_are_ignored() -> None:
    hosts = Reflectors(HOSTS)
    address, sequence = hosts.ask(10.0)
    assert hosts.answered(address, sequence + 1, 10.1) is None
    assert hosts.answered("203.0.113.9", sequence, 10.1) is None
    assert hosts.answered(address, sequence, 9.0) is None
    assert hosts.answered(address, sequence, 10.1 + LOST_AFTER_S) is None
    assert hosts.answered(address, sequence, 10.1) is not None
    assert hosts.answered(address, sequence, 10.1) is None


def test_a_line_that_is_down_is_no_fault_of_the_hosts() -> None:
    hosts = Reflectors(HOSTS)
    for number in range(100):
        hosts.ask(float(number))
        hosts.note_lost(float(number))
    assert hosts.in_turn == HOSTS[:IN_TURN]
    assert hosts.are_silent and not hosts.ever_answered


def test_a_single_host_is_never_lost() -> None:
    hosts = Reflectors(["192.0.2.1", "192.0.2.1"])
    for number in range(100):
        address, sequence = hosts.ask(float(number))
        if number % 2:
            hosts.answered(address, sequence, number + 0.1)
        hosts.note_lost(float(number))
    assert hosts.in_turn == ("192.0.2.1",)
