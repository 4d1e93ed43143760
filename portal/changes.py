"""Tries a new configuration on the running gateway, and undoes it unless somebody confirms it in time.

It must not know what a configuration holds: a short-lived child (portal.prepare, portal.restore) checks it and writes
the run directory's copies; this part compares those, renews the processes that read them, and puts the old ones back.
The standard library is all it needs. portal.control is the other end of its socket.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from portal import control
from portal.control import ControlError
from portal.logline import describe, log
from portal.programs import CONFIGURATIONS, Orders, decode, programs
from portal.supervisor import Program, python

CONFIRM_WITHIN_S: Final = 60.0
RENEW_AFTER_S: Final = 0.5  # the staff page that asked has its answer by then
NETCTL_WITHIN_S: Final = 20.0
REQUEST_S: Final = 5.0  # for a whole request, and again for the taking of its answer
PEERCRED: Final = struct.Struct("iII")
# What of netctl's configuration names the place that it works at. Where that moves, the old place is swept first.
PLACE: Final = ("lan_interface", "uplink_interface", "lan_address", "ula_prefix")
READERS: Final = {"netctl": {"netctl.json"}, "dnsmasq": {"dnsmasq.conf", "dnsmasq-block.conf"}}
PORTAL: Final = ("meter", "guest", "guest-tls", "staff")


class Processes(Protocol):
    """The gateway's processes and the loop of who looks after them: portal.supervisor, or portal.units under systemd.

    ``ready``: netctl was. ``on_failure`` is called with a sentence when one ended that should run.
    """

    ready: bool
    on_failure: Callable[[str], object]

    def watch(self, descriptor: int, call: Callable[[], object], *, writing: bool = False) -> None: ...

    def unwatch(self, descriptor: int) -> None: ...

    def after(self, name: str, seconds: float, call: Callable[[], object]) -> None: ...

    def cancel(self, name: str) -> None: ...

    def left_s(self, name: str) -> float | None: ...

    def reprogram(self, programs: Sequence[Program]) -> set[str]:
        """From now on these run; the names of those that were started for it. The others run on until renewed."""

    def renew(self, name: str, why: str, between: Callable[[], object] | None = None) -> None:
        """End it and start it again, if it is one that runs; ``between`` is called when it has ended."""

    def lines(self) -> list[str]:
        """The last lines of the log."""


@dataclass(slots=True)
class _Trial:
    """What runs now was not confirmed yet. ``before``: the files and orders to go back to."""

    by: str
    text: str
    before: dict[str, bytes]
    orders: Orders
    renewed: tuple[str, ...]


@dataclass(slots=True)
class _Connection:
    """The one whose turn it is; ``answer`` is what is still to be sent."""

    socket: socket.socket
    received: bytes = b""
    file: int | None = None
    answer: bytes = b""
    asked: bool = False


class Changes:
    """The control socket and the trial that may be under way. ``answers``: does netctl listen?"""

    def __init__(self, processes: Processes, orders: Orders, answers: Callable[[], bool]) -> None:
        self.orders = orders
        self._processes = processes
        self._answers = answers
        self._run = Path(orders.run)
        self._path = self._run / "control.sock"
        self._trial: _Trial | None = None
        self._last: dict[str, Any] | None = None
        self._listener: socket.socket | None = None
        self._connection: _Connection | None = None
        self._working = False
        processes.on_failure = self._failed

    # --- the socket -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Listen, mode 0660 root:group. The run directory is this gateway's alone: what is left there is stale."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o117)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        os.chown(self._path, -1, self.orders.group)
        listener.setblocking(False)
        listener.listen(8)
        self._listener = listener
        self._processes.watch(listener.fileno(), self._accept)

    def close(self) -> None:
        if self._connection is not None:
            self._drop()
        if self._listener is not None:
            self._processes.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101 - it is what became readable
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            return
        accepted.setblocking(False)
        self._processes.unwatch(self._listener.fileno())  # the others wait in the backlog
        self._connection = _Connection(accepted)
        self._processes.after("control", REQUEST_S, self._drop)
        _pid, uid, _gid = PEERCRED.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEERCRED.size))
        if uid != 0 and uid not in self.orders.writers:
            self._refuse(ControlError(control.DENIED, "This user may not change the gateway.", "Use sudo."))
            return
        self._processes.watch(accepted.fileno(), self._receive)

    def _receive(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            data, files, _flags, _ = socket.recv_fds(connection.socket, 262_144, 4, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, files = b"", []
        for file in files:
            if connection.file is None:
                connection.file = file
            else:
                os.close(file)
        if not data:
            self._drop()  # it went away; a child that works for it still ends, and its answer goes nowhere
            return
        if connection.asked:
            return
        connection.received += data
        if len(connection.received) > control.MAX_BYTES:
            self._refuse(ControlError(control.BAD_REQUEST, "The request is too long.", "Shorten the configuration."))
        elif connection.received.endswith(b"\n"):
            self._processes.cancel("control")
            connection.asked = True
            try:
                self._do(connection)
            except ControlError as error:
                self._refuse(error)

    def _do(self, connection: _Connection) -> None:
        try:
            request = json.loads(connection.received)
            verb, by = str(request["verb"]), str(request.get("by", ""))[:80]
            text = str(request.get("text", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            message = "The request is not a line of JSON with a verb."
            raise ControlError(control.BAD_REQUEST, message, "Both ends must be of one version.") from None
        if verb == "state":
            self._answer(self._state())
        elif verb == "log":
            self._answer({"lines": self._processes.lines()})
        elif verb == "confirm":
            self._confirm(by)
            self._answer(self._state())
        elif verb == "revert":
            self._needs_trial()
            self._revert(f"{by or 'somebody'} asked for it", RENEW_AFTER_S)
            self._answer(self._state())
        elif verb == "apply":
            self._apply(by, text)
        elif verb == "restore":
            self._restore(connection, by, request)
        else:
            raise ControlError(control.BAD_REQUEST, f"There is no verb {verb!r}.", "Both ends must be of one version.")

    def _refuse(self, error: ControlError) -> None:
        told = {"code": error.code, "message": error.message, "hint": error.hint, "mistakes": list(error.mistakes)}
        self._answer({"error": told})

    def _answer(self, answer: Mapping[str, Any]) -> None:
        if self._connection is not None:
            self._connection.answer = json.dumps(answer).encode() + b"\n"
            self._connection.asked = True
            self._processes.after("control", REQUEST_S, self._drop)
            self._send()

    def _send(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            connection.answer = connection.answer[connection.socket.send(connection.answer) :]
        except BlockingIOError:
            pass
        except OSError:
            connection.answer = b""
        if connection.answer:
            self._processes.watch(connection.socket.fileno(), self._send, writing=True)
        else:
            self._drop()

    def _drop(self) -> None:
        """End this connection; the next one that waits has its turn."""
        connection, self._connection = self._connection, None
        self._processes.cancel("control")
        if connection is not None:
            self._processes.unwatch(connection.socket.fileno())
            connection.socket.close()
            if connection.file is not None:
                os.close(connection.file)
        if self._listener is not None:
            self._processes.watch(self._listener.fileno(), self._accept)

    # --- verbs ------------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        pending = None
        if self._trial is not None:
            left_s = self._processes.left_s("confirm")
            left_s = CONFIRM_WITHIN_S if left_s is None else left_s
            pending = {"by": self._trial.by, "left_s": left_s, "renewed": list(self._trial.renewed)}
        return {"source": self.orders.source, "pending": pending, "last": self._last}

    def _apply(self, by: str, text: str) -> None:
        self._needs_rest()
        before = self._files()
        if text.encode() == before.get("site.toml"):
            raise ControlError(control.SAME, "This is the configuration that runs already.", "Nothing was done.")

        def applied(told: Mapping[str, Any]) -> dict[str, Any]:
            self._begin(by, before, decode(told["orders"]))
            return self._state()

        self._work(["portal.prepare", _encoded("apply", self.orders)], text.encode(), before, applied)

    def _restore(self, connection: _Connection, by: str, request: Mapping[str, Any]) -> None:
        self._needs_rest()
        if connection.file is None:
            raise ControlError(control.BAD_REQUEST, "There is no file beside the request.", "Try again.")
        before = self._files()

        def restored(told: Mapping[str, Any]) -> dict[str, Any]:
            if told["orders"] is not None:
                self._begin(by, before, decode(told["orders"]))
            else:
                # The pages find the new database by themselves; the meter has counters of the old one in mind.
                self._renew("a backup was restored", ("meter",))
            return {"restored": told["restored"]}

        flags = {name: bool(request.get(name)) for name in ("force_site", "keep_site")}
        order = _encoded("restore", self.orders, by=by, role=str(request.get("role", "")), **flags)
        self._work(["portal.restore", order], connection.file, before, restored)

    def _work(
        self,
        command: list[str],
        given: bytes | int,
        before: Mapping[str, bytes],
        then: Callable[[Mapping[str, Any]], dict[str, Any]],
    ) -> None:
        """Run a child that says on standard output, as JSON, what it did or what is wrong; ``then`` has the answer."""
        connection = self._connection
        said = os.memfd_create("said", os.MFD_CLOEXEC)
        given_fd = given if isinstance(given, int) else _memory(given)
        try:
            # What it writes to standard error is a line of the log, like the supervisor's own.
            child = subprocess.Popen(python(*command), stdin=given_fd, stdout=said, cwd="/", process_group=0)
        except OSError as error:
            os.close(said)
            raise ControlError(control.FAILED, f"The check cannot be started: {error.strerror}.", "") from None
        finally:
            if not isinstance(given, int):
                os.close(given_fd)
        ended = os.pidfd_open(child.pid)
        self._working = True
        self._processes.after("work", control.RESTORE_TIMEOUT_S, child.kill)

        def done() -> None:
            self._working = False
            self._processes.unwatch(ended)
            self._processes.cancel("work")
            os.close(ended)
            status = child.wait()
            with os.fdopen(said, "rb") as file:
                file.seek(0)
                output = file.read()
            try:
                try:
                    told = json.loads(output)
                except ValueError:
                    message = f"The check ended {describe(status)}."
                    raise ControlError(control.FAILED, message, "The gateway's log says why.") from None
                if "error" in told:
                    raise ControlError(**told["error"])
                answer = then(told)
                if self._connection is connection:
                    self._answer(answer)
            except ControlError as error:
                self._write(before)
                log("gerbang", f"the change was refused: {error.message}")
                if self._connection is connection:
                    self._refuse(error)

        self._processes.watch(ended, done)

    def _needs_rest(self) -> None:
        if not self._processes.ready or self._working:
            doing = "checking another change" if self._working else "still starting"
            raise ControlError(control.BUSY, f"The gateway is {doing}.", "Try again in a moment.")
        if self._trial is not None:
            left_s = self._processes.left_s("confirm") or CONFIRM_WITHIN_S
            message = f"A change by {self._trial.by or 'somebody'} waits to be confirmed, {left_s:.0f} s are left."
            raise ControlError(control.PENDING, message, "Confirm it, revert it, or wait.")

    def _needs_trial(self) -> _Trial:
        if self._trial is None:
            message = "No change waits to be confirmed."
            if self._last is not None:
                message += f" The last one was {self._last['outcome']}: {self._last['message']}"
            raise ControlError(control.NOTHING_PENDING, message, "")
        return self._trial

    # --- the trial --------------------------------------------------------------------------------------------------

    def _begin(self, by: str, before: dict[str, bytes], orders: Orders) -> None:
        """The new copies are written; renew who reads them, once the one who asked has the answer."""
        after = self._files()
        changed = {name for name in CONFIGURATIONS if before.get(name) != after.get(name)}
        renewed = (*(program for program, files in READERS.items() if files & changed), *PORTAL)
        self._trial = _Trial(by, after["site.toml"].decode(), before, self.orders, renewed)
        log("gerbang", f"a changed configuration by {by or 'somebody'} is tried")
        self._processes.after("renew", RENEW_AFTER_S, lambda: self._go(orders, before, renewed))

    def _go(self, orders: Orders, before: Mapping[str, bytes], renewed: tuple[str, ...]) -> None:
        self._switch(orders, before, renewed, "the configuration changed")
        self._processes.after("confirm", CONFIRM_WITHIN_S, lambda: self._revert("nobody confirmed it in time"))
        self._processes.after("netctl", NETCTL_WITHIN_S, self._look_at_netctl)

    def _look_at_netctl(self) -> None:
        if self._trial is not None and not self._answers():
            self._revert(f"netctl did not come up within {NETCTL_WITHIN_S:.0f} s")

    def _failed(self, sentence: str) -> None:
        """A process ended that should run: with a configuration that is being tried, that is its fault."""
        if self._trial is not None and self._processes.left_s("confirm") is not None:
            self._revert(sentence)

    def _revert(self, why: str, after_s: float = 0.0) -> None:
        trial = self._needs_trial()
        self._end_trial("reverted", f"{why}.")
        tried = self._files()
        self._write(trial.before)

        def back() -> None:
            self._switch(trial.orders, tried, trial.renewed, "the configuration is what it was")

        self._processes.after("renew", after_s, back)

    def _confirm(self, by: str) -> None:
        trial = self._needs_trial()
        if self._processes.left_s("confirm") is None:
            message = "The change is only now being put into force."
            raise ControlError(control.BUSY, message, "Confirm it once you have seen that it works.")
        source = Path(trial.orders.source)
        try:
            keep(source, trial.text)
        except OSError as error:
            message = f"{source} cannot be written: {error.strerror}."
            raise ControlError(control.FAILED, message, "Is the disk full or read-only? The time goes on.") from None
        self._end_trial("confirmed", f"{by or 'somebody'} confirmed it; {source} holds it now.")

    def _end_trial(self, outcome: str, message: str) -> None:
        assert self._trial is not None  # noqa: S101 - the callers know
        for timer in ("confirm", "netctl", "renew"):
            self._processes.cancel(timer)
        self._last = {"outcome": outcome, "by": self._trial.by, "message": message, "wall_s": time.time()}
        self._trial = None
        log("gerbang", f"the changed configuration is {outcome}: {message}")

    def _switch(self, orders: Orders, before: Mapping[str, bytes], renewed: tuple[str, ...], why: str) -> None:
        """Run what ``orders`` say; ``before`` is what was in the run directory when the running processes started."""
        self.orders = orders
        os.environ["TZ"] = orders.timezone
        time.tzset()
        fresh = self._processes.reprogram(programs(orders, os.getpid()))
        self._renew(why, tuple(name for name in renewed if name not in fresh), before)

    def _renew(self, why: str, names: tuple[str, ...], before: Mapping[str, bytes] | None = None) -> None:
        for name in names:
            moved = name == "netctl" and before is not None and _moved(before, self._files())
            sweep = functools.partial(self._sweep, before["netctl.json"]) if before is not None and moved else None
            self._processes.renew(name, why, sweep)

    def _sweep(self, old: bytes) -> None:
        """Take netctl's own things away from the place where it worked before."""
        configuration = self._run / ".netctl-before.json"
        write(configuration, old)
        command = python("netctl", "cleanup", "--config", str(configuration))
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=30)
        configuration.unlink(missing_ok=True)

    def _files(self) -> dict[str, bytes]:
        return {name: (self._run / name).read_bytes() for name in CONFIGURATIONS if (self._run / name).exists()}

    def _write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            write(self._run / name, content)


def _encoded(do: str, orders: Orders, **more: object) -> str:
    from dataclasses import asdict  # noqa: PLC0415  for a change only

    return json.dumps({"do": do, "orders": asdict(orders), **more})


def _moved(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
    """Does netctl work at another place than before?"""
    old, new = (json.loads(files.get("netctl.json", b"{}")) for files in (before, after))
    return any(old.get(key) != new.get(key) for key in PLACE)


def _memory(content: bytes) -> int:
    """A descriptor of a file in memory, at its start."""
    descriptor = os.memfd_create("given", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Whole or not at all, and on the disk when it returns. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def keep(path: Path, text: str) -> None:
    """Make ``text`` the content of the site's own file; what it was stays beside it as ``*.previous``."""
    mode = 0o644
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode & 0o777
        write(path.with_name(path.name + ".previous"), path.read_bytes(), mode)
    write(path, text.encode(), mode)
