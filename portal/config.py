"""The structure of site.toml, the one file that a technician edits. It must not know Flask, SQL or the kernel.

Everything but the site code has a default. Reading, checking and explaining mistakes: portal.site.
"""

from __future__ import annotations

from msgspec import Struct


class Site(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    code: str
    name: str = ""
    timezone: str = "Asia/Makassar"
    language: str = "id"


class Uplink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    interface: str = "wan0"
    down_kbit: int | None = None
    up_kbit: int | None = None
    dns: tuple[str, ...] = ()
    check_url: str = "http://connectivitycheck.gstatic.com/generate_204"


class Lan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    interface: str = "lan0"
    address: str = "10.77.0.1/20"
    ipv6: bool = True
    lease_minutes: int = 120


class Wifi(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ssid: str = "Wi-Fi Desa"
    country: str = "ID"
    channel: int | None = None


class Portal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str = "gerbang.lan"
    port: int = 8080
    tls_port: int = 8443
    certificate: str | None = None
    key: str | None = None
    terms_version: str = "1"


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    name: str
    down_kbit: int | None = None
    up_kbit: int | None = None
    guaranteed_kbit: int = 64
    session_minutes: int | None = 480
    idle_minutes: int | None = 60


DEFAULT_PLAN = Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=2000)


class SiteConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    site: Site
    uplink: Uplink = Uplink()
    lan: Lan = Lan()
    wifi: Wifi = Wifi()
    portal: Portal = Portal()
    plan: tuple[Plan, ...] = (DEFAULT_PLAN,)
