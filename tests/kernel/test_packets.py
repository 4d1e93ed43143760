"""What a phone meets: real packets through the rules, before, during and after admission."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netctl.kernel import probe
from netctl.ops import ClassRates, DelMember, DelNeighbour, Direction, SetClass, SetMember
from tests.kernel.scene import (
    GATEWAY4,
    GATEWAY6,
    INTERNET4,
    INTERNET6,
    LAN6,
    UPLINK4,
    UPLINK6,
    Phone,
    Scene,
    admit,
    listen,
    need,
)
from tests.village import links
from tests.village.netns import Namespace

FAMILIES = pytest.mark.parametrize("family", [4, 6])
AT_ONCE_S = 0.5


def internet(family: int) -> str:
    return INTERNET4 if family == 4 else INTERNET6


def gateway_address(family: int) -> str:
    return GATEWAY4 if family == 4 else GATEWAY6


class Server:
    """Accepts on one port of a namespace and greets with the address that it sees."""

    def __init__(self, namespace: Namespace, address: str, port: int, name: str) -> None:
        self._name = name
        self._listener = listen(namespace, address, port)
        self._listener.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                sock, peer = self._listener.accept()
            except TimeoutError:
                continue
            with sock:
                sock.sendall(f"{self._name} {peer[0]}".encode())

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def servers(gateway: Scene) -> Iterator[Scene]:
    """Ports 80 and 443 of the Internet, and the portal's ports on the gateway."""
    running = [Server(gateway.internet, internet(family), port, "internet") for family in (4, 6) for port in (80, 443)]
    running += [Server(gateway.gateway, "::", port, name) for port, name in ((8080, "portal"), (8443, "tls-portal"))]
    yield gateway
    for server in running:
        server.close()


def greeting(phone: Phone, address: str, port: int) -> str:
    with phone.connect(address, port) as sock:
        return sock.recv(100).decode()


def refused_at_once(phone: Phone, address: str, port: int) -> bool:
    begun = time.monotonic()
    with pytest.raises(OSError) as caught:
        phone.connect(address, port).close()
    assert caught.value.errno in (errno.ECONNREFUSED, errno.EACCES, errno.EHOSTUNREACH), caught.value
    return time.monotonic() - begun < AT_ONCE_S


@FAMILIES
def test_stranger_meets_the_portal_on_80_and_a_reset_on_443(servers: Scene, family: int) -> None:
    phone = servers.phone(5)
    assert greeting(phone, internet(family), 80).startswith("portal ")
    assert refused_at_once(phone, internet(family), 443)


@FAMILIES
def test_stranger_udp_is_refused_with_an_answer(gateway: Scene, family: int) -> None:
    phone = gateway.phone(5)
    with phone.namespace.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((internet(family), 443))
        sock.send(b"QUIC")
        with pytest.raises(OSError) as caught:
            sock.recv(10)
    assert caught.value.errno in (errno.EHOSTUNREACH, errno.EACCES)  # administratively prohibited


@FAMILIES
def test_admitted_phone_passes_and_is_counted(servers: Scene, family: int) -> None:
    phone = servers.phone(5)
    address = phone.ipv4 if family == 4 else phone.ipv6
    servers.kernel.apply(admit(phone.mac, phone.ipv4, phone.ipv6))
    seen = greeting(phone, internet(family), 80)
    assert seen == f"internet {UPLINK4 if family == 4 else UPLINK6}"  # masqueraded, IPv6 too: the LAN has a ULA
    assert greeting(phone, internet(family), 443).startswith("internet ")
    member = servers.kernel.observe().members[address]
    assert member.up_bytes > 0 and member.down_bytes > len(seen)
    assert member.up_packets >= 6 and member.down_packets >= 4


