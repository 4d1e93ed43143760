"""The real guest web server on 127.0.0.1 and rude clients: slow, silent, malformed, too many; and a killed worker."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest

from portal import connection, worker
from tests.e2e.guest_server import guest_server
from tests.unit.guest.scenes import SCENES

PAGE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PROBE = b"GET /generate_204 HTTP/1.1\r\nHost: connectivitycheck.gstatic.com\r\n\r\n"
LOGIN = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, int]]:
    with guest_server() as started:
        yield started


@pytest.fixture
def port(server: tuple[int, int]) -> int:
    return server[0]


def connect(port: int, phone: int = 1, timeout_s: float = 10.0) -> socket.socket:
    """A connection from 127.0.0.<phone>, which the server takes for a phone of its own."""
    return socket.create_connection(("127.0.0.1", port), timeout=timeout_s, source_address=(f"127.0.0.{phone}", 0))


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while data := sock.recv(65536):
        parts.append(data)
    return b"".join(parts)


def exchange(port: int, request: bytes, phone: int = 1) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, body; the connection must end by itself, and in order."""
    with connect(port, phone) as sock:
        sock.sendall(request)
        return parse(read_all(sock))


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    code = int(status.split()[1])
    assert code == 204 or int(headers["content-length"]) == len(body), "the answer was cut short"
    return code, headers, body


def log_in(port: int, phone: int) -> float:
    """Probe, page, tap, status; gives the seconds it took."""
    started_s = time.monotonic()
    assert exchange(port, PROBE, phone)[0] == 302
    assert exchange(port, PAGE, phone)[0] == 200
    status, headers, _ = exchange(port, LOGIN, phone)
    assert (status, headers["location"]) == (303, "/status")
    assert exchange(port, PAGE.replace(b"GET / ", b"GET /status "), phone)[0] == 200
    return time.monotonic() - started_s


def test_every_answer_closes_the_connection(port: int) -> None:
    for request in (PROBE, PAGE, LOGIN):
        _, headers, _ = exchange(port, request)
        assert headers["connection"] == "close"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # a TLS hello on the plain port
        (b"\x00" * 64, 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
        (b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"G\xc3\x8bT / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon here\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: rubbish\r\n\r\n", 501),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 65536 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 100 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Many: " + b"b" * 40000, 431),  # and never ends
        (b"a" * 40000, 431),
    ],
    ids=lambda value: str(value[:24]) if isinstance(value, bytes) else None,
)
def test_malformed_http_is_refused_at_once_and_closed(port: int, request_bytes: bytes, status: int) -> None:
    started_s = time.monotonic()
    got, headers, _ = exchange(port, request_bytes)
    assert got == status
    assert headers["connection"] == "close"
    assert time.monotonic() - started_s < 5
    assert exchange(port, PAGE, phone=251)[0] == 200


def test_a_request_that_comes_in_crumbs_is_answered(port: int) -> None:
    with connect(port) as sock:
        for byte in PROBE:
            sock.sendall(bytes([byte]))
        assert parse(read_all(sock))[0] == 302


def test_http_1_0_without_a_host(port: int) -> None:
    assert exchange(port, b"GET / HTTP/1.0\r\n\r\n")[0] == 302


@pytest.mark.parametrize("framing", [b"Content-Length: 3000000", b"Transfer-Encoding: chunked"])
def test_a_body_nobody_reads_does_not_cost_the_answer(port: int, framing: bytes) -> None:
    """Closing with unread data makes the kernel reset the connection, and the answer is lost with it."""
    with connect(port) as sock:
        sock.sendall(b"POST /upload HTTP/1.1\r\nHost: cloud.example.com\r\n" + framing + b"\r\n\r\n")
        chunk = b"ffff\r\n" + b"x" * 65535 + b"\r\n" if b"chunked" in framing else b"x" * 65536
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(20):
                sock.sendall(chunk)
                time.sleep(0.005)
        assert parse(read_all(sock))[0] == 302


