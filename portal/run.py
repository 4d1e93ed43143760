"""Runs the gateway: netctl first, then the rest, until a signal comes; says how it ended.

It must not know site.toml, SQL or netctl's messages: portal.prepare checks and writes everything and then turns into
this program by exec, which imports the standard library alone and so stays small for as long as the gateway runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from portal.changes import Changes
from portal.chores import Chores
from portal.logline import describe, log
from portal.processes import Program, python
from portal.programs import Orders, decode, housekeeping, programs
from portal.readiness import answers
from portal.renewals import Renewals
from portal.supervisor import Child, Supervisor

READY_WITHIN_S: Final = 60.0
REFRESH_S: Final = 600.0  # how often a certificate and the clock are looked at again, but for a start


def supervise(orders: Orders, children: Sequence[Program]) -> int:
    """Run the gateway, netctl first, until a signal comes; the exit status (sysexits)."""
    supervisor = Supervisor(children)
    netctl = supervisor.children[0]
    listening = Path(orders.run) / "netctl.sock"
    changes = Changes(supervisor, orders, lambda: answers(listening))
    chores = Chores(supervisor, "housekeeping", lambda: housekeeping(changes.orders, os.getpid()))
    renewals = Renewals(supervisor, lambda: changes.orders, REFRESH_S)

    def over() -> bool:
        return supervisor.signals > 0 or supervisor.hopeless is not None

    supervisor.start(netctl)
    end = time.monotonic() + READY_WITHIN_S
    late = False
    while not (over() or answers(listening)):
        # The LAN stays shut meanwhile: no address, no DHCP, no page before the rules stand.
        supervisor.run_until(over, 0.02)
        if not late and time.monotonic() > end:
            late = True
            log("gerbang", f"netctl is not ready after {READY_WITHIN_S:.0f} s; the LAN stays shut until it is.")
    if not over():
        supervisor.ready = True
        changes.open()
        for child in supervisor.children[1:]:
            supervisor.start(child)
        chores.begin()
        renewals.begin()
        log("gerbang", "started")
    supervisor.run_until(over)
    changes.close()
    chores.end()
    supervisor.stop()
    return finish(supervisor, netctl, changes.orders)


def finish(supervisor: Supervisor, netctl: Child, orders: Orders) -> int:
    """Say how it ended, and clear the kernel where netctl could not do it itself."""
    if supervisor.hopeless is not None:
        log("gerbang", f"stopped: netctl ended {describe(netctl.status or 0)}; its sentence above says why")
        return netctl.status or os.EX_SOFTWARE
    if supervisor.signals > 1:
        log(
            "gerbang", "killed. What is in the kernel stays: `netctl cleanup` removes it, starting again takes it over."
        )
        return os.EX_TEMPFAIL
    if netctl.status != 0 and not orders.keep:
        log("gerbang", "netctl did not end cleanly; removing its rules.")
        cleanup = python("netctl", "cleanup", "--config", str(Path(orders.run) / "netctl.json"))
        if subprocess.run(cleanup, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            return os.EX_SOFTWARE
    log("gerbang", "stopped; users stay online" if orders.keep else "stopped")
    return os.EX_OK


if __name__ == "__main__":
    ordered = decode(sys.argv[1])
    os.set_inheritable(ordered.lock, False)
    sys.exit(supervise(ordered, programs(ordered, os.getpid())))
