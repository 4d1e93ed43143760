"""A role as systemd starts it: orders in a file, its socket passed down, and what it tells of itself. On 127.0.0.1.

systemd's own systemd-socket-activate(1) holds the socket; netctl is not there, so pages say that they cannot look.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from portal import prepare, programs, wholefile
from portal.paths import Paths
from portal.store import setup

ROOT = Path(__file__).parents[2]
SITE = '[site]\ncode = "64.03.01.2001"\n'


@dataclass
class Place:
    """Directories as portal.prepare makes them, and systemd's ear."""

    paths: Paths
    ear: socket.socket

    @property
    def orders(self) -> Path:
        return self.paths.run / "orders.json"

    def hear(self, word: str, within_s: float = 20) -> None:
        end_s = time.monotonic() + within_s
        while True:
            self.ear.settimeout(max(0.01, end_s - time.monotonic()))
            if self.ear.recv(100).decode() == word:
                return


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="gerbang-activated-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the portal's user passes through
        yield from _place_in(folder)


def _place_in(folder: Path) -> Iterator[Place]:
    portal, staff = pwd.getpwnam("gerbang"), pwd.getpwnam("gerbang-staff")
    paths = Paths(folder / "run", folder / "data")
    prepare.directory(paths.run, 0, 0, 0o751)
    prepare.directory(paths.data, portal.pw_uid, portal.pw_gid, 0o2771)
    setup.ensure(paths.database)
    wholefile.write(paths.site, SITE.encode())
    orders = programs.Orders(
        run=str(paths.run),
        data=str(paths.data),
        site=str(paths.site),
        source="",
        user="gerbang",
        staff_user="gerbang-staff",
        group=portal.pw_gid,
        writers=(staff.pw_uid,),
        timezone="Asia/Makassar",
        dnsmasq="",
        dnsmasq_user="",
        dnsmasq_group="",
        setpriv="",
        port=8080,
        tls_port=None,
        staff_port=8444,
        keep=True,
        lock=-1,
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(folder / "notify"))
        (folder / "notify").chmod(0o666)
        found = Place(paths, ear)
        wholefile.write(found.orders, programs.encode(orders).encode())
        yield found


@contextmanager
def activated(place: Place, role: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """``role`` behind a socket of systemd-socket-activate, which becomes it at the first connection."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    notify = place.ear.getsockname()
    command = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}"]
    command += [f"--setenv=NOTIFY_SOCKET={notify}", "--setenv=WATCHDOG_USEC=2000000", f"--setenv=PYTHONPATH={ROOT}"]
    command += [sys.executable, "-P", "-m", "portal.serve", role, str(place.orders)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            end_s = time.monotonic() + 10
            while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
                assert time.monotonic() < end_s and process.poll() is None
                time.sleep(0.05)
            yield port, process
        finally:
            process.kill()
            process.communicate()


def ask(port: int, host: str = "gerbang.lan") -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": host})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_guest_pages_answer_on_the_socket_that_systemd_holds(place: Place) -> None:
    with activated(place, "guest") as (port, process):
        assert ask(port) in (200, 503)
        place.hear("READY=1")
        place.hear("WATCHDOG=1")
        place.hear("WATCHDOG=1")
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"Uid:\t{pwd.getpwnam('gerbang').pw_uid}\t" in status
        environment = Path(f"/proc/{process.pid}/environ").read_text()
        assert f"LISTEN_PID={process.pid}\0" in environment, "it was systemd's way, not the supervisor's"
        process.send_signal(signal.SIGTERM)
        place.hear("STOPPING=1")
        assert process.wait(10) == os.EX_OK


def test_a_loop_that_stands_still_says_nothing_more(place: Place) -> None:
    with activated(place, "guest") as (port, process):
        ask(port)
        place.hear("WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        place.ear.setblocking(False)
        while True:
            try:
                place.ear.recv(100)
            except BlockingIOError:
                break
        time.sleep(2.5)
        with pytest.raises(BlockingIOError):
            place.ear.recv(100)


def test_the_meter_is_ready_after_its_first_tick_and_alive_with_each(place: Place) -> None:
    command = [sys.executable, "-P", "-m", "portal.serve", "meter", str(place.orders)]
    notify = place.ear.getsockname()
    environment = {"NOTIFY_SOCKET": notify, "WATCHDOG_USEC": "8000000", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, **environment}) as meter:
        place.hear("READY=1")
        place.hear("WATCHDOG=1")
        place.hear("WATCHDOG=1", within_s=12)
        meter.send_signal(signal.SIGTERM)
        place.hear("STOPPING=1")
        _, said = meter.communicate(timeout=20)
        assert meter.returncode == os.EX_OK, said.decode()


def test_orders_are_of_both_kinds() -> None:
    from portal import serve

    whole = {"role": "meter", "site": "s", "run": "r", "data": "d", "user": "u", "parent": 7}
    assert serve.told([json.dumps(whole)]) == serve.Orders("meter", "s", "r", "d", "u", 7)
