"""One fixed sequence of logins, logouts, acts and ticks of the meter, all in one thread, so that each of its system
calls can be made to fail in turn. It knows neither how nor which.

The code is the gate's, the meter's and the store's own. What was promised is written as in tests.powercut.users;
"refused CODE" is an answer that said no, after which the same is asked again until it is done.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from portal.admission import Gate
from portal.domain.model import Session, UplinkState
from portal.domain.uplink import UplinkView
from portal.gatekeeper import GateError
from portal.meter import TICK_S, Meter
from portal.paths import Paths
from portal.store import audit, sessions
from portal.store.db import Database, StoreError
from tests.powercut import users
from tests.unit.portal import fakes

T = TypeVar("T")
MACS = tuple(f"02:00:00:00:00:{number:02x}" for number in range(3))
SLOT_S = 300.0
SELDOM_S = 300.0
TICKS = 8
PATIENCE = 60


class OneThread(Gate):
    """The gate, whose committer works in the thread of who asks."""

    def _submit(self, job: Any) -> Any:
        self._waiting.put(job)
        self._waiting.put(None)
        self._commit_until_closed()
        if job.error is not None:
            raise job.error
        return job.result


class Script:
    def __init__(self, data: Path, promises: int) -> None:
        self.clock = fakes.Clock(users.BOOT, users.FIRST_BOOT_S, users.FIRST_WALL_S)
        self.netctl = users.Netctl(self.clock)
        self._paths = Paths(run=data, data=data)
        self._gate = OneThread(users.CONFIG, self._paths, self.netctl, self.clock)
        self._meter = Meter(users.CONFIG, self._paths, self.netctl, self.clock, lambda: True)
        self._database = Database(self._paths.database)
        self._promises = promises
        self._in: dict[str, Session] = {}

    def run(self) -> None:
        """With a flush at a quarter of the hour, a log written back, and a session that comes after it."""
        self._tick()
        for mac in MACS[:2]:
            self.enter(mac)
        self.tick_after(SLOT_S)
        self._until_done(self.act)
        self._leave(MACS[0])
        self._write_back()
        self.enter(MACS[2])
        self.tick_after(3 * SLOT_S)
        self._leave(MACS[2])

    def enter(self, mac: str, *, once: bool = False) -> None:
        self._note("entering", mac)
        address = f"10.77.0.{10 + MACS.index(mac)}"
        found = self._until_done(lambda: self._gate.enter_by_terms(mac, address, "1"), once=once)
        if found is not None:
            self._in[mac] = found
            self._note("in", mac, found.id)

    def has_page(self, mac: str) -> bool:
        """Does the page still show them online, with what they used?"""
        session = self._gate.visit(mac).session
        return session is not None and self._gate.bytes_used(session) > (0, 0)

    def _leave(self, mac: str) -> None:
        session = self._in.pop(mac)
        self._note("leaving", mac, session.id)
        self._until_done(lambda: self._gate.logout(session))
        self._note("out", mac, session.id)

    def tick_after(self, seconds: float) -> None:
        """Seldom, for the sake of the test's time, and some more at the end: what was refused is tried again."""
        for _ in range(round(seconds / SELDOM_S)):
            self.clock.forward(SELDOM_S)
            self._tick()
        for _ in range(TICKS):
            self.clock.forward(TICK_S)
            self._tick()

    def _tick(self) -> None:
        self._meter.tick(UplinkView(UplinkState.UP, self.clock.now.boot_s))
        self._all_online()

    def act(self) -> None:
        with self._database.write() as db:
            sessions.note_time(db, self.clock())
            who = {"actor": "siti", "role": "operator", "action": "notice.add", "object": "notice"}
            audit.write(db, **who, before=None, after={"title": "Kabar"}, now=self.clock())
        self._note("act", 1)

    def _write_back(self) -> None:
        """As SQLite does by itself once its log is long."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._paths.database)) as own:
            own.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _until_done(self, ask: Callable[[], T], *, once: bool = False) -> T | None:
        for _ in itertools.repeat(None, 1 if once else PATIENCE):
            try:
                return ask()
            except (GateError, StoreError) as error:
                self._note("refused", error.code)
                self._all_online()
                self.clock.forward(1)
        if not once:
            self._note("failed", "nothing was done in the end")
        return None

    def _all_online(self) -> None:
        for mac in self._in.keys() - set(self.netctl.online()):
            self._note("failed", f"{mac}_is_offline")

    def _note(self, *words: object) -> None:
        said = [*(str(word).replace(" ", "_") for word in words), f"{self.clock.now.boot_s:.3f}"]
        os.write(self._promises, (" ".join(said) + "\n").encode())
