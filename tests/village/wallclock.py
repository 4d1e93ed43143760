"""A wall clock of the gateway's Python programs alone, turned by hand; the machine's own stays as it is.

It must not know what the programs do with it. CLOCK_BOOTTIME and CLOCK_MONOTONIC go on as ever: only time.time() is
moved, by an offset in a file of the box that each call reads, so that turning it reaches programs that run.
"""

from __future__ import annotations

import time

from tests.village.gateway import Gateway

_PLACE = "/run/wallclock"
# Python imports a module of this name by itself at start, from wherever PYTHONPATH says (site, Python's library).
_MODULE = f"""
import time

real = time.time


def moved():
    with open("{_PLACE}/offset") as file:
        return real() + float(file.read())


time.time = moved
"""


class WallClock:
    """Of a gateway that has not been started yet."""

    def __init__(self, gateway: Gateway, wall_s: float) -> None:
        self._box = gateway.box
        self._offset_s = 0.0
        self.turn(wall_s)
        self._box.write(f"{_PLACE}/sitecustomize.py", _MODULE)
        gateway.environment["PYTHONPATH"] = _PLACE

    def turn(self, wall_s: float) -> None:
        """From now on it goes on from ``wall_s`` (Unix seconds)."""
        self._offset_s = wall_s - time.time()
        target = self._box.root / _PLACE.lstrip("/") / "offset"
        self._box.write(f"{_PLACE}/next", repr(self._offset_s))
        target.with_name("next").replace(target)  # never half a number

    def now(self) -> float:
        return time.time() + self._offset_s
