"""Supervises the gateway's processes: starts them in order, restarts what dies, stops in reverse, prints one log.

It must not know site.toml, SQL or netctl's messages: portal.prepare checks and writes everything and then turns into
this program by exec, which imports the standard library alone and so stays small for as long as the gateway runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
HEALTHY_AFTER_S: Final = 30.0  # a child that lived so long starts again after the first pause
READY_WITHIN_S: Final = 60.0
REFRESH_S: Final = 600.0  # how often a certificate and the clock are looked at again
LINE_BYTES: Final = 4096
# Exit statuses (sysexits) with which a child says that starting it again changes nothing.
HOPELESS: Final = {os.EX_UNAVAILABLE, os.EX_CONFIG}


@dataclass(frozen=True, slots=True)
class Orders:
    """What the supervisor is told. ``dnsmasq`` and ``setpriv`` are paths of programs; ``lock`` is an open descriptor.

    ``certificate``: the file that guest-tls is started again for when it changes. ``refresh``: the command that writes
    dnsmasq's configuration again (None: nothing in it depends on time).
    """

    run: str
    data: str
    site: str
    user: str
    dnsmasq: str
    dnsmasq_user: str
    dnsmasq_group: str
    setpriv: str
    tls: bool
    keep: bool
    lock: int
    certificate: str | None = None
    refresh: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A child: how it is started, and how long it may take to end before it is killed."""

    name: str
    argv: tuple[str, ...]
    grace_s: float


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """A Python child of this installation. -P: nothing is imported from the directory that root happens to be in."""
    return (sys.executable, "-P", "-m", module, *arguments)


