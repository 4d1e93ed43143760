"""Lets devices in and out: commits to the database, pushes to netctl, answers when the kernel has done it.

It must not know HTTP, and nothing of the kernel but what netctl.api says.

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
from dataclasses import dataclass
from typing import Protocol

from netctl.api import errors
from netctl.api.client import Client
from netctl.api.errors import NetctlError
from portal import clock, sync
from portal.config import Plan, SiteConfig
from portal.domain import policy, usage
from portal.domain.model import EndReason, Notice, Now, Place, Refusal, Session, Uplink, Visit
from portal.domain.usage import CounterKey, Reading
from portal.paths import Paths
from portal.store import counters, sessions
from portal.store.db import Database, StoreError

log = logging.getLogger("gerbang.admission")

ANSWER_WITHIN_S = 15.0  # a caller's patience; the work itself is bounded by the busy timeout and netctl's deadline
MAX_SESSIONS = policy.MAX_GRANTS
METHOD_TERMS = "terms"


class GateError(Exception):
    """The gate could not do it. ``code`` is database, database-full, database-corrupt, netctl or busy."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} [{code}]" + (f" {hint}" if hint else ""))
        self.code = code
        self.message = message
        self.hint = hint


class Refused(Exception):
    """Somebody may not come in, for a reason that the page can say.

    ``until_wall_s``: when it will be otherwise, if that is known: opening (CLOSED), the next budget (BUDGET), the first
    moment of the code (CODE_EARLY) or its last (CODE_LATE). ``reason``: an operator's words (CLOSED). ``wait_s``:
    seconds until another attempt is looked at (ATTEMPTS).
    """

    def __init__(
        self,
        refusal: Refusal,
        *,
        until_wall_s: float | None = None,
        reason: str | None = None,
        wait_s: float | None = None,
    ) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal
        self.until_wall_s = until_wall_s
        self.reason = reason
        self.wait_s = wait_s


class Gatekeeper(Protocol):
    """What the pages need. Every method but start and close raises GateError when the gate cannot work.

    The enter methods return when the device is let in by the kernel, and raise Refused when it may not come in.
    ``ipv4`` is the address that the request came from, None over IPv6. A device that has a running session keeps it
    where it enters as the same person (with the address given), and leaves it where it enters as another. All but
    enter_by_rule: a device with rule "block" is refused BLOCKED, whatever it shows.
    """

    def whois(self, ip: str) -> str | None:
        """The MAC that the kernel gives for a LAN address, or None."""

    def visit(self, mac: str) -> Visit:
        """All that a page needs to know of a device, from one snapshot; ``left`` is as of the meter's last flush."""

    def session(self, mac: str) -> Session | None:
        """The running session of a device; one whose time is over does not run."""

    def bytes_used(self, session: Session) -> tuple[int, int]:
        """(up, down) up to now: what is flushed and what the counters show; flushed only if netctl is away."""

    def remaining_s(self, session: Session) -> float | None:
        """Seconds left, at least 0; None: no limit."""

    def enter_by_terms(self, mac: str, ipv4: str | None, terms_version: str) -> Session:
        """One tap, under the plan of access.plan. Refusals: METHOD CLOSED FULL BLOCKED BUDGET."""

    def enter_by_code(self, mac: str, ipv4: str | None, typed_text: str) -> Session:
        """With a voucher or a return code, as it was typed. A return code moves the person's session to this device.

        Refusals: those of a tap, and CODE_WRONG CODE_EARLY CODE_LATE CODE_USED ATTEMPTS. METHOD is never said: where
        the site has no vouchers, their codes are wrong ones.
        """

    def enter_by_account(self, mac: str, ipv4: str | None, name: str, password: str) -> Session:
        """With an office's name and password. Refusals: those of a tap, and ACCOUNT_WRONG DEVICES ATTEMPTS."""

    def enter_by_rule(self, mac: str, ipv4: str | None) -> Session:
        """Without a tap, where an operator's rule on this MAC says "allow" (else METHOD). Refusals: CLOSED BUDGET."""

    def renew(self, session: Session, ipv4: str | None) -> Session:
        """A running session at the address that its device has now; one that ended meanwhile comes back as it ended."""

    def wait(self, mac: str) -> Place:
        """Join the queue of a full site, or keep the place there; each call says that the device is still waiting."""

    def told_moved(self, mac: str) -> None:
        """The device's owner has read that a return code took its place; ``visit().moved_wall_s`` is None from now."""

    def notices(self) -> list[Notice]:
        """Village news to show now, the latest change first."""

    def login(self, mac: str, ipv4: str | None, plan: Plan, terms_version: str) -> Session:
        """Deprecated: enter_by_terms without its rules, until no page calls it."""

    def logout(self, session: Session) -> None:
        """Returns when the kernel has closed. Ending what has ended is no error."""

    def uplink(self) -> Uplink:
        """What the meter last found of the way to the Internet."""

    def start(self) -> None:
        """Start the thread that commits: after the fork, once per process."""

    def close(self) -> None:
        """Finish what waits, and end the thread."""


