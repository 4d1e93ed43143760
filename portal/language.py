"""The words of pages: catalogues read from gettext .po files, numbers and times as each language writes them. It must
not know requests, sessions or pages.

A language is one file, ``translations/<code>/LC_MESSAGES/messages.po`` below the package whose pages it is for; adding
it is all it takes. Message ids are names, not sentences, so that better wording in one language leaves the others
alone; what a catalogue lacks is taken from Bahasa Indonesia.
Catalogues are compiled in memory: no binary file is kept, and none can be older than its source. Babel is used without
Flask-Babel, which knows only locales that Babel knows: Kutai, Banjar and Kenyah are not among them, and most pages here
are made before there is a request.
"""

from __future__ import annotations

import datetime
import gettext
import io
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.numbers import format_decimal, format_percent

log = logging.getLogger("gerbang.language")

SOURCE = "id"
"""The language that every other one falls back to."""

_NBSP = "\N{NO-BREAK SPACE}"  # a number and its unit stay on one line
_BYTE_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


@dataclass(frozen=True, slots=True)
class Language:
    """``code`` is what stands in URLs; ``locale`` gives the forms of numbers and times
    (Bahasa Indonesia's for languages that Babel does not know)."""

    code: str
    messages: gettext.NullTranslations
    locale: Locale

    @property
    def tag(self) -> str:
        """For lang attributes (BCP 47)."""
        return self.code.replace("_", "-")

    @property
    def name(self) -> str:
        """The language's name in itself."""
        return self.text("language.name")

    def text(self, message_id: str, **values: str) -> str:
        message = self.messages.gettext(message_id)
        return message % values if values else message

    def counted(self, message_id: str, count: int) -> str:
        return self.messages.ngettext(message_id, message_id, count) % {"count": self.number(count)}

    def number(self, value: float) -> str:
        """At most one decimal, and none once there are three digits before it."""
        return format_decimal(value, format="#,##0" if abs(value) >= 99.95 else "#,##0.#", locale=self.locale)

    def size(self, n_bytes: int) -> str:
        """Decimal units, as data volumes are sold: 1,5 MB."""
        for i, (unit_bytes, unit) in enumerate(_BYTE_UNITS):
            # 999 950 bytes are written 1 MB, not 1.000 kB.
            if n_bytes >= unit_bytes * (0.99995 if i < len(_BYTE_UNITS) - 1 else 1):
                return f"{self.number(n_bytes / unit_bytes)}{_NBSP}{unit}"
        return f"{self.number(n_bytes)}{_NBSP}{self.text('unit.byte')}"

    def rate(self, kbit: int) -> str:
        """Kilobit per second in the unit that people know from their providers: 5 Mbps."""
        number, unit = (kbit / 1000, "Mbps") if kbit >= 1000 else (kbit, "kbps")
        return f"{self.number(number)}{_NBSP}{unit}"

    def duration(self, seconds: float) -> str:
        """Hours and minutes, rounded down: what is promised must hold."""
        hours, minutes = divmod(int(seconds) // 60, 60)
        parts = [self.counted("duration.hours", hours)] if hours else []
        if minutes:
            parts.append(self.counted("duration.minutes", minutes))
        return " ".join(parts) or self.text("duration.moment")

    def day(self, day: datetime.date) -> str:
        """21 Nov 2026."""
        return format_date(day, "d MMM y", locale=self.locale)

    def long_day(self, day: datetime.date) -> str:
        """Sabtu, 21 November 2026."""
        return format_date(day, "EEEE, d MMMM y", locale=self.locale)

    def weekday(self, day: datetime.date) -> str:
        """Sab 21."""
        return format_date(day, "EEE d", locale=self.locale)

    def month(self, day: datetime.date) -> str:
        """November 2026."""
        return format_date(day, "MMMM y", locale=self.locale)

    def percent(self, share: float) -> str:
        """Of a share (0.984): 98,4%."""
        return format_percent(share, format="#,##0%" if abs(share) >= 0.9995 else "#,##0.#%", locale=self.locale)

    def weekdays(self) -> list[str]:
        """Senin to Minggu, Monday first."""
        return [self.locale.days["format"]["wide"][number] for number in range(7)]

    def clock(self, minute: int) -> str:
        """A time of day, given in minutes after midnight: 16.00. A day ends at 24.00, which no clock shows."""
        shown = format_time(datetime.time(*divmod(minute % 1440, 60)), "short", locale=self.locale)
        return "24" + shown[2:] if minute == 1440 and shown.startswith("00") else shown

    def moment(self, wall_s: float, now_wall_s: float, zone: ZoneInfo) -> str:
        """A past Unix time as people say it: 09.12 today, 21 Nov 09.12 on another day."""
        then = datetime.datetime.fromtimestamp(wall_s, zone)
        clock = format_time(then, "short", locale=self.locale, tzinfo=zone)
        if then.date() == datetime.datetime.fromtimestamp(now_wall_s, zone).date():
            return clock
        return f"{format_date(then.date(), 'd MMM', locale=self.locale)} {clock}"


def load_languages(package: str) -> Mapping[str, Language]:
    """All catalogues of a package (``portal.guest``), by code, Bahasa Indonesia first, then by code.

    Whoever has them needs no file any more: the source may be unreadable once privileges are dropped.

    :raises ValueError: a catalogue that cannot be read, with its name and line
    """
    found = {
        entry.name: file
        for entry in (files(package) / "translations").iterdir()
        if (file := entry / "LC_MESSAGES" / "messages.po").is_file()
    }
    languages: dict[str, Language] = {}
    source = Catalog()
    for code in sorted(found, key=lambda code: (code != SOURCE, code)):
        catalogue = _read(code, found[code].read_bytes())
        source = source if languages else catalogue
        _drop_unlike(code, catalogue, source)
        messages = _compile(catalogue)
        if code != SOURCE:
            messages.add_fallback(languages[SOURCE].messages)
        languages[code] = Language(code, messages, _locale(code))
    for language in languages.values():
        _say_one_of_each(language)
    return languages


def _say_one_of_each(language: Language) -> None:
    """Babel reads a locale's data when something is first said in it."""
    language.number(1.5)
    language.size(1_500_000)
    language.rate(1500)
    language.duration(3660)
    language.day(datetime.date(2026, 1, 31))
    language.long_day(datetime.date(2026, 1, 31))
    language.weekday(datetime.date(2026, 1, 31))
    language.month(datetime.date(2026, 1, 31))
    language.percent(0.984)
    language.weekdays()
    language.clock(1440)
    language.moment(0.0, 86_400.0, ZoneInfo("UTC"))


def _read(code: str, po: bytes) -> Catalog:
    try:
        # Without a locale: the plural forms that count are those of the file's own header.
        return read_po(io.BytesIO(po), abort_invalid=True)
    except (PoFileError, ValueError) as error:
        raise ValueError(f"The catalogue of {code!r} cannot be read: {error}") from error


def _drop_unlike(code: str, catalogue: Catalog, source: Catalog) -> None:
    """Take out messages whose %(placeholders)s are not the source's: a slip of the pen must not break a page."""
    for message in [message for message in catalogue if message.id]:
        twin = source.get(message.id)
        if twin is not None and all(
            _placeholders(text) <= _placeholders(twin.string) for text in _texts(message.string)
        ):
            continue
        log.warning("the catalogue of %s: %r is left out, it is not a translation of the source", code, message.id)
        catalogue.delete(message.id)


def _texts(string: object) -> tuple[str, ...]:
    return (string,) if isinstance(string, str) else tuple(string)  # type: ignore[arg-type]


def _placeholders(string: object) -> set[str]:
    """What a message wants filled in, with everything that Python's % would stumble over."""
    return {match for text in _texts(string) for match in re.findall(r"%(?:\(\w+\))?.?", text)}


def _compile(catalogue: Catalog) -> gettext.GNUTranslations:
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _locale(code: str) -> Locale:
    try:
        return Locale.parse(code)
    except (UnknownLocaleError, ValueError):
        return Locale.parse(SOURCE)
