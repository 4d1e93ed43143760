"""Tries a new configuration on the running gateway, and undoes it unless somebody confirms it in time.

It must not know what a configuration holds: a short-lived child (portal.prepare, portal.restore) checks it and writes
the run directory's copies; this part compares those, renews the processes that read them, and puts the old ones back.
Whoever looks after them, supervisor or systemd, is asked by portal.processes. The standard library is all it needs.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from portal import control, wholefile
from portal.control import ControlError
from portal.controlsocket import ControlSocket, Request
from portal.logline import describe, log
from portal.processes import Processes, python
from portal.programs import CONFIGURATIONS, Orders, decode, encode, programs, put

CONFIRM_WITHIN_S: Final = 60.0
RENEW_AFTER_S: Final = 0.5  # the staff page that asked has its answer by then
NETCTL_WITHIN_S: Final = 20.0
TRIAL: Final = "trial.json"  # what to go back to, for who comes after a control that was killed
# What of netctl's configuration names the place that it works at. Where that moves, the old place is swept first.
PLACE: Final = ("lan_interface", "uplink_interface", "lan_address", "ula_prefix")
READERS: Final = {"netctl": {"netctl.json"}, "dnsmasq": {"dnsmasq.conf", "dnsmasq-block.conf"}}
PORTAL: Final = ("meter", "guest", "guest-tls", "staff")


@dataclass(slots=True)
class _Trial:
    """What runs now was not confirmed yet. ``before``: the files and orders to go back to."""

    by: str
    text: str
    before: dict[str, bytes]
    orders: Orders
    renewed: tuple[str, ...]


class Changes:
    """The control socket and the trial that may be under way. ``answers``: does netctl listen?"""

    def __init__(self, processes: Processes, orders: Orders, answers: Callable[[], bool]) -> None:
        self.orders = orders
        self._processes = processes
        self._answers = answers
        self._run = Path(orders.run)
        self._trial: _Trial | None = None
        self._last: dict[str, Any] | None = None
        self._first: bytes | None = None  # the site.toml before the first change
        self._working = False
        self._socket = ControlSocket(processes, self._run / "control.sock", orders.group, orders.writers, self._do)
        processes.on_failure = self._failed

    def open(self) -> None:
        self._socket.open()

    def close(self) -> None:
        self._socket.close()

    def recover(self) -> None:
        """Undo what was being tried when the one before was killed: its time to be confirmed died with it."""
        try:
            told = json.loads((self._run / TRIAL).read_bytes())
        except FileNotFoundError:
            return
        tried = self._files()
        before = {name: text.encode() for name, text in told["before"].items()}
        message = "who looks after it was ended."
        self._last = {"outcome": "reverted", "by": told["by"], "message": message, "wall_s": time.time()}
        log("gerbang", f"a changed configuration by {told['by'] or 'somebody'} was being tried; it is undone")
        self._write(before)
        self._switch(decode(told["orders"]), tried, (*READERS, *PORTAL), "the configuration is what it was")
        self._forget()

    # --- verbs ------------------------------------------------------------------------------------------------------

    def _do(self, request: Request) -> Mapping[str, Any] | None:
        verb, by = str(request.told["verb"]), request.by
        if verb == "state":
            return self._state()
        if verb == "log":
            return {"lines": self._processes.lines()}
        if verb == "confirm":
            self._confirm(by)
            return self._state()
        if verb == "revert":
            self._needs_trial()
            self._revert(f"{by or 'somebody'} asked for it", RENEW_AFTER_S)
            return self._state()
        if verb in ("apply", "restore"):
            self._apply(request) if verb == "apply" else self._restore(request)
            return None  # it is answered once the child has ended
        raise ControlError(control.BAD_REQUEST, f"There is no verb {verb!r}.", "Both ends must be of one version.")

    def _state(self) -> dict[str, Any]:
        pending = None
        if self._trial is not None:
            left_s = self._processes.left_s("confirm")
            left_s = CONFIRM_WITHIN_S if left_s is None else left_s
            pending = {"by": self._trial.by, "left_s": left_s, "renewed": list(self._trial.renewed)}
        return {
            "source": self.orders.source,
            "pending": pending,
            "last": self._last,
            "at_start": [] if self._first is None else self._at_start(self._first),
        }

    def _at_start(self, first: bytes) -> list[str]:
        from portal.domain import atstart  # noqa: PLC0415  once something has been changed

        return atstart.waiting(first.decode(), self._files()["site.toml"].decode())

    def _apply(self, request: Request) -> None:
        self._needs_rest()
        before, text = self._files(), str(request.told.get("text", ""))
        if text.encode() == before.get("site.toml"):
            raise ControlError(control.SAME, "This is the configuration that runs already.", "Nothing was done.")

        def applied(told: Mapping[str, Any]) -> dict[str, Any]:
            self._begin(request.by, before, decode(told["orders"]))
            return self._state()

        self._remember(request.by, before)
        order = _encoded("apply", self.orders)
        self._work(request, ["portal.prepare", order], text.encode(), before, applied)

    def _restore(self, request: Request) -> None:
        self._needs_rest()
        if request.file is None:
            raise ControlError(control.BAD_REQUEST, "There is no file beside the request.", "Try again.")
        before = self._files()

        def restored(told: Mapping[str, Any]) -> dict[str, Any]:
            if told["orders"] is not None:
                self._begin(request.by, before, decode(told["orders"]))
            else:
                # The pages find the new database by themselves; the meter has counters of the old one in mind.
                self._renew("a backup was restored", ("meter",))
                self._forget()
            return {"restored": told["restored"]}

        self._remember(request.by, before)
        flags = {name: bool(request.told.get(name)) for name in ("force_site", "keep_site")}
        order = _encoded("restore", self.orders, by=request.by, role=str(request.told.get("role", "")), **flags)
        self._work(request, ["portal.restore", order], request.file, before, restored)

    def _work(
        self,
        request: Request,
        command: list[str],
        given: bytes | int,
        before: Mapping[str, bytes],
        then: Callable[[Mapping[str, Any]], dict[str, Any]],
    ) -> None:
        """Run a child that says on standard output, as JSON, what it did or what is wrong; ``then`` has the answer."""
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
                request.answer(then(told))
            except ControlError as error:
                self._write(before)
                self._forget()
                log("gerbang", f"the change was refused: {error.message}")
                request.refuse(error)

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
        self._first = self._first or before["site.toml"]
        renewed = _renewed(before, after)
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
            self._forget()

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
        self._forget()
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
        wholefile.write(configuration, old)
        command = python("netctl", "cleanup", "--config", str(configuration))
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=30)
        configuration.unlink(missing_ok=True)

    def _remember(self, by: str, before: Mapping[str, bytes]) -> None:
        """On the way into a trial. Raises ControlError."""
        files = {name: content.decode() for name, content in before.items()}
        told = {"by": by, "before": files, "orders": encode(self.orders)}
        try:
            wholefile.write(self._run / TRIAL, json.dumps(told).encode(), wholefile.PRIVATE)
        except OSError as error:
            message = f"The configuration that runs could not be put by: {error.strerror}."
            raise ControlError(control.FAILED, message, "Is /run full?") from None

    def _forget(self) -> None:
        (self._run / TRIAL).unlink(missing_ok=True)

    def _files(self) -> dict[str, bytes]:
        return {name: (self._run / name).read_bytes() for name in CONFIGURATIONS if (self._run / name).exists()}

    def _write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            put(self._run, name, content, self.orders.group)


def _encoded(do: str, orders: Orders, **more: object) -> str:
    from dataclasses import asdict  # noqa: PLC0415  for a change only

    return json.dumps({"do": do, "orders": asdict(orders), **more})


def _renewed(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[str, ...]:
    """Who reads what has changed."""
    changed = {name for name in CONFIGURATIONS if before.get(name) != after.get(name)}
    return (*(program for program, files in READERS.items() if files & changed), *PORTAL)


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


def keep(path: Path, text: str) -> None:
    """Make ``text`` the content of the site's own file; what it was stays beside it as ``*.previous``."""
    mode = wholefile.PRIVATE  # it may hold passwords of the uplink's
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode & 0o777
        wholefile.write(path.with_name(path.name + ".previous"), path.read_bytes(), mode)
    wholefile.write(path, text.encode(), mode)
