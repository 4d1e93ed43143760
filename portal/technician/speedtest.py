"""Measures how fast the gateway itself fetches a file: at most ten seconds, so many bytes, one measurement at a time.

It is the line that is measured, not a user's share: the gateway's own traffic passes no user's class. It must not know
pages or site.toml.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from portal.domain.model import Now

SECONDS: Final = 10.0
MAX_BYTES: Final = 250_000_000  # ten seconds at 200 Mbit/s; a metered line pays for each of them
TIMEOUT_S: Final = 5.0
CHUNK_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Measured:
    """``mbit_s``: payload over the time since its first byte. ``problem``: a code, where nothing could be measured:
    refused, silent, status, empty. ``limited``: the file or the limit of bytes ended before the ten seconds did."""

    wall_s: float
    mbit_s: float | None = None
    received_bytes: int = 0
    seconds: float = 0.0
    problem: str | None = None
    limited: bool = False


def measure(url: str, wall_s: float, clock: Callable[[], float] = time.monotonic) -> Measured:
    """Fetch ``url`` (plain http). Never raises for what the network does."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return Measured(wall_s, problem="refused")
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT_S)
    try:
        connection.request("GET", target, headers={"Accept-Encoding": "identity", "Connection": "close"})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            return Measured(wall_s, problem="status")
        return _receive(answer, wall_s, clock)
    except TimeoutError:
        return Measured(wall_s, problem="silent")
    except (OSError, http.client.HTTPException):
        return Measured(wall_s, problem="refused")
    finally:
        connection.close()


def _receive(answer: http.client.HTTPResponse, wall_s: float, clock: Callable[[], float]) -> Measured:
    received, began, now, whole = 0, clock(), clock(), False
    with contextlib.suppress(TimeoutError):  # a line that stops half way was as fast as it was until then
        while now - began < SECONDS and received < MAX_BYTES:
            chunk = answer.read1(CHUNK_BYTES)
            now = clock()
            if not chunk:
                whole = True
                break
            received += len(chunk)
    seconds = max(now - began, 0.0)
    if not received or seconds == 0:
        return Measured(wall_s, problem="empty")
    return Measured(
        wall_s,
        mbit_s=received * 8 / seconds / 1e6,
        received_bytes=received,
        seconds=seconds,
        limited=whole or received >= MAX_BYTES,
    )


class SpeedTest:
    """The measurement of one process: started by a click, its last result kept. For any number of threads."""

    def __init__(self, read_clock: Callable[[], Now], work: Callable[[str, float], Measured] = measure) -> None:
        self._read_clock, self._work = read_clock, work
        self._lock = threading.Lock()
        self._running = False
        self._last: Measured | None = None

    @property
    def running(self) -> bool:
        return self._running

    @property
    def last(self) -> Measured | None:
        return self._last

    def start(self, url: str) -> bool:
        """Measure in a thread of its own; False where one measures already."""
        with self._lock:
            if self._running:
                return False
            self._running = True
        threading.Thread(target=self._measure, args=(url,), name="speedtest", daemon=True).start()
        return True

    def _measure(self, url: str) -> None:
        try:
            self._last = self._work(url, self._read_clock().wall_s)
        finally:
            self._running = False
