"""The control socket: one thread takes requests from a Unix socket and lets the engine answer them.

It must not know what a grant is or how the kernel is told; who may write is decided by SO_PEERCRED (unix(7)).
"""

from __future__ import annotations

import fcntl
import logging
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from netctl.api.errors import BUSY, DENIED, INTERNAL, TIMEOUT, NetctlError
from netctl.api.protocol import HEADER, MAX_BYTES, body_length, decode_request, pack
from netctl.api.types import (
    Applied,
    Apply,
    Dump,
    Dumped,
    Failure,
    GatewayConfig,
    Message,
    Neighbour,
    Plan,
    Planned,
    ReadLink,
    ReadStatus,
    ReadUsage,
    Request,
    ShapeLink,
    TakeConnections,
    Whois,
)
from netctl.engine import Engine

log = logging.getLogger("netctl")

MAX_CONNECTIONS: Final = 128
REQUEST_S: Final = 5.0  # for the rest of a request after its first byte, and for taking the reply
READ_BYTES: Final = 262_144
MAX_BUFFERED: Final = 4 * MAX_BYTES  # of all connections together
MAX_WAIT_S: Final = 5.0  # so that a watchdog sees the loop turn, however rare the ticks are
PEERCRED: Final = struct.Struct("iII")


@dataclass(slots=True, eq=False)
class _Connection:
    """``ends_s`` (monotonic): when the request or reply that is under way must be through."""

    socket: socket.socket
    may_write: bool
    used_s: float
    ends_s: float | None = None
    received: bytearray = field(default_factory=bytearray)
    unsent: bytes = b""
    closing: bool = False


