"""Makes the database and the first staff users of a new box, as its first normal start would. It ends then.

It must not know the setup page. It is a process of its own because Flask, SQLite and the ciphers stay in memory.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from portal import prepare, privileges
from portal.config import Site, SiteConfig
from portal.paths import Paths
from portal.staff import start
from portal.store import setup


def main(argument: str) -> None:
    told = json.loads(argument)
    paths, account = Paths(data=Path(told["data"])), privileges.account(privileges.PORTAL_USER)
    config = SiteConfig(site=Site(code=told["code"]))
    prepare.directory(paths.data, account.pw_uid, account.pw_gid, 0o2771)
    setup.ensure(paths.database)
    start.prepare(config, paths, privileges.account(privileges.STAFF_USER))


if __name__ == "__main__":
    main(sys.argv[1])
