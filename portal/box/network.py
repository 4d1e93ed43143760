"""Gives every network card its role and writes what networkd, hostapd, chrony, pppd and sshd read, once at each boot.

It runs before systemd-networkd and must not bring anything up. What it writes follows from site.toml and from the cards
that are there; where there has never been a site.toml it makes the interfaces of the setup page (portal.box.setup).
Where there is one that cannot be read, or no /data, the LAN stays closed: nobody on it shall set up a box that works
for a desa. The uplink asks for an address then, for whoever comes to mend it by ssh.

Why cards are renamed here and not by udev alone: udev names a card when it is added, and the cards of the board were
added before site.toml could be read. The .link files are for those that come later. Nobody uses the cards at this
moment: networkd starts after this has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from portal import site
from portal.box import commands, devices, files, networkd, screen, services
from portal.box import radio as radios
from portal.box.commands import say
from portal.box.interfaces import Device, Medium, Roles, decide, moves
from portal.box.places import Places
from portal.config import SiteConfig
from portal.site import SiteErrors

SETTLE_S: Final = 30
COUNTRY_S: Final = 3.0
RFKILL: Final = Path("/sys/class/rfkill")
OURS: Final = "-gerbang-"  # in the names of what is written for networkd


def configured(places: Places) -> SiteConfig | None:
    """The configuration that runs; None where there is none yet."""
    if not places.site.exists():
        return None
    try:
        return site.load(places.site)
    except SiteErrors as errors:
        say(str(errors))
        return None


def is_new(places: Places) -> bool:
    """Has this box never had a site.toml? Not where its disk cannot be read."""
    return places.data.is_mount() and not places.site.exists()


def main(places: Places | None = None) -> int:
    places = places or Places()
    commands.tried("udevadm", "settle", f"--timeout={SETTLE_S}")
    prepare(configured(places) or networkd.NOTHING, places, setup=is_new(places))
    return os.EX_OK


def prepare(config: SiteConfig, places: Places, *, setup: bool) -> None:
    """Names and files for this configuration; ``setup``: with the LAN and the Wi-Fi of the setup page."""
    radio_can = _radios(config.wifi.country)
    there = [card for card in devices.present() if card.medium is Medium.ETHERNET or _is_ap(radio_can, card)]
    roles = decide(there, config.uplink)
    for sentence in devices.rename(moves(roles.names(networkd.bottom(config)))):
        say(sentence)
    told = _told(roles)
    for sentence in told:
        say(sentence)
    screen.show(places, screen.CARDS, "\n".join(told))
    _replace(places.networkd, networkd.setup_files(config, roles) if setup else networkd.files(config, roles))
    _services(config, places)
    if setup:
        files.put(places.setup_dnsmasq, services.setup_dnsmasq())
        _setup_radio(config, roles, radio_can, places)
    else:
        named = None if config is networkd.NOTHING else _hostapd(config, roles, radio_can)
        _put_or_remove(places.hostapd, named, 0o600)
    commands.tried("udevadm", "control", "--reload")


def _is_ap(radio_can: Mapping[str, radios.Radio], card: Device) -> bool:
    return card.phy in radio_can and radio_can[card.phy].access_point


def _replace(directory: Path, written: Mapping[str, str]) -> None:
    for name, text in written.items():
        files.put(directory / name, text)
    for old in directory.glob(f"*{OURS}*"):
        if old.name not in written:
            old.unlink()


def _services(config: SiteConfig, places: Places) -> None:
    files.put(places.chrony, services.chrony(places))
    files.directory(places.ntp.parent, 0o755)
    files.put(places.sshd, services.sshd(config))
    first = services.of_lease((), config.uplink.dns, (services.PPP_DUMMY,) if config.uplink.kind == "pppoe" else ())
    files.put(places.resolv, services.resolvers(first))
    _put_or_remove(places.ppp_options, services.ppp_options(config) if config.uplink.kind == "pppoe" else None, 0o600)


def _put_or_remove(path: Path, text: str | None, mode: int) -> None:
    """The unit that needs the file starts where it is there (ConditionPathExists)."""
    if text is None:
        path.unlink(missing_ok=True)
    else:
        files.put(path, text, mode)


def _hostapd(config: SiteConfig, roles: Roles, radio_can: Mapping[str, radios.Radio]) -> str | None:
    if not config.wifi.enabled or roles.radio is None:
        return None
    radio = radio_can[roles.radio.phy]
    use = radios.air(config, radio, roles.radio.driver)
    if use is None:
        say(f"The radio {roles.radio.driver} has no channel that country {config.wifi.country} allows it.")
        return None
    for note in use.notes:
        say(note)
    return radios.render(config, radio, use)


def _setup_radio(config: SiteConfig, roles: Roles, radio_can: Mapping[str, radios.Radio], places: Places) -> None:
    """A Wi-Fi of this boot alone, with a password: whoever joins may set the box up."""
    use = None if roles.radio is None else radios.air(config, radio_can[roles.radio.phy], roles.radio.driver)
    if roles.radio is None or use is None:
        _put_or_remove(places.hostapd_setup, None, 0o600)
        return
    if not places.setup_wifi.exists():
        from portal.staffing import new_password  # noqa: PLC0415  once in a box's life

        made = {"ssid": f"Gerbang-{roles.radio.mac.replace(':', '')[-4:]}", "password": new_password()}
        files.put(places.setup_wifi, json.dumps(made), 0o600)
    wifi = json.loads(places.setup_wifi.read_text(encoding="utf-8"))
    radio = radio_can[roles.radio.phy]
    text = radios.render_setup(config.wifi.country, wifi["ssid"], wifi["password"], radio, use)
    files.put(places.hostapd_setup, text, 0o600)


def _radios(country: str) -> dict[str, radios.Radio]:
    """What the radios can under this country's rules; nothing where there is none."""
    if not Path("/sys/class/ieee80211").is_dir() or not any(Path("/sys/class/ieee80211").iterdir()):
        return {}
    _unblock()
    commands.tried("iw", "reg", "set", country)
    end = time.monotonic() + COUNTRY_S
    while f"country {country}:" not in (commands.tried("iw", "reg", "get") or "") and time.monotonic() < end:
        time.sleep(0.1)
    return radios.parse(commands.tried("iw", "phy") or "")


