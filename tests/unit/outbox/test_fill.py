"""What is put into batches, when, and what goes where there is no room: portal.outbox on a real database."""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portal import acknowledge, batchfiles, outbox, sealing
from portal.config import Office
from portal.domain import batch, batchcheck
from portal.domain.batch import Batch, Class
from portal.domain.batchcheck import Report
from portal.domain.journal import Kind
from portal.sealing import SigningKey
from portal.store import journal
from portal.store import outbox as store
from portal.store.db import Database
from tests.unit.outbox.conftest import BOOT, FIRST, Figures, at, config, fill, session
from tests.unit.outbox.making import GATEWAY, OFFICE

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "export-format.schema.json").read_text(encoding="utf-8"))
RECORD = jsonschema.Draft202012Validator(SCHEMA)
HEADER = jsonschema.Draft202012Validator({"$ref": "#/$defs/header", "$defs": SCHEMA["$defs"]})
DAY = dt.timedelta(days=1)


def report(database: Database) -> Report:
    """All that is in the outbox, read back as files; every record and header fits the schema."""
    with database.read() as db:
        stored = store.read(db, store.numbers(db))
    files = []
    for one in stored:
        content = outbox.to_file(one)
        files.append(batchfiles.parsed(file_name(content), content))
    return batchcheck.check(files, [GATEWAY.public.hex()])


@functools.cache
def file_name(content: bytes) -> str:
    """Of a file whose form is right; the same one stands there at many looks."""
    assert len(content) <= 65_536
    found = batch.from_file(content)
    HEADER.validate(json.loads(found.head))
    if found.body is not None:
        assert sum(found.header.counts.values()) <= 500
        for record in batchfiles.open_batch(found, OFFICE):
            RECORD.validate(record)
    return batch.file_name(found.header)


def batches(database: Database, kind: Class | None = None, day: dt.date | None = None) -> list[Batch]:
    return [
        one
        for chain in report(database).chains
        for one in chain.batches
        if (kind is None or one.header.kind is kind) and (day is None or one.header.day == day.isoformat())
    ]


def records(database: Database, kind: Class, day: dt.date = FIRST) -> list[dict[str, Any]]:
    held = batchcheck.holding(report(database).chains)
    return [
        record
        for one in held
        if one.header.kind is kind and one.header.day == day.isoformat()
        for record in batchfiles.open_batch(one, OFFICE)
    ]


# --- what is told ---------------------------------------------------------------------------------------------------


def test_each_day_that_is_over_is_told_once(database: Database, figures: Figures) -> None:
    assert fill(database, at(FIRST + 3 * DAY)).made == 9
    assert fill(database, at(FIRST + 3 * DAY, 20)).made == 0
    assert fill(database, at(FIRST + 4 * DAY, 0.5)).made == 0  # what is under way at midnight comes in first
    assert fill(database, at(FIRST + 4 * DAY, 1.1)).made == 3
    found = report(database)
    assert found.good
    assert not found.findings
    told = Counter((one.header.day, one.header.kind) for one in found.chains[0].batches)
    assert set(told.values()) == {1}
    assert len(told) == 12
    assert len(records(database, Class.SESSIONS)) == 8
    assert [one["kind"] for one in records(database, Class.ROLLUPS)] == ["day"] + ["hour"] * 24


def test_nothing_is_made_without_a_key_or_with_a_clock_that_nobody_set(database: Database, figures: Figures) -> None:
    unset = config()
    assert fill(database, at(FIRST + DAY), replace_office(unset, None)) == outbox.Filled(0, 0)
    with database.write() as db:
        db.execute("UPDATE meta SET trusted_boot_id = 'another'")
    assert fill(database, at(FIRST + DAY)) == outbox.Filled(0, 0)
    assert batches(database) == []


def replace_office(site: Any, key: str | None) -> Any:
    from msgspec import structs

    return structs.replace(site, office=Office(key=key))


