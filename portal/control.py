"""Asks who looks after the running gateway, over its control socket, to change the configuration or to say how it is.

It must not know what a configuration holds. A request is one line of JSON, at most MAX_BYTES, with at most one open
file beside it; the answer is one line of JSON. The other end is portal.changes. The standard library is all it needs.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MAX_BYTES: Final = 1024 * 1024  # a site.toml with a thousand plans is a tenth of it
TIMEOUT_S: Final = 20.0
RESTORE_TIMEOUT_S: Final = 300.0  # checks and copies a whole database on an SD card

BUSY: Final = "busy"
BAD_REQUEST: Final = "bad-request"
DENIED: Final = "denied"
FAILED: Final = "failed"
MISTAKES: Final = "mistakes"
NOTHING_PENDING: Final = "nothing-pending"
PENDING: Final = "pending"
SAME: Final = "same"
UNREACHABLE: Final = "unreachable"


class ControlError(Exception):
    """The supervisor refused, or cannot be asked: a stable ``code``, a sentence, what to do.

    ``mistakes``: those of a configuration that was refused, as portal.site.Mistake has them.
    """

    def __init__(self, code: str, message: str, hint: str = "", mistakes: tuple[Mapping[str, str], ...] = ()) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code = code
        self.message = message
        self.hint = hint
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Pending:
    """A configuration is tried: by whom, which processes it renewed, and the seconds left to confirm it."""

    by: str
    left_s: float
    renewed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the last trial ended: ``confirmed`` or ``reverted``, by whom it was begun, why, and when (Unix time)."""

    outcome: str
    by: str
    message: str
    wall_s: float


@dataclass(frozen=True, slots=True)
class State:
    """``source``: the site's own file. Both None: since the gateway started nothing was tried. ``at_start``: keys that
    were changed since then, and that a box reads only as it starts (portal.domain.atstart)."""

    source: str
    pending: Pending | None
    last: Outcome | None
    at_start: tuple[str, ...] = ()


class Control:
    """Every method raises ControlError; ``unreachable`` where no gateway runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def state(self) -> State:
        return _state(self._ask({"verb": "state"}))

    def apply(self, text: str, by: str) -> State:
        """Try the configuration ``text`` (a site.toml): in force at once, and undone unless confirmed in time."""
        return _state(self._ask({"verb": "apply", "text": text, "by": by}))

    def confirm(self, by: str) -> State:
        """Keep what is being tried: it becomes the site's own file."""
        return _state(self._ask({"verb": "confirm", "by": by}))

    def revert(self, by: str) -> State:
        """Undo what is being tried, without waiting for its time."""
        return _state(self._ask({"verb": "revert", "by": by}))

    def log(self) -> list[str]:
        """The last lines of the gateway's log."""
        return [str(line) for line in self._ask({"verb": "log"})["lines"]]

    def restore(
        self, file: int, by: str, role: str, *, force_site: bool = False, keep_site: bool = False
    ) -> dict[str, Any]:
        """Put the backup in the open ``file`` (a descriptor, at its start) in the gateway's place.

        The answer is a portal.restore.Restored. Where that changed site.toml, it is tried, and waits to be confirmed.
        """
        request = {"verb": "restore", "by": by, "role": role, "force_site": force_site, "keep_site": keep_site}
        answer = self._ask(request, file, RESTORE_TIMEOUT_S)
        restored: dict[str, Any] = answer["restored"]
        return restored

    def _ask(self, request: Mapping[str, Any], file: int | None = None, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        line = json.dumps(request).encode() + b"\n"
        if len(line) > MAX_BYTES:
            raise ControlError(BAD_REQUEST, f"{len(line)} bytes are more than the limit of {MAX_BYTES}.", "Shorten it.")
        end = time.monotonic() + timeout_s
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout_s)
                connection.connect(str(self._path))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who is refused is told so: read it
                    sent = 0 if file is None else socket.send_fds(connection, [line], [file])
                    connection.sendall(line[sent:])
                received = bytearray()
                while not received.endswith(b"\n"):
                    connection.settimeout(max(0.01, end - time.monotonic()))
                    data = connection.recv(262_144)
                    if not data:
                        raise ControlError(FAILED, "The gateway closed the connection without an answer.", "Try again.")
                    received += data
        except TimeoutError:
            message = f"The gateway did not answer within {timeout_s:.0f} s."
            raise ControlError(BUSY, message, "Look at its log, then try again.") from None
        except PermissionError:
            message = f"This user may not speak to the gateway at {self._path}."
            raise ControlError(DENIED, message, "Use sudo.") from None
        except OSError as error:
            message = f"No gateway runs at {self._path}: {error.strerror or error}."
            hint = "Start it: `systemctl start gerbang.target`, or `gerbang run`."
            raise ControlError(UNREACHABLE, message, hint) from None
        answer: dict[str, Any] = json.loads(received)
        if "error" in answer:
            told = answer["error"]
            raise ControlError(told["code"], told["message"], told["hint"], tuple(told.get("mistakes", ())))
        return answer


def _state(answer: Mapping[str, Any]) -> State:
    pending, last = answer["pending"], answer["last"]
    return State(
        source=answer["source"],
        pending=None if pending is None else Pending(pending["by"], pending["left_s"], tuple(pending["renewed"])),
        last=None if last is None else Outcome(**last),
        at_start=tuple(answer["at_start"]),
    )
