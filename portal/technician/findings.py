"""What an examination says of one thing: how bad, what was seen, how to mend it. It must not know what is examined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from portal.language import Language

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was seen and (empty where all is well) how to mend it. As netctl's doctor."""

    level: Level
    name: str
    message: str
    fix: str = ""

    def text(self) -> str:
        return f"{self.level:<5} {self.name:<14} {self.message}" + (f"\n{'':20} {self.fix}" if self.fix else "")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


Tell = Callable[..., Finding]


def teller(words: Language) -> Tell:
    """``tell("warn", "clock", "clock-unset", now=...)``: a finding that says ``doctor.<code>`` and its ``.fix``."""

    def tell(level: Level, name: str, code: str, /, **values: str) -> Finding:
        fix = "" if level == "ok" else words.text(f"doctor.{code}.fix", **values)
        return Finding(level, name, words.text(f"doctor.{code}", **values), fix)

    return tell
