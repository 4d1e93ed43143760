"""The provider delegates an IPv6 prefix by DHCPv6, the box's own client puts it on the LAN, and the gateway follows it.

Client is Debian's dhcpcd with the configuration that docs/operations.md gives. The prefix comes, changes and goes while
phones are online.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import NewPhone, phones_of
from tests.village import measure, story
from tests.village.delegation import (
    PREFIX,
    Client,
    Provider,
    preferred,
    seen_by_server,
    wait_no_prefix,
    wait_prefix,
)
from tests.village.gateway import LAN, WAN, GerbangGateway
from tests.village.internet import WEB6
from tests.village.village import Village
from tests.village.webserver import UDP_PORT

OTHER = ipaddress.IPv6Network("2001:db8:b800::/56")


def uplink_addresses(village: Village) -> list[str]:
    return preferred(village.gateway.ns, WAN, ipaddress.IPv6Network("2001:db8:0:1::/64"))


@pytest.fixture
def gateway(own_village: Village) -> GerbangGateway:
    assert isinstance(own_village.gateway, GerbangGateway)
    return own_village.gateway


@pytest.fixture
def new_phone(own_village: Village) -> Iterator[NewPhone]:
    with phones_of(own_village) as new:
        yield new


@pytest.fixture
def provider(own_village: Village) -> Iterator[Provider]:
    with Provider(own_village.internet) as provider:
        yield provider


@pytest.fixture
def client(provider: Provider, gateway: GerbangGateway) -> Iterator[Client]:
    """A box that has got its prefix."""
    with Client(gateway) as client:
        wait_on_lan(gateway, PREFIX, client)
        yield client


def wait_on_lan(gateway: GerbangGateway, prefix: ipaddress.IPv6Network, client: Client) -> None:
    end_s = time.monotonic() + 30  # a lost solicitation is sent again after 1, 2, 4, 8 s
    while not preferred(gateway.ns, LAN, prefix):
        assert time.monotonic() < end_s, client.log()
        time.sleep(0.05)


def test_a_phone_has_its_own_public_address_refused_before_login_and_counted_after(
    own_village: Village, gateway: GerbangGateway, client: Client, new_phone: NewPhone
) -> None:
    phone = new_phone()
    mine = wait_prefix(phone, PREFIX)
    assert story.refused(phone, WEB6, 443) < story.REFUSED_WITHIN_S
    assert measure.ping(phone, WEB6, count=1, timeout_s=0.5) == [None]
    assert phone.http("http://connectivitycheck.gstatic.com/generate_204", family=6).status == 302
    phone.login()
    phone.wait_online(family=6)
    address = seen_by_server(phone)
    assert address in mine, "the phone prefers the public prefix, and nothing translates it"
    before = gateway.usage(phone.mac, address)
    with measure.Tap(phone) as tap:
        url = f"http://{own_village.internet.host}/bytes?n=30000"
        assert len(phone.http(url, family=6, source=address).body) == 30_000
        time.sleep(0.2)
    after = gateway.usage(phone.mac, address)
    assert (after[0] - before[0], after[1] - before[1]) == (tap.up_bytes, tap.down_bytes)
    assert phone.logout(f"{gateway.url}status").status == 303
    with pytest.raises(OSError):
        phone.connect(WEB6, 443, source=address, timeout_s=1)


def test_what_nobody_asked_for_never_reaches_a_public_address(
    own_village: Village, gateway: GerbangGateway, client: Client, new_phone: NewPhone
) -> None:
    phone = new_phone()
    address = wait_prefix(phone, PREFIX)[0]
    internet = own_village.internet.ns
    with (
        phone.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp,
        phone.socket(socket.AF_INET6) as tcp,
        internet.socket(socket.AF_INET6, socket.SOCK_DGRAM) as stranger,
    ):
        udp.bind((address, 0))
        udp.settimeout(0.5)
        tcp.bind((address, 8080))
        tcp.listen()
        tcp.settimeout(0.1)
        stranger.bind((WEB6, 0))

        def knock() -> None:
            """Ask for the phone by TCP, UDP and ping."""
            with internet.socket(socket.AF_INET6) as visitor, pytest.raises(TimeoutError):
                visitor.bind((WEB6, 0))
                visitor.settimeout(1)
                visitor.connect((address, 8080))
            with pytest.raises(TimeoutError):
                tcp.accept()
            stranger.sendto(b"knock", udp.getsockname()[:2])
            with pytest.raises(TimeoutError):
                udp.recv(100)
            command = ["busybox", "ping6", "-c", "1", "-W", "1", "-I", WEB6, address]
            assert internet.run(command, check=False).returncode != 0

        knock()
        phone.login()
        phone.wait_online(family=6)
        end_s = time.monotonic() + 5
        while True:  # the address is learned from its first packet
            udp.sendto(b"hello", (WEB6, UDP_PORT))
            try:
                assert udp.recv(100) == b"hello", "what was asked for arrives"
                break
            except TimeoutError:
                assert time.monotonic() < end_s
        assert address in {c.ip for c in gateway.netctl().usage().counters}
        before = gateway.usage(phone.mac, address)
        knock()
        assert gateway.usage(phone.mac, address) == before, "and costs nobody a byte"


def test_the_gateways_public_address_offers_the_internet_neither_portal_nor_resolver(
    own_village: Village, gateway: GerbangGateway, client: Client
) -> None:
    (address,) = preferred(gateway.ns, LAN, PREFIX)
    for port in (53, 80, 8080):
        with own_village.internet.ns.socket(socket.AF_INET6) as visitor, pytest.raises(ConnectionRefusedError):
            visitor.settimeout(2)
            visitor.connect((address, port))


def test_a_prefix_comes_changes_and_goes_and_nobody_is_cut_off(
    own_village: Village, gateway: GerbangGateway, provider: Provider, new_phone: NewPhone
) -> None:
    phone, guest = new_phone(), new_phone()
    for one in (phone, guest):
        one.wait_ipv6()
        one.login()
        one.wait_online(family=6)
    drift = gateway.netctl().status().drift_total
    assert seen_by_server(phone) in uplink_addresses(own_village), "no prefix yet: masqueraded"
    local = phone.ipv6_addresses(temporary=True)[0]
    url = f"http://{own_village.internet.host}/bytes?n=15000000"
    phone.resolve(own_village.internet.host, 6)
    with ThreadPoolExecutor(2) as pool:
        # 24 s each at the plan's 5 Mbit/s, two phones, one family each
        six = pool.submit(phone.http, url, family=6, source=local, timeout_s=60)
        four = pool.submit(guest.http, url, timeout_s=60)
        with Client(gateway) as client:
            wait_on_lan(gateway, PREFIX, client)
            first = wait_prefix(phone, PREFIX)
            phone.wait_online(family=6)
            assert seen_by_server(phone) in first
            provider.prefix = OTHER
            second = wait_prefix(phone, OTHER)
            wait_no_prefix(phone, PREFIX)
            phone.wait_online(family=6)
            assert seen_by_server(phone) in second
        assert provider.released.wait(5)
        wait_no_prefix(phone, OTHER)
        phone.wait_online(family=6)
        assert seen_by_server(phone) in uplink_addresses(own_village), "masqueraded again"
        assert len(six.result().body) == len(four.result().body) == 15_000_000
    time.sleep(5.5)  # a tick: the prefix is gone for netctl, too
    for address in (*first, *second):
        with pytest.raises(OSError):
            phone.connect(WEB6, 443, source=address, timeout_s=1)
    status = gateway.netctl().status()
    assert (status.drift_total, status.problem) == (drift, None)


def test_a_gateway_that_starts_where_a_prefix_stands_already_uses_it(
    own_village: Village, gateway: GerbangGateway, client: Client, new_phone: NewPhone
) -> None:
    assert gateway.stop() == 0
    assert preferred(gateway.ns, LAN, PREFIX), "a clean stop leaves alone what is not ours"
    gateway.start()
    phone = new_phone()
    mine = wait_prefix(phone, PREFIX)
    phone.login()
    phone.wait_online(family=6)
    assert seen_by_server(phone) in mine
    killed = gateway.kill("netctl")
    assert phone.is_online(family=6)
    gateway.wait_restarted("netctl", killed)
    assert seen_by_server(phone) in mine


def test_a_provider_without_a_prefix_to_give_leaves_the_masqueraded_local_one(
    own_village: Village, gateway: GerbangGateway, provider: Provider, new_phone: NewPhone
) -> None:
    provider.prefix = None
    phone = new_phone()
    with Client(gateway) as client:
        end_s = time.monotonic() + 10
        while "No Prefixes Available" not in client.log() and "no prefix" not in client.log().lower():
            assert time.monotonic() < end_s, client.log()
            time.sleep(0.1)
        phone.wait_ipv6()
        phone.login()
        phone.wait_online(family=6)
        assert seen_by_server(phone) in uplink_addresses(own_village)
