"""Counts what people used, ends what is over, watches the uplink, and keeps netctl at what the database says.

It must not know Flask, nor anything of the kernel but what netctl.api says.

Every TICK_S the counters are read and the whole state is pushed. An SD card wears with every write, so totals reach it
only twice in each quarter of the wall clock's hour (portal.logbook), when the meter stops, and at once of sessions
that end or slow; in between goes a heartbeat. Whatever kills the meter: the kernel keeps counting, and the next one
goes on from the readings that the totals on the disk include.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from netctl.api.client import Client
from netctl.api.errors import NetctlError
from netctl.api.types import DesiredState
from portal import clock, leases, sync
from portal.config import SiteConfig
from portal.domain import policy, usage
from portal.domain.model import Now
from portal.domain.siterules import Moment, SiteRules
from portal.domain.uplink import UplinkView
from portal.domain.usage import CounterKey, Delta, Reading
from portal.follow import LinkFollower
from portal.funnel import Funnel
from portal.leases import Lease
from portal.logbook import HEARTBEAT_S, Logbook, wake_s
from portal.paths import Paths
from portal.store import check, counters, db, people, sessions, setup
from portal.store.db import Database, StoreError
from portal.upkeep import Seen, Upkeep
from portal.uplink import Checker, UplinkWatch

if TYPE_CHECKING:
    from portal.natlog import NatLog

log = logging.getLogger("gerbang.meter")

TICK_S = 5.0
FORGET_EVERY_S = 3600.0
LATE_BYTES = 100_000  # of a session that somebody else ended: so many are written at once, fewer with the next flush
CHECK_AGAIN_S = 60.0
EX_TEMPFAIL = 75  # sysexits.h


def prepare(config: SiteConfig, paths: Paths) -> None:
    """What must happen before root is given up.

    A database that cannot be had is said, and the meter runs all the same: counters are read, the uplink is watched.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        setup.ensure(paths.database)
    except StoreError as error:
        log.error("%s", error)
    if config.log.nat:
        from portal import natlog  # noqa: PLC0415 - 10 MB of ciphers

        natlog.prepare(config)


def run_meter(
    config: SiteConfig, paths: Paths, stop: threading.Event, on_tick: Callable[[], object] = lambda: None
) -> None:
    """Meter until ``stop`` is set, then write what is known. ``on_tick`` is called after each tick.

    Raises SystemExit where the database has not been created: prepare must run again, with the rights that it needs.
    """
    watch = UplinkWatch(Checker(config.uplink).check)
    watch.start(stop)
    LinkFollower(config.uplink, Client(paths.netctl_socket)).start(stop)
    meter = Meter(config, paths, Client(paths.netctl_socket), nat_log=_nat_log(config, paths))
    while True:
        again_s = meter.tick(watch.view)
        if db.is_absent(paths.database):
            raise SystemExit(EX_TEMPFAIL)
        on_tick()
        if stop.wait(again_s):
            break
    meter.stop(watch.view)


def _nat_log(config: SiteConfig, paths: Paths) -> NatLog | None:
    if not config.log.nat:
        return None
    from portal.natlog import NatLog  # noqa: PLC0415 - loaded by prepare

    return NatLog(config, Client(paths.netctl_socket), Database(paths.database))


