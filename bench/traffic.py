"""TCP and UDP flows between sockets of one process, and small echoes beside them, driven by one event loop.

It must not know what lies between the sockets. Rates are goodput: payload bytes that arrived, by their arrival times.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.village.netns import Namespace

CHUNK = bytes(64 * 1024)
UDP_PAYLOAD = bytes(1400)
# What phones and servers use unless told otherwise. It fills every queue that it finds; BBR, the default of some
# machines that this runs on, does not, and would make the delay under load look better than people will have it.
CONGESTION_CONTROL = b"cubic"
ECHO_INTERVAL_S = 0.05


@dataclass(slots=True)
class Flow:
    """One stream. ``offered_kbit`` paces UDP (None: TCP, as fast as it goes)."""

    sender: socket.socket
    receiver: socket.socket
    offered_kbit: float | None = None
    sent: int = 0
    first_s: float | None = None
    last_s: float = 0.0
    counted: int = 0

    def arrived(self, count: int, now: float) -> None:
        """Count from the first arrival on, that one's bytes left out: they came in before the clock started."""
        if self.first_s is None:
            self.first_s = now
        else:
            self.counted += count
        self.last_s = now


def goodput_kbit(flows: Sequence[Flow]) -> float:
    """What all these flows carried together, over the time from their first arrival to their last.

    Over each one's own time it would be too much: a flow that stalls at an end would count as if it had not.
    """
    first_s = min((flow.first_s for flow in flows if flow.first_s is not None), default=0.0)
    last_s = max(flow.last_s for flow in flows)
    return sum(flow.counted for flow in flows) * 8 / 1000 / (last_s - first_s) if last_s > first_s else 0.0


def tcp_flow(sender: Namespace, receiver: Namespace, *, client: Namespace, server_ip: str, port: int) -> Flow:
    """A connection that ``client`` opens to ``server_ip``, carrying data from ``sender`` to ``receiver``."""
    server = receiver if client is sender else sender
    listener = server.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION_CONTROL)  # accepted ones inherit it
    listener.bind((server_ip, port))
    listener.listen(1)
    opened = client.socket()
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION_CONTROL)
    opened.settimeout(5)
    opened.connect((server_ip, port))
    listener.settimeout(5)
    accepted, _ = listener.accept()
    listener.close()
    out, into = (opened, accepted) if client is sender else (accepted, opened)
    for each in (out, into):
        each.setblocking(False)
    return Flow(out, into)


def udp_flow(
    sender: Namespace, receiver: Namespace, *, client: Namespace, client_ip: str, server_ip: str, port: int, kbit: float
) -> Flow:
    """Datagrams of 1400 bytes. The client says hello first, so that the NAT has a mapping for the way back."""
    server = receiver if client is sender else sender
    outside = server.socket(kind=socket.SOCK_DGRAM)
    outside.bind((server_ip, port))
    outside.settimeout(0.2)
    inside = client.socket(kind=socket.SOCK_DGRAM)
    inside.bind((client_ip, 0))
    inside.connect((server_ip, port))
    mapped = _hear(inside, outside)
    outside.connect(mapped)
    out, into = (inside, outside) if client is sender else (outside, inside)
    into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    for each in (out, into):
        each.setblocking(False)
    return Flow(out, into, kbit)


def _hear(inside: socket.socket, outside: socket.socket) -> tuple[str, int]:
    """The address that ``inside`` has behind the NAT; asked more than once, as a full queue may drop the first."""
    for _ in range(25):
        inside.send(b"hello")
        try:
            mapped: tuple[str, int] = outside.recvfrom(16)[1]
        except TimeoutError:
            continue
        return mapped
    raise TimeoutError(f"no datagram came through to {outside.getsockname()}")


@dataclass(slots=True)
class Echo:
    """Small datagrams to the other side and back, one every 50 ms; both ends are driven by the same loop."""

    near: socket.socket
    far: socket.socket
    round_trips_s: list[float] = field(default_factory=list)
    number: int = 0

    def send(self, now: float) -> None:
        self.number += 1
        self.near.send(struct.pack("!Id", self.number, now) + bytes(44))


def echo(client: Namespace, client_ip: str, server: Namespace, server_ip: str, port: int) -> Echo:
    flow = udp_flow(client, server, client=client, client_ip=client_ip, server_ip=server_ip, port=port, kbit=1)
    return Echo(flow.sender, flow.receiver)


def run(flows: Sequence[Flow], *, warm_s: float, seconds: float, echo: Echo | None = None) -> None:
    """Drive everything for ``warm_s`` (uncounted) and then ``seconds``; sockets are closed at the end."""
    with selectors.DefaultSelector() as selector:
        for flow in flows:
            selector.register(flow.receiver, selectors.EVENT_READ, ("receive", flow))
            if flow.offered_kbit is None:
                selector.register(flow.sender, selectors.EVENT_WRITE, ("send", flow))
        if echo is not None:
            selector.register(echo.far, selectors.EVENT_READ, ("reflect", echo))
            selector.register(echo.near, selectors.EVENT_READ, ("return", echo))
        start = time.monotonic()
        counting_from = start + warm_s
        end = counting_from + seconds
        next_echo_s = start
        paced = [flow for flow in flows if flow.offered_kbit is not None]
        while (now := time.monotonic()) < end:
            for flow in paced:
                _pace(flow, now - start)
            if echo is not None and now >= next_echo_s:
                echo.send(now)
                next_echo_s = now + ECHO_INTERVAL_S
            wait = min(end - now, 0.002 if paced else ECHO_INTERVAL_S)
            for key, _ in selector.select(wait):
                what, subject = key.data
                _serve(what, subject, counting_from)
    for flow in flows:
        flow.sender.close()
        flow.receiver.close()
    if echo is not None:
        echo.near.close()
        echo.far.close()


def _pace(flow: Flow, elapsed_s: float) -> None:
    assert flow.offered_kbit is not None
    due = int(elapsed_s * flow.offered_kbit * 125 / len(UDP_PAYLOAD))
    while flow.sent < due:
        flow.sent += 1
        try:
            flow.sender.send(UDP_PAYLOAD)
        except BlockingIOError:
            return


def _serve(what: str, subject: Flow | Echo, counting_from: float) -> None:
    now = time.monotonic()
    try:
        if isinstance(subject, Flow):
            if what == "send":
                subject.sender.send(CHUNK)
            else:
                while data := subject.receiver.recv(len(CHUNK)):
                    if now >= counting_from:
                        subject.arrived(len(data), now)
        elif what == "reflect":
            subject.far.send(subject.far.recv(2048))
        else:
            sent_s = struct.unpack_from("!Id", subject.near.recv(2048))[1]
            if now >= counting_from:
                subject.round_trips_s.append(time.monotonic() - sent_s)
    except BlockingIOError:
        pass
    except ConnectionRefusedError:
        pass  # the other end's socket is not there yet, or no longer


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else float("nan")
