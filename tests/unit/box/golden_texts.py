"""The cases whose rendered text stands in tests/unit/box/golden; `python tests/unit/box/golden_texts.py` renews them.

Read the difference before you keep it: these texts are what a box in a village does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from portal.box import networkd, radio, services
from portal.box.interfaces import Device, Medium, decide
from portal.box.places import Places
from portal.config import Lan, Management, Site, SiteConfig, Uplink, Wifi

GOLDEN = Path(__file__).parent / "golden"
SAMPLES = Path(__file__).parent / "samples"

FIRST = Device("eth0", "02:00:00:00:00:01", "pci-0000:01:00.0", "pci", "r8169")
SECOND = Device("eth1", "02:00:00:00:00:02", "pci-0000:02:00.0", "pci", "r8169")
NOWHERE = Device("eth2", "02:00:00:00:00:03", "", "platform", "stmmac")
AIR = Device("wlan0", "02:00:00:00:00:05", "platform-fe300000.mmcnr", "sdio", "brcmfmac", Medium.RADIO, "phy0")
CARDS = [FIRST, SECOND, NOWHERE, AIR]

PPPOE = Uplink(kind="pppoe", user="122@telkom.net", password="rahasia 1", vlan=100)
STATIC = Uplink(kind="static", address="203.0.113.10/30", gateway="203.0.113.9", dns=("203.0.113.53",))
OFFICE = Management(vlan=99, address="10.20.0.12/24", ssh_from=("10.20.0.0/16",))


def config(uplink: Uplink | None = None, **more: object) -> SiteConfig:
    return SiteConfig(site=Site(code="64.03.01.2001"), uplink=uplink or Uplink(), **more)  # type: ignore[arg-type]


def networks(wanted: SiteConfig) -> Callable[[], str]:
    def text() -> str:
        written = networkd.files(wanted, decide(CARDS, wanted.uplink))
        return "".join(f"==> {name} <==\n{written[name]}\n" for name in sorted(written))

    return text


def setup() -> str:
    written = networkd.setup_files(config(), decide(CARDS, Uplink()))
    return "".join(f"==> {name} <==\n{written[name]}\n" for name in sorted(written))


def hostapd(sample: str, wanted: SiteConfig, driver: str) -> Callable[[], str]:
    def text() -> str:
        (one, *_) = radio.parse((SAMPLES / f"iw-phy-{sample}.txt").read_text()).values()
        use = radio.air(wanted, one, driver)
        assert use is not None
        return "".join(f"# {note}\n" for note in use.notes) + radio.render(wanted, one, use)

    return text


def hostapd_setup() -> str:
    (one, *_) = radio.parse((SAMPLES / "iw-phy-hwsim.txt").read_text()).values()
    use = radio.air(config(), one, "mac80211_hwsim")
    assert use is not None
    return radio.render_setup("ID", "Gerbang-Setup-0a11", "katak-biru-7", one, use)


CASES: dict[str, Callable[[], str]] = {
    "networkd-dhcp": networks(config()),
    "networkd-static-no-ipv6": networks(config(STATIC, lan=Lan(ipv6=False, isolate=False))),
    "networkd-pppoe-vlan": networks(config(PPPOE)),
    "networkd-vlan-management": networks(config(Uplink(vlan=100), management=OFFICE)),
    "networkd-management-dhcp": networks(config(management=Management(vlan=99))),
    "networkd-lte": networks(config(Uplink(kind="lte"))),
    "networkd-usb-card": networks(config(Uplink(port="usb"))),
    "networkd-setup": setup,
    "hostapd-owe": hostapd("hwsim", config(wifi=Wifi(ssid="Wi-Fi Desa Muara Kaman", max_stations=30)), "hwsim"),
    "hostapd-5ghz": hostapd("hwsim", config(wifi=Wifi(channel=36, owe=False), lan=Lan(isolate=False)), "hwsim"),
    "hostapd-raspberry": hostapd("brcmfmac", config(wifi=Wifi(ssid="Désa")), "brcmfmac"),
    "hostapd-setup": hostapd_setup,
    "chrony": lambda: services.chrony(Places()),
    "pppd": lambda: services.ppp_options(config(PPPOE)),
    "pppd-own-resolvers": lambda: services.ppp_options(config(replace_dns(PPPOE))),
    "sshd": lambda: services.sshd(config(management=OFFICE)),
    "sshd-nobody": lambda: services.sshd(config(management=Management(ssh_from=()))),
    "dnsmasq-setup": services.setup_dnsmasq,
    "resolv": lambda: services.resolvers(["203.0.113.53", "2001:db8::53"]),
}


def replace_dns(uplink: Uplink) -> Uplink:
    from msgspec import structs

    return structs.replace(uplink, dns=("203.0.113.53",), vlan=None)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, render in CASES.items():
        (GOLDEN / f"{name}.txt").write_text(render())
