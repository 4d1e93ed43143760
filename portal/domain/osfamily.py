"""Tells the family of a device's operating system from what it asks of the network. Pure; it must not know requests.

Connectivity probes come first, for they are the system's own and its User-Agent there may pretend: Android's says "X11;
Linux". What programs other than browsers say of themselves proves nothing.
"""

from __future__ import annotations

from typing import Final

from portal.domain.rollup import OS_FAMILIES

ANDROID, APPLE, WINDOWS, LINUX, OTHER, UNKNOWN = OS_FAMILIES

# What only one family asks for (host, path), as its documentation and source have it; None: whatever the path.
_PROBES: Final[dict[str, tuple[str | None, str]]] = {
    # packages/modules/NetworkStack: NetworkMonitor.java, res/values/config.xml; and makers of phones in their place
    "connectivitycheck.gstatic.com": (None, ANDROID),
    "connectivitycheck.android.com": (None, ANDROID),
    "play.googleapis.com": ("/generate_204", ANDROID),
    "www.google.com": ("/gen_204", ANDROID),
    "connect.rom.miui.com": (None, ANDROID),
    "connectivitycheck.platform.hicloud.com": (None, ANDROID),
    "wifi.vivo.com.cn": (None, ANDROID),
    "conn1.oppomobile.com": (None, ANDROID),
    "conn2.oppomobile.com": (None, ANDROID),
    "captive.apple.com": (None, APPLE),
    "www.apple.com": ("/library/test/success.html", APPLE),
    "www.msftconnecttest.com": (None, WINDOWS),
    "ipv6.msftconnecttest.com": (None, WINDOWS),
    "www.msftncsi.com": (None, WINDOWS),
    "network-test.debian.org": (None, LINUX),  # NetworkManager, by distribution
    "connectivity-check.ubuntu.com": (None, LINUX),
    "fedoraproject.org": ("/static/hotspot.txt", LINUX),
    "nmcheck.gnome.org": (None, LINUX),
    "networkcheck.kde.org": (None, LINUX),
    "ping.archlinux.org": (None, LINUX),
    "conncheck.opensuse.org": (None, LINUX),
}
# In this order: Windows Phone also says Android, Android also says Linux, and all of them say Mozilla.
_AGENTS: Final = (
    ("Chrome/60.0.3112.32 ", ANDROID),  # NetworkMonitor's, on "X11; Linux x86_64"
    ("Windows Phone", OTHER),
    ("KAIOS", OTHER),
    ("Tizen", OTHER),
    ("Web0S", OTHER),
    ("CrOS", OTHER),
    ("OpenHarmony", OTHER),
    ("PlayStation", OTHER),
    ("Nintendo", OTHER),
    ("Android", ANDROID),
    ("Dalvik/", ANDROID),
    ("iPhone", APPLE),
    ("iPad", APPLE),
    ("iPod", APPLE),
    ("Macintosh", APPLE),
    ("CaptiveNetworkSupport", APPLE),
    ("Darwin/", APPLE),
    ("Windows", WINDOWS),
    ("Microsoft NCSI", WINDOWS),
    ("Linux", LINUX),
    ("X11", OTHER),  # BSD and others
    ("Mozilla/", OTHER),
)
_LOOKED_AT: Final = 400  # characters of a User-Agent: somebody may send kilobytes


def family(host: str, path: str, user_agent: str) -> str:
    """One of OS_FAMILIES. ``host``: as it was asked for, in small letters, with or without a port."""
    probe = _PROBES.get(host.partition(":")[0])
    if probe is not None and probe[0] in (None, path):
        return probe[1]
    told = user_agent[:_LOOKED_AT]
    return next((found for word, found in _AGENTS if word in told), UNKNOWN)


def later(known: str, told: str) -> str:
    """What holds when ``told`` comes after ``known``: the later, unless it says nothing."""
    return known if told == UNKNOWN else told
