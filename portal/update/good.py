"""The last step of a boot: finds out whether this slot serves, marks it good, or gives a slot on trial up.

``python -m portal.update.good``. It looks (portal.update.facts), lets portal.update.verdict decide, and does what that
means; it must not know the rules. Its line on the console, ``gerbang: ready slot=A version=... up=...s``, is written at
each boot, after an update or not.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence

import msgspec

from portal import site
from portal.box import disks, screen
from portal.box.commands import CommandError
from portal.box.places import Places as Box
from portal.paths import Paths
from portal.store import schemaback
from portal.update import facts, grub, places, records, state
from portal.update.errors import UpdateError
from portal.update.places import Places
from portal.update.slot import restart, say
from portal.update.state import Trial
from portal.update.verdict import ALWAYS, NO_SITE, Bounds, Facts, Kind, Problem, Verdict, held_against, judge, said_of

log = logging.getLogger("gerbang.update")

NO_DATA = (
    "Disk data tidak bisa dipakai. Tulis image ke kartu atau disk lain, lalu pulihkan cadangan di sana. [data]",
    "The data disk cannot be used. Flash another card or disk, and restore a backup there. [data]",
)
TWIN = (
    "Ada dua disk Gerbang di alat ini. Cabut salah satu, lalu nyalakan kembali. [twin]",
    f"{disks.TWIN} Take one out, and start the box again. [twin]",
)


def watch(
    look: Callable[[], Facts],
    trial: Trial | None,
    bounds: Bounds,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Verdict:
    """Look again and again until it is decided. A look that goes wrong is a problem like others."""
    before = ALWAYS if trial is None else trial.before
    begun, well_since = now(), None
    while True:
        seen = _looked(look)
        if held_against(seen, before):
            well_since = None
        elif well_since is None:
            well_since = now()
        well_for = None if well_since is None else now() - well_since
        found = judge(seen, before, now() - begun, well_for, bounds)
        if found.kind is not Kind.WAIT:
            return found
        if trial is None and seen.problems == (NO_SITE,):
            return Verdict(Kind.BAD, seen.problems)  # nobody but a technician changes that
        sleep(facts.LOOK_EVERY_S)


def _looked(look: Callable[[], Facts]) -> Facts:
    try:
        return look()
    except Exception as error:
        log.exception("the gateway could not be looked at")
        return Facts((Problem("look", f"The gateway could not be looked at: {error!r}."),), None)


def decide(at: Places, paths: Paths, running: str | None, version: str, bounds: Bounds) -> int:
    """Watch, and put the verdict into force; the exit status."""
    if running is not None and not at.update.is_dir():
        tell([f"not ready slot={running} version={version}", *NO_DATA])
        return os.EX_UNAVAILABLE
    known = state.load(at.state) if running is not None else state.State()
    trial = known.trial if known.trial is not None and known.trial.slot == running else None
    if trial is None:  # there is nothing to give up: this boot is at its end, and once it is well it is well
        bounds = Bounds(bounds.within_s, bounds.line_s, hold_s=0.0)
        if running is not None:
            _keep(at, paths, running)
    verdict = watch(lambda: facts.look(paths), trial, bounds)
    where = f"slot={running or '-'} version={version} up={time.clock_gettime(time.CLOCK_BOOTTIME):.1f}s"
    sentence = " ".join(f"{problem.message} [{problem.code}]" for problem in verdict.problems)
    bad = verdict.kind is Kind.BAD
    if trial is not None:
        if bad:
            _give_up(at, known, trial.slot, verdict, f"update failed {where}: {sentence}")
            return os.EX_UNAVAILABLE
        _keep(at, paths, trial.slot)
    first = f"not ready {where}: {sentence}" if bad else f"ready {where}"
    line = _said_of_the_line(paths, 0.0 if bad else bounds.line_s)
    tell([first, *filter(None, [verdict.remark]), *line, *(TWIN if disks.has_twin() else ())])
    # A box that waits to be set up is as it should be: no FAILED on the console of whoever stands before it.
    return os.EX_UNAVAILABLE if bad and verdict.problems != (NO_SITE,) else os.EX_OK


def _said_of_the_line(paths: Paths, within_s: float) -> tuple[str, ...]:
    """What is wrong with it after the time that it has to come."""
    end_s = time.monotonic() + within_s
    while (said := said_of(facts.line_now(paths))) and time.monotonic() < end_s:
        time.sleep(facts.LOOK_EVERY_S)
    return said


def tell(lines: Sequence[str]) -> None:
    """On the console, and on the screen for whoever comes later."""
    for line in lines:
        say(line)
    screen.show(Box(), screen.STATE, "\n".join(f"gerbang: {line}" for line in lines))


def _give_up(at: Places, known: state.State, running: str, verdict: Verdict, text: str) -> None:
    """The reason is on the disk before the machine restarts; the old slot tells the rest."""
    say(text)
    first = verdict.problems[0]
    state.save(at.state, state.condemned(known, first.code, first.message))
    try:
        grub.mark("bad", running, at.boot)
    except UpdateError as error:
        log.error("%s", error)  # GRUB takes the other slot even so: this one was never marked good
    restart()


def _keep(at: Places, paths: Paths, running: str) -> None:
    """Mark first: cut off in between, the slot is on trial once more, and no harm is done."""
    try:
        grub.mark("good", running, at.boot)
    except UpdateError as error:
        log.error("%s", error)
    known = state.load(at.state)  # only now: the mark waits for an installation that is under way, which writes there
    proven, outcome = state.proved(known, running, time.time())
    state.save(at.state, proven)
    if outcome is not None:
        records.write(at, outcome)
        told = {"slot": running, "from": outcome.from_version, "to": outcome.to_version}
        records.audit(paths, outcome.by, "system", "update.done", told)
        return
    last = records.last(at)
    if last is not None and last.outcome == "back" and known.unready == 1:
        told = {"slot": running, "from": last.to_version, "to": last.from_version, "why": last.code}
        records.audit(paths, last.by, "system", "update.back", told)
    back = schemaback.note(paths.database)
    if last is not None and back is not None and last.lost is None and back.wall_s >= last.wall_s:
        records.write(at, msgspec.structs.replace(last, lost=back.as_json()))


def main(arguments: list[str]) -> int:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    usual = Bounds()
    options = argparse.ArgumentParser(prog="portal.update.good")
    options.add_argument("--within", type=float, default=usual.within_s, help="seconds until what is wrong stays so")
    options.add_argument("--line", type=float, default=usual.line_s, help="seconds in which a page must open")
    options.add_argument("--hold", type=float, default=usual.hold_s, help="seconds for which a trial must be well")
    told = options.parse_args(arguments)
    at, paths = Places(), Paths()
    bounds = Bounds(told.within, min(told.line, told.within), told.hold)
    try:
        return decide(at, paths, places.running_slot(), places.version(), bounds)
    except (OSError, CommandError, site.SiteErrors) as error:
        tell([f"the slot could not be marked: {error}"])
        return os.EX_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