def _unblock() -> None:
    """A radio may have been switched off by software at some time (rfkill.rst, `soft`)."""
    for switch in RFKILL.glob("rfkill*"):
        with contextlib.suppress(OSError):
            if (switch / "type").read_text(encoding="ascii").strip() == "wlan":
                (switch / "soft").write_text("0", encoding="ascii")


def _told(roles: Roles) -> list[str]:
    """Which card is what: each with its address and its place, one of which uplink.port in site.toml takes."""

    def card(device: Device) -> str:
        return f"{device.mac} at {device.path or 'no place'} ({device.driver})"

    if roles.uplink_now is not None:
        found = [f"uplink: {card(roles.uplink_now)}"]
    elif roles.plugged:
        found = ["uplink: belum ada apa-apa di USB / nothing is plugged into USB yet"]
    else:
        found = ["uplink: kartunya tidak ada; lihat uplink.port di site.toml / not there; see uplink.port in site.toml"]
    found += [f"lan{number}: {card(port)}" for number, port in enumerate(roles.ports, 1)]
    if roles.radio is not None:
        found.append(f"radio: {card(roles.radio)}")
    elif not roles.ports:
        found.append(
            "LAN: tidak ada port maupun radio. Pasang kartu jaringan USB, atau lihat uplink.port di site.toml."
        )
        hint = "plug in a USB network card, or see uplink.port in site.toml."
        found.append(f"The LAN has neither a port nor a radio: {hint}")
    return found


if __name__ == "__main__":
    sys.exit(main())
