"""The guest pages as bytes: rendered from templates, compressed, and kept where the same page is asked for again. It
must not know requests, MACs, the gate or the clock.

What most phones get, the landing page, depends on the language and on what its door says (portal.guest.door) alone, so
it is made once and served from memory.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final
from urllib.parse import urlencode

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from portal import markdown
from portal.config import SiteConfig
from portal.domain import codes
from portal.domain.model import Notice, Uplink, UplinkState
from portal.guest.door import Door
from portal.guest.standing import Standing
from portal.guest.words import Message, Words
from portal.language import Language, load_languages
from portal.vouchers.html import qr_path
from portal.vouchers.url import code_url

TERMS: Final = (
    "terms.lawful",
    "terms.no-harm",
    "terms.shared",
    "terms.logged",
    "terms.not-logged",
    "terms.no-promise",
)
PROBLEMS: Final = (
    "database",
    "database-full",
    "database-corrupt",
    "netctl",
    "busy",
    "unknown-device",
    "other-site",
    "error",
)
NAMES: Final = ("landing", "status", "return", "code", "info", "notice", "blocked", "problem")
MOST_NOTICE_CHARACTERS: Final = 6000
"""Of notices on one page, which has to be small: those that come after are links."""
_MAX_KEPT: Final = 128
_WORK_OF_KEPT, _WORK_OF_ONE = 9, 3  # of gzip: a page for one reading must be made fast, not be 5 per cent smaller


@dataclass(frozen=True, slots=True)
class Page:
    """One page's body in UTF-8, plain and as gzip (RFC 1952)."""

    plain: bytes
    gzipped: bytes


