"""The village itself: that it is a network, that it leaves nothing behind, that its measures count right."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import processes_in
from tests.village import measure
from tests.village.internet import REPOSITORY, WEB
from tests.village.netns import Namespace, keeper
from tests.village.village import Village

# Builds a village with a joined phone, prints the namespaces it made, and waits to be killed.
_CHILD = """
import sys, time
from tests.village.village import Village
v = Village(phones=2, gateway=sys.argv[1])
v.phones[0].dhcp()
v.phones[0].ns.popen(["sleep", "600"])
spaces = [v.internet.ns, v.air, v.gateway.ns, *(phone.ns for phone in v.phones)]
print(*(space.inode for space in spaces), flush=True)
time.sleep(600)
"""


def _named() -> list[str]:
    directory = Path("/run/netns")
    return sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []


@pytest.mark.parametrize("gateway", ["nat", "gerbang"])
def test_a_killed_run_leaves_no_process_and_no_namespace(gateway: str) -> None:
    names_before = _named()
    child = subprocess.Popen([sys.executable, "-c", _CHILD, gateway], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        inodes = set(child.stdout.readline().split())
        assert len(inodes) == 5, "the village did not come up"
        assert len(processes_in(inodes)) >= 4, "its programs were looked for in the wrong place"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    end_s = time.monotonic() + 5
    while (left := processes_in(inodes)) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert left == []
    mounts = Path("/proc/self/mountinfo").read_text()
    assert not [inode for inode in inodes if f"net:[{inode}]" in mounts]
    assert _named() == names_before


def test_the_main_thread_never_leaves_home() -> None:
    home = Path("/proc/self/ns/net").readlink()
    space = Namespace("elsewhere")
    try:
        inside = space.call(lambda: Path("/proc/thread-self/ns/net").readlink())
        assert inside == Path(f"net:[{space.inode}]") != home
        assert Path("/proc/self/ns/net").readlink() == home
        with pytest.raises(ZeroDivisionError):
            space.call(lambda: 1 // 0)
        assert Path("/proc/self/ns/net").readlink() == home
        assert space.run(["readlink", "/proc/self/ns/net"]).stdout.strip() == f"net:[{space.inode}]"
    finally:
        space.close()
    assert keeper().call(None, lambda: Path("/proc/thread-self/ns/net").readlink()) == home


def test_plain_nat_village_and_its_measures() -> None:
    """The bench's baseline: real leases, both families, and a tap that agrees with the cable's own counters."""
    with Village(phones=2, gateway="nat") as village:
        one, two = village.phones
        assert one.dhcp().address != two.dhcp().address
        assert one.is_online()
        assert measure.ping(one, two.address, count=1)[0] is not None, "phones on an access point reach one another"
        one.wait_ipv6()
        host = village.internet.host
        assert one.http(f"http://{host}/peer", family=6).ip_family == 6
        before = _device_bytes(one.ns)
        with measure.Tap(one) as tap:
            for family in (4, 6):
                assert len(one.http(f"http://{host}/bytes?n=300000", family=family).body) == 300_000
            time.sleep(0.2)
        after = _device_bytes(one.ns)
        # The device counts 14 bytes of Ethernet more on each packet, and what stays on the LAN (DNS, neighbours).
        for was, now, seen in zip(before, after, (tap.up_bytes, tap.down_bytes), strict=True):
            local = (now[0] - was[0]) - 14 * (now[1] - was[1]) - seen
            assert 0 <= local < 3000, f"{local} bytes are unaccounted for"


def test_an_isolating_access_point_keeps_phones_apart() -> None:
    with Village(phones=2, gateway="nat", isolated=True, ipv6=False) as village:
        village.dhcp_all()
        one, two = village.phones
        assert one.is_online() and two.is_online()
        assert measure.ping(one, two.address, count=1, timeout_s=0.3) == [None]
        assert measure.ping(one, WEB, count=1)[0] is not None


def _device_bytes(ns: Namespace) -> list[tuple[int, int]]:
    """(bytes, packets) sent and received by wlan0."""
    words = ns.call(lambda: Path("/proc/thread-self/net/dev").read_text()).split("wlan0:")[1].split()
    return [(int(words[8]), int(words[9])), (int(words[0]), int(words[1]))]
