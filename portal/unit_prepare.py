"""Makes everything ready for the gateway's units of systemd, as portal.prepare does for the supervisor, and ends.

``python -m portal.unit_prepare /data/site/site.toml`` as root, before all of them. It must not know how they work.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from portal import prepare, privileges, sealing, site, sitecheck, staffkey, units
from portal.paths import Paths
from portal.programs import programs


def main(source: Path, paths: Paths | None = None) -> int:
    """An exit status (sysexits)."""
    paths = paths or Paths()
    try:
        orders = prepare.ready(source, paths, privileges.PORTAL_USER, keep=True, here=are_there(source))
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


def are_there(source: Path) -> bool:
    """Are the interfaces there that site.toml names? At a start they come later; netctl waits for them."""
    config, _mistakes = site.check(source)
    return config is not None and {config.lan.interface, config.uplink.interface} <= set(sitecheck.interfaces())


def make_keys(paths: Paths) -> None:
    """The staff pages' directory and keys, which they make themselves where they begin as root."""
    account = privileges.account(privileges.STAFF_USER)
    with contextlib.suppress(OSError, ValueError):  # they say so themselves, and go without, or do not start
        staffkey.load_or_make(paths.staff, account.pw_uid, account.pw_gid)
        sealing.load_or_make_signing(paths.staff, account.pw_uid, account.pw_gid)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
