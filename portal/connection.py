"""One client of the web server: what has arrived of its request, what is still to be sent. It must not know threads.

Nothing here blocks: each call takes or gives what the socket has or takes at that moment. A request's head is parsed by
gunicorn once it is whole; its body is collected to its end if it says how long it is and that is within the limit.
"""

from __future__ import annotations

import io
import ssl
import tempfile
import time
from contextlib import suppress
from typing import Any, BinaryIO, NoReturn, cast

from gunicorn.http import errors
from gunicorn.http.parser import RequestParser
from werkzeug.exceptions import HTTPException, LengthRequired, RequestEntityTooLarge

HEAD_TIMEOUT_S = 10.0
"""From accept to the end of the head and of a small body; TLS handshake included. One packet does it, even on a bad
radio."""
UPLOAD_TIMEOUT_S = 120.0
"""From the end of the head to that of a large body: 8 MB at half a Mbit/s."""
MAX_HEAD_BYTES = 16 * 1024
SMALL_BODY_BYTES = 64 * 1024
"""Forms. What is larger is an upload: it may take longer, and goes to a file without a name."""

_RECV_BYTES = 64 * 1024
_FILE_BYTES = 64 * 1024
_SEND_BYTES = 1024 * 1024
"""The most of one response at a time: others wait for the same loop."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class HeadTooLargeError(Exception):
    """The head passed ``MAX_HEAD_BYTES`` before it ended."""


class NoRoomError(Exception):
    """The disk does not take the body."""


class TooManyUploadsError(Exception):
    """Others are sending large bodies already."""


_STATUS_OF_ERROR: tuple[tuple[type[Exception], str], ...] = (
    (errors.LimitRequestLine, "414 URI Too Long"),
    (errors.LimitRequestHeaders, "431 Request Header Fields Too Large"),
    (HeadTooLargeError, "431 Request Header Fields Too Large"),
    (NoRoomError, "507 Insufficient Storage"),
    (TooManyUploadsError, "503 Service Unavailable"),
    (errors.UnsupportedTransferCoding, "501 Not Implemented"),
    (errors.ExpectationFailed, "417 Expectation Failed"),
    (errors.ParseException, "400 Bad Request"),
    # The head ended where the parser wanted more of it.
    (errors.NoMoreData, "400 Bad Request"),
    (StopIteration, "400 Bad Request"),
)


def status_of(error: Exception) -> str | None:
    """The status line that says what is wrong with a request; None: the mistake is not the client's."""
    return next((status for kind, status in _STATUS_OF_ERROR if isinstance(error, kind)), None)


def is_ready(head: bytes | bytearray) -> bool:
    """Whether ``head`` can be looked at now: it is complete, or it can never become a request (400, 431)."""
    if b"\r\n\r\n" in head or len(head) > MAX_HEAD_BYTES:
        return True
    # Not a method's first letter (RFC 9110 section 9.1 names them in capitals): TLS on the plain port, or noise.
    if not (head[:1].isalpha() or head[:1] == b"\r"):
        return True
    return head.count(b"\n") != head.count(b"\r\n")  # a bare LF: the head would never end as RFC 9112 ends it


class Untaken(io.RawIOBase):
    """Stands for a body that is not waited for. Reading it raises the answer that the client must get, 411 or 413; an
    application that answers without the body, with a redirect, need not care."""

    def __init__(self, refusal: type[HTTPException]) -> None:
        self._refusal = refusal

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any) -> NoReturn:
        raise self._refusal


