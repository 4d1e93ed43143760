"""A full disk, a read-only and a corrupt database: the page and `gerbang doctor` say so, who is online stays online,
nothing that was written is lost, and no empty database takes a broken one's place."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import NewPhone, phones_of
from tests.village import story
from tests.village.gateway import DATA, RUN, GerbangGateway
from tests.village.http import Response
from tests.village.phone import Phone
from tests.village.village import Village


@pytest.fixture
def small_village() -> Iterator[Village]:
    """A gateway whose data directory is a small file system of its own."""
    with Village(phones=0, ipv6=False, site={"plan": [story.PLAN]}, data_size="4m") as v:
        yield v


@pytest.fixture
def new(small_village: Village) -> Iterator[NewPhone]:
    with phones_of(small_village) as made:
        yield made


@pytest.fixture
def box(small_village: Village) -> GerbangGateway:
    assert isinstance(small_village.gateway, GerbangGateway)
    return small_village.gateway


def _tap(gateway: GerbangGateway, phone: Phone) -> Response:
    return phone.http(f"{gateway.url}login", method="POST")


def _doctor(gateway: GerbangGateway) -> tuple[int, list[dict[str, str]]]:
    places = ["--run-dir", str(RUN), "--data-dir", str(DATA), "--json"]
    done = gateway.box.run(gateway.command("doctor", *places))
    return done.returncode, [f for f in json.loads(done.stdout) if f["level"] != "ok"]


def _log_is_whole(gateway: GerbangGateway) -> bool:
    done = gateway.box.run(gateway.command("journal", "verify", "--run-dir", str(RUN), "--data-dir", str(DATA)))
    assert done.returncode == 0, done.stderr
    return done.stdout.startswith("The log is whole")


@contextmanager
def _full(directory: Path) -> Iterator[None]:
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_disk(box: GerbangGateway, new: NewPhone) -> None:
    user, late = new(), new()
    user.login()
    with _full(box.data):
        answer = _tap(box, late)
        assert answer.status == 503
        assert "database-full" in answer.text, "the page carries the code that the technician looks up"
        assert answer.headers["retry-after"].isdigit()
        assert not late.is_online()
        assert user.is_online(), "who is online stays online"
        assert user.http(f"{box.url}status").status == 200, "and sees its page"
        code, findings = _doctor(box)
        assert code != 0
        assert [f for f in findings if f["name"] == "disk" and f["level"] == "fail" and f["fix"]], findings
        killed = box.kill("guest")
        box.wait_restarted("guest", killed)
        box.wait_ready()
        assert user.is_online()
        assert _tap(box, late).status == 503, "a restart on the full disk changes nothing"
    assert _tap(box, late).status == 303, "and with space it goes on by itself"
    assert late.is_online()
    assert user.is_online()
    assert len(box.sql("SELECT id FROM session WHERE ended_wall_s IS NULL")) == 2
    assert _log_is_whole(box)


def _restart_portal(gateway: GerbangGateway, meanwhile: Callable[[], None] | None = None) -> None:
    """The portal's processes open the database anew."""
    for name in ("meter", "guest"):
        killed = gateway.kill(name)
        if meanwhile is not None:
            meanwhile()
            meanwhile = None
        gateway.wait_restarted(name, killed)
    gateway.wait_ready()


def test_a_read_only_database(box: GerbangGateway, new: NewPhone) -> None:
    """As when a dying SD card makes the kernel mount it read-only."""
    user, late = new(), new()
    user.login()

    def mount(*words: str) -> None:
        done = box.box.run(list(words))
        assert done.returncode == 0, done.stderr

    def freeze() -> None:
        mount("mount", "--bind", str(DATA), str(DATA))
        mount("mount", "-o", "remount,bind,ro", str(DATA))

    _restart_portal(box, freeze)
    answer = _tap(box, late)
    assert answer.status == 503
    assert "database" in answer.text
    assert not late.is_online()
    assert user.is_online()
    code, findings = _doctor(box)
    assert code != 0
    assert [f for f in findings if "read-only" in f["message"] and f["level"] == "fail" and f["fix"]], findings
    mount("umount", "--lazy", str(DATA))
    _restart_portal(box)
    assert _tap(box, late).status == 303
    assert late.is_online() and user.is_online()
    assert _log_is_whole(box)


@pytest.mark.parametrize("how", ["garbage", "torn page", "truncated", "removed"])
def test_a_corrupt_database(box: GerbangGateway, new: NewPhone, how: str) -> None:
    user, late = new(), new()
    user.login()
    database = box.data / "gerbang.db"
    size = database.stat().st_size

    def corrupt() -> None:
        log = database.with_name(database.name + "-wal")
        if how == "garbage":
            database.write_bytes(os.urandom(size))
        elif how == "torn page":
            with database.open("r+b") as file:
                file.seek(4096)
                file.write(b"\xa5" * (size - 4096))
            log.unlink(missing_ok=True)
        elif how == "truncated":
            os.truncate(database, 5000)
            log.unlink(missing_ok=True)
        else:
            database.unlink()

    _restart_portal(box, corrupt)
    broken = database.read_bytes() if database.exists() else None
    answer = _tap(box, late)
    assert answer.status == 503
    assert "database-corrupt" in answer.text
    assert not late.is_online()
    assert user.is_online(), "who is online stays online"
    code, findings = _doctor(box)
    assert code != 0
    assert [f for f in findings if f["name"] == "database" and f["level"] == "fail" and "recover" in f["fix"]], findings

    # The whole gateway stopped and started again: no empty database, and the broken file is where it was.
    box.stop()
    box.start(wait=False)
    answer = _until_answered(box, late)
    assert answer is None or answer.status == 503
    assert not late.is_online()
    after = database.read_bytes() if database.exists() else None
    assert after == broken or broken is None
    if broken is None:
        assert after is None, "an empty database took the place of the lost one"


def _until_answered(gateway: GerbangGateway, phone: Phone) -> Response | None:
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        try:
            return _tap(gateway, phone)
        except OSError:
            time.sleep(0.1)
    return None
