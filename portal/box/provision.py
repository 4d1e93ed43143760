"""Takes the technician's site.toml from the FAT partition where it is new and right, and says all mistakes where not.

The FAT's file is a tray, the one below /data is what runs; `taken` says which tray was seen last. It must not know what
a configuration means. ``mirror`` is the other way: what was confirmed on the staff pages goes back into the tray.

Why first passwords go to the tray, too, and not to a screen: who can read the card can read the database on it, while a
screen shows them to everybody in the office; and most boxes have none. They go when each was changed.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portal import wholefile
from portal.box import boxcheck, commands, files, firmware, screen, tray
from portal.box.commands import CommandError, say
from portal.box.places import Places
from portal.site import Mistake

PASSWORDS: Final = "STAFF-PASSWORDS.txt"
OLD: Final = "site-old.toml"


@dataclass(frozen=True, slots=True)
class Found:
    """A file in the tray: its name there, its bytes, and what they say."""

    name: str
    data: bytes
    text: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def look(places: Places) -> Found | None:
    """What lies in the tray; None where that says nothing."""
    there = {}
    for entry in places.firmware.iterdir() if places.firmware.is_dir() else ():
        if entry.name.lower() in tray.NAMES and not tray.is_blank(tray.decode(entry.read_bytes())):
            there[entry.name] = entry.stat().st_mtime
    name = tray.choose(there)
    if name is None:
        return None
    data = (places.firmware / name).read_bytes()
    return Found(name, data, tray.decode(data))


def provision(places: Places, lock: Path = firmware.LOCK) -> list[Mistake]:
    """Take what is new; the mistakes of what was not taken. Raises OSError, CommandError."""
    files.directory(places.site.parent, 0o755)
    found = look(places)
    if found is None:
        say("The card has no site.toml yet." if not places.site.exists() else "site.toml is as it was.")
        return []
    if found.digest == _taken(places) and places.site.exists():
        if found.text != places.site.read_text(encoding="utf-8"):
            mirror(places, lock)  # a power cut came between a change and its copy
        return []
    config, mistakes = boxcheck.check(found.name, found.text)
    if config is None:
        _tell(places, found, mistakes, lock)
        return mistakes
    wholefile.write(places.site, found.text.encode(), wholefile.PRIVATE)
    wholefile.write(places.taken, f"{found.digest}\n".encode())
    say(f"site.toml was taken: {config.site.code} {config.site.name}")
    if places.site_error.exists():
        with firmware.writable(places.firmware, lock):
            firmware.remove(places.site_error)
    return []


def _taken(places: Places) -> str:
    try:
        return places.taken.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _tell(places: Places, found: Found, mistakes: list[Mistake], lock: Path) -> None:
    runs_on = places.site.exists()
    for number, mistake in enumerate(mistakes, 1):
        for line in tray.said(number, found.text, mistake):
            say(line)
    say("The last good site.toml goes on being used." if runs_on else "There is no good site.toml yet.")
    screen.show(places, screen.DESA, screen.of_mistakes(found.name, found.text, mistakes, runs_on=runs_on))
    told = tray.error_text(found.name, found.text, mistakes, runs_on=runs_on)
    if not places.site_error.exists() or places.site_error.read_bytes() != told:
        with firmware.writable(places.firmware, lock):
            firmware.write(places.site_error, told)


def mirror(places: Places, lock: Path = firmware.LOCK) -> None:
    """What runs goes into the tray, and the first passwords beside it while they hold. Raises OSError, CommandError.

    The tray first, then `taken`: a power cut between them leaves a tray that is new and says what runs already.
    """
    text = places.site.read_bytes() if places.site.exists() else None
    passwords = places.gerbang / PASSWORDS
    secret = passwords.read_bytes().replace(b"\n", b"\r\n") if passwords.exists() else None
    copy, found = places.firmware / PASSWORDS, look(places)
    stale = text is not None and (found is None or found.text.encode() != text)
    if not stale and (copy.read_bytes() if copy.exists() else None) == secret:
        return
    with firmware.writable(places.firmware, lock):
        if text is not None and stale:
            if found is not None and found.digest != _taken(places):
                firmware.write(places.firmware / OLD, found.data)  # somebody's work that was never taken
            firmware.write(places.tray, text)
            if found is not None and found.name.lower() != tray.NAMES[0]:
                firmware.remove(places.firmware / found.name)
            firmware.remove(places.site_error)
        if secret is None:
            firmware.remove(copy)
        elif not copy.exists() or copy.read_bytes() != secret:
            firmware.write(copy, secret)
    if text is not None and stale:
        wholefile.write(places.taken, f"{hashlib.sha256(text).hexdigest()}\n".encode())


def main(verb: str, places: Places | None = None) -> int:
    try:
        if verb == "mirror":
            mirror(places or Places())
        else:
            places = places or Places()
            mistakes = provision(places)
            _name(places, shown=bool(mistakes))
    except (OSError, CommandError) as error:
        say(f"{error}")
        return os.EX_UNAVAILABLE
    return os.EX_OK


def host_name(code: str) -> str:
    """gerbang-64-03-01-2001: what a DHCP server or a technician's ssh shows."""
    return f"gerbang-{code.replace('.', '-')}"


def _name(places: Places, *, shown: bool) -> None:
    """The host's name, and what the screen shows where it does not show mistakes already."""
    from portal.box.network import configured  # noqa: PLC0415

    config = configured(places)
    if config is not None:
        commands.tried("hostname", host_name(config.site.code))
    if not shown:
        screen.show(places, screen.DESA, screen.of_site(config, is_new=not places.site.exists()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "take"))
