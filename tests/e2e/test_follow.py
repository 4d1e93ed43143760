"""A line whose rate changes under load: with `follow` its queue goes away and its rate is used again; without, neither.

Figures are compared with those of the same village without `follow`, measured in the same run.
"""

from __future__ import annotations

import pytest

from tests.village.changing_line import SLOW_KBIT, lived_through


@pytest.mark.timeout(300)
def test_a_line_that_gets_slower_and_faster_again() -> None:
    followed = lived_through(follow=True, recover=True)
    fixed = lived_through(follow=False, recover=False)
    said = f"followed: {followed}, fixed: {fixed}"
    assert fixed.slow_ms > 100, f"the line makes no queue: {said}"
    assert followed.slow_ms * 3 < fixed.slow_ms, said
    assert followed.short_after_s is not None, said
    assert followed.slow_mbit_s > 0.4 * SLOW_KBIT / 1000, said
    assert followed.fast_mbit_s is not None and followed.fast_mbit_s > 1.5 * SLOW_KBIT / 1000, said
