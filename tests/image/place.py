"""A village whose gateway is the image in QEMU: the same Internet, the same air, the same phones.

It must not know what is being tested.

    internet (up0, a tap) ---- QEMU's first card      QEMU's second card ---- (ap0, a tap) air ---- phones
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.image import agent
from tests.image.boards import PC, Board
from tests.image.disk import Disk
from tests.image.machine import PATIENCE, Machine, NotReached, Tap, make_key
from tests.image.ntp import TimeServer
from tests.village import internet, links, story
from tests.village.box import require_tools
from tests.village.gateway import to_toml
from tests.village.internet import UPLINK
from tests.village.staffbrowser import StaffBrowser, of_the_paper
from tests.village.village import AIR, Surroundings

PYTHON = "/usr/lib/gerbang/bin/python"
OFFICE = "10.20.0.5"  # where ssh comes from: in a network that site.toml lets in by default
# What a technician writes, and a plan whose rates the story knows.
SITE: Mapping[str, Any] = {"site": {"code": "64.03.01.2001", "name": "Desa Uji"}, "plan": [story.PLAN]}
READY = r"^.*gerbang: ready slot=(?P<slot>[AB]) version=(?P<version>\S+) up=(?P<up>[\d.]+)s"
# How often the plug is pulled in a test that pulls it again and again; half of it in mid-install.
POWER_CUTS = int(os.environ.get("GERBANG_POWER_CUTS", "20"))
# From switching on; emulated, on two cores that may be busy: it takes a minute on idle ones.
READY_WITHIN_S = 400.0
CLOCK_WITHIN_S = 240.0  # chrony has asked the time server, and the gateway has looked at the clock again
PAGE_S = 60.0  # one answer of the staff pages there, a handshake and the check of a password included


@dataclass(frozen=True, slots=True)
class Ready:
    """What the last unit of a boot prints; ``wall_s`` is since the box was switched on, firmware included.

    ``cpu_s`` is what of it the emulation needed of the processors.
    """

    slot: str
    version: str
    up_s: float
    wall_s: float
    cpu_s: float


def newest(target: str) -> Path:
    """The image that `./build.sh image TARGET` has made: the newest in dist/, or what GERBANG_IMAGE names."""
    if named := os.environ.get("GERBANG_IMAGE"):
        return Path(named)
    found = (internet.REPOSITORY / "dist").glob(f"gerbang-*-{target}.img")
    image = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if image is None:
        pytest.fail(f"there is no such image in dist/. Build it: sudo ./build.sh image {target}", pytrace=False)
    return image


class Gateway:
    """The gateway's programs inside the box, as the village's tests ask theirs."""

    url = "http://10.77.0.1/"
    lan, wan = "lan0", "wan0"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._agent: subprocess.Popen[Any] | None = None

    def _ask(self, *question: Any) -> Any:
        for attempt in (1, 2):
            if self._agent is None or self._agent.poll() is not None:
                self.hang_up()
                command = [PYTHON, "-P", "-u", "-c", Path(agent.__file__).read_text()]
                pipe = subprocess.PIPE
                self._agent = self._machine.popen(command, stdin=pipe, stdout=pipe, text=True)
            assert self._agent.stdin is not None and self._agent.stdout is not None
            try:
                self._agent.stdin.write(json.dumps(question) + "\n")
                self._agent.stdin.flush()
                line = self._agent.stdout.readline()
            except BrokenPipeError:
                line = ""
            if line:
                answer = json.loads(line)
                if "error" in answer:
                    raise RuntimeError(f"in the box, {question} raised {answer['error']}")
                return answer["is"]
            self.hang_up()  # it may have been of an ssh connection, or of a boot, that is no more
            if attempt == 2:
                raise NotReached(f"the box does not answer {question}:\n{self._machine.tail()}")
        return None

    def usage(self, mac: str, ip: str | None = None) -> tuple[int, int]:
        """(up, down) bytes that the kernel counts now for the session of ``mac``; up of all its addresses or one."""
        up, down = self._ask("usage", mac, ip)
        return up, down

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Read the database, read-only, as another process would."""
        rows: list[dict[str, Any]] = self._ask("sql", statement, *values)
        return rows

    def dropped_packets(self) -> int:
        """Packets that the shaper's queues dropped so far, both directions: the leaves, where fq_codel drops."""
        said = "".join(self._machine.run(["tc", "-s", "qdisc", "show", "dev", name]) for name in self.devices)
        leaves = (part for part in said.split("qdisc ") if not part.startswith("htb"))
        return sum(int(number) for part in leaves for number in re.findall(r"\(dropped (\d+),", part))

    @property
    def devices(self) -> tuple[str, str]:
        return self.lan, self.wan

    def hang_up(self) -> None:
        if self._agent is not None:
            self._agent.kill()
            self._agent.communicate()
            self._machine.reap(self._agent)
            self._agent = None


