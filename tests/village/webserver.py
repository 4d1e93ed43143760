"""The village's whole World Wide Web in one process: probe hosts with their "online" answers, byte sources and sinks.

It must not know namespaces or the gateway; it binds TCP 80, 443 and 5001 (both families) and UDP 5001 where it starts.

    GET  /bytes?n=N        N bytes as fast as the reader takes them
    GET  /bytes?seconds=S  bytes for S seconds, then the connection closes
    POST /sink             reads to the end of the body or of the connection; answers what arrived and when, as JSON
    GET  /peer             the address that this server sees, as JSON
    any probe host         the answer of probes.json for that host and path
UDP 5001: the datagram ``{"send_kbit":..,"seconds":..,"size":..}`` asks for a paced stream to its sender; datagrams that
begin with ``D`` + 8 bytes of token are counted, ``R`` + token asks for the counts as JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PROBES = Path(__file__).parents[1] / "data" / "probes.json"
CHUNK = bytes(64 * 1024)
BUCKET_S = 0.1
UDP_PORT = 5001


def probe_answers(path: Path = PROBES) -> dict[tuple[str, str], bytes]:
    """(host, path) -> the whole HTTP response that says "online"."""
    answers = {}
    for probe in json.loads(path.read_text())["probes"]:
        url = urlsplit(probe["url"])
        online = probe["online"]
        body = online.get("body", online.get("starts", "")).encode()
        head = f"HTTP/1.1 {online['status']} {'No Content' if online['status'] == 204 else 'OK'}\r\n"
        if body:
            head += f"Content-Type: text/html\r\nContent-Length: {len(body)}\r\n"
        elif online["status"] != 204:
            head += "Content-Length: 0\r\n"
        if probe["os"] == "networkmanager":
            head += "X-NetworkManager-Status: online\r\n"
        answers[url.hostname or "", url.path] = (head + "Connection: close\r\n\r\n").encode() + body
    return answers


class Arrivals:
    """Bytes by tenth of a second since the first, so that a reader can leave out the start."""

    def __init__(self) -> None:
        self.first_s: float | None = None
        self.last_s = 0.0
        self.total = 0
        self.buckets: list[int] = []

    def add(self, count: int) -> None:
        now = time.monotonic()
        if self.first_s is None:
            self.first_s = now
        self.last_s = now
        self.total += count
        slot = int((now - self.first_s) / BUCKET_S)
        while len(self.buckets) <= slot:
            self.buckets.append(0)
        self.buckets[slot] += count

    def report(self) -> dict[str, Any]:
        seconds = 0.0 if self.first_s is None else self.last_s - self.first_s
        return {"bytes": self.total, "seconds": seconds, "bucket_s": BUCKET_S, "buckets": self.buckets}


class Http(asyncio.Protocol):
    """One request a connection; that is all the village needs."""

    answers = probe_answers()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.head = b""
        self.sink: Arrivals | None = None
        self.expected: int | None = None
        self.left = 0
        self.until_s: float | None = None
        self.writable = True

    def data_received(self, data: bytes) -> None:
        if self.sink is not None:
            self._swallow(data)
            return
        self.head += data
        head, found, rest = self.head.partition(b"\r\n\r\n")
        if not found:
            if len(self.head) > 16384:
                self.transport.close()
            return
        self._request(head.decode("latin-1"), rest)

    def _request(self, head: str, rest: bytes) -> None:
        lines = head.split("\r\n")
        method, target, _ = (lines[0] + "  ").split(" ", 2)
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        probe = self.answers.get((headers.get("host", "").split(":")[0], url.path))
        if probe is not None:
            self._finish(probe)
        elif url.path == "/bytes":
            self._source(query)
        elif url.path == "/sink" and method == "POST":
            self.sink = Arrivals()
            self.expected = int(headers["content-length"]) if "content-length" in headers else None
            self._swallow(rest)
        elif url.path == "/peer":
            self._json({"address": self.transport.get_extra_info("peername")[0].removeprefix("::ffff:")})
        else:
            self._finish(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nonline")

    def _finish(self, response: bytes) -> None:
        self.transport.write(response)
        self.transport.close()

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._finish(head.encode() + b"Connection: close\r\n\r\n" + body)

    def _source(self, query: dict[str, str]) -> None:
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n"
        if "seconds" in query:
            self.left = 1 << 60
            self.until_s = time.monotonic() + float(query["seconds"])
        else:
            self.left = int(query.get("n", "0"))
            head += f"Content-Length: {self.left}\r\n"
        self.transport.set_write_buffer_limits(high=2 * len(CHUNK))
        self.transport.write(head.encode() + b"\r\n")
        self._pump()

    def _pump(self) -> None:
        while self.writable and not self.transport.is_closing():
            if self.left == 0 or (self.until_s is not None and time.monotonic() >= self.until_s):
                self.transport.close()
                return
            part = CHUNK if self.left >= len(CHUNK) else CHUNK[: self.left]
            self.left -= len(part)
            self.transport.write(part)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self.left or self.until_s is not None:
            # not here: closing inside this callback makes the transport close itself twice
            asyncio.get_running_loop().call_soon(self._pump)

    def _swallow(self, data: bytes) -> None:
        assert self.sink is not None
        if data:
            self.sink.add(len(data))
        if self.expected is not None and self.sink.total >= self.expected:
            self._json(self.sink.report())

    def eof_received(self) -> bool:
        if self.sink is not None and not self.transport.is_closing():
            self._json(self.sink.report())
        return True  # a reader may close its sending side and go on reading


class Udp(asyncio.DatagramProtocol):
    """Paced streams out, counted streams in."""

    def __init__(self) -> None:
        self.counts: dict[bytes, Arrivals] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        kind, token = data[:1], data[1:9]
        if kind == b"D":
            arrivals = self.counts.get(token)
            if arrivals is None:
                arrivals = self.counts[token] = Arrivals()
            arrivals.add(len(data))
        elif kind == b"R":
            self.transport.sendto(json.dumps(self.counts.get(token, Arrivals()).report()).encode(), addr)
        elif kind == b"{":
            task = asyncio.get_running_loop().create_task(self._stream(json.loads(data), addr))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self.transport.sendto(data, addr)

    async def _stream(self, order: dict[str, float], addr: Any) -> None:
        size = int(order["size"])
        per_s = order["send_kbit"] * 1000 / 8 / size
        start = time.monotonic()
        payload = bytes(size)
        sent = 0
        while (elapsed := time.monotonic() - start) < order["seconds"]:
            while sent < elapsed * per_s:
                self.transport.sendto(payload, addr)
                sent += 1
            await asyncio.sleep(0.002)


async def serve(ready: str) -> None:
    """Serve for ever; prints ``ready`` once every port is open."""
    loop = asyncio.get_running_loop()
    for port in (80, 443, UDP_PORT):
        listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", port))
        await loop.create_server(Http, sock=listener, backlog=2048)
    # One socket a family, bound to the address itself: the answer must leave from the address that was asked.
    for address in sys.argv[1:]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        await loop.create_datagram_endpoint(Udp, local_addr=(address, UDP_PORT), family=family)
    print(ready, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve("ready"))
