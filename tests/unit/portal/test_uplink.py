"""Up, down and in doubt: portal.domain.uplink and portal.uplink."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal import uplink
from portal.domain.model import UplinkState
from portal.domain.uplink import CHECK_EVERY_S, RECHECK_AFTER_S, UplinkView
from tests.unit.portal.fakes import Clock

UP, DOWN, UNKNOWN = UplinkState.UP, UplinkState.DOWN, UplinkState.UNKNOWN


def after(*checks: bool) -> UplinkView:
    view = UplinkView()
    for moment, reached in enumerate(checks):
        view = view.after(reached, 100.0 + moment)
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


@given(st.lists(st.booleans()))
def test_the_state_is_what_the_last_two_checks_agree_on(checks: list[bool]) -> None:
    view = after(*checks)
    if checks[-1:] == [True]:
        assert view.state is UP
    if checks[-2:] == [False, False]:
        assert view.state is DOWN
    assert (view.since_boot_s is None) == (view.state is UNKNOWN)


def test_the_watch_checks_at_once_and_again_soon_when_in_doubt(clock: Clock) -> None:
    asked: list[str] = []
    waits: list[float] = []
    watch = uplink.UplinkWatch("http://check/", lambda url: bool(asked.append(url)), clock)

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return len(waits) == 3

    watch.run(Stop())
    assert asked == ["http://check/"] * 3
    assert waits == [pytest.approx(wait, abs=0.01) for wait in (RECHECK_AFTER_S, CHECK_EVERY_S, CHECK_EVERY_S)]
    assert watch.view.state is DOWN


@pytest.mark.parametrize("url", ["https://example.org/", "ftp://example.org/", "http:///x", "check"])
def test_only_plain_http_is_checked(url: str) -> None:
    with pytest.raises(ValueError, match="plain http"):
        uplink.is_reached(url)


class Connection:
    """A socket that answers in pieces, or breaks."""

    def __init__(self, answer: bytes) -> None:
        self.sent = b""
        self._answer = [answer[:7], answer[7:]]

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv(self, _: int) -> bytes:
        if not self._answer:
            return b""
        return self._answer.pop(0)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("answer", "reached"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\n", True),
        (b"HTTP/1.1 302 Found\r\nLocation: http://provider/\r\n", False),
        (b"HTTP/1.1 503 Service Unavailable\r\n", False),
        (b"SSH-2.0-dropbear\r\n", False),
        (b"HTTP/1.1 2040 x\r\n", False),
        (b"", False),
    ],
)
def test_what_counts_as_reached(answer: bytes, reached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(answer)
    asked: list[object] = []

    def connect(address: object, timeout: float) -> Connection:
        asked.append((address, timeout))
        return connection

    monkeypatch.setattr(uplink.socket, "create_connection", connect)
    assert uplink.is_reached("http://check.example:8080/generate_204?x=1") is reached
    assert asked == [(("check.example", 8080), uplink.TIMEOUT_S)]
    assert connection.sent.startswith(b"GET /generate_204?x=1 HTTP/1.1\r\nHost: check.example:8080\r\n")


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionRefusedError(), OSError(101, "unreachable")])
def test_no_connection_is_not_reached(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> Connection:
        raise error

    monkeypatch.setattr(uplink.socket, "create_connection", connect)
    assert not uplink.is_reached("http://check.example/")
