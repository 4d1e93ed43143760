"""Makes everything ready for the gateway's units of systemd, as portal.prepare does for the supervisor, and ends.

``python -m portal.unit_prepare /data/site/site.toml`` as root, before all of them. It must not know how they work.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from portal import prepare, privileges, sealing, site, staffkey, units
from portal.logline import log
from portal.paths import Paths
from portal.programs import programs

LATE_S: Final = 30.0
PAUSE_S: Final = 0.2
INTERFACES: Final = Path("/sys/class/net")


def main(source: Path, paths: Paths | None = None) -> int:
    """An exit status (sysexits)."""
    paths = paths or Paths()
    try:
        wait_for_interfaces(source)
        orders = prepare.ready(source, paths, privileges.PORTAL_USER, keep=True)
        make_keys(paths)
        if units.write_dropins(programs(orders, os.getpid())):
            units.systemctl(("daemon-reload",))
    except site.SiteErrors as errors:
        print(errors, file=sys.stderr)
        return os.EX_CONFIG
    except prepare.StartError as error:
        print(error, file=sys.stderr)
        return error.status
    except privileges.PrivilegeError as error:
        print(error, file=sys.stderr)
        return os.EX_NOPERM
    except units.UnitError as error:
        print(error, file=sys.stderr)
        return os.EX_UNAVAILABLE
    return os.EX_OK


def wait_for_interfaces(source: Path, there: Callable[[str], bool] | None = None) -> None:
    """Until those that site.toml names are there, however long it takes: networkd makes bridges and renames cards, and
    who plugs a card in again need not start the box again. A site.toml with mistakes is not waited for."""
    config, _mistakes = site.check(source)
    if config is None:
        return
    there = there or (lambda name: (INTERFACES / name).exists())
    wanted, begun, late = (config.lan.interface, config.uplink.interface), time.monotonic(), False
    while missing := missing_of(wanted, there):
        if not late and time.monotonic() - begun > LATE_S:
            late = True
            log(
                "gerbang", f"There is no interface {' and no interface '.join(missing)}; the LAN stays shut until then."
            )
        time.sleep(PAUSE_S)


def missing_of(names: Sequence[str], there: Callable[[str], bool]) -> list[str]:
    return [name for name in names if not there(name)]


def make_keys(paths: Paths) -> None:
    """The staff pages' directory and keys, which they make themselves where they begin as root."""
    account = privileges.account(privileges.STAFF_USER)
    with contextlib.suppress(OSError, ValueError):  # they say so themselves, and go without, or do not start
        staffkey.load_or_make(paths.staff, account.pw_uid, account.pw_gid)
        sealing.load_or_make_signing(paths.staff, account.pw_uid, account.pw_gid)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
