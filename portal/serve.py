"""Starts the portal's own processes, guest, staff and meter: load all as root, give up root, work. It knows no details.

Run by the supervisor as ``python -m portal.serve '{"role": "meter", ...}'``, by systemd as ``python -m portal.serve
meter /run/gerbang/orders.json`` and as the role's own user, rather than through the command line, which would keep 4 MB
of option parser in each of them. After the drop the source tree may be unreadable, so each role has a ``prepare`` that
loads what it will need.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from portal import notify, privileges, programs, site
from portal.config import SiteConfig
from portal.paths import Paths


@dataclass(frozen=True, slots=True)
class Orders:
    """``role`` is guest, guest-tls, staff or meter; ``parent`` the process whose end it must not outlive."""

    role: str
    site: str
    run: str
    data: str
    user: str
    parent: int | None = None


def told(arguments: Sequence[str]) -> Orders:
    """The orders in a command line: all of them, or a role and the file of portal.programs.Orders."""
    if len(arguments) == 1:
        return Orders(**json.loads(arguments[0]))
    role, path = arguments
    found = programs.decode(Path(path).read_text(encoding="utf-8"))
    return Orders(role, found.site, found.run, found.data, found.staff_user if role == "staff" else found.user)


class _Line(logging.Formatter):
    """The message, and its level where it is worse than information; time and role are the reader's to add."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


def serve(orders: Orders) -> int:
    """Become the process of this role; returns an exit status (sysexits) once it has ended."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    paths = Paths(Path(orders.run), Path(orders.data))
    try:
        config = site.load(orders.site)
        os.environ["TZ"] = config.site.timezone
        time.tzset()
        if orders.role == "meter":
            return _meter(config, paths, orders)
        if orders.role == "staff":
            _staff(config, paths, orders)
        _guest(config, paths, orders)
    except site.SiteErrors as errors:
        print(errors, file=sys.stderr)
        return os.EX_CONFIG
    except privileges.PrivilegeError as error:
        print(error, file=sys.stderr)
        return os.EX_NOPERM
    return os.EX_OK


def _guest(config: SiteConfig, paths: Paths, orders: Orders) -> NoReturn:
    from portal import passwords, wsgi  # noqa: PLC0415  the meter never loads Flask
    from portal.admission import Gate  # noqa: PLC0415
    from portal.guest.app import create_app  # noqa: PLC0415

    gate = Gate(config, paths)
    app = create_app(config, gate)
    if "account" in config.access.methods:
        passwords.verify(None, "")  # its library is loaded at first use, when the source may be unreadable
    if orders.role == "guest-tls":
        if config.portal.certificate is None or config.portal.key is None:
            raise ValueError("TLS needs portal.certificate in site.toml.")
        certificate = privileges.credential("certificate", config.portal.certificate)
        tls = wsgi.tls_context(certificate, privileges.credential("key", config.portal.key))
        prepared, port = wsgi.Prepared(app, gate, tls), config.portal.tls_port
    else:
        prepared, port = wsgi.Prepared(app, gate, None), config.portal.port
    privileges.drop(orders.user, orders.parent)
    wsgi.serve(prepared, port, paths.run)


def _staff(config: SiteConfig, paths: Paths, orders: Orders) -> NoReturn:
    from portal import wsgi  # noqa: PLC0415
    from portal.staff import start  # noqa: PLC0415  the guest pages never load it

    prepared = start.prepare(config, paths, privileges.account(orders.user))
    privileges.drop(orders.user, orders.parent)
    wsgi.serve(prepared, config.staff.port, paths.run)


def _meter(config: SiteConfig, paths: Paths, orders: Orders) -> int:
    import threading  # noqa: PLC0415

    from portal import meter  # noqa: PLC0415  the guest pages do without

    stop, pulse = threading.Event(), notify.Pulse()

    def end(*_: object) -> None:
        pulse.stopping()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    meter.prepare(config, paths)
    privileges.drop(orders.user, orders.parent)
    meter.run_meter(config, paths, stop, pulse.turn)
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(serve(told(sys.argv[1:])))
