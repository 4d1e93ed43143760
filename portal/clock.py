"""Reads the clocks: boot time, boot id, wall time, and whether the wall clock is to be trusted. It must not know SQL.

CLOCK_BOOTTIME (clock_gettime(2)) counts suspend too, never jumps, and is the same for every process of one boot; the
boot id (random(4), /proc/sys/kernel/random/boot_id) names that boot. Together they decide; wall time is for people.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path

from portal.domain.model import Now

# This file came onto the disk after the package was built: a wall clock that shows less has lost its time (a Pi has no
# clock that runs without power). Read at import, since the source may be unreadable once privileges are dropped.
_BUILT_WALL_S = Path(__file__).stat().st_mtime

_SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")
_STA_UNSYNC = 0x40  # linux/timex.h
_TIME_ERROR = 5  # linux/timex.h: clock not synchronized
_TIMEX_BYTES = 208  # sizeof(struct timex) where long has 64 bit; 128 where it has 32
_TIMEX_STATUS = (
    5  # the sixth long on either: unsigned modes (padded), long offset, freq, maxerror, esterror, int status
)


@functools.cache
def boot_id() -> str:
    """The kernel's name of this boot, a UUID."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def now() -> Now:
    return Now(boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


def wall_is_plausible(wall_s: float | None = None) -> bool:
    """Is the wall clock later than the build of this package?"""
    return (time.time() if wall_s is None else wall_s) >= _BUILT_WALL_S


def wall_is_trusted() -> bool:
    """Is the wall clock plausible, and does the kernel or systemd-timesyncd say that NTP has set it?"""
    return wall_is_plausible() and (_SYNCHRONIZED.exists() or _kernel_is_synchronized())


def _kernel_is_synchronized() -> bool:
    """adjtimex(2) with modes 0, which only reads and needs no privilege. chrony and ntpd keep this state too."""
    import ctypes  # noqa: PLC0415 - a megabyte that only the callers of this function pay

    timex = (ctypes.c_long * (_TIMEX_BYTES // ctypes.sizeof(ctypes.c_long)))()
    state: int = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    return 0 <= state != _TIME_ERROR and not timex[_TIMEX_STATUS] & _STA_UNSYNC
