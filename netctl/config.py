"""Read the GatewayConfig file and check that it does not contradict itself. It must not know the kernel."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from netctl.api.errors import CONFIG, NetctlError
from netctl.api.types import GatewayConfig

MAX_SOCKET_PATH = 107  # sun_path of unix(7), less the final NUL
HINT = "`gerbang` writes this file from site.toml; correct it there."


def load(path: str | os.PathLike[str]) -> GatewayConfig:
    """The configuration. Raises NetctlError ``config`` with the file, the field and what is wrong."""
    try:
        config = msgspec.json.decode(Path(path).read_bytes(), type=GatewayConfig)
    except OSError as error:
        raise NetctlError(CONFIG, f"The configuration {path} cannot be read: {error.strerror}.", HINT) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise NetctlError(CONFIG, f"The configuration {path} is wrong: {error}.", HINT) from error
    mistakes = check(config)
    if mistakes:
        raise NetctlError(CONFIG, f"The configuration {path} is wrong: {' '.join(mistakes)}", HINT)
    return config


def check(config: GatewayConfig) -> list[str]:
    """One sentence for each contradiction; empty: none."""
    mistakes = [*_check_lan(config.lan_address), *_check_ula(config.ula_prefix)]
    if config.lan_interface == config.uplink_interface:
        mistakes.append(f"lan_interface and uplink_interface are both {config.lan_interface}.")
    mistakes += [*_check_ports(config), *_check_garden(config.garden_networks), *_check_blocked(config.block_address)]
    for name, path in (("socket_path", config.socket_path), ("state_path", config.state_path)):
        if not path.startswith("/"):
            mistakes.append(f"{name} {path!r} does not start with /.")
    if config.socket_path == config.state_path:
        mistakes.append(f"socket_path and state_path are both {config.socket_path}.")
    if len(os.fsencode(config.socket_path)) > MAX_SOCKET_PATH:
        mistakes.append(f"socket_path is longer than {MAX_SOCKET_PATH} bytes, which no Unix socket can be.")
    if any(uid != 0 for uid in config.writers) and config.socket_group is None:
        mistakes.append("writers names users, but without socket_group none of them can open the socket.")
    return mistakes


def _check_lan(text: str) -> list[str]:
    try:
        interface = ipaddress.IPv4Interface(text)
    except ValueError as error:
        return [f"lan_address is no IPv4 address with a prefix length: {error}."]
    network = interface.network
    if not 16 <= network.prefixlen <= 30:
        return [f"lan_address {text}: the prefix length must be 16 to 30 (the address set holds a /16 at most)."]
    if interface.ip in (network.network_address, network.broadcast_address):
        return [f"lan_address {text} is its network's own or broadcast address, not a gateway's."]
    if interface.ip.is_multicast or interface.ip.is_loopback or interface.ip.is_unspecified:
        return [f"lan_address {text} is no address for a LAN."]
    return []


def _check_ports(config: GatewayConfig) -> list[str]:
    mistakes = []
    if config.portal_port == config.portal_tls_port:
        mistakes.append(f"portal_port and portal_tls_port are both {config.portal_port}.")
    if config.staff_port is not None and config.staff_port in (config.portal_port, config.portal_tls_port):
        mistakes.append(f"staff_port and a port of the portal are both {config.staff_port}.")
    if config.staff_port in (53, 80, 443):
        mistakes.append(f"staff_port {config.staff_port} is where the gateway answers everybody.")
    return mistakes


def _check_garden(networks: Iterable[str]) -> list[str]:
    mistakes = []
    for text in networks:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            mistakes.append(f"garden_networks: {error}.")
        else:
            if network.prefixlen == 0:
                mistakes.append(f"garden_networks: {text} is the whole Internet.")
    return mistakes


def _check_blocked(text: str | None) -> list[str]:
    if text is None:
        return []
    try:
        ipaddress.IPv4Address(text)
    except ValueError as error:
        return [f"block_address is no IPv4 address: {error}."]
    return []


def _check_ula(text: str | None) -> list[str]:
    if text is None:
        return []
    try:
        network = ipaddress.IPv6Network(text)
    except ValueError as error:
        return [f"ula_prefix is no IPv6 prefix: {error}."]
    if network.prefixlen != 64 or not network.subnet_of(ipaddress.IPv6Network("fc00::/7")):
        return [f"ula_prefix {text} is not a /64 within fc00::/7 (RFC 4193)."]
    return []
