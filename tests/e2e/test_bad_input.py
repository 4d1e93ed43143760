"""What broken programs and attackers send to the portal and the resolver: nothing of it opens the gate or shuts it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import NewPhone
from tests.village import dns, links, story
from tests.village.gateway import LAN_ADDRESS, GerbangGateway
from tests.village.internet import DNS
from tests.village.phone import PROBE, Phone
from tests.village.village import Village

PORTAL = LAN_ADDRESS.partition("/")[0]

MALFORMED = {
    "nothing": b"\r\n\r\n",
    "binary": bytes(range(256)) * 4,
    "tls": bytes.fromhex("16030100a5010000a10303") + bytes(150),
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "unknown version": b"GET / HTTP/9.9\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "space in header name": b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n",
    "null byte": b"GET /\0 HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    "negative length": b"POST /login HTTP/1.1\r\nHost: 10.77.0.1\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "broken chunk": b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "long line": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(2000)) + b"\r\n",
    "64 KB in one header": b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 65_536 + b"\r\n\r\n",
    "64 KB of headers": b"GET / HTTP/1.1\r\nHost: x\r\n"
    + b"".join(b"X-%d: " % n + b"b" * 1000 + b"\r\n" for n in range(64))
    + b"\r\n",
    "path out of the root": b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: 10.77.0.1\r\n\r\n",
    "percent nonsense": b"GET /%ff%00%zz?lang=%f0%28 HTTP/1.1\r\nHost: 10.77.0.1\r\n\r\n",
    "template in language": b"GET /?lang={{7*7}} HTTP/1.1\r\nHost: 10.77.0.1\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http_is_answered_or_closed_and_opens_nothing(
    gateway: GerbangGateway, phone: Phone, name: str
) -> None:
    started_s = time.monotonic()
    heard = b""
    with phone.connect(PORTAL, 80, timeout_s=5) as sock, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        sock.sendall(MALFORMED[name])
        sock.shutdown(socket.SHUT_WR)
        while part := sock.recv(65536):
            heard += part
    assert time.monotonic() - started_s < 5, "it was left hanging"
    if heard:
        status = int(heard.split(b" ", 2)[1])
        assert status in (200, 302) or 400 <= status < 500 or status == 501 or status == 505, heard[:200]
        assert b"Traceback" not in heard
    assert phone.http(gateway.url).status == 200, "the portal goes on"
    assert not phone.is_online()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "10.77.0.1.evil.example",
        "10.77.0.1@evil.example",
        "evil.example:80",
        "[::1]",
        "",
        "a" * 4000,
        "x y",
        "gerbang.lan.",
        "%0d%0aSet-Cookie:a",
    ],
)
def test_a_forged_host_leads_to_the_portal_and_is_not_repeated(
    gateway: GerbangGateway, phone: Phone, host: str
) -> None:
    answer = phone.http(gateway.url, headers={"Host": host})
    if answer.status == 302:
        assert answer.location == gateway.url
    else:
        assert 400 <= answer.status < 500 or (answer.status == 200 and host in ("gerbang.lan.",))
    assert "evil" not in str(answer.headers) + answer.text
    assert "set-cookie" not in answer.headers
    assert not phone.is_online()


def test_a_login_from_another_site_is_refused(gateway: GerbangGateway, phone: Phone) -> None:
    """A page elsewhere that posts the form: browsers name the page's origin."""
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}):
        answer = phone.http(f"{gateway.url}login", method="POST", headers=headers)
        assert answer.status in (302, 403), headers
        assert not phone.is_online(), headers


@contextlib.contextmanager
def _slow_connections(phones: list[Phone], each: int) -> Iterator[list[socket.socket]]:
    """Half a request each, and then nothing."""
    held = []
    try:
        for number in range(each * len(phones)):
            sock = phones[number % len(phones)].connect(PORTAL, 80)
            sock.sendall(b"POST /login HTTP/1.1\r\nHost: 10.77.0.1\r\nX-Slow: ")
            held.append(sock)
        yield held
    finally:
        for sock in held:
            sock.close()


