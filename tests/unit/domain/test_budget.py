"""Seconds and bytes of a day are given once and counted once, whatever the clocks do: portal.domain.budget."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.config import Plan
from portal.domain import budget
from portal.domain.budget import TICK_FLOOR_S, Calendar, Spender
from portal.domain.model import BudgetLeft, DayUse, Now

WITA = ZoneInfo("Asia/Makassar")
ZONES = [WITA, ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("America/Havana")]
DAY_S = 86_400
zones = st.sampled_from(ZONES)
# Ends of months, years and February, and the days on which some of these zones' clocks jump.
EDGES = ["2026-12-31", "2027-12-31", "2028-02-28", "2028-02-29", "2100-02-28", "2026-03-29", "2026-10-25", "2026-11-01"]


def at(text: str, zone: dt.tzinfo = WITA) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


wall_times = st.builds(
    lambda day, seconds: at(f"{day}T00:00") + seconds, st.sampled_from(EDGES), st.floats(-DAY_S, 2 * DAY_S)
)


def date(wall_s: float, zone: dt.tzinfo) -> str:
    return dt.datetime.fromtimestamp(wall_s, zone).strftime("%Y-%m-%d")


# --- which day ------------------------------------------------------------------------------------------------------


@given(wall_times, zones)
def test_the_next_midnight_ends_the_day(wall_s: float, zone: dt.tzinfo) -> None:
    midnight = budget.next_midnight(wall_s, zone)
    assert wall_s < midnight <= wall_s + 25 * 3600
    assert date(wall_s, zone) == date(midnight - 1, zone) < date(midnight, zone)


@given(wall_times, zones, st.sampled_from(["", "2026-12-31", "2028-03-01", "2099-01-01"]))
def test_day_of(wall_s: float, zone: dt.tzinfo, last_day: str) -> None:
    shown = date(wall_s, zone)
    assert budget.day_of(wall_s, Calendar(zone, True, True, last_day)) == shown, "NTP knows, even where it goes back"
    assert budget.day_of(wall_s, Calendar(zone, True, False, last_day)) == max(shown, last_day)
    assert budget.day_of(wall_s, Calendar(zone, False, False, last_day)) == (last_day or shown)


# --- time online ----------------------------------------------------------------------------------------------------


@given(wall_times, st.floats(0, 1e6), st.floats(0, 40 * DAY_S), st.floats(0, DAY_S), zones)
def test_time_is_split_at_midnights(wall_s: float, start: float, length: float, since: float, zone: dt.tzinfo) -> None:
    """``since``: what has passed from the end of the time that is split until now."""
    now = Now("boot", start + length + since, wall_s)
    parts = budget.split(start, start + length, now, Calendar(zone, True, True, ""))
    assert sum(seconds for _, seconds in parts) == pytest.approx(length, abs=1e-6)  # a sum of moments of 16384.0 s
    assert all(seconds >= 0 for _, seconds in parts)
    begin, end = wall_s - since - length, wall_s - since
    expected = {}
    moment = begin
    while moment < end:
        midnight = min(end, budget.next_midnight(moment, zone))
        expected[date(moment, zone)] = midnight - moment
        moment = midnight
    assert [day for day, _ in parts] == sorted(dict(parts))
    for day in {*expected, *dict(parts)}:
        assert dict(parts).get(day, 0.0) == pytest.approx(expected.get(day, 0.0), abs=1e-5)


@given(wall_times, st.floats(0, 1e6), st.floats(0, 40 * DAY_S))
def test_with_a_clock_that_is_not_set_it_is_all_the_last_day_s(wall_s: float, start: float, length: float) -> None:
    now = Now("boot", start + length, wall_s % DAY_S)  # some hour of 1970
    parts = budget.split(start, start + length, now, Calendar(WITA, False, False, "2026-11-24"))
    assert [day for day, _ in parts] == (["2026-11-24"] if start + length > start else [])
    assert sum(seconds for _, seconds in parts) == pytest.approx(start + length - start)


def test_no_time_is_nothing() -> None:
    assert budget.split(5.0, 5.0, Now("boot", 5.0, 0.0), Calendar(WITA, True, True, "")) == []


@pytest.mark.parametrize("place_s", [0.0, 1e-9, 1e-7, 1e-3])
def test_an_end_at_midnight_belongs_to_the_day_before(place_s: float) -> None:
    midnight = at("2027-01-01T00:00")
    now = Now("boot", 1000.0 + place_s, midnight + place_s)
    parts = dict(budget.split(900.0, 1000.0, now, Calendar(WITA, True, True, "")))
    assert parts.pop("2026-12-31") == pytest.approx(100.0, abs=1e-5)
    assert sum(parts.values()) < 1e-5


class Box:
    """A gateway in a village, and one person on it. The test knows the true time; the box has only its clocks."""

    def __init__(self, true_s: float, clock_s: float, trusted: bool) -> None:
        self.true_s, self.error_s, self.trusted = true_s, clock_s - true_s, trusted
        self.boot, self.boot_began_true_s = 1, true_s - 30.0
        self.meta_day, self.meta_trusted_wall_s = "", 0.0
        self.built_wall_s = at("2026-06-01")
        self.person_day: dict[str, float] = defaultdict(float)
        self.counted_boot_s: float | None = None
        self.online_s = 0.0
        self.lost_s = 0.0  # since the last flush before a power cut
        self.true_days: set[str] = set()

    @property
    def now(self) -> Now:
        return Now(f"boot {self.boot}", self.true_s - self.boot_began_true_s, self.true_s + self.error_s)

    @property
    def calendar(self) -> Calendar:
        clock_ok = self.now.wall_s >= max(self.built_wall_s, self.meta_trusted_wall_s)
        return Calendar(WITA, clock_ok or self.trusted, self.trusted, self.meta_day)

    def flush(self) -> str:
        """What the store does with these decisions, on plain values; the day of now."""
        now, calendar = self.now, self.calendar
        if self.counted_boot_s is not None:
            for day, seconds in budget.split(self.counted_boot_s, now.boot_s, now, calendar):
                self.person_day[day] += seconds
            self.counted_boot_s = now.boot_s
        day = budget.day_of(now.wall_s, calendar)
        if calendar.trusted:
            self.meta_day, self.meta_trusted_wall_s = day, now.wall_s
        return day

    def login(self) -> None:
        self.flush()
        self.counted_boot_s = self.now.boot_s

    def logout(self) -> None:
        self.flush()
        self.counted_boot_s = None

    def wait(self, seconds: float) -> None:
        if self.counted_boot_s is not None:
            self.online_s += seconds
            self.true_days |= {date(self.true_s + part * seconds / 50, WITA) for part in range(51)}
        self.true_s += seconds

    def power_cut(self, dark_s: float, clock_s: float | None) -> None:
        """``clock_s``: what the clock shows afterwards; None: it kept going."""
        if self.counted_boot_s is not None:
            lost = self.now.boot_s - self.counted_boot_s
            self.lost_s += lost
        self.true_s += dark_s
        self.boot, self.boot_began_true_s = self.boot + 1, self.true_s
        self.trusted = False
        if clock_s is not None:
            self.error_s = clock_s - self.true_s
        if self.counted_boot_s is not None:  # the session goes on
            self.counted_boot_s = self.now.boot_s
        self.true_s += 1.0
        self.online_s += 1.0 if self.counted_boot_s is not None else 0.0


class Doings:
    """Steps of a Box's life, to be drawn."""

    waits = st.tuples(st.just("wait"), st.floats(0, 2 * DAY_S) | st.floats(0, 60))
    flushes = st.just(("flush", 0.0))
    logins = st.just(("login", 0.0))
    logouts = st.just(("logout", 0.0))
    ntp = st.just(("ntp", 0.0))
    cuts = st.tuples(st.just("cut"), st.floats(0, 12 * 3600))
    cuts_without_battery = st.tuples(st.just("cut to 1970"), st.floats(0, 12 * 3600))
    jumps = st.tuples(st.just("jump"), st.floats(-3 * DAY_S, 3 * DAY_S) | st.floats(-4e8, 4e8))