def test_what_has_changed_is_told_again_whole_and_the_rest_is_not(database: Database, figures: Figures) -> None:
    running = session(FIRST.toordinal() * 100, FIRST, f"{FIRST.toordinal() * 100:016x}", ended=False)
    figures.more = [running]
    fill(database, at(FIRST + DAY))
    (told,) = [one for one in records(database, Class.SESSIONS) if one["ended"] is None]
    assert told["up_bytes"] is told["down_bytes"] is None
    figures.more = []
    assert fill(database, at(FIRST + 2 * DAY)).made == 4
    first, second = batches(database, Class.SESSIONS, FIRST)
    assert (first.header.revision, second.header.revision) == (1, 2)
    assert all(one["ended"] for one in records(database, Class.SESSIONS))
    assert len(records(database, Class.SESSIONS)) == 8


def test_a_day_of_few_devices_tells_nothing_of_them(database: Database, figures: Figures) -> None:
    figures.devices[FIRST] = 4
    sample(database, at(FIRST, 19), online=3)
    fill(database, at(FIRST + DAY))
    assert records(database, Class.SESSIONS) == [{"kind": "withheld", "id": FIRST.isoformat()}]
    day, *hours = records(database, Class.ROLLUPS)
    assert day["devices"] == "<5"
    people = ("sessions", "median_session_s", "peak_online", "p95_online", "up_bytes", "down_bytes")
    assert {day[name] for name in people} == {"x"}
    assert all({hour[name] for name in people if name in hour} == {"x"} for hour in hours)
    assert day["seconds"] == {"up": 86_400}
    assert [one["online"] for one in records(database, Class.SAMPLES)] == ["x"]


def test_an_hour_of_few_devices_cannot_be_found_by_subtraction(database: Database, figures: Figures) -> None:
    fill(database, at(FIRST + DAY))
    _, *hours = records(database, Class.ROLLUPS)
    assert [hour["devices"] for hour in hours] == [8 if hour["hour"] == 19 else 0 for hour in hours]
    few = {7: 2, 19: 8, 20: 12}
    plain = figures.hours

    def hours_of(*given: Any) -> Any:
        return [replace(one, devices=few.get(one.hour, 0)) for one in plain(*given)]

    figures.hours = hours_of  # type: ignore[method-assign]
    fill(database, at(FIRST + 2 * DAY))
    _, *hours = records(database, Class.ROLLUPS)
    shown = {hour["hour"]: hour["devices"] for hour in hours}
    assert shown[7] == shown[19] == shown[3] == "x"
    assert shown[20] == 12


def test_the_few_sessions_begun_in_an_hour_cannot_be_found_by_subtraction(database: Database, figures: Figures) -> None:
    """Of the day's sessions those of the other hours are not all the rest."""
    figures.devices[FIRST] = 30
    plain, begun = figures.hours, {18: 3, 19: 14, 20: 8, 21: 5}

    def hours_of(*given: Any) -> Any:
        return [replace(one, devices=9, sessions=begun.get(one.hour, 0)) for one in plain(*given)]

    figures.hours = hours_of  # type: ignore[method-assign]
    fill(database, at(FIRST + DAY))
    day, *hours = records(database, Class.ROLLUPS)
    shown = {hour["hour"]: hour["sessions"] for hour in hours}
    assert (day["sessions"], shown[18], shown[21], shown[19], shown[20]) == (30, "x", "x", 14, 8)
    assert shown[3] == "x", "nobody knows how many hours are together"
    assert {hour["devices"] for hour in hours} == {9}


def test_a_median_of_who_stayed_over_from_a_hidden_day_is_not_told(database: Database, figures: Figures) -> None:
    figures.devices |= {FIRST: 3, FIRST + DAY: 8, FIRST + 2 * DAY: 8}
    figures.ended_since[FIRST + DAY] = FIRST
    fill(database, at(FIRST + 3 * DAY))
    days = [records(database, Class.ROLLUPS, FIRST + number * DAY)[0] for number in range(3)]
    assert [day["median_session_s"] for day in days] == ["x", "x", 1800.0]
    assert [day["sessions"] for day in days] == ["x", 8, 8]


def test_what_was_told_is_not_withheld_later(database: Database, figures: Figures) -> None:
    fill(database, at(FIRST + DAY))
    figures.devices[FIRST] = 3
    fill(database, at(FIRST + 2 * DAY))
    assert len(records(database, Class.SESSIONS)) == 8


