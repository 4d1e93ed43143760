"""Checks a site.toml as a flashed box takes it. It must not know where it came from.

Beyond what holds everywhere, a box gives its interfaces their names itself.
"""

from __future__ import annotations

from typing import Final

from portal import site
from portal.box.interfaces import LAN, WAN
from portal.config import SiteConfig
from portal.site import Mistake

NAMES: Final = {"uplink": WAN, "lan": LAN}


def check(name: str, text: str) -> tuple[SiteConfig | None, list[Mistake]]:
    """Configuration (None with any mistake) and all mistakes. The files that it names are looked for on this box."""
    config, mistakes = site.check_text(name, text, files=True, here=False)
    mistakes += [] if config is None else names(name, config)
    return (None if mistakes else config), mistakes


def names(name: str, config: SiteConfig) -> list[Mistake]:
    """Interfaces that the file ``name`` calls otherwise than a box does."""
    found = []
    for table, given in (("uplink", config.uplink.interface), ("lan", config.lan.interface)):
        if given != NAMES[table]:
            message = f"On a flashed box this interface is called {NAMES[table]}, not {given}."
            hint = "Take the key out; which network card is the uplink says uplink.port."
            found.append(Mistake(name, f"{table}.interface", message, hint))
    return found
