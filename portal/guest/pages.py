"""The guest pages as bytes: rendered from templates, compressed, and kept where the same page is asked for again. It
must not know requests, MACs, the gate or the clock.

What most phones get, the landing page, depends on the language and the uplink's state alone, so it is made once and
served from memory.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import urlencode

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from portal.config import Plan, SiteConfig
from portal.language import Language, load_languages

TERMS = (
    "terms.lawful",
    "terms.no-harm",
    "terms.shared",
    "terms.logged",
    "terms.not-logged",
    "terms.no-promise",
    "terms.contact",
)
PROBLEMS = (
    "database",
    "database-full",
    "database-corrupt",
    "netctl",
    "busy",
    "unknown-device",
    "other-site",
    "error",
)
_MAX_KEPT = 64


@dataclass(frozen=True, slots=True)
class Page:
    """One page's body in UTF-8, plain and as gzip (RFC 1952)."""

    plain: bytes
    gzipped: bytes


class Pages:
    """Makes the pages of one site. Made before privileges are dropped: afterwards nothing is read from disk.

    :raises ValueError: a catalogue that cannot be read
    """

    def __init__(self, config: SiteConfig, address: str) -> None:
        self._config = config
        self._address = address
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
        environment.globals.update(css=Markup(css), languages=tuple(self.languages.values()))  # noqa: S704, our own file
        self._templates = {
            name: environment.get_template(f"{name}.html") for name in ("landing", "status", "info", "problem")
        }
        self._kept: dict[tuple[str, str, str], Page] = {}
        for language in self.languages.values():
            self.landing(language, None)
            self.info(language)
            for code in PROBLEMS:
                self.problem(language, code)

    def query(self, language: Language) -> str:
        """What a link adds so that the next page speaks the same language: nothing for the site's own."""
        return "" if language is self.default else "?" + urlencode({"lang": language.code})

    def landing(self, language: Language, uplink_down: str | None) -> Page:
        """``uplink_down``: the sentence that says so, or None while the uplink works."""
        return self._keep("landing", language, uplink_down or "", here="/", uplink_down=uplink_down)

    def info(self, language: Language) -> Page:
        """Who runs this network, on what terms: the venue-info-url of RFC 8908."""
        return self._keep("info", language, "", here="/info")

    def problem(self, language: Language, code: str) -> Page:
        """Why it does not work, and what to do. A code without words of its own gets those of "error"."""
        words = code if code in PROBLEMS else "error"
        return self._keep(
            "problem",
            language,
            code,
            here="/",
            code=code,
            what=language.text(f"problem.{words}.what"),
            todo=language.text(f"problem.{words}.todo"),
            stay_online=words not in ("unknown-device", "other-site"),
        )

    def status(
        self,
        language: Language,
        plan: Plan,
        *,
        remaining_s: float | None,
        up_bytes: int,
        down_bytes: int,
        uplink_down: str | None,
    ) -> Page:
        html = self._render(
            "status",
            language,
            here="/status",
            plan=self._plan_words(language, plan),
            uplink_down=uplink_down,
            time_left=None if remaining_s is None else language.duration(remaining_s),
            used=language.text("both-ways", down=language.size(down_bytes), up=language.size(up_bytes)),
            address=self._address,
        )
        # Made for one reading: speed counts more than the last 5 per cent of size.
        return _page(html, level=3)

    def _keep(self, name: str, language: Language, variant: str, **values: object) -> Page:
        key = (name, language.code, variant)
        page = self._kept.get(key)
        if page is None:
            plan = self._plan_words(language, self._config.plan[0])
            page = _page(self._render(name, language, plan=plan, **values), level=9)
            if len(self._kept) >= _MAX_KEPT:  # uplink sentences carry a time; they must not pile up for years
                self._kept.clear()
            self._kept[key] = page
        return page

    def _render(self, name: str, language: Language, **values: object) -> str:
        return self._templates[name].render(
            _=language.text,
            lang=language,
            site=self._config.site.name or self._config.wifi.ssid or language.text("site.default-name"),
            title=language.text(f"{name}.title"),
            query=self.query(language),
            terms=[language.text(rule) for rule in TERMS],
            terms_version=language.text("terms.version", version=self._config.portal.terms_version),
            **values,
        )

    @staticmethod
    def _plan_words(language: Language, plan: Plan) -> dict[str, str]:
        def rate(kbit: int | None) -> str:
            return language.text("plan.unlimited") if kbit is None else language.rate(kbit)

        if plan.session_minutes is None:
            time = language.text("plan.unlimited")
        else:
            time = language.text("plan.time-each", duration=language.duration(plan.session_minutes * 60))
        if plan.down_kbit is None and plan.up_kbit is None:
            speed = language.text("plan.unlimited")
        else:
            speed = language.text("both-ways", down=rate(plan.down_kbit), up=rate(plan.up_kbit))
        return {"speed": speed, "time": time}


def _page(html: str, level: int) -> Page:
    plain = re.sub(r"\n\s*", "\n", html).encode()
    compressor = zlib.compressobj(level, zlib.DEFLATED, 31)  # 31: a gzip wrapper, without a time stamp
    return Page(plain, compressor.compress(plain) + compressor.flush())
