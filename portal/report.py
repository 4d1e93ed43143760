"""Answers `gerbang status` and `gerbang doctor`: reads what the gateway's parts say of themselves. It changes nothing.

It must not know the kernel (netctl's own doctor is asked) nor how its lines are printed beyond their text.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from netctl.api.client import Client
from netctl.api.errors import NetctlError
from portal import certificate, clock
from portal import site as sites
from portal.domain.model import UplinkState
from portal.paths import Paths
from portal.store import db, sessions
from portal.supervisor import describe, python

MIN_FREE_BYTES: Final = 64 * 1024 * 1024  # a day's log of a full gateway, several times over
MIN_FREE_INODES: Final = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was seen and (empty where all is well) how to mend it. As netctl's doctor."""

    level: Literal["ok", "warn", "fail"]
    name: str
    message: str
    fix: str = ""

    def text(self) -> str:
        return f"{self.level:<5} {self.name:<14} {self.message}" + (f"\n{'':20} {self.fix}" if self.fix else "")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Report:
    """The gateway now. None where nobody could be asked; ``problems`` has the sentences then."""

    online: int | None
    uplink: str | None
    uplink_since_s: float | None
    admitted: int | None
    addresses: int | None
    drift: int | None
    drift_total: int | None
    problems: tuple[str, ...]

    @property
    def well(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {"well": self.well, **asdict(self)}

    def text(self) -> str:
        since = (
            "" if self.uplink_since_s is None else time.strftime(" since %H:%M", time.localtime(self.uplink_since_s))
        )
        lines = [
            f"online     {_shown(self.online)} devices",
            f"uplink     {_shown(self.uplink)}{since}",
            f"kernel     {_shown(self.admitted)} devices admitted, {_shown(self.addresses)} addresses",
            f"drift      {_shown(self.drift)} now, {_shown(self.drift_total)} mended since netctl started",
        ]
        return "\n".join([*lines, *(f"problem    {problem}" for problem in self.problems)])


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)


def use_time_zone_of(site: Path) -> None:
    """Show clock times as the gateway's log does."""
    with contextlib.suppress(sites.SiteErrors):
        os.environ["TZ"] = sites.load(site).site.timezone
        time.tzset()


def status(paths: Paths) -> Report:
    """Ask the database and netctl; neither being away is an error of this command."""
    problems: list[str] = []
    online = uplink = since = told = None
    try:
        with contextlib.closing(db.Database(paths.database)) as database, database.read() as connection:
            online = sessions.count_not_ended(connection)
            found = sessions.uplink(connection, clock.now())
            uplink, since = found.state.value, found.since_wall_s
            if found.state is UplinkState.DOWN:
                problems.append("The uplink is down; users see that on their page.")
    except db.StoreError as error:
        problems.append(str(error))
    try:
        told = Client(paths.netctl_socket, timeout_s=2).status()
        if told.problem:
            problems.append(told.problem)
        if told.drift:
            problems.append(f"The kernel differed from what it was told in {told.drift} places; netctl mends that.")
    except NetctlError as error:
        problems.append(str(error))
    return Report(
        online=online,
        uplink=uplink,
        uplink_since_s=since,
        admitted=told.grants if told else None,
        addresses=told.members if told else None,
        drift=told.drift if told else None,
        drift_total=told.drift_total if told else None,
        problems=tuple(problems),
    )


def doctor(paths: Paths, site: Path) -> list[Finding]:
    """All findings, the good ones too, netctl's at the end."""
    config, mistakes = sites.check(site)
    found = [Finding("fail", "site", f"{mistake.key or site}: {mistake.message}", mistake.hint) for mistake in mistakes]
    found = found or [Finding("ok", "site", f"{site}: no mistakes.")]
    found += _database(paths.database)
    found += _disk(paths.data)
    found.append(_clock())
    if config and config.portal.certificate and config.portal.key:
        found.append(_certificate(config.portal.certificate, config.portal.key))
    return found + _netctl(paths)