class Connection:
    """One client. ``head`` fills and is parsed into ``request``, ``body`` fills, then ``unsent`` empties, and after it
    ``file``, which is read as it is sent: a download may be larger than the memory. At its end it is None again.

    ``error`` is set instead where there will be no request. ``has_more`` once the client sent, or may still send, what
    nobody will read. ``is_upload`` while a large body is on its way. ``deadline_s`` is of time.monotonic().
    """

    __slots__ = (
        "_missing_bytes",
        "body",
        "client",
        "deadline_s",
        "error",
        "file",
        "has_more",
        "head",
        "is_upload",
        "request",
        "server",
        "sock",
        "unsent",
    )

    def __init__(self, sock: Any, client: Any, server: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.head = bytearray()
        self.request: Any = None
        self.error: Exception | None = None
        self.body: BinaryIO = io.BytesIO()
        self.has_more = False
        self.is_upload = False
        self.unsent = b""
        self.file: BinaryIO | None = None
        self.deadline_s = time.monotonic() + HEAD_TIMEOUT_S
        self._missing_bytes = 0

    def receive(self, cfg: Any, max_body_bytes: int) -> bool:
        """Take what has arrived. True when it can be answered: ``request`` is whole, or ``error`` says why it never
        will be. ``cfg`` are gunicorn's settings.

        :raises EOFError: the client has gone; OSError: the same
        """
        while True:
            try:
                data = self.sock.recv(_RECV_BYTES)
            except _NOT_NOW:
                return False
            if not data:
                raise EOFError
            try:
                if self.request is not None:
                    self._take(data)
                else:
                    self.head += data
                    if not is_ready(self.head):
                        continue
                    self._parse(cfg, max_body_bytes)
            except Exception as error:  # whatever a stranger's bytes do to the parser, the loop goes on
                self.refuse(error)
            if self.error is not None or not self._missing_bytes:
                self.is_upload = False
                return True

    def refuse(self, error: Exception) -> None:
        self.error = error
        self.has_more = True

    def send(self) -> bool:
        """Send what the socket takes now, within a bound. True when nothing is left."""
        sent = 0
        try:
            while self.unsent or self._read_on():
                if sent >= _SEND_BYTES:
                    return False
                count = self.sock.send(self.unsent)
                self.unsent = self.unsent[count:]
                sent += count
        except _NOT_NOW:
            return False
        return True

    def _read_on(self) -> bool:
        if self.file is None:
            return False
        self.unsent = self.file.read(_FILE_BYTES)
        if not self.unsent:
            self.file.close()
            self.file = None
        return bool(self.unsent)

    def has_unread(self) -> bool:
        """Whether the client sent more than its request: closing now would make the kernel reset the connection, and
        the response could be lost on its way."""
        if self.has_more:
            return True
        try:
            return bool(self.sock.recv(_RECV_BYTES))
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
        with suppress(OSError):  # a file flushes what is left, and the disk may be full
            self.body.close()
        if self.file is not None:
            self.file.close()

    def _parse(self, cfg: Any, max_body_bytes: int) -> None:
        head, end, rest = bytes(self.head).partition(b"\r\n\r\n")
        if len(head) + len(end) > MAX_HEAD_BYTES:
            raise HeadTooLargeError
        request = next(RequestParser(cfg, iter([head + end]), self.client))
        fields = dict(request.headers)  # the two that matter here stand once each, the parser has seen to that
        length = int(fields.get("CONTENT-LENGTH", 0))
        if "TRANSFER-ENCODING" in fields:
            self._leave_body(LengthRequired)
        elif length > max_body_bytes:
            self._leave_body(RequestEntityTooLarge)
        else:
            self._missing_bytes = length
            if length > SMALL_BODY_BYTES:
                self.is_upload = True
                self.deadline_s = time.monotonic() + UPLOAD_TIMEOUT_S
                self.body = _unnamed_file()
            if len(rest) < length and fields.get("EXPECT", "").lower() == "100-continue":
                with suppress(OSError):  # a new socket takes as much as this, or its client has gone
                    self.sock.send(_CONTINUE)
            self._take(rest)
        self.request = request

    def _leave_body(self, refusal: type[HTTPException]) -> None:
        self.body = cast("BinaryIO", Untaken(refusal))
        self.has_more = True

    def _take(self, data: bytes) -> None:
        taken = data[: self._missing_bytes]
        self.has_more = len(taken) < len(data)
        try:
            self.body.write(taken)
            self._missing_bytes -= len(taken)
            if not self._missing_bytes:
                self.body.seek(0)
        except OSError as error:
            raise NoRoomError from error


def _unnamed_file() -> BinaryIO:
    try:
        return cast("BinaryIO", tempfile.TemporaryFile())  # the connection closes it
    except OSError as error:
        raise NoRoomError from error
