"""Runs beside the units of systemd: control socket, trials of a configuration, what certificate and clock change.

It is what the supervisor is elsewhere, without the children: ``python -m portal.unit_control /run/gerbang/orders.json``
as root, once netctl is ready. It must not know site.toml, SQL or netctl's messages; the standard library is all it
needs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from portal import claim
from portal.changes import Changes
from portal.logline import log
from portal.notify import Pulse
from portal.programs import decode, programs
from portal.readiness import answers
from portal.renewals import Renewals
from portal.units import Units

REFRESH_S: Final = 600.0  # how often a certificate and the clock are looked at again, but for a start
BEAT_S: Final = 10.0


def main(path: Path) -> int:
    """An exit status (sysexits), after SIGTERM."""
    orders = decode(path.read_text(encoding="utf-8"))
    try:
        claim.claim(Path(orders.run))  # until this process ends: `gerbang run` finds that a gateway runs
    except claim.TakenError as error:
        log("gerbang", f"Another gateway is running in {orders.run}: {error}. Stop that one.")
        return os.EX_TEMPFAIL
    units, pulse = Units(programs(orders, os.getpid())), Pulse()
    changes = Changes(units, orders, lambda: answers(Path(orders.run) / "netctl.sock"))
    renewals = Renewals(units, lambda: changes.orders, REFRESH_S)

    def beat() -> None:
        pulse.turn()
        units.after("beat", BEAT_S, beat)

    changes.recover()
    changes.open()
    renewals.begin()
    beat()
    units.run_until(lambda: units.signals > 0)
    pulse.stopping()
    changes.close()
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
