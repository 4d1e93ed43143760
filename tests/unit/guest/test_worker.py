"""When a thread gets a request: with the whole head, or with one that can never become one, and not before."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.worker import MAX_HEAD_BYTES, Connection, Outbox, is_ready

HEAD = b"GET /generate_204 HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n\r\n"


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
    assert not connection.receive()
    for byte in HEAD[:-1]:
        client.sendall(bytes([byte]))
        assert not connection.receive()
    client.sendall(HEAD[-1:])
    assert connection.receive()
    assert connection.head == HEAD
    assert not connection.has_unread()
    client.sendall(b"a second request")
    assert connection.has_unread()


def test_a_client_that_hangs_up_is_told_from_one_that_is_silent(pair: tuple[Connection, socket.socket]) -> None:
    connection, client = pair
    client.sendall(HEAD[:10])
    assert not connection.receive()
    client.close()
    with pytest.raises(EOFError):
        connection.receive()


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
