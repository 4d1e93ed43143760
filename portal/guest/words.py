"""Says in a language what the gate knows: moments, opening hours, why somebody may not come in. It must not know HTML.

Times are the site's, whatever a phone's clock shows. Nothing here says more than the gate does: a wrong code is wrong,
whether it was mistyped, withdrawn or never printed.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from babel.dates import format_date

from portal.config import Plan, SiteConfig
from portal.domain import budget, hours, localtime
from portal.domain.hours import Span, Week
from portal.domain.model import CLOCK_NOT_SET, BudgetLeft, Opening, Refusal, Uplink, UplinkState
from portal.domain.siterules import SiteRules
from portal.gatekeeper import Refused
from portal.language import Language

HOLIDAYS_AHEAD: Final = 5
SITES_NAMED: Final = 5  # of the walled garden
_DAY_MINUTES: Final = 1440
# What a wrong code, name or password has to say, a line each; the last names whom to ask.
_LINES: Final = {
    Refusal.METHOD: ("refused.method",),
    Refusal.CODE_WRONG: ("refused.code-wrong.letters", "refused.code-wrong.signs", "contact.ask"),
    Refusal.CODE_EARLY: (),
    Refusal.CODE_LATE: ("refused.code-late.todo",),
    Refusal.CODE_USED: ("refused.code-used.return", "contact.ask"),
    Refusal.ACCOUNT_WRONG: ("refused.account-wrong.letters", "contact.ask"),
    Refusal.DEVICES: ("refused.devices.todo", "contact.ask"),
    Refusal.ATTEMPTS: ("refused.attempts.todo",),
}


@dataclass(frozen=True, slots=True)
class Message:
    """A headline, and what stands below it."""

    title: str
    lines: tuple[str, ...] = ()


class Words:
    """Of one site."""

    def __init__(self, config: SiteConfig) -> None:
        self._config = config
        self._rules = SiteRules(config)
        self._zone = ZoneInfo(config.site.timezone)
        self._week = hours.parse(config.hours.open)
        self._weeks = {plan.id: hours.parse(plan.hours) for plan in config.plan if plan.hours is not None}

    # --- moments ----------------------------------------------------------------------------------------------------

    def when(self, language: Language, wall_s: float, now_wall_s: float) -> str:
        """A moment: "pukul 16.00", "besok pukul 08.00", "Sabtu pukul 08.00", "Sabtu 28 November pukul 08.00"."""
        then, today = dt.datetime.fromtimestamp(wall_s, self._zone), localtime.local_date(now_wall_s, self._zone)
        days = (then.date() - today).days
        minute = then.hour * 60 + then.minute
        clock = language.clock(minute)
        if days == 1:
            return language.text("when.tomorrow", time=clock) if minute else language.text("when.midnight")
        if days == 0:
            return language.text("when.today", time=clock)
        if days == -1:
            return language.text("when.yesterday", time=clock)
        pattern = "EEEE" if 1 < days < 7 else "EEEE d MMMM"
        return language.text("when.day", day=format_date(then.date(), pattern, locale=language.locale), time=clock)

    def clock(self, language: Language, wall_s: float) -> str:
        """The time of day: 09.14."""
        then = dt.datetime.fromtimestamp(wall_s, self._zone)
        return language.clock(then.hour * 60 + then.minute)

    # --- the uplink -------------------------------------------------------------------------------------------------

    def uplink(self, language: Language, uplink: Uplink, now_wall_s: float) -> Message | None:
        """What is wrong with the way to the Internet; None: nothing."""
        if uplink.state is UplinkState.DEGRADED:
            return Message(language.text("uplink.degraded"), (language.text("uplink.degraded-hint"),))
        if uplink.state is not UplinkState.DOWN:
            return None
        title = language.text("uplink.down")
        if uplink.since_wall_s is not None:
            title = language.text(
                "uplink.down-since", time=language.moment(uplink.since_wall_s, now_wall_s, self._zone)
            )
        return Message(title, (language.text("uplink.hint"),))

    # --- plans ------------------------------------------------------------------------------------------------------

    def plan(self, plan_id: str) -> Plan:
        return self._rules.plan(plan_id)

    def speed(self, language: Language, rates_kbit: tuple[int | None, int | None]) -> str:
        """``rates_kbit`` are (down, up); None: no limit."""

        def rate(kbit: int | None) -> str:
            return language.text("plan.unlimited") if kbit is None else language.rate(kbit)

        down_kbit, up_kbit = rates_kbit
        if down_kbit is None and up_kbit is None:
            return language.text("plan.unlimited")
        return language.text("both-ways", down=rate(down_kbit), up=rate(up_kbit))

    def session_time(self, language: Language, plan: Plan) -> str:
        if plan.session_minutes is None:
            return language.text("plan.unlimited")
        return language.text("plan.time-each", duration=language.duration(plan.session_minutes * 60))

    def daily(self, language: Language, plan: Plan) -> str | None:
        """The day's budget: "2 jam dan 500 MB"; None: it has no limit."""
        parts = []
        if plan.daily_minutes is not None:
            parts.append(language.duration(plan.daily_minutes * 60))
        if plan.daily_megabytes is not None:
            parts.append(language.size(plan.daily_megabytes * budget.BYTES_PER_MEGABYTE))
        if len(parts) == 2:
            return language.text("join.and", one=parts[0], other=parts[1])
        return parts[0] if parts else None

    def slow(self, language: Language, plan: Plan, left: BudgetLeft, now_wall_s: float) -> Message | None:
        """That the day's budget is used up and the plan goes on slowly; None: it is not so."""
        if not left.spent or plan.after_budget != "slow":
            return None
        line = language.text(
            "budget.slow",
            speed=self.speed(language, budget.slow_rates(plan)),
            when=self.when(language, left.renewed_wall_s, now_wall_s),
        )
        return Message(language.text("budget.spent"), (line,))

    # --- why not ----------------------------------------------------------------------------------------------------

    def contact(self, language: Language) -> str:
        return self._config.site.contact or language.text("contact.office")

    def ask(self, language: Language, message_id: str = "contact.ask") -> str:
        return language.text(message_id, contact=self.contact(language))

    def blocked(self, language: Language) -> Message:
        return Message(
            language.text("blocked.title"), (language.text("blocked.why"), self.ask(language, "contact.mistake"))
        )

    def closed(self, language: Language, opening: Opening, plan: Plan | None, now_wall_s: float) -> Message:
        """``plan``: whose hours of today are told, where it is they that close it."""
        if opening.reason == CLOCK_NOT_SET:
            return Message(language.text("clock.title"), (language.text("clock.why"), self.ask(language, "clock.todo")))
        if opening.until_wall_s is None:
            title = language.text("closed.title")
        else:
            title = language.text("closed.until", when=self.when(language, opening.until_wall_s, now_wall_s))
        if opening.reason is not None:
            return Message(title, (language.text("closed.reason", reason=opening.reason),))
        return Message(title, () if plan is None else (self.today(language, plan, now_wall_s),))

    def still_open(self, language: Language) -> tuple[str, ...]:
        """What works for everybody, at any time and without coming in."""
        lines = [language.text("open.here")]
        if self._config.garden.names:
            lines.append(language.text("open.sites", sites=", ".join(self._config.garden.names[:SITES_NAMED])))
        return tuple(lines)

    def spent(self, language: Language, renewed_wall_s: float | None, now_wall_s: float) -> Message:
        """The budget is used up, and the plan stops then."""
        title = language.text("budget.spent")
        if renewed_wall_s is None:
            return Message(title)
        when = self.when(language, renewed_wall_s, now_wall_s)
        return Message(title, (language.text("budget.stop", when=when),))

    def refused(self, language: Language, refused: Refused, now_wall_s: float) -> Message:
        refusal, until_wall_s = refused.refusal, refused.until_wall_s
        if refusal is Refusal.CLOSED:
            return self.closed(language, Opening(False, until_wall_s, refused.reason), None, now_wall_s)
        if refusal is Refusal.BUDGET:
            return self.spent(language, until_wall_s, now_wall_s)
        if refusal is Refusal.BLOCKED:
            return self.blocked(language)
        if refusal is Refusal.FULL:
            return Message(language.text("full.title"), (language.text("full.why"),))
        values = {
            "contact": self.contact(language),
            "wait": language.duration(60 * math.ceil((refused.wait_s or 0) / 60)),
            "when": "" if until_wall_s is None else self.when(language, until_wall_s, now_wall_s),
        }
        title = language.text(f"refused.{refusal}.title", **values)
        return Message(title, tuple(language.text(line, **values) for line in _LINES[refusal]))

    def moved(self, language: Language, moved_wall_s: float, now_wall_s: float, *, by_tap: bool) -> Message:
        """A return code took this device's place. ``by_tap``: its owner gets it back by tapping, else with the code."""
        title = language.text("moved.title", when=self.when(language, moved_wall_s, now_wall_s))
        again = language.text("moved.again-tap") if by_tap else language.text("moved.again-code")
        return Message(title, (language.text("moved.why"), again, self.ask(language, "moved.ask")))

    # --- hours ------------------------------------------------------------------------------------------------------

    def today(self, language: Language, plan: Plan, now_wall_s: float) -> str:
        """The plan's ordinary hours of the day."""
        spans = self._week_of(plan).days[localtime.local_date(now_wall_s, self._zone).weekday()]
        if not spans:
            return language.text("hours.today-closed")
        return language.text("hours.today", times=_times(language, spans))

    def weeks(self, language: Language) -> list[tuple[str | None, list[tuple[str, str]]]]:
        """All opening hours: (whose, [(days, times)]), the site's own first, which are of no plan by name."""
        found: list[tuple[str | None, list[tuple[str, str]]]] = []
        if any(plan.id not in self._weeks for plan in self._rules.plans):
            found.append((None, _week_words(language, self._week)))
        found += [
            (plan.name, _week_words(language, self._weeks[plan.id]))
            for plan in self._rules.plans
            if plan.id in self._weeks
        ]
        return found

    def holidays(self, language: Language, now_wall_s: float) -> list[tuple[str, str]]:
        """The next days on which it is closed: (days, reason)."""
        today = localtime.local_date(now_wall_s, self._zone)
        ahead = [one for one in self._config.closed if (one.last or one.first) >= today]

        def day(date: dt.date) -> str:
            return format_date(date, "EEEE d MMMM y", locale=language.locale)

        return [
            (
                day(one.first) if one.last in (None, one.first) else f"{day(one.first)} – {day(one.last or one.first)}",
                one.reason,
            )
            for one in sorted(ahead, key=lambda one: one.first)[:HOLIDAYS_AHEAD]
        ]

    def _week_of(self, plan: Plan) -> Week:
        return self._weeks.get(plan.id, self._week)


def _times(language: Language, spans: Iterable[tuple[int, int]]) -> str:
    parts = []
    for first, last in spans:
        if (first, last) == (0, _DAY_MINUTES):
            parts.append(language.text("hours.all-day"))
        else:
            end = last - _DAY_MINUTES if last > _DAY_MINUTES else last
            parts.append(language.text("hours.span", first=language.clock(first), last=language.clock(end)))
    return ", ".join(parts)


def _week_words(language: Language, week: Week) -> list[tuple[str, str]]:
    names = language.weekdays()

    def runs(days: Iterable[tuple[int, int]]) -> str:
        words = []
        for first, last in days:
            if (first, last) == (0, 6):
                words.append(language.text("hours.every-day"))
            elif first == last:
                words.append(names[first])
            else:
                words.append(f"{names[first]}–{names[last]}")
        return ", ".join(words)

    lines = [(runs(found.days), _times(language, found.times)) for found in hours.describe(week)]
    shut = Week(tuple((Span(0, _DAY_MINUTES),) if not spans else () for spans in week.days))
    lines += [(runs(found.days), language.text("hours.closed")) for found in hours.describe(shut)]
    return lines
