"""A gunicorn worker that gives a request a thread only once its head has arrived whole. It must not know pages.

gunicorn's own threaded worker lets a half-sent head hold a thread in recv() for ever, and lingers on closed connections
in its accept loop, up to 2 s for each client that does not hang up: a handful of silent phones stops it. Here one loop
accepts, shakes TLS hands, collects heads, sends what did not fit at once, and lingers (RFC 9112 section 9.6), all
without blocking; threads get complete heads and run the application. A slow or silent client costs one socket, for at
most ``HEAD_TIMEOUT_S``.

Every response closes its connection. Request bodies are neither waited for nor handed to the application: the guest's
forms carry all they say in the URL.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from gunicorn.http import errors, wsgi
from gunicorn.http.parser import RequestParser
from gunicorn.workers.base import Worker

log = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 10.0
"""From accept to the end of the head; TLS handshake included. One packet does it, even on a bad radio."""
LINGER_TIMEOUT_S = 3.0
MAX_HEAD_BYTES = 16 * 1024
MAX_CONNECTIONS = 1000
MAX_ACCEPTS_PER_TURN = 64

_GONE = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError, TimeoutError)


class HeadTooLargeError(Exception):
    """The head passed ``MAX_HEAD_BYTES`` before it ended."""


_STATUS_OF_ERROR: tuple[tuple[type[Exception], str], ...] = (
    (errors.LimitRequestLine, "414 URI Too Long"),
    (errors.LimitRequestHeaders, "431 Request Header Fields Too Large"),
    (HeadTooLargeError, "431 Request Header Fields Too Large"),
    (errors.UnsupportedTransferCoding, "501 Not Implemented"),
    (errors.ExpectationFailed, "417 Expectation Failed"),
    (errors.ParseException, "400 Bad Request"),
    # The head ended where the parser wanted more of it.
    (errors.NoMoreData, "400 Bad Request"),
    (StopIteration, "400 Bad Request"),
)


def is_ready(head: bytes | bytearray) -> bool:
    """Whether a thread should look at ``head`` now: it is complete, or it can never become a request (400, 431)."""
    if b"\r\n\r\n" in head or len(head) > MAX_HEAD_BYTES:
        return True
    # Not a method's first letter (RFC 9110 section 9.1 names them in capitals): TLS on the plain port, or noise.
    if not (head[:1].isalpha() or head[:1] == b"\r"):
        return True
    return head.count(b"\n") != head.count(b"\r\n")  # a bare LF: the head would never end as RFC 9112 ends it


class Outbox:
    """What gunicorn's response writer takes for a socket: it collects head and body, to leave in one piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self._parts.append(data)

    send = sendall

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class Connection:
    """One client. ``head`` fills, then ``unsent`` empties; ``deadline_s`` is of time.monotonic()."""

    __slots__ = ("client", "deadline_s", "head", "server", "sock", "unsent")

    def __init__(self, sock: Any, client: Any, server: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.head = bytearray()
        self.unsent = b""
        self.deadline_s = time.monotonic() + HEAD_TIMEOUT_S

    def receive(self) -> bool:
        """Take what has arrived. True when the head is ready for a thread; EOFError when the client has gone."""
        while True:
            try:
                data = self.sock.recv(MAX_HEAD_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            if not data:
                raise EOFError
            self.head += data
            if is_ready(self.head):
                return True

    def send(self) -> bool:
        """Send what the socket takes now. True when nothing is left."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    def has_unread(self) -> bool:
        """Whether the client sent more than the head: closing now would make the kernel reset the connection, and the
        response could be lost on its way."""
        try:
            return bool(self.sock.recv(MAX_HEAD_BYTES))
        except OSError:
            return False

    def end_sending(self) -> None:
        with suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()  # sends close_notify, does not wait for the client's
        with suppress(OSError):
            self.sock.shutdown(1)

    def close(self) -> None:
        with suppress(OSError):
            self.sock.close()


class HeadWorker(Worker):  # type: ignore[misc]
    """See the module. The application object may have ``tls``: an ssl.SSLContext, then all listeners speak TLS."""

    def init_process(self) -> None:
        self.tls: ssl.SSLContext | None = getattr(self.app, "tls", None)
        self.poller = selectors.DefaultSelector()
        self.threads = ThreadPoolExecutor(max_workers=self.cfg.threads, thread_name_prefix="guest")
        # Each in the order of their deadlines: dicts keep the order of insertion.
        self.reading: dict[Connection, None] = {}
        self.ending: dict[Connection, None] = {}
        self.handed_back: list[Connection] = []
        self.in_threads = 0
        self.lock = threading.Lock()
        super().init_process()

    def run(self) -> None:
        for listener in self.sockets:
            listener.setblocking(False)
            self.poller.register(listener, selectors.EVENT_READ, self._accept)
        # Signals (set_wakeup_fd in the base class) and threads both write to this pipe.
        self.poller.register(self.PIPE[0], selectors.EVENT_READ, self._woken)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            self._turn(timeout_s=1.0)
        self._stop()

    def _turn(self, timeout_s: float) -> None:
        for key, _ in self.poller.select(timeout_s):
            key.data(key.fileobj)
        now_s = time.monotonic()
        for group in (self.reading, self.ending):
            while group and (oldest := next(iter(group))).deadline_s <= now_s:
                self._drop(oldest)

    def _stop(self) -> None:
        """Answer what has arrived, then go; the arbiter kills after graceful_timeout."""
        for listener in self.sockets:
            self.poller.unregister(listener)
            listener.close()
        end_s = time.monotonic() + self.cfg.graceful_timeout
        while (self.in_threads or self.ending or self.handed_back) and time.monotonic() < end_s:
            self.notify()
            self._turn(timeout_s=0.1)
        self.threads.shutdown(wait=False, cancel_futures=True)

    # --- the loop's thread --------------------------------------------------------------------------------------

    def _accept(self, listener: Any) -> None:
        for _ in range(MAX_ACCEPTS_PER_TURN):
            try:
                sock, client = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # No descriptor left: make room at the cost of whoever has been silent longest.
                if error.errno in (errno.EMFILE, errno.ENFILE) and self.reading:
                    self._drop(next(iter(self.reading)))
                    continue
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    time.sleep(0.05)  # every descriptor is in a thread: without a pause the loop would spin
                return
            if len(self.reading) + self.in_threads >= MAX_CONNECTIONS:
                if not self.reading:
                    sock.close()
                    continue
                self._drop(next(iter(self.reading)))
            sock.setblocking(False)
            try:
                server = sock.getsockname()
                if self.tls is not None:
                    sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            except OSError:
                sock.close()
                continue
            connection = Connection(sock, client, server)
            self.poller.register(sock, selectors.EVENT_READ, lambda _, c=connection: self._readable(c))
            self.reading[connection] = None
            # TCP_DEFER_ACCEPT: the request is most often here already.
            self._readable(connection)

    def _readable(self, connection: Connection) -> None:
        try:
            ready = connection.receive()
        except (OSError, EOFError):
            self._drop(connection)
            return
        if ready:
            self.poller.unregister(connection.sock)
            del self.reading[connection]
            with self.lock:
                self.in_threads += 1
            self.threads.submit(self._respond, connection)

    def _woken(self, pipe: Any) -> None:
        with suppress(OSError):
            os.read(pipe, 4096)
        with self.lock:
            handed_back, self.handed_back = self.handed_back, []
        for connection in handed_back:
            connection.deadline_s = time.monotonic() + LINGER_TIMEOUT_S
            self.ending[connection] = None
            if connection.unsent:
                self.poller.register(connection.sock, selectors.EVENT_WRITE, lambda _, c=connection: self._writable(c))
            else:
                self._linger(connection)

    def _writable(self, connection: Connection) -> None:
        try:
            if not connection.send():
                return
        except OSError:
            self._drop(connection)
            return
        self.poller.unregister(connection.sock)
        self._linger(connection)

    def _linger(self, connection: Connection) -> None:
        connection.end_sending()
        self.poller.register(connection.sock, selectors.EVENT_READ, lambda _, c=connection: self._drain(c))

    def _drain(self, connection: Connection) -> None:
        try:
            if connection.sock.recv(64 * 1024):
                return
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, ValueError):
            pass
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        with suppress(KeyError, ValueError):
            self.poller.unregister(connection.sock)
        self.reading.pop(connection, None)
        self.ending.pop(connection, None)
        connection.close()

    # --- the threads --------------------------------------------------------------------------------------------

    def _respond(self, connection: Connection) -> None:
        try:
            more_to_come = self._answer(connection)
            if connection.send() and not more_to_come and not connection.has_unread():
                connection.end_sending()
                connection.close()
                return
            with self.lock:
                self.handed_back.append(connection)
            with suppress(BlockingIOError):  # a full pipe wakes the loop just as well
                os.write(self.PIPE[1], b"\0")
        except _GONE:
            connection.close()
        except Exception:
            log.exception("a response could not be sent")
            connection.close()
        finally:
            with self.lock:
                self.in_threads -= 1

    def _answer(self, connection: Connection) -> bool:
        """Fill ``connection.unsent``. True when the client may still be sending (a body, or what no parser read)."""
        outbox = Outbox()
        try:
            if len(connection.head) > MAX_HEAD_BYTES and b"\r\n\r\n" not in connection.head[:MAX_HEAD_BYTES]:
                raise HeadTooLargeError
            request = next(RequestParser(self.cfg, iter([bytes(connection.head)]), connection.client))
            response, environ = wsgi.create(request, outbox, connection.client, connection.server, self.cfg)
            environ["wsgi.multithread"] = True
            environ["wsgi.url_scheme"] = "https" if self.tls else "http"
            response.force_close()
            items = self.wsgi(environ, response.start_response)
            try:
                for item in items:
                    response.write(item)
                response.close()
            finally:
                if hasattr(items, "close"):
                    items.close()
        except Exception as error:
            outbox.take()
            status = next((status for kind, status in _STATUS_OF_ERROR if isinstance(error, kind)), None)
            if status is None:
                status = "500 Internal Server Error"
                log.exception("a request failed")
            else:
                log.debug("refused a request: %s (%s)", status, type(error).__name__)
            connection.unsent = _plain_answer(status)
            return True
        connection.unsent = outbox.take()
        return any(name in ("CONTENT-LENGTH", "TRANSFER-ENCODING") and value != "0" for name, value in request.headers)


def _plain_answer(status: str) -> bytes:
    body = f"{status}\n"
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    ).encode("ascii")
