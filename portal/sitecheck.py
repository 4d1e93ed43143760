"""Finds contradictions between the keys of a site's configuration, and between it and this machine. It changes nothing.

It must not know TOML or how mistakes are printed.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portal.config import SiteConfig

LANGUAGES: Final = Path(__file__).parent / "guest" / "translations"
ZONES: Final = {"wib": "Asia/Jakarta", "wita": "Asia/Makassar", "wit": "Asia/Jayapura"}
PRIVATE: Final = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))  # RFC 1918
RESERVED_PORTS: Final = {5353: "multicast DNS"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction at ``key``. It says nothing where one of the keys in ``because`` is wrong by itself."""

    key: str
    message: str
    hint: str
    because: tuple[str, ...] = ()


def findings(config: SiteConfig, *, files: bool, here: bool) -> Iterator[Finding]:
    """All contradictions, in the order of the keys. ``files`` and ``here`` as in portal.site.check."""
    yield from _site(config)
    yield from _uplink(config)
    yield from _lan(config)
    if len(config.wifi.ssid.encode()) > 32:
        size = len(config.wifi.ssid.encode())
        yield Finding("wifi.ssid", f"The name has {size} bytes as UTF-8; 32 fit.", "Shorten it, or use plain letters.")
    yield from _portal(config)
    if files:
        yield from _certificate(config)
    yield from _plans(config)
    if here:
        yield from _machine(config)


def languages() -> tuple[str, ...]:
    """Languages that the portal's pages exist in: one catalogue each, which a native speaker may add."""
    return tuple(sorted(file.parents[1].name for file in LANGUAGES.glob("*/LC_MESSAGES/*.po")))


def _site(config: SiteConfig) -> Iterator[Finding]:
    import zoneinfo  # noqa: PLC0415  needed here only, and this module stays in memory

    zone, language = config.site.timezone, config.site.language
    try:
        zoneinfo.ZoneInfo(zone)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        import difflib  # noqa: PLC0415

        close = ZONES.get(zone.lower()) or "".join(difflib.get_close_matches(zone, zoneinfo.available_timezones(), 1))
        hint = (
            f'Did you mean "{close}"?' if close else 'In Indonesia: "Asia/Jakarta", "Asia/Makassar" or "Asia/Jayapura".'
        )
        yield Finding("site.timezone", f'There is no time zone named "{zone}".', hint)
    if language not in languages():
        hint = f"There are: {', '.join(languages())}. docs/site-toml.md says how to add one."
        yield Finding("site.language", f'The portal has no catalogue for the language "{language}".', hint)


def _uplink(config: SiteConfig) -> Iterator[Finding]:
    for number, text in enumerate(config.uplink.dns, 1):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            yield Finding("uplink.dns", f'Entry {number}, "{text}", is not an IP address.', 'Like "203.0.113.53".')
            continue
        if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None):
            yield Finding(
                "uplink.dns", f"Entry {number}, {text}, cannot be a resolver.", "Ask the provider for theirs."
            )
        lan = _network(config)
        if lan and address in lan:
            message = f"Entry {number}, {text}, lies inside the LAN ({lan}); a resolver stands behind the uplink."
            yield Finding("uplink.dns", message, "Ask the provider for theirs.", ("lan.address",))
    from urllib.parse import urlsplit  # noqa: PLC0415

    url = config.uplink.check_url
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and bool(parts.hostname) and (parts.port or 80) > 0 and url.isascii()
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        hint = "It must be plain http, as phones check it: http://connectivitycheck.gstatic.com/generate_204"
        yield Finding("uplink.check_url", f'"{url}" is not an http:// address.', hint)


def _network(config: SiteConfig) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Interface(config.lan.address).network
    except ValueError:
        return None


def _lan(config: SiteConfig) -> Iterator[Finding]:
    key, text = "lan.address", config.lan.address
    if config.lan.interface == config.uplink.interface:
        message = f"The users' side and the provider's side are the same interface, {config.lan.interface}."
        yield Finding("lan.interface", message, "Give each its own.", ("uplink.interface",))
    network = _network(config)
    if network is None or "/" not in text:
        yield Finding(key, f'"{text}" is not an IPv4 address with its prefix length.', "Like 10.77.0.1/20.")
        return
    address = ipaddress.IPv4Interface(text).ip
    if network.prefixlen < 16:
        yield Finding(
            key, f"A /{network.prefixlen} is too large a LAN.", "From /16 to /28; /20 gives 4000 devices room."
        )
    if network.prefixlen > 28:
        yield Finding(
            key, f"A /{network.prefixlen} is too small a LAN.", "From /16 to /28; /20 gives 4000 devices room."
        )
    elif address in (network.network_address, network.broadcast_address):
        kind = "network's own" if address == network.network_address else "broadcast"
        yield Finding(key, f"{address} is the {kind} address of {network}.", f"Use {network.network_address + 1}.")
    if not any(address in private for private in PRIVATE):
        hint = "Use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16."
        yield Finding(key, f"{address} is not a private address (RFC 1918).", hint)


