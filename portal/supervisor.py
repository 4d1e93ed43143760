"""Keeps child processes running: starts them, restarts what dies, stops in reverse, and makes one log of all they say.

It must not know which programs they are, nor site.toml, SQL or netctl's messages. It imports little but the standard
library and so stays small for as long as the gateway runs.
"""

from __future__ import annotations

import collections
import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from portal import listener

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
HEALTHY_AFTER_S: Final = 30.0  # a child that lived so long starts again after the first pause
LINE_BYTES: Final = 4096
KEPT_LINES: Final = 2000  # of the log, in memory: for the diagnostic bundle where no journal is kept
# Exit statuses (sysexits) with which a child says that starting it again changes nothing.
HOPELESS: Final = {os.EX_UNAVAILABLE, os.EX_CONFIG}

kept: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)


@dataclass(frozen=True, slots=True)
class Program:
    """A child: how it is started, how long it may take to end before it is killed, and the port whose socket is held
    for it (portal.listener)."""

    name: str
    argv: tuple[str, ...]
    grace_s: float
    port: int | None = None


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """A Python child of this installation. -P: nothing is imported from the directory that root happens to be in."""
    return (sys.executable, "-P", "-m", module, *arguments)


def log(name: str, message: str) -> None:
    """One line on standard error. A reader who went away must not take the gateway down."""
    line = f"{time.strftime('%H:%M:%S')} {name:<9} {message}"
    kept.append(line)
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode(errors="replace"))


