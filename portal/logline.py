"""Says one line of the gateway's log on standard error, and keeps the last ones. It must not know who speaks.

The standard library is all it needs.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import time
from typing import Final

KEPT_LINES: Final = 2000  # of the log, in memory: for the diagnostic bundle where no journal is kept

kept: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)


def log(name: str, message: str) -> None:
    """One line on standard error. A reader who went away must not take the gateway down."""
    said = f"{name:<9} {message}"
    line = f"{time.strftime('%H:%M:%S')} {said}"
    kept.append(line)
    with contextlib.suppress(OSError):
        os.write(2, f"{said if _is_journal(2) else line}\n".encode(errors="replace"))


def _is_journal(descriptor: int) -> bool:
    """Is it systemd's journal, which has a clock of its own? JOURNAL_STREAM, systemd.exec(5), is inherited by who knows
    whom, so it is compared."""
    found = os.fstat(descriptor)
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def describe(status: int) -> str:
    """'with status 1', 'by SIGKILL'."""
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
