"""Forgetting an address's connections must not touch anybody else's: a masqueraded one would be cut at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from tests.kernel.scene import Scene
from tests.village import links
from tests.village.netns import Namespace


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
            sockets[-1].sendto(b"x", (f"{prefix}{number}", 9))
    yield gateway
    for sock in sockets:
        sock.close()


def sources(gateway: Namespace) -> set[str]:
    """Original source addresses of all tracked connections."""

    def dump() -> set[str]:
        found = set()
        with NFCTSocket() as conntrack:
            for family in (socket.AF_INET, socket.AF_INET6):
                for entry in conntrack.dump(nfgen_family=family) if family == 2 else conntrack.dump(nfgen_family=10):
                    ends = entry.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_IP")
                    found.add(ends.get_attr("CTA_IP_V4_SRC") or ends.get_attr("CTA_IP_V6_SRC"))
        return found

    return gateway.call(dump)


@pytest.mark.parametrize("gone", ["10.88.0.2", "fd88::2"])
def test_connections_of_others_stay(scene: Scene, connected: Namespace, gone: str) -> None:
    before = sources(connected)
    assert {f"10.88.0.{n}" for n in (1, 2, 3)} | {f"fd88::{n}" for n in (1, 2, 3)} <= before
    scene.kernel.flush_connections([gone])
    assert before - sources(connected) <= {gone}
