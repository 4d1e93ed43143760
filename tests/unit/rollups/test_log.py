"""Single things that the log tells, and what the figures then say."""

from __future__ import annotations

import datetime as dt
import sqlite3

from portal.domain.journal import Kind
from portal.domain.model import Now
from portal.domain.rollup import REASON_LOST, Line, SessionFilter
from portal.store import erasure, journal, rollups
from tests.unit.rollups.conftest import ZONE, Log, dump

DAY = dt.date(2026, 11, 3)
WALL_S = 1_793_664_000.0  # that day, 08:00
ALL = SessionFilter(first=dt.date(1970, 1, 1), last=dt.date(2026, 12, 31))


def lines(db: sqlite3.Connection, from_s: float, until_s: float) -> list[tuple[float, Line]]:
    rollups.catch_up(db, ZONE)
    return [
        (round(stretch.from_wall_s - WALL_S, 1), stretch.line)
        for stretch in rollups.stretches(db, ZONE, WALL_S + from_s, WALL_S + until_s)
    ]


def test_without_a_log_there_is_nothing_and_no_figure(db: sqlite3.Connection) -> None:
    assert rollups.catch_up(db, ZONE) == rollups.rebuild(db, ZONE) == 0
    assert rollups.days(db, ZONE, DAY, DAY) == []
    assert rollups.first_day(db, ZONE) is None
    assert rollups.period(db, ZONE, DAY, DAY).median_session_s is None
    assert lines(db, 0, 10) == [(0, Line.BEFORE)]


def test_what_a_clock_of_1970_wrote_moves_to_its_day_once_ntp_has_set_it(db: sqlite3.Connection) -> None:
    log = Log(db, wall_s=0.0)
    log.boots(20)
    log.begins(60, 1)
    rollups.catch_up(db, ZONE)
    assert rollups.months(db, ZONE) == ["1970-01"]
    log(Kind.CLOCK, 100, offset_ms=round(WALL_S * 1000))
    rollups.catch_up(db, ZONE)
    assert rollups.months(db, ZONE) == ["2026-11"]
    (record,) = rollups.sessions(db, ZONE, ALL)
    assert (record.began_wall_s, record.certain) == (WALL_S + 60, True)


