"""Prefix delegation (RFC 8415): the provider's end, just enough of a server, and the box's end, Debian's dhcpcd.

It must not know netctl.

``Provider`` answers as an access router does that delegates: it routes the prefix to the link-local address that asked
for it. It knows one customer. ``Client`` is what a technician runs beside the gateway, as docs/operations.md tells.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import selectors
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.village import links
from tests.village.box import require_tools, signal_process
from tests.village.gateway import LAN, WAN, GerbangGateway
from tests.village.internet import HOST, REPOSITORY, UPLINK, Internet
from tests.village.netns import Namespace
from tests.village.phone import IFA_F_DADFAILED, IFA_F_TENTATIVE, INTERFACE, Phone

PREFIX: Final = ipaddress.IPv6Network("2001:db8:a700::/56")
CONFIG, LOG = Path("/run/dhcpcd.conf"), Path("/run/dhcpcd.log")

_SERVER_PORT = 547
_ALL_SERVERS = "ff02::1:2"
_SOLICIT, _ADVERTISE, _REQUEST, _RENEW, _REBIND, _REPLY, _RELEASE = 1, 2, 3, 5, 6, 7, 8
_CLIENT_ID, _SERVER_ID, _STATUS, _IA_PD, _IA_PREFIX = 1, 2, 13, 25, 26
_NO_PREFIX = 6  # status NoPrefixAvail
_DUID = b"\0\3\0\1\2\0\0village"[:10]  # DUID-LL, any octets

_IA = struct.Struct("!3I")  # IAID, T1, T2
_PREFIX = struct.Struct("!2IB16s")  # preferred, valid, length, prefix


def options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(code, value) of each option."""
    while data:
        code, length = struct.unpack_from("!2H", data)
        yield code, data[4 : 4 + length]
        data = data[4 + length :]


def option(code: int, value: bytes) -> bytes:
    return struct.pack("!2H", code, len(value)) + value


class Provider:
    """Delegates ``prefix`` to whoever asks on the uplink's cable; None: it has none to give.

    ``prefix`` may be changed at any time: the next Renew is answered with the new one, and with 0 s for the old.
    Times are seconds; ``renew_s`` is T1. ``released`` is set by a Release.
    """

    def __init__(
        self,
        internet: Internet,
        prefix: ipaddress.IPv6Network | None = PREFIX,
        *,
        renew_s: int = 2,
        valid_s: int = 3600,
    ) -> None:
        self.prefix = prefix
        self.renew_s, self.valid_s = renew_s, valid_s
        self.released = threading.Event()
        self._ns = internet.ns
        self._routed: str | None = None
        self._index = links.rtnl(self._ns, lambda ip: links.index(ip, UPLINK))
        self._socket = self._ns.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.bind(("::", _SERVER_PORT, 0, self._index))
        group = socket.inet_pton(socket.AF_INET6, _ALL_SERVERS) + struct.pack("@i", self._index)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        self._wake, self._closed = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="delegation", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while all(key.fileobj is self._socket for key, _ in selector.select()):
                data, peer = self._socket.recvfrom(4096)
                with contextlib.suppress(struct.error):  # malformed: no answer, as RFC 8415 section 16 has it
                    self._socket.sendto(self._answer(data, peer[0].partition("%")[0]), peer)

    def _answer(self, data: bytes, client: str) -> bytes:
        kind, transaction = data[0], data[1:4]
        given = dict(options(data[4:]))
        reply = bytes([_ADVERTISE if kind == _SOLICIT else _REPLY]) + transaction
        reply += option(_CLIENT_ID, given[_CLIENT_ID]) + option(_SERVER_ID, _DUID)
        if kind == _RELEASE:
            self._route(None, client)
            self.released.set()
            return reply + option(_STATUS, struct.pack("!H", 0))
        for code, value in options(data[4:]):
            if code == _IA_PD and kind in (_SOLICIT, _REQUEST, _RENEW, _REBIND):
                reply += option(_IA_PD, self._binding(value))
                if kind != _SOLICIT:
                    self._route(self.prefix, client)
        return reply

    def _binding(self, asked: bytes) -> bytes:
        """The value of IA_PD: what is given now, and 0 s for what the client has and was given before."""
        had = {(v[8], v[9:25]) for code, v in options(asked[_IA.size :]) if code == _IA_PREFIX}
        value = _IA.pack(int.from_bytes(asked[:4], "big"), self.renew_s, 2 * self.renew_s)
        if self.prefix is not None:
            now = self.prefix.prefixlen, self.prefix.network_address.packed
            value += option(_IA_PREFIX, _PREFIX.pack(self.valid_s, self.valid_s, *now))
            had.discard(now)
        elif not had:
            value += option(_STATUS, struct.pack("!H", _NO_PREFIX))
        # A hint ("any /60") is no prefix that was given.
        return value + b"".join(option(_IA_PREFIX, _PREFIX.pack(0, 0, *old)) for old in sorted(had) if any(old[1]))

    def _route(self, prefix: ipaddress.IPv6Network | None, client: str) -> None:
        wanted = None if prefix is None else str(prefix)
        if wanted == self._routed:
            return

        def job(ip: Any) -> None:
            if self._routed is not None:
                ip.route("del", dst=self._routed)
            if wanted is not None:
                ip.route("add", dst=wanted, gateway=client, oif=self._index)

        links.rtnl(self._ns, job)
        self._routed = wanted

    def close(self) -> None:
        os.close(self._closed)
        self._thread.join()
        os.close(self._wake)
        self._socket.close()
        if self._routed is not None:
            self._route(None, "")

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- what phones have of it -----------------------------------------------------------------------------------------

