"""Installs an update: looks whether it may be, lets RAUC write it, and writes down by whom, from what, to what.

It must not know who asks: a command does it itself, for the staff pages a child of portal.update.service does.
``python -m portal.update.installing '{...}'`` is that child; what it is to install comes as an open file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from portal import site
from portal.box import disks
from portal.paths import Paths
from portal.update import deltaapply, errors, facts, fetching, offer, places, rauc, records, state, stick, uploaded
from portal.update.errors import UpdateError
from portal.update.places import Places
from portal.update.rauc import Bundle
from portal.update.state import Outcome, Trial

log = logging.getLogger("gerbang.update")

Tell = Callable[[int, str], object]


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants installed: a file or an address. ``force``: also what is not newer; ``name``: what people
    know it by, where that is not what the file is called.
    """

    what: str
    by: str
    role: str
    force: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Installed:
    """It is in ``slot``, and runs after the next start."""

    slot: str
    from_version: str
    to_version: str


def running_slot() -> str:
    """Raises UpdateError on a machine that is no box."""
    found = places.running_slot()
    if found is None:
        raise UpdateError(errors.NO_BOX, "This machine has no slots.", "Only an installed image can be updated.")
    return found


def _install(at: Places, paths: Paths, order: Order, running: str, tell: Tell) -> Installed:
    """Raises UpdateError; the box is then as it was, but for the slot that does not run."""
    known = state.load(at.state)
    if (refusal := offer.readiness(known, running)) is not None:
        raise refusal
    _refuse_twin()
    system = rauc.system()
    version = places.version()
    spare_bytes = 2 * _database_bytes(paths)
    slot = system.devices[running]
    terms = Terms(
        compatible=system.compatible,
        version=version,
        force=order.force,
        folder=at.update,
        most_bytes=_most_bytes(slot),
        spare_bytes=spare_bytes,
        kbit=_half_of_the_line(paths),
    )
    tell(0, "check")
    with _bundle(at, order, slot, terms, tell) as (what, found):
        trial = Trial(
            slot=places.other(running),
            version=found.version,
            before_version=version,
            by=order.by,
            role=order.role,
            wall_s=time.time(),
            before=facts.before(paths),
        )
        made = what != order.what
        _refuse_twin()  # once more: it may have taken hours to come here
        with _undisturbed():
            _write(at, known, trial, what, (lambda percent, step: tell(50 + percent // 2, step)) if made else tell)
            told = {"slot": trial.slot, "from": version, "to": found.version, "force": order.force}
            records.audit(paths, order.by, order.role, "update.install", told)
    return Installed(trial.slot, version, found.version)


def _refuse_twin() -> None:
    if disks.has_twin():
        raise UpdateError(errors.TWIN, disks.TWIN, "Take out the one that is not this box's, and try again.")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What RAUC has begun is ended and written down, though machine or terminal go down. It takes minutes."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(at: Places, known: state.State, trial: Trial, what: str, tell: Tell) -> None:
    """The trial is known before GRUB knows it: cut off in between, the next boot finds out which of both it was."""
    state.save(at.state, msgspec.structs.replace(known, trial=trial))
    try:
        rauc.install(what, at.boot, tell)
    except UpdateError as error:
        state.save(at.state, msgspec.structs.replace(known, trial=None))
        failed = Outcome(
            outcome="failed",
            slot=trial.slot,
            from_version=trial.before_version,
            to_version=trial.version,
            by=trial.by,
            wall_s=time.time(),
            code=error.code,
            message=error.message,
        )
        records.write(at, failed)
        raise
    installed = msgspec.structs.replace(trial, phase="installed", wall_s=time.time())
    state.save(at.state, msgspec.structs.replace(known, trial=installed))


@contextlib.contextmanager
def _locked(at: Places) -> Iterator[None]:
    """One installation at a time, whoever asks."""
    try:
        descriptor = os.open(at.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        message = f"{at.update} cannot be used: {error.strerror}."
        hint = "Start it with sudo." if isinstance(error, PermissionError) else "Is the data disk there?"
        raise UpdateError(errors.DENIED, message, hint) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        message = "Another installation is under way."
        raise UpdateError(errors.BUSY, message, "Wait until it has ended: gerbang update status") from None
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Terms:
    """On which a bundle is taken: ``spare_bytes`` of ``folder``'s disk are for the copy of the database that the first
    start of a new version makes; what is fetched or made has ``most_bytes``, and takes at most ``kbit`` of the line
    (None: all of it).
    """

    compatible: str
    version: str
    force: bool
    folder: Path
    most_bytes: int
    spare_bytes: int
    kbit: int | None

    def taken(self, bundle: Bundle) -> Bundle:
        """Raises UpdateError."""
        if (refusal := offer.objection(bundle, self.compatible, self.version, force=self.force)) is not None:
            raise refusal
        return bundle

    def room(self, size: int, there: int) -> None:
        """For a bundle of so many bytes, of which some are there. What is cut off stays for the next try: so nothing
        is begun that no slot could hold, whatever somebody on the line says of its size. Raises UpdateError.
        """
        if size > self.most_bytes:
            message = f"It would be {size // 1_000_000} MB, and a slot holds {self.most_bytes // 1_000_000} MB."
            raise UpdateError(errors.BUNDLE, message, "Fetch the one for this sort of box.")
        refusal = offer.room(places.free_bytes(self.folder), size - there + self.spare_bytes)
        if refusal is not None:
            raise refusal


@contextlib.contextmanager
def _bundle(at: Places, order: Order, slot: Path, terms: Terms, tell: Tell) -> Iterator[tuple[str, Bundle]]:
    """A file that RAUC can read, and what it says of itself. One that was made for this goes afterwards."""
    if offer.is_delta(order.what.partition("?")[0]):
        whole = at.update / f"{fetching.PREFIX}rebuilt.raucb"
        fetching.forget(at.update, whole, Path(order.what))
        with deltaapply.opened(order.what, terms.kbit) as source:
            head = deltaapply.read_head(source)
            terms.room(head.new_bytes, deltaapply.there(whole))
            deltaapply.rebuild(source, head, slot, whole, lambda done: tell(done // 2, "delta"))
    elif fetching.is_url(order.what):
        terms.taken(rauc.info(order.what))  # before hundreds of megabytes come for nothing
        whole = fetching.whole(order.what, at.update, terms.room, lambda done: tell(done // 2, "fetch"), terms.kbit)
    else:
        fetching.forget(at.update, Path(order.what))
        found = terms.taken(rauc.info(order.what))
        terms.room(0, 0)
        yield order.what, found
        return
    try:
        yield str(whole), terms.taken(rauc.info(str(whole)))
    finally:
        whole.unlink(missing_ok=True)


def _most_bytes(slot: Path) -> int:
    """Of a bundle: what a slot holds, a hash for each 4096 bytes of it, the signature. Raises OSError."""
    with slot.open("rb") as device:
        held = device.seek(0, os.SEEK_END)
    return held + held // 64 + 1024 * 1024


def _half_of_the_line(paths: Paths) -> int | None:
    """What is left for the people who are online meanwhile; None where nobody has said how fast the line is."""
    try:
        down_kbit = site.load(paths.site).uplink.down_kbit
    except site.SiteErrors:
        return None
    return None if down_kbit is None else down_kbit // 2


def _database_bytes(paths: Paths) -> int:
    found = (paths.database, paths.database.with_name(paths.database.name + "-wal"))
    return sum(file.stat().st_size for file in found if file.exists())


# --- progress, for whoever looks meanwhile --------------------------------------------------------------------------


class Progress:
    """A small file in RAM: percent and step, and at the end what came of it."""

    def __init__(self, at: Places, order: Order) -> None:
        self._path = at.progress
        what = order.name or order.what.partition("?")[0].rpartition("/")[2]
        self._told: dict[str, Any] = {"what": what, "by": order.by, "percent": 0, "step": "check"}
        self._told |= {"pid": os.getpid(), "begun_wall_s": time.time(), "ended": False, "error": None, "to": None}
        self._last = (-1, "")
        self._write()

    def tell(self, percent: int, step: str) -> None:
        if (percent, step) != self._last:
            self._last = (percent, step)
            self._told |= {"percent": percent, "step": step}
            self._write()

    def end(self, *, error: UpdateError | None = None, to: str | None = None) -> None:
        said = None if error is None else {"code": error.code, "message": error.message, "hint": error.hint}
        self._told |= {"ended": True, "error": said, "to": to}
        self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(mode=0o755, exist_ok=True)
        places.write_json(self._path, self._told)


def progress(at: Places) -> dict[str, Any] | None:
    """None where nothing was installed since the machine started. What its process did not end is cut off."""
    try:
        told: dict[str, Any] = json.loads(at.progress.read_text(encoding="utf-8"))
        if not told["ended"] and not Path(f"/proc/{int(told['pid'])}").exists():
            told |= {"ended": True, "error": {"code": errors.INSTALL, "message": "It was cut off.", "hint": ""}}
        return told
    except (OSError, ValueError, KeyError, TypeError):
        return None


def install(at: Places, paths: Paths, order: Order, tell: Tell = lambda *_: None) -> Installed:
    """Install it, with its progress for others to see. Raises UpdateError; the running slot is as it was then."""
    running = running_slot()
    with _locked(at):
        try:
            shown = Progress(at, order)
        except OSError as error:
            message = f"{at.run} cannot be written: {error.strerror}."
            raise UpdateError(errors.DENIED, message, "Start it with sudo.") from None

        def both(percent: int, step: str) -> None:
            shown.tell(percent, step)
            with contextlib.suppress(OSError):  # whoever looked on has gone
                tell(percent, step)

        try:
            done = _install(at, paths, order, running, both)
        except UpdateError as error:
            shown.end(error=error)
            raise
        except OSError as error:
            code = errors.ROOM if error.errno == errno.ENOSPC else errors.INSTALL
            told = UpdateError(code, f"The update was not installed: {error}.", "Is the data disk full, or not well?")
            shown.end(error=told)
            raise told from error
        shown.end(to=done.to_version)
        return done


def main(argument: str) -> int:
    """The service's child: from a stick, which is mounted for the time, or from a file that was uploaded.

    On SIGTERM it ends at once, tidily: what was fetched or made so far is gone on with another time.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(os.EX_TEMPFAIL))
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    told = json.loads(argument)
    at, name = Places(), told["name"]
    order = Order(name, told["by"], told["role"], bool(told["force"]), name)
    try:
        with stick.mounted(at.run / "stick", name) if told["from"] == "stick" else uploaded.taken(at, name) as file:
            done = install(at, Paths(), replace(order, what=str(file)))
    except UpdateError as error:
        if progress(at) is None:  # it did not come to an installation
            Progress(at, order).end(error=error)
        log.error("%s", error)
        return errors.EXITS.get(error.code, os.EX_UNAVAILABLE)
    log.info("%s is in slot %s and runs after the next start", done.to_version, done.slot)
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
