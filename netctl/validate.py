"""Refuse a desired state that contradicts itself or the LAN, naming the grant. It must not know the kernel.

Shapes and ranges of single fields were checked when the message was decoded (netctl.api.types).
"""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from netctl.api.errors import REFUSED, NetctlError
from netctl.api.types import DesiredState, GatewayConfig, Grant

T = TypeVar("T")


class Validator:
    """Checks whole pushes; grants that the last accepted push held unchanged are not looked into again."""

    def __init__(self, config: GatewayConfig) -> None:
        interface = ipaddress.IPv4Interface(config.lan_address)
        network = interface.network
        self._lan = str(network)
        self._first, self._last = int(network.network_address), int(network.broadcast_address)
        self._gateway = int(interface.ip)

    def check(self, state: DesiredState, accepted: Mapping[int, Grant]) -> None:
        """Raises NetctlError ``refused``, in one sentence; then nothing of the push is used."""
        grants = state.grants
        if len({g.id for g in grants}) < len(grants):
            raise _refusal(f"Two grants have the id {_twice(g.id for g in grants)}.")
        if len({g.mac for g in grants}) < len(grants):
            mac = _twice(g.mac for g in grants)
            raise _refusal(f"Grants {_ids(g for g in grants if g.mac == mac)} are for the same device {mac}.")
        ipv4s = [g.ipv4 for g in grants if g.ipv4 is not None]
        if len(set(ipv4s)) < len(ipv4s):
            ipv4 = _twice(ipv4s)
            raise _refusal(f"Grants {_ids(g for g in grants if g.ipv4 == ipv4)} have the same address {ipv4}.")
        for grant in grants:
            if accepted.get(grant.id) != grant:
                self._check_mac(grant)
                self._check_ipv4(grant)

    def _check_mac(self, grant: Grant) -> None:
        if int(grant.mac[:2], 16) & 1:
            raise _refusal(f"Grant {grant.id} is for {grant.mac}, which is a multicast address and no device.")
        if grant.mac == "00:00:00:00:00:00":
            raise _refusal(f"Grant {grant.id} is for {grant.mac}, which is no device.")

    def _check_ipv4(self, grant: Grant) -> None:
        if grant.ipv4 is None:
            return
        try:
            number = int.from_bytes(socket.inet_pton(socket.AF_INET, grant.ipv4), "big")
        except OSError:
            raise _refusal(f"Grant {grant.id} has {grant.ipv4}, which is no IPv4 address.") from None
        if not self._first <= number <= self._last:
            raise _refusal(f"Grant {grant.id} has {grant.ipv4}, which is outside the LAN {self._lan}.")
        if number == self._gateway:
            raise _refusal(f"Grant {grant.id} has {grant.ipv4}, which is the gateway's own address.")
        if number in (self._first, self._last):
            raise _refusal(f"Grant {grant.id} has {grant.ipv4}, which is the LAN's network or broadcast address.")


def _twice(values: Iterable[T]) -> T:
    return next(value for value, times in Counter(values).items() if times > 1)


def _ids(grants: Iterable[Grant]) -> str:
    return " and ".join(str(g.id) for g in grants)


def _refusal(message: str) -> NetctlError:
    return NetctlError(REFUSED, message, "Nothing of this push was applied; correct this grant and push again.")
