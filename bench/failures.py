"""What users notice when a process is killed, and how fast sessions come back after a reboot. It must not know rates.

Every phone sends one small datagram each 50 ms to an echo in the Internet and counts what it sent and got, so that the
gateway's books can be compared with the phones' own, byte for byte.
"""

from __future__ import annotations

import secrets
import selectors
import shutil
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.crowd import crowd, go, on_disk, online
from bench.result import Reach, Result
from netctl.api.errors import NetctlError
from portal import clock
from portal.meter import TICK_S
from portal.store import sessions
from portal.store.db import Database
from tests.village.box import signal_process
from tests.village.gateway import name_of
from tests.village.internet import WEB
from tests.village.phone import Phone
from tests.village.village import Village
from tests.village.webserver import UDP_PORT

VICTIMS = ("netctl", "guest", "meter")
USERS = 20
INTERVAL_S = 0.05
BEFORE_S, AFTER_S = 3.0, 7.0
HEADERS = 20 + 8
PAYLOAD = 100
OFFLINE_AFTER_S = 1.0

Books = dict[str, tuple[int, int]]


@dataclass(slots=True)
class Talker:
    """A phone's own books: layer 3 bytes out and in, and the longest silence between two answers."""

    phone: Phone
    sock: socket.socket
    sent: int = 0
    got: int = 0
    last_s: float = 0.0
    longest_silence_s: float = 0.0
    missing: set[int] = field(default_factory=set)


def talk(talkers: Sequence[Talker], seconds: float, at: Sequence[tuple[float, Callable[[], None]]] = ()) -> None:
    """Let all talk for so long, doing each action of ``at`` at its time; then wait for late answers."""
    start = time.monotonic()
    next_s, actions = start, list(at)
    for talker in talkers:
        talker.last_s = start
    with selectors.DefaultSelector() as selector:
        for talker in talkers:
            selector.register(talker.sock, selectors.EVENT_READ, talker)
        while (now := time.monotonic()) < start + seconds + 1:
            if actions and now >= start + actions[0][0]:
                actions.pop(0)[1]()
            if now >= next_s and now < start + seconds:
                next_s += INTERVAL_S
                for talker in talkers:
                    _say(talker)
            for key, _ in selector.select(max(0.0, next_s - time.monotonic()) if now < start + seconds else 0.05):
                _hear(key.data, time.monotonic(), silence_counts=now < start + seconds)


def _say(talker: Talker) -> None:
    talker.sent += 1
    talker.missing.add(talker.sent)
    try:
        talker.sock.send(struct.pack("!cI", b"E", talker.sent) + bytes(PAYLOAD - 5))
    except OSError:
        return  # refused by the gateway: no answer will come, and the silence shows


def _hear(talker: Talker, now: float, *, silence_counts: bool) -> None:
    try:
        data = talker.sock.recv(2048)
    except OSError:
        return
    talker.got += 1
    talker.missing.discard(struct.unpack_from("!cI", data)[1])
    if silence_counts:
        talker.longest_silence_s = max(talker.longest_silence_s, now - talker.last_s)
    talker.last_s = now


def _books(village: Village) -> Books:
    """MAC -> (up, down) of the running sessions, as the database has them."""
    rows = village.gateway.sql(  # type: ignore[attr-defined]
        "SELECT mac, up_bytes, down_bytes FROM session WHERE ended_wall_s IS NULL"
    )
    return {row["mac"]: (row["up_bytes"], row["down_bytes"]) for row in rows}


def _flushed(village: Village) -> Books:
    """The books after the meter wrote all that it knew, twice, with nobody talking: what counts twice has done so."""
    gateway: Any = village.gateway
    for _ in range(2):
        time.sleep(2 * TICK_S)
        (meter,) = (one for one in gateway.processes() if name_of(one) == "meter")
        signal_process(meter, signal.SIGTERM)
        gateway.wait_restarted("meter", meter)
    return _books(village)


def kill9() -> Iterator[Result]:
    """kill -9 of netctl, guest and meter in turn, under traffic: who was cut off, drift, bytes against the phones'."""
    with crowd(USERS) as village:
        errors = [visit.error for visit in go(village.phones, online) if visit.error]
        if errors:
            raise RuntimeError(f"{len(errors)} phones did not come online: {errors[0]}")
        books = _flushed(village)
        for victim in VICTIMS:
            books = yield from _kill(village, victim, books)


