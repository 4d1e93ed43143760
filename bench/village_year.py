"""Makes up a year of one village through the code that writes the log, and measures what is made of it.

`make_year` is for measures and tests of others too: the same seed makes the same logins, traffic, outages and power
cuts (keys, codes and ids are random all the same). It must not know how figures are made of the log.
"""

from __future__ import annotations

import datetime as dt
import heapq
import math
import random
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from portal.config import Plan, Site, SiteConfig, Uplink
from portal.domain import localtime
from portal.domain.journal import Kind
from portal.domain.model import EndReason, Now, UplinkState
from portal.domain.siterules import SiteRules
from portal.domain.uplink import UplinkView
from portal.domain.usage import CounterKey, Reading
from portal.logbook import SLOT_S, Logbook
from portal.store import audit, counters, journal, migrations, people, pseudonyms, sessions, setup
from portal.store.db import Database

CONFIG: Final = SiteConfig(
    site=Site(code="64.02.12.2003"),
    uplink=Uplink(provider="Telkom", link="fibre"),
    plan=(
        Plan(id="warga", name="Warga", session_minutes=480, idle_minutes=60),
        Plan(id="kantor", name="Kantor", session_minutes=None, idle_minutes=None),
    ),
)
FIRST: Final = dt.date(2026, 1, 1)
# How many logins there are in each hour of the day, in proportion.
_BUSY: Final = (1, 1, 1, 1, 2, 4, 7, 9, 10, 9, 8, 8, 9, 9, 8, 8, 10, 12, 14, 16, 15, 11, 6, 3)
_OS: Final = ("android", "android", "android", "android", "android", "apple", "windows", "unknown")
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Stay:
    """What is true of a session: Unix seconds, and the bytes that the log was told of. ``ended`` None: it runs."""

    device: str
    began: float
    ended: float | None
    reason: str | None
    up_bytes: int
    down_bytes: int
    continues: bool


@dataclass(slots=True)
class Year:
    """What was made, and the truth of it: off and down are (from, until), Unix seconds."""

    path: Path
    config: SiteConfig
    first: dt.date
    last: dt.date
    stays: list[Stay] = field(default_factory=list)
    off: list[tuple[float, float]] = field(default_factory=list)
    down: list[tuple[float, float]] = field(default_factory=list)


@dataclass(slots=True)
class _Online:
    session_id: int
    mac: str
    began: float
    until: float
    up_bytes_s: float
    down_bytes_s: float
    counted: float  # up to when its bytes are in the log
    up_bytes: int = 0
    down_bytes: int = 0
    continues: bool = False


def make_year(path: Path, seed: int = 1, days: int = 365, *, devices: int = 60, logins: int = 180) -> Year:
    """Make the database at ``path``, which must not exist, with so many days from FIRST on, the last one whole.

    On each day some ``logins`` of some ``devices`` that are there; power fails every fourth day, the line every second.
    """
    setup.create_or_migrate(path, migrations.migrate)
    database = Database(path)
    try:
        return _Village(database, path, random.Random(seed), devices, logins).live(days)
    finally:
        database.close()