class Pages:
    """Makes the pages of one site. Made before privileges are dropped: afterwards nothing is read from disk.

    :raises ValueError: a catalogue that cannot be read
    """

    def __init__(self, config: SiteConfig, words: Words) -> None:
        self._config = config
        self._words = words
        self.languages: Mapping[str, Language] = load_languages(__package__)
        self.default = self.languages.get(config.site.language) or next(iter(self.languages.values()))
        sources = {
            entry.name: entry.read_text("utf-8")
            for entry in (files(__package__) / "templates").iterdir()
            if entry.name.endswith((".html", ".css"))
        }
        css = re.sub(r"\s*\n\s*", "", sources.pop("style.css"))
        self.style_hash = "sha256-" + base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
        environment = Environment(
            loader=DictLoader(sources),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
            auto_reload=False,
        )
        environment.globals.update(
            css=Markup(css),  # noqa: S704, our own file
            languages=tuple(self.languages.values()),
            methods=frozenset(config.access.methods),
            address=config.lan.address.partition("/")[0],
        )
        self._templates = {name: environment.get_template(f"{name}.html") for name in NAMES}
        self._kept: OrderedDict[tuple[object, ...], Page] = OrderedDict()
        self._lock = threading.Lock()
        self._html = functools.lru_cache(maxsize=64)(markdown.to_html)
        self._qr("")  # the library is loaded now
        self._html("")

    def query(self, language: Language) -> str:
        """What a link adds so that the next page speaks the same language: nothing for the site's own."""
        return "" if language is self.default else "?" + urlencode({"lang": language.code})

    def landing(self, language: Language, door: Door) -> Page:
        plan = self._words.plan(self._config.access.plan or self._config.plan[0].id)

        def render(level: int) -> Page:
            return self._page(
                "landing",
                language,
                level,
                title=door.title,
                door=door,
                here="/",
                speed=self._words.speed(language, (plan.down_kbit, plan.up_kbit)),
                time=self._words.session_time(language, plan),
                daily=self._words.daily(language, plan),
            )

        if door.refused is not None or door.moved is not None:  # of one device, and not asked for again
            return render(_WORK_OF_ONE)
        return self._keep(("landing", language.code, door), render)

    def code(self, language: Language, code: str, *, online: bool, moved: Message | None) -> Page:
        """Where a QR leads: one button that sends the code."""
        return self._page(
            "code",
            language,
            title=language.text("code.title"),
            here=f"/v/{code}",
            code=code,
            shown=codes.shown(code),
            online=online,
            moved=moved,
        )

    def status(
        self,
        language: Language,
        standing: Standing,
        *,
        return_code: str | None,
        may_leave: bool,
        uplink: Uplink,
    ) -> Page:
        """``return_code`` None: this device has none. ``may_leave``: logging out means something."""
        words, now_wall_s = self._words, standing.now.wall_s
        return self._page(
            "status",
            language,
            title=language.text("status.title"),
            here="/status",
            uplink=words.uplink(language, uplink, now_wall_s),
            outage=uplink.state is UplinkState.DOWN,
            slow=words.slow(language, standing.plan, standing.left, now_wall_s),
            rows=_status_rows(language, words, standing),
            code=return_code and codes.shown(return_code),
            may_leave=may_leave,
        )

    def return_code(self, language: Language, code: str) -> Page:
        """For another phone's camera. A page of its own: few need it, and the QR is half of what both would cost."""
        return self._page(
            "return",
            language,
            title=language.text("return.title"),
            here="/return",
            code=codes.shown(code),
            qr=self._qr(code),
        )

    def info(
        self,
        language: Language,
        notices: Sequence[Notice] | None,
        *,
        uplink: Message | None,
        closed: Message | None,
        now_wall_s: float,
    ) -> Page:
        """Who runs this network, its hours, terms and news: the venue-info-url of RFC 8908.

        ``notices`` None: they cannot be read now. ``closed``: why it is not open now.
        """
        holidays = self._words.holidays(language, now_wall_s)
        fresh, older = _split(notices or ())

        def render(level: int) -> Page:
            plan = self._words.plan(self._config.access.plan or self._config.plan[0].id)
            return self._page(
                "info",
                language,
                level,
                title=language.text("info.title"),
                here="/info",
                uplink=uplink,
                closed=closed,
                notices=[(notice, self._html(notice.body)) for notice in fresh],
                older=older,
                unread=notices is None,
                weeks=self._words.weeks(language),
                holidays=holidays,
                time=self._words.session_time(language, plan),
                speed=self._words.speed(language, (plan.down_kbit, plan.up_kbit)),
                daily=self._words.daily(language, plan),
            )

        key = ("info", language.code, uplink, closed, tuple(holidays), None if notices is None else tuple(notices))
        return self._keep(key, render)

    def notice(self, language: Language, notice: Notice) -> Page:
        def render(level: int) -> Page:
            return self._page(
                "notice",
                language,
                level,
                title=notice.title,
                here=f"/info/{notice.id}",
                body=self._html(notice.body),
            )

        return self._keep(("notice", language.code, notice), render)

    def blocked(self, language: Language, name: str) -> Page:
        """A name that this site blocks; ``name`` may be empty."""
        return self._page(
            "blocked",
            language,
            title=language.text("name.title"),
            here="/blocked",
            name=name,
            reason=self._config.block.reason,
            mistake=self._words.ask(language, "contact.mistake"),
        )

    def problem(self, language: Language, code: str) -> Page:
        """Why it does not work, and what to do. A code without words of its own gets those of "error"."""
        words = code if code in PROBLEMS else "error"

        def render(level: int) -> Page:
            return self._page(
                "problem",
                language,
                level,
                title=language.text("problem.title"),
                here="/",
                code=code,
                what=language.text(f"problem.{words}.what"),
                todo=language.text(f"problem.{words}.todo"),
                stay_online=words not in ("unknown-device", "other-site"),
            )

        return self._keep(("problem", language.code, code), render)

    def _qr(self, code: str) -> tuple[int, str]:
        """(side, SVG path) of the address that logs in with ``code``."""
        return qr_path(code_url(self._config, code))

    def _keep(self, key: tuple[object, ...], render: Callable[[int], Page]) -> Page:
        with self._lock:
            page = self._kept.get(key)
            if page is not None:
                self._kept.move_to_end(key)
                return page
        page = render(_WORK_OF_KEPT)
        with self._lock:
            self._kept[key] = page
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return page

    def _page(self, template: str, language: Language, level: int = _WORK_OF_ONE, **values: object) -> Page:
        html = self._templates[template].render(
            _=language.text,
            lang=language,
            site=self._config.site.name or self._config.wifi.ssid or language.text("site.default-name"),
            query=self.query(language),
            terms=[language.text(rule) for rule in TERMS],
            terms_version=language.text("terms.version", version=self._config.portal.terms_version),
            ask=self._words.ask(language, "contact.help"),
            **values,
        )
        plain = re.sub(r"\n\s*", "\n", html).encode()
        compressor = zlib.compressobj(level, zlib.DEFLATED, 31)  # 31: a gzip wrapper, without a time stamp
        return Page(plain, compressor.compress(plain) + compressor.flush())


def _status_rows(language: Language, words: Words, standing: Standing) -> list[tuple[str, str]]:
    """(what, how much), what ends it first of all first."""
    rows = []
    if standing.remaining_s is not None:
        rows.append((language.text("status.time-left"), language.duration(standing.remaining_s)))
    if standing.closes_first and standing.opening.until_wall_s is not None:
        when = words.when(language, standing.opening.until_wall_s, standing.now.wall_s)
        rows.append((language.text("status.closes"), when))
    if not standing.left.spent:
        if standing.left.seconds is not None:
            rows.append((language.text("status.budget-time"), language.duration(standing.left.seconds)))
        if standing.budget_bytes is not None:
            rows.append((language.text("status.budget-data"), language.size(standing.budget_bytes)))
    up_bytes, down_bytes = standing.used_bytes
    used = language.text("both-ways", down=language.size(down_bytes), up=language.size(up_bytes))
    rows.append((language.text("status.used"), used))
    rows.append((language.text("plan.speed"), words.speed(language, standing.rates_kbit)))
    return rows


def _split(notices: Sequence[Notice]) -> tuple[list[Notice], list[Notice]]:
    """Those that fit on the page, and the others."""
    fresh: list[Notice] = []
    room = MOST_NOTICE_CHARACTERS
    for number, notice in enumerate(notices):
        room -= len(notice.body) + len(notice.title)
        if room < 0 and fresh:
            return fresh, list(notices[number:])
        fresh.append(notice)
    return fresh, []
