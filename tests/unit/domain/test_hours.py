"""Opening hours, from the words in site.toml to "open until": portal.domain.hours."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.config import Closed
from portal.domain import hours
from portal.domain.hours import DAYS, Act, DayTimes, HoursError, Span, Week
from portal.domain.model import CLOCK_NOT_SET, Opening

WITA = ZoneInfo("Asia/Makassar")
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [WITA, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("America/Havana"), ZoneInfo("Australia/Lord_Howe")]
ALWAYS = hours.parse(["always"])
EVENINGS = hours.parse(["mon-fri 16:00-22:00", "sat sun 08:00-12:00 13:00-22:00"])
DAY_S = 86_400


def at(text: str, zone: dt.tzinfo = WITA) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def ask(
    wall_s: float,
    plan_hours: Week | None = None,
    site_hours: Week = EVENINGS,
    holidays: list[Closed] = [],  # noqa: B006
    acts: list[Act] = [],  # noqa: B006
    zone: dt.tzinfo = WITA,
    clock_ok: bool = True,
) -> Opening:
    return hours.opening(plan_hours, site_hours, holidays, acts, wall_s=wall_s, zone=zone, clock_ok=clock_ok)


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["mon 16:00-22:00"], {0: [(960, 1320)]}),
        (["mon-wed 16.00-22.00"], {0: [(960, 1320)], 1: [(960, 1320)], 2: [(960, 1320)]}),
        (["sat sun 8:00-12:00 13:00-22:00"], {5: [(480, 720), (780, 1320)], 6: [(480, 720), (780, 1320)]}),
        (["sun 13:00-24:00, 08:00-12:00"], {6: [(480, 720), (780, 1440)]}),
        (["sun-mon 20:00-02:00"], {0: [(1200, 1560)], 6: [(1200, 1560)]}),
        (["sat 20:00-00:00"], {5: [(1200, 1440)]}),
        (["  Mon , THU 07.30 \u2013 08.00"], {0: [(450, 480)], 3: [(450, 480)]}),
        (["mon 07:00-08:00 tue 08:00-09:00"], {0: [(420, 480)], 1: [(480, 540)]}),
        (["sun 20:00-02:00", "mon 02:00-03:00"], {0: [(120, 180)], 6: [(1200, 1560)]}),
        ([], {}),
    ],
)
def test_lines(lines: list[str], expected: dict[int, list[tuple[int, int]]]) -> None:
    week = hours.parse(lines)
    assert not week.always
    assert {day: list(spans) for day, spans in enumerate(week.days) if spans} == expected


def test_always_is_more_than_all_day() -> None:
    assert hours.parse([" Always "]).always
    assert hours.parse(["mon-sun 00:00-24:00"]) == Week(ALWAYS.days, always=False)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["senin-jumat 16:00-22:00"], ['Line 1: "senin-jumat" is no day; write mon-fri.']),
        (["monday 16:00-22:00"], ['Line 1: "monday" is no day; write mon.']),
        (
            ["hari 16:00-22:00"],
            [
                'Line 1: "hari" is no day; write mon, tue, wed, thu, fri, sat or sun, '
                "or from one to another like mon-fri."
            ],
        ),
        (["mon 16-22"], ['Line 1: "16-22" is no time from one hour to another; write it like 16:00-22:00.']),
        (
            ["mon 16:00-22:60"],
            ['Line 1: "16:00-22:60" is no time of day; hours go from 00:00 to 23:59, and a day ends at 24:00.'],
        ),
        (
            ["mon 24:00-02:00"],
            ['Line 1: "24:00-02:00" is no time of day; hours go from 00:00 to 23:59, and a day ends at 24:00.'],
        ),
        (
            ["mon 08:00-08:00"],
            ['Line 1: "08:00-08:00" begins when it ends; write 00:00-24:00 for a whole day.'],
        ),
        (
            ["mon 08:00-12:00 tue"],
            [
                "Line 1: times are missing after the last day; write them like mon-fri 16:00-22:00, "
                "and leave closed days out."
            ],
        ),
        (
            ["08:00-12:00 13:00-14:00"],
            ['Line 1: "08:00-12:00" has no day before it; write mon-sun 08:00-12:00, or the days that it is for.'],
        ),
        (["  "], ["Line 1: it is empty; write days and times like mon-fri 16:00-22:00, or leave the line out."]),
        (
            ["mon 08:00-12:00", "always"],
            ['Line 2: "always" stands alone; write only ["always"], or only days and times.'],
        ),
        (["sun tutup"], ['Line 1: "tutup" is not needed; leave days out on which it is closed.']),
        (
            ["mon-fri 08:00-12:00", "thu-sat 11:00-14:00"],
            ["Line 2: thu 11:00-14:00 overlaps thu 08:00-12:00 of line 1; write each time once."],
        ),
        (
            ["sun 20:00-02:00", "mon 01:00-03:00"],
            ["Line 2: mon 01:00-03:00 overlaps sun 20:00-02:00 of line 1; write each time once."],
        ),
        (
            ["fri 00:00-24:00", "fri 08:00-09:00", "fri 10:00-11:00"],
            [
                "Line 2: fri 08:00-09:00 overlaps fri 00:00-24:00 of line 1; write each time once.",
                "Line 3: fri 10:00-11:00 overlaps fri 00:00-24:00 of line 1; write each time once.",
            ],
        ),
        (
            ["rabu 7-9", "tue"],
            [
                'Line 1: "rabu" is no day; write wed.',
                'Line 1: "7-9" is no time from one hour to another; write it like 16:00-22:00.',
                "Line 2: times are missing after the last day; write them like mon-fri 16:00-22:00, "
                "and leave closed days out.",
            ],
        ),
    ],
)
def test_mistakes_say_where_and_what_to_write(lines: list[str], expected: list[str]) -> None:
    assert hours.mistakes(lines) == expected
    with pytest.raises(HoursError) as error:
        hours.parse(lines)
    assert list(error.value.mistakes) == expected


words = st.sampled_from([*DAYS, "mon-fri", "always", "08:00-12:00", "20:00-02:00", "13.00-24.00", "tutup", "-", ","])


@given(st.lists(st.text(max_size=20) | st.lists(words, max_size=5).map(" ".join), max_size=5))
def test_any_text_is_hours_or_mistakes(lines: list[str]) -> None:
    wrong = hours.mistakes(lines)
    assert all(sentence.startswith("Line ") and sentence.endswith(".") for sentence in wrong)
    if wrong:
        with pytest.raises(HoursError):
            hours.parse(lines)
    else:
        assert len(hours.parse(lines).days) == 7


@st.composite
def weeks(draw: st.DrawFn) -> Week:
    """Any week that lines can say: quarters of an hour, no two at once, none as long as a day."""
    edges = sorted(draw(st.lists(st.integers(0, 7 * 96 - 1), unique=True, max_size=16)))
    if draw(st.booleans()) and edges:
        edges = [*edges[1:], edges[0] + 7 * 96]  # the last one reaches from Sunday into Monday
    days: list[list[Span]] = [[] for _ in DAYS]
    for first, last in zip(edges[::2], edges[1::2], strict=False):
        if last - first < 96:
            day, begin = divmod(first * 15, 1440)
            days[day].append(Span(begin, begin + (last - first) * 15))
    return Week(tuple(tuple(spans) for spans in days))


def written(found: list[DayTimes]) -> list[str]:
    def clock(minute: int) -> str:
        return f"{minute // 60:02}:{minute % 60:02}"

    return [
        " ".join(f"{DAYS[first]}-{DAYS[last]}" if first != last else DAYS[first] for first, last in entry.days)
        + " "
        + " ".join(f"{clock(first)}-{clock(last)}" for first, last in entry.times)
        for entry in found
    ]


@given(weeks())
def test_what_is_described_is_what_was_written(week: Week) -> None:
    described = hours.describe(week)
    assert hours.parse(written(described)) == week
    assert all(entry.times for entry in described)
    named = [day for entry in described for first, last in entry.days for day in range(first, last + 1)]
    assert len(named) == len(set(named))


def test_a_description() -> None:
    assert hours.describe(EVENINGS) == [
        DayTimes(((0, 4),), ((960, 1320),)),
        DayTimes(((5, 6),), ((480, 720), (780, 1320))),
    ]
    assert hours.describe(hours.parse(["mon wed-thu sun 20:00-02:00"])) == [
        DayTimes(((0, 0), (2, 3), (6, 6)), ((1200, 120),))
    ]


# --- open or closed -------------------------------------------------------------------------------------------------

moments = st.integers(int(at("2026-01-01")), int(at("2028-12-31"))).map(float)
# Around the jumps of all zones above, too.
jumps = st.builds(
    lambda day, seconds: at(f"{day}T00:00") + seconds,
    st.sampled_from(["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01"]),
    st.integers(-2 * DAY_S, 2 * DAY_S),
)
# Half of them near the jumps above, so that a moment often falls on a holiday or just before.
holidays_lists = st.lists(
    st.builds(
        lambda first, days, reason: Closed(
            first=first, last=None if days == 0 else first + dt.timedelta(days), reason=reason
        ),
        st.dates(dt.date(2026, 1, 1), dt.date(2026, 12, 31))
        | st.builds(
            lambda month, day: dt.date(2026, month, 1) + dt.timedelta(day), st.sampled_from([3, 10]), st.integers(0, 33)
        ),
        st.integers(0, 9),
        st.sampled_from(["Libur", "Upacara"]),
    ),
    max_size=4,
)
any_week = st.just(Week(ALWAYS.days)) | weeks()


@st.composite
def acts_near(draw: st.DrawFn, wall_s: float) -> list[Act]:
    found = []
    for number in range(draw(st.integers(0, 3))):
        begin = wall_s + draw(st.integers(-3 * DAY_S, 3 * DAY_S))
        length = draw(st.none() | st.integers(1, 5 * DAY_S))
        kind = draw(st.sampled_from(["open", "close"]))
        found.append(Act(number, kind, begin, None if length is None else begin + length, f"act {number}"))
    return draw(st.permutations(found))


def is_shown_twice(wall_s: float, zone: dt.tzinfo) -> bool:
    local = dt.datetime.fromtimestamp(wall_s, zone)
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


@given(weeks(), moments | jumps, st.sampled_from(ZONES))
def test_hours_are_what_the_clock_on_the_wall_shows(week: Week, wall_s: float, zone: dt.tzinfo) -> None:
    if is_shown_twice(wall_s, zone):
        return  # the tests below
    local = dt.datetime.fromtimestamp(wall_s, zone)
    minute = local.weekday() * 1440 + local.hour * 60 + local.minute
    spans = [(day * 1440 + first, day * 1440 + last) for day, found in enumerate(week.days) for first, last in found]
    inside = any(first <= minute + weeks < last for first, last in spans for weeks in (0, 7 * 1440))
    assert ask(wall_s, site_hours=week, zone=zone).is_open == inside


@given(st.data(), any_week, moments | jumps, holidays_lists, st.sampled_from(ZONES))
def test_until_is_the_next_change(
    data: st.DataObject, week: Week, wall_s: float, holidays: list[Closed], zone: dt.tzinfo
) -> None:
    acts = data.draw(acts_near(wall_s))

    def is_open(moment: float) -> bool:
        return ask(moment, None, week, holidays, acts, zone).is_open

    found = ask(wall_s, None, week, holidays, acts, zone)
    end = wall_s + 14 * DAY_S if found.until_wall_s is None else found.until_wall_s
    assert wall_s < end <= wall_s + 14 * DAY_S
    if found.until_wall_s is not None:
        assert is_open(end) != found.is_open
        assert is_open(end - 1) == found.is_open
    for part in data.draw(st.lists(st.integers(0, 999), max_size=10)):
        assert is_open(wall_s + (end - wall_s) * part / 1000) == found.is_open
    assert found.reason is None or not found.is_open


@given(st.data(), weeks(), moments, holidays_lists, st.booleans())
def test_always_is_never_closed(
    data: st.DataObject, week: Week, wall_s: float, holidays: list[Closed], clock_ok: bool
) -> None:
    acts = data.draw(acts_near(wall_s))
    assert ask(wall_s, ALWAYS, week, holidays, acts, clock_ok=clock_ok) == Opening(True, None)


@given(st.data(), any_week, weeks(), moments | jumps, holidays_lists)
def test_who_decides(
    data: st.DataObject, plan_hours: Week, site_hours: Week, wall_s: float, holidays: list[Closed]
) -> None:
    """The latest act that holds; else a holiday; else the plan's own hours, whatever the site's are."""
    acts = data.draw(acts_near(wall_s))
    found = ask(wall_s, plan_hours, site_hours, holidays, acts)
    day = dt.datetime.fromtimestamp(wall_s, WITA).date()
    holding = [a for a in acts if a.from_wall_s <= wall_s and (a.until_wall_s is None or wall_s < a.until_wall_s)]
    reasons = {h.reason for h in holidays if h.first <= day <= (h.last or h.first)}
    if holding:
        latest = max(holding, key=lambda act: act.id)
        assert (found.is_open, found.reason) == ((True, None) if latest.kind == "open" else (False, latest.reason))
    elif reasons:
        assert not found.is_open
        assert found.reason in reasons
    else:
        alone = ask(wall_s, None, plan_hours)
        assert (found.is_open, found.reason) == (alone.is_open, None)


CHRISTMAS = Closed(first=dt.date(2026, 12, 24), last=dt.date(2026, 12, 26), reason="Libur Natal")


@pytest.mark.parametrize(
    ("now", "acts", "expected"),
    [
        # 2026-12-21 is a Monday.
        ("2026-12-21T15:59", [], (False, "2026-12-21T16:00", None)),
        ("2026-12-21T16:00", [], (True, "2026-12-21T22:00", None)),
        ("2026-12-21T22:00", [], (False, "2026-12-22T16:00", None)),
        ("2026-12-20T23:00", [], (False, "2026-12-21T16:00", None)),  # Sunday night
        ("2026-12-23T22:00", [], (False, "2026-12-27T08:00", None)),  # over the holidays
        ("2026-12-24T17:00", [], (False, "2026-12-27T08:00", "Libur Natal")),
        ("2026-12-26T23:59:59", [], (False, "2026-12-27T08:00", "Libur Natal")),
        # An operator opens on a holiday for the feast, and the evening then ends it.
        ("2026-12-24T19:00", [("open", "18:00", "20:00", "")], (True, "2026-12-24T20:00", None)),
        ("2026-12-24T17:00", [("open", "18:00", "20:00", "")], (False, "2026-12-24T18:00", "Libur Natal")),
        # Closed within the hours, and the latest word holds.
        ("2026-12-21T17:00", [("close", "16:30", "18:00", "Rapat")], (False, "2026-12-21T18:00", "Rapat")),
        (
            "2026-12-21T17:00",
            [("close", "16:30", "18:00", "Rapat"), ("open", "17:00", "17:30", "")],
            (True, "2026-12-21T17:30", None),
        ),
        (
            "2026-12-21T17:00",
            [("open", "12:00", "23:00", ""), ("close", "16:30", "18:00", "Rapat")],
            (False, "2026-12-21T18:00", "Rapat"),
        ),
        # What changes nothing is no change: open by an act, and from 16:00 by the hours too.
        ("2026-12-21T15:00", [("open", "14:00", "17:00", "")], (True, "2026-12-21T22:00", None)),
        ("2026-12-21T17:00", [("close", "16:00", None, "Rusak")], (False, None, "Rusak")),
    ],
)
def test_a_village_at_christmas(
    now: str, acts: list[tuple[str, str, str | None, str]], expected: tuple[bool, str | None, str | None]
) -> None:
    day = now[:10]
    rows = [
        Act(number, kind, at(f"{day}T{begin}"), None if end is None else at(f"{day}T{end}"), reason)
        for number, (kind, begin, end, reason) in enumerate(acts)
    ]
    found = ask(at(now), holidays=[CHRISTMAS], acts=rows)
    is_open, until, reason = expected
    assert found == Opening(is_open, None if until is None else at(until), reason)


def test_a_site_that_is_always_open_closes_on_a_holiday() -> None:
    found = [ask(at(now), None, ALWAYS, [CHRISTMAS]) for now in ("2026-12-20T12:00", "2026-12-26T12:00")]
    assert found == [
        Opening(True, at("2026-12-24T00:00")),
        Opening(False, at("2026-12-27T00:00"), "Libur Natal"),
    ]
    assert ask(at("2026-12-20T12:00"), None, ALWAYS, [CHRISTMAS], clock_ok=False).reason == CLOCK_NOT_SET


def test_a_holiday_cuts_a_night_in_two() -> None:
    """It is whole local days: it begins at midnight, and the night of its last day may go on after it."""
    nights = hours.parse(["mon-sun 20:00-02:00"])
    assert ask(at("2026-12-23T21:00"), nights, holidays=[CHRISTMAS]) == Opening(True, at("2026-12-24T00:00"))
    assert ask(at("2026-12-26T21:00"), nights, holidays=[CHRISTMAS]).until_wall_s == at("2026-12-27T00:00")
    assert ask(at("2026-12-27T01:00"), nights, holidays=[CHRISTMAS]) == Opening(True, at("2026-12-27T02:00"))


def test_beyond_two_weeks_nothing_is_promised() -> None:
    act = Act(1, "close", at("2026-11-01T00:00"), at("2026-12-15T17:00"), "Renovasi")
    assert ask(at("2026-12-01T17:00"), acts=[act]).until_wall_s == at("2026-12-15T17:00")
    assert ask(at("2026-12-01T16:59"), acts=[act]).until_wall_s is None
    long = Closed(first=dt.date(2026, 12, 1), last=dt.date(2027, 1, 31), reason="Renovasi")
    assert ask(at("2026-12-10T12:00"), holidays=[long]) == Opening(False, None, "Renovasi")
    assert ask(at("2027-01-20T12:00"), holidays=[long]).until_wall_s == at("2027-02-01T16:00")


def test_a_time_that_the_day_lacks_is_the_jump() -> None:
    """Berlin, 2026-03-29: after 01:59:59 comes 03:00."""
    week = hours.parse(["sun 02:15-02:45 05:00-06:00", "sat 20:00-02:10"])
    night = ask(at("2026-03-29T01:30", BERLIN), site_hours=week, zone=BERLIN)
    assert night == Opening(True, at("2026-03-29T03:00", BERLIN))
    assert ask(at("2026-03-29T03:00", BERLIN), site_hours=week, zone=BERLIN) == Opening(
        False, at("2026-03-29T05:00", BERLIN)
    )


def test_a_time_that_comes_twice_closes_nothing_between() -> None:
    """Berlin, 2026-10-25: after 02:59:59 comes 02:00 again."""
    second = dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1).timestamp()
    early = hours.parse(["sun 02:30-05:00"])
    assert ask(at("2026-10-25T01:00", BERLIN), site_hours=early, zone=BERLIN).until_wall_s == second - 3600
    assert ask(second - 3600, site_hours=early, zone=BERLIN) == Opening(True, at("2026-10-25T05:00", BERLIN))
    late = hours.parse(["sat 20:00-02:30"])
    assert ask(at("2026-10-25T01:00", BERLIN), site_hours=late, zone=BERLIN) == Opening(True, second)


# --- a clock that is not set -----------------------------------------------------------------------------------------

LONG_AGO = at("1970-01-01T08:00")
TRUSTED = at("2026-12-21T12:00")


@given(st.data(), any_week, holidays_lists)
def test_without_a_clock_nobody_opens_what_might_be_closed(
    data: st.DataObject, week: Week, holidays: list[Closed]
) -> None:
    acts = data.draw(acts_near(TRUSTED))
    found = ask(TRUSTED, None, week, holidays, acts, clock_ok=False)
    assert found.until_wall_s is None
    if not found.is_open and found.reason == CLOCK_NOT_SET:
        return
    # Whatever is sure now is so at each later moment, which may be the real one, until an act that is known begins.
    for later in data.draw(st.lists(st.integers(0, 30 * DAY_S), max_size=10)):
        assert ask(TRUSTED + later, None, week, holidays, acts).is_open == found.is_open


def test_a_site_that_nothing_closes_needs_no_clock() -> None:
    """The default: hours are "always", and a box without a battery must let people in."""
    past = [Act(1, "close", TRUSTED - 9000, TRUSTED - 1, "Rapat"), Act(2, "open", LONG_AGO, None, "")]
    assert ask(TRUSTED, None, ALWAYS, [], past, clock_ok=False) == Opening(True, None)
    assert ask(TRUSTED, None, ALWAYS, [Closed(first=dt.date(2026, 12, 20), reason="x")], [], clock_ok=False) == (
        Opening(True, None)
    ), "a holiday that was over when the clock was last right"


@pytest.mark.parametrize(
    ("acts", "expected"),
    [
        ([], Opening(False, None, CLOCK_NOT_SET)),
        ([("close", TRUSTED - 60, None)], Opening(False, None, "act 0")),
        ([("open", TRUSTED - 60, None)], Opening(True, None)),
        ([("open", TRUSTED - 60, TRUSTED + 60)], Opening(False, None, CLOCK_NOT_SET)),  # it may be over
        ([("open", TRUSTED - 60, None), ("close", TRUSTED, TRUSTED + 60)], Opening(False, None, CLOCK_NOT_SET)),
        ([("close", TRUSTED - 60, TRUSTED + 60), ("open", TRUSTED - 60, None)], Opening(True, None)),
    ],
)
def test_an_act_until_cancelled_needs_no_clock(acts: list[tuple[str, float, float | None]], expected: Opening) -> None:
    rows = [Act(number, kind, begin, end, f"act {number}") for number, (kind, begin, end) in enumerate(acts)]
    assert ask(TRUSTED, holidays=[CHRISTMAS], acts=rows, clock_ok=False) == expected
