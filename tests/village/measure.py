"""What a phone can measure itself: goodput both ways, round-trip times, the bytes on its own cable.

It must not know the gateway's counters: these figures are what those are compared with.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import secrets
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.village.phone import INTERFACE, Phone
from tests.village.webserver import UDP_PORT

WARM_UP_S = 1.0  # slow start and the bucket's burst are no rate
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
MSG_TRUNC = int(socket.MSG_TRUNC)
PACKET_OUTGOING = 4


@dataclass(frozen=True, slots=True)
class Rate:
    """Payload bytes over the seconds after the warm-up."""

    payload_bytes: int
    seconds: float

    @property
    def mbit_s(self) -> float:
        return self.payload_bytes * 8 / self.seconds / 1e6 if self.seconds > 0 else 0.0


def _rate(samples: list[tuple[float, int]], warm_up_s: float = WARM_UP_S) -> Rate:
    """Of (time, bytes that arrived): what came after the first sample past the warm-up, over the time since it."""
    if not samples:
        return Rate(0, 0.0)
    begin = samples[0][0] + warm_up_s
    counted = [(at, size) for at, size in samples if at >= begin]
    if len(counted) < 2:
        return Rate(0, 0.0)
    return Rate(sum(size for _, size in counted[1:]), counted[-1][0] - counted[0][0])


def _rate_of_report(report: dict[str, Any], warm_up_s: float = WARM_UP_S) -> Rate:
    """The same of the server's tenths of a second; the last, which is not full, is left out."""
    width = report["bucket_s"]
    full = report["buckets"][int(warm_up_s / width) : -1]
    return Rate(sum(full), len(full) * width)


