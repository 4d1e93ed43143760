"""What the usage log says of sessions and boots: portal.store.sessions, portal.entrance, portal.store.journal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from portal.admission import Gate
from portal.domain.journal import Kind
from portal.domain.model import EndReason
from portal.store import journal, people, sessions
from portal.store.db import Database
from tests.unit.portal.conftest import ZONE
from tests.unit.portal.fakes import BOOT, OTHER_BOOT, Clock

Query = Callable[..., list[tuple[Any, ...]]]
MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


def told(database: Database, *kinds: Kind) -> list[dict[str, Any]]:
    """The bodies of the entries of these kinds, in order."""
    with database.read() as db:
        return [{"kind": one.kind, **one.body} for one in journal.entries(db) if one.kind in kinds]


def test_a_session_is_told_from_its_begin_to_its_end_by_pseudonym_alone(
    gate: Gate, database: Database, clock: Clock, query: Query
) -> None:
    session = gate.enter_by_terms(MAC, "10.77.0.9", "1")
    query("UPDATE session SET up_bytes = 7, down_bytes = 9")
    clock.forward(10)
    gate.logout(session)
    begin, end = told(database, Kind.BEGIN, Kind.END)
    assert re.fullmatch("[0-9a-f]{16}", begin.pop("d"))
    assert begin == {"kind": "begin", "s": session.id, "plan": "warga", "method": "terms", "after": None}
    assert (end.pop("at_ms"), end.pop("boot")) == (pytest.approx(1_010_000, abs=1), BOOT)
    assert end == {"kind": "end", "s": session.id, "reason": "logout", "up": 7, "down": 9}
    log = str(query("SELECT body FROM journal"))
    assert MAC not in log
    assert "10.77.0.9" not in log


def test_a_device_has_one_pseudonym_in_a_month_and_another_in_the_next(
    gate: Gate, database: Database, clock: Clock
) -> None:
    for mac, days in ((MAC, 0), (OTHER_MAC, 0), (MAC, 1), (MAC, 31)):
        clock.forward(days * 86_400)
        gate.logout(gate.enter_by_terms(mac, "10.77.0.9", "1"))
    one, other, again, later = [begin["d"] for begin in told(database, Kind.BEGIN)]
    assert one == again
    assert len({one, other, later}) == 3


def test_an_end_that_was_recorded_is_told_once(gate: Gate, database: Database, clock: Clock) -> None:
    session = gate.enter_by_terms(MAC, "10.77.0.9", "1")
    with database.write() as db:
        assert sessions.end(db, session.id, EndReason.IDLE, clock(), ZONE)
        assert not sessions.end(db, session.id, EndReason.STAFF, clock(), ZONE)
    assert [end["reason"] for end in told(database, Kind.END)] == ["idle"]


@pytest.mark.parametrize(("stopped", "reason"), [(False, "power"), (True, "restart")])
def test_a_new_boot_tells_when_the_old_one_ended_and_goes_on_with_new_sessions(
    gate: Gate, database: Database, clock: Clock, stopped: bool, reason: str
) -> None:
    session = gate.enter_by_terms(MAC, "10.77.0.9", "1")
    clock.forward(60)
    with database.write() as db:
        sessions.note_time(db, clock())
        journal.append(db, Kind.START, {}, clock())
        if stopped:
            journal.append(db, Kind.STOP, {}, clock())
    clock.forward(500)
    clock.reboot()
    with database.write() as db:
        sessions.note_time(db, clock())
        (again,) = sessions.not_ended(db)
    first_boot, boot = told(database, Kind.BOOT)
    assert (first_boot["before"], first_boot["seen_ms"]) == (None, None)
    seen_ms = boot.pop("seen_ms")
    assert seen_ms == pytest.approx(1_060_000, abs=1)
    assert boot == {"kind": "boot", "before": BOOT, "clean": stopped}
    (end,) = told(database, Kind.END)
    assert end == {
        "kind": "end", "s": session.id, "reason": reason, "up": 0, "down": 0, "at_ms": seen_ms, "boot": BOOT,
    }  # fmt: skip
    first, second = told(database, Kind.BEGIN)
    assert second == first | {"s": again.id, "after": session.id}
    with database.read() as db:
        assert [(one.kind, one.boot_id) for one in list(journal.entries(db))[-3:]] == [
            (kind, OTHER_BOOT) for kind in (Kind.BOOT, Kind.END, Kind.BEGIN)
        ]


def test_time_online_counts_up_to_the_last_heartbeat_before_the_power_went(
    gate: Gate, database: Database, clock: Clock, query: Query
) -> None:
    gate.enter_by_terms(MAC, "10.77.0.9", "1")
    with database.write() as db:
        people.count_time(db, people.moment(db, clock(), ZONE))
    clock.forward(240)
    with database.write() as db:
        sessions.note_time(db, clock())
    clock.forward(30)
    clock.reboot(wall_s=60.0)
    clock.forward(10)
    with database.write() as db:
        sessions.note_time(db, clock())
    assert query("SELECT day, seconds FROM person_day") == [("2033-05-18", pytest.approx(240, abs=0.01))]
    clock.forward(5)
    with database.write() as db:
        people.count_time(db, people.moment(db, clock(), ZONE))
    assert query("SELECT sum(seconds) FROM person_day") == [(pytest.approx(245, abs=0.01),)]


def test_what_was_lost_at_the_end_of_the_log_is_gone_on_after(database: Database, clock: Clock) -> None:
    with database.write() as db:
        first = journal.append(db, Kind.START, {}, clock())
        db.execute("INSERT INTO journal_tomb VALUES (?, ?, ?)", (first + 1, first + 3, bytes(range(32))))
        assert journal.head(db) == (first + 3, bytes(range(32)))
        assert journal.append(db, Kind.STOP, {}, clock()) == first + 4
        assert journal.head(db)[0] == first + 4
