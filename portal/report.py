"""Answers `gerbang status` and `gerbang doctor`: reads what the gateway's parts say of themselves. It changes nothing.

It must not know the kernel (netctl's own doctor is asked) nor how its lines are printed beyond their text.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from netctl.api.client import Client
from netctl.api.errors import NetctlError
from portal import certificate, clock, dnsmasq, leases
from portal import site as sites
from portal.config import SiteConfig
from portal.domain.model import Failing, UplinkState
from portal.language import Language
from portal.logline import describe
from portal.paths import Paths
from portal.processes import python
from portal.release import VERSION
from portal.store import db, sessions
from portal.technician import machine
from portal.technician.findings import Finding, Tell, teller
from portal.technician.words import english

DNS_TIMEOUT_S: Final = 2.0
FULL_SHARE: Final = 0.9  # of the addresses: some of the last are held by devices that left
SAID: Final = {"config", "daemon", "problem", "state", "drift"}  # of netctl's doctor: _netctl has them for everybody


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


def doctor(paths: Paths, site: Path, words: Language | None = None) -> list[Finding]:
    """All findings, the good ones too, in the language of ``words`` (None: English). Root is told more."""
    tell = teller(words or english())
    config, mistakes = sites.check(site)
    found = [Finding("fail", "site", f"{mistake.key or site}: {mistake.message}", mistake.hint) for mistake in mistakes]
    found = found or [tell("ok", "site", "site", path=str(site))]
    found += _uplink(paths.database, tell)
    if config is not None:
        found += [_resolver(config, tell), *machine.radio(config, tell), _pool(config, paths, tell)]
    found += [machine.time_of_day(tell), machine.disk(paths.data, tell), *machine.twin(tell)]
    found += [*machine.wear(paths.data, tell), *machine.memory(tell), *machine.temperature(tell)]
    found += _database(paths.database, tell)
    found += _certificates(config, paths, tell)
    found += _netctl(paths, tell)
    found.append(_versions(tell))
    return found + (_kernel(paths) if os.geteuid() == 0 else [])


def _uplink(path: Path, tell: Tell) -> Iterator[Finding]:
    """Gateway, resolver and Web, as the meter last found them: what lies behind the first that fails is not known."""
    try:
        with contextlib.closing(db.Database(path)) as database, database.read() as connection:
            found = sessions.uplink(connection, clock.now())
    except db.StoreError:
        return  # said under database
    if found.state is UplinkState.UNKNOWN:
        yield tell("warn", "uplink", "uplink-unknown")
        return
    broken = list(Failing).index(found.failing or Failing.HTTP) if found.state is UplinkState.DOWN else len(Failing)
    since = "-" if found.since_wall_s is None else time.strftime("%H:%M", time.localtime(found.since_wall_s))
    for number, part in enumerate(Failing):
        if number == broken:
            yield tell("fail", f"uplink-{part.value}", f"uplink-{part.value}-down", since=since)
            return
        if part is Failing.HTTP and found.latency_ms is not None:
            loss = f"{(found.loss or 0) * 100:.0f}"
            yield tell("ok", "uplink-http", "uplink-http-measured", latency=f"{found.latency_ms:.0f}", loss=loss)
        else:
            yield tell("ok", f"uplink-{part.value}", f"uplink-{part.value}")


def _resolver(config: SiteConfig, tell: Tell) -> Finding:
    """Does dnsmasq answer phones? It is asked for the portal's own name, which needs no uplink (RFC 1035 4.1)."""
    address = str(ipaddress.IPv4Interface(config.lan.address).ip)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in config.portal.name.split("."))
    query = struct.pack("!6H", 0x6762, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(DNS_TIMEOUT_S)
            asking.connect((address, 53))
            asking.send(query)
            answer = asking.recv(512)
    except OSError:
        return tell("fail", "dns", "dns-silent", address=address)
    right = answer[:2] == query[:2] and len(answer) >= 12 and answer[3] & 0x0F == 0
    return tell("ok" if right else "fail", "dns", "dns" if right else "dns-wrong", address=address)


def _pool(config: SiteConfig, paths: Paths, tell: Tell) -> Finding:
    first, last = dnsmasq.dhcp_range(config)
    size = int(last) - int(first) + 1
    try:
        used = len(leases.read(paths.leases))
    except OSError as error:
        return tell("warn", "dhcp", "dhcp-unknown", why=error.strerror or str(error))
    tight = used > size * FULL_SHARE
    return tell("warn" if tight else "ok", "dhcp", "dhcp-tight" if tight else "dhcp", used=str(used), size=str(size))


def _database(path: Path, tell: Tell) -> Iterator[Finding]:
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
        yield tell("fail", "database", "database-owner", path=str(path), owner=str(owner), holder=str(holder))
    else:
        yield tell("ok", "database", "database", path=str(path))


def _certificates(config: SiteConfig | None, paths: Paths, tell: Tell) -> Iterator[Finding]:
    """That of the guest pages, where there is one, and that of the staff pages."""
    if config is None:
        return
    if config.portal.certificate and config.portal.key:
        yield _certificate("certificate", config.portal.certificate, config.portal.key, tell)
    if config.staff.certificate and config.staff.key:
        yield _certificate("staff-certificate", config.staff.certificate, config.staff.key, tell)
        return
    own = paths.staff / "certificate.pem"
    with contextlib.suppress(PermissionError):  # the staff pages' own; nobody else's business
        if own.exists():
            yield _certificate("staff-certificate", str(own), str(own), tell)


def _certificate(name: str, path: str, key: str, tell: Tell) -> Finding:
    try:
        found = certificate.read(path, key)
    except PermissionError:
        return tell("warn", name, "certificate-rights", path=path)
    except certificate.CertificateError as error:
        if isinstance(error.__cause__, PermissionError) or not os.access(key, os.R_OK):
            return tell("warn", name, "certificate-rights", path=path)
        return Finding("fail", name, error.message, error.hint)
    now = time.time()
    until = time.strftime("%Y-%m-%d", time.gmtime(found.not_after_s))
    if found.announceable(now, clock_trusted=True):
        return tell("ok", name, "certificate", path=path, until=until)
    if now < found.not_before_s:
        return tell("fail", name, "certificate-early", path=path)
    return tell("fail", name, "certificate-late", path=path, until=until)


def _netctl(paths: Paths, tell: Tell) -> Iterator[Finding]:
    """What netctl says of itself and of the kernel to everybody who may ask."""
    try:
        told = Client(paths.netctl_socket, timeout_s=3).status()
    except NetctlError as error:
        yield tell("fail", "daemon", "daemon-away", code=error.code)
        return
    yield tell("ok", "daemon", "daemon", version=told.version, grants=str(told.grants), members=str(told.members))
    if told.problem:
        yield tell("fail", "problem", "problem", why=told.problem)
    if told.epoch is None:
        yield tell("warn", "state", "state-none")
    code = "drift" if told.drift else "drift-none"
    yield tell("warn" if told.drift else "ok", "drift", code, now=str(told.drift), total=str(told.drift_total))
    for feature in told.features:
        if not feature.present and feature.required:
            yield tell("fail", feature.name, "feature", name=feature.name, why=feature.detail)


def _versions(tell: Tell) -> Finding:
    found = versions()
    return tell("ok", "versions", "versions", **found)


def versions() -> dict[str, str]:
    """Gerbang, Python, kernel and machine."""
    about = os.uname()
    python_version = ".".join(map(str, sys.version_info[:3]))
    return {"gerbang": VERSION, "python": python_version, "kernel": about.release, "machine": about.machine}


def _kernel(paths: Paths) -> list[Finding]:
    """What only root sees: netctl's own doctor, without what it says of the daemon, which is said already."""
    command = python("netctl", "doctor", "--json", "--config", str(paths.netctl_config))
    try:
        told = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [Finding("fail", "netctl", f"netctl's doctor could not be asked: {error}", "Run: netctl doctor")]
    try:
        return [Finding(**line) for line in json.loads(told.stdout) if line["name"] not in SAID]
    except (ValueError, TypeError, KeyError):
        said = (told.stderr or told.stdout).strip() or f"it ended {describe(told.returncode)}"
        return [Finding("fail", "netctl", f"netctl's doctor did not answer: {said}", "Run: netctl doctor")]
