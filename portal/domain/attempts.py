"""Limits wrong codes and passwords, by each device and at the whole site. Pure: time is handed in; nothing is stored.

A window that slides over the wrong attempts themselves, rather than a bucket that refills: it is exactly what is
promised ("5 in 10 minutes"), and its memory is bounded by the site's limit, however many devices are made up.
"""

from __future__ import annotations

import threading
from collections import Counter, deque


class Attempts:
    """For one process and any number of threads. ``key`` is who tries: a MAC, an address."""

    def __init__(self, per_key: int = 5, in_all: int = 60, window_s: float = 600.0) -> None:
        self._per_key = per_key
        self._in_all = in_all
        self._window_s = window_s
        self._wrong: deque[tuple[float, str]] = deque()  # (boot_s, key), oldest first
        self._trying: Counter[str] = Counter()  # not settled yet: parallel tries must not pass the limit together
        self._lock = threading.Lock()

    def begin(self, key: str, boot_s: float) -> float:
        """0: try, then `settle` in any case. Else the seconds to wait, and nothing may be tried."""
        raise NotImplementedError

    def settle(self, key: str, boot_s: float, *, wrong: bool) -> None:
        """How the attempt that `begin` allowed went. A right one forgives no earlier wrong one."""
        raise NotImplementedError
