"""The socket survives whatever is sent to it, tells writers from readers, and answers many pushes with one."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netctl import server as server_module
from netctl.api import client as client_module
from netctl.api.client import Client
from netctl.api.errors import BAD_REQUEST, BUSY, DENIED, INTERNAL, REFUSED, TIMEOUT, TOO_LARGE, UNREACHABLE, NetctlError
from netctl.api.protocol import MAX_BYTES, decode_reply, pack
from netctl.api.types import Applied, Apply, Failure, Link, Neighbour, ReadStatus, Reply, Status, Whois
from netctl.server import Server
from tests.unit.netctl.bench import Gateway, grant, ipv4, mac, state


class Daemon:
    """A server in a thread, on an engine with a fake kernel."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.gateway = Gateway(directory, **changes)
        self.path = self.gateway.config.socket_path
        self.start()

    def start(self) -> None:
        self.server = Server(self.gateway.engine, self.gateway.config)
        self.server.claim()
        self.server.open()
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.server.close()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(5)
        connection.connect(self.path)
        return connection


@contextmanager
def daemon_in(directory: Path, **changes: Any) -> Iterator[Daemon]:
    daemon = Daemon(directory, **changes)
    try:
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with daemon_in(tmp_path) as running:
        yield running


def read_reply(connection: socket.socket) -> Reply | None:
    """None: closed without a reply."""
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
        chunk = connection.recv(1 << 16)
        if not chunk:
            return None
        data += chunk
    return decode_reply(data[4:])


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


# --- the client's questions -----------------------------------------------------------------------------------------


def test_a_client_asks_everything_there_is_to_ask(daemon: Daemon) -> None:
    client = Client(daemon.path)
    daemon.gateway.kernel.hear(ipv4(1), mac(1))
    assert client.whois(ipv4(1)) == mac(1)
    assert client.whois(ipv4(2)) is None
    assert len(client.plan(state(grant(1)))) == 4
    assert client.apply(state(grant(1), generation=5)) == Applied(generation=5, ops=4)
    assert client.status().generation == 5
    daemon.gateway.kernel.count(ipv4(1), up_bytes=12)
    daemon.gateway.clock.now += 1
    assert sum(c.up_bytes for c in client.usage().counters if c.grant == 1) == 12
    assert client.usage(grant=2).counters == ()
    assert f"neighbour {ipv4(1)} {mac(1)}" in client.dump()
    daemon.gateway.kernel.link_passed = (7000, 500)
    shaped = client.shape_link(9_000, None)
    assert shaped == client.link() == Link(down_kbit=9_000, up_kbit=10_000, down_bytes=7000, up_bytes=500)


def test_a_refusal_arrives_with_code_sentence_and_hint(daemon: Daemon) -> None:
    with pytest.raises(NetctlError) as refusal:
        Client(daemon.path).apply(state(grant(7, ipv4="10.77.0.1")))
    assert refusal.value.code == REFUSED
    assert refusal.value.message == "Grant 7 has 10.77.0.1, which is the gateway's own address."
    assert refusal.value.hint


def test_connections_are_kept_and_used_again(daemon: Daemon) -> None:
    client = Client(daemon.path)
    for _ in range(50):
        client.status()
    assert len(daemon.server._connections) == 1
    client.close()
    client.status()


def test_many_threads_share_one_client(daemon: Daemon) -> None:
    client = Client(daemon.path)
    wrong: list[object] = []

    def ask(number: int) -> None:
        daemon.gateway.kernel.neighbours[ipv4(number)] = mac(number)
        for _ in range(40):
            found = client.whois(ipv4(number))
            if found != mac(number):
                wrong.append((number, found))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(1, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(client._kept) <= client_module.KEPT


def test_a_client_survives_the_daemons_restart(daemon: Daemon) -> None:
    client = Client(daemon.path)
    client.apply(state(grant(1)))
    daemon.stop()
    with pytest.raises(NetctlError) as away:
        client.status()
    assert away.value.code == UNREACHABLE
    daemon.start()
    assert client.status().grants == 1


def test_no_daemon_is_said_as_unreachable(tmp_path: Path) -> None:
    with pytest.raises(NetctlError, match="No netctl at") as error:
        Client(tmp_path / "nothing.sock").status()
    assert error.value.code == UNREACHABLE


def test_a_daemon_that_hangs_ends_in_a_timeout(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "s"))
    listener.listen(1)
    started = time.monotonic()
    with pytest.raises(NetctlError) as error:
        Client(tmp_path / "s", timeout_s=0.3).status()
    assert error.value.code == TIMEOUT
    assert time.monotonic() - started < 3
    filled = [Client(tmp_path / "s", timeout_s=0.1) for _ in range(4)]
    for client in filled:  # the backlog is full: connect(2) gives EAGAIN
        with pytest.raises(NetctlError) as error:
            client.status()
        assert error.value.code == TIMEOUT
    listener.close()


