"""The end with rights of the technician's pages: says how updates stand, looks at sticks, installs, restarts the box.

``python -m portal.update.service``, started by its socket. A request is one line of JSON; root and the staff pages'
user may ask, nobody else, whoever else can open the socket. It must not know what an update consists of: a child does
the work (portal.update.installing). It ends by itself when nobody has asked for a while and nothing is being done.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pwd
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import msgspec

from portal import listener, privileges
from portal.paths import Paths
from portal.processes import python
from portal.store import schemaback
from portal.update import errors, installing, offer, places, records, state, stick, uploaded
from portal.update.errors import UpdateError
from portal.update.places import Places
from portal.update.slot import restart

log = logging.getLogger("gerbang.update")

IDLE_S: Final = 60.0
REQUEST_S: Final = 5.0
MAX_BYTES: Final = 64 * 1024
PEERCRED: Final = struct.Struct("iII")


class Service:
    """``allowed``: who may ask besides root."""

    def __init__(self, at: Places, paths: Paths, allowed: frozenset[int]) -> None:
        self._at, self._paths, self._allowed = at, paths, allowed
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def working(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def serve(self, listening: socket.socket) -> None:
        """Answer one after the other until nobody has asked for IDLE_S and nothing is being done."""
        listening.settimeout(IDLE_S)
        try:
            while True:
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    if self.working:
                        continue
                    return
                with connection:
                    self._answer(connection)
        finally:
            self._end_child()

    def _end_child(self) -> None:
        """What it is fetching can wait for another time; what RAUC is writing is waited for (installing.main)."""
        if self._child is not None and self.working:
            self._child.terminate()
            self._child.wait()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(REQUEST_S)
        answer: Mapping[str, Any]
        try:
            _pid, uid, _gid = PEERCRED.unpack(
                connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEERCRED.size)
            )
            if uid != 0 and uid not in self._allowed:
                raise UpdateError(errors.DENIED, "This user may not update the box.", "Use sudo.")
            answer = self.do(_received(connection))
        except UpdateError as error:
            answer = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
        except (OSError, EOFError):
            return
        except Exception as error:
            log.exception("a request failed")
            answer = {
                "error": {"code": errors.REQUEST, "message": f"It failed: {error!r}.", "hint": "See the journal."}
            }
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(answer).encode() + b"\n")

    def do(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """One request. Raises UpdateError."""
        if not self.working:
            uploaded.give_back_left(self._at)
        verb = request.get("verb")
        if verb == "state":
            return standing(self._at, self._paths)
        if verb == "sticks":
            if self.working:
                raise UpdateError(errors.BUSY, "An installation is under way.", "Wait until it has ended.")
            return {"sticks": [asdict(found) for found in stick.offered(self._at.run / "stick")]}
        if verb == "install":
            return self._install(request)
        if verb == "reboot":
            if self.working:
                raise UpdateError(errors.BUSY, "An installation is under way.", "Wait until it has ended.")
            log.info("%s restarts the box", str(request.get("by", ""))[:80])
            restart()
            return {"done": True}
        raise UpdateError(errors.REQUEST, f"There is no verb {verb!r}.", "Both ends must be of one version.")

    def _install(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.working:
            raise UpdateError(errors.BUSY, "An installation is under way.", "Wait until it has ended.")
        name, source = str(request.get("name", "")), request.get("from")
        if not offer.is_name(name) or source not in ("incoming", "stick"):
            raise UpdateError(
                errors.REQUEST, f"{name!r} is no name of an update.", "They are called gerbang-....raucb."
            )
        if (refusal := offer.readiness(state.load(self._at.state), places.running_slot() or "")) is not None:
            raise refusal
        if source == "incoming":
            uploaded.take(self._at, name)
        order = {
            "from": source,
            "name": name,
            "by": str(request.get("by", ""))[:80],
            "role": str(request.get("role", ""))[:20],
            "force": bool(request.get("force")),
        }
        self._at.progress.unlink(missing_ok=True)
        self._child = subprocess.Popen(
            python("portal.update.installing", json.dumps(order)), stdin=subprocess.DEVNULL, cwd="/"
        )
        return {"done": True}


def standing(at: Places, paths: Paths) -> dict[str, Any]:
    """All that a page or a command tells of updates."""
    known, last = state.load(at.state), records.last(at)
    back = schemaback.note(paths.database)
    return {
        "slot": places.running_slot(),
        "version": places.version(),
        "proven": known.proven,
        "trial": None if known.trial is None else msgspec.to_builtins(known.trial),
        "progress": installing.progress(at),
        "last": None if last is None else msgspec.to_builtins(last),
        "went_back": None if back is None else back.as_json(),
        "free_bytes": places.free_bytes(at.update) if at.update.is_dir() else 0,
    }


def _received(connection: socket.socket) -> Mapping[str, Any]:
    data = bytearray()
    while not data.endswith(b"\n"):
        piece = connection.recv(MAX_BYTES)
        if not piece:
            raise EOFError
        data += piece
        if len(data) > MAX_BYTES:
            raise UpdateError(errors.REQUEST, "The request is too long.", "Both ends must be of one version.")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UpdateError(errors.REQUEST, "The request is no line of JSON.", "Both ends must be of one version.")
    return found


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(os.EX_OK)


def main() -> int:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    signal.signal(signal.SIGTERM, _end)
    listening = listener.inherited()
    if listening is None:
        log.error("This is started by its socket: systemctl start gerbang-update.socket")
        return os.EX_USAGE
    with contextlib.suppress(KeyError):
        staff = pwd.getpwnam(privileges.STAFF_USER).pw_uid
        Service(Places(), Paths(), frozenset({staff})).serve(listening)
        return os.EX_OK
    log.error("There is no user %s.", privileges.STAFF_USER)
    return os.EX_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main())
