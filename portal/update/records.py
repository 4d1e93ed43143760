"""Writes down how updates ended: the last one for pages, all of them in a row, and the audit trail. It decides
nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from portal import wholefile
from portal.paths import Paths
from portal.update import places
from portal.update.places import Places
from portal.update.state import Outcome

log = logging.getLogger("gerbang.update")

KEPT: Final = 200


def write(at: Places, outcome: Outcome) -> None:
    """How an update ended; what is said of the last one again, with more in it, takes its place. Raises OSError."""
    told = msgspec.to_builtins(outcome)
    before = history(at)
    if before and all(before[-1].get(key) == told[key] for key in ("outcome", "slot", "to_version", "wall_s")):
        before.pop()
    places.write_json(at.last, told)
    lines = [json.dumps(line, ensure_ascii=False) for line in [*before, told]]
    wholefile.write(at.history, "".join(f"{line}\n" for line in lines[-KEPT:]).encode())


def last(at: Places) -> Outcome | None:
    try:
        return msgspec.json.decode(at.last.read_bytes(), type=Outcome)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def history(at: Places) -> list[dict[str, Any]]:
    """The oldest first. A line that a power cut has torn is left out."""
    found = []
    with contextlib.suppress(OSError):
        for line in at.history.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                if isinstance(told := json.loads(line), dict):
                    found.append(told)
    return found


def audit(paths: Paths, actor: str, role: str, action: str, after: Mapping[str, Any]) -> None:
    """An entry of the audit trail, where there is a database that takes one: what was done is done without it too."""
    from portal import administration, privileges  # noqa: PLC0415 - heavy, and only here
    from portal import site as sites  # noqa: PLC0415
    from portal.store.db import StoreError  # noqa: PLC0415

    try:
        with privileges.as_owner_of(paths.data):
            acts = administration.Administration(sites.load(paths.site), paths, actor or "gerbang", role)
            try:
                acts.record(action, "system", after=dict(after))
            finally:
                acts.close_database()
    except (StoreError, sites.SiteErrors, OSError, privileges.PrivilegeError) as error:
        log.warning("the audit trail could not be written: %s", error)