def live(box: Box, doings: list[tuple[str, float]]) -> None:
    for what, amount in doings:
        match what:
            case "wait":
                box.wait(amount)
            case "flush":
                box.flush()
            case "login":
                box.login()
            case "logout":
                box.logout()
            case "ntp":
                box.error_s, box.trusted = 0.0, True
            case "cut":
                box.power_cut(amount, None)
            case "cut to 1970":
                box.power_cut(amount, 25.0)
            case "jump":
                box.error_s, box.trusted = box.error_s + amount, False
    box.flush()


anything = st.lists(
    st.one_of(
        Doings.waits, Doings.flushes, Doings.logins, Doings.logouts,
        Doings.ntp, Doings.cuts, Doings.cuts_without_battery, Doings.jumps,
    ),
    max_size=30,
)  # fmt: skip


@given(wall_times, st.booleans(), anything)
def test_every_second_online_is_counted_once(start: float, trusted: bool, doings: list[tuple[str, float]]) -> None:
    """Whatever happens to the clocks: nothing twice, and nothing lost but what a power cut takes."""
    box = Box(start, start, trusted)
    live(box, doings)
    assert sum(box.person_day.values()) == pytest.approx(box.online_s - box.lost_s, abs=1e-3)
    assert all(seconds >= 0 for seconds in box.person_day.values())


