"""Whole files over lines that break, end and come back, from servers that know ranges, do not, or have another file."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from portal.update import errors, fetching
from portal.update.errors import UpdateError
from tests.update.conftest import Server

CONTENT = random.Random(11).randbytes(1_500_000)
CHUNK = 100_000


class Clock:
    """In the place of the module time."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds


@pytest.fixture(autouse=True)
def offered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "CHUNK", CHUNK)
    server.content = CONTENT


def fetch(
    server: Server, folder: Path, room: list[tuple[int, int]] | None = None, told: list[int] | None = None
) -> Path:
    def asked(size: int, there: int) -> None:
        if room is not None:
            room.append((size, there))

    return fetching.whole(server.url, folder, asked, (told if told is not None else []).append)


def refused(server: Server, folder: Path) -> UpdateError:
    with pytest.raises(UpdateError) as error:
        fetch(server, folder)
    assert error.value.code == errors.FETCH and error.value.hint
    return error.value


def test_it_comes_whole_and_says_how_far_it_is(server: Server, tmp_path: Path) -> None:
    room: list[tuple[int, int]] = []
    told: list[int] = []
    path = fetch(server, tmp_path, room, told)
    assert path.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [path]
    assert room == [(len(CONTENT), 0)] and told == sorted(told) and (told[0], told[-1]) == (0, 93)
    assert server.asked == [None]


def test_an_empty_file_is_one(server: Server, tmp_path: Path) -> None:
    server.content = b""
    assert fetch(server, tmp_path).read_bytes() == b""


@pytest.mark.parametrize("ranges", [True, False])
def test_a_line_that_breaks_is_gone_on_with(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.breaks, server.ranges = (150, True) if ranges else (1, False)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    if ranges:
        assert server.sent == len(CONTENT), "no byte twice"


def test_what_came_before_the_line_ended_is_kept_and_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.lasts = 1_050_000
    assert "what has come is kept" in refused(server, tmp_path).hint
    (part,) = tmp_path.iterdir()
    assert part.stat().st_size == 1_000_000
    server.lasts, server.asked = 1 << 60, []
    room: list[tuple[int, int]] = []
    assert fetch(server, tmp_path, room) == part and part.read_bytes() == CONTENT
    assert room == [(len(CONTENT), 1_000_000)] and server.asked == [None, "bytes=1000000-"]


def test_one_that_was_whole_before_the_power_went_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    path = fetch(server, tmp_path)
    server.asked = []
    room: list[tuple[int, int]] = []
    assert fetch(server, tmp_path, room) == path and path.read_bytes() == CONTENT
    assert room == [(len(CONTENT), len(CONTENT))] and server.asked == [None]


@pytest.mark.parametrize(("attribute", "value"), [("version", "2"), ("content", CONTENT[:-1])])
def test_two_files_never_become_one(server: Server, tmp_path: Path, attribute: str, value: object) -> None:
    """The server has another file by the time the line is back."""
    server.lasts = 500_000
    refused(server, tmp_path)
    (part,) = tmp_path.iterdir()
    setattr(server, attribute, value)
    server.lasts = 1 << 60
    path = fetch(server, tmp_path)
    assert path != part and list(tmp_path.iterdir()) == [path] and path.read_bytes() == server.content


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_changes_while_it_comes_is_told(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.breaks, server.ranges = 1, ranges
    source = fetching.UrlSource(server.url, sleep=lambda _: setattr(server, "version", "2"))
    with pytest.raises(UpdateError, match="not the file any more") as error:
        source.read(100_000)
    assert error.value.code == errors.FETCH


@pytest.mark.parametrize(("kbit", "line_kbit", "seconds"), [(None, 4000, 3), (2000, 4000, 6), (4000, 2000, 6)])
def test_it_takes_no_more_of_the_line_than_it_may_and_all_of_a_slower_one(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kbit: int | None, line_kbit: int, seconds: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(fetching, "time", clock)
    source = fetching.UrlSource(server.url, kbit, clock.sleep)
    for _ in range(len(CONTENT) // CHUNK):
        source.read(CHUNK)
        clock.sleep(CHUNK * 8 / 1000 / line_kbit)
    source.close()
    assert clock.monotonic() == pytest.approx(seconds, rel=0.05)


def test_after_a_slow_stretch_it_is_no_faster_than_before(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(fetching, "time", clock)
    source = fetching.UrlSource(server.url, 8000, clock.sleep)
    source.read(CHUNK)
    clock.sleep(3600)
    source.read(CHUNK)
    before_s = clock.monotonic()
    source.read(1_000_000)
    source.close()
    assert clock.monotonic() - before_s == pytest.approx(1)


def test_without_room_nothing_is_fetched(server: Server, tmp_path: Path) -> None:
    def no_room(*_: int) -> None:
        raise UpdateError(errors.ROOM, "", "")

    with pytest.raises(UpdateError) as error:
        fetching.whole(server.url, tmp_path, no_room, lambda _: None)
    assert error.value.code == errors.ROOM and [path.stat().st_size for path in tmp_path.iterdir()] == [0]


def test_a_server_that_does_not_say_how_much_will_come_is_refused(server: Server, tmp_path: Path) -> None:
    server.length = False
    assert "how long" in refused(server, tmp_path).message and list(tmp_path.iterdir()) == []


def test_an_address_that_is_wrong_is_told_at_once(server: Server, tmp_path: Path) -> None:
    for url in (f"{server.url}-not", "http://127.0.0.1:9/file", "http://[::1/file", "http://127.0.0.1:9x/file"):
        with pytest.raises(UpdateError) as error:
            fetching.whole(url, tmp_path, lambda *_: None, lambda _: None)
        assert error.value.code == errors.FETCH and error.value.hint, url
    assert len(server.asked) == 1 and list(tmp_path.iterdir()) == []


def test_what_others_left_goes_and_what_is_named_stays(tmp_path: Path) -> None:
    for name in ("coming-1", "coming-rebuilt.raucb.part", "state.json"):
        (tmp_path / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "coming-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "coming-2" / "deeper").mkdir(parents=True)
    (tmp_path / "coming-2" / "link").symlink_to(tmp_path / "elsewhere")
    fetching.forget(tmp_path, tmp_path / "coming-rebuilt.raucb", Path("http://10.0.0.1/x.raucb"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coming-rebuilt.raucb.part", "elsewhere", "state.json"]
