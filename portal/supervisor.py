"""Keeps child processes running: starts them, restarts what dies, stops in reverse, and makes one log of all they say.

It must not know which programs they are, nor site.toml, SQL or netctl's messages. It imports little but the standard
library and so stays small for as long as the gateway runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from portal import listener
from portal.logline import describe, kept, log
from portal.processes import Processes, Program

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
HEALTHY_AFTER_S: Final = 30.0  # a child that lived so long starts again after the first pause
LINE_BYTES: Final = 4096
# Exit statuses (sysexits) with which a child says that starting it again changes nothing.
HOPELESS: Final = {os.EX_UNAVAILABLE, os.EX_CONFIG}


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


class Supervisor(Processes):
    """The processes of one gateway as its children. ``ready``: from then on whatever ends is started again."""

    def __init__(self, programs: Sequence[Program]) -> None:
        super().__init__()
        self.children = [Child(program) for program in programs]
        self.hopeless: Child | None = None
        self._restart = True

    def look(self, now: float) -> None:
        for child in list(self.children):
            if child.start_at_s is not None and child.start_at_s <= now:
                self.start(child)
            if child.kill_at_s is not None and child.kill_at_s <= now and child.process is not None:
                log("gerbang", f"{child.name} did not end within {child.program.grace_s:.0f} s; killing it")
                child.kill_at_s = None
                child.process.kill()

    def due(self) -> list[float]:
        return [at for child in self.children for at in (child.start_at_s, child.kill_at_s) if at is not None]

    def lines(self) -> list[str]:
        return list(kept)

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
            self.on_failure(f"{child.name} could not be started")
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
            self.on_failure(f"{child.name} ended {describe(child.status)}")

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

    def renew(self, name: str, why: str, between: Callable[[], object] | None = None) -> None:
        for child in self.children:
            if child.name != name or child.unwanted:
                continue
            log("gerbang", f"{why}: renewing {child.name}")
            child.before_start = between or child.before_start
            if child.process is None:
                child.pause_s, child.start_at_s = FIRST_PAUSE_S, time.monotonic()
            else:
                self._end(child, child.program.renew_by)

    def _end(self, child: Child, by: signal.Signals) -> None:
        """Ask its process to end, and see to it that it does."""
        child.asked, child.kill_at_s = True, time.monotonic() + child.program.grace_s
        if child.process is not None:
            child.process.send_signal(by)

    def reprogram(self, programs: Sequence[Program]) -> set[str]:
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