@FAMILIES
def test_gateways_own_addresses_lead_to_the_portal_for_everybody(servers: Scene, family: int) -> None:
    phone = servers.phone(5)
    for _ in range(2):
        assert greeting(phone, gateway_address(family), 80).startswith("portal ")
        assert greeting(phone, gateway_address(family), 443).startswith("tls-portal ")
        servers.kernel.apply(admit(phone.mac, phone.ipv4, phone.ipv6))


@FAMILIES
@pytest.mark.parametrize("scene", [{"garden_networks": (f"{INTERNET4}/32", f"{INTERNET6}/128")}], indirect=True)
def test_everybody_reaches_the_garden_and_from_there_nothing_else(servers: Scene, family: int) -> None:
    phone, other = servers.phone(5), servers.phone(6)
    there, elsewhere = internet(family), ("198.18.0.9", "2001:db8:18::9")[family == 6]
    links.add_address(servers.internet, "eth0", f"{elsewhere}/{(24, 64)[family == 6]}", nodad=True)
    seen = UPLINK4 if family == 4 else UPLINK6
    for port in (80, 443):
        assert greeting(phone, there, port) == f"internet {seen}"  # not the portal, and masqueraded
    with listen(servers.internet, elsewhere, 443):
        assert refused_at_once(phone, elsewhere, 443)
    for device, root in (("lan0", 1), ("wan0", 2)):
        assert servers.passed(device, f"{root}:3") > 300  # the handshakes and ends of two connections
    assert servers.kernel.members() == {}
    servers.kernel.apply(admit(phone.mac, phone.ipv4, phone.ipv6))
    before = servers.passed("lan0", "1:3")
    assert greeting(phone, there, 443).startswith("internet ")
    assert servers.passed("lan0", "1:3") == before  # a member's own class, and counted
    assert servers.kernel.members()[phone.ipv4 if family == 4 else phone.ipv6].down_bytes > 0
    assert greeting(other, there, 443).startswith("internet ")


@FAMILIES
@pytest.mark.parametrize("scene", [{"garden_networks": (f"{INTERNET4}/32", f"{INTERNET6}/128")}], indirect=True)
def test_the_garden_answers_and_does_not_ask(gateway: Scene, family: int) -> None:
    phone = gateway.phone(5)
    address = phone.ipv4 if family == 4 else phone.ipv6
    for route in (("10.77.0.0/20", "via", UPLINK4), (LAN6, "via", UPLINK6)):
        gateway.internet.run(["ip", "route", "add", *route])
    with (
        listen(phone.namespace, address, 7000, socket.SOCK_DGRAM) as service,
        gateway.internet.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock,
    ):
        sock.bind((internet(family), 7001))
        sock.sendto(b"unasked", (address, 7000))
        service.settimeout(0.3)
        with pytest.raises(TimeoutError):
            service.recv(1)
        service.sendto(b"question", (internet(family), 7001))
        sock.settimeout(2)
        _, seen = sock.recvfrom(100)
        sock.sendto(b"answer", seen)
        assert service.recv(100) == b"answer"


@FAMILIES
@pytest.mark.parametrize(
    "scene",
    [{"garden_networks": (f"{INTERNET4}/32", f"{INTERNET6}/128"), "connections_per_device": 8}],
    indirect=True,
)
def test_a_stranger_holds_only_so_many_connections_to_the_garden(gateway: Scene, family: int) -> None:
    phone, other = gateway.phone(5), gateway.phone(6)
    with listen(gateway.internet, internet(family), 7000, socket.SOCK_DGRAM) as far, contextlib.ExitStack() as held:
        far.settimeout(0.3)

        def arrived(sender: Phone, text: bytes) -> bool:
            # Held to the end: the port of a closed one may be given again, and that is the same connection.
            made = sender.namespace.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            held.enter_context(made).sendto(text, (internet(family), 7000))
            try:
                return far.recv(100) == text
            except TimeoutError:
                return False

        assert [arrived(phone, b"one more") for _ in range(10)] == [True] * 8 + [False] * 2
        assert arrived(other, b"somebody else")


