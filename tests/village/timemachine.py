"""A gateway's clocks, turned by hand: time that passes in no time, reboots, a wall clock that is wrong, NTP that comes.

It must not know what the programs do with them. Only the box's Python programs see these clocks, CLOCK_MONOTONIC goes
on as ever (so that their waiting takes as long as it does), and the machine's own stay as they are.
"""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path

from tests.village.gateway import RUN, GerbangGateway

_PLACE = "/run/clocks"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_SYNCHRONIZED = "/run/systemd/timesync/synchronized"  # how systemd-timesyncd says that NTP has set the clock
# Python imports a module of this name by itself at start, from wherever PYTHONPATH says (site, Python's library).
_MODULE = f"""
import time

real_time, real_clock, real_clock_ns = time.time, time.clock_gettime, time.clock_gettime_ns


def moved():
    with open("{_PLACE}/moved") as file:
        return [float(word) for word in file.read().split()]


def clock_gettime(number):
    return real_clock(number) + (moved()[1] if number == time.CLOCK_BOOTTIME else 0.0)


def clock_gettime_ns(number):
    return real_clock_ns(number) + (int(moved()[1] * 1e9) if number == time.CLOCK_BOOTTIME else 0)


time.time = lambda: real_time() + moved()[0]
time.clock_gettime, time.clock_gettime_ns = clock_gettime, clock_gettime_ns
"""


class TimeMachine:
    """Of a gateway that has not been started yet. ``true()`` is what time it really is in the village."""

    def __init__(self, gateway: GerbangGateway, true_wall_s: float, *, uptime_s: float = 20.0) -> None:
        self._gateway = gateway
        self._box = gateway.box
        self._passed_s = true_wall_s - time.time()
        self._wrong_s = 0.0
        self._booted_true_s = 0.0
        self._box.write(f"{_PLACE}/sitecustomize.py", _MODULE)
        self._box.write(f"{_PLACE}/boot_id", "")
        gateway.environment["PYTHONPATH"] = _PLACE
        self._begin_boot(uptime_s)
        mounted = self._box.run(["mount", "--bind", f"{_PLACE}/boot_id", _BOOT_ID])
        assert mounted.returncode == 0, mounted.stderr

    def true(self) -> float:
        return time.time() + self._passed_s

    def uptime(self) -> float:
        """CLOCK_BOOTTIME of this boot."""
        return self.true() - self._booted_true_s

    def pass_until(self, true_wall_s: float) -> None:
        """It is then at once; the gateway was on all the time, as if it had been suspended."""
        assert true_wall_s > self.true(), "time does not go back"
        self._passed_s = true_wall_s - time.time()
        self._write()

    def show(self, wall_s: float | None) -> None:
        """The wall clock shows this from now on; None: what it really is."""
        self._wrong_s = 0.0 if wall_s is None else wall_s - self.true()
        self._write()

    def trust(self, trusted: bool) -> None:
        """NTP has set the clock, or nobody knows any more."""
        flag = self._box.root / _SYNCHRONIZED.lstrip("/")
        if trusted:
            self._box.write(_SYNCHRONIZED, "")
        else:
            flag.unlink(missing_ok=True)

    def reboot(self, back_true_wall_s: float, *, uptime_s: float = 20.0) -> None:
        """The machine, whose programs have ended or were cut off, is on again then: another boot, nothing in the kernel
        or in RAM, NTP far away."""
        netctl = str(Path(sys.prefix) / "bin" / "netctl")
        cleaned = self._box.run([netctl, "cleanup", "--config", str(RUN / "netctl.json")])
        assert cleaned.returncode == 0, cleaned.stderr
        for entry in self._gateway.run_dir.iterdir():
            entry.unlink()
        self.trust(False)
        self._passed_s = back_true_wall_s - time.time()
        self._begin_boot(uptime_s)

    def _begin_boot(self, uptime_s: float) -> None:
        self._booted_true_s = self.true() - uptime_s
        place = Path(self._box.root / _PLACE.lstrip("/"))
        (place / "boot_id").write_text(f"{uuid.uuid4()}\n")  # in place: it is mounted
        self._write()

    def _write(self) -> None:
        wall_s = self._passed_s + self._wrong_s
        boot_s = self.uptime() - time.clock_gettime(time.CLOCK_BOOTTIME)
        self._box.write(f"{_PLACE}/next", f"{wall_s!r} {boot_s!r}")
        place = self._box.root / _PLACE.lstrip("/")
        (place / "next").replace(place / "moved")  # never half a number
