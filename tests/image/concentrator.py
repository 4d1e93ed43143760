"""A provider's access concentrator: PPPoE (RFC 2516) with PAP and IPCP, in a VLAN if asked, as far as pppd needs it.

It must not know who dials. This machine's kernel need not know PPP: frames are read and written by a packet socket, and
what is inside goes through a tun in the same namespace. There is one session; who dials again ends it.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from tests.image.tun import IFF_TUN, open_device
from tests.village import links
from tests.village.netns import Namespace

ETH_P_ALL, ETH_P_8021Q, DISCOVERY, SESSION = 0x0003, 0x8100, 0x8863, 0x8864
PADI, PADO, PADR, PADS, PADT = 0x09, 0x07, 0x19, 0x65, 0xA7
HOST_UNIQ, AC_NAME, AC_COOKIE, SERVICE_NAME = 0x0103, 0x0102, 0x0104, 0x0101
IPV4, LCP, PAP, IPCP = 0x0021, 0xC021, 0xC023, 0x8021  # PPP's protocols (RFC 1661 and the IANA's list)
REQUEST, ACK, NAK, REJECT, TERMINATE, TERMINATED, PROTOCOL_REJECT, ECHO, ECHOED = 1, 2, 3, 4, 5, 6, 8, 9, 10
MRU, AUTH, MAGIC = 1, 3, 5  # LCP's options
ADDRESS, DNS1, DNS2 = 3, 129, 131  # IPCP's (RFC 1332, RFC 1877)
SOL_PACKET, PACKET_AUXDATA = 263, 8
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata of include/uapi/linux/if_packet.h
_STATUS_VLAN = 1 << 4
TUN = "isp0"


@dataclass(frozen=True, slots=True)
class Line:
    """What the provider knows of a customer, and what it gives: addresses and a resolver."""

    user: str
    password: str
    here: str
    there: str
    dns: str
    vlan: int | None = None


class Concentrator:
    """Serves ``line`` on ``interface`` of ``ns`` until it is closed. ``logins`` counts those who came in, ``refused``
    those whose password was another."""

    def __init__(self, ns: Namespace, interface: str, line: Line) -> None:
        self.logins = self.refused = 0
        self._line = line
        self._socket = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._mac = self._socket.getsockname()[4]
        self._tun = open_device(ns, TUN, IFF_TUN)
        links.up(ns, TUN)
        ns.run(["ip", "address", "add", line.here, "peer", f"{line.there}/32", "dev", TUN])
        self._peer: bytes | None = None
        self._number = 0
        self._open: set[int] = set()  # protocols whose both sides agree
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="concentrator", daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        """As a provider does at night: the session ends, without a word at PPP's level."""
        if self._peer is not None:
            self._frame(DISCOVERY, struct.pack("!BBHH", 0x11, PADT, self._number, 0))
            self._peer = None

    def close(self) -> None:
        os.write(self._stopped, b"x")
        self._thread.join(timeout=5)
        for descriptor in (self._stop, self._stopped, self._tun):
            os.close(descriptor)
        self._socket.close()

    # --- frames -----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket, self._tun, self._stop], [], [])
            if self._stop in ready:
                return
            if self._socket in ready:
                self._heard()
            if self._tun in ready:
                packet = os.read(self._tun, 2048)
                if self._peer is not None and IPCP in self._open and packet[0] >> 4 == 4:
                    self._ppp(IPV4, packet)

    def _heard(self) -> None:
        frame, more, _flags, _address = self._socket.recvmsg(2048, 256)
        vlan = None
        for level, kind, data in more:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tag, _ = _AUXDATA.unpack(data[: _AUXDATA.size])
                vlan = tag & 0xFFF if status & _STATUS_VLAN else None
        source, (kind,), rest = frame[6:12], struct.unpack_from("!H", frame, 12), frame[14:]
        if vlan != self._line.vlan or source == self._mac or len(rest) < 6:
            return
        _, code, number, size = struct.unpack_from("!BBHH", rest)
        if kind == DISCOVERY:
            self._discover(source, code, rest[6 : 6 + size])
        elif kind == SESSION and source == self._peer and number == self._number:
            (protocol,) = struct.unpack_from("!H", rest, 6)
            self._hear(protocol, rest[8 : 6 + size])

    def _frame(self, kind: int, content: bytes, to: bytes | None = None) -> None:
        destination = to or self._peer
        assert destination is not None
        tag = b"" if self._line.vlan is None else struct.pack("!HH", ETH_P_8021Q, self._line.vlan)
        self._socket.send(destination + self._mac + tag + struct.pack("!H", kind) + content)

    def _discover(self, source: bytes, code: int, tags: bytes) -> None:
        said = dict(_tags(tags))
        kept = [(name, said[name]) for name in (SERVICE_NAME, HOST_UNIQ) if name in said]
        if code == PADI:
            self._answer(source, PADO, 0, [*kept, (AC_NAME, b"test"), (AC_COOKIE, b"cookie")])
        elif code == PADR and said.get(AC_COOKIE) == b"cookie":
            self._peer, self._number, self._open = source, self._number + 1, set()
            self._answer(source, PADS, self._number, kept)
        elif code == PADT and source == self._peer:
            self._peer = None

    def _answer(self, to: bytes, code: int, number: int, tags: list[tuple[int, bytes]]) -> None:
        content = b"".join(struct.pack("!HH", name, len(value)) + value for name, value in tags)
        self._frame(DISCOVERY, struct.pack("!BBHH", 0x11, code, number, len(content)) + content, to)

    # --- PPP --------------------------------------------------------------------------------------------------------

    def _ppp(self, protocol: int, content: bytes) -> None:
        size = len(content) + 2
        self._frame(SESSION, struct.pack("!BBHHH", 0x11, 0, self._number, size, protocol) + content)

    def _say(self, protocol: int, code: int, number: int, data: bytes) -> None:
        self._ppp(protocol, struct.pack("!BBH", code, number, len(data) + 4) + data)

    def _hear(self, protocol: int, content: bytes) -> None:
        if protocol == IPV4:
            if IPCP in self._open:
                os.write(self._tun, content)
            return
        code, number, size = struct.unpack_from("!BBH", content)
        data = content[4:size]
        if protocol == LCP:
            self._lcp(code, number, data)
        elif protocol == PAP and code == REQUEST:
            self._pap(number, data)
        elif protocol == IPCP:
            self._ipcp(code, number, data)
        else:
            self._say(LCP, PROTOCOL_REJECT, number, struct.pack("!H", protocol) + content)

    def _lcp(self, code: int, number: int, data: bytes) -> None:
        if code == REQUEST:
            strange = [option for option in _options(data) if option[0] not in (MRU, MAGIC)]
            self._say(LCP, REJECT if strange else ACK, number, _packed(strange) if strange else data)
            if LCP not in self._open:  # what was said before pppd listened was lost
                self._say(LCP, REQUEST, 1, struct.pack("!BBHBBH", MRU, 4, 1492, AUTH, 4, PAP))
        elif code == ACK:
            self._open.add(LCP)
        elif code == ECHO:
            self._say(LCP, ECHOED, number, bytes(4) + data[4:])
        elif code == TERMINATE:
            self._say(LCP, TERMINATED, number, b"")
            self._peer = None

    def _pap(self, number: int, data: bytes) -> None:
        user, rest = data[1 : 1 + data[0]], data[1 + data[0] :]
        password = rest[1 : 1 + rest[0]]
        if (user.decode(), password.decode()) != (self._line.user, self._line.password):
            self.refused += 1
            self._say(PAP, NAK, number, b"\x05wrong")
            return
        self.logins += 1
        self._say(PAP, ACK, number, b"\0")
        self._say(IPCP, REQUEST, 1, _packed([(ADDRESS, _address(self._line.here))]))

    def _ipcp(self, code: int, number: int, data: bytes) -> None:
        if code != REQUEST:
            return
        given = {ADDRESS: _address(self._line.there), DNS1: _address(self._line.dns), DNS2: _address(self._line.dns)}
        asked = list(_options(data))
        strange = [option for option in asked if option[0] not in given]
        other = [(name, given[name]) for name, value in asked if name in given and value != given[name]]
        if strange:
            self._say(IPCP, REJECT, number, _packed(strange))
        elif other:
            self._say(IPCP, NAK, number, _packed(other))
        else:
            self._say(IPCP, ACK, number, data)
            self._open.add(IPCP)


def _address(text: str) -> bytes:
    return ipaddress.IPv4Address(text).packed


def _tags(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        name, size = struct.unpack_from("!HH", data)
        yield name, data[4 : 4 + size]
        data = data[4 + size :]


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 2:
        yield data[0], data[2 : data[1]]
        data = data[max(2, data[1]) :]


def _packed(options: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes((name, len(value) + 2)) + value for name, value in options)