def tcp_down(phone: Phone, host: str, seconds: float = 4.0, *, family: int = 4) -> Rate:
    """Goodput of one download."""
    sock = phone.connect(phone.resolve(host, family), 80)
    samples = []
    with sock:
        sock.sendall(f"GET /bytes?seconds={seconds + WARM_UP_S} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        end_s = time.monotonic() + seconds + WARM_UP_S
        with suppress(TimeoutError):  # one of many connections may starve for a while
            while (left := end_s - time.monotonic()) > 0:
                sock.settimeout(left)
                part = sock.recv(65536)
                if not part:
                    break
                samples.append((time.monotonic(), len(part)))
    return _rate(samples)


def tcp_up(phone: Phone, host: str, seconds: float = 4.0, *, family: int = 4) -> Rate:
    """Goodput of one upload, counted where it arrives."""
    sock = phone.connect(phone.resolve(host, family), 80, timeout_s=30)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        sock.sendall(f"POST /sink HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        end_s = time.monotonic() + seconds + WARM_UP_S
        payload = bytes(16384)
        while time.monotonic() < end_s:
            sock.sendall(payload)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while part := sock.recv(65536):
            answer += part
    return _rate_of_report(json.loads(answer.partition(b"\r\n\r\n")[2]))


def udp_down(phone: Phone, host: str, kbit: int, seconds: float = 4.0, *, size: int = 1400, family: int = 4) -> Rate:
    """What arrives of a stream of ``kbit`` (payload) sent to the phone."""
    with phone.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        sock.connect((phone.resolve(host, family), UDP_PORT))
        sock.settimeout(2)
        sock.send(json.dumps({"send_kbit": kbit, "seconds": seconds + WARM_UP_S, "size": size}).encode())
        samples = []
        try:
            while True:
                count = sock.recv_into(bytearray(size))
                samples.append((time.monotonic(), count))
        except TimeoutError:
            pass
    return _rate(samples)


def udp_up(phone: Phone, host: str, kbit: int, seconds: float = 4.0, *, size: int = 1400, family: int = 4) -> Rate:
    """What the far server counts of a stream of ``kbit`` (payload) sent by the phone."""
    token = secrets.token_bytes(8)
    payload = b"D" + token + bytes(size - 9)
    per_s = kbit * 1000 / 8 / size
    with phone.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((phone.resolve(host, family), UDP_PORT))
        sock.settimeout(1)
        start_s = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - start_s) < seconds + WARM_UP_S:
            while sent < elapsed * per_s:
                try:
                    sock.send(payload)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                sent += 1
            time.sleep(0.002)
        for _ in range(5):
            sock.send(b"R" + token)
            try:
                return _rate_of_report(json.loads(sock.recv(65536)))
            except TimeoutError:
                continue
    return Rate(0, 0.0)


def tcp_down_flows(phone: Phone, host: str, flows: int, seconds: float = 4.0) -> Rate:
    """Goodput of several downloads at once, together."""
    with ThreadPoolExecutor(flows) as pool:
        rates = list(pool.map(lambda _: tcp_down(phone, host, seconds), range(flows)))
    return Rate(sum(rate.payload_bytes for rate in rates), max(rate.seconds for rate in rates))


def ping(
    phone: Phone, address: str, *, count: int = 5, interval_s: float = 0.1, timeout_s: float = 2.0
) -> list[float | None]:
    """Round-trip milliseconds of ICMP echoes, None for a lost one.

    The kernel stamps the answers (SO_TIMESTAMPNS), so a busy interpreter does not add to them.
    """
    v6 = ":" in address
    family, proto = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    request, reply = (128, 129) if v6 else (8, 0)
    ident = secrets.randbits(16)
    sent: dict[int, float] = {}
    got: dict[int, float] = {}
    with phone.socket(family, socket.SOCK_RAW, proto) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.connect((address, 0))

        def listen(until_s: float) -> None:
            while (left := until_s - time.monotonic()) > 0 and len(got) < count:
                sock.settimeout(left)
                try:
                    data, ancillary, _, _ = sock.recvmsg(2048, 128)
                except (TimeoutError, ConnectionRefusedError, OSError):
                    continue
                if not v6:
                    data = data[(data[0] & 0xF) * 4 :]
                kind, _, _, got_ident, sequence = struct.unpack_from("!BBHHH", data)
                if kind == reply and got_ident == ident and sequence in sent:
                    seconds, nanoseconds = struct.unpack_from("qq", ancillary[0][2])
                    got.setdefault(sequence, (seconds + nanoseconds / 1e9 - sent[sequence]) * 1000)

        for sequence in range(count):
            packet = struct.pack("!BBHHH", request, 0, 0, ident, sequence) + bytes(48)
            if not v6:  # the kernel fills in the checksum of ICMPv6 only
                packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
            sent[sequence] = time.clock_gettime(time.CLOCK_REALTIME)
            try:
                sock.send(packet)
            except OSError:
                continue
            last = sequence == count - 1
            listen(time.monotonic() + (timeout_s if last else interval_s))
    return [got.get(sequence) for sequence in range(count)]


def checksum(data: bytes) -> int:
    """The Internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


class Tap:
    """Counts the layer 3 bytes on a phone's cable that go to or come from outside its own network, while open.

    A raw packet socket (packet(7)) sees each packet after segmentation; only its length and addresses are read.
    """

    def __init__(self, phone: Phone) -> None:
        assert phone.lease is not None
        self._local = [ipaddress.ip_network(f"{phone.lease.address}/{phone.lease.prefix_length}", strict=False)]
        self._local += [ipaddress.ip_network(net) for net in ("::/128", "fe80::/10", "fc00::/7", "ff00::/8")]
        self._local += [ipaddress.ip_network("224.0.0.0/3"), ipaddress.ip_network("0.0.0.0/8")]
        self._local += [ipaddress.ip_network(f"{address}/64", strict=False) for address in phone.ipv6_addresses()]
        self._outside: dict[bytes, bool] = {}
        self.up_bytes = self.down_bytes = self.dropped = 0
        self._socket = phone.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.bind((INTERFACE, 3))
        self._socket.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def _is_outside(self, address: bytes) -> bool:
        known = self._outside.get(address)
        if known is None:
            ip = ipaddress.ip_address(address)
            known = self._outside[address] = not any(ip in net for net in self._local if net.version == ip.version)
        return known

    def _count(self) -> None:
        head = bytearray(64)
        while True:
            try:
                length, (_, protocol, kind, *_) = self._socket.recvfrom_into(head, len(head), MSG_TRUNC)
            except TimeoutError:
                if self._stop.is_set():
                    return
                continue
            except OSError:  # the interface is gone: the phone was closed with the tap still open
                return
            outgoing = kind == PACKET_OUTGOING
            if protocol == 0x0800:
                peer = bytes(head[16:20] if outgoing else head[12:16])
            elif protocol == 0x86DD:
                peer = bytes(head[24:40] if outgoing else head[8:24])
            else:
                continue
            if self._is_outside(peer):
                if outgoing:
                    self.up_bytes += length
                else:
                    self.down_bytes += length

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        packets, self.dropped = struct.unpack("II", self._socket.getsockopt(263, 6, 8))  # SOL_PACKET, PACKET_STATISTICS
        self._socket.close()
        assert self.dropped == 0, f"the tap itself missed {self.dropped} of {packets} packets"
