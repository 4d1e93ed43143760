"""Forgetting an address's connections must not touch anybody else's: a masqueraded one would be cut at once."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from netctl.kernel.wire import NETLINK_NETFILTER, Message, Netlink, attributes
from tests.kernel.scene import Scene
from tests.village import links
from tests.village.netns import Namespace

# include/uapi/linux/netfilter/nfnetlink_conntrack.h
CT_GET = 1 << 8 | 1
CTA_TUPLE_ORIG, CTA_TUPLE_IP, CTA_IP_V4_SRC, CTA_IP_V6_SRC = 1, 1, 1, 3


EVERYBODY = {f"10.88.0.{n}" for n in (1, 2, 3)} | {f"fd88::{n}" for n in (1, 2, 3)}


@pytest.fixture
def connected(scene: Scene) -> Iterator[Namespace]:
    """The gateway tracks one connection from each of three addresses in both families."""
    gateway = scene.gateway
    for tool in ("iptables-legacy", "ip6tables-legacy"):  # what makes the kernel track at all
        gateway.run([tool, "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT"])
    sockets = []
    for family, prefix, length in ((socket.AF_INET, "10.88.0.", 24), (socket.AF_INET6, "fd88::", 64)):
        for number in (1, 2, 3):
            links.add_address(gateway, "lo", f"{prefix}{number}/{length}", nodad=True)
            sockets.append(gateway.socket(family, socket.SOCK_DGRAM))
            sockets[-1].bind((f"{prefix}{number}", 0))
    end_s = time.monotonic() + 3
    while not sources(gateway) >= EVERYBODY and time.monotonic() < end_s:
        for sock in sockets:
            sock.sendto(b"x", (sock.getsockname()[0], 9))
    yield gateway
    for sock in sockets:
        sock.close()


def sources(gateway: Namespace) -> set[str]:
    """Original source addresses of all tracked connections."""

    def dump() -> set[str]:
        found = set()
        with closing(Netlink(NETLINK_NETFILTER)) as netlink:
            for family, source in ((socket.AF_INET, CTA_IP_V4_SRC), (socket.AF_INET6, CTA_IP_V6_SRC)):
                for data, start, end in netlink.dump(Message(CT_GET, 0, bytes((family, 0, 0, 0)))):
                    original = attributes(data, start + 4, end)[CTA_TUPLE_ORIG]
                    ends = attributes(original, 0, len(original))[CTA_TUPLE_IP]
                    found.add(socket.inet_ntop(family, attributes(ends, 0, len(ends))[source]))
        return found

    return gateway.call(dump)


@pytest.mark.parametrize("gone", ["10.88.0.2", "fd88::2"])
def test_connections_of_others_stay(scene: Scene, connected: Namespace, gone: str) -> None:
    before = sources(connected)
    assert before >= EVERYBODY
    scene.kernel.flush_connections([gone])
    assert before - sources(connected) <= {gone}