@given(wall_times, anything)
def test_ntp_unfreezes_every_budget(start: float, doings: list[tuple[str, float]]) -> None:
    """However far in the future the clock was, and whatever it had done: once it is right, so is the day."""
    box = Box(start, start, False)
    live(box, [*doings, ("ntp", 0.0)])
    assert box.flush() == date(box.true_s, WITA)
    box.wait(float(DAY_S))
    assert box.flush() == date(box.true_s, WITA)


@given(wall_times, anything, st.floats(0, 3 * DAY_S))
def test_a_clock_set_by_hand_unfreezes_them_too(start: float, doings: list[tuple[str, float]], later: float) -> None:
    """Where no NTP is reached: a day that nobody vouched for holds nothing up once the clock is right again."""
    box = Box(start, start, False)
    live(box, [doing for doing in doings if doing[0] != "ntp"])
    box.error_s = 0.0
    box.wait(later)
    assert box.flush() == date(box.true_s, WITA)


without_wrong_future = st.lists(
    st.one_of(Doings.waits, Doings.flushes, Doings.logins, Doings.logouts, Doings.ntp, Doings.cuts_without_battery),
    max_size=30,
)


@given(wall_times, without_wrong_future)
def test_no_day_gives_two_budgets(start: float, doings: list[tuple[str, float]]) -> None:
    """A box whose clock is right or lost (1970) opens a new day's budget only on days that there really are."""
    box = Box(start, start, True)
    live(box, [("login", 0.0), *doings])
    days_that_were = {date(start, WITA)}
    while max(days_that_were) < date(box.true_s, WITA):
        days_that_were.add(date(at(f"{max(days_that_were)}T12:00") + DAY_S, WITA))
    assert set(box.person_day) <= days_that_were


@given(wall_times, st.lists(st.one_of(Doings.waits, Doings.flushes, Doings.logins, Doings.logouts), max_size=30))
def test_with_a_right_clock_each_day_has_what_was_used_on_it(start: float, doings: list[tuple[str, float]]) -> None:
    box = Box(start, start, True)
    live(box, doings)
    assert {day for day, seconds in box.person_day.items() if seconds > 1e-3} <= box.true_days
    assert all(seconds <= DAY_S + 1e-3 for seconds in box.person_day.values())


def test_1970_then_now() -> None:
    """The night before a power cut, an hour at 1970, then NTP: the hour before it is the new day's, and not twice."""
    box = Box(at("2026-11-23T22:00"), at("2026-11-23T22:00"), True)
    box.login()
    box.wait(3600.0)
    box.flush()
    box.power_cut(8 * 3600.0, 0.0)
    box.wait(3599.0)
    assert box.flush() == "2026-11-23"
    assert box.person_day == pytest.approx({"2026-11-23": 7200.0})
    box.wait(60.0)
    box.error_s, box.trusted = 0.0, True
    assert box.flush() == "2026-11-24"
    assert box.person_day == pytest.approx({"2026-11-23": 7200.0, "2026-11-24": 60.0})


# --- what is left ---------------------------------------------------------------------------------------------------

plans = st.builds(
    lambda minutes, megabytes, after, down, up: Plan(
        id="p",
        name="P",
        daily_minutes=minutes,
        daily_megabytes=megabytes,
        after_budget=after,
        down_kbit=down,
        up_kbit=up,
    ),
    st.none() | st.integers(1, 1440),
    st.none() | st.integers(1, 5000),
    st.sampled_from(["slow", "stop"]),
    st.none() | st.integers(64, 100_000),
    st.none() | st.integers(64, 100_000),
)
day_uses = st.builds(DayUse, st.floats(0, 2 * DAY_S), st.integers(0, 4 * 10**9), st.integers(0, 4 * 10**9))


