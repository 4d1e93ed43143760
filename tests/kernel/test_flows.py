"""Who spoke with whom, on the real kernel: exactly the members' connections, with what the world saw of them."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from netctl.api.types import Connection, DesiredState, Grant
from netctl.engine import Engine
from tests.kernel.scene import INTERNET4, INTERNET6, UPLINK4, UPLINK6, Phone, Scene, listen

MEMBER, STRANGER, SESSION = 5, 6, 41


class Desk:
    """The engine on the scene's kernel, and all that it has told so far."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.engine: Any = scene.gateway.call(lambda: Engine(scene.config, scene.kernel))
        self.engine.start()
        self.told: list[Connection] = []
        self.lost = 0
        self._stream, self._after = "", 0

    def admit(self, *phones: Phone) -> None:
        for phone in phones:  # the gateway must have heard of its IPv6 address
            phone.namespace.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", ("fd12:3456:789a:1::1", 9))
        grants = tuple(
            Grant(id=n, mac=p.mac, ipv4=p.ipv4, down_kbit=None, up_kbit=None, deadline_boot_s=None)
            for n, p in enumerate(phones, SESSION)
        )
        generation = self.engine.status().generation + 1
        self.engine.apply(DesiredState(epoch="epoch-of-tests", generation=generation, grants=grants))
        self.until(lambda: self._learned(phones))

    def _learned(self, phones: tuple[Phone, ...]) -> bool:
        self.engine.learn()
        self.engine.due()
        return {p.ipv6 for p in phones} <= set(self.scene.kernel.members())

    def listen(self) -> None:
        """From now on connections are told."""
        probe = self.scene.gateway.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with closing(probe):
            self.until(lambda: self._hears(probe))
        self.take()

    def _hears(self, probe: socket.socket) -> bool:
        listener = self.scene.kernel._subject._listener
        if listener._process is None:
            self.engine.tick()
            return False
        groups = {line.split()[3] for line in self.scene.out("cat", "/proc/net/netlink").splitlines()}
        return "00000005" in groups

    def take(self) -> None:
        found = self.engine.connections(self._stream, self._after, 10_000)
        self._stream, self._after, self.lost = found.stream, found.last, found.lost
        self.told += found.records

    def until(self, true: Callable[[], object]) -> None:
        ends_s = time.monotonic() + 20
        while not true():
            assert time.monotonic() < ends_s, self.told
            time.sleep(0.02)

    def hear(self, count: int) -> list[Connection]:
        """What is told until there are so many."""

        def enough() -> bool:
            self.take()
            return len(self.told) >= count

        self.until(enough)
        return self.told

    @property
    def process(self) -> int:
        return int(self.scene.kernel._subject._listener._process.pid)


@pytest.fixture
def desk(scene: Scene) -> Iterator[Desk]:
    yield Desk(scene)


pytestmark = pytest.mark.parametrize("scene", [{"log_connections": True}], indirect=True)


def told(flow: str, protocol: int, ends: tuple[str, str, str], ports: tuple[int, int, int]) -> tuple[Any, ...]:
    return flow, SESSION, protocol, ends[0], ports[0], ends[1], ports[1], ends[2], ports[2]


def as_told(found: Connection) -> tuple[Any, ...]:
    return (
        found.flow,
        found.grant,
        found.protocol,
        found.inner,
        found.inner_port,
        found.outer,
        found.outer_port,
        found.remote,
        found.remote_port,
    )