@dataclass(frozen=True, slots=True)
class _Login:
    mac: str
    ipv4: str | None
    plan: Plan
    terms_version: str


@dataclass(frozen=True, slots=True)
class _Logout:
    session: Session


class _Job:
    """One caller's wish, and what became of it once ``done`` is set."""

    __slots__ = ("done", "error", "session", "wish")

    def __init__(self, wish: _Login | _Logout) -> None:
        self.wish = wish
        self.session: Session  # set unless there is an error
        self.error: GateError | None = None
        self.done = threading.Event()


class Gate:
    """The gatekeeper of one process, on the real database and netctl. See Gatekeeper for the methods.

    Nothing is opened before it is used, so that a database or netctl that is away at start is an answer, not an end.
    """

    def __init__(
        self,
        config: SiteConfig,
        paths: Paths,
        netctl: sync.Netctl | None = None,
        read_clock: Callable[[], Now] = clock.now,
    ) -> None:
        self._plans = config.plan
        self._lan = policy.Lan(config.lan.address)
        self._lan_is_settled = False
        self._netctl = netctl if netctl is not None else Client(paths.netctl_socket)
        self._read_clock = read_clock
        self._reader = Database(paths.database)
        self._writer = Database(paths.database)
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._committer: threading.Thread | None = None
        self._door = threading.Lock()  # nothing joins the queue behind its end

    # --- asking -----------------------------------------------------------------------------------------------------

    def whois(self, ip: str) -> str | None:
        try:
            return self._netctl.whois(ip)
        except NetctlError as error:
            raise _gate_error(error) from error

    def session(self, mac: str) -> Session | None:
        try:
            with self._reader.read() as db:
                session = sessions.not_ended_of(db, mac)
        except StoreError as error:
            raise _gate_error(error) from error
        return session if session is not None and policy.is_running(session, self._read_clock()) else None

    def bytes_used(self, session: Session) -> tuple[int, int]:
        seen = self._counters_of(session.id)
        try:
            with self._reader.read() as db:  # one snapshot: totals and the readings that they include
                flushed = sessions.by_id(db, session.id) or session
                last = counters.last_of(db, session.id)
        except StoreError as error:
            raise _gate_error(error) from error
        new = usage.total(usage.deltas(last, seen).values())
        return flushed.up_bytes + new.up_bytes, flushed.down_bytes + new.down_bytes

    def remaining_s(self, session: Session) -> float | None:
        return policy.remaining_s(session, self._read_clock())

    def uplink(self) -> Uplink:
        try:
            with self._reader.read() as db:
                return sessions.uplink(db, self._read_clock())
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

    def login(self, mac: str, ipv4: str | None, plan: Plan, terms_version: str) -> Session:
        # netctl refuses a state with such a grant as a whole: it must not get as far as the database.
        if not policy.is_device(mac):
            raise ValueError(f"{mac!r} is no device's address.")
        if ipv4 is not None and not self._lan.holds(ipv4):
            raise ValueError(f"{ipv4!r} is no device's address on the LAN.")
        return self._submit(_Login(mac, ipv4, plan, terms_version))

    def logout(self, session: Session) -> None:
        self._submit(_Logout(session))

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

    def _submit(self, wish: _Login | _Logout) -> Session:
        job = _Job(wish)
        with self._door:
            if self._committer is None:
                raise GateError("busy", "The portal is stopping.", "Try again in a moment.")
            self._waiting.put(job)
        if not job.done.wait(ANSWER_WITHIN_S):
            raise GateError("busy", f"The gate did not answer within {ANSWER_WITHIN_S:g} s.", "Try again in a moment.")
        if job.error is not None:
            raise job.error
        return job.session

    # --- the committer's thread -------------------------------------------------------------------------------------

    def _commit_until_closed(self) -> None:
        closing = False
        while not closing:
            found: list[_Job | None] = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    found.append(self._waiting.get_nowait())
            jobs = [job for job in found if job is not None]
            closing = len(jobs) < len(found)
            try:
                self._commit_and_push(jobs)
            except (StoreError, NetctlError) as error:
                _fail(jobs, _gate_error(error))
            except Exception as error:  # the thread must go on for those who come next
                log.exception("a commit failed")
                _fail(jobs, GateError("database", f"The gate failed: {error!r}.", "This is a mistake in the program."))
            leaving = [job for job in jobs if isinstance(job.wish, _Logout) and job.error is None]
            for job in jobs:
                if job not in leaving:
                    job.done.set()
            self._account_ended(leaving)  # those who come need not wait for this second commit
            for job in leaving:
                job.done.set()

    def _commit_and_push(self, jobs: list[_Job]) -> None:
        with self._writer.write() as db:
            now = self._read_clock()
            sessions.note_time(db, now)
            if not self._lan_is_settled:
                sessions.leave_addresses(db, self._lan.holds)
            changed = [self._do(db, job, now) for job in jobs]
            if any(changed):
                sessions.next_generation(db)
            state = sync.snapshot(db, self._plans, now)
        self._lan_is_settled = True
        sync.bring_into_force(self._writer, self._netctl, state, self._plans, self._read_clock)

    def _do(self, db: sqlite3.Connection, job: _Job, now: Now) -> bool:
        """Carry out one wish in the transaction; whether it changed who is let in."""
        wish = job.wish
        if isinstance(wish, _Logout):
            job.session = wish.session
            return sessions.end(db, wish.session.id, EndReason.LOGOUT, now)
        session = sessions.not_ended_of(db, wish.mac)
        changed = False
        if session is not None and not policy.is_running(session, now):
            sessions.end(db, session.id, EndReason.TIME, now)
            session = None
        if session is None:
            if sessions.count_not_ended(db) >= MAX_SESSIONS:
                job.error = GateError("busy", f"{MAX_SESSIONS} devices are online; no more fit.", "Try again later.")
                return False
            minutes = wish.plan.session_minutes
            session = sessions.begin(
                db,
                mac=wish.mac,
                ipv4=wish.ipv4,
                plan=wish.plan.id,
                method=METHOD_TERMS,
                terms_version=wish.terms_version,
                limit_s=None if minutes is None else minutes * 60.0,
                now=now,
            )
            changed = True
        elif wish.ipv4 is not None and wish.ipv4 != session.ipv4:
            session = sessions.move(db, session, wish.ipv4)
            changed = True
        job.session = session
        return changed

    def _account_ended(self, leaving: list[_Job]) -> None:
        """Count the last bytes of those who left. What fails here is the meter's: it reads the same counters."""
        seen: dict[CounterKey, Reading] = {}
        try:
            for job in leaving:
                seen |= self._counters_of(job.session.id)
            if seen:
                with self._writer.write() as db:
                    counters.account(db, seen)
        except StoreError as error:
            log.warning("The last bytes of a session were not counted yet: %s", error)
        except Exception:  # the thread must go on, and the callers be answered
            log.exception("the last bytes of a session were not counted")


def _fail(jobs: list[_Job], error: GateError) -> None:
    for job in jobs:
        job.error = job.error or error


def _gate_error(error: StoreError | NetctlError) -> GateError:
    if isinstance(error, NetctlError):
        return GateError("busy" if error.code == errors.BUSY else "netctl", error.message, error.hint)
    return GateError(error.code, error.message, error.hint)