class _Village:
    def __init__(self, database: Database, path: Path, dice: random.Random, devices: int, logins: int) -> None:
        self._database, self._dice, self._logins = database, dice, logins
        self._rules = SiteRules(CONFIG)
        self._year = Year(path, CONFIG, FIRST, FIRST)
        self._macs = [f"02:{n >> 8 & 255:02x}:{n & 255:02x}:aa:bb:cc" for n in range(devices * 5 // 4)]
        self._os = {mac: dice.choice(_OS) for mac in self._macs}
        self._online: dict[str, _Online] = {}  # while the power is off too: they are online again when it is back
        self._here = self._macs
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self._db: sqlite3.Connection
        self._log = Logbook(CONFIG)
        self._is_off = True
        self._boot_id, self._boot_began, self._wrong_s, self._trusted = "", 0.0, 0.0, False
        self._view = UplinkView()
        self._funnel: dict[str, int] = {}  # MAC -> how far it came today: 1 joined, 2 saw, 3 online

    # --- time -------------------------------------------------------------------------------------------------------

    def live(self, days: int) -> Year:
        start = self._day_start(0) + 6 * 3600.0
        self._at(start, self._power_on)
        self._at((start // SLOT_S + 1) * SLOT_S, self._slot)
        for number in range(days):
            end = self._day_start(number + 1)
            self._plan_day(max(start, self._day_start(number)), end, may_fail=number + 1 < days)
            with self._database.write() as self._db:
                while self._events and self._events[0][0] < end:
                    at, _, happen = heapq.heappop(self._events)
                    happen(at)
        with self._database.write() as self._db:
            self._slot(end)
        self._year.last = FIRST + dt.timedelta(days=days - 1)
        for online in self._online.values():
            self._keep(online, None, None)
        return self._year

    def _day_start(self, number: int) -> float:
        return localtime.day_start(FIRST + dt.timedelta(days=number), self._rules.zone)

    def _at(self, moment: float, happen: Callable[[float], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment, self._number, happen))

    def _now(self, at: float) -> Now:
        return Now(self._boot_id, at - self._boot_began, at + self._wrong_s)

    def _plan_day(self, begin: float, end: float, *, may_fail: bool) -> None:
        dice = self._dice
        self._here = here = dice.sample(self._macs, len(self._macs) * 4 // 5)
        for hour in dice.choices(range(24), _BUSY, k=self._logins):
            mac, at = dice.choice(here), end - _DAY_S + (hour + dice.random()) * 3600
            if at >= begin:
                self._at(at, partial(self._login, mac=mac))
        if dice.random() < 0.25 and may_fail:
            self._at(begin + dice.random() * (end - begin), self._power_fails)
        if dice.random() < 0.5:
            self._at(begin + dice.random() * (end - begin), self._line_fails)
        if dice.random() < 0.1:
            self._at(begin + dice.random() * (end - begin), self._clock_is_set)
        for _ in range(3):
            self._at(begin + dice.random() * (end - begin), self._act)

    # --- the gateway ------------------------------------------------------------------------------------------------

    def _power_on(self, at: float) -> None:
        dice = self._dice
        self._is_off, self._trusted = False, False
        self._boot_id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        self._boot_began = at - 20.0
        now = self._now(at)
        self._log = Logbook(CONFIG)
        self._log.slot_is_over(now)
        sessions.note_time(self._db, now)
        self._log.start(self._db, None, now)
        self._go_on(at)
        self._view = UplinkView()
        self._at(at + 5.0, partial(self._line, state=UplinkState.UP))
        self._at(at + dice.uniform(20.0, 300.0), self._ntp)

    def _go_on(self, at: float) -> None:
        """Whoever was online before the power cut is again, in a new session."""
        before, self._online = self._online, {}
        for session in sessions.not_ended(self._db):
            if session.mac in before:
                was = before[session.mac]
                self._online[session.mac] = _Online(
                    session.id, was.mac, at, max(was.until, at + 60.0), was.up_bytes_s, was.down_bytes_s, at,
                    continues=True,
                )  # fmt: skip
                self._at(self._online[session.mac].until, partial(self._leave, mac=session.mac))

    def _power_fails(self, at: float) -> None:
        if self._is_off:
            return
        heartbeat = at - self._dice.random() * 55.0
        for online in self._online.values():
            self._keep(online, heartbeat, EndReason.POWER)
        if self._now(heartbeat).boot_s > 60:
            sessions.note_time(self._db, self._now(heartbeat))
        lasts = min(self._dice.lognormvariate(math.log(1800), 1.0), _DAY_S - 6 * 3600)
        self._year.off.append((heartbeat, at + lasts))
        self._is_off = True
        self._wrong_s -= lasts + 20.0  # a clock without a battery goes on where it was
        self._at(at + lasts, self._power_on)

    def _ntp(self, at: float) -> None:
        if self._is_off:
            return
        self._wrong_s, self._trusted = 0.0, True
        self._note(at)
        if self._log.clock_is_news(self._now(at)):
            self._log.clock(self._db, self._now(at))
            self._log.clock_kept(self._now(at))

    def _clock_is_set(self, at: float) -> None:
        """It went wrong by seconds meanwhile: the boot clock is moved, so that the truth stays what it is."""
        if not self._is_off and self._trusted:
            self._boot_began -= self._dice.uniform(2.0, 4.0)
            self._ntp(at)

    def _line_fails(self, at: float) -> None:
        lasts = self._dice.lognormvariate(math.log(900), 1.0)
        if not self._is_off and self._view.state is UplinkState.UP:
            degraded = self._dice.random() < 0.4
            self._line(at, UplinkState.DEGRADED if degraded else UplinkState.DOWN)
            self._at(at + lasts, partial(self._line_is_back, boot_id=self._boot_id))

    def _line_is_back(self, at: float, boot_id: str) -> None:
        if boot_id == self._boot_id:
            self._line(at, UplinkState.UP)

    def _line(self, at: float, state: UplinkState) -> None:
        if self._is_off:
            return
        self._view = UplinkView(state, self._now(at).boot_s)
        self._note(at)
        self._log.uplink(self._db, self._view, self._now(at))

    def _slot(self, at: float) -> None:
        self._at(at + SLOT_S, self._slot)
        now = self._now(at + 0.02)
        if self._is_off or not self._log.slot_is_over(now):
            return
        latency_ms = self._dice.lognormvariate(math.log(35), 0.4)
        loss = max(0.0, self._dice.gauss(0.005, 0.01))
        if self._view.state is UplinkState.DOWN:
            self._view = UplinkView(self._view.state, self._view.since_boot_s)
        else:
            self._view = UplinkView(self._view.state, self._view.since_boot_s, latency_ms=latency_ms, loss=loss)
        if round(at) % 900 == 0:
            self._count_all(at - 0.4)
        else:
            self._note(at)
        self._log.slot(self._db, self._view, self._now(at - 0.4).boot_s, now)
        self._log.slot_kept(now)
        if round(at) % 3600 == 0 and self._trusted:
            self._tell_funnel(at)

    def _tell_funnel(self, at: float) -> None:
        told: dict[str, list[int]] = {}
        for mac, step in self._funnel.items():
            steps = told.setdefault(self._os[mac], [0, 0, 0])
            for number in range(step):
                steps[number] += 1
        day = localtime.local_date(at - 1, self._rules.zone).isoformat()
        journal.append(self._db, Kind.FUNNEL, {"day": day, "os": told}, self._now(at))
        if day != localtime.local_date(at, self._rules.zone).isoformat():
            self._funnel.clear()

    def _act(self, at: float) -> None:
        if not self._is_off:
            said: dict[str, Any] = {
                "action": "voucher.print",
                "object": "voucher batch",
                "before": None,
                "after": {"n": 20},
            }
            audit.write(self._db, actor="siti", role="operator", now=self._now(at), **said)

    # --- people -----------------------------------------------------------------------------------------------------

    def _note(self, at: float) -> None:
        sessions.note_time(self._db, self._now(at))
        people.note_trusted(self._db, people.moment(self._db, self._now(at), self._rules.zone, trusted=self._trusted))

    def _login(self, at: float, mac: str) -> None:
        if self._is_off:
            return
        while mac in self._online:
            mac = self._dice.choice(self._here)
        self._funnel[mac] = max(self._funnel.get(mac, 0), self._dice.choices((1, 2, 3), (1, 2, 12))[0])
        if self._funnel[mac] < 3 and self._dice.random() < 0.1:
            return
        self._funnel[mac] = 3
        now, dice = self._now(at), self._dice
        self._note(at)
        person = people.of_device(self._db, mac, "terms")
        if person is None:
            person = people.create(self._db, method="terms", plan="warga", now=now)
        people.remember_device(self._db, mac, person, now)
        month = localtime.local_date(now.wall_s, self._rules.zone).isoformat()[:7]
        begun = sessions.begin(
            self._db,
            mac=mac,
            ipv4=f"10.5.{self._macs.index(mac) >> 8}.{self._macs.index(mac) & 255}",
            plan="warga",
            method="terms",
            terms_version="1",
            limit_s=28_800.0,
            now=now,
            device=pseudonyms.of(self._db, mac, month),
            person_id=person.id,
        )
        rate = dice.lognormvariate(math.log(20_000), 1.2)
        until = at + min(dice.lognormvariate(math.log(2700), 0.9), 28_000.0)
        self._online[mac] = _Online(begun.id, mac, at, until, rate * dice.uniform(0.05, 0.2), rate, at)
        self._at(until, partial(self._leave, mac=mac))

    def _leave(self, at: float, mac: str) -> None:
        online = self._online.get(mac)
        if self._is_off or online is None or at < online.until:
            return
        del self._online[mac]
        self._note(at)
        self._count(online, at - 0.5)
        reason = self._dice.choices((EndReason.LOGOUT, EndReason.IDLE, EndReason.TIME), (2, 6, 1))[0]
        sessions.end(self._db, online.session_id, reason, self._now(at), self._rules.zone)
        if self._dice.random() < 0.3:
            self._count(online, at)
            sessions.tell_final(self._db, online.session_id, self._now(at).boot_s, self._now(at + 0.1))
        self._keep(online, at, reason)

    def _count_all(self, at: float) -> None:
        moment = people.moment(self._db, self._now(at), self._rules.zone, trusted=self._trusted)
        sessions.note_time(self._db, moment.now)
        people.note_trusted(self._db, moment)
        people.count_time(self._db, moment)
        for online in self._online.values():
            if self._dice.random() < 0.9:  # the others are idle
                self._count(online, at)

    def _count(self, online: _Online, at: float) -> None:
        seconds = max(at - online.counted, 0.0) * self._dice.uniform(0.2, 1.8)
        online.up_bytes += round(online.up_bytes_s * seconds)
        online.down_bytes += round(online.down_bytes_s * seconds)
        online.counted = at
        boot_s = self._now(at).boot_s
        packets = (online.up_bytes // 200, online.down_bytes // 1000)
        reading = Reading(online.up_bytes, online.down_bytes, *packets, boot_s, boot_s + 0.001)
        key = CounterKey(self._boot_id, online.session_id, "10.5.0.1")
        moment = people.moment(self._db, self._now(at + 0.002), self._rules.zone, trusted=self._trusted)
        counters.account(self._db, {key: reading}, moment)

    def _keep(self, online: _Online, ended: float | None, reason: EndReason | None) -> None:
        self._year.stays.append(
            Stay(
                online.mac,
                online.began,
                None if ended is None else max(ended, online.began),
                None if reason is None else reason.value,
                online.up_bytes,
                online.down_bytes,
                online.continues,
            )
        )
