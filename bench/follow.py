"""What following a line's rate gives, where the line goes from 20 to 6 Mbit/s and back. It must not know how."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bench.result import Result
from tests.village.changing_line import FAST_KBIT, SHORT_MS, SLOW_KBIT, lived_through


def changing_line() -> Iterator[Result]:
    """Eight downloads fill the line; pings of another phone, and goodput, with `follow` and with a fixed rate."""
    followed = lived_through(follow=True, recover=True)
    fixed = lived_through(follow=False, recover=False)
    slow, fast = SLOW_KBIT / 1000, FAST_KBIT / 1000
    yield Result(
        "changing_line_ms",
        followed.slow_ms,
        "ms",
        note=f"median round trip under load at {slow:g} Mbit/s; with a fixed rate {fixed.slow_ms:.0f} ms",
    )
    yield Result(
        "changing_line_settles",
        math.nan if followed.short_after_s is None else followed.short_after_s,
        "s",
        note=f"after the line became slow, until a second's median round trip was below {SHORT_MS:g} ms",
    )
    yield Result(
        "changing_line_slow",
        followed.slow_mbit_s / slow,
        "of the line",
        note=f"goodput at {slow:g} Mbit/s; with a fixed rate {fixed.slow_mbit_s / slow:.2f}",
    )
    assert followed.fast_mbit_s is not None
    yield Result(
        "changing_line_fast",
        followed.fast_mbit_s / fast,
        "of the line",
        note=f"goodput from 15 to 23 s after it carried {fast:g} Mbit/s again; the shaper's highest rate is 18",
    )
