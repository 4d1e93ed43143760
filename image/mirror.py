"""Finds where this machine gets Debian's packages, so that the image's come from there. It must not know what they are.

apt itself says it, from whatever kind of file it was told in; only the suite is another one. No name of a mirror
stands in the project.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from image.commands import output
from image.errors import BuildError

SUITE: Final = "trixie"
COMPONENTS: Final = "main non-free-firmware"
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
# One line for each index that apt reads, whether it was told in one line or in deb822.
QUESTION: Final = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
# Suites of a Debian machine; the security archive's are called bookworm-security or, of old, buster/updates.
_NAMES: Final = frozenset({"bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"})


@dataclass(frozen=True, slots=True)
class Mirror:
    """``archive`` and ``security``: their addresses, without suite."""

    archive: str
    security: str

    def sources(self, suite: str = SUITE) -> tuple[str, ...]:
        """Lines of sources.list for the image."""
        options = f"deb [signed-by={KEYRING}]"
        return (
            f"{options} {self.archive} {suite} {COMPONENTS}",
            f"{options} {self.security} {suite}-security {COMPONENTS}",
        )


def find(environment: Mapping[str, str]) -> Mirror:
    """MIRROR and SECURITY_MIRROR where they are set, else what apt of this machine is told."""
    archive = environment.get("MIRROR", "").rstrip("/")
    # Mirrors that hold both have them side by side under these names.
    security = environment.get("SECURITY_MIRROR", "").rstrip("/") or (f"{archive}-security" if archive else "")
    return Mirror(archive, security) if archive else of_apt(output(*QUESTION))


def of_apt(text: str) -> Mirror:
    """The mirror that apt's answer to QUESTION tells of."""
    archive = security = ""
    for line in text.splitlines():
        address, release, component = (*line.split(), "", "", "")[:3]
        if component != "main":
            continue
        name, _, rest = release.partition("-" if "-" in release else "/")
        if name not in _NAMES:
            continue
        if not rest:
            archive = archive or address.rstrip("/")
        elif rest in ("security", "updates") and release in (f"{name}-security", f"{name}/updates"):
            security = security or address.rstrip("/")
    if archive and security:
        return Mirror(archive, security)
    missing = "the security archive" if archive else "Debian's archive"
    hint = "Name a mirror: MIRROR=ADDRESS ./build.sh image ... (and SECURITY_MIRROR=, if it is not beside it)."
    raise BuildError(os.EX_CONFIG, f"apt of this machine knows no mirror of {missing}.", hint)
