"""Asks the network single questions without privileges: echoes, one DNS query, one page, the way out.

It must not know what the answers mean: portal.uplink and portal.follow ask, portal.domain decides.

Echoes go through ICMP datagram sockets (icmp(7)), which net.ipv4.ping_group_range opens to the portal's group; netctl
sets that. The kernel fills in checksum and identifier, and hands over the answers to this socket's echoes alone.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import secrets
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONNECT_S: Final = 3.0
MAX_HEAD_BYTES: Final = 4096
A, AAAA = 1, 28
NOERROR, NXDOMAIN = 0, 3
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")
_HEADER: Final = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence (RFC 792)
_ECHO, _ECHO_REPLY = 8, 0
_RTF_UP: Final = 0x1


def boot_s() -> float:
    """CLOCK_BOOTTIME now."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Pinger:
    """IPv4 echoes to any number of hosts over one socket. OSError where this process may not ping."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        self._socket.setblocking(False)

    def send(self, address: str, sequence: int) -> bool:
        """One echo with a 16-bit ``sequence``; False where there is no way out for it."""
        try:
            self._socket.sendto(_HEADER.pack(_ECHO, 0, 0, 0, sequence & 0xFFFF) + bytes(8), (address, 0))
        except OSError:
            return False
        return True

    def answers(self, timeout_s: float) -> Iterator[tuple[str, int, float]]:
        """(address, sequence, when on CLOCK_BOOTTIME) of the answers that are there, or that come first within it."""
        select.select([self._socket], [], [], max(0.0, timeout_s))
        while True:
            try:
                data, (address, _) = self._socket.recvfrom(1500)
            except OSError:  # BlockingIOError: no more; others are of an echo that went nowhere
                return
            if len(data) >= _HEADER.size and data[0] == _ECHO_REPLY:
                yield address, _HEADER.unpack_from(data)[4], boot_s()

    def close(self) -> None:
        self._socket.close()


def ping(pinger: Pinger, address: str, count: int, every_s: float, wait_s: float) -> list[float]:
    """Round trips in ms of those of ``count`` echoes that were answered, up to ``wait_s`` after the last."""
    sent: dict[int, float] = {}
    found: list[float] = []
    first = secrets.randbits(15)
    for number in range(count):
        sent[first + number] = boot_s()
        pinger.send(address, first + number)
        end_s = sent[first + number] + (wait_s if number == count - 1 else every_s)
        while len(found) < number + 1 and (left_s := end_s - boot_s()) > 0:
            for host, sequence, at_s in pinger.answers(left_s):
                if host == address and sequence in sent:
                    found.append((at_s - sent.pop(sequence)) * 1000)
        if number < count - 1:
            time.sleep(max(0.0, end_s - boot_s()))
    return found


# --- names ----------------------------------------------------------------------------------------------------------


def resolvers(resolv_conf: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The system's name servers (resolv.conf(5)), none where there is no such file."""
    try:
        lines = resolv_conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]


def resolve(name: str, kind: int, server: str, timeout_s: float) -> list[str] | None:
    """Addresses that ``server`` gives for ``name`` (asked once over UDP); None where it does not answer or cannot.

    That there is no such name is an answer. Past any cache of this machine: that would answer in an outage, too.
    """
    ident = secrets.randbits(16)
    labels = [label for label in name.encode("ascii", "replace").split(b".") if label]
    if any(len(label) > 63 for label in labels):
        return None
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    packet = struct.pack("!6H", ident, 0x0100, 1, 0, 0, 0) + question + struct.pack("!2H", kind, 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    end_s = boot_s() + timeout_s
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((server, 53))
        sock.send(packet)
        while (left_s := end_s - boot_s()) > 0:
            sock.settimeout(left_s)
            data = sock.recv(4096)
            with contextlib.suppress(struct.error, IndexError, ValueError):
                got, flags = struct.unpack_from("!2H", data)
                if got == ident and flags & 0x8000:
                    return _addresses(data, kind) if flags & 0xF in (NOERROR, NXDOMAIN) else None
    return None


def _addresses(data: bytes, kind: int) -> list[str]:
    """Addresses of ``kind`` in an answer (RFC 1035 4.1)."""
    _, _, questions, answers = struct.unpack_from("!4H", data)
    at = 12
    for _ in range(questions):
        at = _after_name(data, at) + 4
    found = []
    for _ in range(answers):
        at = _after_name(data, at)
        record, _, _, length = struct.unpack_from("!2HIH", data, at)
        at += 10
        if record == kind:
            found.append(str(ipaddress.ip_address(data[at : at + length])))
        at += length
    return found


def _after_name(data: bytes, at: int) -> int:
    while (length := data[at]) != 0:
        if length & 0xC0:  # a pointer ends the name
            return at + 2
        at += 1 + length
    return at + 1


# --- the Web --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetched:
    """``status`` None: the connection failed or said something else than HTTP. ``connect_ms`` None: it failed."""

    status: int | None
    connect_ms: float | None


def fetch(address: str, port: int, host: str, path: str) -> Fetched:
    """GET ``path`` of ``host`` over plain http, and read no more than its status."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: gerbang\r\nConnection: close\r\n\r\n"
    head, connect_ms, begun_s = b"", None, boot_s()
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=CONNECT_S) as connection:
        connect_ms = (boot_s() - begun_s) * 1000
        connection.sendall(request.encode("ascii", "replace"))
        while b"\n" not in head and len(head) < MAX_HEAD_BYTES:
            chunk = connection.recv(MAX_HEAD_BYTES)
            if not chunk:
                break
            head += chunk
    status = _STATUS_LINE.match(head)
    return Fetched(None if status is None else int(status[1]), connect_ms)


# --- the way out ----------------------------------------------------------------------------------------------------


def next_hop(interface: str, routes: str | None = None) -> str | None:
    """The router of the default route through ``interface``; None without one, "" where the line needs none (PPP).

    ``routes`` is what stands in /proc/net/route (fib_route_seq_show in net/ipv4/fib_trie.c).
    """
    text = Path("/proc/net/route").read_text(encoding="ascii") if routes is None else routes
    found = []
    for line in text.splitlines()[1:]:
        name, destination, gateway, flags, _, _, metric, mask, *_ = line.split()
        if name == interface and int(flags, 16) & _RTF_UP and destination == mask == "00000000":
            found.append((int(metric), int(gateway, 16)))
    if not found:
        return None
    gateway_bits = min(found)[1]
    return str(ipaddress.IPv4Address(gateway_bits.to_bytes(4, "little"))) if gateway_bits else ""


def has_carrier(interface: str, sysfs: Path = Path("/sys/class/net")) -> bool:
    """Is the cable in? What cannot be read is taken for yes."""
    try:
        return (sysfs / interface / "carrier").read_text().strip() != "0"
    except OSError:  # EINVAL: the interface is down, as nobody but its owner made it
        return (sysfs / interface).exists()


def answers_arp(address: str, table: str | None = None) -> bool:
    """False where the neighbour was asked for and did not answer: such an entry of /proc/net/arp is incomplete."""
    text = Path("/proc/net/arp").read_text(encoding="ascii") if table is None else table
    for line in text.splitlines()[1:]:
        columns = line.split()
        if columns[0] == address:
            return int(columns[2], 16) != 0
    return True
