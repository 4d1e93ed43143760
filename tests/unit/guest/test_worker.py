"""When a thread gets a request: when it is whole, body and all, or can never become one, and not before."""

from __future__ import annotations

import io
import socket
import tempfile
from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import LengthRequired, RequestEntityTooLarge

from portal import connection as connection_module
from portal.connection import MAX_HEAD_BYTES, SMALL_BODY_BYTES, Connection, is_ready
from portal.worker import Outbox

HEAD = b"GET /generate_204 HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n\r\n"
CFG = Config()
LIMIT = 100_000


@given(st.integers(0, len(HEAD) - 1))
def test_a_head_is_ready_with_its_last_byte(length: int) -> None:
    # Empty, nothing has arrived; "\r" at the end may be half of a line's end.
    assert not is_ready(HEAD[:length] or b"G")
    assert is_ready(HEAD)


@pytest.mark.parametrize("noise", [b"\x16\x03\x01", b"\x00", b" GET / HTTP/1.1", b"GET / HTTP/1.1\n", b"{", b"\xff"])
def test_what_can_never_be_a_request_is_ready_to_be_refused(noise: bytes) -> None:
    assert is_ready(noise)


@pytest.mark.parametrize("start", [b"", HEAD[:-2]])
def test_nothing_grows_without_end(start: bytes) -> None:
    assert is_ready(start + b"a" * (MAX_HEAD_BYTES + 1 - len(start)))
    assert not is_ready(start + b"a" * (MAX_HEAD_BYTES - len(start)))


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    """A connection and its client, over a Unix socket pair."""
    here, client = socket.socketpair()
    here.setblocking(False)
    with here, client:
        yield Connection(here, ("10.77.0.5", 40000), ("10.77.0.1", 8080)), client


def test_a_connection_collects_what_comes(pair: tuple[Connection, socket.socket]) -> None:
    connection, client = pair
    assert not connection.receive(CFG, LIMIT)
    for byte in HEAD[:-1]:
        client.sendall(bytes([byte]))
        assert not connection.receive(CFG, LIMIT)
    client.sendall(HEAD[-1:])
    assert connection.receive(CFG, LIMIT)
    assert connection.head == HEAD
    assert connection.request.path == "/generate_204"
    assert connection.body.read() == b""
    assert not connection.has_unread()
    client.sendall(b"a second request")
    assert connection.has_unread()


