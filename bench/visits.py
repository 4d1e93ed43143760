"""Many phones on their way online at once: probe, page, tap, Internet; one process, one epoll loop, bounded in time.

It must not know how the gateway works: it does what it is told by the Location and by the page's form, like a phone.
Sockets are made beforehand in the phones' namespaces: the client's own CPU time must stay small beside the gateway's.
"""

from __future__ import annotations

import gzip
import re
import select
import socket
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

USER_AGENT = (
    "Mozilla/5.0 (Linux; Android 14; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Mobile Safari/537.36"
)
PROBE = "http://connectivitycheck.gstatic.com/generate_204"
MAX_REPLY = 1 << 20


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to send. ``first_byte``: the answer's beginning is enough."""

    address: tuple[str, int]
    request: bytes
    first_byte: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    at_s: float

    def text(self) -> str:
        body = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        return body.decode()


class VisitError(Exception):
    """The phone did not get what it must get; the sentence says at which step."""


Script = Generator[Ask, Answer, None]


@dataclass(slots=True)
class Visit:
    """One phone's way, with the time of each step. ``error`` says why it did not come through."""

    number: int
    started_s: float = 0.0
    redirected_s: float = 0.0
    page_s: float = 0.0
    tapped_s: float = 0.0
    online_s: float = 0.0
    page_bytes: int = 0
    page: str = ""
    error: str | None = None

    def ms(self, to: float) -> float:
        return (to - self.started_s) * 1000


def get(url: str, *, host_ip: str | None = None, first_byte: bool = False) -> Ask:
    """A GET as a phone's browser sends it. ``host_ip`` is where the name leads (None: the URL holds the address)."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = (
        f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: {USER_AGENT}\r\n"
        "Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: id-ID,id;q=0.9\r\n"
        "Connection: close\r\n\r\n"
    )
    return Ask((host_ip or parts.hostname or "", parts.port or 80), request.encode(), first_byte)


def post(url: str, fields: dict[str, str]) -> Ask:
    parts = urlsplit(url)
    body = urlencode(fields)
    request = (
        f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: http://{parts.netloc}\r\n"
        f"User-Agent: {USER_AGENT}\r\nAccept-Encoding: gzip, deflate\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    )
    return Ask((parts.hostname or "", parts.port or 80), request.encode())


def first_form(page: str, page_url: str, action_has: str = "") -> tuple[str, dict[str, str]]:
    """(absolute action, fields) of the page's first POST form whose action holds ``action_has``; boxes are ticked."""
    for attributes, inside in re.findall(r"<form\b([^>]*)>(.*?)</form>", page, re.DOTALL):
        action = re.search(r'action="([^"]*)"', attributes)
        if 'method="post"' not in attributes.lower() or action is None or action_has not in action[1]:
            continue
        fields = {}
        for tag in re.findall(r"<(?:input|button)\b[^>]*>", inside):
            name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
            if name is not None:
                fields[name[1]] = value[1] if value is not None else "on"
        parts = urlsplit(page_url)
        return f"{parts.scheme}://{parts.netloc}{action[1]}", fields
    raise VisitError(f"the page at {page_url} has no such form: {page[:200]!r}")


def way_online(visit: Visit, internet_ip: str) -> Script:
    """Probe, page, tap, first byte from the Internet, as bench and demo both mean it."""
    reply = yield get(PROBE, host_ip=internet_ip)
    if reply.status != 302:
        raise VisitError(f"the probe got {reply.status}, not 302")
    visit.redirected_s = reply.at_s
    url = reply.headers["location"]
    reply = yield get(url)
    if reply.status != 200:
        raise VisitError(f"the page got {reply.status}")
    visit.page_s, visit.page_bytes, visit.page = reply.at_s, len(reply.body), reply.text()
    action, fields = first_form(visit.page, url)
    reply = yield post(action, fields)
    if reply.status != 303:
        raise VisitError(f"the tap got {reply.status}: {reply.body[:200]!r}")
    visit.tapped_s = reply.at_s
    reply = yield get(PROBE, host_ip=internet_ip, first_byte=True)
    if reply.status != 204:
        raise VisitError(f"after the tap the Internet answered {reply.status}")
    visit.online_s = reply.at_s


