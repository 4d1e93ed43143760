"""What the NAT log costs: CPU for each new connection with the switch on and off, and memory. It must not know chunks.

Method: a phone that is online sends one datagram each to many ports, so that each is a connection that begins; a
minute's worth of a busy village in some seconds, paced so that nothing is lost. Counted are all processes of the
gateway and the sending thread, in which veth runs the kernel's part. Connections that end cost as much again, later.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import closing

from bench.result import Result
from portal.sealing import OfficeSecret
from tests.village import internet, story
from tests.village.gateway import GerbangGateway
from tests.village.phone import Phone
from tests.village.village import Village

CONNECTIONS = 6000
PER_S = 1000
ROUNDS = 3


def _cpu_s(gateway: GerbangGateway) -> float:
    return sum(process.cpu_s for process in gateway.processes())


def _round(gateway: GerbangGateway, phone: Phone, first_port: int) -> float:
    """CPU microseconds for each of the connections, with what the gateway uses at rest in that time."""
    before, sent = _cpu_s(gateway), 0.0
    ends_s = time.monotonic() + CONNECTIONS / PER_S + 2
    with closing(phone.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        for burst in range(CONNECTIONS // 100):
            began = time.thread_time()
            for number in range(100):
                sock.sendto(b"x", (internet.WEB, first_port + 100 * burst + number))
            sent += time.thread_time() - began
            time.sleep(100 / PER_S)
    time.sleep(max(0.0, ends_s - time.monotonic()))  # what was heard is told
    return (_cpu_s(gateway) - before + sent) / CONNECTIONS * 1e6


def _village(nat: bool) -> Iterator[tuple[GerbangGateway, Phone]]:
    site = {"plan": [story.PLAN], "log": {"nat": nat}, "office": {"key": OfficeSecret(bytes(32), bytes(32)).key.line}}
    with Village(phones=1, ipv6=False, site=site) as village:
        assert isinstance(village.gateway, GerbangGateway)
        village.dhcp_all()
        (phone,) = village.phones
        phone.login()
        phone.wait_online()
        time.sleep(5)  # what a start has to do
        yield village.gateway, phone


def nat_log() -> Iterator[Result]:
    found: dict[bool, list[float]] = {}
    pss: dict[bool, float] = {}
    for nat in (False, True):
        for gateway, phone in _village(nat):
            found[nat] = [_round(gateway, phone, 2000 + CONNECTIONS * number) for number in range(ROUNDS)]
            pss[nat] = sum(process.pss_kib for process in gateway.processes()) / 1024
            if nat and gateway.netctl().connections("", 0, 0).lost:
                raise RuntimeError("connections were lost: the figure would be too good")
    off, on = (statistics.median(found[nat]) for nat in (False, True))
    yield Result(
        "nat_log_us_per_connection",
        on - off,
        "us CPU",
        samples=[one - off for one in found[True]],
        note=f"a connection that begins, {on:.0f} against {off:.0f} with the switch off; its end costs it again",
    )
    yield Result(
        "nat_log_memory_mb",
        pss[True] - pss[False],
        "MB",
        note="PSS of all processes, on against off, one person online",
    )