def test_two_minutes_without_a_heartbeat_are_off_and_less_is_not(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    log.line(10, "up")
    log.starts(200, seen_s=80)
    log.starts(400, seen_s=270)
    assert lines(db, 0, 500) == [
        (0, Line.UNKNOWN), (10, Line.UP), (270, Line.OFF), (400, Line.BEFORE),
    ]  # fmt: skip
    log.line(450, "down")
    assert lines(db, 390, 500) == [(390, Line.OFF), (400, Line.UP), (450, Line.BEFORE)]


def test_between_two_boots_the_gateway_was_off_since_its_last_heartbeat(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    log.begins(30, 1)
    log.moved(60, 1, 10, 20)
    after = Log(db, "b", WALL_S + 1000)
    after(Kind.BOOT, 20, before="a", seen_ms=100_000, clean=False)
    after.ends(100, 1, 15, 30, "power", boot="a")
    after.begins(20, 2, after=1)
    after.starts(20)
    assert lines(db, 90, 1020) == [(90, Line.UNKNOWN), (100, Line.OFF)]
    later, first = rollups.sessions(db, ZONE, ALL)
    assert (first.ended_wall_s, first.reason, first.up_bytes) == (WALL_S + 100, "power", 15)
    assert (later.began_wall_s, later.continues, later.ended_wall_s) == (WALL_S + 1020, 1, None)
    (day,) = rollups.days(db, ZONE, DAY, DAY)
    assert (day.devices, day.sessions, day.median_session_s, day.down_bytes) == (1, 2, 70.0, 30)


def test_bytes_stand_in_the_hour_in_which_they_were_read(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    log.begins(60, 1)
    log.moved(3599.6, 1, 100, 1000)
    log.ends(3700, 1, 150, 1500)
    log(Kind.FINAL, 3705, s=1, up=151, down=1501, at_ms=3_704_000)
    rollups.catch_up(db, ZONE)
    hours = {hour.hour: (hour.up_bytes, hour.down_bytes) for hour in rollups.hours(db, ZONE, DAY, DAY)}
    assert (hours[8], hours[9], hours[10]) == ((100, 1000), (51, 501), (0, 0))


def test_time_whose_log_is_lost_is_neither_off_nor_up_and_who_was_online_may_have_gone(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    log.line(0, "up")
    log.begins(30, 1)
    log.begins(40, 2)
    rollups.catch_up(db, ZONE)
    first = journal.head(db)[0] + 1
    log(Kind.SAMPLE, 300, online=2, latency_ms=5.0, loss=0.0)
    log.ends(500, 1)
    last = journal.head(db)[0]
    log.moved(900, 2, 7, 7)
    rollups.catch_up(db, ZONE)
    for seq in (first, last):
        (found,) = db.execute("DELETE FROM journal WHERE seq = ? RETURNING hash", (seq,)).fetchone()
        db.execute("INSERT INTO journal_tomb VALUES (?, ?, ?)", (seq, seq, found))
    log(Kind.LOST, 1000, first=first, last=last)
    assert lines(db, 20, 1000) == [(20, Line.UP), (40, Line.LOST), (900.1, Line.UP)]
    other, gone = rollups.sessions(db, ZONE, ALL)
    assert (gone.ended_wall_s, gone.reason) == (WALL_S + 40, REASON_LOST)
    assert (other.ended_wall_s, other.up_bytes) == (None, 7)


def test_days_whose_entries_were_erased_keep_their_figures_also_when_all_is_made_again(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    log.begins(60, 1)
    log.ends(600, 1, 5, 6)
    log.begins(86_400, 2)
    rollups.catch_up(db, ZONE)
    before = rollups.days(db, ZONE, DAY, DAY)
    kept = DAY + dt.timedelta(days=1)
    assert rollups.erasable_sessions(db, ZONE, kept) == [1]
    db.execute("DELETE FROM journal WHERE json_extract(body, '$.s') = 1")
    log(Kind.ERASURE, 90_000, **{"class": "sessions", "before": kept.isoformat(), "count": 2, "first": 3, "last": 4})
    assert rollups.erase_sessions(db, kept) == 1
    rollups.rebuild(db, ZONE)
    assert rollups.days(db, ZONE, DAY, DAY) == before
    assert [one.id for one in rollups.sessions(db, ZONE, ALL)] == [2]


def test_a_day_says_how_many_sessions_ended_in_it_and_since_when_they_ran(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    log.begins(60, 1)
    log.begins(120, 2)
    log.begins(2 * 86_400, 3)
    log.ends(2 * 86_400 + 10, 3)
    log.ends(2 * 86_400 + 20, 1)
    log.ends(2 * 86_400 + 30, 2)
    log.begins(3 * 86_400, 4)
    log.ends(3 * 86_400 + 10, 4)
    rollups.catch_up(db, ZONE)
    first, second, third, fourth = rollups.days(db, ZONE, DAY, DAY + dt.timedelta(days=3))
    assert (first.ended, first.ended_since) == (second.ended, second.ended_since) == (0, None)
    assert (third.ended, third.ended_since) == (3, DAY), "two nights"
    assert (fourth.ended, fourth.ended_since) == (1, DAY + dt.timedelta(days=3)), "nobody was there at midnight"


def test_sessions_are_found_by_what_is_asked_and_come_page_by_page(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    for number in range(1, 8):
        log.begins(number * 60, number, device=f"d{number % 2}")
    log.ends(600, 3, reason="idle")
    log(Kind.PLAN, 601, s=4, plan="kantor")
    rollups.catch_up(db, ZONE)
    page = rollups.sessions(db, ZONE, ALL, limit=3)
    assert [one.id for one in page] == [7, 6, 5]
    assert [one.id for one in rollups.sessions(db, ZONE, ALL, limit=3, before=5)] == [4, 3, 2]
    for wanted, ids in (({"device": "d0"}, [6, 4, 2]), ({"plan": "kantor"}, [4]), ({"reason": "idle"}, [3])):
        chosen = SessionFilter(first=DAY, last=DAY, **wanted)
        assert [one.id for one in rollups.sessions(db, ZONE, chosen)] == ids
        assert rollups.session_count(db, ZONE, chosen) == len(ids)
    assert rollups.session_count(db, ZONE, SessionFilter(first=dt.date(2026, 11, 4), last=dt.date(2026, 11, 5))) == 0


def test_the_log_s_entries_of_a_day_come_with_their_moment(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    for hours in range(0, 40, 2):
        log(Kind.SAMPLE, 60 + hours * 3600, online=hours, latency_ms=None, loss=None)
    rollups.catch_up(db, ZONE)
    found = rollups.entries_of(db, ZONE, DAY, [Kind.SAMPLE])
    assert [entry.body["online"] for _, _, entry in found] == list(range(0, 16, 2))
    assert found[0][:2] == (WALL_S + 60, False)
    found = rollups.entries_of(db, ZONE, DAY + dt.timedelta(days=1), [Kind.SAMPLE])
    assert [entry.body["online"] for _, _, entry in found] == list(range(16, 40, 2))


# --- figures made in steps are those that are made at once ----------------------------------------------------------


def assert_same_again(db: sqlite3.Connection) -> None:
    rollups.catch_up(db, ZONE)
    before = dump(db)
    rollups.rebuild(db, ZONE)
    assert dump(db) == before


def test_bytes_of_a_clock_that_is_not_set_yet_are_not_taken_for_old_ones(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    kept = DAY.isoformat()
    log(Kind.ERASURE, 10, **{"class": "samples", "before": kept, "count": 1, "first": 1, "last": 1})
    after = Log(db, "b", wall_s=0.0)
    after(Kind.BOOT, 20, before="a", seen_ms=10_000, clean=False)
    after.starts(20)
    after.begins(60, 1)
    after.moved(120, 1, 5, 70)
    rollups.catch_up(db, ZONE)
    after(Kind.CLOCK, 200, offset_ms=round((WALL_S + 1000) * 1000))
    assert_same_again(db)
    (day,) = rollups.days(db, ZONE, DAY, DAY)
    assert (day.up_bytes, day.down_bytes) == (5, 70)


def test_days_between_boots_are_there_however_late_the_first_of_them_is_known(db: sqlite3.Connection) -> None:
    """The clock was lost twice, and ran two days between; one boot in between knew the day."""
    for number, (boot, wall_s) in enumerate((("a", 0.0), ("b", WALL_S), ("c", 2 * 86_400.0))):
        log = Log(db, boot, wall_s)
        log(Kind.BOOT, 20, before="ab"[number - 1] if number else None, seen_ms=20_000 if number else None, clean=False)
        log.starts(20)
        rollups.catch_up(db, ZONE)
    assert_same_again(db)
    first = dt.date(1970, 1, 1)
    assert len(rollups.days(db, ZONE, first, first + dt.timedelta(days=9))) == 3


def test_what_erased_entries_told_of_a_boot_goes_with_them_where_the_others_are_lost(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    log.begins(60, 1)
    first = journal.head(db)[0]
    log.ends(600, 1)
    log(Kind.SAMPLE, 86_400, online=0, latency_ms=5.0, loss=0.0)
    for seq in (1, 2):
        (found,) = db.execute("DELETE FROM journal WHERE seq = ? RETURNING hash", (seq,)).fetchone()
        db.execute("INSERT INTO journal_tomb VALUES (?, ?, ?)", (seq, seq, found))
    log(Kind.LOST, 86_401, first=1, last=2)
    rollups.catch_up(db, ZONE)
    kept = DAY + dt.timedelta(days=1)
    with rollups.erasing(db, [first, first + 1], kept):
        erasure.entries(db, [first, first + 1], "sessions", kept.isoformat(), Now("a", 90_000, WALL_S + 90_000))
    rollups.erase_sessions(db, kept)
    assert_same_again(db)


def test_a_session_that_was_erased_is_not_shown_whatever_day_a_wrong_clock_gave_it(db: sqlite3.Connection) -> None:
    log = Log(db, wall_s=WALL_S + 9 * 86_400)
    log.boots(0)
    log.begins(60, 1)
    first = journal.head(db)[0]
    log.ends(600, 1, 5, 70)
    after = Log(db, "b", WALL_S + 1000)
    after(Kind.BOOT, 20, before="a", seen_ms=600_000, clean=False)
    after.starts(20)
    rollups.catch_up(db, ZONE)
    with rollups.erasing(db, [first, first + 1], DAY):
        erasure.entries(db, [first, first + 1], "sessions", DAY.isoformat(), Now("b", 90, WALL_S + 1090))
    rollups.erase_sessions(db, DAY)
    assert_same_again(db)
    assert list(rollups.sessions(db, ZONE, ALL)) == []


def test_a_session_of_which_more_is_told_days_later_is_not_erased_before_that(db: sqlite3.Connection) -> None:
    log = Log(db)
    log.boots(0)
    db.execute("UPDATE meta SET trusted_boot_id = 'a'")
    log.begins(60, 1)
    log.ends(600, 1, 5, 70)
    log.starts(3 * 86_400, seen_s=600)
    log(Kind.FINAL, 3 * 86_400 + 10, s=1, up=6, down=71, at_ms=(3 * 86_400 + 10) * 1000)
    day_ms = round((WALL_S + 16 * 3600) * 1000)  # the next midnight
    last, look = (erasure.written_before(db, moment) for moment in (day_ms, day_ms + 86_400_000))
    assert erasure.of_sessions(db, last, look, []) == []
    assert len(erasure.of_sessions(db, *(journal.head(db)[0],) * 2, [])) == 1