IFA_F_DEPRECATED: Final = 0x20
# Duplicate address detection on both ends, and dnsmasq's advertisement at a random moment within 5 s (its radv.c).
REACHES_PHONES_WITHIN_S: Final = 15


def preferred(ns: Namespace, interface: str, prefix: ipaddress.IPv6Network) -> list[str]:
    """Addresses within ``prefix`` that are ready and that new connections may use."""
    unusable = IFA_F_DEPRECATED | IFA_F_TENTATIVE | IFA_F_DADFAILED
    return [
        address
        for address, _, flags in links.addresses(ns, interface, 6)
        if ipaddress.IPv6Address(address) in prefix and not flags & unusable
    ]


def wait_prefix(phone: Phone, prefix: ipaddress.IPv6Network) -> list[str]:
    """The phone's own addresses in ``prefix``, once it has one."""
    end_s = time.monotonic() + REACHES_PHONES_WITHIN_S
    while not (found := preferred(phone.ns, INTERFACE, prefix)):
        assert time.monotonic() < end_s, f"no addresses in {prefix}: {links.addresses(phone.ns, INTERFACE, 6)}"
        time.sleep(0.05)
    return found


def wait_no_prefix(phone: Phone, prefix: ipaddress.IPv6Network) -> None:
    end_s = time.monotonic() + REACHES_PHONES_WITHIN_S
    while left := preferred(phone.ns, INTERFACE, prefix):
        assert time.monotonic() < end_s, f"still used for new connections: {left}"
        time.sleep(0.05)


def seen_by_server(phone: Phone) -> str:
    """The source address that the Internet sees of a connection whose source the phone itself chose."""
    answer = phone.http(f"http://{HOST}/peer", family=6, timeout_s=3)
    assert answer.status == 200
    return str(json.loads(answer.body)["address"])


# --- the box's end --------------------------------------------------------------------------------------------------


def documented_config() -> str:
    """The dhcpcd.conf that docs/operations.md gives to technicians: what is tested is what is told."""
    text = (REPOSITORY / "docs/operations.md").read_text()
    found = re.search(r"```\n(# /etc/gerbang/dhcpcd\.conf\n.*?)```", text, re.DOTALL)
    if found is None:
        raise LookupError("docs/operations.md has no block that begins with '# /etc/gerbang/dhcpcd.conf'")
    return found[1]


class Client:
    """dhcpcd in the gateway's box, in the foreground, for the prefix alone. It dies with the box.

    ``close`` ends it as a stopped service ends: it gives the prefix back and takes its address off the LAN.
    """

    def __init__(self, gateway: GerbangGateway) -> None:
        require_tools("dhcpcd")
        self._box = gateway.box
        self._box.write(CONFIG, documented_config())
        # Its lease file stays in the box. No udev tells it there that interfaces are ready.
        dhcpcd = f"dhcpcd --nodev --nobackground --config {CONFIG} {WAN} {LAN} 2>{LOG}"
        start = f"mount -t tmpfs tmpfs /var/lib/dhcpcd && exec {dhcpcd}"
        self._child: subprocess.Popen[Any] | None = self._box.popen(["sh", "-ec", start])

    def log(self) -> str:
        return self._box.read(LOG)

    def close(self, timeout_s: float = 10) -> None:
        if self._child is None:
            return
        for process in self._box.processes():
            if process.command[0].startswith("dhcpcd: [manager]"):  # how its main process calls itself
                signal_process(process, signal.SIGTERM)
        self._child.wait(timeout=timeout_s)
        end_s = time.monotonic() + timeout_s
        # Its helpers end after it, and hold the DHCPv6 port until then: the next client could not hear an answer.
        while any("dhcpcd" in process.command[0] for process in self._box.processes()):
            if time.monotonic() > end_s:
                raise TimeoutError(f"dhcpcd's helpers do not end: {self._box.processes()}")
            time.sleep(0.02)
        self._box.ns.reap(self._child)
        self._child = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
