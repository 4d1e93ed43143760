"""The root half of the setup page: tries a line, keeps a site.toml, starts the box again. It speaks no HTTP.

It hears requests of one JSON line over a socket pair from the page, which is unprivileged and may be anybody's
by then: each verb checks what it is given as if it came from the LAN, and there is none that runs or reads what it
is told to.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from portal import listener, privileges, site, wholefile
from portal.box import boxcheck, commands, firmware, network, networkd, provision, screen
from portal.box.commands import CommandError, say
from portal.box.interfaces import LAN, MANAGEMENT, WAN, WAN_PORT, WAN_VLAN
from portal.box.places import Places
from portal.box.setup.answers import STEPS
from portal.config import SiteConfig
from portal.processes import python

MAX_BYTES: Final = 64 * 1024
IDLE_S: Final = 2.0
CHANNEL: Final = "GERBANG_SETUP_CHANNEL"
PING_RANGE: Final = Path("/proc/sys/net/ipv4/ping_group_range")
RADIO_UNIT: Final = "gerbang-setup-radio.service"
PPPOE_UNIT: Final = "gerbang-pppoe.service"
OWN_ADDRESS: Final = networkd.SETUP_ADDRESS.partition("/")[0]


class Refused(Exception):
    """What was asked for cannot be: a sentence for the page."""


class Helper:
    """Every verb returns what the page is told. Raises Refused, CommandError, OSError."""

    def __init__(self, places: Places, lock: Path = firmware.LOCK) -> None:
        self._places = places
        self._lock = lock

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        verbs = {"state": self.state, "line": self.line, "save": self.save, "restart": self.restart}
        try:
            verb = verbs[request["do"]]
            return verb(request)
        except (Refused, CommandError, OSError) as error:
            say(f"setup: {error}")
            return {"error": str(error)}
        except (KeyError, TypeError, ValueError, AttributeError):
            return {"error": "That is no request."}

    def state(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """What the radio and the LAN's ports are at, whose box this is, and what was wrong with a site.toml."""
        radio = self._places.hostapd_setup.exists()
        running = commands.is_active(RADIO_UNIT) if radio else False
        device, wrong = self._places.identity / "device-uuid", self._places.site_error
        return {
            "site_error": wrong.read_text(encoding="utf-8-sig", errors="replace") if wrong.exists() else "",
            "radio": running if radio else None,
            "ports": _ports_with_carrier(),
            "device": device.read_text(encoding="ascii").strip() if device.exists() else "",
        }

    def line(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Bring the uplink up as the given [uplink] says; the page looks then whether it works."""
        document = {"site": {"code": site.NO_CODE}, "uplink": dict(request["uplink"])}
        config, mistakes = site.check_document("site.toml", document, files=False, here=False)
        of_step = [mistake for mistake in mistakes if mistake.key != "site.code"]
        if of_step or set(document["uplink"]) - {key.partition(".")[2] for key in STEPS["line"]}:
            raise Refused(of_step[0].message if of_step else "The setup page sets no such key.")
        document["site"] = {"code": "11.01.01.2001"}  # any: the line's files say nothing of the desa
        config, _ = site.check_document("site.toml", document, files=False, here=False)
        assert config is not None  # noqa: S101  its only mistake was the code
        self._bring_up(config)
        return {}

    def _bring_up(self, config: SiteConfig) -> None:
        with contextlib.suppress(CommandError):
            commands.run("systemctl", "stop", PPPOE_UNIT)
        for made in _made():
            commands.run("ip", "link", "delete", "dev", made)
        network.prepare(config, self._places, setup=True)
        commands.run("networkctl", "reload")
        # A line of the same kind with other values, too: networkd asks anew.
        for name in sorted({networkd.bottom(config), WAN}):
            if (Path("/sys/class/net") / name).exists():
                commands.tried("networkctl", "reconfigure", name)
        if config.uplink.kind == "pppoe":
            commands.run("systemctl", "start", "--no-block", PPPOE_UNIT)

    def save(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a site.toml, in the tray too, and make the first staff users; their passwords are the answer."""
        text = str(request["text"])
        if self._places.site.exists():
            raise Refused("This box has been set up already.")
        config, mistakes = boxcheck.check("site.toml", text)
        if config is None:
            raise Refused(str(mistakes[0]))
        passwords = first_staff(config, self._places)
        wholefile.write(self._places.site, text.encode(), wholefile.PRIVATE)
        provision.mirror(self._places, self._lock)
        return {"passwords": passwords}

    def restart(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """Into normal mode, by the way that every power cut takes."""
        if not self._places.site.exists():
            raise Refused("Nothing has been saved yet.")
        commands.run("systemctl", "--no-block", "reboot")
        return {}


def _made(sys: Path = Path("/sys/class/net")) -> list[str]:
    """What was made for the last try: VLANs and bridges, never a card."""
    names = (MANAGEMENT, WAN, WAN_VLAN, WAN_PORT)  # those on top first: a VLAN goes with what it is on
    return [name for name in names if (sys / name).exists() and not (sys / name / "device").exists()]


def first_staff(config: SiteConfig, places: Places) -> str:
    """The paper with the first passwords. A process of its own makes them, as the staff pages would at their start."""
    argument = json.dumps({"code": config.site.code, "data": str(places.gerbang)})
    commands.run(*python("portal.box.setup.staff", argument), within_s=120)
    return (places.gerbang / provision.PASSWORDS).read_text(encoding="utf-8")


def _ports_with_carrier() -> list[str]:
    found = []
    for port in sorted((Path("/sys/class/net") / LAN / "brif").glob("*")):
        with contextlib.suppress(OSError):
            if (Path("/sys/class/net") / port.name / "carrier").read_text(encoding="ascii").strip() == "1":
                found.append(port.name)
    return found


# --- the process ------------------------------------------------------------------------------------------------------


def listen() -> socket.socket:
    """Port 80 of the setup LAN alone: bound to the interface, since our addresses are reached through any other."""
    sock = listener.listen("::", 80)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, LAN.encode())
    return sock


def serve(channel: socket.socket, helper: Helper, idle: Callable[[], None] = lambda: None) -> None:
    """Answer until the page's process is gone; ``idle`` is called while it asks for nothing.

    It asks for one thing at a time, so nothing is left in the buffer that select would not see.
    """
    with channel.makefile("rwb") as lines:
        while True:
            if not select.select([channel], [], [], IDLE_S)[0]:
                idle()
                continue
            if not (line := lines.readline(MAX_BYTES)):
                return
            try:
                request = json.loads(line)
            except ValueError:
                request = {}
            lines.write(json.dumps(helper.answer(request)).encode() + b"\n")
            lines.flush()


def follow_cables(places: Places, told: str) -> Callable[[], None]:
    """Shows on the screen what is ``told``, and what is returned does so again where a cable went in or out."""
    seen = [screen.cables(places.net)]
    screen.show(places, screen.SETUP, told)

    def follow() -> None:
        now = screen.cables(places.net)
        if now != seen[0]:
            seen[0] = now
            screen.show(places, screen.SETUP, told)

    return follow


def main() -> int:
    places = Places()
    account = privileges.account(privileges.PORTAL_USER)
    PING_RANGE.write_text(f"{account.pw_gid}\t{account.pw_gid}", encoding="ascii")
    told = [f"Halaman penyiapan / setup page: http://{OWN_ADDRESS}/"]
    if places.setup_wifi.exists():
        wifi = json.loads(places.setup_wifi.read_text(encoding="utf-8"))
        told.append(f"Wi-Fi penyiapan / setup Wi-Fi: {wifi['ssid']}   kata sandi / password: {wifi['password']}")
    for sentence in told:
        say(sentence)
    follow = follow_cables(places, "\n".join(told))
    with listen() as page:
        ours, theirs = socket.socketpair()
        given = {listener.VARIABLE: str(page.fileno()), CHANNEL: str(theirs.fileno())}
        process = subprocess.Popen(
            python("portal.box.setup.page"), pass_fds=(page.fileno(), theirs.fileno()), env={**os.environ, **given}
        )
        theirs.close()
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    with ours:
        serve(ours, Helper(places), follow)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
