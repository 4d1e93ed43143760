"""Cuts the power at random points of a recorded disk, starts the gateway on what is left, and says what is wrong there.

``python -m tests.powercut.replay FOLDER CUTS SEED [lying]`` reads FOLDER/log and prints one JSON object for each cut.
CUTS is how many, or "superblock": at each write of ext4's superblock, in the middle of it. It needs root, and is run in
namespaces of its own: ``tests.powercut.namespaces.command``.

The disk has a cache, as real ones: what was written before the last flush that was answered is on it. Of what came
after, all may be there, nothing, or some: whole writes in any combination, or parts of them, torn at sectors. A lying
disk answers flushes and does nothing: what it loses shows that this finds what is lost.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from portal.domain.model import Now, UplinkState
from portal.domain.uplink import UplinkView
from portal.meter import Meter
from portal.paths import Paths
from portal.store import journalread, setup
from portal.store.db import Database, StoreError
from tests.powercut import disk, users
from tests.powercut.disk import FLUSH, MARK, SECTOR_BYTES, WRITE, Record
from tests.powercut.namespaces import ROOT
from tests.powercut.record import DISK_BYTES
from tests.unit.portal import fakes

NEXT_BOOT: Final = "22222222-2222-4222-8222-222222222222"
DARK_S: Final = 600.0
MAY_LOSE_S: Final = 900.0  # of a running session's bytes
SUPERBLOCK: Final = 1024  # where it begins, and how long it is: two sectors, the checksum of both in the second
MEND_SUPERBLOCK: Final = ROOT / "image/layers/firstboot/rootfs/usr/local/sbin/mend-superblock"
MENDED: Final = 1  # e2fsck(8): there was something, and there is no more
HALVES: Final = ("superblock's first half", "superblock's second half")


@dataclass
class Promised:
    """What people had been told when the power went. Sessions are by MAC: (id, when on the boot clock)."""

    running: dict[str, tuple[int, float]] = field(default_factory=dict)
    closed: dict[int, float] = field(default_factory=dict)  # session id -> when it was asked to end
    unsure: set[str] = field(default_factory=set)  # asked, and had no answer yet
    acts: int = 0
    head: tuple[int, bytes] | None = None
    boot_s: float = users.FIRST_BOOT_S
    ready: bool = False
    failed: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        what, *words, boot_s = line.split() if line != "ready" else ["ready", "0"]
        self.boot_s = max(self.boot_s, float(boot_s))
        match what, words:
            case "ready", []:
                self.ready = True
            case "entering", [mac]:
                self.unsure.add(mac)
            case "in", [mac, number]:
                self.unsure.discard(mac)
                self.running[mac] = int(number), float(boot_s)
            case "leaving", [mac, number]:
                self.unsure.add(mac)
                self.running.pop(mac)
                self.closed[int(number)] = -float(boot_s)
            case "out", [mac, number]:
                self.unsure.discard(mac)
                self.closed[int(number)] *= -1
            case "act", [_]:
                self.acts += 1
            case "refused", [_]:
                pass
            case "head", [seq, last]:
                self.head = int(seq), bytes.fromhex(last)
            case _:
                self.failed.append(line)


def survivors(cached: list[Record], how: str, chance: random.Random) -> Iterator[tuple[int, bytes]]:
    """What of the writes in the disk's cache reached the medium."""
    if how in HALVES:
        at, (_, offset, data) = SUPERBLOCK + SECTOR_BYTES * HALVES.index(how), cached[-1]
        yield at, data[at - offset : at - offset + SECTOR_BYTES]
        return
    for _, offset, data in cached if how != "none" else ():
        if how == "all" or (how == "some" and chance.random() < 0.5):
            yield offset, data
        elif how == "torn":
            for at in range(0, len(data), SECTOR_BYTES):
                if chance.random() < 0.5:
                    yield offset + at, data[at : at + SECTOR_BYTES]


def random_cuts(everything: list[Record], count: int, chance: random.Random) -> list[tuple[int, str]]:
    """After how many records, and what becomes of the cache. In the log's order, from when the gateway is ready."""
    points = sorted(chance.randrange(ready(everything) + 1, len(everything) + 1) for _ in range(count))
    return [(point, chance.choice(("all", "none", "some", "torn"))) for point in points]


def superblock_cuts(everything: list[Record]) -> list[tuple[int, str]]:
    """As of ``random_cuts``."""
    written = [
        number
        for number, (kind, offset, data) in enumerate(everything, 1)
        if kind == WRITE and offset <= SUPERBLOCK < offset + len(data) and number > ready(everything)
    ]
    return [(number, half) for number in written for half in HALVES]


def ready(everything: list[Record]) -> int:
    return next(at for at, record in enumerate(everything) if record.kind == MARK)


def leave(
    everything: list[Record], cuts: list[tuple[int, str]], ram: Path, chance: random.Random, *, lying: bool
) -> Iterator[tuple[int, str, Path, Promised]]:
    """Where, how, what is on the disk then, and what was promised."""
    medium, card = ram / "medium", ram / "card"
    cached, promised, at = list[Record](), Promised(), 0
    with medium.open("w+b") as file:
        file.truncate(DISK_BYTES)
        for point, how in cuts:
            for kind, offset, data in everything[at:point]:
                if kind == WRITE:
                    cached.append(Record(kind, offset, data))
                elif kind == FLUSH:
                    if lying and promised.ready:
                        continue
                    for record in cached:
                        os.pwrite(file.fileno(), record.data, record.offset)
                    cached = []
                else:
                    for line in data.decode().splitlines():
                        promised.hear(line)
            at = point
            subprocess.run(["cp", "--sparse=always", medium, card], check=True)
            with card.open("r+b") as left:
                for offset, data in survivors(cached, how, chance):
                    os.pwrite(left.fileno(), data, offset)
            yield point, how, card, promised


