"""Neighbours on the same Wi-Fi who use a logged-in user's address or MAC get nothing of their own.

An open Wi-Fi cannot tell a perfect clone (same MAC, same IP) from its owner; what it can do is never to give one login
two lines, and to send every packet only where its owner is.
"""

from __future__ import annotations

import json
import socket
import struct
import time

import pytest

from tests.e2e.conftest import NewPhone
from tests.village import links, measure
from tests.village.gateway import LAN_ADDRESS, GerbangGateway
from tests.village.internet import WEB
from tests.village.phone import Phone
from tests.village.village import Village
from tests.village.webserver import UDP_PORT

ROUTER = LAN_ADDRESS.partition("/")[0]


def _udp_packet(source: str, destination: str, payload: bytes) -> bytes:
    """IPv4 and UDP headers (RFC 791, 768) without UDP checksum, which IPv4 allows."""
    total = 28 + len(payload)
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBBH", 0x45, 0, total, 1, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    head = head[:10] + struct.pack("!H", measure.checksum(head)) + head[12:]
    return head + struct.pack("!4H", 40000, UDP_PORT, 8 + len(payload), 0) + payload


def _arp_claim(phone: Phone, address: str) -> None:
    """A gratuitous ARP reply (RFC 826): "that address is at my MAC", to everybody."""
    mac = bytes.fromhex(phone.mac.replace(":", ""))
    ip = socket.inet_aton(address)
    packet = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + ip + b"\xff" * 6 + ip
    phone.send_frame(packet, destination="ff:ff:ff:ff:ff:ff", protocol=0x0806)


def _arrived(phone: Phone, token: bytes) -> int:
    """How many bytes with that token the far server has counted; asked by an honest phone."""
    with phone.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((WEB, UDP_PORT))
        sock.send(b"R" + token)
        return int(json.loads(sock.recv(65536))["bytes"])


def test_frames_with_a_users_ip_and_another_mac_neither_pass_nor_count(
    gateway: GerbangGateway, new_phone: NewPhone
) -> None:
    user, thief = new_phone(), new_phone()
    user.login()
    router_mac = user.neighbour_mac(ROUTER)
    assert router_mac is not None
    before = gateway.usage(user.mac)
    for _ in range(50):
        thief.send_frame(_udp_packet(user.address, WEB, b"D" + b"THIEVERY" + bytes(500)), destination=router_mac)
    time.sleep(0.3)
    assert gateway.usage(user.mac) == before
    # The same packets with the right MAC do pass: the test can tell the difference.
    user.send_frame(_udp_packet(user.address, WEB, b"D" + b"HONESTLY" + bytes(500)), destination=router_mac)
    time.sleep(0.2)
    assert _arrived(user, b"THIEVERY") == 0
    assert _arrived(user, b"HONESTLY") == 509


def test_a_second_client_on_a_users_ip_gets_nothing_and_takes_nothing(
    village: Village, gateway: GerbangGateway, new_phone: NewPhone
) -> None:
    user, thief = new_phone(), new_phone()
    user.login()
    assert user.is_online()
    thief.set_ipv4(user.address, 20, ROUTER)
    for _ in range(5):
        _arp_claim(thief, user.address)
        assert user.http(f"http://{village.internet.host}/bytes?n=1000", timeout_s=2).status == 200
    with pytest.raises(OSError):
        thief.connect(WEB, 80, timeout_s=1)
    with pytest.raises(OSError):  # the portal's answers go to the owner of the address, so no page of his is read
        thief.http(f"{gateway.url}status", timeout_s=1)
    lost = [rtt for rtt in measure.ping(user, WEB, count=10, interval_s=0.05) if rtt is None]
    assert len(lost) <= 1


def test_a_users_mac_with_another_ip_never_makes_two_lines_of_one_login(
    village: Village, gateway: GerbangGateway, new_phone: NewPhone
) -> None:
    """The thief takes the MAC and keeps his own address. Whatever the gate then gives, it is still one session with one
    IPv4 address: what one gains the other loses, and all bytes count to that session."""
    user, thief = new_phone(), new_phone()
    user.login()
    thief.set_mac(user.mac)
    thief.is_online(timeout_s=2)
    time.sleep(0.3)
    (row,) = gateway.sql("SELECT id, ipv4 FROM session WHERE mac = ? AND ended_wall_s IS NULL", user.mac)
    assert row["ipv4"] in (user.address, thief.address)
    admitted = [line.split()[1] for line in gateway.netctl().dump() if f" grant {row['id']}" in line]
    assert [ip for ip in admitted if "." in ip] == [row["ipv4"]]
    loser = thief if row["ipv4"] == user.address else user
    with pytest.raises(OSError):
        loser.connect(WEB, 443, timeout_s=1)


def test_a_stranger_does_not_get_in_by_claiming_the_routers_or_a_users_address_in_arp(
    village: Village, new_phone: NewPhone
) -> None:
    user, stranger = new_phone(), new_phone()
    user.login()
    for _ in range(3):
        _arp_claim(stranger, user.address)
    assert not stranger.is_online()
    assert user.is_online()


def test_another_devices_ipv6_address_is_no_way_in(
    gateway: GerbangGateway, village: Village, new_phone: NewPhone
) -> None:
    """No answer reaches a thief; where the kernel can key IPv6 by address and MAC, not even his packets pass."""
    user, thief = new_phone(), new_phone()
    user.wait_ipv6()
    thief.wait_ipv6()
    user.login()
    assert user.wait_online(family=6) < 1
    (stolen, *_) = user.ipv6_addresses(temporary=True)
    links.add_address(thief.ns, "wlan0", f"{stolen}/64", nodad=True)
    with pytest.raises(OSError):
        thief.connect("2001:db8:5::80", 80, timeout_s=1, source=stolen)
    assert user.http(f"http://{village.internet.host}/peer", family=6, source=stolen).status == 200
    features = {feature.name: feature.present for feature in gateway.netctl().status().features}
    if not features["ipset hash:ip,mac"]:
        pytest.skip("this kernel lacks hash:ip,mac: IPv6 packets are admitted by address alone")
    before = gateway.usage(user.mac, stolen)
    with thief.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind((stolen, 0))
        for _ in range(20):
            sock.sendto(b"D" + b"SIXTHIEF" + bytes(100), ("2001:db8:5::80", UDP_PORT))
    time.sleep(0.3)
    assert gateway.usage(user.mac, stolen) == before
