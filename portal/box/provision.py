"""Takes the technician's site.toml from the FAT partition where it is new and right, and says all mistakes where not.

The FAT's file is a tray, the one below /data is what runs; `taken` says which tray was seen last, and what ran then.
It must not know what a configuration means. ``mirror`` is the other way: what was confirmed on the staff pages goes
back into the tray, at once and, where a power cut came between, at the next boot.

Why first passwords go to the tray, too, and not to a screen: who can read the card can read the database on it, while a
screen shows them to everybody in the office; and most boxes have none. They go when each was changed.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

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
    """Take what is new; the mistakes of what was not taken. Raises OSError, CommandError.

    Then the card gets what a power cut has kept from it. It is not what the village waits for: a card that cannot be
    written is said, and that is all.
    """
    files.directory(places.site.parent, 0o755)
    found, runs, mistakes = look(places), _runs(places), list[Mistake]()
    if found is None:
        say("The card has no site.toml yet." if runs is None else "site.toml is as it was.")
    elif runs is None or found.digest != _seen(places).tray:
        config, mistakes = boxcheck.check(found.name, found.text)
        if config is None:
            _tell(places, found, mistakes, lock)
            _note(places, "", runs)
        else:
            runs = found.text
            files.put(places.site, runs, wholefile.PRIVATE)
            _note(places, found.digest, runs)
            say(f"site.toml was taken: {config.site.code} {config.site.name}")
    try:
        _copy(places, found, runs, lock)
    except (OSError, CommandError) as error:
        say(f"The card does not have what runs: {error}")
    return mistakes


def _runs(places: Places) -> str | None:
    """The text of the configuration that runs; None where there is none, or none that anybody could have written."""
    try:
        text = places.site.read_text(encoding="utf-8-sig")
        if not tray.says_nothing(tomllib.loads(text)):
            return text
        why = "it says nothing"
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # no UTF-8 and no TOML, too
        why = str(error)
    say(f"{places.site} is damaged: {why}.")
    return None


class Seen(NamedTuple):
    """SHA-256 of what was there last time: the tray's site.toml where it was right, and the one that ran then."""

    tray: str
    site: str


def _seen(places: Places) -> Seen:
    try:
        lines = places.taken.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    return Seen(*[*lines, "", ""][:2])


def _note(places: Places, tray_is: str, runs: str | None) -> None:
    files.put(places.taken, f"{tray_is}\n{_digest(runs)}\n")


def _digest(text: str | None) -> str:
    return "" if text is None else hashlib.sha256(text.encode()).hexdigest()


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
    """What runs goes into the tray, and the first passwords beside it while they hold. Raises OSError, CommandError."""
    _copy(places, look(places), _runs(places), lock)


def _copy(places: Places, found: Found | None, runs: str | None, lock: Path) -> None:
    """Writes to the card what is not there yet, and nothing else.

    Work in the tray that was never taken, and the mistakes in it, stay until they are mended or another site.toml runs.
    The tray comes first, then `taken`: a power cut between them leaves a tray that is new and says what runs already.
    """
    paper, copy, seen = places.gerbang / PASSWORDS, places.firmware / PASSWORDS, _seen(places)
    secret = paper.read_bytes().replace(b"\n", b"\r\n") if paper.exists() else None
    untaken = found is not None and found.digest != seen.tray
    waits = untaken and _digest(runs) == seen.site
    stale = runs is not None and not waits and (found is None or found.text != runs)
    mended = not waits and places.site_error.exists()
    if not (stale or mended) and (copy.read_bytes() if copy.exists() else None) == secret:
        return
    with firmware.writable(places.firmware, lock):
        if runs is not None and stale:
            if found is not None and untaken:
                firmware.write(places.firmware / OLD, found.data)
            firmware.write(places.tray, runs.encode())
            if found is not None and found.name.lower() != tray.NAMES[0]:
                firmware.remove(places.firmware / found.name)
        if mended:
            firmware.remove(places.site_error)
        if secret is None:
            firmware.remove(copy)
        elif not copy.exists() or copy.read_bytes() != secret:
            firmware.write(copy, secret)
    if stale:
        _note(places, _digest(runs), runs)


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
