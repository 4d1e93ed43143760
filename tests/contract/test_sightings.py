"""What a kernel tells of connections (netctl.kernel.base.Kernel.take_sightings): one suite, in memory and for real."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from netctl.kernel.base import Flow, Sighting
from netctl.kernel.fake import FakeKernel
from tests.kernel.scene import INTERNET4, INTERNET6, UPLINK4, UPLINK6, Scene, admit, config, listen

PHONE = 5
PHONE4, PHONE6 = f"10.77.1.{PHONE}", f"fd12:3456:789a:1::{PHONE}"
MAC = f"02:00:00:00:00:{PHONE:02x}"
ENDS = {4: (PHONE4, UPLINK4, INTERNET4), 6: (PHONE6, UPLINK6, INTERNET6)}
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP


@dataclass
class Subject:
    """A kernel, and a phone of a member that opens a connection: (family, protocol, port there) -> its own port."""

    kernel: Any
    connect: Callable[[int, int, int], int]
    logging: bool


def _fake(directory: Path, logging: bool) -> Iterator[Subject]:
    kernel = FakeKernel(config(directory, log_connections=logging))

    def connect(family: int, protocol: int, port: int) -> int:
        inner, outer, remote = ENDS[family]
        now = round(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
        kernel.connect(Sighting(Flow.BEGIN, now, protocol, inner, 40_000, outer, 40_000, remote, port))
        return 40_000

    yield Subject(kernel, connect, logging)


def _linux(directory: Path, logging: bool) -> Iterator[Subject]:
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    sockets: list[socket.socket] = []
    with Scene(directory, log_connections=logging) as scene:
        phone = scene.phone(PHONE)

        def connect(family: int, protocol: int, port: int) -> int:
            remote = ENDS[family][2]
            if protocol == TCP:
                sockets.append(listen(scene.internet, remote, port))
                sockets.append(phone.connect(remote, port))
            else:
                sockets.append(phone.namespace.socket(socket.AF_INET if family == 4 else socket.AF_INET6, 2))
                sockets[-1].connect((remote, port))
                sockets[-1].send(b"x")
            return int(sockets[-1].getsockname()[1])

        yield Subject(scene.kernel, connect, logging)
        for sock in sockets:
            sock.close()


@pytest.fixture(params=["fake", "linux"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[bool], Subject]]:
    made: list[Iterator[Subject]] = []

    def build(logging: bool) -> Subject:
        made.append({"fake": _fake, "linux": _linux}[request.param](tmp_path, logging))
        subject = next(made[0])
        subject.kernel.setup()
        subject.kernel.apply(admit(MAC, PHONE4, PHONE6))
        return subject

    yield build
    for one in made:
        with closing(one):  # type: ignore[type-var]
            next(one, None)


def seen(subject: Subject, ready: Callable[[list[Sighting]], bool]) -> list[Sighting]:
    """What is told until it is enough; of the phone alone."""
    found: list[Sighting] = []
    ends_s = time.monotonic() + 10
    while not ready(found):
        assert time.monotonic() < ends_s, found
        found += [s for s in subject.kernel.take_sightings()[0] if s.inner in (PHONE4, PHONE6)]
        time.sleep(0.02)
    return found


@pytest.fixture
def listening(make: Callable[[bool], Subject]) -> Subject:
    """A kernel that tells already: the first connection was seen."""
    subject = make(True)
    subject.kernel.take_sightings()
    subject.connect(4, UDP, 9)
    seen(subject, bool)
    return subject


def test_without_the_switch_nothing_is_told(make: Callable[[bool], Subject]) -> None:
    subject = make(False)
    for _ in range(3):
        subject.connect(4, UDP, 53)
        assert subject.kernel.take_sightings() == ((), 0)


@pytest.mark.parametrize(("family", "protocol", "port"), [(4, TCP, 80), (4, UDP, 53), (6, TCP, 80), (6, UDP, 53)])
def test_a_connection_that_begins_is_told_once_with_both_its_sources_and_when(
    listening: Subject, family: int, protocol: int, port: int
) -> None:
    before_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
    inner_port = listening.connect(family, protocol, port)
    found = seen(listening, lambda found: any(s.remote_port == port for s in found))
    inner, outer, remote = ENDS[family]
    (told,) = [s for s in found if s.remote_port == port]
    assert told.outer_port in (inner_port, *range(1024, 65536))
    assert replace(told, at_boot_ms=0, outer_port=0) == Sighting(
        Flow.BEGIN, 0, protocol, inner, inner_port, outer, 0, remote, port
    )
    assert before_ms - 1 <= told.at_boot_ms <= time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
    assert listening.kernel.take_sightings()[1] == 0


def test_what_is_forgotten_with_its_member_is_told_to_end(listening: Subject) -> None:
    port = listening.connect(4, TCP, 80)
    begun = seen(listening, lambda found: any(s.inner_port == port for s in found))[-1]
    listening.kernel.flush_connections([PHONE4])
    ended = [s for s in seen(listening, lambda found: any(s.inner_port == port for s in found)) if s.remote_port == 80]
    assert [replace(s, at_boot_ms=begun.at_boot_ms) for s in ended] == [replace(begun, flow=Flow.END)]


def test_what_is_open_when_it_begins_to_look_is_told(make: Callable[[bool], Subject]) -> None:
    subject = make(True)
    port = subject.connect(4, TCP, 80)
    subject.kernel.take_sightings()
    found = seen(subject, bool)
    assert [(s.inner_port, s.remote_port) for s in found] == [(port, 80)]