@given(plans, day_uses, wall_times, zones)
def test_left_and_used_make_the_budget(plan: Plan, use: DayUse, wall_s: float, zone: dt.tzinfo) -> None:
    left = budget.left(plan, use, wall_s, zone)
    used_bytes = use.up_bytes + use.down_bytes
    if plan.daily_minutes is None:
        assert left.seconds is None
    else:
        assert left.seconds == max(0.0, plan.daily_minutes * 60 - use.seconds)
    if plan.daily_megabytes is None:
        assert left.bytes is None
    else:
        assert left.bytes == max(0, plan.daily_megabytes * 1_000_000 - used_bytes)
    assert left.spent == (left.seconds == 0 or left.bytes == 0)
    assert left.renewed_wall_s == budget.next_midnight(wall_s, zone)


@given(plans, day_uses)
def test_rates_after_the_budget(plan: Plan, use: DayUse) -> None:
    left = budget.left(plan, use, 0.0, WITA)
    found = budget.rates(plan, left)
    if left.spent and plan.after_budget == "slow":
        for rate, of_plan, slow in zip(
            found, (plan.down_kbit, plan.up_kbit), (plan.slow_down_kbit, plan.slow_up_kbit), strict=True
        ):
            assert rate == (slow if of_plan is None else min(slow, of_plan))
    else:
        assert found == (plan.down_kbit, plan.up_kbit)


# --- when to look again ---------------------------------------------------------------------------------------------

TICK_S = 5.0


@given(
    st.lists(st.tuples(plans, day_uses, st.integers(1, 5), st.floats(0, 1)), max_size=5), st.none() | st.just(20_000)
)
def test_nobody_overshoots_by_2_s_of_the_plan_s_rate(
    people: list[tuple[Plan, DayUse, int, float]], line_kbit: int | None
) -> None:
    """Each uses any part of what the plan and the line let through until the meter looks again."""
    lefts = [budget.left(plan, use, 0.0, WITA) for plan, use, _, _ in people]
    spenders = [Spender(plan, left, devices, 0.0) for (plan, _, devices, _), left in zip(people, lefts, strict=True)]
    after_s = budget.check_again_after_s(spenders, line_kbit, line_kbit, TICK_S)
    assert TICK_FLOOR_S <= after_s <= TICK_S
    for (plan, _, devices, part), left in zip(people, lefts, strict=True):
        most = line_kbit or budget.FASTEST_LINE_KBIT
        rate = ((plan.down_kbit or most) + (plan.up_kbit or most)) * 125 * devices
        if left.spent:
            continue  # over already, by the other of the two budgets
        if left.bytes:
            assert part * rate * after_s <= left.bytes + rate * TICK_FLOOR_S + 1
        if left.seconds:
            assert after_s <= left.seconds + TICK_FLOOR_S


@given(st.integers(1, 10**9), st.floats(0, 1e8))
def test_what_was_seen_counts_where_it_is_more_than_the_plan(octets: int, seen: float) -> None:
    """Bytes are counted before the shaper's queue: a device that floods uses its budget sooner."""
    plan = Plan(id="p", name="P", down_kbit=1000, up_kbit=1000, daily_megabytes=1000)
    left = BudgetLeft(None, octets, False, 0.0)
    after_s = budget.check_again_after_s([Spender(plan, left, 1, seen)], None, None, TICK_S)
    assert after_s * max(seen, 250_000) <= octets + TICK_FLOOR_S * max(seen, 250_000)


def test_who_has_nothing_left_or_no_limit_wakes_nobody() -> None:
    plan = Plan(id="p", name="P", daily_megabytes=1)
    spenders = [
        Spender(plan, BudgetLeft(None, 0, True, 0.0), 3, 1e9),
        Spender(Plan(id="q", name="Q"), BudgetLeft(None, None, False, 0.0), 3, 1e9),
    ]
    assert budget.check_again_after_s(spenders, None, None, TICK_S) == TICK_S


@given(st.integers(0, 10**12) | st.none(), st.integers(0, 10**12), st.booleans())
def test_less_is_never_below_nothing_and_what_is_spent_stays_so(octets: int | None, more: int, spent: bool) -> None:
    found = budget.less(BudgetLeft(60.0, octets, spent, 7.0), more)
    assert (found.seconds, found.renewed_wall_s) == (60.0, 7.0)
    assert found.bytes == (None if octets is None else max(0, octets - more))
    assert found.spent == (spent or found.bytes == 0)
