"""Says whether uplink.port names a card of this box, and lets a box keep its own where a backup is of another one.

Only ``cards`` and ``is_missing`` look at the machine. It must not know who asks.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from typing import Final

from portal.box import devices
from portal.box.interfaces import Device, Medium
from portal.domain import sitechange

KEY: Final = "uplink.port"
COMING: Final = (None, "usb")  # they name no card


def cards() -> list[Device]:
    """Every network card that is plugged in now."""
    return devices.present()


def is_missing(port: str | None) -> bool:
    return port not in COMING and not is_there(port, cards())


def is_there(port: str | None, cards: Sequence[Device]) -> bool:
    """Is it plugged in now? What names none is there, and so is a place where no card's place is known."""
    known = {name for card in cards if card.medium is Medium.ETHERNET for name in (card.mac, card.path) if name}
    is_mac = port is not None and port.count(":") == 5 and len(port) == 17
    return port in (*COMING, *known) or not (is_mac or any(card.path for card in cards))


def fitted(text: str, own: str | None, cards: Iterable[Device]) -> tuple[str, str | None]:
    """A site.toml of another box for this one, and the port in it that was replaced (None: all stayed).

    ``own``: this box's uplink.port until now. A text that is no TOML stays as it is: others say what is wrong with it.
    """
    try:
        wanted = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return text, None
    port, line = _port(wanted), sitechange.line_of(text, KEY)
    if port is None or port == own or line is None or is_there(port, list(cards)):
        return text, None
    lines = text.splitlines(keepends=True)
    lines[line - 1] = f"# {lines[line - 1]}" if own is None else f'port = "{own}"\n'
    changed = "".join(lines)
    try:
        return (changed, port) if _port(tomllib.loads(changed)) == own else (text, None)
    except tomllib.TOMLDecodeError:  # it was no line of its own
        return text, None


def _port(document: dict[str, object]) -> str | None:
    table = document.get("uplink")
    found = table.get("port") if isinstance(table, dict) else None
    return found if isinstance(found, str) else None
