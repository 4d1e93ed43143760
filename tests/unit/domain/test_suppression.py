"""What leaves the gateway hides small groups: whoever has it, and knows the rules, cannot find a hidden figure."""

from __future__ import annotations

import datetime as dt
import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from portal.domain import localtime, suppression
from portal.domain.rollup import DayFigures, Line, Quality, SessionRecord, Step
from portal.domain.suppression import FOLDED, Hidden, SessionRows, fold

WITA = ZoneInfo("Asia/Makassar")
FIRST = dt.date(2026, 10, 1)
START_S = localtime.day_start(FIRST, WITA)
DAY_S, HOUR_S = 86_400.0, 3_600.0
DAYS = 4
NOW_S = START_S + 10 * DAY_S


# --- groups -----------------------------------------------------------------------------------------------------------


def told(groups: tuple[tuple[int, ...], ...]) -> tuple[object, ...]:
    """All that an export says of groups with these counts: those alone, and the rest together."""

    def size(some: Iterable[int]) -> tuple[int, ...]:
        return tuple(map(sum, zip(*[groups[number] for number in some], strict=True))) or (0,) * len(groups[0])

    folded = fold(range(len(groups)), size)
    alone = tuple(None if number in folded else groups[number] for number in range(len(groups)))
    return alone, tuple(map(suppression.shown, size(folded))), tuple(map(suppression.shown, size(range(len(groups)))))


@pytest.mark.parametrize(("groups", "steps", "most"), [(2, 1, 12), (3, 1, 12), (4, 1, 9), (2, 2, 8)])
def test_nobody_who_knows_the_rules_can_work_out_a_small_group(groups: int, steps: int, most: int) -> None:
    """By trying every case: whatever is told fits at least two values of each group that is too small."""
    possible = defaultdict(list)
    for case in itertools.product(itertools.product(range(most + 1), repeat=steps), repeat=groups):
        possible[told(case)].append(case)
    for said, cases in possible.items():
        if any(count >= most for case in cases for group in case for count in group):
            continue  # larger ones, which were not tried, may say the same
        for group, step in itertools.product(range(groups), range(steps)):
            values = {case[group][step] for case in cases}
            assert len(values) > 1 or not suppression.few(values.pop()), (said, cases)


def test_groups_that_can_stand_alone_do() -> None:
    assert told(((5,), (9,), (0,)))[0] == ((5,), (9,), (0,))
    assert told(((48,), (6,), (3,), (2,)))[:2] == (((48,), (6,), None, None), (5,))
    assert told(((48,), (6,), (3,), (0,)))[:2] == (((48,), None, None, None), (9,))  # 3 together with nobody are 3


# --- days -------------------------------------------------------------------------------------------------------------


