"""Says whether netctl is ready, and waits until it is. It must not know netctl's messages.

``python -m portal.readiness /run/gerbang/netctl.sock`` ends once it is: systemd starts what needs the rules after that.
The standard library is all it needs.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Final

LATE_S: Final = 60.0
PAUSE_S: Final = 0.2


def answers(path: Path) -> bool:
    """Does netctl listen? It does once its rules stand."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def wait(path: Path) -> None:
    """However long it takes: the LAN stays shut meanwhile, no radio, no DHCP, no page before the rules stand."""
    begun, late = time.monotonic(), False
    while not answers(path):
        if not late and time.monotonic() - begun > LATE_S:
            late = True
            print(f"netctl is not ready after {LATE_S:.0f} s; the LAN stays shut until it is.", file=sys.stderr)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    wait(Path(sys.argv[1]))
