"""Builds the whole desired state and pushes it to netctl. It must not know who asked for it.

Whoever pushes has committed before: a push that fails loses nothing, since the meter's next one carries it.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Protocol

from netctl.api import errors
from netctl.api.errors import NetctlError
from netctl.api.types import Applied, DesiredState, Status, Usage
from portal.domain import policy
from portal.domain.model import Now
from portal.domain.siterules import SiteRules
from portal.store import closures, people, sessions
from portal.store.db import Database

log = logging.getLogger("gerbang.sync")

BACK_IN_TIME = "netctl holds a newer state than the database ever had; the database decides from here on."
RETRY_AFTER_S = 0.4  # netctl's restart takes less


class Netctl(Protocol):
    """What the portal uses of netctl.api.client.Client. Every method raises NetctlError."""

    def apply(self, state: DesiredState) -> Applied: ...

    def whois(self, ip: str) -> str | None: ...

    def usage(self, grant: int | None = None) -> Usage: ...

    def status(self) -> Status: ...


def snapshot(db: sqlite3.Connection, rules: SiteRules, now: Now) -> DesiredState:
    """The state that the rows ask for. Read in the transaction that changed them, so that name and rows agree.

    A read that fails raises, and nothing is pushed: an empty state only ever comes from a database that was read whole
    and has nobody online.
    """
    epoch, generation = sessions.state_name(db)
    moment = people.moment(db, now, rules.zone)
    closed = rules.closed(closures.acts(db, moment.wall_s), moment)
    return policy.desired_state(sessions.running(db, moment.day), rules.plans, now, epoch, generation, closed=closed)


def bring_into_force(
    database: Database, netctl: Netctl, state: DesiredState, rules: SiteRules, read_clock: Callable[[], Now]
) -> None:
    """Returns when the kernel is like ``state``, or like a newer one of this database. Raises NetctlError, StoreError.

    Everything that is pushed was committed before. So a netctl that holds a newer state than the database has ever had
    shows that the database went back in time (a backup was put in its place), and would be deaf to it for long.
    """
    applied = push(netctl, state)
    if applied.generation <= state.generation:
        return
    with database.write() as db:
        if not sessions.pass_generation(db, state.epoch, applied.generation):
            return
        state = snapshot(db, rules, read_clock())
    log.warning(BACK_IN_TIME)
    push(netctl, state)


def pass_held(database: Database, netctl: Netctl) -> bool:
    """Go beyond what netctl holds of this database, if that is newer: before ids are given out. Whether it was.

    Raises NetctlError, StoreError.
    """
    held = netctl.status()
    if held.epoch is None:
        return False
    with database.read() as db:
        epoch, generation = sessions.state_name(db)
    if epoch != held.epoch or generation >= held.generation:
        return False
    with database.write() as db:
        passed = sessions.pass_generation(db, held.epoch, held.generation)
    if passed:
        log.warning(BACK_IN_TIME)
    return passed


def push(netctl: Netctl, state: DesiredState, wait: Callable[[float], object] = time.sleep) -> Applied:
    """Returns when ``state``, or a newer one, is in force in the kernel. Tries once more if netctl was not there."""
    try:
        return netctl.apply(state)
    except NetctlError as error:
        if error.code != errors.UNREACHABLE:
            raise
    wait(RETRY_AFTER_S)
    return netctl.apply(state)
