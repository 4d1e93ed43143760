"""A day's figures and rates add up, whatever the clocks did: portal.domain.figures, portal.rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netctl.api.errors import NetctlError
from portal.domain.figures import HOUR_S, Busiest, Stay, busiest_hour
from portal.rates import Rate, Rates
from tests.unit.portal.fakes import Clock, Netctl, unreachable

MIDNIGHT = 1_800_000_000.0


def at(hour: float) -> float:
    return MIDNIGHT + hour * HOUR_S


def test_the_hour_with_the_most_different_devices() -> None:
    stays = [
        Stay("a", at(8.5), at(9.2)),
        Stay("b", at(9.0), at(9.1)),
        Stay("b", at(9.5), at(9.6)),  # came back: one device
        Stay("c", at(9.9), None),
        Stay("d", at(10.5), None),
        Stay("e", at(-3), at(-1)),  # yesterday
    ]
    assert busiest_hour(stays, MIDNIGHT, at(10.7)) == Busiest(at(9), 3)
    assert busiest_hour([], MIDNIGHT, at(10)) is None
    assert busiest_hour(stays[-1:], MIDNIGHT, at(10)) is None


def test_of_two_hours_the_earlier() -> None:
    assert busiest_hour([Stay("a", at(3.1), None)], MIDNIGHT, at(6)) == Busiest(at(3), 1)


@given(
    st.lists(
        st.builds(
            lambda mac, begin, length: Stay(mac, at(begin), None if length is None else at(begin + length)),
            st.sampled_from("abcdef"),
            st.floats(-30, 30),
            st.none() | st.floats(0, 20),
        ),
        max_size=20,
    ),
    st.floats(0, 24),
)
def test_the_busiest_hour_holds_no_more_devices_than_there_were(stays: list[Stay], now: float) -> None:
    found = busiest_hour(stays, MIDNIGHT, at(now))
    if found is None:
        assert not any(
            stay.started_wall_s <= at(now) and (stay.ended_wall_s is None or stay.ended_wall_s >= MIDNIGHT)
            for stay in stays
        )
        return
    assert MIDNIGHT <= found.from_wall_s <= at(now)
    there = {
        stay.mac
        for stay in stays
        if stay.started_wall_s < found.from_wall_s + HOUR_S
        and (stay.ended_wall_s is None or stay.ended_wall_s >= found.from_wall_s)
    }
    assert len(there) >= found.devices >= 1


class TestRates:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def netctl(self, clock: Clock) -> Netctl:
        return Netctl(clock)

    @pytest.fixture
    def rates(self, netctl: Netctl, clock: Clock) -> Rates:
        return Rates(netctl, clock)

    def test_bytes_between_two_readings(self, rates: Rates, netctl: Netctl, clock: Clock) -> None:
        netctl.send(7, up=1, down=1)
        assert rates.read() == {}
        netctl.send(7, up=10_000, down=1_000_000)
        netctl.send(7, up=0, down=250_000, ip="fd00::7")  # the same device by IPv6 is new, and counts from nothing
        clock.forward(10)
        assert rates.read()[7] == Rate(pytest.approx(1000, rel=1e-4), pytest.approx(8, rel=1e-4))

    def test_two_pages_at_once_get_the_same(self, rates: Rates, netctl: Netctl, clock: Clock) -> None:
        netctl.send(7, up=0, down=0)
        rates.read()
        netctl.send(7, up=0, down=1_000_000)
        clock.forward(5)
        first = rates.read()
        calls = netctl.calls["usage"]
        assert rates.read() == first
        assert netctl.calls["usage"] == calls

    def test_after_a_long_pause_nothing_is_said(self, rates: Rates, netctl: Netctl, clock: Clock) -> None:
        netctl.send(7, up=0, down=0)
        rates.read()
        clock.forward(61)
        assert rates.read() == {}

    def test_a_counter_that_went_back_gives_no_negative_rate(self, rates: Rates, netctl: Netctl, clock: Clock) -> None:
        netctl.send(7, up=500, down=500)
        rates.read()
        netctl.counters.clear()
        netctl.send(7, up=1, down=1)
        clock.forward(5)
        assert rates.read() == {7: Rate(0, 0)}

    def test_a_netctl_that_is_away_raises_and_the_next_goes_on(
        self, rates: Rates, netctl: Netctl, clock: Clock
    ) -> None:
        netctl.send(7, up=0, down=0)
        rates.read()
        clock.forward(5)
        netctl.failing = unreachable()
        with pytest.raises(NetctlError):
            rates.read()
        netctl.failing = None
        netctl.send(7, up=0, down=1_000_000)
        clock.forward(5)
        assert rates.read()[7].down_kbit == pytest.approx(800, rel=1e-4)
