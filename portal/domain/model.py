"""What the portal talks about: sessions, usage, the uplink. Values only; it must not know Flask, SQL or sockets."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class EndReason(enum.StrEnum):
    """Why a session ended."""

    LOGOUT = "logout"
    TIME = "time"
    IDLE = "idle"
    BUDGET = "budget"  # the day's budget is used up, and the plan stops then
    CLOSED = "closed"  # the hours of the plan ended, or the site was closed
    MOVED = "moved"  # a return code continued it on another device
    BLOCKED = "blocked"  # an operator blocked the device
    STAFF = "staff"  # somebody of the staff disconnected it
    VOIDED = "voided"  # its voucher or account was withdrawn
    POWER = "power"  # the gateway lost power; where time was left, another session went on after it
    RESTART = "restart"  # the gateway was started again in order; the same


class UplinkState(enum.StrEnum):
    UNKNOWN = "unknown"
    UP = "up"
    DEGRADED = "degraded"  # pages open, but loss or delay make it hard
    DOWN = "down"


class Failing(enum.StrEnum):
    """What fails first on the way to the Internet, the nearest thing."""

    GATEWAY = "gateway"  # the cable, or the provider's router behind it
    DNS = "dns"  # the provider's resolver
    HTTP = "http"  # the Internet behind both


@dataclass(frozen=True, slots=True)
class Now:
    """One reading of the clocks: CLOCK_BOOTTIME of boot ``boot_id`` decides; ``wall_s`` (Unix, UTC) is for people."""

    boot_id: str
    boot_s: float
    wall_s: float


class Refusal(enum.StrEnum):
    """Why somebody is not let in: stable codes, which pages and the command line have words for."""

    CLOSED = "closed"
    FULL = "full"
    BLOCKED = "blocked"
    BUDGET = "budget"
    METHOD = "method"  # this site does not let people in this way
    CODE_WRONG = "code-wrong"  # mistyped, never printed, or withdrawn: it is not said which
    CODE_EARLY = "code-early"
    CODE_LATE = "code-late"
    CODE_USED = "code-used"  # as many devices as the voucher is for have used it
    ACCOUNT_WRONG = "account-wrong"  # name or password: it is not said which
    DEVICES = "devices"  # as many devices as the account's plan allows are online
    ATTEMPTS = "attempts"  # too many wrong codes or passwords, by this device or at this site


CLOCK_NOT_SET: Final = "clock-not-set"


@dataclass(frozen=True, slots=True)
class Opening:
    """Is a plan open, until when (None: no end is known), and in whose words why not (None: the ordinary hours).

    ``reason`` CLOCK_NOT_SET: nobody knows what time it is, since the box was without power; pages have words for it.
    """

    is_open: bool
    until_wall_s: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Who a budget belongs to, on whatever devices. ``code`` is the return code (portal.domain.codes)."""

    id: int
    code: str
    method: str
    plan: str
    voucher_id: int | None
    account_id: int | None


@dataclass(frozen=True, slots=True)
class DayUse:
    """What a person used on one local day: seconds online (devices at the same time count once), bytes of all."""

    seconds: float
    up_bytes: int
    down_bytes: int


@dataclass(frozen=True, slots=True)
class BudgetLeft:
    """What is left of the day's budget; None: that has no limit. ``spent``: one of them is at 0, the plan's
    ``after_budget`` holds until ``renewed_wall_s``, the next local midnight."""

    seconds: float | None
    bytes: int | None
    spent: bool
    renewed_wall_s: float


@dataclass(frozen=True, slots=True)
class Place:
    """A device's place in the queue of a full site: how many wait before it, and whether a place is kept for it now.

    ``kept_until_boot_s``: how long, where one is (None: for good).
    """

    ahead: int
    called: bool
    kept_until_boot_s: float | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A device's time online. Bytes are those flushed by the meter; ``active_boot_s`` is when it last sent something.

    ``deadline_boot_s`` and ``active_boot_s`` are of boot ``boot_id``; ``remaining_s`` is what was left at that boot's
    last flush, and counts in a later one. ``deadline_boot_s`` and ``remaining_s`` None: no time limit.
    """

    id: int
    mac: str
    ipv4: str | None
    plan: str
    method: str
    terms_version: str
    started_wall_s: float
    boot_id: str
    deadline_boot_s: float | None
    remaining_s: float | None
    active_boot_s: float
    up_bytes: int
    down_bytes: int
    ended_wall_s: float | None
    end_reason: EndReason | None
    person_id: int | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """All that a page needs to know of the device that asks for it, from one snapshot.

    ``session`` runs, else None. ``person`` is who last used this device, if anybody did. ``plan`` (its id), ``opening``
    and ``left`` are those of the session or, without one, what this device would come in with: by an operator's rule,
    else by a tap where the site lets people in so, else again as ``person``. ``rule`` is an operator's word on this
    MAC: ``allow`` (in without a tap) or ``block``. ``moved_wall_s``: a return code took this device's place then, and
    its owner has not been told. ``place``: it waits in the queue. ``full``: nobody without a place can come in now.
    """

    mac: str
    session: Session | None
    person: Person | None
    plan: str
    opening: Opening
    left: BudgetLeft
    rule: str | None
    moved_wall_s: float | None
    place: Place | None
    full: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """Village news, written by the operator; ``body`` is Markdown, shown from ``from_wall_s`` until ``until_wall_s``
    (None: at once, for good)."""

    id: int
    title: str
    body: str
    from_wall_s: float | None
    until_wall_s: float | None
    changed_wall_s: float


@dataclass(frozen=True, slots=True)
class Uplink:
    """``since_wall_s`` is in terms of today's wall clock, however often that was set since. None: not known.

    ``failing`` is set while it is down. ``latency_ms`` and ``loss`` (a share, 0 to 1) are of the minute before the
    meter last wrote.
    """

    state: UplinkState
    since_wall_s: float | None
    failing: Failing | None = None
    latency_ms: float | None = None
    loss: float | None = None
