"""Says which keys of site.toml a box reads only as it starts: no trial shows whether they work. Pure.

It must not know what they mean, nor whether this machine is such a box.
"""

from __future__ import annotations

from typing import Final

from portal.domain import sitechange

# What portal.box.network writes for networkd, pppd, hostapd and sshd. `isolate` and `ipv6` are in force at once but for
# the radio's own stations, and for a prefix of the provider's.
TABLES: Final = ("management", "wifi")
KEYS: Final = frozenset(
    (
        *(f"uplink.{name}" for name in ("kind", "port", "vlan", "address", "gateway", "user", "password")),
        *(f"lan.{name}" for name in ("ipv6", "isolate")),
    )
)


def waiting(old: str, new: str) -> list[str]:
    """The keys that differ between two site.toml and wait for the next start, in the order of their names."""
    before, after = sitechange.keys(old, new)
    return sorted(key for key in before | after if key in KEYS or key.partition(".")[0] in TABLES)
