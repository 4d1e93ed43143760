"""A GatewayConfig file is believed only if it is whole and does not contradict itself; the sentence names the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from netctl.api.errors import CONFIG, NetctlError
from netctl.config import load
from tests.unit.netctl.bench import config


def write(path: Path, **changes: Any) -> Path:
    values = {**msgspec.to_builtins(config("/run/gerbang")), **changes}
    path.write_bytes(msgspec.json.encode(values))
    return path


def test_a_right_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert load(write(tmp_path / "c.json")) == config("/run/gerbang")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, "unknown field `colour`"),
        ({"lan_interface": "lan0; reboot"}, "$.lan_interface"),
        ({"portal_port": 0}, "$.portal_port"),
        ({"tick_s": 0}, "$.tick_s"),
        ({"lan_interface": "wan0"}, "lan_interface and uplink_interface are both wan0"),
        ({"lan_address": "10.77.0.1"}, "prefix length must be 16 to 30"),
        ({"lan_address": "10.0.0.1/8"}, "prefix length must be 16 to 30"),
        ({"lan_address": "10.77.0.0/20"}, "network's own or broadcast address"),
        ({"lan_address": "10.77.15.255/20"}, "network's own or broadcast address"),
        ({"lan_address": "224.0.0.1/20"}, "no address for a LAN"),
        ({"lan_address": "127.0.0.1/20"}, "no address for a LAN"),
        ({"lan_address": "fd00::1/64"}, "lan_address is no IPv4 address"),
        ({"ula_prefix": "fd00:77::1/64"}, "ula_prefix is no IPv6 prefix"),
        ({"ula_prefix": "fd00:77::/48"}, "is not a /64 within fc00::/7"),
        ({"ula_prefix": "2001:db8::/64"}, "is not a /64 within fc00::/7"),
        ({"portal_tls_port": 8080}, "portal_port and portal_tls_port are both 8080"),
        ({"socket_path": "netctl.sock"}, "socket_path 'netctl.sock' does not start with /"),
        ({"state_path": "/run/gerbang/netctl.sock"}, "socket_path and state_path are both"),
        ({"socket_path": "/run/" + "x" * 110}, "longer than 107 bytes"),
        ({"writers": [812]}, "without socket_group"),
        ({"staff_port": 8080}, "staff_port and a port of the portal are both 8080"),
        ({"portal_tls_port": 8443, "staff_port": 8443}, "staff_port and a port of the portal are both 8443"),
        ({"staff_port": 443}, "staff_port 443 is where the gateway answers everybody"),
        ({"garden_networks": ["kaltimprov.go.id"]}, "garden_networks: 'kaltimprov.go.id' does not appear to be"),
        ({"garden_networks": ["203.0.113.7/24"]}, "garden_networks: 203.0.113.7/24 has host bits set"),
        ({"garden_networks": ["::/0"]}, "garden_networks: ::/0 is the whole Internet"),
        ({"block_address": "192.0.2.256"}, "block_address is no IPv4 address"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NetctlError) as mistake:
        load(write(tmp_path / "c.json", **changes))
    assert mistake.value.code == CONFIG
    assert words in mistake.value.message
    assert "c.json" in mistake.value.message


@pytest.mark.parametrize("content", [b"", b"[]", b"lan0", b"\xff\xfe", b"{" * 100_000])
def test_what_is_no_configuration_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(NetctlError, match=r"c\.json is wrong"):
        load(tmp_path / "c.json")


def test_all_contradictions_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(NetctlError) as mistake:
        load(write(tmp_path / "c.json", lan_interface="wan0", portal_tls_port=8080))
    assert "lan_interface" in mistake.value.message
    assert "portal_tls_port" in mistake.value.message


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(NetctlError, match="cannot be read: No such file"):
        load(tmp_path / "nothing.json")
