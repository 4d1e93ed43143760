"""The walled garden: what everybody reaches before login, by name and by network, over both families; no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import NewPhone, phones_of
from tests.village import internet, story
from tests.village.gateway import GerbangGateway
from tests.village.internet import HOST, SERVICE_HOST
from tests.village.phone import Phone
from tests.village.village import Village


@pytest.fixture(scope="module")
def garden_village() -> Iterator[Village]:
    with Village(phones=0, site={"plan": [story.PLAN], "garden": {"names": ["layanan.village.example"]}}) as v:
        yield v


@pytest.fixture
def new_phone(garden_village: Village) -> Iterator[NewPhone]:
    with phones_of(garden_village) as new:
        yield new


def opens(phone: Phone, host: str, family: int) -> bool:
    answer = phone.http(f"http://{host}/", family=family)
    assert answer.status in (200, 302), answer.status
    return answer.text == "online"


@pytest.mark.parametrize("family", [4, 6])
def test_a_name_of_the_garden_opens_before_login_and_another_does_not(new_phone: NewPhone, family: int) -> None:
    phone = new_phone()
    phone.wait_ipv6()
    assert opens(phone, SERVICE_HOST, family)
    if family == 4:
        assert not opens(phone, HOST, 4), "the portal answers in its place"
    else:
        with pytest.raises(OSError, match=r"refused|reset|unreachable|prohibited|denied"):
            phone.connect(internet.WEB6, 443)
    assert not phone.is_online(), "and it is still captive"


def test_the_garden_is_reached_over_https_too(new_phone: NewPhone) -> None:
    phone = new_phone()
    with phone.connect(phone.resolve(SERVICE_HOST), 443):
        pass
    with pytest.raises(ConnectionRefusedError):
        phone.connect(phone.resolve(HOST), 443)


def test_an_address_of_the_garden_that_nobody_has_asked_for_stays_closed() -> None:
    with Village(phones=1, ipv6=False, site={"plan": [story.PLAN], "garden": {"names": [SERVICE_HOST]}}) as v:
        v.dhcp_all()
        (phone,) = v.phones
        with pytest.raises(ConnectionRefusedError):
            phone.connect(internet.SERVICE, 443)
        assert phone.dns(SERVICE_HOST)[1] == [internet.SERVICE]
        with phone.connect(internet.SERVICE, 443):
            pass


def test_a_network_of_the_garden_is_open_from_the_start() -> None:
    site = {"plan": [story.PLAN], "garden": {"networks": ["198.18.5.88/29"]}}
    with Village(phones=1, ipv6=False, site=site) as v:
        v.dhcp_all()
        (phone,) = v.phones
        with phone.connect(internet.SERVICE, 443):
            pass
        with pytest.raises(ConnectionRefusedError):
            phone.connect(internet.WEB, 443)


def test_who_is_online_reaches_both(garden_village: Village, new_phone: NewPhone) -> None:
    phone = new_phone()
    gateway = garden_village.gateway
    assert isinstance(gateway, GerbangGateway)
    phone.login()
    assert opens(phone, SERVICE_HOST, 4) and opens(phone, HOST, 4)
    phone.logout(f"{gateway.url}status")
    assert opens(phone, SERVICE_HOST, 4) and not opens(phone, HOST, 4)