def _database(path: Path) -> Iterator[Finding]:
    """Readable, whole, writable, and writable for the portal's user too."""
    try:
        with contextlib.closing(db.connect(path)) as connection:
            said = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
            if said != ["ok"]:
                message = f"{path} is damaged: {'; '.join(said)}."
                yield Finding("fail", "database", message, db.RECOVER_HINT)
                return
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except db.StoreError as error:
        yield Finding("fail", "database", error.message, error.hint)
        return
    except sqlite3.Error as error:
        told = db.store_error(error, path)
        yield Finding("fail", "database", told.message, told.hint)
        return
    owner, holder = path.stat().st_uid, path.parent.stat().st_uid
    if owner != holder:
        message = f"{path} belongs to user {owner}, its directory to user {holder}: the portal cannot write it."
        yield Finding("fail", "database", message, f"Run: chown {holder} {path}*")
    else:
        yield Finding("ok", "database", f"{path} is whole and can be written.")


def _disk(path: Path) -> Iterator[Finding]:
    try:
        usage, counts = shutil.disk_usage(path), os.statvfs(path)
    except OSError as error:
        yield Finding("fail", "disk", f"{path}: {error.strerror}.", "Start the gateway once; it makes the directory.")
        return
    free = usage.free // 1_000_000
    if counts.f_flag & os.ST_RDONLY:
        hint = "The disk may be failing: see `dmesg`. Nobody can log in until it can be written."
        yield Finding("fail", "disk", f"The file system of {path} is read-only.", hint)
    elif usage.free < MIN_FREE_BYTES:
        hint = "Free space there. When it is full nobody can log in; who is online stays online."
        yield Finding("fail", "disk", f"{free} MB are left for {path}.", hint)
    elif counts.f_files and counts.f_favail < MIN_FREE_INODES:
        message = f"The file system of {path} has room for {counts.f_favail} more files."
        yield Finding("fail", "disk", message, "Remove files there.")
    else:
        yield Finding("ok", "disk", f"{free} MB are free for {path}.")


def _clock() -> Finding:
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if clock.wall_is_trusted():
        return Finding("ok", "clock", f"{shown}, set by NTP.")
    if clock.wall_is_plausible():
        hint = "Sessions are right all the same. Times in the log, and https for phones, wait for NTP."
        return Finding("warn", "clock", f"{shown}, not confirmed by NTP.", hint)
    hint = "It has no battery, or an empty one. Sessions are right all the same; NTP sets it once the uplink works."
    return Finding("warn", "clock", f"{shown} is earlier than this software was made.", hint)


def _certificate(path: str, key: str) -> Finding:
    try:
        found = certificate.read(path, key)
    except certificate.CertificateError as error:
        return Finding("fail", "certificate", error.message, error.hint)
    now = time.time()
    until = time.strftime("%Y-%m-%d", time.gmtime(found.not_after_s))
    if found.announceable(now, clock_trusted=True):
        return Finding("ok", "certificate", f"{path} is valid until {until}.")
    if now < found.not_before_s:
        return Finding("fail", "certificate", f"{path} is not valid yet.", "Set the clock, or wait.")
    message = f"{path} {'expired' if now > found.not_after_s else 'expires'} on {until}; phones are not sent to https."
    return Finding("fail", "certificate", message, "Renew it. Nothing need be restarted for the announcement.")


def _netctl(paths: Paths) -> list[Finding]:
    command = python("netctl", "doctor", "--json", "--config", str(paths.netctl_config))
    try:
        told = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [Finding("fail", "netctl", f"netctl's doctor could not be asked: {error}", "Run: netctl doctor")]
    try:
        return [Finding(**line) for line in json.loads(told.stdout)]
    except (ValueError, TypeError):
        said = (told.stderr or told.stdout).strip() or f"it ended {describe(told.returncode)}"
        return [Finding("fail", "netctl", f"netctl's doctor did not answer: {said}", "Run: netctl doctor")]
