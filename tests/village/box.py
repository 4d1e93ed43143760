"""A gateway's machine: PID and mount namespaces around one network namespace, so that its programs live and die as one.

It must not know what runs inside.

Why a PID namespace: programs that change their user lose PR_SET_PDEATHSIG, and a killed supervisor leaves children.
When PID 1 of the box dies the kernel kills the rest, and PID 1 dies with this process (setpriv, then unshare
--kill-child). /run is a tmpfs of the box's own: sockets, locks and the database vanish with it. /sys is mounted anew
because it shows the network namespace that it was mounted in.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.village.netns import Namespace, in_mount_namespace

T = TypeVar("T")

DATA = Path("/run/data")
# dash's wait reaps orphans; signals from outside are for the programs, not for PID 1.
_INIT = """
set -e
trap '' TERM INT HUP
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755,size=256m tmpfs /run
mkdir -p /run/data /run/lock
if [ -n "$DATA_DIR" ]; then mount --bind "$DATA_DIR" /run/data
else mount -t tmpfs -o "mode=755,size=${DATA_SIZE:-128m}" tmpfs /run/data; fi
printf '%s\\n' "$RESOLV" >/run/resolv.conf
target=$(readlink -m /etc/resolv.conf)
case $target in
/run/resolv.conf) ;;
/run/*) mkdir -p "${target%/*}" && cp /run/resolv.conf "$target" ;;
*) mount --bind /run/resolv.conf "$target" ;;
esac
echo ready
sleep infinity &
wait
"""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the box as this machine's /proc shows it."""

    pid: int
    parent: int
    command: tuple[str, ...]

    @property
    def pss_kib(self) -> int:
        """Proportional set size: shared pages split among those who share them."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
        return 0

    @property
    def cpu_s(self) -> float:
        """User and system time so far, ended children that it waited for included."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


class Box:
    """The box is empty at first: only its PID 1 runs. ``root`` is its file system seen from outside."""

    def __init__(self, ns: Namespace, *, data_dir: Path | None = None, data_size: str | None = None, dns: str) -> None:
        self.ns = ns
        environment = os.environ | {
            "DATA_DIR": str(data_dir or ""),
            "DATA_SIZE": data_size or "",
            "RESOLV": f"nameserver {dns}",
        }
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", _INIT]
        self._init = ns.popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._init.stdout is not None and self._init.stderr is not None
        if self._init.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the gateway's box did not start: {self._init.stderr.read().strip()}")
        self._outside = f"/proc/{self._init.pid}"
        self.root = Path(f"{self._outside}/root")
        self._pid_namespace = Path(f"{self._outside}/ns/pid_for_children").readlink()

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in the box. The Popen is nsenter's: signals go to ``processes()``."""
        enter = ["nsenter", f"--mount={self._outside}/ns/mnt", f"--pid={self._outside}/ns/pid_for_children", "--"]
        return self.ns.popen([*enter, *command], start_new_session=True, **options)

    def run(self, command: Sequence[str], *, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
        """A program in the box to its end, whatever its exit code."""
        child = self.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise
        finally:
            self.ns.reap(child)
        return subprocess.CompletedProcess(list(command), child.returncode, out, err)

    def call(self, job: Callable[[], T]) -> T:
        """Run ``job`` with the box's file systems, for what resolves paths itself (SQLite) and so escapes ``root``."""
        return in_mount_namespace(f"{self._outside}/ns/mnt", job)

    def processes(self) -> list[Process]:
        """Everything that runs in the box but its PID 1 and that one's sleep; zombies are left out."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if (entry / "ns/pid").readlink() != self._pid_namespace:
                    continue
                command = (entry / "cmdline").read_bytes().split(b"\0")[:-1]
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if command and fields[0] != "Z":
                words = tuple(word.decode("utf-8", "replace") for word in command)
                if words != ("sleep", "infinity") and words[:2] != ("sh", "-c"):
                    found.append(Process(int(entry.name), int(fields[1]), words))
        return sorted(found, key=lambda process: process.pid)

    def read(self, path: Path | str) -> str:
        """A text file of the box."""
        return (self.root / str(path).lstrip("/")).read_text()

    def write(self, path: Path | str, text: str) -> None:
        target = self.root / str(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def close(self) -> None:
        """Kill everything inside at once."""
        if self._init.poll() is None:
            self._init.kill()  # --kill-child: PID 1 of the box follows, and the kernel kills the rest
            self._init.wait()
            end_s = time.monotonic() + 5
            while self.processes() and time.monotonic() < end_s:
                time.sleep(0.01)


def signal_process(process: Process, number: signal.Signals) -> None:
    """Signal one process of a box; no error if it has just ended."""
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return


def wait_gone(process: Process, timeout_s: float = 5) -> None:
    """Wait until a process has ended, its files and sockets closed; TimeoutError if it does not."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        try:
            state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state in "ZX":
            return
        time.sleep(0.005)
    raise TimeoutError(f"{process.command} goes on")


def require_tools(*names: str) -> None:
    """RuntimeError naming what is not installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise RuntimeError(
            f"not installed: {', '.join(missing)}. `sudo ./build.sh setup` installs what the village needs."
        )
