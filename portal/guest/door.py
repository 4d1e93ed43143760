"""Decides what stands on the first page for a device: which ways in, and why not. It must not know HTML or requests.

A `Door` is text and choices alone, and equal doors are the same page: so most phones get one that was made before.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Final

from portal.config import SiteConfig
from portal.domain.model import CLOCK_NOT_SET, Now, Place, Refusal, Uplink, Visit
from portal.domain.waiting import UNSEEN_KEPT_S
from portal.gatekeeper import Refused
from portal.guest.words import Message, Words
from portal.language import Language

WAITING_REFRESH_S: Final = 15
CLOCK_REFRESH_S: Final = 60
TERMS, VOUCHER, ACCOUNT = "terms", "voucher", "account"


class Tap(enum.StrEnum):
    """What the page's first button does."""

    LOGIN = "login"
    WAIT = "wait"


class Box(enum.StrEnum):
    """How a form stands there."""

    OPEN = "open"
    FOLDED = "folded"


class Form(enum.StrEnum):
    """A form of the page that has fields."""

    CODE = "code"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Door:
    """The first page. ``moved``: to be told until its owner has read it. ``refresh_s``: the page asks again by itself.

    ``refused``: what became of the last attempt, and ``tried``: the form that it came from, which stands first then;
    ``typed``: the code in it, to be corrected.
    """

    title: str
    lines: tuple[str, ...] = ()
    tap: Tap | None = None
    code: Box | None = None
    account: Box | None = None
    uplink: Message | None = None
    note: Message | None = None
    moved: Message | None = None
    refused: Message | None = None
    tried: Form | None = None
    typed: str = ""
    refresh_s: int | None = None


class Doorkeeper:
    """Of one site."""

    def __init__(self, config: SiteConfig, words: Words) -> None:
        self._methods = frozenset(config.access.methods)
        self._words = words

    def door(self, language: Language, visit: Visit | None, uplink: Uplink, now: Now) -> Door:
        """``visit`` None: the kernel does not know the device (yet)."""
        door = dataclasses.replace(
            self._way_in(language, visit, now), uplink=self._words.uplink(language, uplink, now.wall_s)
        )
        if visit is None or visit.moved_wall_s is None or visit.rule == "block":
            return door
        by_tap = visit.person is not None and visit.person.method == TERMS and TERMS in self._methods
        return dataclasses.replace(
            door, moved=self._words.moved(language, visit.moved_wall_s, now.wall_s, by_tap=by_tap)
        )

    def refused(
        self, language: Language, door: Door, refused: Refused, now: Now, *, tried: Form | None, typed: str
    ) -> Door:
        """The same door to somebody who was just refused there; ``typed``: the code, if it was one."""
        if refused.refusal is Refusal.BLOCKED:
            return self._blocked(language)
        return dataclasses.replace(
            door,
            refused=self._words.refused(language, refused, now.wall_s),
            tried=tried,
            typed=typed,
            refresh_s=None,
        )

    def _way_in(self, language: Language, visit: Visit | None, now: Now) -> Door:
        if visit is None:
            return self._open(language)
        plan = self._words.plan(visit.plan)
        if visit.rule == "block":
            door = self._blocked(language)
        elif not visit.opening.is_open:
            message = self._words.closed(language, visit.opening, plan, now.wall_s)
            door = self._shut(language, message, CLOCK_REFRESH_S if visit.opening.reason == CLOCK_NOT_SET else None)
        elif visit.left.spent and plan.after_budget == "stop":
            door = self._shut(language, self._words.spent(language, visit.left.renewed_wall_s, now.wall_s))
        elif visit.place is not None and plan.priority != "high":
            door = self._in_queue(language, visit.place, now)
        elif visit.full and plan.priority != "high":
            door = self._full(language)
        else:
            slow = self._words.slow(language, plan, visit.left, now.wall_s)
            door = dataclasses.replace(self._open(language), note=slow)
        return door

    def _open(self, language: Language) -> Door:
        if TERMS in self._methods:
            intro = language.text("landing.intro")
        elif VOUCHER in self._methods:
            intro = language.text("landing.intro-code")
        else:
            intro = language.text("landing.intro-account")
        return Door(
            language.text("landing.title"),
            (intro,),
            tap=Tap.LOGIN if TERMS in self._methods else None,
            code=self._box(),
            account=self._account_box(),
        )

    def _shut(self, language: Language, message: Message, refresh_s: int | None = None) -> Door:
        """Closed to those who tap; others, whose plan has other hours or whose budget is another, may come in."""
        return Door(
            message.title,
            (*message.lines, *self._words.still_open(language)),
            code=Box.FOLDED if self._methods & {VOUCHER, ACCOUNT} else None,
            account=self._account_box(),
            refresh_s=refresh_s,
        )

    def _blocked(self, language: Language) -> Door:
        message = self._words.blocked(language)
        return Door(message.title, message.lines)

    def _full(self, language: Language) -> Door:
        return Door(
            language.text("full.title"),
            (language.text("full.why"), language.text("full.fair")),
            tap=Tap.WAIT,
            code=self._box(),
            account=self._account_box(),
        )

    def _in_queue(self, language: Language, place: Place, now: Now) -> Door:
        if not place.called:
            ahead = language.counted("queue.ahead", place.ahead) if place.ahead else language.text("queue.first")
            lines = (
                ahead,
                language.text("queue.stay", duration=language.duration(UNSEEN_KEPT_S)),
                language.text("queue.refresh", seconds=language.number(WAITING_REFRESH_S)),
            )
            return Door(
                language.text("queue.title"),
                lines,
                code=self._box() and Box.FOLDED,
                account=self._account_box(),
                refresh_s=WAITING_REFRESH_S,
            )
        kept, refresh_s = language.text("called.kept"), None
        if place.kept_until_boot_s is not None:
            left_s = max(0.0, place.kept_until_boot_s - now.boot_s)
            clock = self._words.clock(language, now.wall_s + left_s)
            kept = language.text("called.kept-until", time=clock, duration=language.duration(left_s))
            refresh_s = int(left_s) + 2
        return Door(
            language.text("called.title"),
            (kept,),
            tap=Tap.LOGIN if TERMS in self._methods else None,
            code=self._box(),
            account=self._account_box(),
            refresh_s=refresh_s,
        )

    def _account_box(self) -> Box | None:
        if ACCOUNT not in self._methods:
            return None
        return Box.OPEN if self._methods == {ACCOUNT} else Box.FOLDED

    def _box(self) -> Box:
        """Where people come in by a tap alone, codes are return codes, which few need: out of the villager's way."""
        return Box.OPEN if VOUCHER in self._methods else Box.FOLDED