def _portal(config: SiteConfig) -> Iterator[Finding]:
    portal = config.portal
    if portal.port == portal.tls_port:
        message = f"http and https cannot both use port {portal.port}."
        yield Finding("portal.tls_port", message, "The usual pair is port 8080 and tls_port 8443.", ("portal.port",))
    for key, port in (("portal.port", portal.port), ("portal.tls_port", portal.tls_port)):
        if port in RESERVED_PORTS:
            yield Finding(key, f"Port {port} belongs to {RESERVED_PORTS[port]}.", "Use another, like 8080 or 8443.")
    if portal.name.endswith(".local"):
        message = f"{portal.name}: phones ask multicast DNS for names under .local, never the gateway."
        yield Finding("portal.name", message, 'Use another ending, like "gerbang.lan".')
    elif portal.name.rpartition(".")[2].isdigit():
        yield Finding("portal.name", f"{portal.name} is an address, not a name.", 'Use a name like "gerbang.lan".')
    if portal.certificate and not portal.key:
        message = "There is a certificate without its key."
        yield Finding("portal.key", message, "Add key = with the path of its private key.", ("portal.certificate",))
    if portal.key and not portal.certificate:
        message = "There is a key without its certificate."
        yield Finding(
            "portal.certificate", message, "Add certificate = with the path of the PEM file.", ("portal.key",)
        )


def _certificate(config: SiteConfig) -> Iterator[Finding]:
    from portal import certificate  # noqa: PLC0415  loads OpenSSL; only with a certificate

    portal = config.portal
    if not portal.certificate or not portal.key:
        return
    try:
        found = certificate.read(portal.certificate, portal.key)
    except certificate.CertificateError as error:
        yield Finding(f"portal.{error.part}", error.message, error.hint)
        return
    if found.not_after_s <= time.time():
        day = time.strftime("%Y-%m-%d", time.gmtime(found.not_after_s))
        hint = "Renew it, or remove the keys certificate and key to serve plain http. If this clock is wrong, set it."
        yield Finding("portal.certificate", f"The certificate expired on {day}.", hint)
    if not found.covers(portal.name):
        names = ", ".join(found.names) or "no name"
        message = f"The certificate is for {names}, not for {portal.name}."
        yield Finding("portal.certificate", message, "Set name = to a name in it, or get another.", ("portal.name",))


def _plans(config: SiteConfig) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for number, plan in enumerate(config.plan, 1):
        key = f"plan[{number}]"
        if plan.id in first:
            message = f'The id "{plan.id}" is already that of plan[{first[plan.id]}].'
            yield Finding(f"{key}.id", message, "Give each plan its own id.", (f"plan[{first[plan.id]}].id",))
        first.setdefault(plan.id, number)
        for name, rate, line in (
            ("down_kbit", plan.down_kbit, config.uplink.down_kbit),
            ("up_kbit", plan.up_kbit, config.uplink.up_kbit),
        ):
            because = (f"uplink.{name}",)
            if rate is not None and line is not None and rate > line:
                message = f"{rate} kbit/s is faster than the line (uplink.{name} = {line})."
                yield Finding(f"{key}.{name}", message, f"Set it to {line} or less.", because)
            if rate is not None and plan.guaranteed_kbit > rate:
                message = f"{plan.guaranteed_kbit} kbit/s at least is more than the plan's {name} = {rate} at most."
                yield Finding(f"{key}.guaranteed_kbit", message, f"Set it to {rate} or less.", (f"{key}.{name}",))
            elif line is not None and plan.guaranteed_kbit > line:
                message = (
                    f"{plan.guaranteed_kbit} kbit/s for each device is more than the line (uplink.{name} = {line})."
                )
                yield Finding(f"{key}.guaranteed_kbit", message, f"Set it to {line} or less.", because)


def _machine(config: SiteConfig) -> Iterator[Finding]:
    names = interfaces()
    for table, interface in (("lan", config.lan.interface), ("uplink", config.uplink.interface)):
        if interface not in names:
            there = ", ".join(sorted(set(names) - {"lo"})) or "none"
            hint = f"Interfaces here: {there}."
            yield Finding(f"{table}.interface", f"This machine has no interface {interface}.", hint)
    lan = _network(config)
    for interface, network in routes():
        if lan and interface != config.lan.interface and network.overlaps(lan):
            side = "the uplink" if interface == config.uplink.interface else f"interface {interface}"
            message = f"The LAN {lan} overlaps {network}, which is at {side}; devices there would be out of reach."
            hint = f"Choose another network, like {_free()}."
            yield Finding("lan.address", message, hint, ("lan.interface", "uplink.interface"))


def interfaces() -> list[str]:
    """The names of this network namespace's interfaces."""
    return [name for _, name in socket.if_nameindex()]


def routes() -> list[tuple[str, ipaddress.IPv4Network]]:
    """Networks that this network namespace reaches through each interface now, default routes left out."""
    return parse_routes(Path("/proc/net/route").read_text(encoding="ascii"))


def parse_routes(table: str) -> list[tuple[str, ipaddress.IPv4Network]]:
    """What stands in /proc/net/route: hexadecimal in host byte order, destination second, mask eighth column.

    Source: fib_route_seq_show in net/ipv4/fib_trie.c.
    """
    found = []
    for line in table.splitlines()[1:]:
        columns = line.split()
        address = int(columns[1], 16).to_bytes(4, "little")
        bits = int(columns[7], 16).bit_count()
        if bits:
            found.append((columns[0], ipaddress.IPv4Network((address, bits))))
    return found


def _free() -> str:
    """A LAN address that overlaps nothing this machine has a route to."""
    taken = [net for _, net in routes()]
    for second in (77, *range(78, 256), *range(77)):
        candidate = ipaddress.IPv4Interface(f"10.{second}.0.1/20")
        if not any(net.overlaps(candidate.network) for net in taken):
            return str(candidate)
    return "192.168.77.1/24"
