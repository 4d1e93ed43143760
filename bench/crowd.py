"""Phones of a virtual village that have their leases and know their router, ready to go online at once or one by one.

It must not know measures. Opening files is bounded by raising this process's own limit.
"""

from __future__ import annotations

import random
import resource
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import visits
from bench.visits import Script, Visit, VisitError
from tests.village import links
from tests.village.internet import WEB
from tests.village.phone import INTERFACE, Phone
from tests.village.village import Village

SOCKETS_A_VISIT = 5
NUD_PERMANENT = 0x80


@contextmanager
def on_disk() -> Iterator[Path]:
    """A directory on a disk, not in memory: a session counts once it is fsynced, and that has its price."""
    with tempfile.TemporaryDirectory(prefix="gerbang-bench-", dir="/var/tmp") as directory:
        yield Path(directory)


@contextmanager
def crowd(count: int, *, gateway: str = "gerbang", **options: Any) -> Iterator[Village]:
    """A village whose phones have joined: leased, with the router's MAC known, as it is minutes after joining.

    The router's entry is pinned in the phones because the kernel bounds the unpinned neighbours of all namespaces
    together (net.ipv4.neigh.default.gc_thresh3, 1024), which 500 real phones would not share with their gateway.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 1024 + count * (SOCKETS_A_VISIT + 4))), hard))
    with on_disk() as data, Village(phones=count, gateway=gateway, **{"data_dir": data, **options}) as village:
        # dnsmasq picks an address by a hash of the MAC, which neighbours in the village's row of MACs share at times:
        # of two that ask at the same moment one would be refused, and udhcpc then waits 3 s.
        village.dhcp_all(random.Random(0).sample(village.phones, count))
        router = village.gateway.url.removeprefix("http://").rstrip("/")
        village.phones[0].is_online()  # asks its router for the way, whatever the answer
        router_mac = village.phones[0].neighbour_mac(router)
        if router_mac is None:
            raise RuntimeError("the first phone does not know its router's MAC")
        for phone in village.phones:
            _pin(phone, router, router_mac)
        yield village


def _pin(phone: Phone, router: str, mac: str) -> None:

    def job(ip: Any) -> None:
        ip.neigh("replace", dst=router, lladdr=mac, ifindex=links.index(ip, INTERFACE), state=NUD_PERMANENT)

    links.rtnl(phone.ns, job)


def go(phones: Sequence[Phone], script: Any, *, timeout_s: float = 60) -> list[Visit]:
    """Send all phones on their way at the same moment; ``script`` makes each one's Script from its Visit."""
    every = [Visit(index) for index in range(len(phones))]

    def sockets(index: int) -> list[socket.socket]:
        return phones[index].ns.call(lambda: [socket.socket() for _ in range(SOCKETS_A_VISIT)])

    visits.run([(visit, script(visit)) for visit in every], sockets, timeout_s=timeout_s)
    return every


def online(visit: Visit) -> Script:
    return visits.way_online(visit, WEB)


def plain(visit: Visit) -> Script:
    return visits.requests_only(visit, WEB)


def log_out(phones: Sequence[Phone], portal_url: str, *, at_once: int = 50) -> None:
    """End these phones' sessions by the status page's button."""

    def script(visit: Visit) -> Script:
        reply = yield visits.get(portal_url + "status")
        action, fields = visits.first_form(reply.text(), portal_url, "logout")
        reply = yield visits.post(action, fields)
        if reply.status != 303:
            raise VisitError(f"logging out got {reply.status}")

    for start in range(0, len(phones), at_once):
        errors = [visit.error for visit in go(phones[start : start + at_once], script) if visit.error]
        if errors:
            raise RuntimeError(f"{len(errors)} phones could not log out: {errors[0]}")