class Meter:
    """One step at a time; each part of a step fails for itself, so that a dead netctl loses no bytes and a broken
    database cuts nobody off."""

    def __init__(
        self,
        config: SiteConfig,
        paths: Paths,
        netctl: sync.Netctl,
        read_clock: Callable[[], Now] = clock.now,
        is_trusted: Callable[[], bool] = clock.wall_is_trusted,
        *,
        nat_log: NatLog | None = None,
    ) -> None:
        self._rules = SiteRules(config)
        self._lan = policy.Lan(config.lan.address)
        self._upkeep = Upkeep(self._rules, self._lan)
        self._log = Logbook(config)
        self._funnel = Funnel()
        self._is_trusted = is_trusted
        self._leases_path = paths.leases
        self._path = paths.database
        self._database = Database(paths.database)
        self._netctl = netctl
        self._nat_log = nat_log
        self._read_clock = read_clock
        self._checked = False
        self._check_due_boot_s = 0.0
        self._flushed: dict[CounterKey, Reading] = {}  # what the totals on the disk include, as far as known
        self._seen: dict[CounterKey, Reading] = {}  # the first reading that showed what each counter shows now
        self._active_boot_s: dict[int, float] = {}  # session id -> when its device was last seen to send
        self._bytes_s: dict[int, float] = {}  # session id -> bytes per second between the last two polls
        self._polled_boot_s = 0.0
        self._was_trusted: bool | None = None  # as of the last flush; None: there was none yet
        self._left: set[int] = set()  # sessions that somebody else ended, of which LATE_BYTES are not written
        self._seen_boot_s = 0.0  # the last heartbeat, whose ever it was
        self._view = UplinkView()
        self._uplink = UplinkView()  # what is on the disk
        self._again_s = TICK_S
        self._forget_due_boot_s = 0.0
        self._drift = 0
        self._troubles: dict[str, str] = {}

    # --- one step ---------------------------------------------------------------------------------------------------

    def tick(self, uplink: UplinkView) -> float:
        """Returns the seconds until the next: TICK_S, or less where somebody's budget could run out before, or the
        log's five minutes."""
        self._view = uplink
        checked = self._is_checked()  # before the first poll, which is compared with what the disk has
        if checked:
            self._attempt("clock", self._tell_clock)
            if self._time_turns():
                self._attempt("flush", self._flush)  # what was read before midnight is of the day before
                self._attempt("status", self._note_drift)
        polled = self._attempt("usage", self._poll)
        if not checked:
            return TICK_S  # nothing is pushed from a database that may lack rows
        self._again_s = TICK_S
        self._attempt("sessions", lambda: self._keep_up(idle_too=polled))
        if self._left:
            self._attempt("late", lambda: self._count_last(self._left))
        self._attempt("uplink", self._write_uplink)
        self._attempt("heartbeat", self._beat)
        if self._nat_log is not None:
            self._attempt("nat log", self._nat_log.tick)
        return min(self._again_s, wake_s(self._read_clock().wall_s))

    def stop(self, uplink: UplinkView) -> None:
        """Write what is known; the sessions go on."""
        self._view = uplink
        checked = self._is_checked()
        self._attempt("usage", self._poll)
        if checked:
            self._attempt("uplink", self._write_uplink)
            self._attempt("flush", lambda: self._flush(stopping=True))
        if self._nat_log is not None and checked:
            self._attempt("nat log", self._nat_log.stop)
        self._database.close()

    def _attempt(self, part: str, work: Callable[[], object]) -> bool:
        """Do it; say a trouble once, whichever parts it stops, and once that it is over."""
        try:
            work()
        except (StoreError, NetctlError) as error:
            if error.code not in self._troubles.values():
                log.error("%s", error)
            self._troubles[part] = error.code
            if error.code == db.DATABASE_CORRUPT:
                self._checked = False
            return False
        over = self._troubles.pop(part, None)
        if over is not None and over not in self._troubles.values():
            log.info("The trouble %s is over.", over)
        return True

    # --- parts ------------------------------------------------------------------------------------------------------

    def _is_checked(self) -> bool:
        """Is the database known to be whole? A damaged one is looked at again every CHECK_AGAIN_S."""
        now = self._read_clock()
        if not self._checked and now.boot_s >= self._check_due_boot_s:
            self._check_due_boot_s = now.boot_s + CHECK_AGAIN_S
            self._attempt("check", self._check)
        return self._checked

    def _check(self) -> None:
        """Once: is the file whole, which boot is this, and how far had the last meter come?"""
        check.check(self._path)
        self._attempt("push", lambda: sync.pass_held(self._database, self._netctl))
        with self._database.write() as database:
            now = self._read_clock()
            seen_boot_s = sessions.seen_boot_s(database, now)
            carried = sessions.note_time(database, now)
            self._log.start(database, seen_boot_s, now)
            sessions.leave_addresses(database, self._lan.holds)
            moment = self._moment(database, now)
            people.note_trusted(database, moment)
            people.count_time(database, moment)
            self._flushed = counters.last_of_running(database)
            self._uplink = sessions.uplink_view(database, now)
        if carried:
            log.info("%d sessions go on after a restart of the machine.", carried)
        for key, reading in self._flushed.items():
            if key not in self._seen or self._seen[key].shows_the_same_as(reading):
                self._seen[key] = reading
        self._checked = True

    def _tell_clock(self) -> None:
        """Once NTP has set the clock in this boot, and whenever it has moved it since."""
        if self._is_trusted() and self._log.clock_is_news(self._read_clock()):
            with self._database.write() as database:
                now = self._read_clock()
                sessions.note_time(database, now)
                people.note_trusted(database, self._moment(database, now))
                self._log.clock(database, now)
            self._log.clock_kept(now)

    def _time_turns(self) -> bool:
        """Since the last flush: are the five minutes over, and so perhaps the day, or has NTP set the clock?"""
        trusted = self._is_trusted()
        if self._was_trusted is None:
            self._was_trusted = trusted
        return self._log.slot_is_over(self._read_clock()) or (trusted and not self._was_trusted)

    def _poll(self) -> None:
        sent_boot_s = self._read_clock().boot_s
        answer = self._netctl.usage()
        now = usage.readings(answer, sent_boot_s, self._read_clock().boot_s)
        moved: Counter[int] = Counter()
        for key, reading in now.items():
            before = self._seen.get(key)
            if before is not None and reading.shows_the_same_as(before):
                now[key] = before
                continue
            new = usage.delta(before, reading)
            moved[key.session_id] += sum(new)
            if new.up_bytes:
                self._active_boot_s[key.session_id] = reading.received_boot_s
        took_s, self._polled_boot_s = sent_boot_s - self._polled_boot_s, sent_boot_s
        self._bytes_s = {session_id: octets / max(took_s, 0.001) for session_id, octets in moved.items()}
        unflushed = {key: reading for key, reading in self._seen.items() if self._flushed.get(key) is not reading}
        self._seen = unflushed | now  # what netctl no longer reports is kept until it is on the disk

    def _keep_up(self, idle_too: bool) -> None:
        """Look at who is online and waits, write what is new, and have the kernel like it."""
        state, ended = self._written_news(idle_too)
        pushed = self._attempt(
            "push", lambda: sync.bring_into_force(self._database, self._netctl, state, self._rules, self._read_clock)
        )
        if ended and pushed and self._attempt("usage", self._poll):
            self._attempt("flush", lambda: self._count_last(ended))  # the bytes before the kernel closed

    def _written_news(self, idle_too: bool) -> tuple[DesiredState, Collection[int]]:
        """The state to push, and whose sessions ended for it."""
        found_leases = self._leases()
        self._funnel.look(found_leases, self._read_clock().boot_s)
        with self._database.read() as database:
            now = self._read_clock()
            ended, unflushed = self._ended_by_others(database), self._unflushed()
            self._left = {number for number in ended if sum(unflushed.get(number, ())) >= LATE_BYTES}
            seen = Seen(
                unflushed=unflushed,
                ended=ended,
                bytes_s=self._bytes_s,
                active_boot_s=self._active_boot_s,
                idle_too=idle_too,
                leases=found_leases,
            )
            moment = self._moment(database, now)
            found = self._upkeep.look(database, moment, seen, TICK_S)
            self._again_s = found.check_again_s
            self._seen_boot_s = sessions.seen_boot_s(database, now) or 0.0
            if not self._upkeep.is_news(found):
                return sync.snapshot(database, self._rules, now), ()
        with self._database.write() as database:
            now = self._read_clock()
            sessions.note_time(database, now)
            new = self._new_readings(found.counted)
            held = self._count(database, now, new)
            arrived = self._upkeep.carry_out(database, now, found)
            state = sync.snapshot(database, self._rules, now)
        self._note_counted(new, held)
        self._upkeep.done(found, arrived, found_leases)
        for session, reason in found.over:
            log.info("Session %d ended: %s.", session.id, reason.value)
            self._active_boot_s.pop(session.id, None)
        return state, {session.id for session, _ in found.over}

    def _moment(self, database: sqlite3.Connection, now: Now) -> Moment:
        return people.moment(database, now, self._rules.zone, trusted=self._is_trusted())

    def _leases(self) -> dict[str, Lease]:
        try:
            return leases.read(self._leases_path)
        except OSError as error:
            if self._troubles.get("leases") != str(error):
                log.warning("Devices that are let in without a tap are met at the portal only: %s.", error)
                self._troubles["leases"] = str(error)
            return {}

    def _ended_by_others(self, database: sqlite3.Connection) -> dict[int, int]:
        """Ended sessions of which something was read that this meter has not written yet, and whose they were.

        Who ended them may have counted some of it.
        """
        persons = {}
        for session_id in {key.session_id for key in self._new_readings()} - sessions.ids_not_ended(database):
            for key, last in counters.last_of(database, session_id).items():
                if (seen := self._seen.get(key)) is not None:
                    self._flushed[key] = seen if last.shows_the_same_as(seen) else last
            found = sessions.by_id(database, session_id)
            if found is not None and found.person_id is not None:
                persons[session_id] = found.person_id
        return persons

    def _unflushed(self) -> dict[int, Delta]:
        """Bytes by session that the totals on the disk do not include."""
        new: dict[int, Delta] = {}
        for key, part in usage.deltas(self._flushed, self._seen).items():
            new[key.session_id] = usage.total((new.get(key.session_id, usage.NOTHING), part))
        return new

    def _flush(self, *, stopping: bool = False) -> None:
        """Everything that is known, or what is due in the log alone."""
        trusted = self._is_trusted()
        with self._database.write() as database:
            now = self._read_clock()
            sessions.note_time(database, now)
            new: dict[CounterKey, Reading] = {}
            held: dict[CounterKey, Reading] = {}
            if stopping or trusted is not self._was_trusted or self._log.totals_are_due(now):
                new = self._new_readings()
                held = self._count(database, now, new)
            else:
                people.note_trusted(database, self._moment(database, now))
            if self._view.since_boot_s is not None and self._view.state is self._uplink.state:
                sessions.set_uplink(database, self._view, now)
            self._log.slot(database, self._view, self._polled_boot_s or now.boot_s, now)
            self._funnel.flush(database, self._moment(database, now), self._log.offset_ms)
            if stopping:
                self._log.stop(database, now)
            forgets = now.boot_s >= self._forget_due_boot_s
            if forgets:
                counters.forget(database, now)
        self._flushed = {key: reading for key, reading in self._flushed.items() if key in self._seen}
        self._note_counted(new, held)
        self._log.slot_kept(now)
        self._funnel.kept()
        self._was_trusted = trusted
        if forgets:
            self._forget_due_boot_s = now.boot_s + FORGET_EVERY_S

    def _count_last(self, ended: Collection[int]) -> None:
        """What moved between the reading that went with the ends of these sessions and the kernel's closing."""
        if new := self._new_readings(ended):
            with self._database.write() as database:
                now = self._read_clock()
                sessions.note_time(database, now)
                held = counters.account(database, new, self._moment(database, now))
            self._note_counted(new, held)

    def _beat(self) -> None:
        """Tell how far this boot came, where nobody has lately."""
        if self._read_clock().boot_s - self._seen_boot_s > HEARTBEAT_S - TICK_S:
            with self._database.write() as database:
                sessions.note_time(database, self._read_clock())

    def _new_readings(self, only: Collection[int] | None = None) -> dict[CounterKey, Reading]:
        """What the totals do not include yet; ``only`` of these sessions."""
        return {
            key: reading
            for key, reading in self._seen.items()
            if self._flushed.get(key) is not reading and (only is None or key.session_id in only)
        }

    def _count(
        self, database: sqlite3.Connection, now: Now, new: dict[CounterKey, Reading]
    ) -> dict[CounterKey, Reading]:
        """Add what is new to the totals: bytes, time, and what a trusted clock says. As counters.account."""
        moment = self._moment(database, now)
        people.note_trusted(database, moment)
        people.count_time(database, moment)
        return counters.account(database, new, moment)

    def _note_counted(self, new: dict[CounterKey, Reading], held: dict[CounterKey, Reading]) -> None:
        """It is on the disk, but for what must be read again, of which the totals include what is ``held``."""
        self._flushed |= new | held
        for key in held:
            del self._seen[key]

    def _note_drift(self) -> None:
        drift = self._netctl.status().drift_total
        if drift > self._drift:
            log.warning("netctl mended %d differences between the kernel and what is desired.", drift - self._drift)
        self._drift = drift

    def _write_uplink(self) -> None:
        """At once what people are told; delay and loss ride along with it, and with each flush."""
        view, held = self._view, self._uplink
        told = (view.state, view.since_boot_s, view.failing)
        if view.since_boot_s is None or told == (held.state, held.since_boot_s, held.failing):
            return  # nothing was found yet, or nothing is new
        with self._database.write() as database:
            now = self._read_clock()
            sessions.note_time(database, now)
            sessions.set_uplink(database, view, now)
            self._log.uplink(database, view, now)
        log.info("The uplink is %s%s.", view.state, f": {view.failing} fails" if view.failing else "")
        self._uplink = view