def test_another_key_of_the_office_gets_all_of_it_again(database: Database, figures: Figures) -> None:
    fill(database, at(FIRST + 3 * DAY))
    other = sealing.new_office_secret()
    assert fill(database, at(FIRST + 3 * DAY, 4), replace_office(config(), other.key.line)).made == 9
    with database.read() as db:
        stored = store.read(db, store.numbers(db))
    sealed_for = [batch.from_file(outbox.to_file(one)).header.office for one in stored]
    assert sealed_for == [OFFICE.key.fingerprint] * 9 + [other.key.fingerprint] * 9


def sample(database: Database, now: Any, online: int) -> None:
    with database.write() as db:
        journal.append(db, Kind.SAMPLE, {"online": online, "latency_ms": 33.3333, "loss": 0.0}, now)


def test_samples_acts_and_notices_are_of_their_local_day(database: Database, figures: Figures) -> None:
    for number in range(600):
        sample(database, at(FIRST + DAY, number / 30), online=number % 9)
    with database.write() as db:
        act = {
            "id": 1,
            "actor": "budi",
            "role": "operator",
            "action": "device.block",
            "object": "5c:e9:1e:00:00:01",
            "digest": "0" * 64,
        }
        journal.append(db, Kind.ACT, act, at(FIRST + DAY, 12))
        erased = {"class": "samples", "before": "2026-10-01", "count": 5, "first": 1, "last": 5}
        journal.append(db, Kind.ERASURE, erased, at(FIRST + DAY, 2))
        journal.append(db, Kind.LOST, {"first": 3, "last": 4}, at(FIRST + DAY, 2))
    fill(database, at(FIRST + 3 * DAY))
    assert records(database, Class.SAMPLES) == []
    told = records(database, Class.SAMPLES, FIRST + DAY)
    assert [one["online"] for one in told[:9]] == [0, "<5", "<5", "<5", "<5", 5, 6, 7, 8]
    assert len(told) == 600
    assert [one.header.parts for one in batches(database, Class.SAMPLES)] == [2, 2]
    (act_told,) = records(database, Class.ACTS, FIRST + DAY)
    assert act_told == {**act_told, "role": "operator", "action": "device.block", "at": "2026-11-02T04:00:00.000Z"}
    assert [one["kind"] for one in records(database, Class.NOTICES, FIRST + DAY)] == ["erasure", "lost"]


def test_nothing_personal_but_pseudonyms_is_inside(database: Database, figures: Figures) -> None:
    test_samples_acts_and_notices_are_of_their_local_day(database, figures)
    told = "".join(json.dumps([json.loads(one.head), *batchfiles.open_batch(one, OFFICE)]) for one in batches(database))
    assert not re.search(r"([0-9a-f]{2}[:-]){5}[0-9a-f]{2}", told), "a MAC"
    assert not re.search(r"\b10\.\d+\.\d+\.\d+\b|\b192\.168\.", told), "an address"
    assert "budi" not in told


# --- numbers, epochs, the journal -----------------------------------------------------------------------------------


def test_a_header_says_how_far_the_journal_went(database: Database, figures: Figures) -> None:
    sample(database, at(FIRST, 5), online=5)
    fill(database, at(FIRST + DAY))
    sample(database, at(FIRST + DAY, 5), online=5)
    fill(database, at(FIRST + 2 * DAY))
    found = batches(database)
    with database.read() as db:
        first, second = [entry.hash.hex() for entry in journal.entries(db)]
    assert [one.header.journal for one in found] == [first] * 4 + [second] * 4


def test_another_database_or_key_begins_another_epoch_and_tells_all_again(database: Database, figures: Figures) -> None:
    fill(database, at(FIRST + DAY))
    with database.write() as db:
        db.execute("UPDATE meta SET epoch = '00000000-0000-4000-8000-000000000000'")
    fill(database, at(FIRST + 2 * DAY))
    fill(database, at(FIRST + 3 * DAY))
    outbox.fill(database, config(), SigningKey(bytes(32)), at(FIRST + 4 * DAY))
    with database.read() as db:
        stored = store.read(db, store.numbers(db))
    files = [outbox.to_file(one) for one in stored]
    found = batchcheck.check(
        batchfiles.parsed(batch.file_name(batch.from_file(content).header), content) for content in files
    )
    assert found.good
    assert not found.findings
    counts = [[one.header.number for one in chain.batches] for chain in found.chains]
    assert counts == [list(range(1, 4)), list(range(1, 10)), list(range(1, 13))]
    days = [sorted({one.header.day[-2:] for one in chain.batches}) for chain in found.chains]
    assert days == [["01"], ["01", "02", "03"], ["01", "02", "03", "04"]]
    held = batchcheck.holding(found.chains)
    assert {one.header.epoch for one in held} == {found.chains[-1].epoch}