@pytest.mark.parametrize("scene", [{"garden_networks": (INTERNET4,)}], indirect=True)
def test_a_stranger_with_a_members_address_costs_the_member_nothing_in_the_garden(servers: Scene) -> None:
    phone = servers.phone(5)
    servers.kernel.apply(admit(phone.mac, phone.ipv4))
    thief = servers.phone(6, ipv4=phone.ipv4)
    with listen(servers.internet, INTERNET4, 7000, socket.SOCK_DGRAM) as far:
        far.settimeout(0.3)
        with thief.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"in the other's name", (INTERNET4, 7000))
            with pytest.raises(TimeoutError):
                far.recv(1)
    member = servers.kernel.members()[phone.ipv4]
    assert (member.up_bytes, member.down_bytes) == (0, 0)


@pytest.mark.parametrize("scene", [{"garden_networks": (INTERNET4,), "link_down_kbit": 8000}], indirect=True)
def test_the_garden_gets_a_tenth_of_the_link(gateway: Scene) -> None:
    far, near = _conversation(gateway, gateway.phone(5))
    with far, near:
        assert 600 < _goodput_kbit(far, near) < 880


@pytest.mark.parametrize("scene", [{"garden_networks": ("192.0.2.0/24",)}, {}], indirect=True, ids=["garden", "none"])
@pytest.mark.parametrize("admitted", [False, True])
def test_the_blocked_address_is_the_portal_on_80_and_refused_at_once_on_all_else(
    servers: Scene, admitted: bool
) -> None:
    assert servers.config.block_address is not None
    phone, blocked = servers.phone(5), servers.config.block_address
    servers.out("ip", "route", "add", "default", "via", INTERNET4)
    links.add_address(servers.internet, "eth0", f"{blocked}/32")  # so that a leak would be seen
    if admitted:
        servers.kernel.apply(admit(phone.mac, phone.ipv4))
    assert greeting(phone, blocked, 80).startswith("portal ")
    with listen(servers.internet, blocked, 443), listen(servers.internet, blocked, 853):
        for port in (443, 853, 8080, 8444):
            begun = time.monotonic()
            with pytest.raises(ConnectionRefusedError):  # a reset, not an ICMP answer
                phone.connect(blocked, port).close()
            assert time.monotonic() - begun < AT_ONCE_S
    with phone.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((blocked, 443))
        sock.send(b"QUIC")
        with pytest.raises(OSError) as caught:
            sock.recv(10)
    assert caught.value.errno in (errno.EHOSTUNREACH, errno.EACCES)


@FAMILIES
def test_staff_pages_are_reached_from_the_lan_before_any_login_and_not_from_the_uplink(
    gateway: Scene, family: int
) -> None:
    port, limit = gateway.config.staff_port, gateway.config.connections_per_device
    assert port is not None
    phone = gateway.phone(5)
    with listen(gateway.gateway, "::", port):
        held = [phone.connect(gateway_address(family), port) for _ in range(limit)]
        assert refused_at_once(phone, gateway_address(family), port)
        for sock in held:
            sock.close()
        sock = gateway.internet.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
        sock.settimeout(2)
        with sock, pytest.raises(ConnectionRefusedError):
            sock.connect((UPLINK4 if family == 4 else UPLINK6, port))


def test_another_mac_with_an_admitted_address_is_refused(servers: Scene) -> None:
    phone = servers.phone(5)
    servers.kernel.apply(admit(phone.mac, phone.ipv4))
    assert greeting(phone, INTERNET4, 443).startswith("internet ")
    thief = servers.phone(6, ipv4=phone.ipv4)
    before = servers.kernel.observe().members[phone.ipv4]
    with pytest.raises(OSError):
        thief.connect(INTERNET4, 443, timeout_s=1.0).close()
    after = servers.kernel.observe().members[phone.ipv4]
    assert (after.up_bytes, after.down_bytes) == (before.up_bytes, before.down_bytes)
    assert servers.kernel.whois(phone.ipv4) == phone.mac  # the pin holds
    assert greeting(phone, INTERNET4, 443).startswith("internet ")