def figures(devices: int, sessions: int = 40, funnel: dict[str, Step] | None = None, **more: object) -> DayFigures:
    made = DayFigures(
        day=FIRST,
        devices=devices,
        sessions=sessions,
        median_session_s=1800.5,
        ended=sessions,
        ended_since=FIRST,
        peak_online=7,
        p95_online=6,
        up_bytes=1_000,
        down_bytes=9_000,
        funnel=funnel or {},
        seconds={Line.UP: DAY_S},
        quality=Quality(20.0, 40.0, 0.0, 0.1),
        certain=True,
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("devices", [1, 4])
def test_a_day_of_few_devices_tells_only_of_the_line(devices: int) -> None:
    shown = suppression.day(figures(devices, 4, {"android": Step(30, 20, devices)}), ())
    assert shown.hidden and shown.devices is Hidden.FEW
    of_people = (shown.sessions, shown.median_session_s, shown.peak_online, shown.up_bytes, shown.down_bytes)
    assert set(of_people) == {Hidden.WITHHELD} == {shown.p95_online, shown.all_families.online}
    assert shown.seconds == {Line.UP: DAY_S} and shown.quality.latency_p50_ms == 20.0
    assert list(shown.funnel) == [FOLDED]


@pytest.mark.parametrize("devices", [0, 5, 60])
def test_a_day_of_nobody_or_of_many_is_told(devices: int) -> None:
    shown = suppression.day(figures(devices, 0 if devices == 0 else 40), ())
    assert (shown.hidden, shown.devices, shown.down_bytes) == (False, devices, 9_000)


def test_a_count_of_few_is_hidden_on_a_day_of_many() -> None:
    shown = suppression.day(figures(12, 3, peak_online=4, p95_online=2), ())
    assert (shown.sessions, shown.peak_online, shown.p95_online) == (Hidden.FEW,) * 3
    assert shown.median_session_s is Hidden.WITHHELD and shown.up_bytes == 1_000
    assert suppression.unsummed([shown]) == {FIRST}


def test_a_median_of_few_sessions_or_of_one_that_ran_on_a_hidden_day_is_not_told() -> None:
    """Where one session ended, the median is its length; and who stayed over midnight would tell of the day before."""
    before = FIRST - dt.timedelta(days=2)
    assert suppression.day(figures(12, 40, ended=4), ()).median_session_s is Hidden.WITHHELD
    over = figures(12, 40, ended=30, ended_since=before)
    assert suppression.day(over, ()).median_session_s == 1800.5
    for hidden in (before, before + dt.timedelta(days=1)):
        shown = suppression.day(over, {hidden})
        assert shown.median_session_s is Hidden.WITHHELD and shown.sessions == 40
        assert suppression.unsummed([shown]) == {FIRST}
    assert suppression.day(over, {before - dt.timedelta(days=1), FIRST}).median_session_s == 1800.5
    nobody = suppression.day(figures(12, 40, ended=0, ended_since=None, median_session_s=None), {before})
    assert nobody.median_session_s is None


def test_sums_leave_hidden_days_out_and_say_how_many() -> None:
    shown = [suppression.day(figures(devices), ()) for devices in (10, 3, 20, 0)]
    sums = suppression.sums(shown)
    assert (sums.days, sums.days_hidden, sums.devices_most, sums.devices_mean) == (4, 1, 20, 15.0)
    assert (sums.sessions, sums.up_bytes, sums.down_bytes) == (120, 3_000, 27_000)


def test_where_all_is_hidden_a_sum_is_not_nought() -> None:
    sums = suppression.sums([suppression.day(figures(3), ()), suppression.day(figures(1), ())])
    assert sums.devices_most is Hidden.FEW and sums.devices_mean is None
    assert {sums.sessions, sums.peak_online, sums.down_bytes} == {Hidden.WITHHELD}


steps = st.tuples(*[st.integers(0, 12)] * 3).map(lambda counts: Step(*sorted(counts, reverse=True)))


@given(st.lists(st.dictionaries(st.sampled_from(["android", "apple", "windows", "other"]), steps), max_size=5))
def test_what_is_told_of_families_adds_up(funnels: list[dict[str, Step]]) -> None:
    shown = [suppression.day(figures(30, funnel=funnel), ()) for funnel in funnels]
    sums = suppression.sums(shown)
    for one in (*shown, sums):
        for name in ("joined", "saw", "online"):
            parts = [getattr(step, name) for step in one.funnel.values()]
            whole = getattr(one.all_families, name)
            assert not any(isinstance(part, int) and suppression.few(part) for part in (*parts, whole))
            if all(isinstance(part, int) for part in parts) and parts:
                assert sum(parts) == whole


# --- the whole --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stay:
    """A session; ``day_bytes`` is what it used on each of the days it runs on."""

    device: str
    plan: str
    began_h: int
    hours: int
    day_bytes: tuple[int, ...]

    def days(self) -> range:
        return range(self.began_h // 24, (self.began_h + self.hours) // 24 + 1)

    def record(self, number: int) -> SessionRecord:
        began_s = START_S + self.began_h * HOUR_S
        used = sum(self.day_bytes[: len(self.days())])
        return record(self.device, self.plan, began_s=began_s, hours=self.hours, used=used, number=number)


def export(stays: Iterable[Stay]) -> tuple[object, ...]:
    """All that leaves of these days, by nothing but sums and the module's own functions."""
    found = sorted(stays, key=lambda stay: (stay.began_h, stay.device))
    made_days = []
    for number in range(DAYS):
        running = [stay for stay in found if number in stay.days()]
        begun = [stay for stay in found if stay.began_h // 24 == number]
        ended = [stay for stay in running if stay.days()[-1] == number]
        made = figures(
            len({stay.device for stay in running}),
            len(begun),
            {"android": Step(40, 30, len({stay.device for stay in running}))},
            median_session_s=statistics.median(stay.hours * HOUR_S for stay in ended) if ended else None,
            ended=len(ended),
            ended_since=FIRST + dt.timedelta(days=min(stay.days()[0] for stay in ended)) if ended else None,
            peak_online=len(running),
            p95_online=len(running),
            down_bytes=sum(stay.day_bytes[number - stay.days()[0]] for stay in running),
            day=FIRST + dt.timedelta(days=number),
        )
        made_days.append(made)
    hidden = suppression.hidden_days(made_days)
    shown = [suppression.day(made, hidden) for made in made_days]
    rows = SessionRows(hidden, WITA, NOW_S)
    told_rows = []
    for number, one in enumerate(shown):
        begun_records = [stay.record(0) for stay in found if stay.began_h // 24 == number]
        told_rows.append(rows.of_day(one.day, begun_records))
    return [asdict(one) for one in shown], told_rows, asdict(suppression.sums(shown))


stays = st.builds(
    Stay,
    st.sampled_from("abcdefgh"),
    st.sampled_from(["warga", "warga", "warga", "puskesmas"]),
    st.integers(0, DAYS * 24 - 40),
    st.sampled_from([0, 1, 5, 20, 39]),
    st.tuples(*[st.integers(1, 1000)] * 3),
)


@settings(max_examples=400)
@given(
    st.lists(stays, max_size=10),
    st.lists(st.builds(Stay, st.sampled_from("ijk"), st.just("warga"), st.just(52), st.just(1), st.just((7, 0, 0)))),
    st.integers(1, 1000),
)
def test_another_use_of_a_hidden_day_gives_the_same_export(some: list[Stay], few: list[Stay], more: int) -> None:
    """So that nobody can tell one from the other: bytes, sessions, lengths and devices of the day are not in it."""
    known = {one.device: one for one in few}
    world = [*some, *known.values()]
    third = [stay for stay in world if 2 in stay.days()]
    assume(1 <= len({stay.device for stay in third}) <= 4)
    said = export(world)
    alone = [stay for stay in third if list(stay.days()) == [2]]
    for stay in alone:  # other bytes, other length
        changed = replace(stay, day_bytes=(stay.day_bytes[0] + more, 0, 0), hours=0)
        assert export([one for one in world if one is not stay] + [changed]) == said
    for stay in third:
        days, last = list(stay.days()), 2 - stay.days()[0]
        bytes_then = tuple(used + more * (number == last) for number, used in enumerate(stay.day_bytes))
        if days[0] == 2 < days[-1]:  # came at another hour, and stayed over midnight
            began_h = 48 + (stay.began_h + more) % 24
            changed = replace(stay, began_h=began_h, hours=stay.began_h + stay.hours - began_h, day_bytes=bytes_then)
        elif days[0] < 2 == days[-1]:  # went at another hour
            changed = replace(stay, hours=48 + (stay.hours + more) % 24 - stay.began_h, day_bytes=bytes_then)
        else:
            continue
        assert export([one for one in world if one is not stay] + [changed]) == said
    if len({stay.device for stay in third}) < 4:  # one device more
        assert export([*world, Stay("z", "puskesmas", 50, 1, (more, 0, 0))]) == said
    else:
        fewer = [_without_third_day(world, device) for device in {stay.device for stay in third}]
        assert any(export(one) == said for one in fewer)


def _without_third_day(world: list[Stay], device: str) -> list[Stay]:
    """As if it had not been there: what began before ends the day before, what began then was never."""
    changed = []
    for stay in world:
        if stay.device != device or 2 not in stay.days():
            changed.append(stay)
        elif stay.days()[0] < 2:
            changed.append(replace(stay, hours=47 - stay.began_h))
        elif stay.days()[-1] > 2:
            changed.append(
                replace(stay, began_h=72, hours=stay.hours - 72 + stay.began_h, day_bytes=stay.day_bytes[1:])
            )
    return changed


def record(
    device: str,
    plan: str = "warga",
    *,
    began_s: float = START_S + 20 * HOUR_S,
    hours: float = 1.0,
    used: int = 2,
    number: int = 1,
) -> SessionRecord:
    return SessionRecord(
        id=number,
        device=device,
        plan=plan,
        method="terms",
        began_wall_s=began_s,
        ended_wall_s=began_s + hours * HOUR_S,
        up_bytes=1,
        down_bytes=used,
        reason="idle",
        continues=None,
        certain=True,
    )


def test_rows_of_fewer_than_five_devices_are_not_told() -> None:
    rows = SessionRows(set(), WITA, NOW_S)
    assert rows.of_day(FIRST, [record(device) for device in "aaaabbccdd"]) == []
    assert len(rows.of_day(FIRST, [record(device) for device in "abcde"])) == 5


def test_a_session_that_runs_into_a_hidden_day_takes_the_rows_of_its_days_along() -> None:
    days = [FIRST + dt.timedelta(days=number) for number in range(4)]
    rows = SessionRows({days[1]}, WITA, NOW_S)
    assert rows.of_day(days[0], [*map(record, "abcde"), record("f", hours=30)]) == []  # until the third day, 02:00
    assert rows.of_day(days[1], [record("g", began_s=START_S + 1.5 * DAY_S)]) == []
    assert rows.of_day(days[2], [record(device, began_s=START_S + 2.5 * DAY_S) for device in "abcde"]) == []
    assert len(rows.of_day(days[3], [record(device, began_s=START_S + 3.5 * DAY_S) for device in "abcde"])) == 5


def test_a_plan_of_few_devices_is_not_named() -> None:
    found = [
        *(record(device) for device in "abcdefghij"),
        record("k", "puskesmas"),
        *(record(d, "x") for d in "lmnopq"),
    ]
    shown = SessionRows(set(), WITA, NOW_S).of_day(FIRST, found)
    assert [one.plan for one in shown] == ["warga"] * 10 + [FOLDED] * 7  # one alone, with the next larger plan
    assert {one.method for one in shown if one.plan == FOLDED} == {FOLDED}
