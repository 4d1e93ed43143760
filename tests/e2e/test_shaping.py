"""The plan's rate holds whatever is sent, both ways, and the line stays usable under it. Closer figures: the bench."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.conftest import NewPhone
from tests.village import measure, story
from tests.village.gateway import GerbangGateway
from tests.village.internet import WEB
from tests.village.phone import Phone
from tests.village.village import Village

DOWN_MBIT_S, UP_MBIT_S = story.DOWN_KBIT / 1000, story.UP_KBIT / 1000
LOW, HIGH = story.RATE_BAND
PING_UNDER_LOAD_MS = 150  # unshaped, or with a common queue, it is a second


def _within(mbit_s: float, plan_mbit_s: float) -> bool:
    return LOW * plan_mbit_s <= mbit_s <= HIGH * plan_mbit_s


def test_udp_that_asks_nobody_how_fast_it_may_gets_the_plan_and_no_more(village: Village, new_phone: NewPhone) -> None:
    """Three times the plan is offered in each direction, by two phones at the same time."""
    one, two = new_phone(), new_phone()
    one.login()
    two.login()
    host = village.internet.host
    with ThreadPoolExecutor(2) as pool:
        down = pool.submit(measure.udp_down, one, host, int(DOWN_MBIT_S * 3000), 2.5)
        up = pool.submit(measure.udp_up, two, host, int(UP_MBIT_S * 3000), 2.5)
    assert _within(down.result().mbit_s, DOWN_MBIT_S), down.result()
    assert _within(up.result().mbit_s, UP_MBIT_S), up.result()


def test_what_a_full_queue_drops_is_not_charged(village: Village, gateway: GerbangGateway, new_phone: NewPhone) -> None:
    """Five times the plan comes for it; what is counted is what it got, to the byte."""
    phone = new_phone()
    phone.login()
    time.sleep(0.2)
    before = gateway.usage(phone.mac)
    with measure.Tap(phone) as tap:
        measure.udp_down(phone, village.internet.host, int(DOWN_MBIT_S * 5000), 2.0)
        time.sleep(0.5)
    after = gateway.usage(phone.mac)
    assert tap.dropped == 0
    assert after[1] - before[1] == tap.down_bytes
    assert tap.down_bytes > 1_000_000


def test_many_connections_get_no_more_than_one(village: Village, phone: Phone) -> None:
    phone.login()
    together = measure.tcp_down_flows(phone, village.internet.host, flows=8, seconds=2.5).mbit_s
    assert together <= HIGH * DOWN_MBIT_S


def test_a_full_line_delays_neither_its_own_user_much_nor_the_neighbour(village: Village, new_phone: NewPhone) -> None:
    busy, quiet = new_phone(), new_phone()
    busy.login()
    quiet.login()
    with ThreadPoolExecutor(1) as pool:
        download = pool.submit(measure.tcp_down, busy, village.internet.host, 3.0)
        own = measure.ping(busy, WEB, count=20, interval_s=0.1)
        neighbours = measure.ping(quiet, WEB, count=10, interval_s=0.1)
    assert _within(download.result().mbit_s, DOWN_MBIT_S)
    heard = sorted(rtt for rtt in own if rtt is not None)
    assert len(heard) >= 15
    assert heard[len(heard) // 2] < PING_UNDER_LOAD_MS
    assert None not in neighbours
    assert sorted(rtt for rtt in neighbours if rtt is not None)[len(neighbours) // 2] < 20
