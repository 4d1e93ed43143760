"""Looks after the gateway's processes where each is a unit of systemd: renews them, and sees which of them fails.

It must not know what they do. systemd starts them, keeps their sockets and starts again what dies; this part asks it to
by systemctl(1), and says by drop-ins (systemd.unit(5)) what of a unit follows from site.toml: its port, and the files
that root reads for it. The standard library is all it needs.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from portal.logline import describe, log
from portal.processes import Processes, Program

PORTS: Final = {"guest": 8080, "guest-tls": 8443, "staff": 8444}
"""Where the sockets listen that stand in systemd/; a drop-in says another port."""
RUNTIME: Final = Path("/run/systemd/system")
DROPIN: Final = "gerbang.conf"
WITHIN_S: Final = 60.0  # for systemctl, which also waits until what it stops has ended
LOOK_EVERY_S: Final = 1.0  # shorter than RestartSec of every unit: none that failed is overlooked
LOOK_FOR_S: Final = 70.0  # after a renewal: longer than a trial lasts
SHOWN: Final = ("Id", "ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus")
JOURNAL: Final = ("journalctl", "--unit", "gerbang*", "--lines", "2000", "--no-pager", "--output", "short-iso")

Systemctl = Callable[[Sequence[str]], str]


class UnitError(Exception):
    """systemd refused, or did not do it in time; the sentence says what."""


def systemctl(arguments: Sequence[str]) -> str:
    """What systemctl says. Raises UnitError."""
    command = ("systemctl", "--no-ask-password", "--no-pager", *arguments)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnitError(f"`systemctl {' '.join(arguments)}` could not be run: {error}.") from None
    if done.returncode != 0:
        said = done.stderr.strip().partition("\n")[0] or f"it ended {describe(done.returncode)}"
        raise UnitError(f"`systemctl {' '.join(arguments)}` failed: {said}")
    return done.stdout


def service(name: str) -> str:
    return f"gerbang-{name}.service"


def socket_of(name: str) -> str:
    return f"gerbang-{name}.socket"


# --- drop-ins -------------------------------------------------------------------------------------------------------


def dropins(programs: Sequence[Program]) -> dict[str, str]:
    """Path below RUNTIME and text of each that is needed: none for what is as the units in systemd/ say."""
    found = {}
    for program in programs:
        if program.port is not None and program.port != PORTS[program.name]:
            found[f"{socket_of(program.name)}.d/{DROPIN}"] = f"[Socket]\nListenStream=\nListenStream={program.port}\n"
        if program.credentials:
            lines = [f"LoadCredential={name}:{path.replace('%', '%%')}" for name, path in program.credentials]
            found[f"{service(program.name)}.d/{DROPIN}"] = "\n".join(["[Service]", *lines, ""])
    return found


def write_dropins(programs: Sequence[Program], runtime: Path = RUNTIME) -> bool:
    """Make exactly these stand; True where that changed anything, so that systemd must read them. Raises OSError."""
    wanted, changed = dropins(programs), False
    for name in {f"{unit}.d/{DROPIN}" for role in PORTS for unit in (socket_of(role), service(role))} | set(wanted):
        path, text = runtime / name, wanted.get(name)
        present = path.read_text(encoding="utf-8") if path.exists() else None
        if text == present:
            continue
        changed = True
        if text is None:
            path.unlink()
            with contextlib.suppress(OSError):  # somebody else's drop-in is there too
                path.parent.rmdir()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return changed


# --- units ----------------------------------------------------------------------------------------------------------


class Units(Processes):
    """Stands where the supervisor does for portal.changes. ``programs``: those that run; of their command lines nothing
    is used, systemd/ has them."""

    def __init__(self, programs: Sequence[Program], ask: Systemctl = systemctl, runtime: Path = RUNTIME) -> None:
        super().__init__()
        self.ready = True  # this process is started after netctl was
        self._programs = {program.name: program for program in programs}
        self._ask = ask
        self._runtime = runtime
        self._look_until_s = 0.0

    def reprogram(self, programs: Sequence[Program]) -> set[str]:
        """A role whose port is another now is started anew: its socket cannot move under it."""
        old, new = self._programs, {program.name: program for program in programs}
        moved = {name for name in old.keys() & new.keys() if old[name].port != new[name].port}
        over, fresh = [name for name in old if name not in new], [name for name in new if name not in old]
        for name in over:
            log("gerbang", f"{name} is no longer needed")
        if stopping := [*over, *(name for name in new if name in moved)]:
            self._do("stop", *(unit for name in stopping for unit in _both(old[name])))
        self._programs = new
        try:
            if write_dropins(programs, self._runtime):
                self._do("daemon-reload")
        except OSError as error:
            log("gerbang", f"systemd could not be told the ports: {error}")
        starting = {name for name in new if name in moved or name in fresh}
        for name in sorted(starting):
            log("gerbang", f"{name} answers on port {new[name].port} from now on")
        if starting:
            self._do("start", "--no-block", *(unit for name in new if name in starting for unit in _both(new[name])))
        return starting

    def renew(self, name: str, why: str, between: Callable[[], object] | None = None) -> None:
        if name not in self._programs:
            return
        log("gerbang", f"{why}: renewing {name}")
        if between is None:
            self._do("restart", "--no-block", service(name))
            return
        self._do("stop", service(name))
        between()
        self._do("start", "--no-block", service(name))

    def lines(self) -> list[str]:
        """The journal's. The loop stands still meanwhile; a trial's time goes on."""
        try:
            done = subprocess.run(
                JOURNAL, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False, text=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            return [f"The journal could not be read: {error}"]
        return done.stdout.splitlines()

    def _do(self, *arguments: str) -> None:
        """What cannot be done is said, and is a failure of what is being tried."""
        try:
            self._ask(arguments)
        except UnitError as error:
            log("gerbang", str(error))
            self.on_failure(str(error))
        self._look_until_s = time.monotonic() + LOOK_FOR_S
        self.after("units", LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        """Has one ended that should run? systemd starts it again by itself; a trial ends with that."""
        if time.monotonic() < self._look_until_s:
            self.after("units", LOOK_EVERY_S, self._look)
        units = [unit for program in self._programs.values() for unit in _both(program)]
        try:
            said = self._ask(("show", f"--property={','.join(SHOWN)}", *units))
        except UnitError as error:
            log("gerbang", str(error))
            return
        for sentence in failures(said):
            self.on_failure(sentence)


def _both(program: Program) -> list[str]:
    """The units of a program, in the order in which they start."""
    return [*([socket_of(program.name)] if program.port is not None else []), service(program.name)]


def failures(shown: str) -> Iterator[str]:
    """A sentence for each unit that has failed, or waits to be started again, in what `systemctl show` says."""
    for block in shown.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        name = unit.get("Id", "").removeprefix("gerbang-").removesuffix(".service")
        failed = unit.get("ActiveState") == "failed" or unit.get("SubState", "").startswith("auto-restart")
        if name and failed:
            yield f"{name} {_ended(unit)}"


def _ended(unit: Mapping[str, str]) -> str:
    """ExecMainCode is a CLD_* of siginfo_t: 1 it exited, 2 and 3 a signal ended it."""
    code, status = unit.get("ExecMainCode", "0"), int(unit.get("ExecMainStatus", "0"))
    if unit.get("Result") in ("exit-code", "signal", "core-dump", "success") and code in ("1", "2", "3"):
        return f"ended {describe(status if code == '1' else -status)}"
    return f"failed ({unit.get('Result', 'unknown')})"
