"""A device that writes somebody else's address on its packets makes the gateway send nothing to that somebody.

Else an unknown device could talk to the Internet through the answers: a refusal quotes what was refused, a DNS answer
is larger than its question, and both would leave by the uplink under the gateway's own name.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time

import pytest

from tests.village import dns, links
from tests.village.gateway import LAN, LAN_ADDRESS, GerbangGateway
from tests.village.internet import HOST, UPLINK
from tests.village.phone import INTERFACE, Phone
from tests.village.village import Village

TOKEN = b"carried out before login"
FAR = {4: "198.18.5.99", 6: "2001:db8:5::99"}
VICTIM = {4: "198.18.5.98", 6: "2001:db8:5::98"}  # nobody: what is sent there can only be an answer


def packet(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    """An IP packet (RFC 791, 8200) around a UDP or TCP ``body`` whose checksum field, still 0, is filled in."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    pseudo = ends + struct.pack("!2I", len(body), protocol)
    at = 6 if protocol == socket.IPPROTO_UDP else 16
    body = body[:at] + struct.pack("!H", _checksum(pseudo + body)) + body[at + 2 :]
    if len(ends) == 32:
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + ends + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0) + ends
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + body


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def udp(port: int, payload: bytes) -> bytes:
    return struct.pack("!4H", 40000, port, 8 + len(payload), 0) + payload


def tcp(port: int, flags: int) -> bytes:
    return struct.pack("!2H2I4H", 40000, port, 1, 1, 0x5000 | flags, 1000, 0, 0)


def packets(family: int, source: str, gateway: str) -> dict[str, bytes]:
    """What makes a gateway answer: refusals of each kind, the resolver, the portal."""
    far = FAR[family]
    return {
        "UDP to the Internet": packet(source, far, socket.IPPROTO_UDP, udp(443, TOKEN)),
        "SYN to the Internet": packet(source, far, socket.IPPROTO_TCP, tcp(443, 0x02)),
        "ACK to the Internet": packet(source, far, socket.IPPROTO_TCP, tcp(443, 0x10)),
        "SYN to port 80": packet(source, far, socket.IPPROTO_TCP, tcp(80, 0x02)),
        "question to the resolver": packet(source, gateway, socket.IPPROTO_UDP, udp(53, dns.query(HOST, dns.A, 7))),
        "SYN to the portal": packet(source, gateway, socket.IPPROTO_TCP, tcp(80, 0x02)),
        "UDP to the gateway": packet(source, gateway, socket.IPPROTO_UDP, udp(9999, TOKEN)),
    }


class Watch:
    """Packets that arrive for one address on an interface."""

    def __init__(self, sock: socket.socket, interface: str, address: str) -> None:
        self._socket, self._address = sock, ipaddress.ip_address(address).packed
        self._socket.bind((interface, 3))
        self._socket.settimeout(0.05)

    def arrived(self, wait_s: float) -> list[bytes]:
        found, end_s = [], time.monotonic() + wait_s
        while time.monotonic() < end_s:
            try:
                data, (_, _, kind, *_) = self._socket.recvfrom(2000)
            except TimeoutError:
                continue
            place = slice(24, 40) if len(self._address) == 16 else slice(16, 20)
            if kind != 4 and data[place] == self._address:  # 4: PACKET_OUTGOING
                found.append(data)
        return found


@pytest.mark.parametrize("logged_in", [False, True], ids=["unknown", "logged in"])
@pytest.mark.parametrize("family", [4, 6])
def test_nothing_leaves_for_an_address_that_a_device_made_up(
    village: Village, gateway: GerbangGateway, phone: Phone, family: int, logged_in: bool
) -> None:
    phone.wait_ipv6()
    if logged_in:
        phone.login()
        phone.wait_online(family=family)
    router = LAN_ADDRESS.partition("/")[0]
    if family == 6:
        router = next(a for a, *_ in links.addresses(gateway.ns, LAN, 6) if a.startswith("fd"))
    phone.connect(router, 80).close()
    mac = phone.neighbour_mac(router)
    assert mac is not None
    protocol = 0x0800 if family == 4 else 0x86DD
    with (
        village.internet.ns.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as far,
        phone.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as near,
    ):
        outside = Watch(far, UPLINK, VICTIM[family])
        for what, forged in packets(family, VICTIM[family], router).items():
            phone.send_frame(forged, destination=mac, protocol=protocol)
            arrived = outside.arrived(0.3)
            assert not arrived, f"{what}: {arrived[0].hex()}"
        if not logged_in:  # the same packets under the device's own address are answered: they were well made
            own = phone.address if family == 4 else phone.ipv6_addresses(temporary=False)[0]
            inside = Watch(near, INTERFACE, own)
            for what, honest in packets(family, own, router).items():
                phone.send_frame(honest, destination=mac, protocol=protocol)
                assert inside.arrived(0.3), f"{what}: no answer"


def test_another_network_on_the_lan_is_no_forgery(gateway: GerbangGateway, phone: Phone) -> None:
    """A technician who gives the gateway a second address reaches the access point's own page from there."""
    links.add_address(gateway.ns, LAN, "192.168.77.2/24")
    links.add_address(phone.ns, INTERFACE, "192.168.77.20/24")
    try:
        ping = gateway.box.run(["busybox", "ping", "-c", "1", "-W", "2", "192.168.77.20"])
        assert ping.returncode == 0, ping.stdout
    finally:
        gateway.ns.run(["ip", "address", "del", "192.168.77.2/24", "dev", LAN])
