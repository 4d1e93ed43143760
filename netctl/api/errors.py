"""The errors that cross the socket: a stable code, one sentence, and what to do. It must not know the kernel."""

from __future__ import annotations

from typing import Final

BUSY: Final = "busy"
BAD_REQUEST: Final = "bad-request"
TOO_LARGE: Final = "too-large"
TIMEOUT: Final = "timeout"
DENIED: Final = "denied"
REFUSED: Final = "refused"
KERNEL: Final = "kernel"
UNSUPPORTED: Final = "unsupported"
UNREACHABLE: Final = "unreachable"
CONFIG: Final = "config"
INTERNAL: Final = "internal"


class NetctlError(Exception):
    """A request or a start that failed: ``code`` is stable, ``message`` says what and where, ``hint`` what to do."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} [{code}]" + (f" {hint}" if hint else ""))
        self.code = code
        self.message = message
        self.hint = hint
