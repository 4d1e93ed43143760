"""The virtual village: Internet, gateway, access point, phones, each in its own network namespace with real programs.

It must not know what is being tested. Everything in it ends with this process, by SIGKILL too: see netns and box.

    internet (up0) ---- (wan0) gateway (lan0) ---- air (a switch: the access point) ---- (wlan0) phones
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.village import links
from tests.village.box import require_tools
from tests.village.gateway import Gateway, GerbangGateway, NatGateway
from tests.village.internet import Internet
from tests.village.netns import Namespace
from tests.village.phone import INTERFACE, Phone

AIR = "br0"


class Surroundings:
    """What a gateway stands in: Internet, air and phones. Whoever makes it hangs a gateway between the two."""

    def __init__(self, *, ipv6: bool, isolated: bool, lease: bool = False) -> None:
        self.ipv6, self.isolated = ipv6, isolated
        self.phones: list[Phone] = []
        self._open: list[Namespace] = []
        self.internet = Internet(ipv6=ipv6, lease=lease)
        self._open.append(self.internet.ns)
        self.air = Namespace("air")
        self._open.append(self.air)
        self.air.sysctl("net.ipv6.conf.default.disable_ipv6", 1)  # a switch has no addresses of its own
        links.bridge(self.air, AIR)

    def add_phones(self, count: int) -> list[Phone]:
        """More phones, in reach of the access point."""
        added = []
        for _ in range(count):
            number = len(self.phones) + 1
            mac = f"02:67:00:00:{number >> 8:02x}:{number & 0xFF:02x}"
            phone = Phone(number, mac, ipv6=self.ipv6)
            self.phones.append(phone)
            links.cable(self.air, f"p{number}", phone.ns, INTERFACE, other_mac=mac)
            links.plug(self.air, AIR, f"p{number}", isolated=self.isolated)
            added.append(phone)
        return added

    def dhcp_all(self, phones: Iterable[Phone] | None = None, *, at_once: int = 16) -> None:
        """Real leases for many phones, ``at_once`` clients at a time."""
        waiting = list(self.phones if phones is None else phones)
        running: list[tuple[Phone, Any, float]] = []
        while waiting or running:
            while waiting and len(running) < at_once:
                phone = waiting.pop(0)
                running.append((phone, phone.start_dhcp(), time.monotonic()))
            phone, client, started_s = running.pop(0)
            phone.finish_dhcp(client, started_s)

    def close(self) -> None:
        """Take everything down; safe to call twice."""
        for phone in self.phones:
            phone.close()
        for ns in reversed(self._open):
            ns.close()
        self._open.clear()


class Village(Surroundings):
    """``with Village(phones=2) as v``: the gateway runs and every phone is in reach but has not joined.

    ``gateway``: "gerbang" runs the real `gerbang run`; "nat" a plain masquerading router with the same DHCP (the
    bench's baseline). ``site`` overrides tables of site.toml. ``isolated`` is the access point's client isolation.
    ``data_dir`` is where the database lies (a real disk); None a tmpfs of ``data_size`` that vanishes with the village.
    ``start`` False leaves the gateway's programs to ``v.gateway.start()``.
    """

    def __init__(
        self,
        phones: int = 1,
        *,
        ipv6: bool = True,
        site: Mapping[str, Any] | None = None,
        gateway: str = "gerbang",
        isolated: bool = False,
        data_dir: Path | None = None,
        data_size: str | None = None,
        start: bool = True,
    ) -> None:
        require_tools("dnsmasq", "busybox", "setpriv", "unshare", "nsenter")
        super().__init__(ipv6=ipv6, isolated=isolated)
        try:
            gateway_ns = Namespace("gateway")
            self._open.append(gateway_ns)
            self.internet.plug(gateway_ns, "wan0")
            links.cable(self.air, "ap0", gateway_ns, "lan0")
            links.plug(self.air, AIR, "ap0", isolated=False)
            self.internet.start()
            self.gateway: Gateway
            kind = GerbangGateway if gateway == "gerbang" else NatGateway
            self.gateway = kind(gateway_ns, ipv6=ipv6, site=site or {}, data_dir=data_dir, data_size=data_size)
            self.add_phones(phones)
            if start:
                self.gateway.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take everything down; safe to call twice."""
        if hasattr(self, "gateway"):
            self.gateway.close()
        super().close()

    def __enter__(self) -> Village:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
