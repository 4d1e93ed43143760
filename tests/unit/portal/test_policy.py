"""Who is online, until when, at which rates: properties of portal.domain.policy."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netctl.api.types import DesiredState
from portal.config import Plan
from portal.domain import policy
from portal.domain.model import EndReason, Now, Session
from portal.domain.policy import Running

BOOTS = ("boot-one", "boot-two")
PLANS = (
    Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=2000),
    Plan(id="tamu", name="Tamu", down_kbit=1000, up_kbit=512, guaranteed_kbit=32, idle_minutes=None),
)
seconds = st.integers(0, 10**10).map(lambda milliseconds: milliseconds / 1000)


def mac(number: int) -> str:
    return "02:00:" + ":".join(f"{number >> shift & 255:02x}" for shift in (24, 16, 8, 0))


@st.composite
def sessions(draw: st.DrawFn) -> list[Session]:
    ids = draw(st.lists(st.integers(1, 2**32 - 1), unique=True, max_size=12))
    found = []
    for number in ids:
        deadline = draw(st.none() | seconds)
        ended = draw(st.none() | seconds)
        found.append(
            Session(
                id=number,
                mac=mac(number),
                ipv4=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
                plan=draw(st.sampled_from(["warga", "tamu", "a plan of last year"])),
                method="terms",
                terms_version="1",
                started_wall_s=draw(seconds),
                boot_id=draw(st.sampled_from(BOOTS)),
                deadline_boot_s=deadline,
                remaining_s=None if deadline is None else draw(seconds),
                active_boot_s=draw(seconds),
                up_bytes=0,
                down_bytes=0,
                ended_wall_s=ended,
                end_reason=None if ended is None else EndReason.IDLE,
            )
        )
    return found


def state_of(found: list[Session], now: Now) -> DesiredState:
    """As portal.store.sessions.running reads them."""
    running = [
        Running(s.id, s.mac, s.ipv4, s.plan, s.boot_id, s.deadline_boot_s, s.remaining_s, 0, 0.0, 0)
        for s in found
        if s.ended_wall_s is None
    ]
    return policy.desired_state(running, PLANS, now, "an-epoch-of-36", 3)


nows = st.builds(Now, st.sampled_from(BOOTS), seconds, seconds)
ONE = Session(
    7, mac(7), "10.0.0.7", "warga", "terms", "1", 0.0, "boot-one", 5000.0, 4000.0, 900.0, 0, 0, None, None
)  # fmt: skip


@given(sessions(), nows)
def test_every_state_is_one_that_netctl_takes(found: list[Session], now: Now) -> None:
    state = state_of(found, now)
    assert msgspec.json.decode(msgspec.json.encode(state), type=DesiredState) == state
    assert [grant.id for grant in state.grants] == sorted(grant.id for grant in state.grants)


@given(sessions(), nows)
def test_in_the_state_is_who_runs_and_nobody_else(found: list[Session], now: Now) -> None:
    state = state_of(found, now)
    assert {grant.id for grant in state.grants} == {s.id for s in found if policy.is_running(s, now)}
    for grant in state.grants:
        assert grant.deadline_boot_s is None or grant.deadline_boot_s > now.boot_s
        assert grant.down_kbit in (5000, 1000), "a plan that is gone must not open an unlimited gate"


@given(sessions(), nows, seconds, st.randoms(use_true_random=False))
def test_order_of_rows_and_wall_clock_change_nothing(
    found: list[Session], now: Now, wall: float, random: object
) -> None:
    state = state_of(found, now)
    random.shuffle(found)  # type: ignore[attr-defined]
    assert state_of(found, replace(now, wall_s=wall)) == state


@given(seconds, seconds, seconds)
def test_a_new_boot_goes_on_with_what_was_flushed(deadline: float, boot_s: float, left: float) -> None:
    session = replace(ONE, deadline_boot_s=deadline, remaining_s=left)
    assert policy.remaining_s(session, Now("boot-two", boot_s, 0.0)) == left
    (grant,) = state_of([session], Now("boot-two", boot_s, 0.0)).grants or (None,)
    assert (grant is None) == (left == 0)
    if grant is not None:
        assert grant.deadline_boot_s == pytest.approx(boot_s + left)


@pytest.mark.parametrize(
    ("boot_s", "active", "plan", "expected"),
    [
        (4999.9, 4000.0, PLANS[0], None),
        (5000.0, 4999.0, PLANS[0], EndReason.TIME),
        (4500.0, 900.0, PLANS[0], EndReason.IDLE),  # 3600 s
        (4499.0, 900.0, PLANS[0], None),
        (4500.0, 901.0, PLANS[0], None),  # seen live, though the row says 900
        (4500.0, 900.0, PLANS[1], None),  # a plan without idle end
        (9000.0, 900.0, PLANS[0], EndReason.TIME),  # both: the end that was promised
    ],
)
def test_why_over(boot_s: float, active: float, plan: Plan, expected: EndReason | None) -> None:
    assert policy.why_over(ONE, plan, Now("boot-one", boot_s, 0.0), active) is expected


def test_no_limit_is_none_and_never_ends_by_time() -> None:
    endless = replace(ONE, deadline_boot_s=None, remaining_s=None)
    assert policy.remaining_s(endless, Now("boot-two", 1e9, 0.0)) is None
    assert policy.is_running(endless, Now("boot-two", 1e9, 0.0))
