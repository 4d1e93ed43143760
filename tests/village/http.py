"""A phone's HTTP/1.1: one request a connection over a socket that somebody else made. It must not know namespaces.

Hand-written and small because hundreds of phones share two processor cores with what they measure.
"""

from __future__ import annotations

import gzip
import socket
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. Header names are lower case, of repeated ones the last counts; the body is unpacked from gzip.

    Times since before the connect. ``wire_bytes`` is what came over the cable, headers included.
    """

    url: str
    status: int
    headers: dict[str, str]
    body: bytes
    elapsed_s: float
    first_byte_s: float
    ip_family: int
    wire_bytes: int

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def location(self) -> str:
        """The absolute address that ``Location`` names; empty without one."""
        return urljoin(self.url, self.headers["location"]) if "location" in self.headers else ""


class HttpError(Exception):
    """The peer closed early or spoke no HTTP."""


def request_bytes(method: str, host: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\nConnection: close\r\n\r\n").encode("latin-1") + body


def exchange(sock: socket.socket, url: str, request: bytes, started_s: float) -> Response:
    """Send one request on a connected socket and read its whole answer; closes the socket."""
    with sock:
        sock.sendall(request)
        data = bytearray()
        first_byte_s = 0.0
        while (end := data.find(b"\r\n\r\n")) < 0:
            part = sock.recv(65536)
            if not part:
                raise HttpError(f"{url}: the connection ended after {len(data)} bytes, before the headers did")
            first_byte_s = first_byte_s or time.monotonic() - started_s
            data += part
        lines = data[:end].decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise HttpError(f"{url}: not an HTTP answer: {lines[0][:80]!r}")
        status = int(rest[:3])
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        body, wire = _body(sock, data, end + 4, headers, has_body=status not in (204, 304))
        elapsed_s = time.monotonic() - started_s
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        family = 6 if sock.family == socket.AF_INET6 else 4
    return Response(url, status, headers, body, elapsed_s, first_byte_s, family, wire)


def _body(
    sock: socket.socket, data: bytearray, at: int, headers: dict[str, str], *, has_body: bool
) -> tuple[bytes, int]:
    def more() -> bool:
        part = sock.recv(262144)
        data.extend(part)
        return bool(part)

    if not has_body:
        return b"", len(data)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = bytearray()
        while True:
            while (line := data.find(b"\r\n", at)) < 0:
                if not more():
                    raise HttpError("the connection ended inside a chunk header")
            size = int(data[at:line].split(b";")[0], 16)
            while len(data) < line + 4 + size:
                if not more():
                    raise HttpError("the connection ended inside a chunk")
            if size == 0:
                return bytes(body), len(data)
            body += data[line + 2 : line + 2 + size]
            at = line + 4 + size
    if "content-length" in headers:
        size = int(headers["content-length"])
        while len(data) < at + size:
            if not more():
                raise HttpError(f"the connection ended {at + size - len(data)} bytes early")
        return bytes(data[at : at + size]), len(data)
    while more():
        pass
    return bytes(data[at:]), len(data)


@dataclass(slots=True)
class Form:
    """The first POST form of a page: where it goes and what a person who ticks every box and taps its button sends."""

    action: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    found: bool = False

    @property
    def body(self) -> bytes:
        return urlencode(self.fields).encode()


class _FormReader(HTMLParser):
    def __init__(self, base: str, wanted: str) -> None:
        super().__init__()
        self.base, self.wanted = base, wanted
        self.form = Form()
        self.open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.form.found and given.get("method", "get").lower() == "post":
            action = urljoin(self.base, given.get("action", ""))
            if self.wanted in action:
                self.form.found = self.open = True
                self.form.action = action
        elif self.open and tag in ("input", "button") and given.get("name"):
            self.form.fields[given["name"]] = given.get("value", "on" if given.get("type") == "checkbox" else "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.open = False


def first_form(page: Response, wanted: str = "") -> Form:
    """The first POST form whose action contains ``wanted``; LookupError without one."""
    reader = _FormReader(page.url, wanted)
    reader.feed(page.text)
    if not reader.form.found:
        raise LookupError(f"no form to post {wanted!r} on {page.url} (status {page.status}): {page.text[:200]!r}")
    return reader.form
