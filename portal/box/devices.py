"""Lists this machine's network cards from sysfs and udev's database, and gives them names. It decides nothing.

Sources: Documentation/ABI/testing/sysfs-class-net; systemd.net-naming-scheme(7) for ID_PATH, which udev makes of the
place on the bus alone.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from portal.box.interfaces import Device, Medium

SYS: Final = Path("/sys")
ETHERNET: Final = "1"  # ARPHRD_ETHER
COMMAND_S: Final = 20


def properties(name: str) -> dict[str, str]:
    """What udev knows of an interface; nothing where it knows none."""
    command = ("udevadm", "info", "--query=property", f"--path=/sys/class/net/{name}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMMAND_S)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def present(sys: Path = SYS, ask: Callable[[str], dict[str, str]] = properties) -> list[Device]:
    """Every card. Bridges, VLANs, PPP links and the like have no device below them and are none."""
    found = []
    for interface in sorted((sys / "class/net").iterdir()):
        if (interface / "device").exists() and _text(interface / "type") == ETHERNET:
            found.append(device(interface, ask(interface.name)))
    return found


def device(interface: Path, known: dict[str, str]) -> Device:
    bus = _target(interface / "device/subsystem")
    radio = (interface / "phy80211").exists()
    return Device(
        name=interface.name,
        mac=_text(interface / "address"),
        path=known.get("ID_PATH", ""),
        bus="usb" if "usb" in (bus, known.get("ID_BUS", "")) else bus,
        driver=_target(interface / "device/driver"),
        medium=Medium.RADIO if radio else Medium.ETHERNET,
        phy=_target(interface / "phy80211"),
    )


def rename(moves: Iterable[tuple[str, str]]) -> list[str]:
    """Give names; a sentence for each that could not be given. Nobody uses the cards yet: they go down for it."""
    refused = []
    for old, new in moves:
        for command in (("ip", "link", "set", "dev", old, "down"), ("ip", "link", "set", "dev", old, "name", new)):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_S)
            if done.returncode != 0:
                refused.append(f"{old} could not be called {new}: {done.stderr.strip()}")
                break
    return refused


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii").strip()
    return ""


def _target(path: Path) -> str:
    """The last part of where a link leads; '' where there is none."""
    return path.resolve().name if path.exists() else ""
