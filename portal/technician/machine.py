"""Examines the box itself: disk, memory card, memory, heat, clock, radio. It must not know SQL, netctl or people.

Sources: Documentation/block/stat.rst (sectors of 512 bytes), Documentation/ABI/testing/sysfs-class-mmc and JESD84-B51
7.4.86-88 (life_time: 1 is up to 10 % used, 11 more than all of it; pre_eol_info: 1 normal, 2 warning, 3 urgent),
Documentation/ABI/testing/sysfs-class-thermal (thousandths of a degree), proc_meminfo(5).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from portal import clock
from portal.box import disks
from portal.box.interfaces import RADIO
from portal.config import SiteConfig
from portal.technician.findings import Finding, Tell

MIN_FREE_BYTES: Final = 64 * 1024 * 1024  # a day's log of a full gateway, several times over
MIN_FREE_INODES: Final = 1000
MIN_MEMORY_BYTES: Final = 60 * 1024 * 1024
HOT_C: Final = 80.0  # a Raspberry Pi slows down from here on
WORN_STEP: Final = 9  # more than 80 % of a card's life
SECTOR_BYTES: Final = 512
GB: Final = 1_000_000_000


def disk(path: Path, tell: Tell) -> Finding:
    try:
        usage, counts = shutil.disk_usage(path), os.statvfs(path)
    except OSError as error:
        return tell("fail", "disk", "disk-none", path=str(path), why=error.strerror or str(error))
    free = str(usage.free // 1_000_000)
    if counts.f_flag & os.ST_RDONLY:
        return tell("fail", "disk", "disk-readonly", path=str(path))
    if usage.free < MIN_FREE_BYTES:
        return tell("fail", "disk", "disk-full", path=str(path), free=free)
    if counts.f_files and counts.f_favail < MIN_FREE_INODES:
        return tell("fail", "disk", "disk-files", path=str(path), count=str(counts.f_favail))
    return tell("ok", "disk", "disk", path=str(path), free=free)


def twin(tell: Tell) -> Iterator[Finding]:
    """A second disk of Gerbang's, where there is one."""
    if disks.has_twin():
        yield tell("fail", "disk", "disk-twin")


def wear(path: Path, tell: Tell, sys: Path = Path("/sys")) -> Iterator[Finding]:
    """How much was written to the disk of ``path`` since the boot and, where the card tells, how much life it has left.

    Nothing for a file system without a disk of its own (memory, network).
    """
    device = _disk_of(path, sys)
    if device is None:
        return
    with contextlib.suppress(OSError, ValueError, IndexError):
        written = int((device / "stat").read_text(encoding="ascii").split()[6]) * SECTOR_BYTES
        yield tell("ok", "written", "written", disk=device.name, amount=f"{written / GB:.1f}")
    with contextlib.suppress(OSError, ValueError):
        used = max(int(step, 16) for step in (device / "device/life_time").read_text(encoding="ascii").split())
        end = int((device / "device/pre_eol_info").read_text(encoding="ascii"), 16)
        percent = str(min(used * 10, 100))
        if used == 0 and end == 0:
            return  # the card does not say
        worn = used >= WORN_STEP or end >= 2
        yield tell("warn" if worn else "ok", "card", "card-worn" if worn else "card", disk=device.name, percent=percent)


def _disk_of(path: Path, sys: Path) -> Path | None:
    """The directory in /sys of the whole disk that a path lies on."""
    try:
        number = path.stat().st_dev
        device = (sys / f"dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True)
    except OSError:
        return None
    return device.parent if (device / "partition").exists() else device


def memory(tell: Tell, proc: Path = Path("/proc")) -> Iterator[Finding]:
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        lines = (line.split(":") for line in (proc / "meminfo").read_text(encoding="ascii").splitlines())
        free = {name: int(rest.split()[0]) * 1024 for name, rest in lines}["MemAvailable"]
        code = "memory-low" if free < MIN_MEMORY_BYTES else "memory"
        yield tell("ok" if code == "memory" else "warn", "memory", code, free=str(free // 1_000_000))


def temperature(tell: Tell, sys: Path = Path("/sys")) -> Iterator[Finding]:
    """The hottest sensor, where there is one."""
    found = []
    for zone in sys.glob("class/thermal/thermal_zone*/temp"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(zone.read_text(encoding="ascii")) / 1000)
    if found:
        hot = max(found) >= HOT_C
        degrees = f"{max(found):.0f}"
        yield tell("warn" if hot else "ok", "temperature", "hot" if hot else "temperature", degrees=degrees)


def time_of_day(tell: Tell) -> Finding:
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if clock.wall_is_trusted():
        return tell("ok", "clock", "clock", now=shown)
    return tell("warn", "clock", "clock-unsure" if clock.wall_is_plausible() else "clock-unset", now=shown)


def radio(config: SiteConfig, tell: Tell, sys: Path = Path("/sys")) -> Iterator[Finding]:
    """What the LAN is reached by: does a radio of the box's own send, which ports have a cable?

    Whether an access point belongs at a port nobody knows, so an empty one is said and no fault, unless all are.
    """
    lan, net = config.lan.interface, sys / "class/net"
    if not (net / lan).exists():
        yield tell("fail", "ap", "ap-none", name=lan)
        return
    ports = sorted(port.name for port in (net / lan / "brif").glob("*"))
    own = [port for port in ports or [lan] if _is_radio(net / port)]
    if not own and config.wifi.enabled and _is_radio(net / RADIO):
        own = [RADIO]  # hostapd, which would put it into the bridge, does not run
    cables = [port for port in ports or [lan] if port not in own]
    plugged = [port for port in cables if _has_carrier(net / port)]
    empty = [port for port in cables if port not in plugged]
    if own:
        sends = all(_has_carrier(net / port) for port in own)
        code = "ap-radio" if sends else "ap-radio-off"
        yield tell("ok" if sends else "fail", "ap", code, name=", ".join(own), ssid=config.wifi.ssid)
    else:
        where = lan + (f" ({', '.join(plugged or empty)})" if ports else "")
        yield tell("ok" if plugged else "fail", "ap", "ap-cable" if plugged else "ap-no-cable", name=where)
    if empty and (own or plugged):
        yield tell("ok", "port", "port-empty", ports=", ".join(empty))


def _is_radio(interface: Path) -> bool:
    return (interface / "phy80211").exists()


def _has_carrier(interface: Path) -> bool:
    with contextlib.suppress(OSError):  # EINVAL while the interface is down
        return (interface / "carrier").read_text(encoding="ascii").strip() == "1"
    return False