def test_another_mac_with_an_admitted_ipv6_address_is_refused(servers: Scene) -> None:
    need(servers.kernel, probe.IP_MAC_HASH)
    phone, thief = servers.phone(5), servers.phone(6)
    servers.kernel.apply(admit(phone.mac, phone.ipv6))
    assert greeting(phone, INTERNET6, 443).startswith("internet ")
    before = servers.kernel.observe().members[phone.ipv6]
    thief.namespace.run(["ip", "address", "add", f"{phone.ipv6}/64", "dev", "wlan0", "nodad"])
    with thief.namespace.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind((phone.ipv6, 0))
        sock.sendto(b"stolen", (INTERNET6, 7000))
        time.sleep(0.2)
    after = servers.kernel.observe().members[phone.ipv6]
    assert (after.up_packets, after.down_packets) == (before.up_packets, before.down_packets)


def test_removal_stops_a_running_download(gateway: Scene) -> None:
    phone = gateway.phone(5)
    gateway.kernel.apply(admit(phone.mac, phone.ipv4, kbit=20_000))
    with (
        listen(gateway.internet, INTERNET4, 0) as listener,
        phone.connect(INTERNET4, listener.getsockname()[1]) as sock,
    ):
        sender, _ = listener.accept()
        stop = threading.Event()

        def pour() -> None:
            while not stop.is_set():
                try:
                    sender.send(bytes(16384))
                except OSError:
                    return

        thread = threading.Thread(target=pour, daemon=True)
        thread.start()
        try:
            for _ in range(20):
                assert sock.recv(65536)
            gateway.kernel.apply([DelMember(phone.ipv4, phone.mac), DelNeighbour(phone.ipv4)])
            time.sleep(0.3)  # what was queued
            sock.setblocking(False)
            closed = False
            try:
                while sock.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass
            except ConnectionResetError:
                closed = True
            assert closed or not select.select([sock], [], [], 0.7)[0] or _only_reset(sock)
        finally:
            stop.set()
            sender.close()
            thread.join(2)


