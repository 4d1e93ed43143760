"""Limits wrong codes and passwords, by each device and at the whole site. Pure: time is handed in; nothing is stored.

A window that slides over the wrong attempts themselves, rather than a bucket that refills: it is exactly what is
promised ("5 in 10 minutes"), and its memory is bounded by the site's limit, however many devices are made up.
"""

from __future__ import annotations

import threading
from collections import Counter, deque

IN_FLIGHT_S = 1.0  # to wait for attempts of one's own that are not answered yet


class Attempts:
    """For one process and any number of threads. ``key`` is who tries: a MAC, an address."""

    def __init__(self, per_key: int = 5, in_all: int = 60, window_s: float = 600.0) -> None:
        self._per_key = per_key
        self._in_all = in_all
        self._window_s = window_s
        self._wrong: deque[tuple[float, str]] = deque()  # (boot_s, key), oldest first
        self._trying: Counter[str] = Counter()  # not settled yet: parallel tries must not pass the limit together
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Wrong attempts remembered: at most ``in_all``, and what was in flight when it was reached."""
        return len(self._wrong)

    def begin(self, key: str, boot_s: float) -> float:
        """0: try, then `settle` in any case. Else the seconds to wait, and nothing may be tried."""
        with self._lock:
            while self._wrong and self._wrong[0][0] <= boot_s - self._window_s:
                self._wrong.popleft()
            own = [at_boot_s for at_boot_s, who in self._wrong if who == key]
            waits_s = [IN_FLIGHT_S] if len(own) + self._trying[key] >= self._per_key else []
            for wrong, most in ((own, self._per_key), ([at for at, _ in self._wrong], self._in_all)):
                if len(wrong) >= most:
                    waits_s.append(wrong[-most] + self._window_s - boot_s)
            if waits_s:
                return max(waits_s)
            self._trying[key] += 1
            return 0.0

    def settle(self, key: str, boot_s: float, *, wrong: bool) -> None:
        """How the attempt that `begin` allowed went. A right one forgives no earlier wrong one."""
        with self._lock:
            self._trying[key] -= 1
            if not self._trying[key]:
                del self._trying[key]
            if wrong:
                self._wrong.append((boot_s, key))
