"""What is made of the log in any steps is what is made of it at once, whatever the log tells."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from portal.domain import tally
from portal.domain.journal import Class, Kind
from portal.domain.model import Now
from portal.store import db as store
from portal.store import erasure, journal, migrations, rollups, setup
from tests.unit.rollups.conftest import ZONE, dump

START_S = 1_793_664_000.0
lengths = st.floats(0.0, 1.0).map(lambda share: 2.0 ** (share * 17))  # 1 s to 36 hours


@functools.cache
def pristine() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as directory:
        setup.create_or_migrate(Path(directory) / "gerbang.db", migrations.migrate)
        return {file.name: file.read_bytes() for file in Path(directory).iterdir()}


class Projection(RuleBasedStateMachine):
    """Writes a log as it could be, and takes it in in steps."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        for name, content in pristine().items():
            (self.directory / name).write_bytes(content)
        self.db = store.connect(self.directory / "gerbang.db")
        self.db.execute("BEGIN")  # and never on the disk
        self.ids, self.boots = itertools.count(1), itertools.count(1)
        self.open: dict[int, list[int]] = {}
        self.ended: dict[int, list[int]] = {}
        self.true_s = START_S
        self.seen_s = 0.0
        self.boot, self.boot_began_s, self.wrong_s = "", 0.0, 0.0
        self.boots_up(20.0, 0.0)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            try:
                self.is_the_same_as_made_at_once()
            finally:
                self.db.close()
                shutil.rmtree(self.directory)

    # --- writing ----------------------------------------------------------------------------------------------------

    @property
    def boot_s(self) -> float:
        return self.true_s - self.boot_began_s

    def tell(self, kind: Kind, **body: Any) -> None:
        now = Now(self.boot, self.boot_s, self.true_s + self.wrong_s)
        journal.append(self.db, kind, body, now)
        self.seen_s = self.boot_s

    def starts(self, seen_ms: int | None, provider: str = "Telkom") -> None:
        said = {"site": "1", "version": "1", "zone": ZONE.key, "link": "fibre"}
        self.tell(Kind.START, provider=provider, seen_ms=seen_ms, **said)

    def boots_up(self, took_s: float, wrong_s: float) -> None:
        before, seen_ms = self.boot or None, round(self.seen_s * 1000) if self.boot else None
        self.boot, self.boot_began_s = f"boot {next(self.boots)}", self.true_s - took_s
        self.wrong_s = wrong_s
        self.tell(Kind.BOOT, before=before, seen_ms=seen_ms, clean=False)
        for session, moved in list(self.open.items()):
            end = {"s": session, "reason": "power", "up": moved[0], "down": moved[1]}
            self.tell(Kind.END, **end, at_ms=seen_ms, boot=before)
            del self.open[session]
            self.begins(session)
        self.starts(None)

    def begins(self, after: int | None) -> None:
        session = next(self.ids)
        self.tell(Kind.BEGIN, s=session, d=f"d{session % 5}", plan="warga", method="terms", after=after)
        self.open[session] = [0, 0]

    @rule(length_s=lengths)
    def time_passes(self, length_s: float) -> None:
        self.true_s += length_s

    @rule()
    def somebody_comes(self) -> None:
        self.begins(None)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), up=st.integers(0, 999), ago_s=st.floats(0, 5))
    def is_told(self, data: st.DataObject, up: int, ago_s: float) -> None:
        session = data.draw(st.sampled_from(sorted(self.open)))
        self.open[session][0] += up
        self.open[session][1] += up * 7
        at_ms = round((self.boot_s - ago_s) * 1000)
        self.tell(Kind.INTERIM, s=session, up=self.open[session][0], down=self.open[session][1], at_ms=at_ms)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), up=st.integers(0, 999))
    def somebody_goes(self, data: st.DataObject, up: int) -> None:
        session = data.draw(st.sampled_from(sorted(self.open)))
        moved = self.ended[session] = self.open.pop(session)
        moved[0] += up
        end = {"s": session, "reason": "logout", "up": moved[0], "down": moved[1]}
        self.tell(Kind.END, **end, at_ms=round(self.boot_s * 1000), boot=self.boot)

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), down=st.integers(1, 999))
    def more_was_under_way(self, data: st.DataObject, down: int) -> None:
        session = data.draw(st.sampled_from(sorted(self.ended)))
        moved = self.ended.pop(session)
        said = {"s": session, "up": moved[0], "down": moved[1] + down}
        self.tell(Kind.FINAL, **said, at_ms=round(self.boot_s * 1000))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def has_another_plan(self, data: st.DataObject) -> None:
        self.tell(Kind.PLAN, s=data.draw(st.sampled_from(sorted(self.open))), plan="kantor")

    @rule(state=st.sampled_from(["up", "down", "degraded", "unknown"]), ago_s=st.floats(0, 30))
    def the_line_changes(self, state: str, ago_s: float) -> None:
        self.tell(Kind.UPLINK, state=state, failing=None, at_ms=round((self.boot_s - ago_s) * 1000))

    @rule(latency_ms=st.none() | st.floats(0.1, 999), loss=st.none() | st.floats(0, 1), online=st.integers(0, 5))
    def a_sample(self, latency_ms: float | None, loss: float | None, online: int) -> None:
        self.tell(Kind.SAMPLE, online=online, latency_ms=latency_ms, loss=loss)

    @rule(joined=st.integers(0, 9))
    def the_funnel(self, joined: int) -> None:
        day = dt.datetime.fromtimestamp(self.true_s, ZONE).date().isoformat()
        self.tell(Kind.FUNNEL, day=day, os={"android": [joined, joined, joined]})

    @rule(error_s=st.just(0.0) | st.floats(-90_000, 90_000))
    def ntp_sets_the_clock(self, error_s: float) -> None:
        self.wrong_s = error_s
        self.db.execute("UPDATE meta SET trusted_boot_id = ?", (self.boot,))
        self.tell(Kind.CLOCK, offset_ms=round((self.true_s + self.wrong_s - self.boot_s) * 1000))

    @rule(off_s=lengths, wrong_s=st.just(0.0) | st.floats(-90_000, 90_000) | st.just(-START_S))
    def power_fails(self, off_s: float, wrong_s: float) -> None:
        self.true_s += off_s
        self.boots_up(20.0, wrong_s)

    @rule(gap_s=lengths, in_order=st.booleans(), provider=st.sampled_from(["Telkom", "Satelit"]))
    def starts_again(self, gap_s: float, in_order: bool, provider: str) -> None:
        seen_ms = round(self.boot_s * 1000)
        if in_order:
            self.tell(Kind.STOP)
        self.true_s += gap_s
        self.starts(seen_ms, provider)

    # --- what is taken away -----------------------------------------------------------------------------------------

    @rule(back=st.integers(1, 12), count=st.integers(1, 10))
    def entries_are_lost(self, back: int, count: int) -> None:
        head, _ = journal.head(self.db)
        last = head - back
        first = max(last - count + 1, 2)
        there = self.db.execute(
            "SELECT count(*) FROM journal WHERE seq BETWEEN ? AND ? AND kind NOT IN ('erasure', 'lost')", (first, last)
        ).fetchone()[0]
        if first > last or there != last - first + 1:
            return
        self.bury(list(range(first, last + 1)))
        self.tell(Kind.LOST, first=first, last=last)

    @rule(days_ago=st.integers(0, 4))
    def sessions_are_erased(self, days_ago: int) -> None:
        """As portal.retention does."""
        before, wall_ms = self.day(days_ago)
        rollups.catch_up(self.db, ZONE)
        gone = rollups.erasable_sessions(self.db, ZONE, before)
        last, look = (erasure.written_before(self.db, moment) for moment in (wall_ms, wall_ms + 86_400_000))
        told = erasure.of_sessions(self.db, last, look, gone)
        if self.erase(Class.SESSIONS, before, list(itertools.chain(*told))):
            rollups.erase_sessions(self.db, before)

    @rule(days_ago=st.integers(0, 4))
    def samples_are_erased(self, days_ago: int) -> None:
        before, wall_ms = self.day(days_ago)
        last = erasure.written_before(self.db, wall_ms)
        self.erase(Class.SAMPLES, before, erasure.of_kinds(self.db, [Kind.SAMPLE], last, 99))

    def day(self, days_ago: int) -> tuple[dt.date, int]:
        """One that is past, and the moment at which it began."""
        day = dt.datetime.fromtimestamp(self.true_s, ZONE).date() - dt.timedelta(days=days_ago)
        return day, tally.day_ms(day, ZONE)[0]

    def erase(self, kind: Class, before: dt.date, seqs: list[int]) -> int:
        now = Now(self.boot, self.boot_s, self.true_s + self.wrong_s)
        if not seqs:
            return 0
        with rollups.erasing(self.db, seqs, before):
            return erasure.entries(self.db, seqs, kind.value, before.isoformat(), now)

    def bury(self, seqs: list[int]) -> None:
        for seq in seqs:
            (found,) = self.db.execute("DELETE FROM journal WHERE seq = ? RETURNING hash", (seq,)).fetchone()
            self.db.execute("INSERT INTO journal_tomb VALUES (?, ?, ?)", (seq, seq, found))

    # --- taking in --------------------------------------------------------------------------------------------------

    @rule(limit=st.none() | st.integers(1, 9))
    def catches_up(self, limit: int | None) -> None:
        rollups.catch_up(self.db, ZONE, limit)

    def is_the_same_as_made_at_once(self) -> None:
        rollups.catch_up(self.db, ZONE)
        in_steps = dump(self.db)
        there = self.db.execute("SELECT count(*) FROM journal").fetchone()[0]
        assert rollups.rebuild(self.db, ZONE) == there
        assert dump(self.db) == in_steps
        assert not rollups.behind(self.db, ZONE)
        self.adds_up(self.db)

    def adds_up(self, db: sqlite3.Connection) -> None:
        hours = rollups.hours(db, ZONE, dt.date.min, dt.date.max)
        for day in rollups.days(db, ZONE, dt.date.min, dt.date.max):
            of_day = [hour for hour in hours if hour.day == day.day]
            from_ms, until_ms = tally.day_ms(day.day, ZONE)
            assert round(sum(day.seconds.values()) * 1000) == until_ms - from_ms
            assert all(round(sum(hour.seconds.values())) == 3600 for hour in of_day)
            assert sum(hour.up_bytes for hour in of_day) == day.up_bytes
            assert sum(hour.sessions for hour in of_day) == day.sessions
            assert max(hour.peak_online for hour in of_day) == day.peak_online
            assert day.devices <= sum(hour.devices for hour in of_day)


TestProjection = Projection.TestCase
TestProjection.settings = settings(max_examples=30, stateful_step_count=30)
