"""Counts what people used, ends what is over, watches the uplink, and keeps netctl at what the database says.

It must not know Flask, nor anything of the kernel but what netctl.api says.

Every TICK_S the counters are read and the whole state is pushed; every FLUSH_S, at each end of a session and when it
stops, what changed is written in one transaction (an SD card wears with every write). Whatever kills it in between: the
kernel keeps counting, and the next meter goes on from the readings that the totals on the disk include.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from netctl.api.client import Client
from netctl.api.errors import NetctlError
from netctl.api.types import DesiredState
from portal import clock, sync
from portal.config import SiteConfig
from portal.domain import policy, usage
from portal.domain.model import EndReason, Now, Session
from portal.domain.uplink import UplinkView
from portal.domain.usage import CounterKey, Reading
from portal.paths import Paths
from portal.store import check, counters, db, sessions, setup
from portal.store.db import Database, StoreError
from portal.uplink import UplinkWatch

log = logging.getLogger("gerbang.meter")

TICK_S = 5.0
FLUSH_S = 30.0
FORGET_EVERY_S = 3600.0
CHECK_AGAIN_S = 60.0
EX_TEMPFAIL = 75  # sysexits.h


def prepare(config: SiteConfig, paths: Paths) -> None:  # noqa: ARG001 - every role is given the same
    """What must happen before root is given up.

    A database that cannot be had is said, and the meter runs all the same: counters are read, the uplink is watched.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        setup.ensure(paths.database)
    except StoreError as error:
        log.error("%s", error)


def run_meter(config: SiteConfig, paths: Paths, stop: threading.Event) -> None:
    """Meter until ``stop`` is set, then write what is known.

    Raises SystemExit where the database has not been created: prepare must run again, with the rights that it needs.
    """
    watch = UplinkWatch(config.uplink.check_url)
    watch.start(stop)
    meter = Meter(config, paths, Client(paths.netctl_socket))
    while True:
        meter.tick(watch.view)
        if db.is_absent(paths.database):
            raise SystemExit(EX_TEMPFAIL)
        if stop.wait(TICK_S):
            break
    meter.stop(watch.view)