def describe(status: int) -> str:
    """'with status 1', 'by SIGKILL'."""
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"


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
        self.kill_at_s: float | None = None
        self.status: int | None = None
        self.asked = False  # its end was asked for: to be renewed, or for good
        self.unwanted = False  # it is not started again
        self.before_start: Callable[[], object] | None = None  # once
        self.listener: socket.socket | None = None
        self.listener_port: int | None = None

    @property
    def name(self) -> str:
        return self.program.name

    def listen(self) -> dict[str, Any]:
        """What Popen needs to hand the socket down. A port that cannot be had the child finds so itself, and says."""
        port = self.program.port
        if port != self.listener_port:
            self.hang_up()
        if port is not None and self.listener is None:
            with contextlib.suppress(OSError):
                self.listener, self.listener_port = listener.listen("::", port), port
        if self.listener is None:
            return {}
        number = self.listener.fileno()
        return {"pass_fds": (number,), "env": {**os.environ, listener.VARIABLE: str(number)}}

    def hang_up(self) -> None:
        """Give its socket up: from then on nobody waits for it."""
        if self.listener is not None:
            self.listener.close()
        self.listener = self.listener_port = None

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
    """The processes of one gateway and the loop that watches them.

    ``on_failure`` is called with each child that ended though nobody asked it to.
    """

    def __init__(self, programs: Sequence[Program]) -> None:
        self.children = [Child(program) for program in programs]
        self.signals = 0
        self.ready = False  # netctl was: from then on whatever ends is started again
        self.hopeless: Child | None = None
        self.on_failure: Callable[[Child], None] = lambda _child: None
        self._timers: dict[str, tuple[float, Callable[[], object]]] = {}
        self._selector = selectors.DefaultSelector()
        self._restart = True
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        self._wake_writer = wake  # the interpreter writes to it; it must stay open
        signal.set_wakeup_fd(wake.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        self.watch(self._wake.fileno(), self._drain_wake)

    def _signalled(self, number: int, _frame: object) -> None:
        self.signals += 1
        log(
            "gerbang",
            f"{signal.Signals(number).name}: " + ("stopping" if self.signals == 1 else "killing what is left"),
        )

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def watch(self, descriptor: int, call: Callable[[], object], *, writing: bool = False) -> None:
        """Call whenever ``descriptor`` can be read (or written), until ``unwatch``; one call for each descriptor."""
        self.unwatch(descriptor)
        self._selector.register(descriptor, selectors.EVENT_WRITE if writing else selectors.EVENT_READ, call)

    def unwatch(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(descriptor)

    def after(self, name: str, seconds: float, call: Callable[[], object]) -> None:
        """Call once after ``seconds``; a timer of the same name is replaced."""
        self._timers[name] = (time.monotonic() + seconds, call)

    def cancel(self, name: str) -> None:
        self._timers.pop(name, None)

    def left_s(self, name: str) -> float | None:
        """Seconds until this timer; None where there is none."""
        timer = self._timers.get(name)
        return None if timer is None else max(0.0, timer[0] - time.monotonic())

    def run_until(self, done: Callable[[], bool], within_s: float | None = None) -> bool:
        """Serve events until ``done`` or, after ``within_s``, not; False then."""
        end = None if within_s is None else time.monotonic() + within_s
        while not done():
            now = time.monotonic()
            if end is not None and now >= end:
                return False
            for child in list(self.children):
                if child.start_at_s is not None and child.start_at_s <= now:
                    self.start(child)
                if child.kill_at_s is not None and child.kill_at_s <= now and child.process is not None:
                    log("gerbang", f"{child.name} did not end within {child.program.grace_s:.0f} s; killing it")
                    child.kill_at_s = None
                    child.process.kill()
            for name, (at, call) in list(self._timers.items()):
                if at <= now:
                    self.cancel(name)
                    call()
            due = [at for child in self.children for at in (child.start_at_s, child.kill_at_s) if at is not None]
            due += [at for at, _ in self._timers.values()] + ([] if end is None else [end])
            for key, _ in self._selector.select(max(0.0, min(due) - time.monotonic()) if due else None):
                key.data()
        return True

    # --- children ---------------------------------------------------------------------------------------------------

    def start(self, child: Child) -> None:
        """Start its process in a process group of its own, so that Ctrl-C reaches the supervisor alone."""
        if child.before_start is not None:
            prepare, child.before_start = child.before_start, None
            prepare()
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        child.start_at_s, child.started_s, child.status, child.asked = None, time.monotonic(), None, False
        try:
            child.process = subprocess.Popen(
                child.program.argv,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                process_group=0,
                cwd="/",
                **child.listen(),
            )
        except OSError as error:
            os.close(reading)
            log("gerbang", f"{child.name} cannot be started: {error.strerror}.")
            self._schedule(child)
            self.on_failure(child)
            return
        finally:
            os.close(writing)
        child.output, child.exit_fd = reading, os.pidfd_open(child.process.pid)
        self.watch(child.output, lambda: self._read(child))
        self.watch(child.exit_fd, lambda: self._ended(child))

    def _read(self, child: Child) -> None:
        if child.output < 0:
            return  # its end came first in the same round of events, and has read everything
        with contextlib.suppress(BlockingIOError):
            data = os.read(child.output, 65536)
            for line in child.lines(data or b"\n"):
                log(child.name, line)
            if not data:
                self._close_output(child)

    def _close_output(self, child: Child) -> None:
        self.unwatch(child.output)
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
        child.process = child.kill_at_s = None
        self.unwatch(child.exit_fd)
        os.close(child.exit_fd)
        while child.output >= 0 and self._readable(child.output):
            self._read(child)
        if child.output >= 0:
            self._close_output(child)
        if child.unwanted:
            self.children.remove(child)
        elif child.asked and self._restart:
            child.pause_s, child.start_at_s = FIRST_PAUSE_S, time.monotonic()
        elif child.status in HOPELESS and not self.ready:
            self.hopeless = child
        elif self._restart:
            self._schedule(child)
            self.on_failure(child)

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

    def renew(self, child: Child, why: str, by: signal.Signals = signal.SIGTERM) -> None:
        """End it, so that it starts again with what is there now."""
        log("gerbang", f"{why}: renewing {child.name}")
        if child.process is None:
            child.pause_s, child.start_at_s = FIRST_PAUSE_S, time.monotonic()
        else:
            self._end(child, by)

    def _end(self, child: Child, by: signal.Signals) -> None:
        """Ask its process to end, and see to it that it does."""
        child.asked, child.kill_at_s = True, time.monotonic() + child.program.grace_s
        if child.process is not None:
            child.process.send_signal(by)

    def reprogram(self, programs: Sequence[Program]) -> set[str]:
        """From now on these are the children: new ones start, and are returned, others end for good.

        Those that stay run on until the caller renews them.
        """
        by_name = {program.name: program for program in programs}
        for child in list(self.children):
            if child.name in by_name:
                child.program = by_name.pop(child.name)
            elif child.process is None:
                child.hang_up()
                self.children.remove(child)
            else:
                log("gerbang", f"{child.name} is no longer needed")
                child.hang_up()
                child.unwanted = True
                self._end(child, signal.SIGTERM)
        for program in by_name.values():
            child = Child(program)
            self.children.append(child)
            self.start(child)
        return set(by_name)

    def stop(self) -> None:
        """End all children, the last started first, each within its time; a second signal kills the rest."""
        self._restart = False
        first = self.signals
        for child in self.children:
            child.start_at_s = child.kill_at_s = None
            child.hang_up()
        for child in reversed(list(self.children)):
            if child.process is None:
                continue
            child.process.send_signal(signal.SIGTERM)
            if not self.run_until(lambda: child.process is None or self.signals > max(first, 1), child.program.grace_s):  # noqa: B023
                log("gerbang", f"{child.name} did not end within {child.program.grace_s:.0f} s; killing it")
            if child.process is not None:
                child.process.kill()
                self.run_until(lambda: child.process is None)  # noqa: B023
