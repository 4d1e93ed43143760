"""People who log in and out without a pause, on the real gate, meter and database, and what they were promised.

It must not know what disk is below. Each promise is one line, written once the answer was given: "in MAC SESSION",
"out MAC SESSION", "act DIGEST", "head SEQ HASH"; and "entering MAC", "leaving MAC SESSION" before they ask. Every line
ends with the moment on the boot clock. The clock runs SPEED times as fast as a real one, so that hours pass in seconds.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from netctl.api.types import Counter, Usage
from portal.admission import Gate
from portal.config import Plan, Site, SiteConfig
from portal.domain.model import Now, UplinkState
from portal.domain.uplink import UplinkView
from portal.meter import Meter
from portal.paths import Paths
from portal.store import audit, journal, sessions
from portal.store.db import Database
from tests.unit.portal import fakes

SPEED: Final = 120.0
FIRST_BOOT_S: Final = 30.0
FIRST_WALL_S: Final = 2_000_000_000.0
BYTES_PER_S: Final = 1000  # of every session's counter, in each direction, from the boot on
BOOT: Final = "11111111-1111-4111-8111-111111111111"
CONFIG: Final = SiteConfig(
    site=Site(code="64.03.01.2001"),
    plan=(Plan(id="warga", name="Warga", session_minutes=None, idle_minutes=None),),
)
COUNTED: Final = ("up_bytes", "down_bytes", "up_packets", "down_packets")
GATES: Final = 2  # as the guest pages: http and https
USERS: Final = 8  # of each gate
STAYERS: Final = 3  # of these, who stay once they are in


class Clock:
    """Of one boot, the same in every process."""

    def __init__(self) -> None:
        self._began_s = time.clock_gettime(time.CLOCK_BOOTTIME)

    def __call__(self) -> Now:
        ran_s = (time.clock_gettime(time.CLOCK_BOOTTIME) - self._began_s) * SPEED
        return Now(BOOT, FIRST_BOOT_S + ran_s, FIRST_WALL_S + ran_s)

    @property
    def now(self) -> Now:
        return self()


class Netctl(fakes.Netctl):
    """Counts for every session BYTES_PER_S of the boot clock: all processes read the same."""

    def usage(self, grant: int | None = None) -> Usage:
        self.pushes.clear()
        ids = [one.id for one in self.state.grants] if grant is None and self.state is not None else []
        moved = round(self.clock.now.boot_s * BYTES_PER_S)
        return Usage(
            boot_id=BOOT,
            counters=tuple(
                Counter(grant=number, ip="10.77.0.9", **dict.fromkeys(COUNTED, moved))
                for number in (ids if grant is None else [grant])
            ),
        )


class Promises:
    """Lines among the writes of the disk."""

    def __init__(self, file: Path, clock: Clock) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        self._clock = clock

    def note(self, *words: object) -> None:
        said = [*map(str, words), f"{self._clock().boot_s:.3f}"]
        os.write(self._descriptor, (" ".join(said) + "\n").encode())


def run(data: Path, marks: Path, seconds: float, seed: int) -> None:
    """Let everybody at it for so long, then kill them all: nothing is stopped in order. Call it from one thread."""
    clock, paths = Clock(), Paths(run=data, data=data)
    context = multiprocessing.get_context("fork")
    work: list[tuple[Callable[..., None], Any]] = [(_gate, number) for number in range(GATES)]
    work += [(_meter, None), (_office, None)]
    workers = [
        context.Process(target=_worker, args=(what, number, clock, paths, marks, seed), daemon=True)
        for what, number in work
    ]
    for worker in workers:
        worker.start()
    time.sleep(seconds)
    for worker in workers:
        worker.kill()
        worker.join()


def _worker(what: Callable[..., None], number: int, clock: Clock, paths: Paths, marks: Path, seed: int) -> None:
    promises = Promises(marks, clock)
    try:
        what(number, clock, paths, promises, seed)
    except Exception as error:  # the test reads it
        promises.note("failed", repr(error).replace(" ", "_"))
        raise


def _gate(number: int, clock: Clock, paths: Paths, promises: Promises, seed: int) -> None:
    gate = Gate(CONFIG, paths, Netctl(clock), clock)
    gate.start()

    def live(user: int) -> None:
        chance = random.Random(f"{seed} {number} {user}")
        mac, ipv4 = f"02:00:00:00:{number:02x}:{user:02x}", f"10.77.0.{10 + number * USERS + user}"
        try:
            while True:
                promises.note("entering", mac)
                session = gate.enter_by_terms(mac, ipv4, "1")
                promises.note("in", mac, session.id)
                if user < STAYERS:
                    return
                time.sleep(chance.expovariate(8))
                promises.note("leaving", mac, session.id)
                gate.logout(session)
                promises.note("out", mac, session.id)
                time.sleep(chance.expovariate(8))
        except Exception as error:
            promises.note("failed", repr(error).replace(" ", "_"))

    users = [threading.Thread(target=live, args=(user,)) for user in range(USERS)]
    for thread in users:
        thread.start()
    threading.Event().wait()


def _meter(_: object, clock: Clock, paths: Paths, promises: Promises, __: int) -> None:
    meter = Meter(CONFIG, paths, Netctl(clock), clock, lambda: True)
    states = itertools.cycle([UplinkState.UP, UplinkState.UP, UplinkState.DOWN])
    view = UplinkView()
    for turn in itertools.count():
        if turn % 40 == 0:
            view = UplinkView(next(states), clock().boot_s, latency_ms=20.0, loss=0.0)
        time.sleep(meter.tick(view) / SPEED)


def _office(_: object, clock: Clock, paths: Paths, promises: Promises, __: int) -> None:
    """Writes acts, as the staff pages do from a process of their own, and reads how far the log is."""
    database = Database(paths.database)
    for number in itertools.count():
        with database.write() as db:
            now = clock()
            sessions.note_time(db, now)
            who = {"actor": "siti", "role": "operator", "action": "notice.add", "object": f"notice {number}"}
            audit.write(db, **who, before=None, after={"title": "Kabar"}, now=now)
        promises.note("act", number)
        with database.read() as db:
            seq, last = journal.head(db)
        promises.note("head", seq, last.hex())
        time.sleep(0.1)
