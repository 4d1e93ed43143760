"""Packs how the gateway is into one file for whoever helps from afar, without personal data. It must not know pages.

Every text passes portal.technician.anonymous, and nothing is put in that is about people to begin with: of tables only
how many rows they have, of the configuration neither names nor notes nor keys.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import os
import re
import sqlite3
import subprocess
import tarfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from netctl.api.client import Client
from netctl.api.errors import NetctlError
from portal import clock, control, report
from portal import site as sites
from portal.config import SiteConfig
from portal.paths import Paths
from portal.staffing import FIRST_USERS
from portal.store import db, facts
from portal.store.db import StoreError
from portal.technician.anonymous import Anonymous
from portal.units import JOURNAL

# Keys of site.toml whose values name people, places or secrets. The desa's code says which gateway it is: it stays.
UNSAID: Final = {"name", "ssid", "reason", "key", "note", "user", "password"}


def make(out: IO[bytes], paths: Paths, site_file: Path) -> list[str]:
    """Write a tar.gz to ``out``; the names of what is in it. A part that cannot be had holds the reason instead."""
    config, _ = sites.check(site_file, files=False)
    hide = Anonymous(_names(config, paths), _own_addresses(config)).text
    parts: dict[str, Callable[[], str]] = {
        "versions.json": lambda: _json(_versions()),
        "site.json": lambda: _json(_configuration(site_file)),
        "doctor.json": lambda: _json([finding.as_json() for finding in report.doctor(paths, site_file)]),
        "netctl-status.json": lambda: _json(_status(paths)),
        "netctl-dump.txt": lambda: "\n".join(Client(paths.netctl_socket).dump()),
        "tables.json": lambda: _json(_tables(paths)),
        "log.txt": lambda: "\n".join(_log(paths)),
    }
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
        for name, part in parts.items():
            try:
                said = part()
            except (OSError, NetctlError, StoreError, sqlite3.Error, ValueError) as error:
                said = f"This part could not be had: {error}"
            content = (hide(said) + "\n").encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return list(parts)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)


def _versions() -> dict[str, Any]:
    now = clock.now()
    return report.versions() | {
        "boot_s": now.boot_s,
        "wall": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now.wall_s)),
        "wall_is_trusted": clock.wall_is_trusted(),
        "processors": os.cpu_count(),
    }


def _configuration(site_file: Path) -> Any:
    """site.toml as it is written, mistakes and all, without what stands under UNSAID."""
    return _said(tomllib.loads(site_file.read_text(encoding="utf-8")))


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "<left out>" if key in UNSAID else _said(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_said(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool) else str(value)


def _status(paths: Paths) -> Any:
    import msgspec  # noqa: PLC0415

    return msgspec.to_builtins(Client(paths.netctl_socket).status())


def _tables(paths: Paths) -> dict[str, Any]:
    with contextlib.closing(db.Database(paths.database)) as database, database.read() as connection:
        return {"schema": db.schema_version(connection), "rows": facts.counts(connection)}


def _log(paths: Paths) -> list[str]:
    """The last lines as who looks after the processes has them; where that does not run, the journal's."""
    with contextlib.suppress(control.ControlError):
        return harmless(control.Control(paths.control_socket).log())
    done = subprocess.run(JOURNAL, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False, text=True)
    return harmless(done.stdout.splitlines())


def harmless(lines: Iterable[str]) -> list[str]:
    """The log without the first passwords, which the staff pages say in it once, each behind its user's name."""
    users = "|".join(map(re.escape, FIRST_USERS))
    return [line for line in lines if not re.search(rf"\b(?:{users})\s+\S", line)]


def _names(config: SiteConfig | None, paths: Paths) -> Iterator[str]:
    """Every name that may stand in a log or a sentence: the place's, the office's, the staff's."""
    if config is not None:
        yield from (config.site.name, config.wifi.ssid)
    with (
        contextlib.suppress(StoreError),
        contextlib.closing(db.Database(paths.database)) as database,
        database.read() as connection,
    ):
        yield from facts.names(connection)


def _own_addresses(config: SiteConfig | None) -> Iterator[str]:
    """Addresses that are of the gateway and its configuration, not of anybody who uses it."""
    if config is None:
        return
    lan = ipaddress.IPv4Interface(config.lan.address)
    yield from (str(lan.ip), str(lan.network.network_address), str(lan.network.broadcast_address), "192.0.2.1")
    yield from (*config.uplink.dns, *config.uplink.reflectors)
    yield str(ipaddress.ip_network(sites.ula_prefix(config.site.code)).network_address)
