"""Keeps the shaper at the rate of a line that changes: pings and counters in, rates out, in a thread of its own.

It must not know how a rate is found (portal.domain.follow) or set (netctl).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from netctl.api.errors import NetctlError
from netctl.api.types import Link
from portal import probes
from portal.config import Uplink
from portal.domain.follow import Bounds, Follower, Rates

log = logging.getLogger("gerbang.follow")

AGAIN_AFTER_S: Final = 2.0  # while netctl does not answer, or pings are refused
LEAST_CHANGE: Final = 0.01  # smaller steps are not worth a message; the growth of a tick is five times that
TENTH: Final = 10  # the least rate, where site.toml names none, is this part of the highest


class Netctl(Protocol):
    """What this needs of netctl.api.client.Client."""

    def link(self) -> Link: ...

    def shape_link(self, down_kbit: int | None, up_kbit: int | None) -> Link: ...


class Pinger(Protocol):
    """What this needs of portal.probes.Pinger."""

    def send(self, address: str, sequence: int) -> bool: ...

    def answers(self, timeout_s: float) -> Iterator[tuple[str, int, float]]: ...

    def close(self) -> None: ...


def bounds(uplink: Uplink) -> tuple[Bounds, Bounds] | None:
    """(down, up) of a site whose line is followed; None for any other."""
    if not uplink.follow or uplink.down_kbit is None or uplink.up_kbit is None:
        return None
    down_kbit, up_kbit = uplink.down_kbit, uplink.up_kbit
    least_kbit = 64  # portal.config.Kbit
    return (
        Bounds(uplink.min_down_kbit or max(least_kbit, down_kbit // TENTH), down_kbit),
        Bounds(uplink.min_up_kbit or max(least_kbit, up_kbit // TENTH), up_kbit),
    )


class LinkFollower:
    """``run`` follows the line until told to stop; for a site that does not follow it sets the configured rates once.

    That is for a site whose `follow` was just switched off: netctl keeps the last rates until it is told others.
    """

    def __init__(
        self,
        uplink: Uplink,
        netctl: Netctl,
        open_pinger: Callable[[], Pinger] = probes.Pinger,
        boot_s: Callable[[], float] = probes.boot_s,
    ) -> None:
        self._bounds = bounds(uplink)
        self._reflectors = uplink.reflectors
        self._netctl = netctl
        self._open_pinger = open_pinger
        self._boot_s = boot_s
        self._trouble: str | None = None

    def start(self, stop: threading.Event) -> threading.Thread:
        thread = threading.Thread(target=self.run, args=(stop,), name="follow", daemon=True)
        thread.start()
        return thread

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                if self._bounds is None:
                    self._netctl.shape_link(None, None)
                    return
                pinger = self._open_pinger()
                try:
                    self._follow(stop, pinger, *self._bounds)
                finally:
                    pinger.close()
            except NetctlError as error:
                self._say(str(error))
            except OSError as error:
                self._say(f"The line is not followed, pings are refused: {error.strerror or error}.")
            if stop.wait(AGAIN_AFTER_S):
                return

    def _follow(self, stop: threading.Event, pinger: Pinger, down: Bounds, up: Bounds) -> None:
        follower = Follower(down, up, self._reflectors, self._boot_s())
        log.info("The line's rate is followed from %d/%d kbit/s.", *follower.rates)
        told = False
        while not stop.is_set():
            now_boot_s = self._boot_s()
            if now_boot_s >= follower.next_tick_boot_s or not told:
                link = self._netctl.link()
                rates = follower.tick(now_boot_s, link.down_bytes, link.up_bytes)
                # netctl forgets them when it is started again
                if _differ(Rates(link.down_kbit or 0, link.up_kbit or 0), rates, (down, up)):
                    self._netctl.shape_link(*rates)
                told = True
                self._say("No reflector answers; the line's rate is not followed." if follower.is_blind else None)
            if now_boot_s >= follower.next_ping_boot_s:
                pinger.send(*follower.ping(now_boot_s))
            due_s = min(follower.next_tick_boot_s, follower.next_ping_boot_s) - self._boot_s()
            for address, sequence, at_boot_s in pinger.answers(due_s):
                follower.answered(address, sequence, at_boot_s)

    def _say(self, trouble: str | None) -> None:
        """A trouble once, and once that it is over."""
        if trouble == self._trouble:
            return
        if trouble is not None:
            log.warning("%s", trouble)
        else:
            log.info("The line's rate is followed again.")
        self._trouble = trouble


def _differ(held: Rates, wanted: Rates, limits: tuple[Bounds, Bounds]) -> bool:
    """Is it worth telling netctl? The limits themselves are reached exactly."""
    return any(
        old != new and (abs(new - old) >= LEAST_CHANGE * old or new in (limit.min_kbit, limit.max_kbit))
        for old, new, limit in zip(held, wanted, limits, strict=True)
    )
