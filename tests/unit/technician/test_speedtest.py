"""The speed test: bounded in time and bytes, one at a time, and never raising for what the network does."""

from __future__ import annotations

import http.client
import threading
from typing import Any

import pytest

from portal.domain.model import Now
from portal.technician import speedtest
from portal.technician.speedtest import Measured, SpeedTest, measure

URL = "http://speed.example/10MB.bin"


class Answer:
    """A server that gives so many bytes, each chunk taking so long."""

    def __init__(self, chunks: int, *, seconds_each: float, status: int = 200) -> None:
        self.status, self._chunks, self._each, self.now = status, chunks, seconds_each, 0.0

    def read1(self, size: int) -> bytes:
        self.now += self._each
        self._chunks -= 1
        return bytes(size) if self._chunks >= 0 else b""


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(answer: Answer | Exception) -> None:
        def respond(_: http.client.HTTPConnection) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(http.client.HTTPConnection, "request", lambda *_, **__: None)
        monkeypatch.setattr(http.client.HTTPConnection, "getresponse", respond)

    return use


def test_ten_seconds_are_measured_and_no_more(serve: Any) -> None:
    answer = Answer(10_000_000, seconds_each=0.01)
    serve(answer)
    found = measure(URL, 1.0, lambda: answer.now)
    assert found.seconds == pytest.approx(10, abs=0.02) and not found.limited
    assert found.mbit_s == pytest.approx(65_536 * 8 / 0.01 / 1e6)


def test_the_bytes_are_bounded(serve: Any) -> None:
    answer = Answer(10_000_000, seconds_each=1e-6)
    serve(answer)
    found = measure(URL, 1.0, lambda: answer.now)
    assert found.received_bytes <= speedtest.MAX_BYTES + speedtest.CHUNK_BYTES and found.limited


def test_a_short_file_says_so(serve: Any) -> None:
    answer = Answer(3, seconds_each=0.5)
    serve(answer)
    found = measure(URL, 1.0, lambda: answer.now)
    assert found.limited and found.received_bytes == 3 * 65_536


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(3, seconds_each=1, status=404), "status"),
        (Answer(0, seconds_each=1), "empty"),
        (ConnectionRefusedError(), "refused"),
        (TimeoutError(), "silent"),
        (http.client.BadStatusLine("?"), "refused"),
    ],
)
def test_what_goes_wrong_has_a_code(serve: Any, answer: Any, problem: str) -> None:
    serve(answer)
    assert measure(URL, 1.0, lambda: 0.0).problem == problem


def test_only_plain_http_is_fetched() -> None:
    for url in ("https://x/1", "file:///etc/passwd", "http:///x", ""):
        assert measure(url, 1.0).problem == "refused"


def test_one_at_a_time() -> None:
    going, end = threading.Event(), threading.Event()

    def work(_: str, wall_s: float) -> Measured:
        going.set()
        end.wait(5)
        return Measured(wall_s, mbit_s=1.0)

    test = SpeedTest(lambda: Now("b", 1.0, 7.0), work)
    assert test.start(URL) and going.wait(5)
    assert test.running and not test.start(URL)
    end.set()
    for thread in threading.enumerate():
        if thread.name == "speedtest":
            thread.join(5)
    assert not test.running and test.last == Measured(7.0, mbit_s=1.0)
