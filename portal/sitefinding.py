"""What one contradiction in a site's configuration is. It must not know how it is found, nor how it is printed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction at ``key``. It says nothing where one of the keys in ``because`` is wrong by itself."""

    key: str
    message: str
    hint: str
    because: tuple[str, ...] = ()