def _kill(village: Village, victim: str, before: Books) -> Generator[Result, None, Books]:
    """Kill one program under traffic; ``before`` and the value returned are the books before and after."""
    gateway: Any = village.gateway
    talkers = []
    for phone in village.phones:
        sock = phone.socket(kind=socket.SOCK_DGRAM)
        sock.connect((WEB, UDP_PORT))
        sock.setblocking(False)
        talkers.append(Talker(phone, sock))
    drift_before = gateway.netctl().status()
    killed: list[Any] = []
    talk(talkers, BEFORE_S + AFTER_S, [(BEFORE_S, lambda: killed.append(gateway.kill(victim)))])
    gateway.wait_restarted(victim, killed[0])
    after = _flushed(village)
    status = gateway.netctl().status()
    for talker in talkers:
        talker.sock.close()
    cut = [t for t in talkers if t.longest_silence_s > OFFLINE_AFTER_S or len(t.missing) > 0]
    silence_s = max(t.longest_silence_s for t in talkers)
    yield Result(
        f"kill9_{victim}_users_cut",
        len(cut),
        "users",
        Reach(0, 0),
        samples=[round(t.longest_silence_s, 3) for t in talkers],
        note=f"of {len(talkers)}: an answer lost, or none for {OFFLINE_AFTER_S:g} s; longest silence {silence_s:.2f} s",
    )
    # A daemon that was killed counts its drift from 0 again.
    drift = status.drift_total - (drift_before.drift_total if victim != "netctl" else 0)
    yield Result(f"kill9_{victim}_drift", max(status.drift, drift), "differences", Reach(0, 0))
    size = PAYLOAD + HEADERS
    wrong = []
    for talker in talkers:
        had, has = before[talker.phone.mac], after.get(talker.phone.mac, (0, 0))
        wrong.append(abs(has[0] - had[0] - talker.sent * size) + abs(has[1] - had[1] - talker.got * size))
    yield Result(
        f"kill9_{victim}_bytes_off",
        sum(wrong),
        "bytes",
        Reach(0, 0),
        samples=wrong,
        note=f"the phones sent {sum(t.sent for t in talkers) * size} and got {sum(t.got for t in talkers) * size}",
    )
    return after


RESTORED = 1000
RESTORE_ROUNDS = 3


def restore() -> Iterator[Result]:
    """1000 running sessions of an earlier boot in the database: from starting the gateway to all in the kernel."""
    with on_disk() as data, crowd(1, data_dir=data) as village:
        gateway: Any = village.gateway
        (visit,) = go(village.phones, online)
        if visit.error:
            raise RuntimeError(visit.error)
        gateway.stop()
        database = data / "gerbang.db"
        _fill(database, RESTORED - 1, village.phones[0].address)
        samples = []
        for _ in range(RESTORE_ROUNDS):
            shutil.rmtree(gateway.run_dir, ignore_errors=True)  # /run is empty after a power cut
            _forget_this_boot(database)
            start = time.monotonic()
            gateway.start(wait=False)
            _wait_members(gateway, RESTORED, timeout_s=60)
            samples.append(time.monotonic() - start)
            if not village.phones[0].is_online():
                raise RuntimeError("the one real phone among the restored sessions is not online")
            gateway.stop()
    yield Result(
        f"restore_{RESTORED}_s",
        sorted(samples)[len(samples) // 2],
        "s",
        Reach(at_most=5),
        samples=samples,
        note="from starting `gerbang run` to every session in force; a real phone among them is online",
    )


def _fill(path: Path, count: int, taken: str) -> None:
    """Sessions of devices that are not there, by the portal's own code, at addresses other than ``taken``."""
    now = clock.now()
    free = (f"10.77.{8 + (number >> 8)}.{number & 255}" for number in range(count + 1))
    addresses = [address for address in free if address != taken][:count]
    database = Database(path)
    with database.write() as db:
        for number, address in enumerate(addresses):
            mac = f"06:{secrets.token_hex(1)}:00:00:{number >> 8:02x}:{number & 255:02x}"
            sessions.begin(
                db,
                mac=mac,
                ipv4=address,
                plan="warga",
                method="terms",
                terms_version="1",
                limit_s=28_800.0,
                now=now,
                device=f"{number:016x}",
            )
    database.close()


def _forget_this_boot(path: Path) -> None:
    """After a power cut, the database is of a boot that is over."""
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET boot_id = 'an earlier boot'")
        database.execute("UPDATE session SET boot_id = 'an earlier boot' WHERE ended_wall_s IS NULL")
    database.close()


def _wait_members(gateway: Any, count: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            status = gateway.netctl().status()
            if status.grants >= count and status.members >= count:
                return
        except (NetctlError, OSError):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"not restored after {timeout_s} s:\n{gateway.log()[-2000:]}")
        time.sleep(0.02)
