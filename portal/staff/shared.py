"""What the staff pages of one process share: site, database, key, netctl, clock. It must not know any page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

import flask

from portal import clock
from portal.administration import Administration
from portal.config import SiteConfig
from portal.domain import localtime
from portal.domain.attempts import Attempts
from portal.domain.model import Now
from portal.domain.siterules import SiteRules
from portal.paths import Paths
from portal.rates import Rates
from portal.staffing import Staffing
from portal.staffkey import StaffKey
from portal.store.db import Database
from portal.sync import Netctl

_NAME: Final = "gerbang"


@dataclass(frozen=True)
class Shared:
    """Made before privileges are dropped; ``database`` and ``netctl`` are opened when they are first used."""

    config: SiteConfig
    paths: Paths
    key: StaffKey
    database: Database
    netctl: Netctl
    read_clock: Callable[[], Now] = clock.now
    attempts: Attempts = field(default_factory=Attempts)

    @property
    def staffing(self) -> Staffing:
        return Staffing(self.database, self.key, self.config.staff.session_minutes * 60.0, self.read_clock)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.config.site.timezone)

    @cached_property
    def rules(self) -> SiteRules:
        return SiteRules(self.config)

    @cached_property
    def rates(self) -> Rates:
        return Rates(self.netctl, self.read_clock)

    def device_name(self, mac: str) -> str:
        """What a device is called on an operator's screen this month."""
        return self.key.pseudonym(mac, localtime.local_date(self.read_clock().wall_s, self.zone).isoformat()[:7])

    def administration(self, actor: str, role: str) -> Administration:
        """The acts of one person."""
        return Administration(
            self.config,
            self.paths,
            actor,
            role,
            database=self.database,
            netctl=self.netctl,
            read_clock=self.read_clock,
        )

    # portal.wsgi.Background: the pages answer by themselves, nothing works behind them.

    def start(self) -> None:
        pass

    def close(self) -> None:
        self.database.close()


def install(app: flask.Flask, shared: Shared) -> None:
    app.extensions[_NAME] = shared


def shared() -> Shared:
    """That of the application which answers now."""
    found: Shared = flask.current_app.extensions[_NAME]
    return found
