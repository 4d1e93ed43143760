"""Checks what somebody of the office asks for: plans, numbers, names, moments, MACs. Pure: no SQL, no clock, no Flask.

Each mistake has a stable code with a sentence and what to do (PROBLEMS), so that the command line can print it and a
page say the same in another language, from ``code`` and ``values``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any, Final

from portal.config import Plan
from portal.domain import localtime, policy

MAX_VOUCHERS: Final = 1000  # of one batch: what prints in seconds, and more than a village hands out in a day
MAX_DEVICES: Final = 1000
MAX_NOTICES: Final = 20  # what one page of a few kilobytes holds
MAX_NOTE: Final = 200
MAX_REASON: Final = 80  # as in [[closed]]
MAX_TITLE: Final = 80
MAX_BODY: Final = 2000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,31}")

PROBLEMS: Final[dict[str, tuple[str, str]]] = {
    "account-unknown": ("There is no account {name!r}.", "`gerbang account list` shows them all."),
    "batch-spent": ("No voucher of batch {id} is left to print.", "`gerbang voucher show {id}` says why."),
    "batch-unknown": ("There is no voucher batch {id}.", "`gerbang voucher list` shows them all."),
    "clock-unset": (
        "The clock is not set, so {text!r} says nothing.",
        "Name the day too, like 2026-12-31T16:00, or wait until the clock is right.",
    ),
    "closure-unknown": ("There is no opening or closing {id}.", "`gerbang hours show` shows them all."),
    "device-ruled": (
        "An operator has allowed or blocked this device.",
        "`gerbang device clear` takes that back; then ask again.",
    ),
    "device-unknown": (
        "Nothing is known of {text!r}.",
        "Write the device's MAC, or the return code that its page shows.",
    ),
    "device-no-rule": ("The device {mac} is neither allowed nor blocked.", "There is nothing to undo."),
    "done-already": ("That has been done before: {object}.", "There is nothing left to do."),
    "mac-wrong": (
        "{text!r} is no device's address.",
        "Write a MAC like 5c:e9:1e:00:00:01, as the phone shows it under Wi-Fi.",
    ),
    "moment-past": ("{field} has passed already.", "Name a moment to come."),
    "moment-wrong": (
        "{text!r} is no day and no time.",
        "Write 2026-12-31, 2026-12-31T16:00, or 16:00 for the next 16:00.",
    ),
    "moments-order": ("It would end before it begins.", "Name an end that is later than the beginning."),
    "name-taken": ("There is an account {name!r} already.", "Choose another name, or give that one a new password."),
    "name-wrong": (
        "{name!r} cannot be the name of an account.",
        "Use 2 to 32 letters, digits, dots, dashes or underscores, with a letter or digit first.",
    ),
    "notice-unknown": ("There is no notice {id}.", "`gerbang notice list` shows them all."),
    "notices-full": ("There are {high} notices already.", "Delete one that nobody needs any more."),
    "number-range": ("{field} must be from {low} to {high}, not {value}.", "Choose a number within that."),
    "password-weak": ("{sentence}", "Choose another password, best three or four words."),
    "plan-unknown": ("There is no plan {plan!r}.", "This site's plans: {plans}."),
    "session-unknown": ("Nobody is online there: {target}.", "`gerbang session list` shows who is."),
    "text-missing": ("{field} is empty.", "Write something there."),
    "text-wrong": (
        "{field} must be at most {high} characters of plain text.",
        "Write it shorter, without control characters.",
    ),
    "voucher-unknown": ("There is no such voucher.", "Compare the code with the printed one, letter by letter."),
}


class AdministrationError(Exception):
    """What was asked for cannot be done, and nothing was. ``code`` is stable; ``values`` are the sentence's parts."""

    def __init__(self, code: str, **values: Any) -> None:
        message, hint = PROBLEMS[code]
        self.code = code
        self.values = values
        self.message = message.format(**values)
        self.hint = hint.format(**values)
        super().__init__(f"{self.message} [{code}] {self.hint}")


def plan(plans: Sequence[Plan], plan_id: str) -> Plan:
    for found in plans:
        if found.id == plan_id:
            return found
    raise AdministrationError("plan-unknown", plan=plan_id, plans=", ".join(found.id for found in plans))


def number(field: str, value: int, high: int) -> int:
    """From 1 to ``high``."""
    if not 1 <= value <= high:
        raise AdministrationError("number-range", field=field, low=1, high=high, value=value)
    return value


def line(field: str, text: str, high: int, *, needed: bool = False) -> str:
    """One line of plain text, without spaces around it."""
    text = text.strip()
    if len(text) > high or not all(character.isprintable() for character in text):
        raise AdministrationError("text-wrong", field=field, high=high)
    if needed and not text:
        raise AdministrationError("text-missing", field=field)
    return text


def lines(field: str, text: str, high: int) -> str:
    """Text of any number of lines, at least one letter."""
    text = text.replace("\r\n", "\n").strip()
    if len(text) > high or not all(character.isprintable() or character in "\n\t" for character in text):
        raise AdministrationError("text-wrong", field=field, high=high)
    if not text:
        raise AdministrationError("text-missing", field=field)
    return text


def name(text: str) -> str:
    """An account's name: typed on phones, so nothing that a keyboard changes by itself."""
    if not _NAME.fullmatch(text := text.strip()):
        raise AdministrationError("name-wrong", name=text)
    return text


def mac(text: str) -> str:
    """A device's MAC as netctl writes it, from any of the ways in which phones and stickers do."""
    digits = re.sub(r"[\s:.-]", "", text).lower()
    found = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
    if not policy.is_device(found):
        raise AdministrationError("mac-wrong", text=text)
    return found


def span(from_wall_s: float | None, until_wall_s: float | None, now_wall_s: float) -> None:
    """An end that is later than the beginning, and than now."""
    if until_wall_s is None:
        return
    if until_wall_s <= now_wall_s:
        raise AdministrationError("moment-past", field="until")
    if from_wall_s is not None and until_wall_s <= from_wall_s:
        raise AdministrationError("moments-order")


def moment(text: str, zone: dt.tzinfo, now_wall_s: float, *, clock_ok: bool, end: bool = False) -> float:
    """The Unix time that ``2026-12-31``, ``2026-12-31T16:00`` or ``16:00`` (the next one) means in ``zone``.

    A day is its first moment, or with ``end`` the first moment of the next: "until the 31st" has the 31st in it.
    """
    text = text.strip()
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            day = dt.date.fromisoformat(text)
            return localtime.day_start(day + dt.timedelta(days=1) if end else day, zone)
        if re.fullmatch(r"\d{4}-\d\d-\d\d[ T]\d\d[:.]\d\d", text):
            return localtime.moment(dt.datetime.fromisoformat(text.replace(".", ":")), zone, last=end)
        if re.fullmatch(r"\d{1,2}[:.]\d\d", text):
            time = dt.time.fromisoformat(text.replace(".", ":").zfill(5))
            if not clock_ok:
                raise AdministrationError("clock-unset", text=text)
            today = localtime.local_date(now_wall_s, zone)
            found = localtime.moment(dt.datetime.combine(today, time), zone, last=end)
            if found > now_wall_s:
                return found
            return localtime.moment(dt.datetime.combine(today + dt.timedelta(days=1), time), zone, last=end)
    except (ValueError, OverflowError):
        pass
    raise AdministrationError("moment-wrong", text=text)