def test_busy_is_tried_again_until_the_deadline(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "s"))
    listener.listen(8)
    answers = [Failure(code=BUSY, message="Busy.", hint=""), Neighbour(ip=ipv4(1), mac=mac(1))]

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            connection.recv(1 << 16)
            connection.sendall(pack(answer))
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert Client(tmp_path / "s").whois(ipv4(1)) == mac(1)
    thread.join()
    listener.close()


# --- who may write ----------------------------------------------------------------------------------------------------


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """The server sees peers of this user: its struct gives what the kernel would."""

    class Peer:
        size = 12

        @staticmethod
        def unpack(_data: bytes) -> tuple[int, int, int]:
            return 1, uid, uid

    monkeypatch.setattr(server_module, "PEERCRED", Peer)


@pytest.mark.parametrize(("uid", "may_write"), [(0, True), (812, True), (813, False)])
def test_root_and_the_writers_change_state_and_others_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, may_write: bool
) -> None:
    as_user(monkeypatch, uid)
    with daemon_in(tmp_path, writers=(812,), socket_group=os.getgid()) as daemon:
        client = Client(daemon.path)
        assert client.status().grants == 0
        assert len(client.plan(state(grant(1)))) == 4
        if may_write:
            client.apply(state(grant(1)))
            client.shape_link(5000, 5000)
        else:
            for change in (lambda: client.apply(state(grant(1))), lambda: client.shape_link(5000, 5000)):
                with pytest.raises(NetctlError) as denied:
                    change()
                assert denied.value.code == DENIED
        assert client.status().grants == int(may_write)
        assert client.link().down_kbit == (5000 if may_write else 20_000)


def test_credentials_are_those_of_the_connecting_process(daemon: Daemon) -> None:
    connection = daemon.connect()
    Client(daemon.path).status()
    assert {c.may_write for c in daemon.server._connections} == {os.getuid() == 0}
    connection.close()


def test_the_socket_is_for_root_and_its_group(daemon: Daemon) -> None:
    assert Path(daemon.path).stat().st_mode & 0o777 == 0o660


# --- bad input --------------------------------------------------------------------------------------------------------

BAD_BODIES = [
    b"x",
    b"{",
    b"null",
    b"[]",
    b'"status"',
    b'{"type":"nonsense"}',
    b'{"type":"status","more":1}',
    b'{"type":"whois"}',
    b'{"type":"whois","ip":"; rm -rf /"}',
    b'{"type":"whois","ip":7}',
    b'{"type":"apply","state":{"epoch":"short","generation":1,"grants":[]}}',
    b'{"type":"apply","state":{"epoch":"long-enough","generation":-1,"grants":[]}}',
    b'{"type":"apply","state":{"epoch":"long-enough","generation":1e400,"grants":[]}}',
    b"[" * 500_000,
    b'{"a":' * 100_000,
    b"\xff\xfe\x00",
    b'{"type":"apply","state":{"epoch":"\xff\xff\xff\xff\xff\xff\xff\xff\xff","generation":1,"grants":[]}}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_bad_json_is_a_bad_request_and_the_connection_stays(daemon: Daemon, body: bytes) -> None:
    connection = daemon.connect()
    connection.sendall(frame(body))
    reply = read_reply(connection)
    assert isinstance(reply, Failure)
    assert reply.code == BAD_REQUEST
    connection.sendall(pack(ReadStatus()))
    assert isinstance(read_reply(connection), Status)


def test_a_wrong_field_is_named_with_its_place(daemon: Daemon) -> None:
    body = pack(Apply(state=state(grant(1), grant(2))))[4:].replace(mac(2).encode(), b"02:00:00:00:00:ZZ")
    connection = daemon.connect()
    connection.sendall(frame(body))
    reply = read_reply(connection)
    assert isinstance(reply, Failure)
    assert "$.state.grants[1].mac" in reply.message


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (struct.pack(">I", MAX_BYTES + 1), TOO_LARGE),
        (b"\xff\xff\xff\xff" + b"x" * 100_000, TOO_LARGE),
        (b"\0\0\0\0", BAD_REQUEST),
    ],
)
def test_a_lost_frame_is_answered_and_the_connection_closed(daemon: Daemon, sent: bytes, code: str) -> None:
    connection = daemon.connect()
    connection.sendall(sent)
    reply = read_reply(connection)
    assert isinstance(reply, Failure)
    assert reply.code == code
    with pytest.raises(ConnectionError):  # unread bytes: the kernel says reset; otherwise the end
        if connection.recv(1) == b"":
            raise ConnectionResetError
    assert Client(daemon.path).status()


