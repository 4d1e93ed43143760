"""Looks at the running gateway as a phone and as a doctor would. It must not know what follows from what it finds."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import ipaddress
import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from netctl.api.client import Client
from netctl.api.errors import NetctlError
from portal import clock, privileges, probes, site
from portal.config import SiteConfig
from portal.domain.model import UplinkState
from portal.paths import Paths
from portal.store import db, sessions
from portal.store.db import StoreError
from portal.update.state import Before
from portal.update.verdict import NO_SITE, Facts, Line, Problem

ASK_S: Final = 10.0
LOOKS: Final = 3
LOOK_EVERY_S: Final = 2.0
PROBE: Final = ("connectivitycheck.gstatic.com", "/generate_204")
"""What a phone asks to find out whether it is online (AOSP NetworkMonitor)."""
_SIOCGIFADDR: Final = 0x8915  # linux/sockios.h
_GLOBAL_SCOPE: Final = "00"  # third column of /proc/net/if_inet6

Get = Callable[[str, int, str, str], tuple[int, str]]


def look(paths: Paths) -> Facts:
    """One round. Nothing is changed, and nothing that cannot be asked raises."""
    try:
        config = site.load(paths.site)
    except site.SiteErrors:
        return Facts((NO_SITE,), None)
    found = (*portal_problems(config, get), *_resolver(config), *_netctl(paths), *_database(paths))
    return Facts(tuple(found), line(config, paths))


def before(paths: Paths, sleep: Callable[[float], object] = time.sleep) -> Before:
    """How the gateway is now, for whom an update is to be compared with it later. Only what is wrong at each of several
    looks is: an update must not be forgiven for what was so for a moment.
    """
    found = look(paths)
    lasting = {problem.code for problem in found.problems}
    for _ in range(LOOKS - 1):
        if lasting:
            sleep(LOOK_EVERY_S)
            lasting &= {problem.code for problem in look(paths).problems}
    return Before(
        serving=NO_SITE not in found.problems,
        line_up=found.line is not None and found.line.reached is True,
        problems=tuple(sorted(lasting)),
    )


def get(address: str, port: int, host: str, path: str) -> tuple[int, str]:
    """(status, Location) of a GET over plain http. Raises OSError, http.client.HTTPException."""
    with contextlib.closing(http.client.HTTPConnection(address, port, timeout=ASK_S)) as connection:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Location", "")


def portal_problems(config: SiteConfig, get: Get) -> Iterator[Problem]:
    """As a phone: its probe must be answered 302 to the page, and the page must come."""
    address, port = str(ipaddress.IPv4Interface(config.lan.address).ip), config.portal.port
    page = f"http://{address}/"
    try:
        status, location = get(address, port, *PROBE)
        if status != 302 or location != page:
            message = f"The portal answers a phone's probe with {status} {location}, not with 302 {page}."
            yield Problem("portal-wrong", message)
            return
        status, _ = get(address, port, address, "/")
        if status != 200:
            yield Problem("portal-wrong", f"The portal's page is answered with {status}.")
    except (OSError, http.client.HTTPException) as error:
        yield Problem("portal-silent", f"The portal does not answer at {address}:{port}: {error}.")


def _resolver(config: SiteConfig) -> Iterator[Problem]:
    address = str(ipaddress.IPv4Interface(config.lan.address).ip)
    if probes.resolve(config.portal.name, probes.A, address, ASK_S / 2) is None:
        yield Problem("dns-silent", f"The gateway's resolver does not answer at {address}.")


def _netctl(paths: Paths) -> Iterator[Problem]:
    try:
        told = Client(paths.netctl_socket, timeout_s=ASK_S).status()
    except NetctlError as error:
        yield Problem("netctl-silent", error.message)
        return
    if told.problem:
        yield Problem("netctl", told.problem)
    elif told.drift:
        yield Problem("drift", f"The kernel differs from what it was told in {told.drift} places.")
    elif told.epoch is None:
        yield Problem("netctl", "Nobody has told netctl yet who may pass.")


def _database(paths: Paths) -> Iterator[Problem]:
    """Opens, is of this version, and takes a write."""
    try:
        with privileges.as_owner_of(paths.data), contextlib.closing(db.connect(paths.database)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except StoreError as error:
        yield Problem(error.code, error.message)
    except sqlite3.Error as error:
        told = db.store_error(error, paths.database)
        yield Problem(told.code, told.message)
    except OSError as error:
        yield Problem(db.DATABASE, f"The database {paths.database} cannot be opened: {error.strerror}.")


def line_now(paths: Paths) -> Line | None:
    """The line alone; None without a site."""
    try:
        return line(site.load(paths.site), paths)
    except site.SiteErrors:
        return None


def line(config: SiteConfig, paths: Paths) -> Line:
    """The way out: as the kernel has it, and as the meter last found it in this boot."""
    interface = config.uplink.interface
    present = (Path("/sys/class/net") / interface).exists()
    reached: bool | None = None
    with contextlib.suppress(StoreError, OSError), privileges.as_owner_of(paths.data):
        with contextlib.closing(db.Database(paths.database)) as database, database.read() as connection:
            state = sessions.uplink(connection, clock.now()).state
        reached = None if state is UplinkState.UNKNOWN else state is not UplinkState.DOWN
    return Line(interface, present, present and has_address(interface), reached)


def has_address(interface: str, inet6: Path = Path("/proc/net/if_inet6")) -> bool:
    """Has it an IPv4 address (netdevice(7)), or an IPv6 address that leads further than its own link?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, contextlib.suppress(OSError):
        fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        return True
    with contextlib.suppress(OSError):
        rows = [row.split() for row in inet6.read_text(encoding="ascii").splitlines()]
        return any(row[5] == interface and row[3] == _GLOBAL_SCOPE for row in rows if len(row) == 6)
    return False
