"""Talk to the netctl daemon over its Unix socket: blocking, thread-safe, on a small pool of kept connections.

It must not know the kernel. Every request may be sent twice without harm, which is why a broken connection is retried.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from netctl.api.errors import BAD_REQUEST, BUSY, TIMEOUT, UNREACHABLE, NetctlError
from netctl.api.protocol import HEADER, body_length, decode_reply, pack
from netctl.api.types import (
    Applied,
    Apply,
    Connections,
    DesiredState,
    Dump,
    Dumped,
    Failure,
    Link,
    Message,
    Neighbour,
    Plan,
    Planned,
    ReadLink,
    ReadStatus,
    ReadUsage,
    Reply,
    ShapeLink,
    Status,
    TakeConnections,
    Usage,
    Whois,
)

R = TypeVar("R", bound=Message)

KEPT = 8
BUSY_PAUSE_S = 0.02


class _Broken(Exception):
    """The connection ended before the whole reply was there."""


class Client:
    """One client for all threads of a process; survives a fork (the child opens its own connections).

    Every method raises NetctlError: with the daemon's code where it answered with a Failure, ``unreachable`` where
    nobody listens, ``timeout`` after ``timeout_s`` in all, ``busy`` where the daemon was busy until then.
    """

    def __init__(self, socket_path: str | os.PathLike[str], timeout_s: float = 5.0) -> None:
        self._path = str(Path(socket_path))
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._kept: list[socket.socket] = []
        self._pid = os.getpid()

    def apply(self, state: DesiredState) -> Applied:
        """Make the kernel like ``state``; returns when this generation, or a newer one, is in force."""
        return self._ask(Apply(state=state), Applied)

    def plan(self, state: DesiredState) -> tuple[str, ...]:
        """What apply would do, one line each; changes nothing."""
        return self._ask(Plan(state=state), Planned).ops

    def whois(self, ip: str) -> str | None:
        """MAC that the kernel's neighbour table gives for this LAN address, or None."""
        return self._ask(Whois(ip=ip), Neighbour).mac

    def usage(self, grant: int | None = None) -> Usage:
        """Byte counters of one grant or of all, members removed lately included."""
        return self._ask(ReadUsage(grant=grant), Usage)

    def status(self) -> Status:
        return self._ask(ReadStatus(), Status)

    def link(self) -> Link:
        """Rates of the link's root classes and the bytes that passed them; cheap enough to be asked often."""
        return self._ask(ReadLink(), Link)

    def shape_link(self, down_kbit: int | None, up_kbit: int | None) -> Link:
        """Change the link's rates (None: as configured) until the next call or netctl's end; ``link`` after that."""
        return self._ask(ShapeLink(down_kbit=down_kbit, up_kbit=up_kbit), Link)

    def dump(self) -> tuple[str, ...]:
        """All that netctl finds of its own in the kernel, as stable lines."""
        return self._ask(Dump(), Dumped).lines

    def connections(self, stream: str, after: int, most: int) -> Connections:
        """What was seen of members' connections after number ``after`` of ``stream``; what is before is forgotten."""
        return self._ask(TakeConnections(stream=stream, after=after, most=most), Connections)

    def close(self) -> None:
        """Close the kept connections; the client stays usable."""
        with self._lock:
            kept, self._kept = self._kept, []
        for connection in kept:
            connection.close()

    # --- one request ----------------------------------------------------------------------------------------------

    def _ask(self, request: Message, expected: type[R]) -> R:
        deadline = time.monotonic() + self._timeout_s
        frame = pack(request)
        while True:
            reply = self._exchange(frame, deadline)
            if isinstance(reply, expected):
                return reply
            if not isinstance(reply, Failure):
                raise NetctlError(BAD_REQUEST, f"netctl answered with {type(reply).__name__}, not {expected.__name__}.")
            if reply.code != BUSY or time.monotonic() + BUSY_PAUSE_S >= deadline:
                raise NetctlError(reply.code, reply.message, reply.hint)
            time.sleep(BUSY_PAUSE_S)

    def _exchange(self, frame: bytes, deadline: float) -> Reply:
        connection = self._take()
        if connection is not None:
            try:
                return self._talk(connection, frame, deadline)
            except _Broken:
                self.close()  # a restart of the daemon broke the others too
        for last in (False, True):  # one more: a daemon that is just being replaced accepts and vanishes
            try:
                return self._talk(self._connect(deadline), frame, deadline)
            except _Broken as error:
                if last:
                    message = f"netctl at {self._path} closed the connection without an answer."
                    raise NetctlError(UNREACHABLE, message, "Look into its log.") from error
        raise AssertionError("unreachable")

    def _talk(self, connection: socket.socket, frame: bytes, deadline: float) -> Reply:
        whole = False
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # a refusal may have been written before: read it
                self._send(connection, frame, deadline)
            length = body_length(self._receive(connection, HEADER.size, deadline))
            reply = decode_reply(self._receive(connection, length, deadline))
            whole = not isinstance(reply, Failure)  # after a failure the daemon may close; not worth finding out
            return reply
        except TimeoutError as error:
            message = f"netctl at {self._path} did not answer within {self._timeout_s:g} s."
            raise NetctlError(TIMEOUT, message, "Is it stopped, or the machine overloaded?") from error
        except ConnectionError as error:
            raise _Broken from error
        finally:
            self._give(connection) if whole else connection.close()

    @staticmethod
    def _send(connection: socket.socket, frame: bytes, deadline: float) -> None:
        connection.settimeout(_left(deadline))
        connection.sendall(frame)

    @staticmethod
    def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
        chunks = []
        while size:
            connection.settimeout(_left(deadline))
            chunk = connection.recv(size)
            if not chunk:
                raise _Broken
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def _connect(self, deadline: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            while True:
                connection.settimeout(_left(deadline))
                try:
                    connection.connect(self._path)
                    return connection
                except BlockingIOError:  # unix(7): the backlog is full, and no waiting is offered
                    time.sleep(BUSY_PAUSE_S)
        except TimeoutError as error:
            connection.close()
            hint = "Is it stopped, or the machine overloaded?"
            raise NetctlError(TIMEOUT, f"netctl at {self._path} accepts no connection.", hint) from error
        except OSError as error:
            connection.close()
            hint = "Start it with `netctl daemon`, or run this as a user of its socket's group."
            raise NetctlError(UNREACHABLE, f"No netctl at {self._path}: {error.strerror or error}.", hint) from error

    # --- pool -----------------------------------------------------------------------------------------------------

    def _take(self) -> socket.socket | None:
        with self._lock:
            if self._pid != os.getpid():  # forked: these belong to the parent
                self._pid = os.getpid()
                self._kept = []
            return self._kept.pop() if self._kept else None

    def _give(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._kept) < KEPT and self._pid == os.getpid():
                self._kept.append(connection)
                return
        connection.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