def test_a_message_above_the_limit_is_refused_before_it_is_sent(daemon: Daemon) -> None:
    huge = state(*(grant(n) for n in range(1, 40_000)))
    with pytest.raises(NetctlError) as error:
        Client(daemon.path).apply(huge)
    assert error.value.code == TOO_LARGE


def test_the_largest_state_passes(tmp_path: Path) -> None:
    many = [grant(n, ipv4=f"10.64.{n >> 8}.{n & 255}") for n in range(2, 8194)]
    with daemon_in(tmp_path, lan_address="10.64.0.1/16") as daemon:
        assert Client(daemon.path, timeout_s=60).apply(state(*many)).ops == 4 * 8192


@given(st.lists(st.binary(max_size=300), max_size=6), st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_never_end_the_daemon(daemon: Daemon, pieces: list[bytes], framed: bool) -> None:
    connection = daemon.connect()
    try:
        for piece in pieces:
            connection.sendall(frame(piece) if framed else piece)
    except ConnectionError:
        pass
    connection.close()
    assert Client(daemon.path).status().grants == 0


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_push_with_flipped_bytes_is_refused_or_a_valid_push(daemon: Daemon, data: st.DataObject) -> None:
    body = bytearray(pack(Apply(state=state(grant(1), grant(2))))[4:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    connection = daemon.connect()
    connection.sendall(frame(bytes(body)))
    reply = read_reply(connection)
    assert isinstance(reply, Applied) or (isinstance(reply, Failure) and reply.code in (BAD_REQUEST, REFUSED))
    connection.close()


def test_requests_arrive_in_any_pieces_and_several_at_once(daemon: Daemon) -> None:
    connection = daemon.connect()
    for byte in pack(Whois(ip=ipv4(1))):
        connection.sendall(bytes((byte,)))
    assert isinstance(read_reply(connection), Neighbour)
    several = pack(Whois(ip=ipv4(1))) + pack(ReadStatus()) + pack(Apply(state=state(grant(1)))) + pack(ReadStatus())
    connection.sendall(several)
    data = b""
    kinds = []
    while len(kinds) < 4:
        data += connection.recv(1 << 16)
        while len(data) >= 4 and len(data) >= 4 + struct.unpack(">I", data[:4])[0]:
            length = struct.unpack(">I", data[:4])[0]
            kinds.append(type(decode_reply(data[4 : 4 + length])).__name__)
            data = data[4 + length :]
    assert kinds == ["Neighbour", "Status", "Applied", "Status"]


def test_a_request_that_never_ends_is_ended(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 0.2)
    connection = daemon.connect()
    connection.sendall(pack(ReadStatus())[:-1])
    reply = read_reply(connection)
    assert isinstance(reply, Failure)
    assert reply.code == TIMEOUT
    assert connection.recv(1) == b""


def test_a_client_that_does_not_read_is_dropped_and_delays_nobody(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 0.3)
    Client(daemon.path).apply(state(*(grant(n) for n in range(1, 2000))))
    deaf = daemon.connect()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    deaf.sendall(frame(b'{"type":"usage"}'))
    started = time.monotonic()
    assert Client(daemon.path).whois(ipv4(1)) == mac(1)
    assert time.monotonic() - started < 1
    time.sleep(0.6)
    Client(daemon.path).status()
    assert len(daemon.server._connections) <= 3


def test_idle_connections_make_room_and_clients_do_not_notice(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 4)
    first = Client(daemon.path)
    first.status()
    hogs = []
    for _ in range(10):
        hogs.append(daemon.connect())
        kept = first._kept[0]
        first.status()
        assert first._kept == [kept], "the one that is in use was closed, not the one idle for longest"
    assert len(daemon.server._connections) <= 4
    for hog in hogs:
        hog.close()


def test_above_the_limit_of_working_connections_the_answer_is_busy(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 3)
    slow = [daemon.connect() for _ in range(3)]
    for connection in slow:
        connection.sendall(b"\0\0")
    time.sleep(0.2)
    with pytest.raises(NetctlError) as error:
        Client(daemon.path, timeout_s=0.3).status()
    assert error.value.code == BUSY
    for connection in slow:
        connection.close()
    assert Client(daemon.path).status()


def test_many_large_requests_together_do_not_fill_the_memory(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_BUFFERED", 1_000_000)
    hogs = [daemon.connect() for _ in range(8)]
    codes = []
    for hog in hogs:
        hog.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(8):
                hog.sendall(struct.pack(">I", 3_000_000) + b"x" * 50_000)
                time.sleep(0.002)
    time.sleep(0.2)
    for hog in hogs:
        hog.setblocking(True)
        hog.settimeout(0.1)
        with contextlib.suppress(TimeoutError, ConnectionError):
            reply = read_reply(hog)
            codes.append(reply.code if isinstance(reply, Failure) else "")
    assert BUSY in codes
    assert sum(len(c.received) for c in daemon.server._connections) <= 1_000_000
    for hog in hogs:
        hog.close()
    assert Client(daemon.path).status()


def test_an_error_inside_is_said_and_the_daemon_goes_on(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_ip: str) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(daemon.gateway.engine, "whois", fail)
    with pytest.raises(NetctlError) as error:
        Client(daemon.path).whois(ipv4(1))
    assert error.value.code == INTERNAL
    assert Client(daemon.path).status()


# --- pushes that wait together ----------------------------------------------------------------------------------------


def test_of_pushes_that_wait_together_only_the_newest_is_carried_out(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[int] = []
    real = daemon.gateway.engine.apply
    gate, reached = threading.Event(), threading.Event()

    def slow(wanted: Any) -> Applied:
        applied.append(wanted.generation)
        reached.set()
        gate.wait(5)
        return real(wanted)

    monkeypatch.setattr(daemon.gateway.engine, "apply", slow)
    connections = [daemon.connect() for _ in range(12)]
    connections[0].sendall(pack(Apply(state=state(generation=1))))
    assert reached.wait(5)
    for number, connection in enumerate(connections[1:], 2):
        users = [grant(n) for n in range(1, number)]
        connection.sendall(pack(Apply(state=state(*users, generation=number))))
    gate.set()
    replies = [read_reply(connection) for connection in connections]
    assert applied == [1, 12]
    assert [reply.generation for reply in replies if isinstance(reply, Applied)] == [1] + [12] * 11
    assert len(daemon.gateway.members()) == 11


def test_a_refused_newest_push_does_not_refuse_the_others(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    real = daemon.gateway.engine.apply
    gate, reached = threading.Event(), threading.Event()

    def slow(wanted: Any) -> Applied:
        reached.set()
        gate.wait(5)
        return real(wanted)

    monkeypatch.setattr(daemon.gateway.engine, "apply", slow)
    connections = [daemon.connect() for _ in range(4)]
    connections[0].sendall(pack(Apply(state=state(generation=1))))
    assert reached.wait(5)
    connections[1].sendall(pack(Apply(state=state(grant(1), generation=2))))
    connections[2].sendall(pack(Apply(state=state(grant(9, ipv4="10.77.0.1"), generation=3))))
    connections[3].sendall(pack(Apply(state=state(grant(5), generation=1, epoch="another-epoch"))))
    gate.set()
    kinds = [type(read_reply(connection)).__name__ for connection in connections]
    assert kinds == ["Applied", "Applied", "Failure", "Applied"]


# --- the socket's name ------------------------------------------------------------------------------------------------


def test_a_second_daemon_is_refused_and_the_first_stays(daemon: Daemon) -> None:
    second = Server(daemon.gateway.engine, daemon.gateway.config)
    with pytest.raises(NetctlError, match="Another netctl runs at"):
        second.claim()
    second.close()
    assert Client(daemon.path).status()


def test_a_socket_of_another_program_that_lives_is_not_taken(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(gateway.config.socket_path)
    listener.listen(1)
    server = Server(gateway.engine, gateway.config)
    with pytest.raises(NetctlError, match="Another netctl runs at"):
        server.claim()
    listener.close()
    server.close()


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(tmp_path / "netctl.sock"))
    dead.close()
    with daemon_in(tmp_path) as daemon:
        assert Client(daemon.path).status()
    assert list(tmp_path.glob("netctl.sock*")) == []


def test_a_new_ipv6_address_is_admitted_by_the_running_daemon(daemon: Daemon) -> None:
    Client(daemon.path).apply(state(grant(1)))
    daemon.gateway.kernel.hear("fd00:77::5", mac(1))
    ends = time.monotonic() + 5
    while "fd00:77::5" not in daemon.gateway.kernel.pinned and time.monotonic() < ends:
        time.sleep(0.005)
    assert "fd00:77::5" in daemon.gateway.kernel.pinned


def test_replies_are_json_that_any_language_reads(daemon: Daemon) -> None:
    connection = daemon.connect()
    connection.sendall(frame(b'{"type":"whois","ip":"10.77.1.2"}'))
    data = connection.recv(1 << 16)
    assert msgspec.json.decode(data[4:]) == {"type": "neighbour", "ip": "10.77.1.2", "mac": None}