def test_100_slow_clients_do_not_stop_a_login(village: Village, new_phone: NewPhone) -> None:
    """Ten phones with ten connections each: below what one device may hold, so all of them reach the portal."""
    slow = [new_phone() for _ in range(10)]
    guest = new_phone()
    with _slow_connections(slow, 10) as held:
        time.sleep(0.3)
        for sock in held:  # still dribbling
            with contextlib.suppress(OSError):
                sock.send(b"a")
        took = guest.login()
        assert took.elapsed_s < 2.0
        assert guest.is_online()
        logged_out = guest.logout(f"{village.gateway.url}status")
        assert logged_out.status == 303
    assert not any(phone.is_online() for phone in slow)


def test_one_device_cannot_hold_more_than_its_share_of_connections(village: Village, new_phone: NewPhone) -> None:
    hog, guest = new_phone(), new_phone()
    held, refused = [], 0
    try:
        for _ in range(100):
            try:
                sock = hog.connect(PORTAL, 80, timeout_s=2)
                sock.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
                sock.setblocking(False)
                held.append(sock)
            except OSError:
                refused += 1
        time.sleep(0.3)
        for sock in held:  # a reset that came after the handshake
            with contextlib.suppress(BlockingIOError):
                try:
                    refused += sock.recv(1) == b""
                except ConnectionError:
                    refused += 1
        assert refused >= 60, f"one device holds {100 - refused} connections"
        assert guest.login().elapsed_s < 2.0
    finally:
        for sock in held:
            sock.close()


def test_before_login_only_our_resolver_answers(village: Village, phone: Phone) -> None:
    assert phone.dns("www.village.example")[1], "ours does"
    with pytest.raises(OSError):
        phone.dns("www.village.example", server=DNS, timeout_s=1)
    started_s = time.monotonic()
    with pytest.raises(OSError):
        phone.connect(DNS, 53, timeout_s=3)
    assert time.monotonic() - started_s < story.REFUSED_WITHIN_S, "DNS over TCP is refused, not ignored"
    phone.login()
    assert phone.dns("www.village.example", server=DNS)[1], "after login any resolver may be asked"


def _flood(phone: Phone, seconds: float, name: str = "x" * 60 + ".village.example") -> tuple[int, int]:
    """(questions, answers) of a DNS tunnel that asks as fast as it can."""
    server = phone.lease.dns[0] if phone.lease else PORTAL
    asked = answered = 0
    with phone.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((server, 53))
        sock.setblocking(False)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            with contextlib.suppress(BlockingIOError):
                sock.send(dns.query(name, dns.TXT, asked & 0xFFFF))
                asked += 1
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.recv(2048)
                    answered += 1
            time.sleep(0.001)
        time.sleep(0.2)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.recv(2048)
                answered += 1
    return asked, answered


def test_dns_tunnelling_before_login_is_rate_limited_for_that_device_alone(
    gateway: GerbangGateway, new_phone: NewPhone
) -> None:
    tunnel, guest = new_phone(), new_phone()
    limit_per_s = 20
    asked, answered = _flood(tunnel, 3.0)
    assert asked > 1000
    assert answered <= limit_per_s * (3.2 + 3) + 5, "the bucket, and what fills it meanwhile"
    assert guest.dns("www.village.example")[1], "others ask on"
    guest.login()
    assert _flood(guest, 1.0)[1] > 100, "who has logged in is not slowed down"


def test_a_static_address_gets_the_portal_and_may_log_in(village: Village, gateway: GerbangGateway) -> None:
    """Not everybody asks DHCP; the kernel's neighbour table knows the MAC all the same."""
    (phone,) = village.add_phones(1)
    try:
        phone.join()
        phone.set_ipv4("10.77.9.9", 20, PORTAL)
        answer = phone.http(PROBE.replace("connectivitycheck.gstatic.com", "198.18.5.80"))
        assert answer.status == 302
        assert phone.http(f"{gateway.url}login", method="POST").status == 303
        assert phone.http("http://198.18.5.80/peer").status == 200
    finally:
        phone.close()


def test_an_address_outside_the_lan_gets_nowhere(village: Village, phone: Phone) -> None:
    phone.login()
    phone.set_ipv4("192.0.2.7", 24, "192.0.2.1")

    def on_link(ip: object) -> None:
        number = links.index(ip, "wlan0")  # type: ignore[arg-type]
        ip.route("replace", dst="0.0.0.0/0", oif=number, scope="link")  # type: ignore[attr-defined]

    links.rtnl(phone.ns, on_link)
    with pytest.raises(OSError):
        phone.connect("198.18.5.80", 80, timeout_s=1)