def post(length: int | str, body: bytes, *more: str) -> bytes:
    lines = ["POST /code HTTP/1.1", "Host: 10.77.0.1", f"Content-Length: {length}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@given(body=st.binary(max_size=300), cuts=st.lists(st.integers(1, 60), min_size=1))
def test_a_body_arrives_whole_in_whatever_pieces(body: bytes, cuts: list[int]) -> None:
    here, client = socket.socketpair()
    here.setblocking(False)
    with here, client:
        connection = Connection(here, ("10.77.0.5", 40000), ("10.77.0.1", 8080))
        request = post(len(body), body)
        sent = 0
        while sent < len(request):
            step = cuts[sent % len(cuts)]
            client.sendall(request[sent : sent + step])
            sent += step
            assert connection.receive(CFG, LIMIT) == (sent >= len(request))
        assert connection.error is None
        assert connection.body.read() == body
        assert not connection.has_unread()


def test_what_follows_a_body_is_not_the_body_s(pair: tuple[Connection, socket.socket]) -> None:
    connection, client = pair
    client.sendall(post(4, b"a=bc") + HEAD)
    assert connection.receive(CFG, LIMIT)
    assert connection.body.read() == b"a=bc"
    assert connection.has_unread()


@pytest.mark.parametrize(
    ("framing", "refusal"),
    [
        (f"Content-Length: {LIMIT + 1}", RequestEntityTooLarge),
        ("Transfer-Encoding: chunked", LengthRequired),
    ],
)
def test_a_body_that_is_not_waited_for_is_refused_where_it_is_read(
    pair: tuple[Connection, socket.socket], framing: str, refusal: type[Exception]
) -> None:
    connection, client = pair
    client.sendall(f"POST /x HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
    assert connection.receive(CFG, LIMIT)
    assert connection.error is None
    assert connection.has_unread()
    with pytest.raises(refusal):
        connection.body.read()


def test_a_large_body_goes_to_a_file_and_may_take_its_time(pair: tuple[Connection, socket.socket]) -> None:
    connection, client = pair
    body = bytes(range(256)) * (SMALL_BODY_BYTES // 256) + b"z"
    deadline_s = connection.deadline_s
    client.sendall(post(len(body), body[:100]))
    assert not connection.receive(CFG, LIMIT)
    assert connection.is_upload
    assert connection.deadline_s > deadline_s + 60
    assert connection.body.fileno() > 2
    for start in range(100, len(body), 4096):
        client.sendall(body[start : start + 4096])
        ready = connection.receive(CFG, LIMIT)
    assert ready
    assert not connection.is_upload
    assert connection.body.read() == body
    connection.close()
    assert connection.body.closed


def test_a_form_gets_no_more_time_than_its_head(pair: tuple[Connection, socket.socket]) -> None:
    connection, client = pair
    deadline_s = connection.deadline_s
    client.sendall(post(SMALL_BODY_BYTES, b"a"))
    assert not connection.receive(CFG, LIMIT)
    assert not connection.is_upload
    assert connection.deadline_s == deadline_s


def test_a_disk_that_is_full_is_said(pair: tuple[Connection, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    connection, client = pair
    client.sendall(post(SMALL_BODY_BYTES + 1, b"a"))
    assert connection.receive(CFG, LIMIT)
    assert connection.error is not None
    assert connection_module.status_of(connection.error) == "507 Insufficient Storage"


def test_who_asks_before_sending_a_body_is_told_to_go_on_once(pair: tuple[Connection, socket.socket]) -> None:
    connection, client = pair
    client.sendall(post(4, b"", "Expect: 100-continue"))
    assert not connection.receive(CFG, LIMIT)
    assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"a=bc")
    assert connection.receive(CFG, LIMIT)
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(1)


@pytest.mark.parametrize("length", ["-1", "x", "1, 1", "²", "1e3", "0x10"])
def test_a_length_that_is_none_is_refused(pair: tuple[Connection, socket.socket], length: str) -> None:
    connection, client = pair
    client.sendall(post(length, b"a"))
    assert connection.receive(CFG, LIMIT)
    assert connection.error is not None
    assert connection_module.status_of(connection.error) == "400 Bad Request"


def test_a_client_that_hangs_up_is_told_from_one_that_is_silent(pair: tuple[Connection, socket.socket]) -> None:
    connection, client = pair
    client.sendall(HEAD[:10])
    assert not connection.receive(CFG, LIMIT)
    client.close()
    with pytest.raises(EOFError):
        connection.receive(CFG, LIMIT)


def test_what_the_socket_does_not_take_waits(pair: tuple[Connection, socket.socket]) -> None:
    connection, client = pair
    answer = bytes(range(256)) * 8192
    connection.unsent = answer
    got = bytearray()
    while not connection.send():
        assert connection.unsent
        got += client.recv(1 << 20)
    connection.end_sending()
    while data := client.recv(1 << 20):
        got += data
    assert bytes(got) == answer


def test_an_outbox_gives_everything_once() -> None:
    outbox = Outbox()
    outbox.sendall(b"head")
    outbox.send(b"body")
    assert (outbox.take(), outbox.take()) == (b"headbody", b"")


def test_a_file_is_read_as_it_is_sent_and_within_a_bound_at_a_time(pair: tuple[Connection, socket.socket]) -> None:
    connection, client = pair
    content = bytes(range(256)) * 20_000
    connection.unsent, connection.file = b"head", io.BytesIO(content)
    got = bytearray()
    while not connection.send():
        assert len(connection.unsent) <= 1 << 16, "no more of it is in memory"
        got += client.recv(1 << 20)
    assert connection.file is None, "it is closed"
    connection.end_sending()
    while data := client.recv(1 << 20):
        got += data
    assert bytes(got) == b"head" + content
