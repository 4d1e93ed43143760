"""What was seen of connections reaches the disk sealed, once, in few writes; what is missing or altered is noticed."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import zlib
from collections.abc import Callable

import pytest

from netctl import witness
from netctl.api.errors import UNREACHABLE, NetctlError
from netctl.kernel.base import Flow
from portal import sealing
from portal.domain import natlog as domain
from portal.domain.journal import Kind
from portal.domain.natlog import Span
from portal.natlog import CHUNK_S, CHUNK_SIGHTINGS, NatLog
from portal.paths import Paths
from portal.store import journal
from portal.store import natlog as store
from portal.store.db import Database, StoreError
from tests.unit.natlog.gateway import ANI, BUDI, OFFICE, OUTER, REMOTE, SITE, Gateway, config
from tests.unit.portal.fakes import OTHER_BOOT, Clock

Make = Callable[..., NatLog]


def opened(database: Database) -> list[list[Span]]:
    """What the office reads in each chunk."""
    with database.read() as db:
        return [domain.unpack(OFFICE.open(chunk.head.info(SITE), chunk.sealed))[0] for chunk in store.chunks(db)]


def heads(database: Database) -> list[domain.Head]:
    with database.read() as db:
        return store.heads(db)


def faults(database: Database) -> list[str]:
    with database.read() as db:
        return store.faults(db, SITE)


# --- when it is written -----------------------------------------------------------------------------------------------


def test_what_is_seen_is_sealed_ten_minutes_later_in_one_chunk(
    log: NatLog, gateway: Gateway, clock: Clock, database: Database
) -> None:
    log.tick()
    began_ms = gateway.now_ms
    clock.forward(100)
    first = gateway.see()
    while clock.now.boot_s * 1000 < first.at_boot_ms + CHUNK_S * 1000 - 5000:
        log.tick()
        assert heads(database) == []
        clock.forward(5)
    second = gateway.see(inner=BUDI, port=40_001)
    clock.forward(10)
    log.tick()
    (head,) = heads(database)
    assert (head.count, head.lost, head.last) == (2, 0, 2)
    assert (head.from_boot_ms, head.until_boot_ms) == (began_ms, gateway.now_ms)
    ((one, other),) = opened(database)
    assert (one.session, one.inner, one.first_ms) == (41, ANI, first.at_boot_ms)
    assert (other.session, other.inner, other.first_ms) == (42, BUDI, second.at_boot_ms)


def test_a_gateway_where_nothing_happens_writes_nothing(
    log: NatLog, gateway: Gateway, clock: Clock, database: Database
) -> None:
    for _ in range(500):
        log.tick()
        clock.forward(5)
    assert heads(database) == []
    gateway.see()
    clock.forward(5)
    log.tick()
    assert heads(database) == []  # ten minutes after it, not at once because nothing was for long


def test_many_connections_are_sealed_before_netctl_must_forget_them(
    log: NatLog, gateway: Gateway, database: Database
) -> None:
    for port in range(CHUNK_SIGHTINGS + 10):
        gateway.see(port=port)
    log.tick()
    assert [head.count for head in heads(database)] == [CHUNK_SIGHTINGS, 10]
    assert sum(map(len, opened(database))) == CHUNK_SIGHTINGS + 10


def test_a_loss_is_counted_once_although_nothing_else_happened(
    new_log: Make, gateway: Gateway, clock: Clock, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    log = new_log()
    gateway.witness.lose(7)
    log.flush()
    gateway.witness.lose(2)
    gateway.see()
    new_log().flush()
    log = new_log()
    clock.forward(3600)
    log.tick()
    clock.forward(3600)
    log.flush()
    assert [head.lost for head in heads(database)] == [7, 2]
    assert "7 sightings of connections or more were lost" in caplog.text


# --- once, whatever dies ----------------------------------------------------------------------------------------------


def test_the_next_meter_goes_on_where_the_last_chunk_ended(
    new_log: Make, gateway: Gateway, clock: Clock, database: Database
) -> None:
    gateway.see(port=1)
    new_log().stop()
    clock.forward(5)
    gateway.see(port=2)
    new_log().stop()
    assert [[span.inner_port for span in chunk] for chunk in opened(database)] == [[1], [2]]
    one, other = heads(database)
    assert other.from_boot_ms == one.until_boot_ms


def test_a_meter_that_is_killed_before_a_chunk_was_due_loses_nothing(
    new_log: Make, gateway: Gateway, database: Database
) -> None:
    gateway.see()
    new_log().tick()  # killed after it
    new_log().flush()
    assert [[span.inner_port for span in chunk] for chunk in opened(database)] == [[40_000]]


def test_a_disk_that_refuses_loses_nothing(
    log: NatLog, gateway: Gateway, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.see()

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(store, "add", refuse)
        with pytest.raises(StoreError):
            log.flush()
    log.flush()
    assert [[span.inner_port for span in chunk] for chunk in opened(database)] == [[40_000]]


def test_a_netctl_that_is_away_is_an_error_and_nothing_else(log: NatLog, gateway: Gateway, database: Database) -> None:
    gateway.see()
    gateway.failing = NetctlError(UNREACHABLE, "No netctl.")
    with pytest.raises(NetctlError):
        log.tick()
    gateway.failing = None
    log.flush()
    assert len(heads(database)) == 1


def test_a_new_netctl_begins_a_new_row_and_the_time_between_is_not_covered(
    log: NatLog, gateway: Gateway, clock: Clock, database: Database
) -> None:
    gateway.see()
    log.flush()
    clock.forward(30)
    gateway.restart()
    gateway.see(flow=Flow.OPEN)
    clock.forward(1)
    log.flush()
    one, other = heads(database)
    assert other.stream != one.stream
    assert other.from_boot_ms - one.until_boot_ms == pytest.approx(30_000, abs=10)
    assert faults(database) == []


def test_netctl_without_the_switch_is_left_alone(database: Database, clock: Clock) -> None:

    class Off:
        def connections(self, *_: object) -> object:
            return witness.nothing(clock.now.boot_id)

    log = NatLog(config(), Off(), database, clock)  # type: ignore[arg-type]
    log.tick()
    log.flush()
    assert heads(database) == []


# --- sealed -----------------------------------------------------------------------------------------------------------

SECRETS = (ANI, OUTER, REMOTE, "40000", "40123")


def test_no_address_or_port_stands_anywhere_on_the_disk_in_the_log_or_in_the_meters_memory(
    log: NatLog, gateway: Gateway, paths: Paths, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    gateway.see(port=40_123)
    gateway.see(flow=Flow.END, port=40_123)
    gateway.witness.lose(1)
    log.flush()
    with database.read() as db:
        dumped = "\n".join(db.iterdump())
        (sealed,) = [chunk.sealed for chunk in store.chunks(db)]
    assert not any(secret in dumped for secret in SECRETS)
    for start in range(len(sealed)):  # what is only packed is no secret
        unpacked = b""
        with contextlib.suppress(zlib.error):
            unpacked = zlib.decompressobj().decompress(sealed[start:])
        assert not any(secret.encode() in unpacked for secret in SECRETS)
    for file in paths.data.iterdir():
        content = file.read_bytes()
        assert not any(secret.encode() in content for secret in SECRETS), file
    assert not any(secret in caplog.text for secret in SECRETS)
    gateway.restart()
    gc.collect()
    held = [thing for thing in gc.get_objects() if isinstance(thing, Span)]
    assert not any(span.inner_port == 40_123 for span in held)


def test_only_the_offices_key_opens_a_chunk_and_only_as_that_chunk(
    log: NatLog, gateway: Gateway, database: Database
) -> None:
    gateway.see()
    log.flush()
    gateway.see()
    log.flush()
    with database.read() as db:
        one, other = store.chunks(db)
    with pytest.raises(sealing.SealingError):
        sealing.new_office_secret().open(one.head.info(SITE), one.sealed)
    with pytest.raises(sealing.SealingError):
        OFFICE.open(other.head.info(SITE), one.sealed)
    with pytest.raises(sealing.SealingError):
        OFFICE.open(one.head.info("64.03.01.2002"), one.sealed)


# --- whole ------------------------------------------------------------------------------------------------------------


def test_a_log_that_nobody_touched_has_no_faults(five: Database) -> None:
    assert len(heads(five)) == 5
    assert faults(five) == []


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("DELETE FROM nat_chunk WHERE number = 3", "Chunks 3 to 3 are missing."),
        ("DELETE FROM nat_chunk WHERE number <= 2", "Chunks 1 to 2 are missing."),
        ("UPDATE nat_chunk SET until_boot_ms = until_boot_ms + 1 WHERE number = 3", "Chunk 3 was altered."),
        ("UPDATE nat_chunk SET count = 0 WHERE number = 3", "Chunk 3 was altered."),
        ("UPDATE nat_chunk SET sealed = zeroblob(9) WHERE number = 5", "Chunk 5 was altered."),
        ("UPDATE nat_chunk SET hash = zeroblob(32) WHERE number = 3", "Chunk 3 was altered."),
        ("UPDATE nat_chunk SET before = zeroblob(32) WHERE number = 3", "Chunk 3 does not follow"),
        ("UPDATE nat_chunk SET number = 9 WHERE number = 5", "Chunks 5 to 8 are missing."),
    ],
)
def test_what_somebody_took_away_or_changed_is_named(five: Database, act: str, said: str) -> None:
    with five.write() as db:
        assert db.execute(act).rowcount > 0
    assert faults(five)[0].startswith(said)


# --- erased -----------------------------------------------------------------------------------------------------------


def test_what_is_too_old_is_erased_with_an_entry_and_the_rest_stays_whole(five: Database, clock: Clock) -> None:
    third = heads(five)[2]
    before_wall_s = (third.until_boot_ms + third.offset_ms) / 1000
    with five.write() as db:
        assert store.erase(db, before_wall_s, "2033-05-18", clock()) == 2
    with five.read() as db:
        entry = list(journal.entries(db))[-1]
        held = store.held(db)
    assert (entry.kind, entry.body) == (
        Kind.ERASURE,
        {"class": "nat", "before": "2033-05-18", "count": 2, "until": 2},
    )
    assert [head.number for head in heads(five)] == [3, 4, 5]
    assert (held.gone, held.dropped, held.chunks) == (2, 0, 3)
    assert faults(five) == []


def test_much_is_erased_in_parts(five: Database, clock: Clock) -> None:
    with five.write() as db:
        assert [store.erase(db, 1e11, "5138-11-16", clock(), most=2) for _ in range(4)] == [2, 2, 1, 0]


def test_where_nothing_is_too_old_nothing_is_said(five: Database, clock: Clock) -> None:
    with five.write() as db:
        assert store.erase(db, 0.0, "1970-01-01", clock()) == 0
        assert [entry for entry in journal.entries(db) if entry.kind is Kind.ERASURE] == []


def test_numbers_go_on_after_all_is_erased(five: Database, log: NatLog, gateway: Gateway, clock: Clock) -> None:
    with five.write() as db:
        assert store.erase(db, 1e11, "5138-11-16", clock()) == 5
        assert store.held(db).bytes == 0
    gateway.see(port=77)
    log.flush()
    assert [head.number for head in heads(five)] == [6]
    assert faults(five) == []


def test_erasing_goes_by_the_time_that_is_known_now(
    log: NatLog, gateway: Gateway, clock: Clock, database: Database
) -> None:
    """The clock stood at 1970 when it was written, and was set afterwards."""
    clock.reboot(OTHER_BOOT, wall_s=20.0)
    gateway.restart()
    gateway.see()
    log.flush()
    with database.write() as db:
        clock.set_wall(2_000_000_000.0)
        offset_ms = round((clock.now.wall_s - clock.now.boot_s) * 1000)
        journal.append(db, Kind.CLOCK, {"offset_ms": offset_ms}, clock())
        assert store.erase(db, 1_000_000.0, "1970-01-12", clock()) == 0
        (head,) = store.heads(db)
        assert store.Clock(db).times(head) == domain.Times(offset_ms, True)


def test_above_its_size_the_oldest_goes_and_is_counted(five: Database) -> None:
    with five.write() as db:
        size = store.held(db).bytes
        assert size == db.execute("SELECT sum(length(sealed)) FROM nat_chunk").fetchone()[0]
        assert store.drop_to(db, size) == 0
        assert store.drop_to(db, size - 1) == 1
        held = store.held(db)
        assert held.bytes == db.execute("SELECT sum(length(sealed)) FROM nat_chunk").fetchone()[0] < size
    assert (held.chunks, held.dropped, held.gone) == (4, 1, 1)
    assert faults(five) == []


def test_what_is_dropped_for_want_of_room_is_said(
    new_log: Make, gateway: Gateway, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.see()
    new_log(nat_megabytes=0).flush()
    assert heads(database) == []
    assert "NAT log: full; the oldest 1 connections were dropped." in caplog.text
