"""Tells systemd, where that has started this process, that it is ready, alive or stopping (sd_notify(3)).

It must not know what the process does. The standard library is all it needs.
"""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger("gerbang.notify")


def notify(text: str) -> None:
    """Nothing happens where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            log.warning("systemd was not told %s: %s", text, error)


class Pulse:
    """Of a loop: ready with its first turn, alive with those after it, stopping when it ends.

    Turns are told at most twice in the time that systemd allows (sd_watchdog_enabled(3)).
    """

    def __init__(self) -> None:
        self._every_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
        self._next_s = 0.0
        self._ready = False

    def turn(self) -> None:
        if not self._ready:
            self._ready = True
            notify("READY=1")
        if self._every_s and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._every_s
            notify("WATCHDOG=1")

    def stopping(self) -> None:
        notify("STOPPING=1")
