"""Phones on the air of the box itself: a second simulated radio (mac80211_hwsim) in a namespace of the box.

It must not know hostapd or its configuration. The unit below is what plugging a radio in is on a real box.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.image.machine import Machine, NotReached
from tests.village import http, internet

# Two radios at boot, before the box looks for its own. They are systemd's credentials, by name.
PLUGGED: dict[str, str] = {
    "systemd.extra-unit.hwsim.service": """[Unit]
DefaultDependencies=no
After=systemd-udevd.service systemd-modules-load.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/modprobe mac80211_hwsim radios=2
ExecStart=/usr/bin/udevadm settle
""",
    "systemd.unit-dropin.gerbang-network.service": "[Unit]\nWants=hwsim.service\nAfter=hwsim.service\n",
}
CLIENT = "client"
JOINED_WITHIN_S = 120.0
TRIED_AGAIN_AFTER_S = 15.0

# What a phone's captive browser does; below the text of tests/village/http.py. The name is resolved already.
_BROWSE = """

def _ask(address, url, method="GET", body=b""):
    from urllib.parse import urlsplit
    parts = urlsplit(url)
    sock = socket.create_connection((address or parts.hostname, parts.port or 80), timeout=10)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return exchange(sock, url, request_bytes(method, parts.netloc, target, headers, body), time.monotonic())

def _browse(web, probe):
    first = _ask(web, probe)
    page = _ask(None, first.location)
    form = first_form(page)
    tap = _ask(None, form.action, "POST", form.body)
    return [first.status, page.status, tap.status, _ask(web, probe).status]

import json, sys
print(json.dumps(_browse(*sys.argv[1:])))
"""
_LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr flush dev $interface
ip addr add $ip/$mask dev $interface
ip route replace default via $router
echo "$ip"
"""


class Station:
    """A phone whose radio is ``phy`` of the box; ``interface`` is in a namespace there."""

    def __init__(self, box: Machine, interface: str) -> None:
        self._box, self.interface = box, interface

    def run(self, *command: str, timeout_s: float = 60) -> str:
        return self._box.run(["ip", "netns", "exec", CLIENT, *command], timeout_s=timeout_s)

    def join(self, network: str) -> dict[str, str]:
        """Join what ``network`` says in wpa_supplicant.conf's words, and what `wpa_cli status` says then.

        mac80211 asks once more where an answer takes more than 100 ms (IEEE80211_ASSOC_TIMEOUT_SHORT in
        net/mac80211/mlme.c). An emulated access point may need that for the first key of an OWE answer; it makes
        another one for the second question, and the two sides keep different ones. Who holds the phone joins once more.
        """
        self._box.run("cat > /run/client.conf", stdin=f"ctrl_interface=/run/client-wpa\nnetwork={{\n{network}\n}}\n")
        self.run("wpa_supplicant", "-B", "-P", "/run/client.pid", "-i", self.interface, "-c", "/run/client.conf")
        cli = ("wpa_cli", "-p", "/run/client-wpa", "-i", self.interface)
        begun_s = again_s = time.monotonic()
        while time.monotonic() < begun_s + JOINED_WITHIN_S:
            status = dict(line.split("=", 1) for line in self.run(*cli, "status").splitlines() if "=" in line)
            if status.get("wpa_state") == "COMPLETED":
                return status
            if time.monotonic() > again_s + TRIED_AGAIN_AFTER_S:
                again_s = time.monotonic()
                self.run(*cli, "disconnect")
                self.run(*cli, "reconnect")
            time.sleep(1)
        raise NotReached(f"the radio did not join within {JOINED_WITHIN_S} s: {status}")

    def leave(self) -> None:
        self._box.run("kill $(cat /run/client.pid); while [ -e /run/client.pid ]; do sleep 0.2; done")

    def dhcp(self) -> str:
        """The address that a real DHCP client got and uses."""
        # Not below /run, where nothing can be executed.
        self._box.run("cat > /tmp/client-lease && chmod 755 /tmp/client-lease", stdin=_LEASE)
        udhcpc = ["busybox", "udhcpc", "-f", "-q", "-n", "-i", self.interface, "-t", "10", "-T", "2"]
        return self.run(*udhcpc, "-s", "/tmp/client-lease").split()[-1]

    def browse(self) -> list[int]:
        """Status of the probe, the page, the tap and the probe again."""
        source = Path(http.__file__).read_text() + _BROWSE
        probe = "http://connectivitycheck.gstatic.com/generate_204"
        statuses: list[int] = json.loads(self.run("/usr/bin/python3", "-c", source, internet.WEB, probe))
        return statuses


@contextmanager
def station(box: Machine, access_point: str = "ap0") -> Iterator[Station]:
    """The radio that the box has not taken for its own, in a namespace; at the end it is where it was."""
    found: dict[str, Any] = {}
    for name in box.run("ls /sys/class/ieee80211").split():
        for interface in box.run(f"ls /sys/class/ieee80211/{name}/device/net").split():
            found[interface] = name
    own = found[access_point]
    interface, phy = next((interface, phy) for interface, phy in found.items() if phy != own)
    box.run(f"ip netns add {CLIENT} && ip -n {CLIENT} link set lo up && iw phy {phy} set netns name {CLIENT}")
    # Another phone each time: the box knows the last one, and would let it in without a tap.
    mac = "02:68:" + secrets.token_bytes(4).hex(":")
    box.run(f"ip -n {CLIENT} link set {interface} address {mac}")
    try:
        yield Station(box, interface)
    finally:
        box.run(f"ip netns pids {CLIENT} | xargs -r kill; ip netns del {CLIENT}; rm -rf /run/client* /tmp/client*")
