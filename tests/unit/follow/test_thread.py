"""What the follower's thread does with netctl and pings: portal.follow with both faked, on a clock of the test's."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from netctl.api.errors import UNREACHABLE, NetctlError
from netctl.api.types import Link
from portal import follow
from portal.config import Uplink
from portal.domain.follow import Bounds

FOLLOWED = Uplink(follow=True, down_kbit=20_000, up_kbit=4000, min_down_kbit=3000)


class World:
    """netctl, the network and the clock in one: downloads fill what is shaped, ``queue_s`` is the line's delay."""

    def __init__(self, until_s: float) -> None:
        self.now_s = 100.0
        self.until_s = until_s
        self.stop = threading.Event()
        self.rates: tuple[int | None, int | None] = (20_000, 4000)
        self.told: list[tuple[float, int | None, int | None]] = []
        self.sent: list[tuple[float, str]] = []
        self.closed = 0
        self.refuses: list[Exception] = []
        self.away_until_s = 0.0
        self.queue_s = 0.0
        self.answering = True
        self._bytes = 0.0
        self._counted_s = 100.0
        self._back: list[tuple[float, str, int]] = []

    # the clock

    def boot_s(self) -> float:
        return self.now_s

    def _pass(self, seconds: float) -> None:
        self.now_s += max(0.001, seconds)
        if self.now_s >= self.until_s:
            self.stop.set()

    # netctl

    def link(self) -> Link:
        if self.now_s < self.away_until_s:
            raise NetctlError(UNREACHABLE, "No netctl.", "Start it.")
        self._bytes += (self.rates[0] or 20_000) * 125 * (self.now_s - self._counted_s)
        self._counted_s = self.now_s
        return Link(down_kbit=self.rates[0], up_kbit=self.rates[1], down_bytes=int(self._bytes), up_bytes=0)

    def shape_link(self, down_kbit: int | None, up_kbit: int | None) -> Link:
        found = self.link()
        self.told.append((self.now_s, down_kbit, up_kbit))
        self.rates = (down_kbit, up_kbit)
        return found

    # the pinger

    def open(self) -> World:
        if self.refuses:
            raise self.refuses.pop()
        return self

    def send(self, address: str, sequence: int) -> bool:
        self.sent.append((self.now_s, address))
        if self.answering:
            self._back.append((self.now_s + 0.03 + self.queue_s, address, sequence))
        return True

    def answers(self, timeout_s: float) -> Iterator[tuple[str, int, float]]:
        due_s = min([self.now_s + timeout_s, *(at_s for at_s, _, _ in self._back)])
        self._pass(due_s - self.now_s)
        for entry in [entry for entry in self._back if entry[0] <= self.now_s]:
            self._back.remove(entry)
            yield entry[1], entry[2], self.now_s

    def close(self) -> None:
        self.closed += 1

    def run(self, uplink: Uplink) -> World:
        world = self

        class Stop(threading.Event):
            def is_set(self) -> bool:
                return world.stop.is_set()

            def wait(self, timeout: float | None = None) -> bool:
                world._pass(timeout or 0.0)
                return world.stop.is_set()

        follow.LinkFollower(uplink, self, self.open, self.boot_s).run(Stop())
        return self


def test_a_site_that_does_not_follow_sets_what_is_configured_once_and_never_pings() -> None:
    world = World(200).run(Uplink(down_kbit=20_000, up_kbit=4000))
    assert world.told == [(100.0, None, None)]
    assert not world.sent


def test_the_least_rate_is_a_tenth_unless_site_toml_says_otherwise() -> None:
    assert follow.bounds(FOLLOWED) == (Bounds(3000, 20_000), Bounds(400, 4000))
    assert follow.bounds(Uplink(follow=True, down_kbit=300, up_kbit=64)) == (Bounds(64, 300), Bounds(64, 64))
    assert follow.bounds(Uplink(down_kbit=300, up_kbit=64)) is None


def test_it_starts_low_and_grows_while_the_line_is_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    world = World(160).run(FOLLOWED)
    assert world.told[0][1:] == (3000, 400)
    assert world.rates[0] == 20_000
    assert {address for _, address in world.sent} == set(FOLLOWED.reflectors[:4])
    assert world.closed == 1
    assert caplog.text.count("followed from 3000/400 kbit/s") == 1


def test_a_queue_is_met_within_seconds() -> None:
    class Worse(World):
        def _pass(self, seconds: float) -> None:
            super()._pass(seconds)
            self.queue_s = 0.4 if self.now_s > 160 else 0.0

    world = Worse(175).run(FOLLOWED)
    assert world.rates[0] == 3000
    assert next(at_s for at_s, down_kbit, _ in world.told if at_s > 160 and (down_kbit or 0) < 16_000) < 164


def test_netctl_away_is_said_once_and_the_rates_are_set_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World(160)
    world.away_until_s = 130
    world.run(FOLLOWED)
    assert caplog.text.count("No netctl.") == 1
    assert min(at_s for at_s, _, _ in world.told) >= 130
    assert world.rates[0] is not None and world.rates[0] > 3000


def test_netctl_that_was_started_again_is_told_again() -> None:
    class Forgetful(World):
        def _pass(self, seconds: float) -> None:
            before_s = self.now_s
            super()._pass(seconds)
            if before_s <= 150 < self.now_s:
                self.rates, self._bytes, self.queue_s = (20_000, 4000), 0.0, 0.0

    world = Forgetful(152).run(Uplink(follow=True, down_kbit=20_000, up_kbit=4000, min_up_kbit=500))
    assert world.rates[1] is not None and world.rates[1] < 4000


def test_pings_that_are_refused_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World(130)
    world.refuses = [PermissionError(13, "Permission denied")] * 5
    world.run(FOLLOWED)
    assert caplog.text.count("pings are refused") == 1
    assert world.sent and world.sent[0][0] >= 110


def test_silence_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World(160)
    world.answering = False
    world.run(FOLLOWED)
    assert caplog.text.count("No reflector answers") == 1
    assert world.rates == (20_000, 4000), "as if it were fixed"