def test_expect_100_continue_does_not_deadlock(port: int) -> None:
    with connect(port) as sock:
        sock.sendall(b"POST /u HTTP/1.1\r\nHost: x.example\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"123456789")
        assert parse(read_all(sock))[0] == 302
    with connect(port) as sock:  # what is not wanted is not asked for
        sock.sendall(b"POST /u HTTP/1.1\r\nHost: x.example\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n")
        assert parse(read_all(sock))[0] == 302


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    with guest_server(echo=True, max_body_bytes=TestBodies.MAX) as (port, _):
        yield port


class TestBodies:
    """Against an application that tells what it got."""

    MAX = 8_000_000

    @staticmethod
    def post(length: int, path: str = "/") -> bytes:
        return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()

    @pytest.mark.parametrize(
        "length", [0, 1, 16_384, connection.SMALL_BODY_BYTES, connection.SMALL_BODY_BYTES + 1, MAX]
    )
    def test_arrive_as_they_were_sent(self, echo: int, length: int) -> None:
        body = os.urandom(length)
        status, _, answer = exchange(echo, self.post(length) + body)
        assert (status, json.loads(answer)) == (200, {"bytes": length, "sha256": hashlib.sha256(body).hexdigest()})

    @pytest.mark.parametrize(
        ("framing", "status"), [(f"Content-Length: {MAX + 1}", 413), ("Transfer-Encoding: chunked", 411)]
    )
    def test_too_large_or_of_unknown_length_are_refused_before_they_come(
        self, echo: int, framing: str, status: int
    ) -> None:
        head = f"HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n"
        assert exchange(echo, f"POST / {head}".encode())[0] == status
        assert exchange(echo, f"POST /redirect {head}".encode())[0] == 302

    def test_few_large_ones_at_a_time(self, echo: int) -> None:
        with contextlib.ExitStack() as stack:
            for number in range(worker.MAX_UPLOADS):
                stack.enter_context(connect(echo, 10 + number)).sendall(self.post(self.MAX) + b"a")
            assert exchange(echo, self.post(5) + b"small")[0] == 200
            assert exchange(echo, self.post(self.MAX) + b"one more")[0] == 503
        time.sleep(0.2)
        assert exchange(echo, self.post(100_000) + b"x" * 100_000)[0] == 200


def test_slow_and_silent_clients_of_several_phones_do_not_stop_a_login() -> None:
    """Silent, stuck in the head, stuck in a form, dribbling one, in a body that nobody wants, deaf to the answer: 30 of
    each, from 10 phones."""
    with guest_server() as (port, _), contextlib.ExitStack() as stack:
        half = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
        body = b"POST /x HTTP/1.1\r\nHost: x.example\r\nContent-Length: 100000\r\n\r\nabc"
        form = b"POST /code HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60\r\n\r\ncode="
        slow = []
        for number in range(30):
            for request in (b"", b"G", half, form, form, body, PAGE):
                sock = stack.enter_context(connect(port, 10 + number % 10))
                if request is PAGE:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                sock.sendall(request)
                slow.append(sock)
        times = []
        for phone in range(60, 70):
            for sock in slow[2::7] + slow[4::7]:
                sock.sendall(b"a")
            times.append(log_in(port, phone))
        assert max(times) < 2, times
        # and they do not stay for ever
        time.sleep(connection.HEAD_TIMEOUT_S + 2)
        for sock in slow[1::7] + slow[2::7] + slow[3::7] + slow[4::7]:
            sock.settimeout(5)
            assert sock.recv(1) == b""
        assert log_in(port, 70) < 2


def test_a_crowd_is_answered_in_full(server: tuple[int, int]) -> None:
    """500 phones at once, each with a connection of its own before any of them is served."""
    port, _ = server
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connect(port, 1 + number % 250, timeout_s=30)) for number in range(500)]
        for sock in crowd:
            sock.sendall(PAGE)
        for sock in crowd:
            assert parse(read_all(sock))[0] in (200, 302)


def test_many_logins_wait_together(tmp_path: Path) -> None:
    """A login waits for its commit and the kernel; while it does, others come in beside it."""
    with guest_server(login_s=0.5) as (port, _), ThreadPoolExecutor(24) as pool:
        started_s = time.monotonic()
        statuses = list(pool.map(lambda phone: exchange(port, LOGIN, phone)[0], range(1, 25)))
        assert statuses == [303] * 24
        assert time.monotonic() - started_s < 24 * 0.5 / 2


def test_a_login_in_flight_is_answered_when_the_server_stops() -> None:
    with guest_server(login_s=1.0) as (port, pid), connect(port) as sock:
        sock.sendall(LOGIN)
        time.sleep(0.3)
        os.kill(pid, signal.SIGTERM)
        assert parse(read_all(sock))[0] == 303
        with pytest.raises(OSError, match="refused"):
            connect(port)


def test_a_loop_that_stands_still_ends_the_process() -> None:
    with guest_server(hang_s=2) as (port, pid):
        assert exchange(port, PAGE)[0] == 200
        time.sleep(3)  # it turns without requests too
        assert exchange(port, PAGE)[0] == 200
        os.kill(pid, signal.SIGSTOP)  # what stops the loop and not the clock
        time.sleep(2.5)
        os.kill(pid, signal.SIGCONT)
        end_s = time.monotonic() + 5
        while time.monotonic() < end_s and not _is_ended(pid):
            time.sleep(0.02)
        assert _is_ended(pid)


