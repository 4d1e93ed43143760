"""IPv6 is no way round the gate, and no stranger once it is open: admitted, counted and cut off with its device."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import NewPhone
from tests.village import measure, story
from tests.village.gateway import GerbangGateway
from tests.village.internet import DNS6, WEB6
from tests.village.phone import Phone
from tests.village.village import Village

TICK_S = 5.5  # netctl has read everything back from the kernel, where the IPv6 set may hold no MACs
LEARNED_WITHIN_S = 1.0  # from the first packet of a new address to its admission


def _get(phone: Phone, village: Village, size: int, source: str | None = None) -> int:
    """Bytes that the Internet gave; 0 if it was the portal that answered."""
    answer = phone.http(f"http://{village.internet.host}/bytes?n={size}", family=6, source=source, timeout_s=3)
    return len(answer.body) if answer.status == 200 else 0


def _until_online(phone: Phone, village: Village, source: str) -> float:
    """Seconds until the Internet answers that source address; a phone tries again as often."""
    started_s = time.monotonic()
    while time.monotonic() - started_s < 5:
        try:
            if _get(phone, village, 1, source) == 1:
                return time.monotonic() - started_s
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{source} was never admitted")


def test_before_login_ipv6_is_refused_like_ipv4(village: Village, phone: Phone) -> None:
    for address in phone.wait_ipv6():
        assert story.refused(phone, WEB6, 443) < story.REFUSED_WITHIN_S, address
    assert measure.ping(phone, WEB6, count=1, timeout_s=0.5) == [None]
    with pytest.raises(OSError):
        phone.dns("www.village.example", server=DNS6, timeout_s=1)
    assert phone.http("http://connectivitycheck.gstatic.com/generate_204", family=6).status == 302


def test_addresses_of_an_admitted_device_are_admitted_and_counted_with_it(
    village: Village, gateway: GerbangGateway, phone: Phone
) -> None:
    addresses = phone.wait_ipv6()
    assert len(addresses) >= 2, "a stable and a privacy address"
    phone.login()
    for address in addresses:
        assert _until_online(phone, village, address) < LEARNED_WITHIN_S
    later = phone.new_privacy_address()
    assert _until_online(phone, village, later) < LEARNED_WITHIN_S
    for address in (*addresses, later):
        before = gateway.usage(phone.mac, address)
        with measure.Tap(phone) as tap:
            for _ in range(8):
                assert _get(phone, village, 4000, address) == 4000
            time.sleep(0.2)
        after = gateway.usage(phone.mac, address)
        assert (after[0] - before[0], after[1] - before[1]) == (tap.up_bytes, tap.down_bytes)
    time.sleep(TICK_S)
    assert phone.logout(f"{gateway.url}status").status == 303
    for address in (*addresses, later):
        assert _get(phone, village, 1, address) == 0
        with pytest.raises(OSError):
            phone.connect(WEB6, 443, source=address, timeout_s=1)


def test_an_address_made_while_online_works_though_the_router_is_known_already(village: Village, phone: Phone) -> None:
    """A phone that has the router in its neighbour cache asks nothing before it sends from a new address."""
    phone.wait_ipv6()
    phone.login()
    _until_online(phone, village, phone.ipv6_addresses(temporary=True)[0])
    later = phone.new_privacy_address()
    time.sleep(0.5)
    assert _until_online(phone, village, later) < LEARNED_WITHIN_S


def test_ipv6_shares_the_plan_with_ipv4(village: Village, phone: Phone) -> None:
    """One device, one plan: two families are not twice the rate."""
    phone.wait_ipv6()
    phone.login()
    host = village.internet.host
    phone.resolve(host, 6)
    with ThreadPoolExecutor(2) as pool:
        four, six = (pool.submit(measure.tcp_down, phone, host, 3.0, family=family) for family in (4, 6))
    together = four.result().mbit_s + six.result().mbit_s
    low, high = (share * story.DOWN_KBIT / 1000 for share in story.RATE_BAND)
    assert low <= together <= high


def test_one_device_is_not_let_in_by_another_ones_login(village: Village, new_phone: NewPhone) -> None:
    one, two = new_phone(), new_phone()
    one.wait_ipv6()
    two.wait_ipv6()
    one.login()
    _until_online(one, village, one.ipv6_addresses(temporary=True)[0])
    assert not two.is_online(family=6)
    story.refused(two, WEB6, 443)
