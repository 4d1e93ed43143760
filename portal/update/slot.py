"""Early in each boot: tells GRUB that a proven slot runs, or goes back to it; says how an update ended that came back.

``python -m portal.update.slot`` decides with portal.update.state, before the gateway starts. With ``deadline`` it is
what a timer runs when the boot should be over: a slot on trial that did not say by then that it is good is given up. It
must not know how the gateway is; portal.update.good looks at that.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from portal import privileges
from portal.box import commands
from portal.box.commands import CommandError
from portal.notify import notify
from portal.update import grub, places, records, state
from portal.update.errors import UpdateError
from portal.update.places import Places
from portal.update.state import Do

log = logging.getLogger("gerbang.update")

CONSOLE: Final = Path("/dev/console")
GIVEN_UP: Final = 1
"""Exit status on which systemd restarts the machine (FailureAction in the unit)."""


def say(text: str) -> None:
    """A line on the console, for whoever stands before the box and for tests of the image."""
    try:
        with CONSOLE.open("w", encoding="utf-8") as console:
            console.write(f"\r\ngerbang: {text}\r\n")
    except OSError:
        log.info("%s", text)


def begin(at: Places, running: str, version: str, decided: Callable[[], object]) -> Do:
    """What this boot's slot is for, put into force. What cannot be written or marked is said, and the boot goes on.

    ``decided`` is called once nothing can come of it any more that the gateway's start must wait for.
    """
    make_directories(at)
    wall_s = time.time()
    do, known, outcome = state.at_boot(state.load(at.state), running, version, wall_s)
    if outcome is not None:
        records.write(at, outcome)
        say(f"update {outcome.outcome} slot={running} version={version}: {outcome.message} [{outcome.code}]")
    state.save(at.state, known)
    if do is Do.RETURN:
        say(f"slot {known.proven} was cut off while it started; going back to it")
        try:
            grub.mark("active", places.other(running), at.boot)
        except UpdateError as error:
            log.error("%s", error)  # each of these starts is counted, and GRUB may take the other one by itself
        restart()
        return do
    decided()
    if outcome is not None and outcome.outcome == "back":
        grub.mark("bad", places.other(running), at.boot)  # it is not tried again, whatever GRUB counts
    if do is Do.KEEP:
        grub.mark("good", running, at.boot)
    return do


def make_directories(at: Places) -> None:
    at.update.mkdir(mode=0o755, exist_ok=True)
    at.run.mkdir(mode=0o755, exist_ok=True)
    at.incoming.mkdir(mode=0o700, exist_ok=True)
    staff = privileges.account(privileges.STAFF_USER)
    os.chown(at.incoming, staff.pw_uid, staff.pw_gid)


def restart() -> None:
    """In order: what is on the disk stays there. Raises CommandError."""
    commands.run("/usr/bin/systemctl", "--no-block", "reboot")


def deadline(at: Places, running: str) -> int:
    """Exit status: GIVEN_UP where the slot on trial is still not good. Where nothing can be known of it the other slot
    is tried, once: its kernel may find the data disk.
    """
    if not at.update.is_dir():
        if grub.was_started(places.other(running), at.boot):
            return os.EX_OK
        say(f"slot={running}: the data disk is not there; trying the other slot [data]")
        return GIVEN_UP
    known = state.load(at.state)
    if known.trial is None or known.trial.slot != running:
        return os.EX_OK
    message = "It was not ready when its time was over; something hangs."
    if known.trial.failure is None:
        state.save(at.state, state.condemned(known, "hang", message))
    say(f"update failed slot={running}: {message} [hang]")
    return GIVEN_UP


def let_start() -> None:
    """The gateway may start."""
    notify("READY=1")


def main(arguments: list[str]) -> int:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    at, running = Places(), places.running_slot()
    if running is None:
        log.info("this machine has no slots; nothing to do")
        let_start()
        return os.EX_OK
    if arguments == ["deadline"]:
        return deadline(at, running)
    try:
        begin(at, running, places.version(), let_start)
    except (OSError, CommandError, UpdateError, privileges.PrivilegeError) as error:
        log.error("%s", error)
        say(f"the slot {running} could not be marked: {error}")
        let_start()
        return os.EX_UNAVAILABLE
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
