"""Does what can wait, in a process that ends: figures, erasing, batches for the office. It must not know how.

The supervisor runs it once an hour as ``python -m portal.housekeeping '{...}'`` (portal.chores), `gerbang housekeeping`
does by hand. Each part fails for itself. It is nice to others, but not idle: whoever is never given the processor while
it holds the database keeps logins waiting.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from portal import clock, outbox, privileges, sealing, site
from portal.config import SiteConfig
from portal.paths import Paths
from portal.retention import Retention
from portal.sealing import SigningKey
from portal.store import rollups, sessions
from portal.store.db import Database, StoreError

NICE: Final = 10
ENTRIES: Final = 2000  # of the log, taken into the figures in one transaction
LOCK: Final = "housekeeping.lock"


class Busy(Exception):
    """Another one is at it."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one part did, as counts by name; ``error``: the sentence why it did not."""

    name: str
    done: dict[str, int]
    error: str | None = None

    def text(self) -> str:
        if self.error is not None:
            return f"{self.name}: {self.error}"
        return f"{self.name}: " + (", ".join(f"{count} {what}" for what, count in self.done.items()) or "nothing to do")


def enter(config: SiteConfig, paths: Paths, user: str, parent: int | None) -> SigningKey | None:
    """Load all, read the gateway's key, and give up root for good. Raises PrivilegeError.

    None: there is no key yet; the staff pages' user has not been set up.
    """
    key = None
    with contextlib.suppress(OSError, ValueError):
        if os.geteuid() == 0 and paths.data.exists():
            account = privileges.account(user)
            key = sealing.load_or_make_signing(paths.staff, account.pw_uid, account.pw_gid)
        else:
            key = sealing.load_signing(paths.staff)
    if config.office.key is not None:  # the library is loaded at first use, when the source may be unreadable
        sealing.seal(sealing.parse_office_key(config.office.key), b"", b"")
    if os.geteuid() == 0:
        privileges.drop(user, parent)
    return key


def keep(config: SiteConfig, paths: Paths, key: SigningKey | None) -> list[Part]:
    """All that is due, in order: figures are made before what they are made of goes. Raises Busy, OSError."""
    os.nice(NICE)
    with _alone(paths), contextlib.closing(Database(paths.database)) as database:
        rolled_up = _part("rollups", lambda: _catch_up(config, database))
        erased = _part("retention", Retention(config, database).run)
        filled = _part("outbox", lambda: _fill(config, database, key))
        return [rolled_up, erased, filled, _part("database", lambda: _tidy(database, erased=bool(erased.done)))]


@contextlib.contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    descriptor = os.open(paths.data / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        yield
    finally:
        os.close(descriptor)


def _part(name: str, work: Callable[[], dict[str, int]]) -> Part:
    try:
        return Part(name, work())
    except StoreError as error:
        return Part(name, {}, str(error))
    except Exception as error:  # what comes after it must be done all the same
        return Part(name, {}, f"{type(error).__name__}: {error}. This is a mistake in the program.")


def _catch_up(config: SiteConfig, database: Database) -> dict[str, int]:
    zone, taken = ZoneInfo(config.site.timezone), 0
    while True:
        with database.read() as db:
            if not rollups.behind(db, zone):
                return {"entries": taken} if taken else {}
        with database.write() as db:
            sessions.note_time(db, clock.now())
            taken += rollups.catch_up(db, zone, ENTRIES)


def _fill(config: SiteConfig, database: Database, key: SigningKey | None) -> dict[str, int]:
    if key is None:
        return {}  # it is made when the gateway is started
    return {name: count for name, count in asdict(outbox.fill(database, config, key, clock.now())).items() if count}


def _tidy(database: Database, *, erased: bool) -> dict[str, int]:
    """What the planner knows of the tables is renewed. What was erased would stand in the write-ahead log still, until
    that is cut off."""
    with database.write() as db:
        db.execute("PRAGMA analysis_limit = 400")
        db.execute("PRAGMA optimize")
    if erased:
        database.checkpoint()
    return {}


def main(argument: str) -> int:
    """A child of the supervisor. It says what it did, where it did anything, and what failed."""
    told: dict[str, Any] = json.loads(argument)
    paths = Paths(Path(told["run"]), Path(told["data"]))
    try:
        config = site.load(told["site"])
        key = enter(config, paths, told["user"], told["parent"])
        parts = keep(config, paths, key)
    except site.SiteErrors as errors:
        print(errors, file=sys.stderr)
        return os.EX_CONFIG
    except privileges.PrivilegeError as error:
        print(error, file=sys.stderr)
        return os.EX_NOPERM
    except Busy:
        print("somebody does it by hand just now", file=sys.stderr)
        return os.EX_OK
    except OSError as error:
        print(f"the data directory cannot be used: {error}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    for part in parts:
        if part.error is not None or part.done:
            print(part.text(), file=sys.stderr)
    return os.EX_UNAVAILABLE if any(part.error is not None for part in parts) else os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
