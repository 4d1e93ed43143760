"""netctl's side of the NAT log for unit tests: two people's connections, and the office's key. It starts nothing."""

from __future__ import annotations

from dataclasses import replace

from netctl.api.types import Connections
from netctl.kernel.base import Flow, Sighting
from netctl.witness import Witness
from portal.config import Log, Office, Site, SiteConfig
from portal.sealing import OfficeSecret
from tests.unit.portal.fakes import Clock

OFFICE = OfficeSecret(bytes(range(32)), bytes(range(32, 64)))
SITE = "64.03.01.2001"
OUTER, REMOTE = "198.18.0.2", "203.0.113.9"
ANI, BUDI = "10.77.1.5", "10.77.1.6"
SESSION_OF = {ANI: 41, BUDI: 42}
PSEUDONYM_OF = {41: "a" * 16, 42: "b" * 16}
MAC_OF = {41: "02:00:00:00:00:05", 42: "02:00:00:00:00:06"}


class Gateway:
    """netctl's side: what a test says it saw, through the real memory of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.failing: Exception | None = None
        self.asked: list[tuple[str, int, int]] = []
        self.restart()

    def restart(self) -> None:
        self.witness = Witness(self.now_ms)

    @property
    def now_ms(self) -> int:
        return round(self._clock.now.boot_s * 1000)

    def see(self, flow: Flow = Flow.BEGIN, inner: str = ANI, port: int = 40_000, **changes: object) -> Sighting:
        """A connection of one of the two, now."""
        seen = Sighting(flow, self.now_ms, 6, inner, port, OUTER, port, REMOTE, 443)
        seen = replace(seen, **changes)  # type: ignore[arg-type]
        self.witness.see([seen], SESSION_OF, {}, (), self.now_ms)
        return seen

    def connections(self, stream: str, after: int, most: int) -> Connections:
        self.asked.append((stream, after, most))
        if self.failing:
            raise self.failing
        self.witness.see([], {}, {}, (), self.now_ms)
        return self.witness.take(stream, after, most, self._clock.now.boot_id)


def config(**log: int) -> SiteConfig:
    return SiteConfig(site=Site(code=SITE), log=Log(nat=True, **log), office=Office(key=OFFICE.key.line))
