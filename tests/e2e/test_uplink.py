"""The provider's line goes and comes back: the page says since when, nobody loses the session, nobody logs in again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.village import story
from tests.village.gateway import GerbangGateway
from tests.village.phone import Phone
from tests.village.village import Village

NOTICED_WITHIN_S = 40.0


@pytest.fixture
def cut_village() -> Iterator[Village]:
    with Village(phones=2, ipv6=False, site={"plan": [story.PLAN]}) as v:
        v.dhcp_all()
        yield v


def _until(holds: Callable[[], bool], what: str) -> float:
    started_s = time.monotonic()
    while not holds():
        assert time.monotonic() - started_s < NOTICED_WITHIN_S, what
        time.sleep(0.3)
    return time.monotonic() - started_s


def test_a_cut_line_is_told_and_costs_nobody_the_session(cut_village: Village) -> None:
    gateway = cut_village.gateway
    assert isinstance(gateway, GerbangGateway)
    user, newcomer = cut_village.phones
    user.login()
    row = gateway.sql("SELECT id FROM session")

    def told(phone: Phone, page: str) -> bool:
        return "Internet terputus sejak" in phone.http(f"{gateway.url}{page}").text

    assert not told(newcomer, "")
    cut_village.internet.unplugged(True)
    gateway.kill("meter")  # a new one looks at once and not within a quarter of a minute; it must agree all the same
    _until(lambda: told(newcomer, "") and told(user, "status"), "the pages do not say that the line is down")
    assert gateway.sql("SELECT state, failing FROM uplink") == [{"state": "down", "failing": "gateway"}]
    assert not user.is_online(timeout_s=1)
    assert newcomer.http(f"{gateway.url}login", method="POST").status == 303, "who comes now is let in all the same"
    cut_village.internet.unplugged(False)
    gateway.kill("meter")
    _until(user.is_online, "the user does not get back online")
    _until(newcomer.is_online, "nor does the newcomer")
    _until(lambda: not told(user, "status"), "the page still says that the line is down")
    assert gateway.sql("SELECT id FROM session WHERE ended_wall_s IS NULL ORDER BY id LIMIT 1") == row


def test_what_fails_first_is_found(cut_village: Village) -> None:
    """Not the cable: the provider's resolver, then the Web behind it; the router answers all the time."""
    gateway, internet = cut_village.gateway, cut_village.internet
    assert isinstance(gateway, GerbangGateway)

    def is_so(state: str, failing: str | None) -> bool:
        return gateway.sql("SELECT state, failing FROM uplink") == [{"state": state, "failing": failing}]

    _until(lambda: is_so("up", None), "the line is up")
    (quality,) = gateway.sql("SELECT latency_ms, loss FROM uplink")
    assert 0 < quality["latency_ms"] < 1000
    internet.stop_dns()
    gateway.kill("meter")
    _until(lambda: is_so("down", "dns"), "a dead resolver is not found")
    internet.start_dns()
    gateway.kill("meter")
    _until(lambda: is_so("up", None), "the line is not up again")
    internet.stop_web()
    gateway.kill("meter")
    _until(lambda: is_so("down", "http"), "that the Web is gone is not found")
    phone = cut_village.phones[0]
    assert phone.http(f"{gateway.url}").status == 200
    probe = phone.http("http://connectivitycheck.gstatic.com/generate_204")
    assert probe.status == 302, "the sheet opens all the same"
