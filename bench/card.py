"""What the database writes onto an SD card in a day on which 60 people are online and move bytes all the time.

Clocks and netctl are turned by hand (tests.unit.portal.fakes), so that hours take seconds; meter, gate, SQLite and the
file system (ext4, of its own on a loop device) are real. Each transaction is synced for itself, as it is in the end
when half a minute lies before the next. Two figures are told: what the process gave the kernel to write (write_bytes in
/proc/<pid>/io, proc(5)), and the blocks that a card would get with all that the file system adds of its own.
"""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from bench.result import Reach, Result
from portal.admission import Gate
from portal.config import Plan, Site, SiteConfig
from portal.domain.model import Session, UplinkState
from portal.domain.uplink import UplinkView
from portal.housekeeping import ENTRIES
from portal.meter import Meter
from portal.paths import Paths
from portal.store import db, migrations, rollups, setup
from portal.store.db import Database
from tests.unit.portal.fakes import Clock, Netctl

PEOPLE = 60
SESSIONS_A_DAY = 180
HOURS = 6  # of the 24; what is told is four times that
WARM_UP_S = 4 * 3600.0  # SQLite's log has its size then, and is written over
REACH_BYTES = 50_000_000
REACH_TRANSACTIONS_S = 1.0
IMAGE_BYTES = 256 * 1024 * 1024
ZONE = ZoneInfo("Asia/Makassar")
SITE = SiteConfig(site=Site(code="64.03.01.2001"), plan=(Plan(id="warga", name="Warga", session_minutes=1440),))


@dataclass
class _Card:
    """A file system that counts. ``written``: bytes by what was done; ``transactions``: how many there were;
    ``blocks_bytes``: what the device got."""

    directory: Path
    device: str
    written: Counter[str] = field(default_factory=Counter)
    transactions: int = 0
    blocks_bytes: int = 0

    def reset(self) -> None:
        self.written.clear()
        self.transactions = self.blocks_bytes = 0

    @contextmanager
    def told(self, cause: str) -> Iterator[None]:
        """What is done in here is written for this cause; where there is no transaction, nothing is synced."""
        begun, process_bytes, blocks_bytes = self.transactions, _of_process(), self._of_device()
        yield
        if self.transactions > begun:
            descriptor = os.open(self.directory, os.O_RDONLY)
            ctypes.CDLL(None).syncfs(descriptor)
            os.close(descriptor)
            self.written[cause] += _of_process() - process_bytes
            self.blocks_bytes += self._of_device() - blocks_bytes

    def _of_device(self) -> int:
        return int(Path(f"/sys/block/{self.device}/stat").read_text().split()[6]) * 512


def _of_process() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


@contextmanager
def _card(directory: Path) -> Iterator[_Card]:
    image, mounted = directory / "card", directory / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", image], check=True)
    loop = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        subprocess.run(["mount", "-o", "noatime", loop, mounted], check=True)
        try:
            yield _Card(mounted, Path(loop).name)
        finally:
            subprocess.run(["umount", mounted], check=True)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