def test_a_members_connections_are_told_exactly_and_a_strangers_never(desk: Desk) -> None:
    scene = desk.scene
    member, stranger = scene.phone(MEMBER), scene.phone(STRANGER)
    desk.admit(member)
    desk.listen()
    expected = []
    for protocol, remote, outer, inner in (
        (6, INTERNET4, UPLINK4, member.ipv4),
        (6, INTERNET6, UPLINK6, member.ipv6),
        (17, INTERNET4, UPLINK4, member.ipv4),
        (17, INTERNET6, UPLINK6, member.ipv6),
    ):
        kind = socket.SOCK_STREAM if protocol == 6 else socket.SOCK_DGRAM
        family = socket.AF_INET6 if ":" in remote else socket.AF_INET
        with closing(listen(scene.internet, remote, 5000 + protocol, kind)) as server:
            with closing(stranger.namespace.socket(family, kind)) as outside, pytest.raises(OSError):
                outside.settimeout(1)
                outside.connect((remote, 5000 + protocol))
                outside.send(b"x")
                outside.recv(1)
            with closing(member.namespace.socket(family, kind)) as sock:
                sock.connect((remote, 5000 + protocol))
                if protocol == 6:
                    accepted, seen = server.accept()
                    accepted.close()
                else:
                    sock.send(b"x")
                    seen = server.recvfrom(1)[1]
                assert seen[0] == outer
                ports = (sock.getsockname()[1], seen[1], 5000 + protocol)
        expected.append(told("begin", protocol, (inner, outer, remote), ports))
    found = [as_told(c) for c in desk.hear(4)]
    assert [c for c in found if c[0] == "begin"] == expected
    assert desk.lost == 0


def test_two_phones_on_one_port_are_told_apart_by_what_the_world_saw(desk: Desk) -> None:
    scene = desk.scene
    phones = [scene.phone(MEMBER), scene.phone(7)]
    desk.admit(*phones)
    desk.listen()
    world = {}
    with closing(listen(scene.internet, INTERNET4, 5017, socket.SOCK_DGRAM)) as server:
        for session, phone in enumerate(phones, SESSION):
            with closing(phone.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
                sock.bind((phone.ipv4, 40_000))
                sock.sendto(b"x", (INTERNET4, 5017))
                world[server.recvfrom(1)[1]] = (session, phone.ipv4)
    found = {(c.outer, c.outer_port): (c.grant, c.inner) for c in desk.hear(2) if c.remote_port == 5017}
    assert len(world) == 2
    assert found == world


def test_a_listener_that_is_killed_comes_back_and_tells_what_is_open_meanwhile(desk: Desk) -> None:
    scene = desk.scene
    member = scene.phone(MEMBER)
    desk.admit(member)
    desk.listen()
    os.kill(desk.process, signal.SIGKILL)
    with closing(listen(scene.internet, INTERNET4, 5006)), closing(member.connect(INTERNET4, 5006)) as sock:
        desk.until(lambda: desk.engine.tick() or any(c.flow == "open" for c in desk.hear(0)))
        assert [c.inner_port for c in desk.told if c.remote_port == 5006] == [sock.getsockname()[1]]
    assert desk.lost >= 1


def test_a_flood_is_lost_in_part_and_counted_to_the_last_one(desk: Desk) -> None:
    scene = desk.scene
    member = scene.phone(MEMBER)
    desk.admit(member)
    desk.listen()
    flood = 20_000
    os.kill(desk.process, signal.SIGSTOP)  # it cannot keep up
    with closing(member.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        for port in range(1024, 1024 + flood):
            sock.sendto(b"x", (INTERNET4, port))
    os.kill(desk.process, signal.SIGCONT)

    def all_accounted_for() -> bool:
        desk.take()
        begun = {c.remote_port for c in desk.told if c.flow == "begin"}
        return len(begun) + desk.lost >= flood

    desk.until(all_accounted_for)
    begun = [c for c in desk.told if c.flow == "begin"]
    assert 0 < desk.lost < flood
    assert len(begun) == len({c.remote_port for c in begun})
    assert len(begun) + desk.lost == flood


def test_the_daemon_leaves_no_listener_behind(desk: Desk) -> None:
    desk.listen()
    process = desk.process
    desk.engine.stop(keep=False)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


EVENTS = "net.netfilter.nf_conntrack_events"


@pytest.mark.parametrize(("before", "meanwhile"), [("0", "1"), ("1", "1"), ("2", "2")])
def test_a_kernel_that_was_told_to_tell_nothing_tells_until_the_daemon_is_gone(
    scene: Scene, before: str, meanwhile: str
) -> None:
    scene.gateway.sysctl(EVENTS, before)
    scene.kernel.setup()
    assert scene.out("sysctl", "-n", EVENTS).strip() == meanwhile
    scene.kernel.teardown()
    assert scene.out("sysctl", "-n", EVENTS).strip() == before
