"""What a screen at the box shows: which desa this is, what is wrong, which card is which, where to go on.

What services print goes to a serial line where a board has one, and nobody can log in on a screen, so it is free. It
must not know how site.toml is checked.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from portal.box import commands, files, tray
from portal.box.interfaces import WAN, WAN_PORT
from portal.box.places import Places
from portal.config import SiteConfig
from portal.release import VERSION
from portal.site import Mistake

DESA, CARDS, SETUP, STATE = "1-desa", "2-kartu", "3-penyiapan", "4-keadaan"
"""Parts, each with one writer, in the order in which they are shown."""
_CLEAR = "\x1b[H\x1b[2J"  # console_codes(4)


def show(places: Places, part: str, text: str) -> None:
    """This part, what the others say, and the cables as they are now. What cannot be shown is said, and stops nothing.

    A service without devices leaves its part for the next one that has them.
    """
    plain = "".join(letter for letter in text if letter == "\n" or letter.isprintable())
    try:
        files.put(places.screen / part, plain)
        parts = [_drawn(places, path) for path in sorted(places.screen.iterdir())]
    except OSError as error:
        commands.say(f"The screen does not show {part}: {error.strerror}.")
        return
    with contextlib.suppress(OSError):  # there is no screen
        descriptor = os.open(places.terminal, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "w", encoding="utf-8") as terminal:
            terminal.write(_CLEAR + "\n\n".join(parts) + "\n")


def _drawn(places: Places, part: Path) -> str:
    text = part.read_text(encoding="utf-8").strip("\n")
    return "\n".join(filter(None, (text, cables(places.net)))) if part.name == CARDS else text


def cables(net: Path) -> str:
    """In which of the box's ports there is a cable now, by their roles in /sys/class/net (``net``).

    Nothing of those that cannot be asked: before networkd has taken a card up nobody knows.
    """
    uplink = WAN_PORT if (net / WAN_PORT).exists() else WAN
    ports = sorted((path.name for path in net.glob("lan[1-9]*")), key=lambda name: (len(name), name))
    said = []
    for role, name in (("uplink", uplink), *((port, port) for port in ports)):
        with contextlib.suppress(OSError):  # EINVAL: it is down
            carrier = (net / name / "carrier").read_text(encoding="ascii").strip() == "1"
            said.append(f"{role} {'ada/yes' if carrier else 'tidak/no'}")
    return f"Kabel / cables: {', '.join(said)}" if said else ""


def of_site(config: SiteConfig | None, *, is_new: bool) -> str:
    """A box that has a good configuration, has never had one (``is_new``), or cannot read its own."""
    if config is None and not is_new:
        lines = [
            "Pengaturan alat ini tidak bisa dibaca. Taruh site.toml yang benar di kartu, lalu nyalakan kembali.",
            "This box cannot read its configuration. Put a good site.toml on the card, and start it again.",
        ]
    elif config is None:
        lines = [
            "Alat ini belum disetel. Halaman penyiapan terbuka di kabel LAN dan Wi-Fi penyiapan.",
            "This box is not set up yet. Its setup page is open on the LAN ports and the setup Wi-Fi.",
        ]
    else:
        pages = f"https://{ipaddress.IPv4Interface(config.lan.address).ip}:{config.staff.port}/"
        lines = [f"{config.site.name} ({config.site.code})", f"Halaman petugas / staff pages: {pages}"]
    return "\n".join([f"Gerbang {VERSION}", "", *lines])


def of_mistakes(name: str, text: str, mistakes: Sequence[Mistake], *, runs_on: bool) -> str:
    """What SITE-ERROR.txt says, too."""
    told = tray.error_text(name, text, mistakes, runs_on=runs_on).decode("utf-8-sig")
    return f"Gerbang {VERSION}\n\n" + told.replace("\r\n", "\n")