class _Day:
    """60 phones that come and go and move bytes, on a meter and a gate."""

    def __init__(self, card: _Card, stack: ExitStack) -> None:
        self._card = card
        self._chance = random.Random(2026)
        self._clock = Clock()
        self._netctl = Netctl(self._clock)
        paths = Paths(card.directory, card.directory)
        setup.create_or_migrate(paths.database, migrations.migrate)
        stack.enter_context(_counting(card))
        self._gate = Gate(SITE, paths, self._netctl, self._clock)
        self._gate.start()
        stack.callback(self._gate.close)
        self._meter = Meter(SITE, paths, self._netctl, self._clock, lambda: True)
        self._view = UplinkView(UplinkState.UP, 900.0, latency_ms=34.5, loss=0.0)
        self._online: dict[int, Session] = {}
        self._database = Database(paths.database)
        stack.callback(self._database.close)
        self._figures_due_boot_s = self._clock.now.boot_s

    def begin(self) -> None:
        """All come, and bytes flow for a while, until what the database once needs is there."""
        for phone in range(PEOPLE):
            self._enter(phone)
        self._pass(WARM_UP_S)

    def run(self, seconds: float) -> None:
        """Somebody goes, and comes back, as often as makes SESSIONS_A_DAY."""
        every_s = 86_400 / SESSIONS_A_DAY
        for _ in range(round(seconds / every_s)):
            self._pass(every_s)
            phone = self._chance.randrange(PEOPLE)
            with self._card.told("logout"):
                self._gate.logout(self._online.pop(phone))
            self._pass(7)
            with self._card.told("login"):
                self._enter(phone)

    def _enter(self, phone: int) -> None:
        self._online[phone] = self._gate.enter_by_terms(f"02:00:00:00:00:{phone:02x}", f"10.77.0.{phone + 10}", "1")

    def _make_figures(self) -> None:
        """As portal.housekeeping does, each hour."""
        behind = True
        while behind:
            with self._database.write() as database:
                rollups.catch_up(database, ZONE, ENTRIES)
                behind = rollups.behind(database, ZONE)

    def _pass(self, seconds: float) -> None:
        until_boot_s = self._clock.now.boot_s + seconds
        while self._clock.now.boot_s < until_boot_s:
            for phone, session in self._online.items():
                for ip in (f"10.77.0.{phone + 10}", f"fd77::{phone + 10:x}"):
                    self._netctl.send(session.id, self._chance.randrange(10**4), self._chance.randrange(10**6), ip)
            with self._card.told("meter"):
                again_s = self._meter.tick(self._view)
            if self._clock.now.boot_s >= self._figures_due_boot_s:
                self._figures_due_boot_s += 3600
                with self._card.told("figures"):
                    self._make_figures()
            self._clock.forward(min(again_s, until_boot_s - self._clock.now.boot_s))


@contextmanager
def _counting(card: _Card) -> Iterator[None]:
    """Count every transaction that writes."""
    connect = db.connect

    def note(sql: str) -> None:
        card.transactions += (sql == "BEGIN IMMEDIATE") - (sql == "ROLLBACK")

    def watched(path: Path) -> Any:
        connection = connect(path)
        connection.set_trace_callback(note)
        return connection

    db.connect = watched
    try:
        yield
    finally:
        db.connect = connect


def _measured(card: _Card) -> dict[str, int]:
    with ExitStack() as stack:
        day = _Day(card, stack)
        day.begin()
        card.reset()
        day.run(HOURS * 3600)
        return {"transactions": card.transactions, "blocks": card.blocks_bytes, **card.written}


def card_writes() -> Iterator[Result]:
    """card_writes_mb_day, card_blocks_mb_day, card_transactions_s: of meter, gate and figures."""
    with tempfile.TemporaryDirectory() as directory, _card(Path(directory)) as card:
        found = setup.in_child(lambda: _measured(card))  # what it opens is closed when the file system is taken away
    assert isinstance(found, dict)
    transactions, blocks_bytes, written = found.pop("transactions"), found.pop("blocks"), found
    share = HOURS / 24
    causes = ", ".join(f"{cause} {octets / share / 1e6:.1f}" for cause, octets in sorted(written.items()))
    yield Result(
        "card_writes_mb_day",
        sum(written.values()) / share / 1e6,
        "MB",
        Reach(at_most=REACH_BYTES / 1e6),
        note=f"write_bytes of /proc/<pid>/io; {PEOPLE} people online, {SESSIONS_A_DAY} sessions: {causes}",
    )
    yield Result(
        "card_blocks_mb_day",
        blocks_bytes / share / 1e6,
        "MB",
        note="the same on the device, with what ext4's own journal adds where every transaction is alone",
    )
    yield Result(
        "card_transactions_s",
        transactions / share / 86_400,
        "1/s",
        Reach(at_most=REACH_TRANSACTIONS_S),
        note=f"{transactions / share:.0f} a day",
    )
