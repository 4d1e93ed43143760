"""Looks again and again at what the gateway's processes cannot notice: the certificate and whether the clock is set.

It must not know what stands in a certificate nor in dnsmasq's configuration: a short-lived child (portal.prepare)
writes that again, and this part compares. The standard library is all it needs.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from portal.logline import log
from portal.processes import Processes
from portal.programs import Orders

NAME = "renewals"
FIRST_S = 15.0
"""Until the first look. Each wait is twice the last: a box starts without the time and has it a moment later."""


class Renewals:
    """``orders`` is asked each time for those that hold then; ``every_s`` is the longest time between two looks."""

    def __init__(self, processes: Processes, orders: Callable[[], Orders], every_s: float) -> None:
        self._processes = processes
        self._orders = orders
        self._every_s = every_s
        self._wait_s = min(FIRST_S, every_s)
        self._seen = _identity(orders().certificate)

    def begin(self) -> None:
        self._processes.after(NAME, self._wait_s, self._look)
        self._wait_s = min(2 * self._wait_s, self._every_s)

    def _look(self) -> None:
        orders = self._orders()
        if orders.refresh and _refreshed(orders.refresh, Path(orders.run) / "dnsmasq.conf"):
            self._processes.renew("dnsmasq", "the certificate or the clock changed what DHCP announces")
        found = _identity(orders.certificate)
        if found != self._seen:
            self._processes.renew("guest-tls", "the certificate changed")
        self._seen = found
        self.begin()


def _identity(path: str | None) -> tuple[int, int] | None:
    """Tells one state of a file from another; None without a file."""
    with contextlib.suppress(OSError):
        if path is not None:
            found = Path(path).stat()
            return found.st_ino, found.st_mtime_ns
    return None


def _refreshed(command: Sequence[str], configuration: Path) -> bool:
    """Did writing the configuration again change it?"""
    try:
        before = configuration.read_bytes()
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=30)
        return configuration.read_bytes() != before
    except (OSError, subprocess.SubprocessError) as error:
        log("gerbang", f"dnsmasq's configuration could not be looked at again: {error}")
        return False