class Place(Surroundings):
    """``with Place(image, directory) as place``: everything is cabled, the box is off.

    ``site`` is what lies on the FAT partition: tables over SITE, the file's own bytes, or None for no file.
    ``credentials`` are systemd's, by name; ``systemd.unit-dropin.NAME`` changes a unit of the image as it is.
    ``board``, ``watchdog``, ``usb`` and ``modem`` as of Machine.
    """

    def __init__(
        self,
        image: Path,
        directory: Path,
        *,
        site: Mapping[str, Any] | bytes | None = SITE,
        board: Board = PC,
        uefi: bool = False,
        phones: int = 0,
        ipv6: bool = True,
        credentials: Mapping[str, str] | None = None,
        watchdog: bool = False,
        usb: bool = False,
        modem: bool = False,
    ) -> None:
        require_tools("dnsmasq", "busybox", "setpriv", board.program, "mcopy", "ssh")
        super().__init__(ipv6=ipv6, isolated=False, lease=True)
        self._closing: list[Any] = []
        try:
            uplink = Tap(self.internet.ns, UPLINK)
            self._closing.append(uplink)
            self.internet.plugged()
            links.add_address(self.internet.ns, "lo", f"{OFFICE}/32")
            lan = Tap(self.air, "ap0")
            self._closing.append(lan)
            links.plug(self.air, AIR, "ap0", isolated=False)
            self.internet.start()
            self.time = TimeServer(self.internet.ns, internet.ROUTER)
            self._closing.append(self.time)
            disk = Disk(image)
            self._closing.append(disk)
            if site is not None:
                disk.put("site.toml", site if isinstance(site, bytes) else to_toml(site))
            self.machine = Machine(
                directory,
                disk,
                uplink,
                lan,
                self.internet.ns,
                board=board,
                uefi=uefi,
                key=make_key(directory),
                address=internet.GATEWAY,
                source=OFFICE,
                credentials=credentials or {},
                watchdog=watchdog,
                usb=usb,
                modem=modem,
            )
            self.gateway = Gateway(self.machine)
            self.add_phones(phones)
        except BaseException:
            self.close()
            raise

    def memory_mib(self) -> tuple[int, int]:
        """(used, all) memory of the box; used is what is not available (proc_meminfo(5))."""
        told = dict(re.findall(r"^(\w+): +(\d+) kB$", self.machine.read("/proc/meminfo"), re.M))
        whole, left = int(told["MemTotal"]), int(told["MemAvailable"])
        return (whole - left) // 1024, whole // 1024

    @property
    def disk(self) -> Disk:
        return self.machine.disk

    def boot(self, timeout_s: float = READY_WITHIN_S) -> Ready:
        """Switch the box on and wait until it says that it is ready."""
        self.machine.power_on()
        return self.wait_ready(timeout_s)

    def wait_ready(self, timeout_s: float = READY_WITHIN_S, *, since: int | None = None) -> Ready:
        """Wait for the line on the console; ``since`` as of ``Machine.wait_console``."""
        found = self.machine.wait_console(READY, timeout_s, since=since)
        return Ready(found["slot"], found["version"], float(found["up"]), self.machine.on_for_s, self.machine.cpu_s)

    def wait_clock(self) -> None:
        """Wait until the gateway itself says that its time is NTP's: it believes no log of before."""
        boot_id = self.machine.read("/proc/sys/kernel/random/boot_id").strip()
        end_s = time.monotonic() + CLOCK_WITHIN_S * PATIENCE
        while self.gateway.sql("SELECT trusted_boot_id FROM meta") != [{"trusted_boot_id": boot_id}]:
            assert time.monotonic() < end_s, self.machine.run("chronyc -n sources; chronyc tracking")
            time.sleep(2)

    def assert_whole(self, when: str = "") -> None:
        """Database and log are whole, and no unit has failed."""
        (row,) = self.gateway.sql("PRAGMA integrity_check")
        assert row == {"integrity_check": "ok"}, when
        assert self.gateway.sql("PRAGMA foreign_key_check") == [], when
        done = self.machine.try_run(["gerbang", "journal", "verify"])
        assert done.returncode == 0, f"{when}: {done.stdout}{done.stderr}"
        assert self.machine.run("systemctl --failed --no-legend --plain").strip() == "", when

    def technician(self) -> StaffBrowser:
        """The first phone, logged in on the staff pages with the password of the box's paper."""
        desk = StaffBrowser(self.phones[0].ns, timeout_s=PAGE_S)
        desk.wait("/login", 'name="password"', READY_WITHIN_S)
        paper = self.machine.read("/data/gerbang/STAFF-PASSWORDS.txt")
        desk.first_log_in("teknisi", of_the_paper("teknisi", paper), "empat kata yang panjang")
        return desk

    def be_on(self) -> None:
        """Boot where it is off."""
        if not self.machine.is_on:
            self.boot()

    def be_off(self) -> None:
        """Press the power button where it is on, and wait."""
        if self.machine.is_on:
            self.shut_down()

    def shut_down(self) -> None:
        """Press the power button, and wait."""
        self.gateway.hang_up()
        self.machine.shut_down()

    def power_off(self) -> None:
        """Pull the plug."""
        self.gateway.hang_up()
        self.machine.power_off()

    def close(self) -> None:
        if hasattr(self, "gateway"):
            self.gateway.hang_up()
        if hasattr(self, "machine"):
            self.machine.close()
        super().close()
        for thing in reversed(self._closing):
            thing.close()
        self._closing.clear()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