class Meter:
    """One step at a time; each part of a step fails for itself, so that a dead netctl loses no bytes and a broken
    database cuts nobody off."""

    def __init__(
        self, config: SiteConfig, paths: Paths, netctl: sync.Netctl, read_clock: Callable[[], Now] = clock.now
    ) -> None:
        self._plans = config.plan
        self._lan = policy.Lan(config.lan.address)
        self._path = paths.database
        self._database = Database(paths.database)
        self._netctl = netctl
        self._read_clock = read_clock
        self._checked = False
        self._check_due_boot_s = 0.0
        self._flushed: dict[CounterKey, Reading] = {}  # what the totals on the disk include, as far as known
        self._seen: dict[CounterKey, Reading] = {}  # the first reading that showed what each counter shows now
        self._active_boot_s: dict[int, float] = {}  # session id -> when its device was last seen to send
        self._uplink = UplinkView()  # what is on the disk
        self._flush_due_boot_s = 0.0
        self._forget_due_boot_s = 0.0
        self._drift = 0
        self._troubles: dict[str, str] = {}

    # --- one step ---------------------------------------------------------------------------------------------------

    def tick(self, uplink: UplinkView) -> None:
        checked = self._is_checked()  # before the first poll, which is compared with what the disk has
        polled = self._attempt("usage", self._poll)
        if not checked:
            return  # nothing is pushed from a database that may lack rows
        self._attempt("sessions", lambda: self._end_and_push(idle_too=polled))
        if self._read_clock().boot_s >= self._flush_due_boot_s:
            self._attempt("flush", self._flush)
            self._attempt("status", self._note_drift)
        self._attempt("uplink", lambda: self._write_uplink(uplink))

    def stop(self, uplink: UplinkView) -> None:
        """Write what is known; the sessions go on."""
        checked = self._is_checked()
        self._attempt("usage", self._poll)
        if checked:
            self._attempt("flush", self._flush)
            self._attempt("uplink", lambda: self._write_uplink(uplink))
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
        with self._database.write() as database:
            now = self._read_clock()
            carried = sessions.note_time(database, now)
            sessions.leave_addresses(database, self._lan.holds)
            self._flushed = counters.last_of_running(database)
            self._uplink = sessions.uplink_view(database, now)
        if carried:
            log.info("%d sessions go on after a restart of the machine.", carried)
        for key, reading in self._flushed.items():
            if key not in self._seen or self._seen[key].shows_the_same_as(reading):
                self._seen[key] = reading
        self._checked = True

    def _poll(self) -> None:
        sent_boot_s = self._read_clock().boot_s
        answer = self._netctl.usage()
        now = usage.readings(answer, sent_boot_s, self._read_clock().boot_s)
        for key, reading in now.items():
            before = self._seen.get(key)
            if before is not None and reading.shows_the_same_as(before):
                now[key] = before
            elif usage.delta(before, reading).up_bytes:
                self._active_boot_s[key.session_id] = reading.received_boot_s
        unflushed = {key: reading for key, reading in self._seen.items() if self._flushed.get(key) is not reading}
        self._seen = unflushed | now  # what netctl no longer reports is kept until it is on the disk

    def _end_and_push(self, idle_too: bool) -> None:
        state, ended = self._end_what_is_over(idle_too)
        pushed = self._attempt(
            "push", lambda: sync.bring_into_force(self._database, self._netctl, state, self._plans, self._read_clock)
        )
        if ended and pushed:
            self._attempt("usage", self._poll)  # the last bytes before the kernel closed
        if ended:
            self._flush_due_boot_s = 0.0

    def _end_what_is_over(self, idle_too: bool) -> tuple[DesiredState, bool]:
        """The state to push, and whether somebody's session ended for it."""
        with self._database.read() as database:
            now = self._read_clock()
            over = self._over(sessions.not_ended(database), now, idle_too)
            if not over:
                return sync.snapshot(database, self._plans, now), False
        with self._database.write() as database:
            now = self._read_clock()
            sessions.note_time(database, now)
            for session, reason in over:
                sessions.end(database, session.id, reason, now)
            sessions.next_generation(database)
            state = sync.snapshot(database, self._plans, now)
        for session, reason in over:
            log.info("Session %d ended: %s.", session.id, reason.value)
            self._active_boot_s.pop(session.id, None)
        return state, True

    def _over(self, running: Sequence[Session], now: Now, idle_too: bool) -> list[tuple[Session, EndReason]]:
        over = []
        for session in running:
            active_boot_s = max(session.active_boot_s, self._active_boot_s.get(session.id, 0.0))
            reason = policy.why_over(session, policy.plan_of(session, self._plans), now, active_boot_s)
            # Without a fresh reading nobody can be called idle.
            if reason is EndReason.TIME or (reason is not None and idle_too):
                over.append((session, reason))
        return over

    def _flush(self) -> None:
        now = self._read_clock()
        new = {key: reading for key, reading in self._seen.items() if self._flushed.get(key) is not reading}
        with self._database.read() as database:
            time_runs = sessions.any_deadline(database)
        if new or time_runs:
            with self._database.write() as database:
                sessions.note_time(database, now)
                to_read_again = counters.account(database, new)
                if now.boot_s >= self._forget_due_boot_s:
                    counters.forget(database, now)
            if now.boot_s >= self._forget_due_boot_s:
                self._forget_due_boot_s = now.boot_s + FORGET_EVERY_S
            for key in to_read_again:
                del self._seen[key]
        self._flushed = dict(self._seen)
        self._flush_due_boot_s = now.boot_s + FLUSH_S

    def _note_drift(self) -> None:
        drift = self._netctl.status().drift_total
        if drift > self._drift:
            log.warning("netctl mended %d differences between the kernel and what is desired.", drift - self._drift)
        self._drift = drift

    def _write_uplink(self, view: UplinkView) -> None:
        if (view.state, view.since_boot_s) == (self._uplink.state, self._uplink.since_boot_s):
            return
        if view.since_boot_s is None:
            return  # nothing was found yet
        with self._database.write() as database:
            now = self._read_clock()
            sessions.note_time(database, now)
            sessions.set_uplink(database, view, now)
        log.info("The uplink is %s.", view.state.value)
        self._uplink = view
