"""A line whose rate changes while people download: the provider's end is a token bucket with 1.5 MB behind it.

It must not know what is expected of it: tests/e2e compares a gateway that follows with one that does not, bench tells.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.village import internet, measure
from tests.village.phone import Phone
from tests.village.village import Village

FAST_KBIT, SLOW_KBIT, QUEUE_BYTES = 20_000, 6000, 1_500_000
LEAST_KBIT, MOST_KBIT = 2000, 18_000
REFLECTORS = [internet.WEB, internet.DNS, internet.ROUTER]
PLAN = {"id": "warga", "name": "Warga", "down_kbit": "unlimited", "up_kbit": "unlimited", "session_minutes": 60}
LINE = {
    "down_kbit": MOST_KBIT,
    "up_kbit": MOST_KBIT,
    "min_down_kbit": LEAST_KBIT,
    "min_up_kbit": LEAST_KBIT,
    "reflectors": REFLECTORS,
}
SETTLE_S, PING_EVERY_S = 14.0, 0.2
SHORT_MS = 100.0
LOST_MS = 5000.0


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
    """Of another phone's pings: the median round trip once the slow line has settled, and after how many seconds they
    stayed below SHORT_MS (None: never). Goodput while the line is slow, and 15 s after it is fast again (None: not
    waited for)."""

    slow_ms: float
    short_after_s: float | None
    slow_mbit_s: float
    fast_mbit_s: float | None


@contextmanager
def busy_village(*, follow: bool) -> Iterator[tuple[Village, Downloads]]:
    """One phone downloads all that the line carries, the other one is idle."""
    with Village(phones=2, ipv6=False, site={"plan": [PLAN], "uplink": {**LINE, "follow": follow}}) as village:
        # Senders that fill the queue there is, as most do; a machine's own default may be one that does not (bbr).
        village.internet.ns.sysctl("net.ipv4.tcp_congestion_control", "reno")
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
    """20 -> 6 -> 20 Mbit/s under load; ``recover`` False ends it while the line is slow."""
    with busy_village(follow=follow) as (village, downloads):
        time.sleep(20 if follow else 5)
        village.internet.set_line(SLOW_KBIT, QUEUE_BYTES)
        began_s = time.monotonic()
        count = int(24 / PING_EVERY_S)
        answers = measure.ping(
            village.phones[1], internet.WEB, count=count, interval_s=PING_EVERY_S, timeout_s=LOST_MS / 1000
        )
        times_ms = [LOST_MS if ms is None else ms for ms in answers]
        settled_ms = times_ms[int(SETTLE_S / PING_EVERY_S) :]
        slow_mbit_s = downloads.mbit_s(began_s + SETTLE_S, time.monotonic())
        fast_mbit_s = None
        if recover:
            village.internet.set_line(FAST_KBIT, QUEUE_BYTES)
            time.sleep(15)
            began_s = time.monotonic()
            time.sleep(8)
            fast_mbit_s = downloads.mbit_s(began_s, time.monotonic())
        return Found(statistics.median(settled_ms), _short_after_s(times_ms), slow_mbit_s, fast_mbit_s)


def _short_after_s(times_ms: list[float]) -> float | None:
    """When a second of pings first was short, by its median."""
    width = int(1 / PING_EVERY_S)
    queue_seen = next((at for at, ms in enumerate(times_ms) if ms > SHORT_MS), 0)
    for at in range(queue_seen, len(times_ms) - width):
        if statistics.median(times_ms[at : at + width]) <= SHORT_MS:
            return at * PING_EVERY_S
    return None
