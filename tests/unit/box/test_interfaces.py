"""The same cards get the same roles, whatever the kernel called them and in which order it found them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from portal.box import devices
from portal.box.interfaces import TETHERS, Device, Match, Medium, Roles, decide, moves
from portal.config import Uplink

PCI1 = Device("eth0", "02:00:00:00:00:01", "pci-0000:01:00.0", "pci", "r8169")
PCI2 = Device("eth1", "02:00:00:00:00:02", "pci-0000:02:00.0", "pci", "r8169")
DONGLE = Device("eth2", "02:00:00:00:00:03", "pci-0000:00:14.0-usb-0:2:1.0", "usb", "ax88179_178a")
PHONE = Device("usb0", "02:00:00:00:00:04", "pci-0000:00:14.0-usb-0:3:1.0", "usb", "rndis_host")
RADIO = Device("wlan0", "02:00:00:00:00:05", "pci-0000:03:00.0", "pci", "iwlwifi", Medium.RADIO, "phy0")
PI3 = Device("eth0", "b8:27:eb:00:00:01", "platform-3f980000.usb-usb-0:1.1:1.0", "usb", "smsc95xx")


def names(found: Roles) -> list[str]:
    return [device.mac for device in found.ports]


def test_the_built_in_card_of_the_lowest_place_is_the_uplink() -> None:
    roles = decide([DONGLE, PCI2, RADIO, PHONE, PCI1], Uplink())
    assert roles.uplink_now == PCI1
    assert roles.uplink == Match(path="pci-0000:01:00.0")
    assert roles.ports == (PCI2, DONGLE)
    assert roles.radio == RADIO
    assert not roles.plugged
    assert roles.names("wan0") == {"eth0": "wan0", "eth1": "lan1", "eth2": "lan2", "wlan0": "ap0"}


def test_a_raspberry_pi_3_has_its_own_card_on_usb() -> None:
    first = replace(DONGLE, path="platform-3f980000.usb-usb-0:1.0:1.0")
    assert decide([first, PI3], Uplink()).uplink_now == PI3


def test_a_telephone_that_is_charged_is_no_port_of_the_lan() -> None:
    assert PHONE not in decide([PCI1, PHONE], Uplink()).ports


def test_a_port_may_be_named_by_address_or_by_place() -> None:
    for port in (PCI2.mac, PCI2.path):
        roles = decide([PCI1, PCI2], Uplink(port=port))
        assert roles.uplink_now == PCI2
        assert roles.ports == (PCI1,)
    assert decide([PCI1], Uplink(port=PCI2.mac)).uplink == Match(mac=PCI2.mac)
    assert decide([PCI1], Uplink(port=PCI2.path)).uplink == Match(path=PCI2.path)


def test_a_named_port_that_is_not_there_leaves_no_other_card_in_its_place() -> None:
    roles = decide([PCI1], Uplink(port=PCI2.mac))
    assert roles.uplink_now is None
    assert roles.ports == (PCI1,)
    assert roles.names("wan0") == {"eth0": "lan1"}


def test_a_modem_is_a_port_of_a_bridge_that_is_always_there() -> None:
    roles = decide([PCI1, PHONE], Uplink(kind="usb"))
    assert roles.plugged
    assert roles.uplink == Match(drivers=TETHERS)
    assert roles.uplink_now == PHONE
    assert roles.ports == (PCI1,)
    assert PHONE.name not in roles.names("wan0")
    assert decide([PCI1], Uplink(kind="lte")).uplink == Match(drivers=TETHERS)


def test_any_usb_card_may_be_the_uplink() -> None:
    roles = decide([PCI1, DONGLE], Uplink(port="usb"))
    assert (roles.uplink_now, roles.plugged, roles.uplink) == (DONGLE, True, Match(bus="usb"))
    assert decide([PI3], Uplink(port="usb")).uplink_now is None


def test_two_cards_of_one_place_are_told_apart_by_address() -> None:
    twin = replace(PCI2, path=PCI1.path)
    roles = decide([twin, PCI1], Uplink())
    assert roles.uplink == Match(mac=PCI1.mac)


CARDS = st.builds(
    Device,
    name=st.just(""),
    mac=st.integers(0, 255).map(lambda last: f"02:00:00:00:00:{last:02x}"),
    path=st.sampled_from(["", "pci-0000:01:00.0", "pci-0000:02:00.0", "pci-0000:00:1f.6", "platform-fd580000.eth"]),
    bus=st.sampled_from(["pci", "usb", "platform", "virtio"]),
    driver=st.sampled_from(["r8169", "bcmgenet", "smsc95xx", "rndis_host", "cdc_ether", "ax88179_178a"]),
    medium=st.sampled_from(list(Medium)),
)
UPLINKS = st.builds(
    Uplink,
    kind=st.sampled_from(["dhcp", "static", "pppoe", "usb", "lte"]),
    port=st.sampled_from([None, "usb", "02:00:00:00:00:05", "pci-0000:02:00.0"]),
)


def nameless(roles: Roles) -> object:
    def who(device: Device | None) -> object:
        return device and (device.mac, device.path, device.bus, device.driver)

    return roles.uplink, roles.plugged, who(roles.uplink_now), [who(port) for port in roles.ports], who(roles.radio)


@given(st.lists(CARDS, max_size=7, unique_by=lambda card: card.mac), UPLINKS, st.randoms(use_true_random=False))
def test_any_order_of_discovery_gives_the_same_roles(cards: list[Device], uplink: Uplink, dice: random.Random) -> None:
    def found() -> list[Device]:
        shuffled = dice.sample(cards, len(cards))
        return [replace(card, name=f"eth{number}") for number, card in enumerate(shuffled)]

    first, second = found(), found()
    one, other = decide(first, uplink), decide(second, uplink)
    assert nameless(one) == nameless(other)
    for roles in (one, other):
        wanted = roles.names("wan0")
        assert len(set(wanted.values())) == len(wanted), "two cards of one name"
        assert roles.uplink_now not in roles.ports
        assert not any(port.tether for port in roles.ports)

    def of_each(roles: Roles, cards: list[Device]) -> dict[str, str]:
        by_name = {card.name: card.mac for card in cards}
        return {by_name[old]: new for old, new in roles.names("wan0").items()}

    assert of_each(one, first) == of_each(other, second)


@given(st.permutations(["wan0", "lan1", "lan2", "ap0", "eth7"]))
def test_renames_end_in_the_names_wanted_and_never_take_a_name_that_is_in_use(order: list[str]) -> None:
    wanted = dict(zip(["wan0", "lan1", "lan2", "ap0", "eth7"], order, strict=True))
    interfaces = {name: name for name in wanted}  # name now: who it was
    for old, new in moves(wanted):
        assert new not in interfaces
        interfaces[new] = interfaces.pop(old)
    assert {who: name for name, who in interfaces.items()} == wanted


def test_cards_are_read_from_sysfs(tmp_path: Path) -> None:
    net = tmp_path / "class/net"
    for name, kind, real in (("eth0", "1", True), ("lo", "772", False), ("br0", "1", False), ("wlan0", "1", True)):
        (net / name).mkdir(parents=True)
        (net / name / "type").write_text(f"{kind}\n")
        (net / name / "address").write_text("02:00:00:00:00:01\n")
        if real:
            below = tmp_path / "devices" / name
            (tmp_path / "bus/pci").mkdir(parents=True, exist_ok=True)
            (tmp_path / "bus/drivers/r8169").mkdir(parents=True, exist_ok=True)
            below.mkdir(parents=True)
            (below / "subsystem").symlink_to(tmp_path / "bus/pci")
            (below / "driver").symlink_to(tmp_path / "bus/drivers/r8169")
            (net / name / "device").symlink_to(below)
    (tmp_path / "phy/phy0").mkdir(parents=True)
    (net / "wlan0/phy80211").symlink_to(tmp_path / "phy/phy0")
    found = devices.present(tmp_path, lambda name: {"ID_PATH": f"pci-{name}"})
    assert found == [
        Device("eth0", "02:00:00:00:00:01", "pci-eth0", "pci", "r8169"),
        Device("wlan0", "02:00:00:00:00:01", "pci-wlan0", "pci", "r8169", Medium.RADIO, "phy0"),
    ]
