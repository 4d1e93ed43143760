"""A gunicorn worker that gives a request a thread only once it has arrived whole, body and all. It must not know pages.

gunicorn's own threaded worker lets a half-sent head hold a thread in recv() for ever, and lingers on closed connections
in its accept loop, up to 2 s for each client that does not hang up: a handful of silent phones stops it. Here one loop
accepts, shakes TLS hands, collects requests (portal.connection), sends what did not fit at once, and lingers (RFC 9112
section 9.6), all without blocking; threads get complete requests and run the application. A slow or silent client costs
one socket, for at most ``HEAD_TIMEOUT_S``, or a large body's ``UPLOAD_TIMEOUT_S``.

Every response closes its connection. A body that is chunked, or larger than the application takes (``max_body_bytes``
of its gunicorn application object), is not waited for: the application answers at once, with 411 or 413 if it reads it.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import signal
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from gunicorn.http import wsgi
from gunicorn.workers.base import Worker

from portal.connection import Connection, TooManyUploadsError, status_of

log = logging.getLogger(__name__)

LINGER_TIMEOUT_S = 3.0
SEND_TIMEOUT_S = 30.0
"""How long a file that is sent may stand still; only who logged in is sent one."""
MAX_CONNECTIONS = 1000
MAX_UPLOADS = 4
"""Large bodies at a time: anybody may begin one, and their files must not fill the disk."""
MAX_ACCEPTS_PER_TURN = 64

_GONE = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError, TimeoutError, ssl.SSLEOFError)


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


class HeadWorker(Worker):  # type: ignore[misc]
    """See the module. gunicorn's application object says by ``tls`` (an ssl.SSLContext, or None) whether all listeners
    speak TLS, and by ``max_body_bytes`` how much of a body is taken."""

    def init_process(self) -> None:
        self.tls: ssl.SSLContext | None = self.app.tls
        self.max_body_bytes: int = self.app.max_body_bytes
        self.poller = selectors.DefaultSelector()
        self.threads = ThreadPoolExecutor(max_workers=self.cfg.threads, thread_name_prefix="request")
        # Each in the order of their deadlines: dicts keep the order of insertion.
        self.reading: dict[Connection, None] = {}
        self.uploading: dict[Connection, None] = {}
        self.sending: dict[Connection, None] = {}
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

    def notify(self) -> None:
        """The loop turns. Where it no longer does, the kernel ends the process, and the supervisor starts another."""
        signal.alarm(self.timeout)

    def _turn(self, timeout_s: float) -> None:
        for key, _ in self.poller.select(timeout_s):
            key.data(key.fileobj)
        now_s = time.monotonic()
        for group in (self.reading, self.uploading, self.sending, self.ending):
            while group and (oldest := next(iter(group))).deadline_s <= now_s:
                self._drop(oldest)

    def _stop(self) -> None:
        """Answer what has arrived, then go."""
        for listener in self.sockets:
            self.poller.unregister(listener)
            listener.close()
        end_s = time.monotonic() + self.cfg.graceful_timeout
        while (self.in_threads or self.ending or self.handed_back) and time.monotonic() < end_s:
            self.notify()
            self._turn(timeout_s=0.1)
        self.threads.shutdown(wait=False, cancel_futures=True)
        signal.alarm(0)

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
            ready = connection.receive(self.cfg, self.max_body_bytes)
        except (OSError, EOFError):
            self._drop(connection)
            return
        if connection.is_upload and connection in self.reading:
            del self.reading[connection]
            if len(self.uploading) >= MAX_UPLOADS:
                connection.refuse(TooManyUploadsError())
                ready = True
            else:
                self.uploading[connection] = None
        if ready:
            self.poller.unregister(connection.sock)
            self.reading.pop(connection, None)
            self.uploading.pop(connection, None)
            with self.lock:
                self.in_threads += 1
            self.threads.submit(self._respond, connection)

    def _woken(self, pipe: Any) -> None:
        with suppress(OSError):
            os.read(pipe, 4096)
        with self.lock:
            handed_back, self.handed_back = self.handed_back, []
        for connection in handed_back:
            self._wait_for(connection)
            if connection.unsent or connection.file is not None:
                self.poller.register(connection.sock, selectors.EVENT_WRITE, lambda _, c=connection: self._writable(c))
            else:
                self._linger(connection)

    def _wait_for(self, connection: Connection) -> None:
        """Its time begins anew."""
        self.sending.pop(connection, None)
        if connection.file is not None:
            connection.deadline_s = time.monotonic() + SEND_TIMEOUT_S
            self.sending[connection] = None
        elif connection not in self.ending:
            connection.deadline_s = time.monotonic() + LINGER_TIMEOUT_S
            self.ending[connection] = None

    def _writable(self, connection: Connection) -> None:
        try:
            is_sent = connection.send()
            self._wait_for(connection)
            if not is_sent:
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
        self.uploading.pop(connection, None)
        self.sending.pop(connection, None)
        self.ending.pop(connection, None)
        connection.close()

    # --- the threads --------------------------------------------------------------------------------------------

    def _respond(self, connection: Connection) -> None:
        try:
            connection.unsent = self._answer(connection)
            if connection.send() and not connection.has_unread():
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

    def _answer(self, connection: Connection) -> bytes:
        outbox = Outbox()
        try:
            if connection.error is not None:
                raise connection.error
            request = connection.request
            request.body = connection.body
            response, environ = wsgi.create(request, outbox, connection.client, connection.server, self.cfg)
            outbox.take()  # "100 Continue": said in time, or not needed
            environ["wsgi.multithread"] = True
            environ["wsgi.url_scheme"] = "https" if self.tls else "http"
            response.force_close()
            items = self.wsgi(environ, response.start_response)
            try:
                if isinstance(items, environ["wsgi.file_wrapper"]) and response.response_length is not None:
                    connection.file, items = items.filelike, ()  # sent from the disk, piece by piece
                for item in items:
                    response.write(item)
                response.close()
            finally:
                if hasattr(items, "close"):
                    items.close()
            return outbox.take()
        except Exception as error:
            connection.has_more = True
            status = status_of(error)
            if status is None:
                log.exception("a request failed")
                return _plain_answer("500 Internal Server Error")
            log.debug("refused a request: %s (%s)", status, type(error).__name__)
            return _plain_answer(status)


def _plain_answer(status: str) -> bytes:
    body = f"{status}\n"
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    ).encode("ascii")