def wrong_with(card: Path, promised: Promised, data: Path) -> Iterator[str]:
    """Check and mount what is left, as the next boot does (fsck.repair=yes), and go on there."""
    mount = ["mount", "-t", "ext4", "-o", "loop", card, data]
    for command, most in ([MEND_SUPERBLOCK, card], 0), (["e2fsck", "-y", card], MENDED), (mount, 0):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode > most:
            yield f"file system: {done.stdout.strip()} {done.stderr.strip()}"
            return
    try:
        yield from promised.failed
        # In a child: a process keeps a descriptor of each database that it has opened (portal.store.db).
        found = setup.in_child(lambda: list(wrong_with_data(data, promised)))
        yield from found if isinstance(found, list) else [repr(found)]
    finally:
        subprocess.run(["umount", data], check=True)
    done = subprocess.run(["e2fsck", "-f", "-n", card], capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"file system: {done.stdout.strip()}"


def wrong_with_data(data: Path, promised: Promised) -> Iterator[str]:
    now = Now(NEXT_BOOT, 20.0, users.FIRST_WALL_S + promised.boot_s + DARK_S)
    clock = fakes.Clock(now.boot_id, now.boot_s, now.wall_s)
    netctl = fakes.Netctl(clock)
    paths = Paths(run=data, data=data)
    database = Database(paths.database)
    try:
        with database.read() as db:
            yield from (f"database: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok")
            verdict = journalread.check(db, promised.head)
            yield from (f"journal before: {finding}" for finding in verdict.findings)
            acts = db.execute("SELECT count(*) FROM audit").fetchone()[0]
            if acts < promised.acts:
                yield f"acts: {promised.acts} were answered, {acts} are there"
        meter = Meter(users.CONFIG, paths, netctl, clock, lambda: True)
        meter.tick(UplinkView(UplinkState.UP, now.boot_s))
        if not meter._checked:
            yield f"meter: {meter._troubles}"
            return
        meter._database.close()
        with database.read() as db:
            yield from (f"database after: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok")
            yield from (f"journal after: {finding}" for finding in journalread.check(db, promised.head).findings)
            sessions = {
                row[0]: row[1:] for row in db.execute("SELECT id, mac, end_reason, down_bytes, boot_id FROM session")
            }
            ends: dict[int, tuple[str, int]] = {}
            continued = set()
            for raw in reversed(list(journalread.newest_first(db, ("begin", "end", "final")))):
                body = json.loads(raw.body)
                if raw.kind == "begin":
                    continued.add(body["after"])
                else:
                    ends[body["s"]] = body.get("reason") or ends[body["s"]][0], body["down"]
    except StoreError as error:
        yield f"database: {error}"
        return
    finally:
        database.close()
    online = set(netctl.online())
    yield from (f"offline: {mac}" for mac in promised.running.keys() - online)
    known = promised.running.keys() | promised.unsure
    yield from (f"online though out: {mac}" for mac in online - known)
    lost_before = users.BYTES_PER_S * (promised.boot_s - MAY_LOSE_S)
    for mac, (number, _) in promised.running.items():
        if ends.get(number, ("", 0))[0] != "power" or number not in continued:
            yield f"session {number} of {mac}: {ends.get(number)}, went on: {number in continued}"
        elif ends[number][1] < lost_before and sessions[number][3] == users.BOOT and began_before(promised, mac):
            yield f"session {number}: {ends[number][1]} bytes are left of {promised.boot_s * users.BYTES_PER_S:.0f}"
    for number, asked_s in promised.closed.items():
        if asked_s < 0:
            continue  # had no answer
        if number not in sessions or sessions[number][1] != "logout" or ends.get(number, ("",))[0] != "logout":
            yield f"closed session {number} is lost: {sessions.get(number)}, {ends.get(number)}"
        elif ends[number][1] < users.BYTES_PER_S * asked_s or sessions[number][2] != ends[number][1]:
            yield f"closed session {number}: bytes {ends[number][1]} told, {sessions[number][2]} held, asked {asked_s}"


def began_before(promised: Promised, mac: str) -> bool:
    return promised.running[mac][1] < promised.boot_s - MAY_LOSE_S


def main(folder: Path, which: str, seed: int, *, lying: bool) -> None:
    ram, chance = folder / "ram", random.Random(seed)
    ram.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", ram], check=True)
    data = ram / "data"
    data.mkdir()
    everything = list(disk.records(folder / "log"))
    cuts = superblock_cuts(everything) if which == "superblock" else random_cuts(everything, int(which), chance)
    for point, how, card, promised in leave(everything, cuts, ram, chance, lying=lying):
        told: dict[str, Any] = {"at": point, "cached": how, "wrong": list(wrong_with(card, promised, data))}
        told |= {"closed": len(promised.closed), "running": len(promised.running), "boot_s": promised.boot_s}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), lying=sys.argv[4:] == ["lying"])
