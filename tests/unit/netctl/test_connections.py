"""Connections of members are kept until the portal has taken them, and what is lost is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from netctl.api.errors import KERNEL, NetctlError
from netctl.api.types import Connection, Connections
from netctl.kernel.base import Flow, Sighting
from netctl.kernel.fake import FakeKernel
from netctl.witness import Witness
from tests.unit.netctl.bench import BOOT, PREFIX, Gateway, grant, ipv4, ipv6

OUTER, REMOTE = "198.18.0.2", "203.0.113.9"


def flow(number: int, port: int = 40_000, flow: Flow = Flow.BEGIN, remote: str = REMOTE, **changes: int) -> Sighting:
    values = {"at_boot_ms": 1_000_000, "protocol": 6, "inner_port": port, "outer_port": port, "remote_port": 443}
    return Sighting(flow=flow, inner=ipv4(number), outer=OUTER, remote=remote, **(values | changes))


def told(session: int, number: int, port: int = 40_000, flow: str = "begin") -> Connection:
    return Connection(
        flow=flow,  # type: ignore[arg-type]
        at_boot_ms=1_000_000,
        grant=session,
        protocol=6,
        inner=ipv4(number),
        inner_port=port,
        outer=OUTER,
        outer_port=port,
        remote=REMOTE,
        remote_port=443,
    )


@pytest.fixture
def logging(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path, log_connections=True)


def take(gateway: Gateway, stream: str = "", after: int = 0, most: int = 10_000) -> Connections:
    return gateway.engine.connections(stream, after, most)


def test_without_the_switch_nothing_is_kept_and_the_kernel_is_not_asked(gateway: Gateway) -> None:
    gateway.push(grant(1))
    gateway.kernel.connect(flow(1))
    gateway.pass_time(60)
    found = take(gateway)
    assert (found.stream, found.records, found.waiting, found.lost) == (None, (), 0, 0)
    assert "take_sightings" not in gateway.kernel.calls


def test_a_members_connection_is_told_with_its_session_and_a_strangers_is_not(logging: Gateway) -> None:
    logging.push(grant(1), grant(2, id=77))
    for number in (1, 2, 3):
        logging.kernel.connect(flow(number))
    assert take(logging).records == (told(1, 1), told(77, 2))


def test_what_stays_on_the_lan_is_not_told(logging: Gateway) -> None:
    logging.push(grant(1))
    logging.kernel.connect(flow(1, remote="10.77.0.1"))
    logging.kernel.connect(flow(1, remote=f"{PREFIX}1"))
    assert take(logging).records == ()


def test_ipv6_of_a_member_is_told(logging: Gateway) -> None:
    logging.push(grant(1))
    logging.kernel.hear(ipv6(1), grant(1).mac)
    logging.engine.learn()
    seen = Sighting(Flow.BEGIN, 1_000_000, 17, ipv6(1), 5000, ipv6(1), 5000, "2001:db8::1", 53)
    logging.kernel.connect(seen)
    (found,) = take(logging).records
    assert (found.grant, found.inner, found.outer, found.remote) == (1, ipv6(1), ipv6(1), "2001:db8::1")


def test_a_connection_just_before_a_logout_is_told_and_that_the_logout_ended_it(logging: Gateway) -> None:
    logging.push(grant(1))
    logging.kernel.connect(flow(1))
    logging.push()
    logging.kernel.connect(flow(1, port=41_000))  # to the walled garden, say: nobody's any more
    assert [(c.grant, c.inner_port, c.flow) for c in take(logging).records] == [
        (1, 40_000, "begin"),
        (1, 40_000, "end"),
    ]


def test_an_address_that_changed_hands_is_told_as_each_holders_own(logging: Gateway) -> None:
    logging.push(grant(1))
    logging.kernel.connect(flow(1))
    logging.push(grant(1, id=2))
    logging.kernel.connect(flow(1, port=41_000))
    assert [(c.grant, c.inner_port) for c in take(logging).records if c.flow == "begin"] == [(1, 40_000), (2, 41_000)]


def test_asking_again_gives_the_same_until_a_later_number_is_given(logging: Gateway) -> None:
    logging.push(grant(1))
    for port in range(40_000, 40_005):
        logging.kernel.connect(flow(1, port))
    first = take(logging, most=2)
    assert ([c.inner_port for c in first.records], first.last, first.waiting) == ([40_000, 40_001], 2, 3)
    assert take(logging, most=2) == first
    assert take(logging, "another", 4, 2).records == first.records
    rest = take(logging, str(first.stream), first.last)
    assert ([c.inner_port for c in rest.records], rest.last, rest.waiting) == ([40_002, 40_003, 40_004], 5, 0)
    none = take(logging, str(first.stream), rest.last)
    assert (none.records, none.last, none.waiting, none.lost) == ((), 5, 0, 0)
    logging.kernel.connect(flow(1, 40_005))
    assert take(logging, str(first.stream), 5).last == 6


def test_a_new_daemon_has_a_stream_of_its_own_that_begins_with_what_is_open(logging: Gateway) -> None:
    logging.push(grant(1))
    logging.kernel.connect(flow(1))
    before = take(logging)
    logging.clock.now += 100
    logging.restart()
    after = take(logging, str(before.stream), before.last)
    assert after.stream != before.stream
    assert after.since_boot_ms >= before.until_boot_ms
    assert after.records[0].inner_port == 40_000


def test_what_nobody_takes_is_lost_the_oldest_first_and_counted() -> None:
    witness = Witness(0, most=3)
    witness.see([flow(1, port) for port in range(1, 6)], {ipv4(1): 1}, {}, (), 10)
    found = witness.take("", 0, 10, BOOT)
    assert ([c.inner_port for c in found.records], found.last, found.lost) == ([3, 4, 5], 5, 2)


def test_what_the_kernel_lost_is_counted_and_said(logging: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    logging.kernel.overlook(7)
    logging.pass_time(5)
    logging.kernel.overlook(2)
    assert take(logging).lost == 9
    assert "7 sightings lost, 7 since start" in caplog.text
    assert "2 sightings lost, 9 since start" in caplog.text


def test_a_kernel_that_tells_nothing_is_said_and_holds_nothing_up(
    logging: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: FakeKernel) -> tuple[tuple[Sighting, ...], int]:
        raise NetctlError(KERNEL, "The process that hears of connections ended with code 1.")

    with monkeypatch.context() as patch:
        patch.setattr(FakeKernel, "take_sightings", refuse)
        logging.pass_time(5)
        logging.push(grant(1))
        assert "Connections are not logged" in (logging.engine.status().problem or "")
        assert take(logging).lost > 0
    assert logging.members() == {ipv4(1): grant(1).mac}
    logging.pass_time(5)
    assert logging.engine.status().problem is None