def _is_ended(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_memory(server: tuple[int, int]) -> None:
    port, pid = server
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda phone: log_in(port, phone), range(100, 180)))
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    assert found
    assert int(found[1]) < 45 * 1024, f"{int(found[1]) / 1024:.1f} MiB"


def test_nothing_is_read_from_the_source_once_it_serves() -> None:
    """After privileges are dropped the source may be unreadable: every page must be in memory by then."""
    with guest_server(forbid_source=True) as (port, _):
        assert log_in(port, 5) < 5
        for path in (b"/info", b"/?lang=en", b"/status?lang=en", b"/api/captive", b"/favicon.ico", b"/nothing"):
            assert exchange(port, PAGE.replace(b"GET / ", b"GET " + path + b" "), 5)[0] in (200, 204, 302)
        assert exchange(port, b"GET / HTTP/1.1\nHost: x\n\n")[0] == 400
        assert exchange(port, LOGIN.replace(b"POST /login", b"POST /logout"), 5)[0] == 303
    with guest_server(forbid_source=True, problem="database-full", uplink_down_since=time.time() - 90_000) as (port, _):
        assert b"sejak" in exchange(port, PAGE)[2]
        assert exchange(port, LOGIN)[0] == 503


@pytest.mark.parametrize(
    "name", ["account-wrong", "called", "code-wrong", "holiday", "info", "moved", "status", "name"]
)
def test_no_page_reads_the_source(name: str) -> None:
    scene = SCENES[name]
    with guest_server(forbid_source=True, scene=name) as (port, _):
        for lang in ("id", "en"):
            request = (
                f"GET {scene.path}{'&' if '?' in scene.path else '?'}lang={lang} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            if scene.form is not None:
                action, fields = scene.form
                body = urlencode(fields)
                request = f"POST {action}?lang={lang} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
                request += f"Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
            assert exchange(port, request.encode())[0] in (200, 403)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("ca"), "localhost")


def make_certificate(folder: Path, name: str) -> Path:
    """A folder with ca.pem, and cert.pem with key.pem for ``name``, signed by that CA."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=test CA")
    openssl("req", *curve, "-keyout", "key.pem", "-out", "request.pem", "-subj", f"/CN={name}")
    (folder / "extensions").write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:false\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "20", "-extfile", "extensions")
    openssl("x509", "-req", "-in", "request.pem", "-out", "cert.pem", *signing)
    return folder


@pytest.fixture(scope="module")
def tls_port(certificate: Path) -> Iterator[int]:
    with guest_server(certificate=str(certificate / "cert.pem"), key=str(certificate / "key.pem")) as (port, _):
        yield port


class TestTls:
    @staticmethod
    def ask(port: int, certificate: Path, request: bytes) -> tuple[int, dict[str, str], bytes]:
        context = ssl.create_default_context(cafile=str(certificate / "ca.pem"))
        with connect(port) as plain, context.wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(request)
            return parse(read_all(sock))

    def test_the_api_by_its_name(self, tls_port: int, certificate: Path) -> None:
        status, headers, body = self.ask(tls_port, certificate, b"GET /api/captive HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (status, headers["content-type"]) == (200, "application/captive+json")
        state = json.loads(body)
        assert state["user-portal-url"] == "https://localhost/"
        assert state["captive"] is True

    def test_login_and_a_page_larger_than_a_tls_record(self, tls_port: int, certificate: Path) -> None:
        assert self.ask(tls_port, certificate, LOGIN)[0] == 303
        state = json.loads(self.ask(tls_port, certificate, b"GET /api/captive HTTP/1.1\r\nHost: localhost\r\n\r\n")[2])
        assert state["captive"] is False
        assert state["seconds-remaining"] > 0

    def test_a_client_that_never_ends_its_handshake_stops_nobody(self, tls_port: int, certificate: Path) -> None:
        with contextlib.ExitStack() as stack:
            for number in range(100):
                stack.enter_context(connect(tls_port, 10 + number % 10)).sendall(b"\x16\x03\x01\x02\x00"[: number % 6])
            started_s = time.monotonic()
            assert self.ask(tls_port, certificate, PAGE)[0] in (200, 302)
            assert time.monotonic() - started_s < 2

    def test_plain_http_and_noise_on_the_tls_port_are_dropped(self, tls_port: int, certificate: Path) -> None:
        for noise in (PAGE, os.urandom(300)):
            with connect(tls_port) as sock, contextlib.suppress(ConnectionResetError):
                sock.sendall(noise)
                assert b"HTTP/1.1 200" not in read_all(sock)
        assert self.ask(tls_port, certificate, PAGE)[0] in (200, 302)

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
    def test_old_tls_is_refused(self, tls_port: int, certificate: Path) -> None:
        context = ssl.create_default_context(cafile=str(certificate / "ca.pem"))
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with connect(tls_port) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname="localhost")