def requests_only(visit: Visit, internet_ip: str, count: int = 4) -> Script:
    """The baseline: as many requests, answered by the Internet host itself through plain NAT."""
    for _ in range(count):
        reply = yield get(PROBE, host_ip=internet_ip, first_byte=True)
        if reply.status != 204:
            raise VisitError(f"the Internet answered {reply.status}")
    visit.online_s = reply.at_s


@dataclass(slots=True)
class _Running:
    visit: Visit
    script: Script
    sockets: list[socket.socket]
    ask: Ask | None = None
    sock: socket.socket | None = None
    received: bytearray = field(default_factory=bytearray)


def run(
    scripts: Sequence[tuple[Visit, Script]], sockets_of: Callable[[int], list[socket.socket]], *, timeout_s: float
) -> None:
    """Start all scripts at the same moment and drive them to their ends or to the deadline; fills the visits."""
    every = [_Running(visit, script, sockets_of(visit.number)) for visit, script in scripts]
    poller = select.epoll()
    by_fd: dict[int, _Running] = {}
    start = time.monotonic()
    try:
        for each in every:
            each.visit.started_s = start
            _advance(each, None, poller, by_fd)
        deadline = start + timeout_s
        while by_fd and (left := deadline - time.monotonic()) > 0:
            for fd, event in poller.poll(left):
                _step(by_fd[fd], event, poller, by_fd)
        for each in by_fd.values():
            each.visit.error = f"not online after {timeout_s:g} s"
    finally:
        poller.close()
        for each in every:
            for sock in [*each.sockets, each.sock]:
                if sock is not None:
                    sock.close()


def _advance(each: _Running, answer: Answer | None, poller: select.epoll, by_fd: dict[int, _Running]) -> None:
    """Hand the script its answer and begin what it asks next."""
    if each.sock is not None:
        by_fd.pop(each.sock.fileno())
        each.sock.close()  # epoll forgets a closed descriptor
        each.sock = None
    try:
        each.ask = each.script.send(answer) if answer is not None else next(each.script)
    except StopIteration:
        return
    except (VisitError, KeyError, ValueError) as error:
        each.visit.error = f"{type(error).__name__}: {error}"
        return
    each.received.clear()
    each.sock = each.sockets.pop()
    each.sock.setblocking(False)
    each.sock.connect_ex(each.ask.address)
    by_fd[each.sock.fileno()] = each
    poller.register(each.sock.fileno(), select.EPOLLOUT)


def _step(each: _Running, event: int, poller: select.epoll, by_fd: dict[int, _Running]) -> None:
    assert each.sock is not None
    assert each.ask is not None
    try:
        if event & select.EPOLLOUT:
            each.sock.send(each.ask.request)  # a new connection's buffer holds it whole
            poller.modify(each.sock.fileno(), select.EPOLLIN)
            return
        data = each.sock.recv(65536)
    except BlockingIOError:
        return
    except OSError as error:
        each.visit.error = f"{each.ask.request[:40]!r} to {each.ask.address}: {error}"
        data = b""
        by_fd.pop(each.sock.fileno())
        each.sock.close()
        each.sock = None
        return
    each.received += data
    answer = _whole(bytes(each.received), ended=not data, first_byte=each.ask.first_byte)
    if answer is not None:
        _advance(each, answer, poller, by_fd)
    elif not data or len(each.received) > MAX_REPLY:
        each.visit.error = f"{each.ask.request[:40]!r} got a broken answer: {bytes(each.received[:80])!r}"
        by_fd.pop(each.sock.fileno())
        each.sock.close()
        each.sock = None


def _whole(received: bytes, *, ended: bool, first_byte: bool) -> Answer | None:
    """The answer, once it is all there."""
    now = time.monotonic()
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ", 2)[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers["content-length"]) if "content-length" in headers else None
    bodiless = first_byte or status in (204, 304)
    if bodiless or (length is not None and len(body) >= length) or (length is None and ended):
        return Answer(status, headers, body, now)
    return None
