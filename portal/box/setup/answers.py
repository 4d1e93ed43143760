"""What the technician has answered, as a site.toml. It must not know pages, nor what the tests of the line said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from portal import site
from portal.box import flashconfig
from portal.site import Mistake

# The keys of site.toml that each step asks for, by the name of their field.
STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "site": ("site.code", "site.name"),
    "line": (
        "uplink.kind",
        "uplink.vlan",
        "uplink.address",
        "uplink.gateway",
        "uplink.dns",
        "uplink.user",
        "uplink.password",
        "uplink.down_kbit",
        "uplink.up_kbit",
    ),
    "wifi": ("wifi.ssid", "wifi.enabled"),
}
OF_KIND: Final = {
    "uplink.address": "static",
    "uplink.gateway": "static",
    "uplink.user": "pppoe",
    "uplink.password": "pppoe",
}


@dataclass(frozen=True, slots=True)
class Answers:
    """Texts as they were typed, by key; '' and missing are the same: the default."""

    given: Mapping[str, str] = field(default_factory=dict)

    def get(self, key: str) -> str:
        return self.given.get(key, "")

    def with_step(self, step: str, form: Mapping[str, str]) -> Answers:
        """Those of one step replaced by what its form says. What another kind of line needs is forgotten.

        The form never shows the password that is known already, so an empty field keeps it.
        """
        said = {key: form.get(key, "").strip()[:200] for key in STEPS[step]}
        if step == "line":
            said["uplink.password"] = said["uplink.password"] or self.get("uplink.password")
        kind = said.get("uplink.kind")
        for key, of in OF_KIND.items():
            if kind is not None and kind != of:
                said[key] = ""
        if kind in ("usb", "lte"):
            said["uplink.vlan"] = ""
        return replace(self, given={**self.given, **said})

    def document(self) -> dict[str, Any]:
        tables: dict[str, Any] = {"site": {}}
        for key, text in self.given.items():
            if text:
                table, _, name = key.partition(".")
                tables.setdefault(table, {})[name] = _value(key, text)
        return tables

    def text(self) -> str:
        return flashconfig.written(self.document(), "Made on the setup page.").replace("\r\n", "\n")

    def mistakes(self, step: str | None = None) -> list[Mistake]:
        """All, or those of one step's keys."""
        found = site.check_document("site.toml", self.document(), files=False, here=False)[1]
        return [mistake for mistake in found if step is None or mistake.key in STEPS[step]]


def _value(key: str, text: str) -> Any:
    if key == "uplink.dns":
        return re.split(r"[\s,;]+", text)
    if key == "site.code" and re.fullmatch(r"\d{10}", text):
        return f"{text[:2]}.{text[2:4]}.{text[4:6]}.{text[6:]}"
    if key == "wifi.enabled":
        return text != "false"
    if key in ("uplink.vlan", "uplink.down_kbit", "uplink.up_kbit"):
        try:
            return flashconfig.whole(text)
        except ValueError:
            return text  # the check says what it takes
    return text
