"""The staff pages' end of the update service's socket: one line of JSON there, one back. It must not know the pages."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Final

from portal.update import errors
from portal.update.errors import UpdateError
from portal.update.places import SOCKET

TIMEOUT_S: Final = 60.0  # a stick may take its time


class Updates:
    """Every method raises UpdateError; ``unreachable`` where this machine is no box."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or SOCKET

    @property
    def is_there(self) -> bool:
        """Is there such a service? Only a flashed box has one."""
        return self._path.exists()

    def state(self) -> dict[str, Any]:
        """How updates stand here: portal.update.service.standing."""
        return self._ask({"verb": "state"})

    def sticks(self) -> list[dict[str, Any]]:
        """Bundles on USB sticks that are in now."""
        found: list[dict[str, Any]] = self._ask({"verb": "sticks"})["sticks"]
        return found

    def install(self, source: str, name: str, by: str, role: str, *, force: bool = False) -> None:
        """Begin to install a file that was uploaded (``incoming``), or is on a ``stick``; ``state`` has its
        progress.
        """
        self._ask({"verb": "install", "from": source, "name": name, "by": by, "role": role, "force": force})

    def reboot(self, by: str) -> None:
        self._ask({"verb": "reboot", "by": by})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        received = bytearray()
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(TIMEOUT_S)
                connection.connect(str(self._path))
                connection.sendall(json.dumps(request).encode() + b"\n")
                while not received.endswith(b"\n"):
                    if not (data := connection.recv(65536)):
                        break
                    received += data
            answer: dict[str, Any] = json.loads(received)
        except (OSError, ValueError) as error:
            message = f"The update service at {self._path} does not answer: {error}."
            raise UpdateError(errors.UNREACHABLE, message, "Only an installed image can be updated.") from None
        if "error" in answer:
            told = answer["error"]
            raise UpdateError(told["code"], told["message"], told["hint"])
        return answer
