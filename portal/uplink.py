"""Checks in a thread of its own whether the way to the Internet works: router, resolver, Web, delay and loss.

It must not know SQL or netctl; portal.domain.uplink decides what the checks mean.

The resolver asked is the provider's, directly: the gateway's own dnsmasq would answer from its cache while the line is
cut. The address that it gives is the one the page is fetched from, so that no other resolver's state comes in.
"""

from __future__ import annotations

import logging
import threading
import urllib.parse
from collections.abc import Callable
from typing import Final, NamedTuple

from portal import clock, probes
from portal.config import Uplink
from portal.domain.model import Now
from portal.domain.uplink import Check, UplinkView

log = logging.getLogger("gerbang.uplink")

RESOLVERS_ASKED: Final = 2  # questions in one check: two to one resolver, or one to each of two
RESOLVER_S: Final = 1.5
ROUTER_S: Final = 1.0
ECHOES, ECHO_EVERY_S, ECHO_S = 5, 0.2, 1.5  # 20 a minute: 2 MB a day, and loss in steps of 5 %
SUCCESS: Final = (200, 204)  # a redirect is the provider's own portal or block page


class Target(NamedTuple):
    """Where the page is: ``host`` as in the request's Host, ``name`` without a port."""

    host: str
    name: str
    port: int
    path: str


def target(url: str) -> Target:
    """The parts of an http URL; ValueError for any other."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"The uplink is checked over plain http, not {url!r}.")
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    return Target(parts.netloc, parts.hostname, parts.port or 80, path)


class Checker:
    """Makes one round of checks at a time.

    It learns who answers pings while the page comes: the silence of others means nothing.
    """

    def __init__(self, uplink: Uplink) -> None:
        self._interface = uplink.interface
        self._resolvers = uplink.dns
        self._target = target(uplink.check_url)
        self._pinged_router: str | None = None  # the one that answered when the page came last
        self._pinger: probes.Pinger | None = None
        self._refused = False

    def check(self) -> Check:
        """One round: some 1 s where all is well, up to 9 s where nothing answers."""
        dns, addresses = self._ask_resolver()
        host, _, port, path = self._target
        fetched = probes.fetch(addresses[0], port, host, path) if addresses else probes.Fetched(None, None)
        if fetched.status not in SUCCESS:
            return Check(False, gateway=self._router_answers(), dns=dns)
        self._learn_router()
        echoes, times = self._echoes(addresses[0])
        if not echoes and fetched.connect_ms is not None:
            times = (fetched.connect_ms,)
        return Check(True, gateway=True, dns=dns, echoes=echoes, round_trips_ms=times)

    def _ask_resolver(self) -> tuple[bool | None, list[str]]:
        """Does a resolver answer (None: the page's address needs none), and the page's addresses."""
        name = self._target.name
        if name.replace(".", "").isdigit() or ":" in name:
            return None, [name]
        known = list(self._resolvers or probes.resolvers())
        for server in (known * 2 if len(known) == 1 else known)[:RESOLVERS_ASKED]:
            for kind in (probes.A, probes.AAAA):
                addresses = probes.resolve(name, kind, server, RESOLVER_S)
                if addresses is None:
                    break
                if addresses:
                    return True, addresses
            else:
                return True, []  # it answers, and says that there is no such name
        return False, []

    def _router_answers(self) -> bool | None:
        """None: it is silent, and nobody knows whether it ever answers."""
        router = probes.next_hop(self._interface)
        if router is None or not probes.has_carrier(self._interface):
            return False
        pinger = self._own_pinger()
        if not router or pinger is None:
            return None
        if probes.ping(pinger, router, 2, ROUTER_S / 2, ROUTER_S / 2):
            return True
        return False if router == self._pinged_router or not probes.answers_arp(router) else None

    def _learn_router(self) -> None:
        router, pinger = probes.next_hop(self._interface), self._own_pinger()
        if router and pinger is not None:
            self._pinged_router = router if probes.ping(pinger, router, 1, 0, ROUTER_S) else None

    def _echoes(self, address: str) -> tuple[int, tuple[float, ...]]:
        """How many echoes went towards the Web and the answers' times; 0 where nobody there answers any."""
        pinger = self._own_pinger()
        if pinger is None or ":" in address:
            return 0, ()
        times = tuple(probes.ping(pinger, address, ECHOES, ECHO_EVERY_S, ECHO_S))
        return (ECHOES, times) if times else (0, ())

    def _own_pinger(self) -> probes.Pinger | None:
        """Tried again each time: netctl may open the way to ping after this process has started."""
        if self._pinger is None:
            try:
                self._pinger = probes.Pinger()
                self._refused = False
            except OSError as error:
                if not self._refused:
                    log.warning("Delay and loss are not measured, pings are refused: %s.", error.strerror or error)
                self._refused = True
        return self._pinger


class UplinkWatch:
    """Checks until told to stop; ``view`` is what it holds now (read it from any thread)."""

    def __init__(self, check: Callable[[], Check], read_clock: Callable[[], Now] = clock.now) -> None:
        self._check = check
        self._read_clock = read_clock
        self.view = UplinkView()

    def run(self, stop: threading.Event) -> None:
        while True:
            begun_boot_s = self._read_clock().boot_s
            self.view = self.view.after(self._check(), begun_boot_s)
            took_s = self._read_clock().boot_s - begun_boot_s
            if stop.wait(max(0.5, self.view.next_check_after_s - took_s)):
                return

    def start(self, stop: threading.Event) -> threading.Thread:
        thread = threading.Thread(target=self.run, args=(stop,), name="uplink", daemon=True)
        thread.start()
        return thread
