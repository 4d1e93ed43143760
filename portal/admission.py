"""Lets devices in and out: commits to the database, pushes to netctl, answers when the kernel has done it.

It must not know HTTP, nothing of the kernel but what netctl.api says, and not who may come in (portal.entrance).

Group commit: whoever asks waits in a queue; one thread per process takes all that wait, makes one transaction, one
fsync and one push of them, and wakes them. A storm of logins so costs few of either.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from netctl.api import errors
from netctl.api.client import Client
from netctl.api.errors import NetctlError
from portal import clock, passwords, sync
from portal.config import SiteConfig
from portal.domain import budget, codes, localtime, policy, usage
from portal.domain.attempts import Attempts
from portal.domain.model import EndReason, Notice, Now, Place, Refusal, Session, Uplink, Visit
from portal.domain.siterules import SiteRules
from portal.domain.usage import CounterKey, Reading
from portal.entrance import Caller, Entered, Entrance
from portal.footprints import Footprint, Footprints
from portal.gatekeeper import GateError, Refused
from portal.paths import Paths
from portal.store import accounts, arrivals, counters, devices, notices, people, sessions, waiting
from portal.store.db import Database, StoreError

log = logging.getLogger("gerbang.admission")
T = TypeVar("T")

ANSWER_WITHIN_S = 15.0  # a caller's patience; the work itself is bounded by the busy timeout and netctl's deadline
ARRIVALS_EVERY_S = 30.0  # who asked for a page is written with the next login, or after so long: for the disk's sake
SEEN_EVERY_S = 30.0  # who waits is written down to be still there: seldom, for the sake of the disk


class _Job(Generic[T]):
    """One caller's wish, and what became of it once ``done`` is set.

    ``work`` is done in the committer's transaction; it raises Refused before it has written anything. ``pushes``: who
    is let in must be in force before the answer. ``leaving``: the session that it ends, whose bytes are counted.
    """

    __slots__ = ("done", "error", "leaving", "pushes", "result", "work")

    def __init__(
        self, work: Callable[[sqlite3.Connection, Now], T], *, pushes: bool = True, leaving: Session | None = None
    ) -> None:
        self.work = work
        self.pushes = pushes
        self.leaving = leaving
        self.result: T  # set unless there is an error
        self.error: GateError | Refused | None = None
        self.done = threading.Event()


class _NothingWritten(Exception):
    """Undoes a transaction in which nobody changed anything: who is refused costs no write."""


class Gate:
    """The gatekeeper of one process, on the real database and netctl. See portal.gatekeeper for the methods.

    Nothing is opened before it is used, so that a database or netctl that is away at start is an answer, not an end.
    """

    def __init__(
        self,
        config: SiteConfig,
        paths: Paths,
        netctl: sync.Netctl | None = None,
        read_clock: Callable[[], Now] = clock.now,
    ) -> None:
        self._rules = SiteRules(config)
        self._entrance = Entrance(self._rules)
        self._lan = policy.Lan(config.lan.address)
        self._is_settled = False
        self._netctl = netctl if netctl is not None else Client(paths.netctl_socket)
        self._read_clock = read_clock
        self._reader = Database(paths.database)
        self._writer = Database(paths.database)
        self._attempts = Attempts()
        self._footprints = Footprints()
        self._arriving: list[Footprint] = []  # of these, in the transaction that is under way
        self._waiting: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._committer: threading.Thread | None = None
        self._door = threading.Lock()  # nothing joins the queue behind its end

    # --- asking -----------------------------------------------------------------------------------------------------

    def whois(self, ip: str) -> str | None:
        try:
            return self._netctl.whois(ip)
        except NetctlError as error:
            raise _gate_error(error) from error

    def visit(self, mac: str) -> Visit:
        def found(db: sqlite3.Connection) -> tuple[Visit, list[tuple[int, dict[CounterKey, Reading]]]]:
            visit = self._entrance.visit(db, self._read_clock(), mac)
            if visit.session is None or visit.session.person_id is None or visit.left.bytes is None:
                return visit, []
            running = sessions.not_ended_of_person(db, visit.session.person_id)
            return visit, [(session.id, counters.last_of(db, session.id)) for session in running]

        visit, counted = self._read(found)
        new = [part for number, last in counted for part in usage.deltas(last, self._counters_of(number)).values()]
        return replace(visit, left=budget.less(visit.left, sum(usage.total(new)))) if new else visit

    def session(self, mac: str) -> Session | None:
        session = self._read(lambda db: sessions.not_ended_of(db, mac))
        return session if session is not None and policy.is_running(session, self._read_clock()) else None

    def bytes_used(self, session: Session) -> tuple[int, int]:
        seen = self._counters_of(session.id)
        flushed, last = self._read(  # one snapshot: totals and the readings that they include
            lambda db: (sessions.by_id(db, session.id) or session, counters.last_of(db, session.id))
        )
        new = usage.total(usage.deltas(last, seen).values())
        return flushed.up_bytes + new.up_bytes, flushed.down_bytes + new.down_bytes

    def remaining_s(self, session: Session) -> float | None:
        return policy.remaining_s(session, self._read_clock())

    def uplink(self) -> Uplink:
        return self._read(lambda db: sessions.uplink(db, self._read_clock()))

    def notices(self) -> list[Notice]:
        def shown(db: sqlite3.Connection) -> list[Notice]:
            return notices.shown(db, people.moment(db, self._read_clock(), self._rules.zone).wall_s)

        return self._read(shown)

    def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """The answer from one snapshot."""
        try:
            with self._reader.read() as db:
                return question(db)
        except StoreError as error:
            raise _gate_error(error) from error

    def _counters_of(self, session_id: int) -> dict[CounterKey, Reading]:
        sent_boot_s = self._read_clock().boot_s
        try:
            answer = self._netctl.usage(session_id)
        except NetctlError:
            return {}
        return usage.readings(answer, sent_boot_s, self._read_clock().boot_s)

    # --- changing ---------------------------------------------------------------------------------------------------

    def enter_by_terms(self, mac: str, ipv4: str | None, terms_version: str) -> Session:
        caller = Caller(mac, ipv4)
        return self._enter(caller, lambda db, now: self._entrance.by_terms(db, now, caller, terms_version))

    def enter_by_code(self, mac: str, ipv4: str | None, typed_text: str) -> Session:
        caller = Caller(mac, ipv4)

        def attempt() -> Session:
            if (code := codes.parse(typed_text)) is None:
                raise Refused(Refusal.CODE_WRONG)
            return self._enter(caller, lambda db, now: self._entrance.by_code(db, now, caller, code))

        return self._limited(caller, attempt)

    def enter_by_account(self, mac: str, ipv4: str | None, name: str, password: str) -> Session:
        caller = Caller(mac, ipv4)

        def attempt() -> Session:
            account, device = self._read(lambda db: (accounts.by_name(db, name), devices.by_mac(db, mac)))
            if device is not None and device.rule == "block":
                raise Refused(Refusal.BLOCKED)
            # Here and not in the transaction: it takes as long as a password should, and 19 MiB (portal.passwords).
            known = account is not None and not account.disabled
            password_hash = account.password_hash if account is not None and known else None
            if not passwords.verify(password_hash, password) or account is None or password_hash is None:
                raise Refused(Refusal.ACCOUNT_WRONG)
            return self._enter(
                caller, lambda db, now: self._entrance.by_account(db, now, caller, account.id, password_hash)
            )

        if "account" not in self._rules.methods:
            raise Refused(Refusal.METHOD)
        return self._limited(caller, attempt)

    def enter_by_rule(self, mac: str, ipv4: str | None) -> Session:
        caller = Caller(mac, ipv4)
        return self._enter(caller, lambda db, now: self._entrance.by_rule(db, now, caller))

    def renew(self, session: Session, ipv4: str | None) -> Session:
        return self._enter(Caller(session.mac, ipv4), lambda db, now: self._entrance.renew(db, now, session, ipv4))

    def logout(self, session: Session) -> None:
        def end(db: sqlite3.Connection, now: Now) -> Entered:
            ended = sessions.end(db, session.id, EndReason.LOGOUT, now, self._rules.zone)
            return Entered(session, changed=ended)

        self._submit(_Job(end, leaving=session))

    def wait(self, mac: str) -> Place:
        def place_of_one_seen_lately(db: sqlite3.Connection) -> Place | None:
            now = self._read_clock()
            seen_boot_s = [found.seen_boot_s for found in waiting.queue(db, now) if found.mac == mac]
            lately = seen_boot_s and now.boot_s - seen_boot_s[0] < SEEN_EVERY_S
            return self._entrance.visit(db, now, mac).place if lately else None

        place = self._read(place_of_one_seen_lately)
        if place is not None:
            return place
        self._check(Caller(mac, None))
        return self._submit(_Job(lambda db, now: self._entrance.wait(db, now, mac), pushes=False))

    def told_moved(self, mac: str) -> None:
        self._submit(_Job(lambda db, _: people.told_moved(db, mac), pushes=False))

    def note_arrival(self, mac: str, os: str, *, saw: bool) -> None:
        if policy.is_device(mac):
            now = self._read_clock()
            day = localtime.local_date(now.wall_s, self._rules.zone).toordinal()
            self._footprints.note(mac, os, saw=saw, boot_s=now.boot_s, day=day)

    def start(self) -> None:
        with self._door:
            if self._committer is None:
                self._committer = threading.Thread(target=self._commit_until_closed, name="committer", daemon=True)
                self._committer.start()

    def close(self) -> None:
        with self._door:
            committer, self._committer = self._committer, None
            if committer is not None:
                self._waiting.put(None)
        if committer is not None:
            committer.join()
        self._reader.close()
        self._writer.close()

    def _check(self, caller: Caller) -> None:
        # netctl refuses a state with such a grant as a whole: it must not get as far as the database.
        if not policy.is_device(caller.mac):
            raise ValueError(f"{caller.mac!r} is no device's address.")
        if caller.ipv4 is not None and not self._lan.holds(caller.ipv4):
            raise ValueError(f"{caller.ipv4!r} is no device's address on the LAN.")

    def _enter(self, caller: Caller, way: Callable[[sqlite3.Connection, Now], Entered]) -> Session:
        self._check(caller)
        return self._submit(_Job(way)).session

    def _limited(self, caller: Caller, attempt: Callable[[], Session]) -> Session:
        """One attempt with a code or password, where this device and the site have not had too many wrong ones."""
        self._check(caller)
        wait_s = self._attempts.begin(caller.mac, self._read_clock().boot_s)
        if wait_s:
            raise Refused(Refusal.ATTEMPTS, wait_s=wait_s)
        wrong = False
        try:
            return attempt()
        except Refused as refused:
            wrong = refused.refusal in (Refusal.CODE_WRONG, Refusal.ACCOUNT_WRONG)
            raise
        finally:
            self._attempts.settle(caller.mac, self._read_clock().boot_s, wrong=wrong)

    def _submit(self, job: _Job[T]) -> T:
        with self._door:
            if self._committer is None:
                raise GateError("busy", "The portal is stopping.", "Try again in a moment.")
            self._waiting.put(job)  # type: ignore[arg-type]
        if not job.done.wait(ANSWER_WITHIN_S):
            raise GateError("busy", f"The gate did not answer within {ANSWER_WITHIN_S:g} s.", "Try again in a moment.")
        if job.error is not None:
            raise job.error
        return job.result

    # --- the committer's thread -------------------------------------------------------------------------------------

    def _commit_until_closed(self) -> None:
        closing = False
        while not closing:
            found: list[_Job[object] | None] = []
            with contextlib.suppress(queue.Empty):
                found.append(self._waiting.get(timeout=ARRIVALS_EVERY_S))
                while True:
                    found.append(self._waiting.get_nowait())
            jobs = [job for job in found if job is not None]
            closing = len(jobs) < len(found)
            if not jobs and not self._footprints:
                continue
            try:
                self._commit_and_push(jobs)
            except (StoreError, NetctlError) as error:
                self._footprints.give_back(self._arriving)
                _fail(jobs, _gate_error(error))
            except Exception as error:  # the thread must go on for those who come next
                log.exception("a commit failed")
                self._footprints.give_back(self._arriving)
                _fail(jobs, GateError("database", f"The gate failed: {error!r}.", "This is a mistake in the program."))
            for job in jobs:
                job.done.set()

    def _commit_and_push(self, jobs: list[_Job[object]]) -> None:
        self._settle()
        state = None
        seen: dict[CounterKey, Reading] = {}  # what the kernel lets through after this is counted by the meter
        for job in jobs:
            if job.leaving is not None:
                seen |= self._counters_of(job.leaving.id)
        with contextlib.suppress(_NothingWritten), self._writer.write() as db:
            now = self._read_clock()
            before = db.total_changes
            sessions.note_time(db, now)
            noted = db.total_changes - before
            if seen:
                counters.account(db, seen, people.moment(db, now, self._rules.zone))
            self._write_arrivals(db, now)
            changed = [_do(job, db, now) for job in jobs]
            if any(changed):
                sessions.next_generation(db)
            if any(job.pushes and job.error is None for job in jobs):
                state = sync.snapshot(db, self._rules, now)
            if noted == 1 and db.total_changes - before == noted:  # this boot was known, and nothing else is new
                raise _NothingWritten
        if state is not None:
            sync.bring_into_force(self._writer, self._netctl, state, self._rules, self._read_clock)

    def _write_arrivals(self, db: sqlite3.Connection, now: Now) -> None:
        self._arriving = []
        if not self._footprints:
            return
        day_at = arrivals.days(db, people.moment(db, now, self._rules.zone))
        if day_at is None:
            return
        self._arriving, beyond = self._footprints.take()
        for one in self._arriving:
            arrivals.note(db, day_at(one.boot_s), one.mac, os=one.os, saw=one.saw)
        if beyond:
            arrivals.add_beyond(db, beyond)

    def _settle(self) -> None:
        """Once: leave addresses of another LAN, and pass what netctl holds of a later life of this database.

        A backup that was put back would else give out ids again that the kernel counts for others. While netctl is away
        nobody can be told: it is tried again with each commit.
        """
        if self._is_settled:
            return
        with self._writer.write() as db:
            sessions.leave_addresses(db, self._lan.holds)
        with contextlib.suppress(NetctlError):
            sync.pass_held(self._writer, self._netctl)
            self._is_settled = True


def _do(job: _Job[object], db: sqlite3.Connection, now: Now) -> bool:
    """Carry out one wish in the transaction; whether it changed who is let in."""
    try:
        job.result = job.work(db, now)
    except (Refused, GateError) as error:
        job.error = error
        return False
    return isinstance(job.result, Entered) and job.result.changed


def _fail(jobs: list[_Job[object]], error: GateError) -> None:
    for job in jobs:
        job.error = job.error or error


def _gate_error(error: StoreError | NetctlError) -> GateError:
    if isinstance(error, NetctlError):
        return GateError("busy" if error.code == errors.BUSY else "netctl", error.message, error.hint)
    return GateError(error.code, error.message, error.hint)
