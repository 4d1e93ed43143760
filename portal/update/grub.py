"""Tells GRUB which slot to start: the variables that image/boot/grub.cfg reads, as RAUC writes them when it installs
(its src/bootloaders/grub.c). It must not know when or why.

Not by RAUC's own command: that goes over the bus to a service, and at each boot both would have to be started before
anybody needs them. The boot partition, where the variables lie, is mounted read-only; it is made writable for the
moment of a write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from portal.box import commands, firmware
from portal.box.commands import CommandError
from portal.update import errors
from portal.update.errors import UpdateError
from portal.update.places import other

EDITENV: Final = "/usr/local/bin/grub-editenv"  # the image's own: it survives a power cut
NAME: Final = "grubenv"

How = Literal["good", "bad", "active"]


def variables(how: How, slot: str) -> tuple[str, ...]:
    """``good``: it may be started, and no try failed. ``bad``: it may not. ``active``: good, and the first to try."""
    tried = (f"{slot}_OK={0 if how == 'bad' else 1}", f"{slot}_TRY=0")
    return (*tried, f"ORDER={slot} {other(slot)}") if how == "active" else tried


def mark(how: How, slot: str, boot: Path) -> None:
    """On the disk when it returns. Raises UpdateError."""
    with writable(boot):
        try:
            commands.run(EDITENV, str(boot / NAME), "set", *variables(how, slot))
        except CommandError as error:
            raise UpdateError(errors.MARK, f"Slot {slot} cannot be marked {how}: {error}", "Restart the box.") from None


def was_started(slot: str, boot: Path) -> bool:
    """Was it started without being marked since? What cannot be read counts as yes."""
    try:
        return f"\n{slot}_TRY=1\n".encode() in (boot / NAME).read_bytes()
    except OSError:
        return True


@contextlib.contextmanager
def writable(boot: Path) -> Iterator[None]:
    """The boot partition can be written meanwhile, by nobody else of ours. Raises UpdateError."""
    try:
        with firmware.writable(boot):
            yield
    except (CommandError, OSError) as error:
        raise UpdateError(errors.MARK, f"{boot} cannot be made writable: {error}", "Restart the box.") from error
