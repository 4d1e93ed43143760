"""Takes requests from the gateway's control socket, one connection after the other. It must not know what they ask.

portal.control is the other end, and says how both speak. The standard library is all it needs.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from portal import control
from portal.control import ControlError
from portal.loop import Loop

REQUEST_S: Final = 5.0  # for a whole request, and again for the taking of its answer
PEERCRED: Final = struct.Struct("iII")
TIMER: Final = "control"


class Request:
    """The connection whose turn it is. ``told`` is what it asks; ``file`` an open descriptor that came with it.

    Answered it is once. Who asked may have gone by then; what was asked for is done all the same.
    """

    def __init__(self, loop: Loop, accepted: socket.socket, over: Callable[[], object]) -> None:
        self.told: dict[str, Any] = {}
        self.file: int | None = None
        self._loop = loop
        self._socket = accepted
        self._over = over
        self._received = b""
        self._answer = b""
        self._asked = False
        self._closed = False

    @property
    def by(self) -> str:
        return str(self.told.get("by", ""))[:80]

    def listen(self, do: Callable[[Request], Mapping[str, Any] | None]) -> None:
        """``do`` answers at once, or None and later; it may raise ControlError."""
        self._loop.after(TIMER, REQUEST_S, self.close)
        self._loop.watch(self._socket.fileno(), lambda: self._receive(do))

    def _receive(self, do: Callable[[Request], Mapping[str, Any] | None]) -> None:
        try:
            data, files, _flags, _ = socket.recv_fds(self._socket, 262_144, 4, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, files = b"", []
        for file in files:
            if self.file is None:
                self.file = file
            else:
                os.close(file)
        if not data:
            self.close()  # it went away; a child that works for it still ends, and its answer goes nowhere
            return
        if self._asked:
            return
        self._received += data
        if len(self._received) > control.MAX_BYTES:
            self.refuse(ControlError(control.BAD_REQUEST, "The request is too long.", "Shorten the configuration."))
        elif self._received.endswith(b"\n"):
            self._loop.cancel(TIMER)
            self._asked = True
            try:
                self.told = _decoded(self._received)
                answer = do(self)
            except ControlError as error:
                self.refuse(error)
            else:
                if answer is not None:
                    self.answer(answer)

    def refuse(self, error: ControlError) -> None:
        told = {"code": error.code, "message": error.message, "hint": error.hint, "mistakes": list(error.mistakes)}
        self.answer({"error": told})

    def answer(self, answer: Mapping[str, Any]) -> None:
        if self._closed:
            return
        self._answer = json.dumps(answer).encode() + b"\n"
        self._asked = True
        self._loop.after(TIMER, REQUEST_S, self.close)
        self._send()

    def _send(self) -> None:
        try:
            self._answer = self._answer[self._socket.send(self._answer) :]
        except BlockingIOError:
            pass
        except OSError:
            self._answer = b""
        if self._answer:
            self._loop.watch(self._socket.fileno(), self._send, writing=True)
        else:
            self.close()

    def close(self) -> None:
        """End this connection; the next one that waits has its turn."""
        if self._closed:
            return
        self._closed = True
        self._loop.cancel(TIMER)
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        if self.file is not None:
            os.close(self.file)
        self._over()


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
        str(told["verb"])
    except (ValueError, KeyError, TypeError, RecursionError):
        told = None
    if not isinstance(told, dict):
        message = "The request is not a line of JSON with a verb."
        raise ControlError(control.BAD_REQUEST, message, "Both ends must be of one version.")
    return told


class ControlSocket:
    """Obeys root and ``writers``."""

    def __init__(
        self,
        loop: Loop,
        path: Path,
        group: int,
        writers: Collection[int],
        do: Callable[[Request], Mapping[str, Any] | None],
    ) -> None:
        self._loop = loop
        self._path = path
        self._group = group
        self._writers = writers
        self._do = do
        self._listener: socket.socket | None = None
        self._request: Request | None = None

    def open(self) -> None:
        """Listen, mode 0660 root:group. The run directory is this gateway's alone: what is left there is stale."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o117)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        os.chown(self._path, -1, self._group)
        listener.setblocking(False)
        listener.listen(8)
        self._listener = listener
        self._loop.watch(listener.fileno(), self._accept)

    def close(self) -> None:
        listener, self._listener = self._listener, None
        if self._request is not None:
            self._request.close()
        if listener is not None:
            self._loop.unwatch(listener.fileno())
            listener.close()
            self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101 - it is what became readable
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            return
        accepted.setblocking(False)
        self._loop.unwatch(self._listener.fileno())  # the others wait in the backlog
        request = self._request = Request(self._loop, accepted, self._next)
        _pid, uid, _gid = PEERCRED.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEERCRED.size))
        if uid != 0 and uid not in self._writers:
            request.refuse(ControlError(control.DENIED, "This user may not change the gateway.", "Use sudo."))
        else:
            request.listen(self._do)

    def _next(self) -> None:
        self._request = None
        if self._listener is not None:
            self._loop.watch(self._listener.fileno(), self._accept)
