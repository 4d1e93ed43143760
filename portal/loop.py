"""One thread's loop: calls what was asked for when a descriptor is ready, a time has come or a signal arrives.

It must not know what is called. The standard library is all it needs.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable

from portal.logline import log


class Loop:
    """Takes SIGTERM, SIGINT and SIGHUP, which ``signals`` counts."""

    def __init__(self) -> None:
        self.signals = 0
        self._timers: dict[str, tuple[float, Callable[[], object]]] = {}
        self._selector = selectors.DefaultSelector()
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        self._wake_writer = wake  # the interpreter writes to it; it must stay open
        signal.set_wakeup_fd(wake.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        self.watch(self._wake.fileno(), self._drain_wake)

    def _signalled(self, number: int, _frame: object) -> None:
        self.signals += 1
        log(
            "gerbang",
            f"{signal.Signals(number).name}: " + ("stopping" if self.signals == 1 else "killing what is left"),
        )

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)

    def watch(self, descriptor: int, call: Callable[[], object], *, writing: bool = False) -> None:
        """Call whenever ``descriptor`` can be read (or written), until ``unwatch``; one call for each descriptor."""
        self.unwatch(descriptor)
        self._selector.register(descriptor, selectors.EVENT_WRITE if writing else selectors.EVENT_READ, call)

    def unwatch(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(descriptor)

    def after(self, name: str, seconds: float, call: Callable[[], object]) -> None:
        """Call once after ``seconds``; a timer of the same name is replaced."""
        self._timers[name] = (time.monotonic() + seconds, call)

    def cancel(self, name: str) -> None:
        self._timers.pop(name, None)

    def left_s(self, name: str) -> float | None:
        """Seconds until this timer; None where there is none."""
        timer = self._timers.get(name)
        return None if timer is None else max(0.0, timer[0] - time.monotonic())

    def run_until(self, done: Callable[[], bool], within_s: float | None = None) -> bool:
        """Serve events until ``done`` or, after ``within_s``, not; False then."""
        end = None if within_s is None else time.monotonic() + within_s
        while not done():
            now = time.monotonic()
            if end is not None and now >= end:
                return False
            self.look(now)
            for name, (at, call) in list(self._timers.items()):
                if at <= now:
                    self.cancel(name)
                    call()
            due = [*self.due(), *(at for at, _ in self._timers.values()), *([] if end is None else [end])]
            for key, _ in self._selector.select(max(0.0, min(due) - time.monotonic()) if due else None):
                key.data()
        return True

    def look(self, now: float) -> None:
        """Of who builds upon it: what is due at each turn, ``now`` (monotonic)."""

    def due(self) -> list[float]:
        """When (monotonic) ``look`` has something to do."""
        return []