def test_a_day_of_which_the_log_lost_some_says_how_much(database: Database, figures: Figures) -> None:
    figures.lost_s[FIRST] = 4321.4
    fill(database, at(FIRST + DAY))
    assert {one.header.missing_s for one in batches(database)} == {4321}


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_what_is_too_old_goes_and_is_counted(database: Database, figures: Figures) -> None:
    site = config(outbox_days=5)
    fill(database, at(FIRST + DAY), site)
    fill(database, at(FIRST + 2 * DAY), site)
    done = fill(database, at(FIRST + 7 * DAY, 5), site)
    assert done.dropped == 6
    fill(database, at(FIRST + 8 * DAY), site)
    last = batches(database)[-1].header
    assert last.dropped.batches == 6
    assert last.dropped.records == {"day": 2, "hour": 48, "session": 16, "stretch": 4}
    assert last.oldest == batches(database)[0].header.number
    told = records(database, Class.NOTICES, FIRST + 7 * DAY)
    assert [one["batches"] for one in told] == [{"stretches": 2, "rollups": 2, "sessions": 2}]
    assert [found.code for found in report(database).findings] == ["begins"]


def test_samples_go_first_and_sessions_last(
    database: Database, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        sample(database, at(FIRST, number / 2), online=5)
    fill(database, at(FIRST + 8 * DAY))
    with database.read() as db:
        held = store.held(db)
    order: list[Counter[Class]] = []
    room = held.disk_bytes
    while not order or order[-1][Class.SESSIONS] == 8:
        room -= 600
        limit(monkeypatch, room)
        fill(database, at(FIRST + 8 * DAY, 4))
        whole = Counter(one.header.kind for one in batches(database) if one.body is not None)
        order.append(whole)
        with database.read() as db:
            assert store.held(db).disk_bytes <= room
    for whole in order:
        if whole[Class.SAMPLES]:
            assert whole[Class.STRETCHES] == whole[Class.ROLLUPS] == whole[Class.SESSIONS] == 8
        if whole[Class.STRETCHES]:
            assert whole[Class.ROLLUPS] == whole[Class.SESSIONS] == 8
        if whole[Class.ROLLUPS]:
            assert whole[Class.SESSIONS] == 8
    assert 0 < order[-1][Class.SESSIONS] < 8
    assert order[-1][Class.ROLLUPS] == 0
    left = [one.header.day for one in batches(database, Class.SESSIONS) if one.body is not None]
    assert left == sorted(left)[-len(left) :]  # the oldest went first
    assert max(left) == "2026-11-08"
    found = report(database)
    assert found.good
    assert {one.code for one in found.findings} == {"dropped"}


def limit(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """log.outbox_megabytes is whole megabytes; tests need less."""
    monkeypatch.setattr(outbox, "most_bytes", lambda _: room)


def test_headers_go_too_where_there_is_no_room_even_for_these(
    database: Database, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, at(FIRST + 8 * DAY))
    limit(monkeypatch, 40_000)
    fill(database, at(FIRST + 8 * DAY, 4))
    with database.read() as db:
        held = store.held(db)
    assert 0 < held.disk_bytes <= 40_000
    assert held.batches == held.hollow
    fill(database, at(FIRST + 9 * DAY))
    with database.read() as db:
        assert store.held(db).disk_bytes <= 40_000
    last = max(one.header.number for one in batches(database))
    assert last == 28  # numbers go on: three of the day, and a notice of what was dropped


# --- acknowledgements -----------------------------------------------------------------------------------------------


def test_what_the_office_has_goes_and_is_no_loss(database: Database, figures: Figures) -> None:
    fill(database, at(FIRST + DAY))
    ack = acknowledge.parse(acknowledge.make(report(database).chains, OFFICE, 0), OFFICE.key)
    fill(database, at(FIRST + 2 * DAY))
    with database.write() as db:
        assert acknowledge.take(db, ack) == 3
        assert acknowledge.take(db, ack) == 0
    assert [one.header.number for one in batches(database)] == [4, 5, 6]
    fill(database, at(FIRST + 3 * DAY))
    assert batches(database)[-1].header.dropped.batches == 0
    assert batches(database)[-1].header.oldest == 4


def test_an_acknowledgement_of_other_batches_takes_none(database: Database, figures: Figures) -> None:
    fill(database, at(FIRST + DAY))
    content = acknowledge.make(report(database).chains, OFFICE, 0)
    ack = acknowledge.parse(content, OFFICE.key)
    from msgspec import structs

    (given,) = ack.received
    for wrong in (
        structs.replace(given, sha256="0" * 64),
        structs.replace(given, last=given.last + 1),
        structs.replace(given, epoch=BOOT),
    ):
        with database.write() as db:
            assert acknowledge.take(db, structs.replace(ack, received=[wrong])) == 0
    assert len(batches(database)) == 3


# --- whatever happens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_batch", [1, 2, 4, 5, 9])
def test_who_is_stopped_while_making_goes_on_and_makes_none_twice(
    database: Database, figures: Figures, monkeypatch: pytest.MonkeyPatch, at_batch: int
) -> None:
    class Stopped(BaseException):
        pass

    made = 0
    add = store.add

    def stop(*given: Any, **more: Any) -> None:
        nonlocal made
        made += 1
        if made == at_batch:
            raise Stopped
        add(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(store, "add", stop)
        with pytest.raises(Stopped):
            fill(database, at(FIRST + 3 * DAY))
    fill(database, at(FIRST + 3 * DAY, 4))
    found = report(database)
    assert found.good
    assert not found.findings
    assert Counter(Counter((one.header.day, one.header.kind) for one in found.chains[0].batches).values()) == {1: 9}


STEPS = st.one_of(
    st.tuples(st.just("days"), st.integers(1, 3)),
    st.tuples(st.just("room"), st.integers(20_000, 150_000)),
    st.tuples(st.just("change"), st.integers(0, 9)),
    st.tuples(st.just("ack"), st.just(0)),
    st.tuples(st.just("epoch"), st.just(0)),
)


@given(st.lists(STEPS, min_size=3, max_size=9))
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_batch_is_there_or_acknowledged_or_counted_as_dropped(
    pristine: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    for file in pristine.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    database = Database(folder / "gerbang.db")
    with database.write() as db:
        db.execute("UPDATE meta SET boot_id = ?1, trusted_boot_id = ?1", (BOOT,))
    figures = Figures({FIRST + number * DAY: 3 + number % 7 for number in range(40)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "rollups", figures)
        room, today, acknowledged = 10**9, FIRST, 0
        for step, value in steps:
            if step == "days":
                today += value * DAY
            elif step == "room":
                room = value
            elif step == "change":
                figures.devices[FIRST + value * DAY] += 1
            elif step == "epoch":
                with database.write() as db:
                    db.execute("UPDATE meta SET epoch = ?", (str(uuid.uuid4()),))
            else:
                found = report(database)
                ack = acknowledge.parse(acknowledge.make(found.chains, OFFICE, 0), OFFICE.key)
                acknowledged += sum(one.body is not None for chain in found.chains for one in chain.batches)
                with database.write() as db:
                    acknowledge.take(db, ack)
            limit(patch, room)
            fill(database, at(today, 3), config(outbox_days=9))
            found = report(database)
            assert {one.code for one in found.findings} <= {"begins", "dropped", *(["gap"] if acknowledged else [])}
            with database.read() as db:
                assert store.held(db).disk_bytes <= room
                made, dropped = db.execute("SELECT sum(made), sum(dropped_batches) FROM outbox_epoch").fetchone()
            whole = sum(one.body is not None for chain in found.chains for one in chain.batches)
            assert (made or 0) == whole + (dropped or 0) + acknowledged
    database.close()