class Server:
    """``open``, then ``run`` until ``stop`` is called (from a signal handler, or another thread)."""

    def __init__(self, engine: Engine, config: GatewayConfig, on_turn: Callable[[], None] = lambda: None) -> None:
        self._engine = engine
        self._config = config
        self._on_turn = on_turn
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._waiting: set[_Connection] = set()  # a further whole request is in the buffer already
        self._stop_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock_fd = -1
        self._locked = False
        self._stopping = False
        self._listener: socket.socket | None = None

    def claim(self) -> None:
        """Be the only daemon at this socket, and take away what a dead one left. Raises NetctlError, OSError."""
        path = self._config.socket_path
        self._lock_fd = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
        except BlockingIOError:
            raise _in_use(path) from None
        self._locked = True
        _remove_stale(path)

    def open(self) -> None:
        """Listen, mode 0660 root:socket_group. ``claim`` comes first; raises OSError."""
        path = self._config.socket_path
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o117)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        if self._config.socket_group is not None:
            os.chown(path, -1, self._config.socket_group)
        listener.setblocking(False)
        listener.listen(MAX_CONNECTIONS)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._stop_fd, selectors.EVENT_READ)
        self._selector.register(self._engine.neighbour_events(), selectors.EVENT_READ)

    def stop(self) -> None:
        self._stopping = True
        os.eventfd_write(self._stop_fd, 1)

    def run(self) -> None:
        """Serve until stopped; what a client sends never ends it."""
        while not self._stopping:
            self._turn()

    def close(self) -> None:
        """Close every connection and take the socket's name away."""
        for connection in list(self._connections):
            self._drop(connection)
        if self._listener is not None:
            self._listener.close()
            with suppress(FileNotFoundError):
                os.unlink(self._config.socket_path)  # noqa: PTH108 (a socket's path, as bind takes it)
        self._selector.close()
        os.close(self._stop_fd)
        if self._locked:
            os.unlink(self._config.socket_path + ".lock")  # noqa: PTH108
        if self._lock_fd >= 0:
            os.close(self._lock_fd)

    # --- one turn ---------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        ready = self._waiting
        self._waiting = set()
        for key, events in self._selector.select(0.0 if ready else self._wait_s()):
            if self._listener is not None and key.fileobj is self._listener:
                self._accept_all(self._listener)
            elif isinstance(key.data, _Connection):
                if events & selectors.EVENT_WRITE:
                    self._send_rest(key.data)
                if events & selectors.EVENT_READ and self._receive(key.data):
                    ready.add(key.data)
            elif key.fd != self._stop_fd:
                self._guarded(self._engine.learn)  # first: a login in the same turn admits what was just learned
        self._serve(ready & self._connections)
        self._guarded(self._engine.due)
        self._end_overdue()
        self._on_turn()

    def _wait_s(self) -> float:
        ends = [c.ends_s for c in self._connections if c.ends_s is not None]
        wait = min(self._engine.wake_in_s(), MAX_WAIT_S)
        return max(0.0, min(wait, min(ends) - time.monotonic())) if ends else wait

    def _accept_all(self, listener: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("A connection was not accepted: %s", error)
                time.sleep(0.05)  # out of descriptors: the listener stays readable and would spin
                return
            accepted.setblocking(False)
            if len(self._connections) >= MAX_CONNECTIONS and not self._drop_idle():
                with suppress(OSError):
                    accepted.send(pack(_busy()))
                accepted.close()
                continue
            _pid, uid, _gid = PEERCRED.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEERCRED.size))
            connection = _Connection(accepted, uid == 0 or uid in self._config.writers, time.monotonic())
            self._connections.add(connection)
            self._selector.register(accepted, selectors.EVENT_READ, connection)

    def _drop_idle(self) -> bool:
        """Make room by closing the connection that has been kept longest without use; its client reconnects."""
        idle = [c for c in self._connections if c.ends_s is None]
        if idle:
            self._drop(min(idle, key=lambda c: c.used_s))
        return bool(idle)

    def _receive(self, connection: _Connection) -> bool:
        """Take bytes in; True: a whole request is there."""
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return False
        connection.used_s = time.monotonic()
        if connection.ends_s is None:
            connection.ends_s = connection.used_s + REQUEST_S
        connection.received += data
        if sum(len(c.received) + len(c.unsent) for c in self._connections) > MAX_BUFFERED:
            self._fail_and_close(connection, NetctlError(BUSY, "Too much is being sent at once.", "Try again shortly."))
            return False
        return self._is_whole(connection)

    def _is_whole(self, connection: _Connection) -> bool:
        received = connection.received
        if len(received) < HEADER.size:
            return False
        try:
            return len(received) >= HEADER.size + body_length(received)
        except NetctlError as error:
            self._fail_and_close(connection, error)
            return False

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for connection in [c for c in self._connections if c.ends_s is not None and c.ends_s <= now]:
            if connection.unsent:
                self._drop(connection)  # it does not read: nothing more can be said to it
            else:
                message = f"The request was not complete after {REQUEST_S:g} s."
                self._fail_and_close(connection, NetctlError(TIMEOUT, message, "Send it at once."))

    # --- requests ---------------------------------------------------------------------------------------------------

    def _serve(self, ready: set[_Connection]) -> None:
        applies: list[tuple[_Connection, Apply]] = []
        for connection in sorted(ready, key=lambda c: c.used_s):
            end = HEADER.size + body_length(connection.received)
            body = bytes(connection.received[HEADER.size : end])
            del connection.received[:end]
            try:
                request = decode_request(body)
                if isinstance(request, Apply | ShapeLink | TakeConnections) and not connection.may_write:
                    raise NetctlError(DENIED, "This user may read what all may, but change nothing.", "")
                if isinstance(request, Apply):
                    applies.append((connection, request))
                    continue
            except NetctlError as error:
                self._reply(connection, _failure(error))
            else:
                self._reply(connection, self._answer(request))
        if applies:
            self._apply_newest(applies)

    def _apply_newest(self, applies: list[tuple[_Connection, Apply]]) -> None:
        """Pushes that wait together cost one: the newest of an epoch is applied and answers for the older ones."""
        while applies:
            epoch = applies[0][1].state.epoch
            same = [waiting for waiting in applies if waiting[1].state.epoch == epoch]
            newest = max(reversed(same), key=lambda waiting: waiting[1].state.generation)  # of equals, the last to come
            reply = self._answer(newest[1])
            answered = same if isinstance(reply, Applied) else [newest]
            for connection, _request in answered:
                self._reply(connection, reply)
            applies = [waiting for waiting in applies if waiting not in answered]

    def _answer(self, request: Request) -> Message:
        try:
            return self._do(request)
        except NetctlError as error:
            return _failure(error)
        except Exception:
            log.exception("A %s request failed", type(request).__name__)
            return _failure(NetctlError(INTERNAL, "netctl failed at this request.", "Its log says where."))

    def _do(self, request: Request) -> Message:
        engine = self._engine
        reply: Message
        match request:
            case Whois():
                reply = Neighbour(ip=request.ip, mac=engine.whois(request.ip))
            case Apply():
                reply = engine.apply(request.state)
            case ReadUsage():
                reply = engine.usage(request.grant)
            case ReadStatus():
                reply = engine.status()
            case ShapeLink():
                reply = engine.shape_link(request.down_kbit, request.up_kbit)
            case ReadLink():
                reply = engine.link()
            case Plan():
                reply = Planned(ops=engine.plan(request.state))
            case TakeConnections():
                reply = engine.connections(request.stream, request.after, request.most)
            case Dump():
                reply = Dumped(lines=engine.dump())
        return reply

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("netctl goes on after an error")

    # --- replies ----------------------------------------------------------------------------------------------------

    def _reply(self, connection: _Connection, reply: Message) -> None:
        if connection not in self._connections:
            return
        try:
            connection.unsent = pack(reply)
        except NetctlError as error:
            connection.unsent = pack(_failure(error))
        connection.ends_s = time.monotonic() + REQUEST_S
        self._send_rest(connection)

    def _fail_and_close(self, connection: _Connection, error: NetctlError) -> None:
        """The stream's framing is lost, or its time is over."""
        connection.closing = True
        self._reply(connection, _failure(error))

    def _send_rest(self, connection: _Connection) -> None:
        try:
            while connection.unsent:
                connection.unsent = connection.unsent[connection.socket.send(connection.unsent) :]
        except BlockingIOError:
            self._selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
            return
        except OSError:
            self._drop(connection)
            return
        if connection.closing:
            self._drop(connection)
            return
        if self._selector.get_key(connection.socket).events != selectors.EVENT_READ:
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)
        connection.used_s = time.monotonic()
        connection.ends_s = connection.used_s + REQUEST_S if connection.received else None
        if connection.received and self._is_whole(connection):
            self._waiting.add(connection)

    def _drop(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._waiting.discard(connection)
        with suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.socket.close()


def _failure(error: NetctlError) -> Failure:
    return Failure(code=error.code, message=error.message, hint=error.hint)


def _busy() -> Failure:
    return Failure(code=BUSY, message=f"All {MAX_CONNECTIONS} connections are at work.", hint="Try again shortly.")


def _remove_stale(path: str) -> None:
    """Take away the socket of a process that is gone. Raises NetctlError where somebody answers."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.setblocking(False)
    try:
        probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)  # noqa: PTH108
        return
    except BlockingIOError:
        pass  # its backlog is full: it lives
    finally:
        probe.close()
    raise _in_use(path)


def _in_use(path: str) -> NetctlError:
    return NetctlError(BUSY, f"Another netctl runs at {path}.", "End it first, or give this one another socket_path.")
