"""What is known of the slots, and what follows from it at a boot. Pure but for loading and saving; no RAUC, no probes.

A slot is *proven* once it was seen to serve. A slot that was just written is *on trial*: GRUB starts it once, and
unless it is found to be good GRUB takes the other one the next time. A proven slot is never given up for a reason that
another version would not mend (a cable, the provider), nor for power cuts: whoever goes back to an older version may
have to go back to an older database as well.
"""

from __future__ import annotations

import enum
import logging
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from portal.update import places

log = logging.getLogger("gerbang.update")

UNREADY_BOOTS: Final = 6
"""So many boots in a row that end before the gateway serves are taken for power cuts; after that for a broken slot."""


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway was when the update was installed: did it serve a desa, was its line up, and what was wrong
    (codes of portal.update.verdict)?
    """

    serving: bool = False
    line_up: bool = False
    problems: tuple[str, ...] = ()


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """An update that nobody has seen serve yet. ``boots``: how often its slot came as far as user space."""

    slot: str
    version: str
    before_version: str
    by: str
    role: str
    wall_s: float
    phase: Literal["installing", "installed"] = "installing"
    boots: int = 0
    before: Before = Before()
    failure: str | None = None  # a code of portal.update.verdict, where the slot could still say why
    message: str = ""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """``proven``: the slot to come back to. ``unready``: boots in a row that did not come to their end."""

    proven: str | None = None
    trial: Trial | None = None
    unready: int = 0


Ending = Literal["done", "back", "interrupted", "failed", "fallback"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an update ended: ``done``; ``back`` on the old slot; ``interrupted`` or ``failed`` before anything was
    changed; ``fallback``: a proven slot did not start any more, and the other one serves."""

    outcome: Ending
    slot: str
    from_version: str
    to_version: str
    by: str
    wall_s: float
    code: str = ""
    message: str = ""
    lost: dict[str, Any] | None = None  # portal.store.schemaback.WentBack, where the database went back too


class Do(enum.Enum):
    """What to do with the slot that runs, early in a boot."""

    TRY = "try"  # it is on trial: portal.update.good decides
    KEEP = "keep"  # mark it good now
    LEAVE = "leave"  # count: GRUB takes the other one if this boot does not come to its end
    RETURN = "return"  # activate the proven slot and restart


def load(path: Path) -> State:
    """What cannot be read counts as nothing known: the slot that runs is then the one to come back to."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.error("%s cannot be read and counts as empty: %s.", path, error)
        return State()


def save(path: Path, state: State) -> None:
    places.write_json(path, msgspec.to_builtins(state))


def at_boot(state: State, running: str, version: str, wall_s: float) -> tuple[Do, State, Outcome | None]:
    """What to do with the running slot, what is known from now on, and how an update ended if one did."""
    unready = state.unready + 1
    trial = state.trial
    if trial is not None and trial.slot == running:
        tried = msgspec.structs.replace(trial, phase="installed", boots=trial.boots + 1)
        return Do.TRY, msgspec.structs.replace(state, trial=tried, unready=0), None
    if trial is not None:
        return Do.KEEP, State(proven=running, unready=1), _came_back(trial, wall_s)
    if state.proven in (None, running):
        do = Do.KEEP if unready <= UNREADY_BOOTS else Do.LEAVE
        return do, State(proven=running, unready=unready), None
    if unready <= UNREADY_BOOTS:
        return Do.RETURN, msgspec.structs.replace(state, unready=unready), None
    message = f"Slot {state.proven} was good and does not start any more; slot {running} with {version} serves."
    fallen = Outcome(
        outcome="fallback",
        slot=running,
        from_version="",
        to_version=version,
        by="",
        wall_s=wall_s,
        code="slot-broken",
        message=message,
    )
    return Do.KEEP, State(proven=running, unready=1), fallen


def _came_back(trial: Trial, wall_s: float) -> Outcome:
    code, message = trial.failure or "", trial.message
    if trial.phase == "installing":
        code, message = "interrupted", "The installation was cut short; nothing was changed."
    elif trial.failure is None and trial.boots:
        code, message = "not-ready", "It started and was cut off before it was ready: a power cut, a crash or a hang."
    elif trial.failure is None:
        code, message = "not-started", "It did not start."
    return Outcome(
        outcome="interrupted" if trial.phase == "installing" else "back",
        slot=trial.slot,
        from_version=trial.before_version,
        to_version=trial.version,
        by=trial.by,
        wall_s=wall_s,
        code=code,
        message=message,
    )


def proved(state: State, running: str, wall_s: float) -> tuple[State, Outcome | None]:
    """The running slot came to the end of its boot. It is the one to come back to, unless another one is still."""
    trial = state.trial
    if trial is None or trial.slot != running:
        return msgspec.structs.replace(state, proven=state.proven or running, unready=0), None
    done = Outcome(
        outcome="done",
        slot=running,
        from_version=trial.before_version,
        to_version=trial.version,
        by=trial.by,
        wall_s=wall_s,
    )
    return State(proven=running), done


def condemned(state: State, code: str, message: str) -> State:
    """The slot on trial could still say why it is no good: the other one will tell."""
    assert state.trial is not None  # noqa: S101 - the callers know
    return msgspec.structs.replace(state, trial=msgspec.structs.replace(state.trial, failure=code, message=message))
