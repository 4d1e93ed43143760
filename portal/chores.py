"""Has a short-lived program run again and again beside the gateway's processes. It must not know what that does.

Never two at once; one that hangs is killed; that one failed is said and changes nothing. Part of the supervisor, and so
of the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from portal.logline import describe, log
from portal.loop import Loop
from portal.supervisor import LINE_BYTES

FIRST_S: Final = 300.0  # after a start everything else comes first
EVERY_S: Final = 3600.0
LONGEST_S: Final = 1800.0


class Chores:
    """``command`` is asked for the command line each time."""

    def __init__(self, loop: Loop, name: str, command: Callable[[], Sequence[str]]) -> None:
        self._loop = loop
        self._name = name
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_fd = -1

    def begin(self) -> None:
        self._loop.after(self._name, FIRST_S, self._start)

    def end(self) -> None:
        """The gateway stops: so does what runs. It leaves everything whole wherever it is."""
        self._loop.cancel(self._name)
        if self._process is not None:
            self._kill()
            self._ended()
            self._loop.cancel(self._name)

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                process_group=0,
                cwd="/",
            )
        except OSError as error:
            log("gerbang", f"{self._name} cannot be started: {error.strerror}.")
            self._loop.after(self._name, EVERY_S, self._start)
            return
        self._exit_fd = os.pidfd_open(self._process.pid)
        self._loop.watch(self._exit_fd, self._ended)
        self._loop.after(self._name, LONGEST_S, self._hangs)

    def _hangs(self) -> None:
        log("gerbang", f"{self._name} did not end within {LONGEST_S:.0f} s; killing it")
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _ended(self) -> None:
        """What it says is a few lines at most, which a pipe holds until here."""
        process, self._process = self._process, None
        if process is None or process.stderr is None:  # pragma: no cover - the descriptor goes when the process does
            return
        self._loop.unwatch(self._exit_fd)
        os.close(self._exit_fd)
        status = process.wait()
        os.set_blocking(process.stderr.fileno(), False)
        for line in (process.stderr.read(16 * LINE_BYTES) or b"").decode(errors="replace").splitlines():
            log(self._name, line)
        process.stderr.close()
        if status != 0:
            log("gerbang", f"{self._name} ended {describe(status)}; the next is in {EVERY_S / 60:.0f} minutes")
        self._loop.after(self._name, EVERY_S, self._start)
