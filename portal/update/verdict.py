"""Decides from what was seen of the gateway whether its slot is good. Pure: it must not know how anything is found out.

The line's rule: where it was up when the update was installed, its interface must be there and have an address again.
Whether a page on the Internet opens is waited for, for a while, and then only said: a provider's outage must not undo
an update. An interface without an address undoes it, even if a modem is to blame: the older version loses nothing by
it. What was wrong before the update already is not held against it: it may be what mends it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from portal.update.state import Before


class Kind(enum.Enum):
    GOOD = "good"
    WAIT = "wait"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a good slot does not have: a stable ``code``, a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Line:
    """The way out: is the ``interface`` there, has it an address, and did a page open (None: not known yet)?"""

    interface: str
    present: bool
    address: bool
    reached: bool | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look at the gateway gave: what is wrong with its own parts, and the line (None: no site, no line)."""

    problems: tuple[Problem, ...]
    line: Line | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """``within_s``: after that what is wrong stays wrong. ``line_s``: so long a page on the Internet is waited for.
    ``hold_s``: a slot on trial must be well for so long, since what crashes again and again is well in between."""

    within_s: float = 180.0
    line_s: float = 60.0
    hold_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """``problems``: what is wrong now. ``remark``: what is to be said though it undoes nothing; else empty."""

    kind: Kind
    problems: tuple[Problem, ...] = ()
    remark: str = ""


NO_SITE: Final = Problem("site", "There is no site.toml that runs: the box waits to be set up.")
ALWAYS: Final = Before(serving=True, line_up=False)
"""What is asked of a slot that is not on trial: to be told, not to be undone for."""


def held_against(facts: Facts, before: Before) -> tuple[Problem, ...]:
    """What is wrong with the gateway's own parts and was not before."""
    return tuple(found for found in facts.problems if found.code not in before.problems) if before.serving else ()


def judge(facts: Facts, before: Before, elapsed_s: float, well_for_s: float | None, bounds: Bounds) -> Verdict:
    """``elapsed_s`` since the gateway's start; ``well_for_s``: since its parts were last wrong (None: they are)."""
    problems = held_against(facts, before)
    line = facts.line if before.line_up else None
    if before.line_up and line is None:
        problems = (*problems, Problem("uplink-interface", "Nothing is known of the uplink, which was up before."))
    if line is not None and (missing := _missing(line)) is not None:
        problems = (missing, *problems)  # first: netctl waits for the interface, and much else for netctl
    if problems:
        return Verdict(Kind.BAD if elapsed_s >= bounds.within_s else Kind.WAIT, problems)
    if well_for_s is None or well_for_s < bounds.hold_s:
        return Verdict(Kind.WAIT)
    if line is not None and not line.reached:
        if elapsed_s < min(bounds.line_s, bounds.within_s):
            return Verdict(Kind.WAIT)
        return Verdict(Kind.GOOD, (), "The uplink has its address, but no page on the Internet opens yet.")
    return Verdict(Kind.GOOD)


def said_of(line: Line | None) -> tuple[str, ...]:
    """What whoever stands before the box may mend, of a line that undoes nothing: Indonesian, English; () where all is
    well.
    """
    if line is None or (line.present and line.address):
        return ()
    if not line.present:
        return (
            "Port uplink tidak ada: apakah kartu jaringannya terpasang, dan sesuai dengan uplink.port di site.toml?",
            f"There is no uplink {line.interface}: is its card plugged in, and is it the one that uplink.port names?",
        )
    return (
        "Port uplink tidak mendapat alamat: periksa kabel dan modem penyedia. Mungkin kabel modem dan kabel access "
        "point tertukar.",
        f"The uplink {line.interface} has no address: look at its cable and at the provider's modem. The cables of "
        "modem and access point may have changed places.",
    )


def _missing(line: Line) -> Problem | None:
    if not line.present:
        return Problem("uplink-interface", f"The uplink's interface {line.interface} is not there; it was before.")
    if not line.address:
        return Problem("uplink-address", f"The uplink {line.interface} has no address; it had one before.")
    return None
