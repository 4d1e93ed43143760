"""Wrong codes are limited, right ones are not: portal.domain.attempts."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from portal.domain.attempts import Attempts

WINDOW_S = 600.0
steps = st.tuples(st.integers(0, 200).map(float), st.sampled_from("abcd"), st.booleans())


@given(st.lists(steps, max_size=120), st.integers(1, 5), st.integers(1, 9))
def test_no_window_holds_more_wrong_attempts_than_allowed(
    tries: list[tuple[float, str, bool]], per_key: int, in_all: int
) -> None:
    attempts = Attempts(per_key, in_all, WINDOW_S)
    wrong: list[tuple[float, str]] = []
    boot_s = 0.0
    for pause_s, key, is_wrong in tries:
        boot_s += pause_s
        recent = [who for at_boot_s, who in wrong if at_boot_s > boot_s - WINDOW_S]
        wait_s = attempts.begin(key, boot_s)
        assert (wait_s == 0) == (len(recent) < in_all and recent.count(key) < per_key)
        if wait_s == 0:
            attempts.settle(key, boot_s, wrong=is_wrong)
            if is_wrong:
                wrong.append((boot_s, key))


@given(st.lists(steps, max_size=60), st.integers(1, 4), st.integers(1, 9))
def test_who_waits_as_long_as_told_may_try(tries: list[tuple[float, str, bool]], per_key: int, in_all: int) -> None:
    attempts = Attempts(per_key, in_all, WINDOW_S)
    boot_s = 0.0
    for pause_s, key, is_wrong in tries:
        boot_s += pause_s
        wait_s = attempts.begin(key, boot_s)
        assert 0 <= wait_s <= WINDOW_S
        if wait_s:
            assert attempts.begin(key, boot_s + 0.9 * wait_s) > 0, "and not a moment sooner"
            boot_s += wait_s
            assert attempts.begin(key, boot_s) == 0
        attempts.settle(key, boot_s, wrong=is_wrong)


def test_a_right_one_does_not_forgive_wrong_ones() -> None:
    """Else somebody with a code of their own tries others' for ever."""
    attempts = Attempts(per_key=5)
    for boot_s in range(5):
        assert attempts.begin("a", boot_s) == 0
        attempts.settle("a", boot_s, wrong=True)
        if boot_s < 4:
            assert attempts.begin("a", boot_s) == 0
            attempts.settle("a", boot_s, wrong=False)
    assert attempts.begin("a", 5.0) == 595.0
    assert attempts.begin("b", 5.0) == 0


def test_a_storm_of_right_codes_is_not_slowed() -> None:
    attempts = Attempts()
    devices = [f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(500)]
    assert all(attempts.begin(device, 1.0) == 0 for device in devices)  # all at the same moment
    for device in devices:
        attempts.settle(device, 1.0, wrong=False)
    assert len(attempts) == 0


def test_a_flood_of_made_up_devices_fills_no_memory() -> None:
    attempts = Attempts(in_all=60)
    tried = 0
    for number in range(100_000):
        if attempts.begin(str(number), number / 1000) == 0:  # a thousand a second
            tried += 1
            attempts.settle(str(number), number / 1000, wrong=True)
    assert tried == len(attempts) == 60


def test_parallel_attempts_do_not_pass_the_limit_together() -> None:
    attempts = Attempts(per_key=5)
    begun: list[float] = []
    start = threading.Barrier(20)

    def attempt() -> None:
        start.wait()
        begun.append(attempts.begin("a", 0.0))

    threads = [threading.Thread(target=attempt) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert begun.count(0.0) == 5
    assert all(0 < wait_s <= 1 for wait_s in begun if wait_s), "their answers will be there soon"
