"""Up, degraded, down and in doubt, and what fails first: portal.domain.uplink, portal.uplink and portal.probes."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal import probes, uplink
from portal.config import Uplink
from portal.domain.model import Failing, UplinkState
from portal.domain.uplink import CHECK_EVERY_S, RECHECK_AFTER_S, Check, UplinkView
from tests.unit.portal.fakes import Clock

UP, DOWN, UNKNOWN, DEGRADED = UplinkState.UP, UplinkState.DOWN, UplinkState.UNKNOWN, UplinkState.DEGRADED
ROUTER, WEB, RESOLVER = "198.18.0.1", "198.18.5.80", "198.18.5.53"


def after(*checks: bool) -> UplinkView:
    view = UplinkView()
    for moment, reached in enumerate(checks):
        view = view.after(Check(reached), 100.0 + moment)
    return view


@pytest.mark.parametrize(
    ("checks", "state", "since", "next_s"),
    [
        ((), UNKNOWN, None, CHECK_EVERY_S),
        ((True,), UP, 100, CHECK_EVERY_S),
        ((True, True, True), UP, 100, CHECK_EVERY_S),
        ((True, False), UP, 100, RECHECK_AFTER_S),
        ((True, False, True), UP, 100, CHECK_EVERY_S),
        ((True, False, False), DOWN, 101, CHECK_EVERY_S),
        ((False,), UNKNOWN, None, RECHECK_AFTER_S),
        ((False, False), DOWN, 100, CHECK_EVERY_S),
        ((False, False, False, False), DOWN, 100, CHECK_EVERY_S),
        ((False, False, True), UP, 102, CHECK_EVERY_S),
        ((True, False, True, False), UP, 100, RECHECK_AFTER_S),
    ],
)
def test_views(checks: tuple[bool, ...], state: UplinkState, since: float | None, next_s: float) -> None:
    view = after(*checks)
    assert (view.state, view.since_boot_s, view.next_check_after_s) == (state, since, next_s)


checks = st.builds(
    Check,
    reached=st.booleans(),
    gateway=st.sampled_from([True, False, None]),
    dns=st.sampled_from([True, False, None]),
    echoes=st.just(5),
    round_trips_ms=st.lists(st.floats(0.1, 5000), max_size=5).map(tuple),
)


@given(st.lists(st.tuples(checks, st.floats(0.5, 100))))
def test_the_state_is_what_the_last_two_checks_agree_on(rounds: list[tuple[Check, float]]) -> None:
    view, now_s = UplinkView(), 100.0
    for check, pause_s in rounds:
        now_s += pause_s
        view = view.after(check, now_s)
        assert view.loss is None or 0 <= view.loss <= 1
        assert len(view.rounds) <= 120 and all(now_s - 60 < at <= now_s for at, _ in view.rounds)
        assert (view.failing is not None) == (view.state is DOWN)
    reached = [check.reached for check, _ in rounds]
    if reached[-1:] == [True]:
        assert view.state in (UP, DEGRADED)
    if reached[-2:] == [False, False]:
        assert view.state is DOWN
    assert (view.since_boot_s is None) == (view.state is UNKNOWN)


@pytest.mark.parametrize(
    ("gateway", "dns", "failing"),
    [
        (False, False, Failing.GATEWAY),
        (False, True, Failing.GATEWAY),
        (True, False, Failing.DNS),
        (None, False, Failing.DNS),  # a router that never answers pings is not called broken
        (True, True, Failing.HTTP),
        (None, None, Failing.HTTP),
    ],
)
def test_the_first_thing_that_fails_is_said(gateway: bool | None, dns: bool | None, failing: Failing) -> None:
    check = Check(False, gateway=gateway, dns=dns)
    view = UplinkView().after(check, 100).after(check, 104)
    assert (view.state, view.failing) == (DOWN, failing)
    assert view.after(Check(True), 120).failing is None


def test_what_fails_may_change_while_it_is_down() -> None:
    view = after(False, False).after(Check(False, dns=False), 130)
    assert (view.failing, view.since_boot_s) == (Failing.DNS, 100)


def quality(*rounds: tuple[int, float]) -> list[UplinkView]:
    """Views after rounds of 5 echoes, a quarter of a minute apart: (answers, round trip in ms)."""
    view, views = UplinkView(), []
    for number, (answers, ms) in enumerate(rounds):
        view = view.after(Check(True, echoes=5, round_trips_ms=(ms,) * answers), 100.0 + 15 * number)
        views.append(view)
    return views


def test_delay_and_loss_are_those_of_the_last_minute() -> None:
    views = quality((5, 20), (5, 40), (4, 40), (5, 40), (5, 40))
    assert [view.loss for view in views] == [
        None,
        0,
        pytest.approx(1 / 15),
        pytest.approx(1 / 20),
        pytest.approx(1 / 20),
    ]
    assert [view.latency_ms for view in views] == [20, 30, 40, 40, 40]
    assert all(view.state is UP for view in views)


def test_much_loss_degrades_and_little_is_needed_to_be_up_again() -> None:
    views = quality((5, 20), (3, 20), (4, 20), (4, 20), (5, 20), (5, 20), (5, 20), (5, 20))
    assert [view.state for view in views] == [UP, DEGRADED, DEGRADED, DEGRADED, DEGRADED, DEGRADED, UP, UP]
    assert views[5].loss == pytest.approx(0.1) and views[6].loss == pytest.approx(0.05)
    assert (views[5].since_boot_s, views[6].since_boot_s) == (115, 190)


def test_a_satellite_is_not_degraded_and_a_queue_is() -> None:
    assert quality(*[(5, 720)] * 5)[-1].state is UP
    assert quality(*[(5, 1600)] * 5)[-1].state is DEGRADED


def test_a_web_that_answers_no_pings_has_a_delay_and_no_loss() -> None:
    view = UplinkView()
    for number in range(6):
        view = view.after(Check(True, round_trips_ms=(35.0,)), 100.0 + 15 * number)
    assert (view.state, view.latency_ms, view.loss) == (UP, 35.0, None)


def test_the_watch_checks_at_once_and_again_soon_when_in_doubt(clock: Clock) -> None:
    asked: list[int] = []
    waits: list[float] = []

    def check() -> Check:
        asked.append(1)
        return Check(False)

    watch = uplink.UplinkWatch(check, clock)

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return len(waits) == 3

    watch.run(Stop())
    assert len(asked) == 3
    assert waits == [pytest.approx(wait, abs=0.01) for wait in (RECHECK_AFTER_S, CHECK_EVERY_S, CHECK_EVERY_S)]
    assert watch.view.state is DOWN


# --- one round ------------------------------------------------------------------------------------------------------


class Network:
    """What portal.probes finds: who answers pings, names and pages; it counts what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pings: dict[str, float] = {ROUTER: 1.0, WEB: 30.0}
        self.names: dict[str, dict[int, list[str]]] = {RESOLVER: {probes.A: [WEB]}}
        self.status: int | None = 204
        self.router: str | None = ROUTER
        self.carrier = self.arp = True
        self.asked: list[str] = []
        for name in ("resolve", "fetch", "ping", "next_hop", "has_carrier", "answers_arp"):
            monkeypatch.setattr(probes, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(probes, "Pinger", object)
        monkeypatch.setattr(probes, "resolvers", lambda: [RESOLVER])

    def _resolve(self, name: str, kind: int, server: str, timeout_s: float) -> list[str] | None:
        self.asked.append(server)
        found = self.names.get(server)
        return None if found is None else found.get(kind, [])

    def _fetch(self, address: str, port: int, host: str, path: str) -> probes.Fetched:
        self.asked.append(f"{address}:{port} {host} {path}")
        return probes.Fetched(self.status, None if self.status is None else 33.0)

    def _ping(self, pinger: object, address: str, count: int, every_s: float, wait_s: float) -> list[float]:
        return [self.pings[address]] * count if address in self.pings else []

    def _next_hop(self, interface: str) -> str | None:
        return self.router

    def _has_carrier(self, interface: str) -> bool:
        return self.carrier

    def _answers_arp(self, address: str) -> bool:
        return self.arp


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


def checker(**changes: Any) -> uplink.Checker:
    return uplink.Checker(Uplink(check_url="http://check.example:8080/generate_204?x=1", **changes))


def test_a_round_where_all_is_well(network: Network) -> None:
    check = checker().check()
    assert check == Check(True, gateway=True, dns=True, echoes=5, round_trips_ms=(30.0,) * 5)
    assert network.asked == [RESOLVER, f"{WEB}:8080 check.example:8080 /generate_204?x=1"]


@pytest.mark.parametrize(("status", "reached"), [(204, True), (200, True), (302, False), (503, False), (None, False)])
def test_what_counts_as_reached(network: Network, status: int | None, reached: bool) -> None:
    network.status = status
    assert checker().check().reached is reached


def test_the_resolvers_of_the_site_are_asked_and_no_other(network: Network) -> None:
    network.names = {"203.0.113.54": {probes.AAAA: ["2001:db8:5::80"]}}
    check = checker(dns=("203.0.113.53", "203.0.113.54", "203.0.113.55")).check()
    assert check == Check(True, gateway=True, dns=True, round_trips_ms=(33.0,))
    assert network.asked[:-1] == ["203.0.113.53", "203.0.113.54", "203.0.113.54"]
    network.asked.clear()
    assert checker(dns=("192.0.2.53",)).check().dns is False
    assert network.asked == ["192.0.2.53", "192.0.2.53"], "one lost datagram is no outage"


def test_a_page_at_an_address_needs_no_resolver(network: Network) -> None:
    network.names = {}
    found = uplink.Checker(Uplink(check_url=f"http://{WEB}/")).check()
    assert (found.reached, found.dns) == (True, None)


def test_a_router_that_has_answered_is_missed_and_another_is_not(network: Network) -> None:
    learning = checker()
    assert learning.check().reached
    network.names, network.pings = {}, {}
    assert learning.check() == Check(False, gateway=False, dns=False)
    assert checker().check() == Check(False, gateway=None, dns=False), "nobody knows whether it ever answers"
    network.arp = False
    assert checker().check().gateway is False
    network.arp, network.carrier = True, False
    assert checker().check().gateway is False
    network.carrier, network.router = True, None
    assert checker().check().gateway is False
    network.router = ""
    assert checker().check().gateway is None, "a line without a router's address"


def test_a_router_that_stops_answering_pings_while_pages_come_is_no_outage(network: Network) -> None:
    learning = checker()
    learning.check()
    del network.pings[ROUTER]
    assert learning.check().reached
    network.status = None
    assert learning.check() == Check(False, gateway=None, dns=True)


def test_where_pings_are_refused_the_page_is_still_fetched(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(probes, "Pinger", refuse)
    found = checker()
    assert found.check() == found.check() == Check(True, gateway=True, dns=True, round_trips_ms=(33.0,))
    assert caplog.text.count("pings are refused") == 1


@pytest.mark.parametrize("url", ["https://example.org/", "ftp://example.org/", "http:///x", "check"])
def test_only_plain_http_is_checked(url: str) -> None:
    with pytest.raises(ValueError, match="plain http"):
        uplink.target(url)


# --- what comes from the network and from the kernel ------------------------------------------------------------------


class Connection:
    """A socket that answers in pieces, or breaks."""

    def __init__(self, *answers: bytes) -> None:
        self.sent = b""
        self._answers = list(answers)

    def sendall(self, data: bytes) -> None:
        self.sent += data

    send = sendall

    def recv(self, _: int) -> bytes:
        return self._answers.pop(0) if self._answers else b""

    def settimeout(self, _: float) -> None:
        pass

    def connect(self, address: object) -> None:
        pass

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.0 200 OK\r\n", 200),
        (b"HTTP/1.1 302 Found\r\nLocation: http://provider/\r\n", 302),
        (b"SSH-2.0-dropbear\r\n", None),
        (b"HTTP/1.1 2040 x\r\n", None),
        (b"", None),
    ],
)
def test_the_status_of_a_page(answer: bytes, status: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(answer[:7], answer[7:])
    asked: list[object] = []

    def connect(address: object, timeout: float) -> Connection:
        asked.append((address, timeout))
        return connection

    monkeypatch.setattr(socket, "create_connection", connect)
    found = probes.fetch(WEB, 8080, "check.example:8080", "/generate_204?x=1")
    assert found.status == status and found.connect_ms is not None
    assert asked == [((WEB, 8080), probes.CONNECT_S)]
    assert connection.sent.startswith(b"GET /generate_204?x=1 HTTP/1.1\r\nHost: check.example:8080\r\n")


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionRefusedError(), OSError(101, "unreachable")])
def test_no_connection_has_no_status(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> Connection:
        raise error

    monkeypatch.setattr(socket, "create_connection", connect)
    assert probes.fetch(WEB, 80, "check.example", "/") == probes.Fetched(None, None)


def reply(code: int, *addresses: str, flags: int = 0x8180, ident: int = 7) -> bytes:
    head = struct.pack("!6H", ident, flags | code, 1, len(addresses), 0, 0)
    question = b"\5check\7example\0" + struct.pack("!2H", probes.A, 1)
    answers = [b"\xc0\x0c" + struct.pack("!2HIH", probes.A, 1, 60, 4) + socket.inet_aton(text) for text in addresses]
    return head + question + b"".join(answers)


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([reply(0, WEB)], [WEB]),
        ([reply(0)], []),
        ([reply(3)], []),
        ([reply(2)], None),
        ([reply(5)], None),
        ([reply(0, "192.0.2.1", ident=8), reply(0, WEB)], [WEB]),  # somebody else's guess
        ([b"\0\7", b"", reply(0, WEB)[:20], reply(0, WEB)], [WEB]),
        ([reply(0, WEB)[:-2] + b"", reply(0, WEB)], [WEB]),
    ],
)
def test_what_a_resolver_says(answers: list[bytes], found: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(*answers)
    monkeypatch.setattr(socket, "socket", lambda *_: connection)
    monkeypatch.setattr(probes.secrets, "randbits", lambda _: 7)
    assert probes.resolve("check.example", probes.A, RESOLVER, 1.0) == found
    assert connection.sent == reply(0, flags=0x0100)


@given(st.binary(max_size=80))
def test_no_answer_whatever_breaks_the_resolver(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", lambda *_: Connection(data, reply(2)))
        patch.setattr(probes.secrets, "randbits", lambda _: 7)
        probes.resolve("check.example", probes.A, RESOLVER, 1.0)


ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wan0\t00000000\t020012C6\t0003\t0\t0\t600\t00000000\t0\t0\t0
wan0\t00000000\t010012C6\t0003\t0\t0\t100\t00000000\t0\t0\t0
wwan0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
wan0\t000012C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def test_the_next_hop_is_that_of_the_best_default_route() -> None:
    assert probes.next_hop("wan0", ROUTES) == ROUTER
    assert probes.next_hop("wwan0", ROUTES) == ""
    assert probes.next_hop("eth0", ROUTES) is None


def test_a_cable_that_is_out_is_seen(tmp_path: Path) -> None:
    for name, text in (("in", "1\n"), ("out", "0\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "carrier").write_text(text)
    (tmp_path / "down").mkdir()
    found = [probes.has_carrier(name, tmp_path) for name in ("in", "out", "down", "none")]
    assert found == [True, False, True, False]


ARP = """IP address       HW type     Flags       HW address            Mask     Device
198.18.0.1       0x1         0x2         02:00:00:00:00:01     *        wan0
198.18.0.9       0x1         0x0         00:00:00:00:00:00     *        wan0
"""


def test_a_neighbour_that_does_not_answer_arp_is_seen() -> None:
    assert [probes.answers_arp(address, ARP) for address in (ROUTER, "198.18.0.9", "198.18.0.7")] == [True, False, True]


def test_the_system_s_resolvers(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# x\nnameserver 203.0.113.53\nsearch desa.id\nnameserver  2001:db8::53 # y\nnameserver\n")
    assert probes.resolvers(path) == ["203.0.113.53", "2001:db8::53"]
    assert probes.resolvers(tmp_path / "none") == []
