"""Who is online, until when, at which rates: properties of portal.domain.policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netctl.api.types import DesiredState
from portal.config import Plan
from portal.domain import budget, policy
from portal.domain.model import DayUse, EndReason, Now, Session
from portal.domain.policy import Running

BOOTS = ("boot-one", "boot-two")
PLANS = (
    Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=2000),
    Plan(id="tamu", name="Tamu", down_kbit=1000, up_kbit=512, guaranteed_kbit=32, idle_minutes=None, priority="low"),
    Plan(
        id="kantor",
        name="Kantor",
        down_kbit=None,
        up_kbit=100,
        burst_kbytes=500,
        priority="high",
        daily_minutes=60,
        daily_megabytes=100,
        slow_down_kbit=256,
        slow_up_kbit=128,
    ),
    Plan(id="anak", name="Anak", down_kbit=2000, daily_minutes=30, after_budget="stop"),
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
                plan=draw(st.sampled_from([*(plan.id for plan in PLANS), "a plan of last year"])),
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


class Use(NamedTuple):
    """What of a person and a device counts beside the session; the defaults are those who have no budget to spend."""

    blocked: int = 0
    used_s: float = 0.0
    used_bytes: int = 0


def state_of(found: list[Session], now: Now, uses: Mapping[int, Use] = {}, **more: Any) -> DesiredState:
    """As portal.store.sessions.running reads them."""
    running = [
        Running(s.id, s.mac, s.ipv4, s.plan, s.boot_id, s.deadline_boot_s, s.remaining_s, *uses.get(s.id, Use()))
        for s in found
        if s.ended_wall_s is None
    ]
    return policy.desired_state(running, PLANS, now, "an-epoch-of-36", 3, **more)


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
    for session in found:
        if session.plan not in {plan.id for plan in PLANS}:
            found_rates = {grant.down_kbit for grant in state.grants if grant.id == session.id}
            assert found_rates <= {5000}, "a plan that is gone must not open an unlimited gate"


uses = st.builds(Use, st.integers(0, 1), st.integers(0, 4000).map(float) | st.just(1800.0), st.integers(0, 2 * 10**8))


@given(sessions(), nows, st.data())
def test_blocked_closed_or_stopped_has_no_grant_and_spent_is_slow(
    found: list[Session], now: Now, data: st.DataObject
) -> None:
    """The same as the pages are told (budget.left, budget.rates), whatever is recorded."""
    closed = data.draw(st.sets(st.sampled_from([plan.id for plan in PLANS])))
    use_of = {session.id: data.draw(uses) for session in found}
    grants = {grant.id: grant for grant in state_of(found, now, use_of, closed=closed).grants}
    for session in found:
        plan = next((plan for plan in PLANS if plan.id == session.plan), PLANS[0])
        use = use_of[session.id]
        left = budget.left(
            plan, DayUse(use.used_s, use.used_bytes // 3, use.used_bytes - use.used_bytes // 3), 0.0, UTC
        )
        why = policy.why_over(
            session, plan, now, now.boot_s, is_open=plan.id not in closed, spent=left.spent, blocked=bool(use.blocked)
        )
        assert (session.id in grants) == (session.ended_wall_s is None and why is None)
        if session.id in grants:
            grant = grants[session.id]
            assert (grant.down_kbit, grant.up_kbit) == budget.rates(plan, left)
            assert grant.priority == {"high": 0, "normal": 1, "low": 2}[plan.priority]
            assert grant.burst_kbytes == (None if left.spent else plan.burst_kbytes), "a slow lane has no bursts"


def test_a_plan_that_is_gone_is_closed_with_the_plan_that_takes_its_place() -> None:
    session = replace(ONE, plan="a plan of last year")
    now = Now("boot-one", 1000.0, 0.0)
    assert len(state_of([session], now, closed={"tamu"}).grants) == 1
    assert not state_of([session], now, closed={"warga"}).grants


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
def test_why_over_by_the_clock(boot_s: float, active: float, plan: Plan, expected: EndReason | None) -> None:
    assert policy.why_over(ONE, plan, Now("boot-one", boot_s, 0.0), active) is expected


def test_no_limit_is_none_and_never_ends_by_time() -> None:
    endless = replace(ONE, deadline_boot_s=None, remaining_s=None)
    assert policy.remaining_s(endless, Now("boot-two", 1e9, 0.0)) is None
    assert policy.is_running(endless, Now("boot-two", 1e9, 0.0))


@pytest.mark.parametrize(
    ("circumstances", "expected"),
    [
        ({}, None),
        ({"is_open": False}, EndReason.CLOSED),
        ({"blocked": True}, EndReason.BLOCKED),
        ({"spent": True}, None),  # this plan goes on slowly
        ({"spent": True, "is_open": False}, EndReason.CLOSED),
        ({"spent": True, "is_open": False, "blocked": True}, EndReason.BLOCKED),
    ],
)
def test_why_over_by_circumstances(circumstances: dict[str, bool], expected: EndReason | None) -> None:
    now = Now("boot-one", 1000.0, 0.0)
    assert policy.why_over(ONE, PLANS[0], now, 1000.0, **circumstances) is expected


def test_why_over_by_a_budget_that_stops() -> None:
    now = Now("boot-one", 1000.0, 0.0)
    assert policy.why_over(ONE, PLANS[3], now, 1000.0, spent=True) is EndReason.BUDGET
    assert policy.why_over(ONE, PLANS[3], Now("boot-one", 5000.0, 0.0), 1000.0, spent=True) is EndReason.TIME
    assert policy.why_over(ONE, PLANS[3], Now("boot-one", 4999.0, 0.0), 0.0, spent=True) is EndReason.BUDGET