def programs(orders: Orders, supervisor: int) -> list[Program]:
    """The gateway's processes in the order in which they start. None of them outlives process ``supervisor``.

    netctl dies by SIGKILL, so that what is in the kernel stays and nobody is cut off. dnsmasq never is root: it gets
    its capabilities beforehand, because the kernel forgets the tie to the parent when a process changes its user.
    """
    run, privileges = Path(orders.run), "-all,+net_admin,+net_raw,+net_bind_service"
    dnsmasq_as = (
        *("--reuid", orders.dnsmasq_user, "--regid", orders.dnsmasq_group, "--clear-groups", "--no-new-privs"),
        *(f"--{kind}={privileges}" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
    )

    def portal(role: str) -> tuple[str, ...]:
        told = {"site": orders.site, "run": orders.run, "data": orders.data, "user": orders.user, "parent": supervisor}
        return python("portal.serve", json.dumps({"role": role, **told}))

    keep = ("--keep",) if orders.keep else ()
    netctl = python("netctl", "daemon", "--config", str(run / "netctl.json"), *keep)
    dnsmasq = (orders.dnsmasq, "--keep-in-foreground", f"--conf-file={run / 'dnsmasq.conf'}")
    found = [
        Program("netctl", (orders.setpriv, "--pdeathsig", "KILL", "--", *netctl), 20),
        Program("dnsmasq", (orders.setpriv, "--pdeathsig", "TERM", *dnsmasq_as, "--", *dnsmasq), 3),
        Program("meter", portal("meter"), 10),
        Program("guest", portal("guest"), 5),
    ]
    return found + ([Program("guest-tls", portal("guest-tls"), 5)] if orders.tls else [])


def log(name: str, message: str) -> None:
    """One line on standard error. A reader who went away must not take the gateway down."""
    with contextlib.suppress(OSError):
        os.write(2, f"{time.strftime('%H:%M:%S')} {name:<9} {message}\n".encode(errors="replace"))


class Child:
    """A program and its present process, if any."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.exit_fd = -1
        self.output = -1
        self.partial = b""
        self.started_s = 0.0
        self.pause_s = FIRST_PAUSE_S
        self.start_at_s: float | None = None
        self.status: int | None = None

    @property
    def name(self) -> str:
        return self.program.name

    def lines(self, data: bytes) -> Iterator[str]:
        """Whole lines of output; an endless one is cut into pieces."""
        *whole, self.partial = (self.partial + data).split(b"\n")
        if len(self.partial) > LINE_BYTES:
            whole.append(self.partial)
            self.partial = b""
        for line in whole:
            text = line.decode(errors="replace").rstrip()
            if text.startswith(self.name):  # netctl: ..., dnsmasq-dhcp[4711]: ...; the name stands in front already
                text = text.partition(": ")[2] or text
            if text and not text.startswith("compile time options:"):
                yield text


class Supervisor:
    """The processes of one gateway and the loop that watches them."""

    def __init__(self, children: Sequence[Program]) -> None:
        self.children = [Child(program) for program in children]
        self.signals = 0
        self.ready = False  # netctl was: from then on whatever ends is started again
        self.hopeless: Child | None = None
        self._selector = selectors.DefaultSelector()
        self._restart = True
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        self._wake_writer = wake  # the interpreter writes to it; it must stay open
        signal.set_wakeup_fd(wake.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        self._selector.register(self._wake, selectors.EVENT_READ, self._drain_wake)

    def _signalled(self, number: int, _frame: object) -> None:
        self.signals += 1
        log(
            "gerbang",
            f"{signal.Signals(number).name}: " + ("stopping" if self.signals == 1 else "killing what is left"),
        )

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)

    def start(self, child: Child) -> None:
        """Start its process in a process group of its own, so that Ctrl-C reaches the supervisor alone."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        child.start_at_s, child.started_s, child.status = None, time.monotonic(), None
        try:
            child.process = subprocess.Popen(
                child.program.argv, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, process_group=0, cwd="/"
            )
        except OSError as error:
            os.close(reading)
            log("gerbang", f"{child.name} cannot be started: {error.strerror}.")
            self._schedule(child)
            return
        finally:
            os.close(writing)
        child.output, child.exit_fd = reading, os.pidfd_open(child.process.pid)
        self._selector.register(child.output, selectors.EVENT_READ, lambda: self._read(child))
        self._selector.register(child.exit_fd, selectors.EVENT_READ, lambda: self._ended(child))

    def _read(self, child: Child) -> None:
        if child.output < 0:
            return  # its end came first in the same round of events, and has read everything
        with contextlib.suppress(BlockingIOError):
            data = os.read(child.output, 65536)
            for line in child.lines(data or b"\n"):
                log(child.name, line)
            if not data:
                self._selector.unregister(child.output)
                os.close(child.output)
                child.output = -1

    def _ended(self, child: Child) -> None:
        process = child.process
        if process is None:  # pragma: no cover - the descriptor goes when the process does
            return
        # What it left behind in its group (workers of a killed server) would hold ports and memory. The process is not
        # waited for yet, so its number cannot be anybody else's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        child.status = process.wait()
        child.process = None
        self._selector.unregister(child.exit_fd)
        os.close(child.exit_fd)
        while child.output >= 0 and self._readable(child.output):
            self._read(child)
        if child.output >= 0:
            self._selector.unregister(child.output)
            os.close(child.output)
            child.output = -1
        if child.status in HOPELESS and not self.ready:
            self.hopeless = child
        elif self._restart:
            self._schedule(child)

    @staticmethod
    def _readable(descriptor: int) -> bool:
        import select  # noqa: PLC0415  at the end of a child only

        return bool(select.select([descriptor], [], [], 0)[0])

    def _schedule(self, child: Child) -> None:
        if time.monotonic() - child.started_s > HEALTHY_AFTER_S:
            child.pause_s = FIRST_PAUSE_S
        ended = "" if child.status is None else f"{child.name} ended {describe(child.status)}; "
        log("gerbang", f"{ended}starting it again in {child.pause_s:.1f} s")
        child.start_at_s = time.monotonic() + child.pause_s
        child.pause_s = min(child.pause_s * 2, LONGEST_PAUSE_S)

    def renew(self, child: Child, why: str) -> None:
        """End it, so that it starts again with what is there now."""
        if child.process is not None:
            log("gerbang", f"{why}: renewing {child.name}")
            child.process.send_signal(signal.SIGTERM)

    def run_until(self, done: Callable[[], bool], within_s: float | None = None) -> bool:
        """Serve events until ``done`` or, after ``within_s``, not; False then."""
        end = None if within_s is None else time.monotonic() + within_s
        while not done():
            now = time.monotonic()
            if end is not None and now >= end:
                return False
            for child in self.children:
                if child.start_at_s is not None and child.start_at_s <= now:
                    self.start(child)
            due = [at for at in (end, *(child.start_at_s for child in self.children)) if at is not None]
            for key, _ in self._selector.select(max(0.0, min(due) - now) if due else None):
                key.data()
        return True

    def stop(self) -> None:
        """End all children, the last started first, each within its time; a second signal kills the rest."""
        self._restart = False
        first = self.signals
        for child in self.children:
            child.start_at_s = None
        for child in reversed(self.children):
            if child.process is None:
                continue
            child.process.send_signal(signal.SIGTERM)
            if not self.run_until(lambda: child.process is None or self.signals > max(first, 1), child.program.grace_s):  # noqa: B023
                log("gerbang", f"{child.name} did not end within {child.program.grace_s:.0f} s; killing it")
            if child.process is not None:
                child.process.kill()
                self.run_until(lambda: child.process is None)  # noqa: B023


def describe(status: int) -> str:
    """'with status 1', 'by SIGKILL'."""
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"


def answers(path: Path) -> bool:
    """Does netctl listen? It does once its rules stand."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def supervise(orders: Orders, children: Sequence[Program]) -> int:
    """Run the gateway, netctl first and dnsmasq second, until a signal comes; the exit status (sysexits)."""
    supervisor = Supervisor(children)
    netctl, dnsmasq = supervisor.children[:2]
    listening = Path(orders.run) / "netctl.sock"
    configuration = Path(orders.run) / "dnsmasq.conf"

    def over() -> bool:
        return supervisor.signals > 0 or supervisor.hopeless is not None

    supervisor.start(netctl)
    end = time.monotonic() + READY_WITHIN_S
    late = False
    while not (over() or answers(listening)):
        # The LAN stays shut meanwhile: no address, no DHCP, no page before the rules stand.
        supervisor.run_until(over, 0.02)
        if not late and time.monotonic() > end:
            late = True
            log("gerbang", f"netctl is not ready after {READY_WITHIN_S:.0f} s; the LAN stays shut until it is.")
    if not over():
        supervisor.ready = True
        for child in supervisor.children[1:]:
            supervisor.start(child)
        log("gerbang", "started")
    seen = identity(orders.certificate)
    while not supervisor.run_until(over, REFRESH_S if orders.refresh else None):
        if orders.refresh and refreshed(orders.refresh, configuration):
            supervisor.renew(dnsmasq, "the certificate or the clock changed what DHCP announces")
        if (found := identity(orders.certificate)) != seen:
            seen = found
            for child in supervisor.children:
                if child.name == "guest-tls":
                    supervisor.renew(child, "the certificate changed")
    supervisor.stop()
    return finish(supervisor, netctl, orders)


def identity(path: str | None) -> tuple[int, int] | None:
    """Tells one state of a file from another; None without a file."""
    with contextlib.suppress(OSError):
        if path is not None:
            found = Path(path).stat()
            return found.st_ino, found.st_mtime_ns
    return None


def refreshed(command: Sequence[str], configuration: Path) -> bool:
    """Did writing the configuration again change it?"""
    before = configuration.read_bytes()
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        log("gerbang", f"dnsmasq's configuration could not be looked at again: {error}")
        return False
    return configuration.read_bytes() != before


def finish(supervisor: Supervisor, netctl: Child, orders: Orders) -> int:
    """Say how it ended, and clear the kernel where netctl could not do it itself."""
    if supervisor.hopeless is not None:
        log("gerbang", f"stopped: netctl ended {describe(netctl.status or 0)}; its sentence above says why")
        return netctl.status or os.EX_SOFTWARE
    if supervisor.signals > 1:
        log(
            "gerbang", "killed. What is in the kernel stays: `netctl cleanup` removes it, starting again takes it over."
        )
        return os.EX_TEMPFAIL
    if netctl.status != 0 and not orders.keep:
        log("gerbang", "netctl did not end cleanly; removing its rules.")
        cleanup = python("netctl", "cleanup", "--config", str(Path(orders.run) / "netctl.json"))
        if subprocess.run(cleanup, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            return os.EX_SOFTWARE
    log("gerbang", "stopped; users stay online" if orders.keep else "stopped")
    return os.EX_OK


def encode(orders: Orders) -> str:
    return json.dumps(asdict(orders))


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    told["refresh"] = tuple(told["refresh"]) if told["refresh"] else None
    ordered = Orders(**told)
    os.set_inheritable(ordered.lock, False)
    sys.exit(supervise(ordered, programs(ordered, os.getpid())))
