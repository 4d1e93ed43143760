"""One box in QEMU: its disk, two network cards, serial console, power button, and ssh for root from the uplink's side.

It must not know what a phone is, nor what the image does once it runs.

QEMU runs in an empty network namespace of its own; the two cards are taps that were made in other namespaces and
handed over as file descriptors. It dies with this process (see tests.village.netns), and so do the taps.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shlex
import socket
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.image.boards import OVMF, PC, Board
from tests.image.disk import Disk
from tests.image.tun import IFF_TAP, open_device
from tests.village.netns import Namespace

UPLINK_MAC, LAN_MAC = "52:54:00:67:00:01", "52:54:00:67:00:02"

TUNSETCARRIER = 0x400454E2  # include/uapi/linux/if_tun.h

# Every wait for the box is so many times as long, for a machine that has much else to do.
PATIENCE = float(os.environ.get("GERBANG_PATIENCE", "1"))

_MODEM = {"driver": "usb-net", "id": "modem", "netdev": "uplink", "mac": UPLINK_MAC}
_STICK = {"driver": "usb-storage", "id": "stick", "removable": True}
_NUMBERS = itertools.count()


class Tap:
    """A cable that ends in a network card of QEMU: interface ``name`` in ``ns``. It goes when this is closed.

    Without IFF_VNET_HDR: packets are no larger than the MTU and carry their checksums, as on a real cable.
    """

    def __init__(self, ns: Namespace, name: str) -> None:
        self.fd = open_device(ns, name, IFF_TAP)

    def carrier(self, there: bool) -> None:
        """A box without power leaves the other end without a carrier, and hears nothing of what was sent meanwhile."""
        if there:
            try:
                while os.read(self.fd, 65536):
                    pass
            except (BlockingIOError, OSError):
                pass
        fcntl.ioctl(self.fd, TUNSETCARRIER, struct.pack("i", there))

    def close(self) -> None:
        os.close(self.fd)


class NotReached(AssertionError):
    """The box did not come to where it should; ``str()`` ends with its console."""


class Machine:
    """A box that is off at first. ``directory`` holds what is its own; ssh comes from ``source`` in ``outside``.

    ``watchdog``: the hardware restarts a system that does not speak for half a minute. Emulated on a busy machine it
    may do so to one that is well, so only who tests it has one. ``usb``: it has a port that sticks are put in.
    ``modem``: so it has, and the uplink is no card of its own but what is plugged in there, and can be pulled out.
    """

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        uplink: Tap,
        lan: Tap,
        outside: Namespace,
        *,
        board: Board = PC,
        uefi: bool = False,
        key: Path,
        address: str,
        source: str,
        credentials: Mapping[str, str],
        watchdog: bool = False,
        usb: bool = False,
        modem: bool = False,
    ) -> None:
        self.directory, self.disk, self.board = directory, disk, board
        self.uefi, self.watchdog, self.usb, self.modem = uefi, watchdog, usb or modem, modem
        self.address, self._source = address, source
        self._taps = (uplink, lan)
        self._outside, self._key = outside, key
        self._credentials = {"ssh.authorized_keys.root": key.with_suffix(".pub").read_text(), **credentials}
        self._ns = Namespace("machine")
        self._qemu: subprocess.Popen[Any] | None = None
        self._qmp: Monitor | None = None
        self._ssh: subprocess.Popen[Any] | None = None
        self._since = 0
        self._powered_s = 0.0
        self.console_file.touch()
        if uefi:
            (directory / "vars.fd").write_bytes((OVMF / "OVMF_VARS_4M.fd").read_bytes())

    # --- power ------------------------------------------------------------------------------------------------------

    @property
    def console_file(self) -> Path:
        return self.directory / "console"

    def _command(self) -> list[str]:
        board = self.board
        command = [board.program, "-name", "gerbang", "-nodefaults", "-no-user-config", *board.machine]
        command += ["-accel", "tcg,thread=multi", "-m", str(board.memory_mb), "-display", "none"]
        if self.watchdog:
            command += ["-device", "i6300esb"]
        if self.uefi:
            command += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"]
            command += ["-drive", f"if=pflash,format=raw,file={self.directory}/vars.fd"]
        command += ["-drive", f"id=disk,file={self.disk.path},format=raw,{board.disk},cache=unsafe"]
        for name, tap, mac in zip(("uplink", "lan"), self._taps, (UPLINK_MAC, LAN_MAC), strict=True):
            if board.cards:
                command += ["-netdev", f"tap,id={name},fd={tap.fd}"]
                if name != "uplink" or not self.modem:
                    command += ["-device", f"virtio-net-pci,netdev={name},mac={mac},romfile="]
        if self.usb:
            command += ["-device", "qemu-xhci"]
        if self.modem:
            command += ["-device", ",".join("=".join(pair) for pair in _MODEM.items())]
        command += board.credentials(self._credentials, self.directory)
        command += ["-chardev", f"file,id=console,path={self.console_file},append=on"]
        command += ["-serial", "chardev:console"]
        if board.pins:
            command += ["-serial", f"file:{self.directory}/pins"]
        return [*command, "-qmp", f"unix:{self.directory}/qmp,server=on,wait=off"]

    def power_on(self) -> None:
        assert self._qemu is None, "it is on"
        self._since = self.console_file.stat().st_size
        for tap in self._taps:
            tap.carrier(True)
        self._powered_s = time.monotonic()
        with (self.directory / "qemu.log").open("ab") as log:
            self._qemu = self._ns.popen(
                self._command(), stdout=log, stderr=log, pass_fds=[tap.fd for tap in self._taps], start_new_session=True
            )
        self._qmp = Monitor(self.directory / "qmp")

    def power_off(self) -> None:
        """Pull the plug: QEMU ends at once. Safe to call on a box that is off."""
        self.hang_up()
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._ns.reap(self._qemu)
            self._qemu = None
            for tap in self._taps:
                tap.carrier(False)

    def shut_down(self, timeout_s: float = 90) -> None:
        """Press the power button, or ask by ssh where there is none, and wait until the box has switched itself off."""
        assert self._qemu is not None and self._qmp is not None
        if self.board.button:
            self._qmp.execute("system_powerdown")
        else:
            self.try_run(["systemctl", "--no-block", "poweroff"])
        self.hang_up()
        timeout_s *= PATIENCE
        try:
            self._qemu.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise NotReached(f"not off {timeout_s:.0f} s after the power button:\n{self.tail()}") from None
        self.power_off()

    def reset(self) -> None:
        """The reset button: the processor starts anew, the network's cables stay plugged."""
        assert self._qmp is not None
        self.hang_up()
        self._since = self.console_file.stat().st_size
        self._qmp.execute("system_reset")

    def inject_nmi(self) -> None:
        """A hardware fault as the processor sees it."""
        assert self._qmp is not None
        self._qmp.execute("inject-nmi")

    def slow_disk(self, mb_s: int) -> None:
        """From now on until it is switched off, the disk writes so many MB a second, as a memory card does."""
        assert self._qmp is not None
        limits = dict.fromkeys(("bps", "bps_rd", "iops", "iops_rd", "iops_wr"), 0)
        self._qmp.execute("block_set_io_throttle", device="disk", bps_wr=mb_s * 1_000_000, **limits)

    def pull_modem(self) -> None:
        """Out of the USB port, while the box runs."""
        assert self._qmp is not None
        self._qmp.execute("device_del", id=_MODEM["id"])

    def plug_modem(self) -> None:
        assert self._qmp is not None
        self._qmp.execute("device_add", **_MODEM)

    def plug_stick(self, stick: Path) -> None:
        """Put a USB stick in, while the box runs."""
        assert self._qmp is not None
        drive = f"stick{next(_NUMBERS)}"  # QEMU lets go of the one before when it likes
        file = {"driver": "file", "filename": str(stick)}
        self._qmp.execute("blockdev-add", **{"driver": "raw", "node-name": drive, "file": file})
        self._qmp.execute("device_add", **_STICK, drive=drive)

    def pull_stick(self) -> None:
        assert self._qmp is not None
        self._qmp.execute("device_del", id=_STICK["id"])

    @property
    def on_for_s(self) -> float:
        """Seconds since it was last switched on."""
        return time.monotonic() - self._powered_s

    @property
    def cpu_s(self) -> float:
        """Processor time of QEMU since it was switched on: on a busy machine it tells more than the clock."""
        assert self._qemu is not None
        fields = Path(f"/proc/{self._qemu.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")

    @property
    def is_on(self) -> bool:
        return self._qemu is not None and self._qemu.poll() is None

    # --- console ----------------------------------------------------------------------------------------------------

    def console(self, *, since: int | None = None) -> str:
        """What it has printed since it was last switched on (or since that size of the file)."""
        with self.console_file.open("rb") as file:
            file.seek(self._since if since is None else since)
            return file.read().decode("utf-8", "replace")

    def tail(self) -> str:
        """The end of the console, and what QEMU itself had to say."""
        said = (self.directory / "qemu.log").read_text() if (self.directory / "qemu.log").exists() else ""
        return "\n".join(["  " + line for line in self.console().splitlines()[-40:]] + said.splitlines()[-5:])

    def mark(self) -> int:
        """Here on the console: ``wait_console(..., since=mark)`` sees what comes after."""
        return self.console_file.stat().st_size

    def wait_console(self, pattern: str, timeout_s: float, *, since: int | None = None) -> re.Match[str]:
        """Wait until the console shows a line that matches; NotReached with its end if it does not."""
        timeout_s *= PATIENCE
        end_s = time.monotonic() + timeout_s
        while True:
            found = re.search(pattern, self.console(since=since), re.MULTILINE)
            if found:
                return found
            if not self.is_on:
                raise NotReached(f"the box is off; {pattern!r} was never on its console:\n{self.tail()}")
            if time.monotonic() > end_s:
                raise NotReached(f"{pattern!r} is not on the console after {timeout_s:.0f} s:\n{self.tail()}")
            time.sleep(0.25)

    # --- ssh --------------------------------------------------------------------------------------------------------

    def ssh_refusal(self, source: str) -> str:
        """What ssh says to root with the right key from another address; empty where it lets root in."""
        alone = ["-oControlPath=none", *self._ssh_options(source), f"root@{self.address}", "true"]
        done = self._outside.run(["ssh", *alone], check=False)
        return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode != 0 else ""

    def _ssh_options(self, source: str | None = None) -> list[str]:
        values = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "ControlPath": str(self.directory / "ssh"),
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "ServerAliveInterval": "10",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(self.directory / "known_hosts"),
        }
        return [
            "-F",
            "none",
            "-b",
            source or self._source,
            "-i",
            str(self._key),
            *(f"-o{name}={value}" for name, value in values.items()),
        ]

    def _login(self, timeout_s: float = 60) -> None:
        """One connection that all commands share, since each handshake costs an emulated processor a second."""
        if self._ssh is not None and self._ssh.poll() is None:
            return
        self.hang_up()
        timeout_s *= PATIENCE
        end_s = time.monotonic() + timeout_s
        said = ""
        while time.monotonic() < end_s:
            command = ["ssh", *self._ssh_options(), "-M", "-N", f"root@{self.address}"]
            self._ssh = self._outside.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while self._ssh.poll() is None and time.monotonic() < end_s:
                if (self.directory / "ssh").exists():
                    return
                time.sleep(0.05)
            said = self._end_of_ssh()
            time.sleep(0.5)
        raise NotReached(f"no ssh to {self.address} within {timeout_s:.0f} s: {said.strip()}\n{self.tail()}")

    def _end_of_ssh(self) -> str:
        assert self._ssh is not None
        self._ssh.kill()
        _, said = self._ssh.communicate()
        self._outside.reap(self._ssh)
        self._ssh = None
        (self.directory / "ssh").unlink(missing_ok=True)
        return said or ""

    def hang_up(self) -> None:
        """End the ssh connection, if there is one; the next command makes another."""
        if self._ssh is not None:
            self._end_of_ssh()

    def popen(self, command: Sequence[str] | str, **options: Any) -> subprocess.Popen[Any]:
        """Start a command in the box as root; a str is for its shell."""
        self._login()
        words = command if isinstance(command, str) else shlex.join(command)
        return self._outside.popen(["ssh", *self._ssh_options(), f"root@{self.address}", "--", words], **options)

    def reap(self, child: subprocess.Popen[Any]) -> None:
        self._outside.reap(child)

    def try_run(
        self, command: Sequence[str] | str, *, stdin: str | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """A command in the box to its end, whatever its exit code (255: ssh itself failed)."""
        pipe = subprocess.PIPE
        source = subprocess.DEVNULL if stdin is None else pipe
        child = self.popen(command, stdin=source, stdout=pipe, stderr=pipe, text=True)
        timeout_s *= PATIENCE
        try:
            out, err = child.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise NotReached(f"{command} goes on after {timeout_s:.0f} s:\n{self.tail()}") from None
        finally:
            self._outside.reap(child)
        return subprocess.CompletedProcess([str(command)], child.returncode, out, err)

    def run(self, command: Sequence[str] | str, *, stdin: str | None = None, timeout_s: float = 60) -> str:
        """The same where nothing but success will do; what it printed."""
        done = self.try_run(command, stdin=stdin, timeout_s=timeout_s)
        if done.returncode != 0:
            raise NotReached(f"in the box, {command} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def read(self, path: str) -> str:
        return self.run(["cat", path])

    def close(self) -> None:
        self.power_off()
        self._ns.close()


class Monitor:
    """QEMU's machine protocol: one command, one answer. Events are read over."""

    def __init__(self, path: Path, timeout_s: float = 15) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end_s = time.monotonic() + timeout_s
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                if time.monotonic() > end_s:
                    self._socket.close()
                    raise NotReached(f"QEMU did not start: {error}; see qemu.log beside {path}") from error
                time.sleep(0.05)
        self._socket.settimeout(30)
        self._lines = self._socket.makefile("r")
        self._lines.readline()  # its greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := self._lines.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"QEMU refuses {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise NotReached(f"QEMU has ended instead of answering {command}")

    def close(self) -> None:
        with closing(self._socket):
            self._lines.close()


def make_key(directory: Path, name: str = "key") -> Path:
    """A key pair of OpenSSH."""
    path = directory / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
    return path
