"""A line whose rate changes under load: with `follow` its queue goes away and its rate is used again; without, neither.

The provider's end is a token bucket with 1.5 MB behind it, as a modem has. Figures are compared with those of the same
village without `follow`, measured in the same run.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.village import internet, measure
from tests.village.gateway import GerbangGateway
from tests.village.phone import Phone
from tests.village.village import Village

FAST_KBIT, SLOW_KBIT, QUEUE_BYTES = 20_000, 6000, 1_500_000
REFLECTORS = [internet.WEB, internet.DNS, internet.ROUTER]
PLAN = {"id": "warga", "name": "Warga", "down_kbit": "unlimited", "up_kbit": "unlimited", "session_minutes": 60}
LINE = {"down_kbit": 18_000, "up_kbit": 18_000, "min_down_kbit": 2000, "min_up_kbit": 2000, "reflectors": REFLECTORS}


class Downloads:
    """Eight downloads that never end, and when how much of them arrived."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._arrived: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._read, daemon=True) for _ in range(8)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        while not self._ended.is_set():
            with self._phone.connect(internet.WEB, 80, timeout_s=20) as sock:
                sock.sendall(f"GET /bytes?seconds=600 HTTP/1.1\r\nHost: {internet.HOST}\r\n\r\n".encode())
                while not self._ended.is_set() and (part := sock.recv(65536)):
                    self._arrived.append((time.monotonic(), len(part)))

    def mbit_s(self, begin_s: float, end_s: float) -> float:
        return sum(size for at_s, size in list(self._arrived) if begin_s <= at_s < end_s) * 8e-6 / (end_s - begin_s)

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(20)


@dataclass(frozen=True)
class Found:
    """Median round trip of another phone's pings and the goodput, while the line is slow and after it is fast again."""

    slow_ms: float
    slow_mbit_s: float
    fast_mbit_s: float


@contextmanager
def busy_village(*, follow: bool) -> Iterator[tuple[Village, Downloads]]:
    with Village(phones=2, ipv6=False, site={"plan": [PLAN], "uplink": {**LINE, "follow": follow}}) as village:
        village.internet.set_line(FAST_KBIT, QUEUE_BYTES)
        village.dhcp_all()
        for phone in village.phones:
            phone.login()
        downloads = Downloads(village.phones[0])
        try:
            yield village, downloads
        finally:
            downloads.close()


def lived_through(*, follow: bool, recover: bool) -> Found:
    """20 -> 6 -> 20 Mbit/s under load."""
    with busy_village(follow=follow) as (village, downloads):
        gateway = village.gateway
        assert isinstance(gateway, GerbangGateway)
        time.sleep(20 if follow else 5)
        village.internet.set_line(SLOW_KBIT, QUEUE_BYTES)
        time.sleep(14)
        began_s = time.monotonic()
        answers = measure.ping(village.phones[1], internet.WEB, count=40, interval_s=0.2, timeout_s=5)
        slow_mbit_s = downloads.mbit_s(began_s, time.monotonic())
        times_ms = [5000.0 if ms is None else ms for ms in answers]
        fast_mbit_s = 0.0
        if recover:
            village.internet.set_line(FAST_KBIT, QUEUE_BYTES)
            time.sleep(15)
            began_s = time.monotonic()
            time.sleep(8)
            fast_mbit_s = downloads.mbit_s(began_s, time.monotonic())
            link = gateway.netctl().link()
            assert 2000 <= (link.down_kbit or 0) <= 18_000
        return Found(statistics.median(times_ms), slow_mbit_s, fast_mbit_s)


@pytest.mark.timeout(300)
def test_a_line_that_gets_slower_and_faster_again() -> None:
    followed = lived_through(follow=True, recover=True)
    fixed = lived_through(follow=False, recover=False)
    said = f"followed: {followed}, fixed: {fixed}"
    assert fixed.slow_ms > 100, f"the line makes no queue: {said}"
    assert followed.slow_ms * 3 < fixed.slow_ms, said
    assert followed.slow_mbit_s > 0.4 * SLOW_KBIT / 1000, said
    assert followed.fast_mbit_s > 1.5 * SLOW_KBIT / 1000, said