def _only_reset(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@FAMILIES
def test_uplink_reaches_neither_portal_nor_dns_but_other_ports(servers: Scene, family: int) -> None:
    uplink = UPLINK4 if family == 4 else UPLINK6
    with (
        listen(servers.gateway, "::", 53),
        listen(servers.gateway, uplink, 2222) as ssh,
        listen(servers.gateway, "::", 53, socket.SOCK_DGRAM) as dns,
    ):
        for port in (8080, 8443, 53):
            sock = servers.internet.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
            sock.settimeout(2)
            with sock, pytest.raises(ConnectionRefusedError):
                sock.connect((uplink, port))
        with servers.internet.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.connect((uplink, 53))
            sock.send(b"?")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(1)
        dns.settimeout(0.1)
        with pytest.raises(TimeoutError):
            dns.recv(1)
        with servers.internet.socket(socket.AF_INET if family == 4 else socket.AF_INET6) as sock:
            sock.settimeout(2)
            sock.connect((uplink, 2222))
            ssh.accept()[0].close()


@FAMILIES
def test_lan_reaches_no_other_service_of_the_gateway(gateway: Scene, family: int) -> None:
    phone = gateway.phone(5)
    with listen(gateway.gateway, "::", 22), listen(gateway.gateway, "::", 9999, socket.SOCK_DGRAM) as udp:
        assert refused_at_once(phone, gateway_address(family), 22)
        with phone.namespace.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect((gateway_address(family), 9999))
            sock.send(b"?")
        udp.settimeout(0.3)
        with pytest.raises(TimeoutError):
            udp.recv(1)


def test_admitted_phone_reaches_no_neighbour_through_the_gateway(gateway: Scene) -> None:
    one, other = gateway.phone(5), gateway.phone(6)
    gateway.kernel.apply(admit(one.mac, one.ipv4) + admit(other.mac, other.ipv4, minor=0x11, grant=8))
    one.namespace.run(["ip", "route", "add", f"{other.ipv4}/32", "via", GATEWAY4])
    with listen(other.namespace, other.ipv4, 7000):
        assert refused_at_once(one, other.ipv4, 7000)
    assert gateway.kernel.observe().members[one.ipv4].up_bytes == 0


def test_devices_on_an_isolating_bridge_reach_the_gateway_and_not_each_other(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    with Scene(tmp_path, lan_bridge=True, isolate=True) as scene, contextlib.ExitStack() as stack:
        scene.kernel.setup()
        one, other = (stack.enter_context(contextlib.closing(Namespace(f"phone{n}"))) for n in (5, 6))
        for number, namespace in ((5, one), (6, other)):
            links.cable(scene.gateway, f"port{number}", namespace, "wlan0")
            links.plug(scene.gateway, "lan0", f"port{number}", isolated=False)
            links.up(namespace, "wlan0")
            links.add_address(namespace, "wlan0", f"10.77.1.{number}/20")

        def reaches(port: int, address: str) -> bool:
            with listen(other if address != GATEWAY4 else scene.gateway, address, port):
                sock = one.socket()
                sock.settimeout(1)
                with sock:
                    return sock.connect_ex((address, port)) == 0

        assert reaches(7000, "10.77.1.6")  # a bridge's ports do, until they are kept apart
        assert set(scene.kernel.keep_apart()) == {"port5", "port6"}
        one.run(["ip", "neigh", "flush", "dev", "wlan0"])
        assert not reaches(7001, "10.77.1.6")
        assert "lladdr" not in one.run(["ip", "neigh", "show", "10.77.1.6"]).stdout  # not even by ARP
        assert reaches(8080, GATEWAY4)


@FAMILIES
def test_internet_cannot_start_a_conversation_with_an_admitted_phone(gateway: Scene, family: int) -> None:
    phone = gateway.phone(5)
    address = phone.ipv4 if family == 4 else phone.ipv6
    gateway.kernel.apply(admit(phone.mac, address))
    for route in (("10.77.0.0/20", "via", UPLINK4), (LAN6, "via", UPLINK6)):
        gateway.internet.run(["ip", "route", "add", *route])
    with (
        listen(phone.namespace, address, 7000, socket.SOCK_DGRAM) as service,
        gateway.internet.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock,
    ):
        sock.sendto(b"x" * 1000, (address, 7000))
        service.settimeout(0.3)
        with pytest.raises(TimeoutError):
            service.recv(1)
    assert gateway.kernel.observe().members[address].down_bytes == 0  # nor does it cost the phone a byte


@FAMILIES
def test_dns_of_a_stranger_is_limited_and_of_a_member_not(scene: Scene, family: int) -> None:
    scene.kernel.setup()
    phone = scene.phone(5)
    asked = 3 * scene.config.dns_per_device_per_s + 100

    def answered() -> int:
        with (
            listen(scene.gateway, gateway_address(family), 53, socket.SOCK_DGRAM) as dns,
            phone.namespace.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock,
        ):
            sock.connect((gateway_address(family), 53))
            for _ in range(asked):
                sock.send(b"?")
            dns.settimeout(0.3)
            count = 0
            try:
                while dns.recv(1):
                    count += 1
            except TimeoutError:
                return count
        return -1

    stranger = answered()
    burst = 3 * scene.config.dns_per_device_per_s
    assert burst <= stranger <= burst + 40
    scene.kernel.apply(admit(phone.mac, phone.ipv4, phone.ipv6))
    assert answered() == asked


@FAMILIES
def test_one_device_holds_so_many_portal_connections_and_no_more(scene: Scene, family: int) -> None:
    scene.kernel.setup()
    limit = scene.config.connections_per_device
    greedy, other = scene.phone(5), scene.phone(6)
    address = gateway_address(family)
    with listen(scene.gateway, "::", 8080):
        held = [greedy.connect(address, 8080) for _ in range(limit)]
        assert refused_at_once(greedy, address, 8080)
        other.connect(address, 8080).close()
        held.pop().close()
        for sock in held:
            sock.close()


def test_download_goes_through_the_members_class(gateway: Scene) -> None:
    phone = gateway.phone(5)
    gateway.kernel.apply(admit(phone.mac, phone.ipv4, minor=0x123))
    with (
        listen(gateway.internet, INTERNET4, 0) as listener,
        phone.connect(INTERNET4, listener.getsockname()[1]) as sock,
    ):
        sender, _ = listener.accept()
        with sender:
            sender.sendall(bytes(50_000))
        while sock.recv(65536):
            pass
    assert gateway.passed("lan0", "1:123") > 50_000
    assert gateway.passed("wan0", "2:123") > 300


def test_a_member_whose_class_is_gone_stays_online(gateway: Scene) -> None:
    """Somebody deleted the class: the member goes through the default one until the next tick sets it again."""
    phone = gateway.phone(5)
    gateway.kernel.apply([SetMember(phone.ipv4, phone.mac, 0x77, 9, None)])
    with listen(gateway.internet, INTERNET4, 0) as listener, phone.connect(INTERNET4, listener.getsockname()[1]):
        listener.accept()[0].close()
    gateway.kernel.apply([SetClass(direction, 0x77, ClassRates(64, 5000)) for direction in Direction])
    assert (Direction.DOWN, 0x77) in gateway.kernel.observe().classes


def test_the_links_bytes_are_those_of_the_frames_that_passed_it(gateway: Scene) -> None:
    phone = gateway.phone(5)
    gateway.kernel.apply(admit(phone.mac, phone.ipv4))
    before = gateway.kernel.link_bytes()
    size, frames = 1400, 50
    with (
        listen(gateway.internet, INTERNET4, 7000, socket.SOCK_DGRAM) as far,
        phone.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
    ):
        near.connect((INTERNET4, 7000))
        for _ in range(frames):
            near.send(bytes(size))
            _, address = far.recvfrom(2000)
            far.sendto(bytes(100), address)
            near.recv(200)
    after = gateway.kernel.link_bytes()
    header = 8 + 20 + 14  # UDP, IPv4, Ethernet
    down, up = after[0] - before[0], after[1] - before[1]
    assert down == frames * (100 + header)
    assert 0 <= up - frames * (size + header) < 1000  # beside the gateway's own: ARP


@pytest.mark.parametrize("kbit", [2000, 10_000])
def test_goodput_is_the_plan_in_both_directions(gateway: Scene, kbit: int) -> None:
    """Coarse on purpose (the machine may be busy): bench measures 0.98 to 1.02."""
    phone = gateway.phone(5)
    gateway.kernel.apply(admit(phone.mac, phone.ipv4, kbit=kbit))
    with (
        listen(gateway.internet, INTERNET4, 0) as listener,
        phone.connect(INTERNET4, listener.getsockname()[1]) as near,
    ):
        far, _ = listener.accept()
        with far:
            for sender, receiver in ((far, near), (near, far)):
                assert 0.85 < _goodput_kbit(sender, receiver) / kbit < 1.10


def _conversation(gateway: Scene, phone: Phone) -> tuple[socket.socket, socket.socket]:
    """(the Internet's end, the phone's end) of a TCP connection that finds out about another rate at once."""
    with listen(gateway.internet, INTERNET4, 0) as listener:
        near = phone.connect(INTERNET4, listener.getsockname()[1])
        far = listener.accept()[0]
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")  # BBR believes its estimate for seconds
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # little is left to be waited for afterwards
    return far, near


def test_a_burst_passes_at_the_links_speed_and_then_the_plan_holds(gateway: Scene) -> None:
    """Coarse on purpose. 400 kB at 2 Mbit/s would be 1.6 s, at the link's 50 Mbit/s they are 0.07 s."""
    phone = gateway.phone(5)
    gateway.kernel.apply(admit(phone.mac, phone.ipv4, rates=ClassRates(64, 2000, 1, 400)))
    far, near = _conversation(gateway, phone)
    with far, near:
        for _ in range(2):  # the second after a pause that fills the bucket again
            assert _seconds_for(far, near, 350_000) < 0.7
            assert 0.85 < _goodput_kbit(far, near, drained_kbytes=400) / 2000 < 1.10
            time.sleep(1.8)


def _seconds_for(sender: socket.socket, receiver: socket.socket, size: int) -> float:
    thread = threading.Thread(target=sender.sendall, args=(bytes(size),), daemon=True)
    begun, count = time.monotonic(), 0
    thread.start()
    while count < size:
        count += len(receiver.recv(65536))
    thread.join()
    return time.monotonic() - begun


def test_another_plan_reaches_a_running_flow_without_a_cut(gateway: Scene) -> None:
    phone = gateway.phone(5)
    gateway.kernel.apply(admit(phone.mac, phone.ipv4, kbit=2000))
    far, near = _conversation(gateway, phone)
    with far, near:
        assert _goodput_kbit(far, near) < 2200
        for rates in (ClassRates(500, 10_000, 0, 100), ClassRates(8, 1000, 7), ClassRates(64, 5000)):
            before = gateway.passed("lan0", "1:10")
            gateway.kernel.apply([SetClass(direction, 0x10, rates) for direction in Direction])
            assert gateway.passed("lan0", "1:10") >= before > 0  # the same class, not a new one in its place
            kbit = _goodput_kbit(far, near, drained_kbytes=rates.burst_kbytes or 0)
            assert 0.85 < kbit / rates.ceil_kbit < 1.10


@pytest.mark.parametrize("scene", [{"link_down_kbit": 4000}], indirect=True)
def test_what_is_left_of_a_full_link_goes_to_the_lowest_priority_first(gateway: Scene) -> None:
    first, last = gateway.phone(5), gateway.phone(6)
    gateway.kernel.apply(admit(first.mac, first.ipv4, minor=0x10, rates=ClassRates(500, 10_000, 0)))
    gateway.kernel.apply(admit(last.mac, last.ipv4, minor=0x11, grant=8, rates=ClassRates(500, 10_000, 2)))
    one, other = _conversation(gateway, last), _conversation(gateway, first)
    with one[0], one[1], other[0], other[1], ThreadPoolExecutor() as pool:
        slow, fast = pool.map(lambda pair: _goodput_kbit(*pair, seconds=2.5), (one, other))
    assert fast > 2500 and 350 < slow < 1000, (fast, slow)  # guaranteed 500, and 4000 less that


def _goodput_kbit(
    sender: socket.socket, receiver: socket.socket, seconds: float = 1.5, drained_kbytes: int = 0
) -> float:
    """Over ``seconds``, after half a second and ``drained_kbytes`` that are not counted."""
    stop = threading.Event()
    sender.settimeout(0.2)
    receiver.settimeout(5)

    def pour() -> None:
        while not stop.is_set():
            try:
                sender.send(bytes(8192))
            except TimeoutError:
                continue

    thread = threading.Thread(target=pour, daemon=True)
    thread.start()
    receiver.recv(65536)
    warm_up = time.monotonic() + 0.5
    drained = 0
    while time.monotonic() < warm_up or drained < drained_kbytes * 1000:
        drained += len(receiver.recv(65536))
    begun, count = time.monotonic(), 0
    while time.monotonic() < begun + seconds:
        count += len(receiver.recv(65536))
    elapsed = time.monotonic() - begun
    stop.set()
    thread.join()
    receiver.settimeout(0.5)
    try:  # what is on its way belongs to nobody's figure
        while receiver.recv(1 << 20):
            pass
    except TimeoutError:
        pass
    return count * 8 / elapsed / 1000
