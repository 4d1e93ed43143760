"""The clocks, and when the one for people is believed: portal.clock."""

from __future__ import annotations

import ctypes
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from portal import clock


def test_now_reads_boot_time_and_wall_time() -> None:
    first, second = clock.now(), clock.now()
    assert uuid.UUID(first.boot_id) == uuid.UUID(second.boot_id)
    assert first.boot_s <= second.boot_s <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert abs(first.wall_s - time.time()) < 5


def test_a_clock_before_the_build_is_not_plausible() -> None:
    assert not clock.wall_is_plausible(0.0)
    assert not clock.wall_is_plausible(Path(clock.__file__).stat().st_mtime - 1)
    assert clock.wall_is_plausible(Path(clock.__file__).stat().st_mtime + 1)


class Libc:
    """adjtimex(2) as the kernel answers it: a state, and a status in the struct."""

    def __init__(self, state: int, status: int) -> None:
        self._state, self._status = state, status

    def __call__(self, _: None) -> Libc:
        return self

    def adjtimex(self, timex: Any) -> int:
        values = timex._obj
        assert ctypes.sizeof(values) >= 208
        assert values[0] == 0, "modes: only reading"
        values[5] = self._status
        return self._state


@pytest.mark.parametrize(
    ("state", "status", "timesyncd", "wall_s", "trusted"),
    [
        (0, 0x2001, False, 4e9, True),  # TIME_OK, PLL and nanoseconds: ntpd, chrony
        (5, 0x2041, False, 4e9, False),  # TIME_ERROR, STA_UNSYNC: nobody has set it
        (0, 0x2041, False, 4e9, False),
        (5, 0x2001, False, 4e9, False),
        (-1, 0, False, 4e9, False),  # refused (a sandbox)
        (5, 0x40, True, 4e9, True),  # systemd-timesyncd says so
        (0, 0x2001, True, 1e9, False),  # in the past, whatever they say
    ],
)
def test_what_is_trusted(
    state: int,
    status: int,
    timesyncd: bool,
    wall_s: float,
    trusted: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", Libc(state, status))
    monkeypatch.setattr(clock, "_SYNCHRONIZED", tmp_path if timesyncd else tmp_path / "missing")
    monkeypatch.setattr(time, "time", lambda: wall_s)
    assert clock.wall_is_trusted() is trusted


def test_the_real_kernel_answers() -> None:
    assert clock._kernel_is_synchronized() in (True, False)
