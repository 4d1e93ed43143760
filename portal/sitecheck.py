"""Finds contradictions between the keys of a site's configuration, and between it and this machine. It changes nothing.

It must not know TOML or how mistakes are printed.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import structs

from portal.blocklist import Blocklist, each, host_name, read_file
from portal.box import contradictions
from portal.config import Plan, SiteConfig
from portal.domain import hours
from portal.sitefinding import Finding

LANGUAGES: Final = Path(__file__).parent / "guest" / "translations"
ZONES: Final = {"wib": "Asia/Jakarta", "wita": "Asia/Makassar", "wit": "Asia/Jayapura"}
PRIVATE: Final = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))  # RFC 1918
RESERVED_PORTS: Final = {5353: "multicast DNS"}


def findings(config: SiteConfig, *, files: bool, here: bool) -> Iterator[Finding]:
    """All contradictions, in the order of the keys. ``files`` and ``here`` as in portal.site.check."""
    yield from _site(config)
    yield from _uplink(config)
    yield from _lan(config)
    yield from contradictions.findings(config)
    if len(config.wifi.ssid.encode()) > 32:
        size = len(config.wifi.ssid.encode())
        yield Finding("wifi.ssid", f"The name has {size} bytes as UTF-8; 32 fit.", "Shorten it, or use plain letters.")
    yield from _portal(config)
    if files:
        yield from _certificate(config, "portal")
    yield from _access(config)
    yield from _calendar(config)
    yield from _garden(config)
    yield from _block(config, files=files)
    yield from _staff(config)
    if files:
        yield from _certificate(config, "staff")
    yield from _office(config)
    yield from _plans(config)
    if here:
        yield from _machine(config)


@functools.cache
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
    if not _is_http(config.uplink.check_url):
        hint = "It must be plain http, as phones check it: http://connectivitycheck.gstatic.com/generate_204"
        yield Finding("uplink.check_url", f'"{config.uplink.check_url}" is not an http:// address.', hint)
    yield from _follow(config)


def _is_http(url: str) -> bool:
    from urllib.parse import urlsplit  # noqa: PLC0415

    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and bool(parts.hostname) and (parts.port or 80) > 0 and url.isascii()
    except ValueError:
        return False
    return usable and url.isprintable() and " " not in url


def _follow(config: SiteConfig) -> Iterator[Finding]:
    uplink, lan = config.uplink, _network(config)
    for least, most in (("min_down_kbit", "down_kbit"), ("min_up_kbit", "up_kbit")):
        low, high = getattr(uplink, least), getattr(uplink, most)
        if low is not None and high is not None and low > high:
            message = f"{low} kbit/s at least is more than {most} = {high} at most."
            yield Finding(f"uplink.{least}", message, f"Set it to {high} or less.", (f"uplink.{most}",))
    missing = [name for name in ("down_kbit", "up_kbit") if getattr(uplink, name) is None]
    if uplink.follow and missing:
        message = f"The rate cannot be followed without knowing the line's highest: {' and '.join(missing)}."
        hint = "Set them under [uplink] to what the line carries at its best."
        yield Finding("uplink.follow", message, hint, tuple(f"uplink.{name}" for name in missing))
    for number, text in enumerate(uplink.reflectors, 1):
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            message = f'Entry {number}, "{text}", is not an IPv4 address.'
            yield Finding("uplink.reflectors", message, 'Like "1.1.1.1".')
            continue
        if address.is_unspecified or address.is_multicast or address.is_loopback or address.is_link_local:
            message = f"Entry {number}, {text}, answers no ping from the Internet."
            yield Finding("uplink.reflectors", message, "Leave the key out for well-known ones.")
        elif lan and address in lan:
            message = f"Entry {number}, {text}, lies inside the LAN ({lan}); a reflector stands behind the uplink."
            yield Finding("uplink.reflectors", message, "Leave the key out for well-known ones.", ("lan.address",))


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
    yield from _reserved("portal.port", portal.port)
    yield from _reserved("portal.tls_port", portal.tls_port)
    if portal.name.endswith(".local"):
        message = f"{portal.name}: phones ask multicast DNS for names under .local, never the gateway."
        yield Finding("portal.name", message, 'Use another ending, like "gerbang.lan".')
    elif portal.name.rpartition(".")[2].isdigit():
        yield Finding("portal.name", f"{portal.name} is an address, not a name.", 'Use a name like "gerbang.lan".')
    yield from _pair("portal", portal.certificate, portal.key)


def _reserved(key: str, port: int) -> Iterator[Finding]:
    if port in RESERVED_PORTS:
        yield Finding(key, f"Port {port} belongs to {RESERVED_PORTS[port]}.", "Use another, like 8080 or 8443.")


def _pair(table: str, certificate: str | None, key: str | None) -> Iterator[Finding]:
    if certificate and not key:
        message, hint = "There is a certificate without its key.", "Add key = with the path of its private key."
        yield Finding(f"{table}.key", message, hint, (f"{table}.certificate",))
    if key and not certificate:
        message, hint = "There is a key without its certificate.", "Add certificate = with the path of the PEM file."
        yield Finding(f"{table}.certificate", message, hint, (f"{table}.key",))


def _certificate(config: SiteConfig, table: str) -> Iterator[Finding]:
    """``table`` is portal or staff: the pages of both are reached under the portal's name."""
    from portal import certificate  # noqa: PLC0415  loads OpenSSL; only with a certificate

    given = config.portal if table == "portal" else config.staff
    if not given.certificate or not given.key:
        return
    without = {"portal": "serve plain http", "staff": "let the gateway make one itself"}[table]
    try:
        found = certificate.read(given.certificate, given.key)
    except certificate.CertificateError as error:
        yield Finding(f"{table}.{error.part}", error.message, error.hint)
        return
    if found.not_after_s <= time.time():
        day = time.strftime("%Y-%m-%d", time.gmtime(found.not_after_s))
        hint = f"Renew it, or remove the keys certificate and key to {without}. If this clock is wrong, set it."
        yield Finding(f"{table}.certificate", f"The certificate expired on {day}.", hint)
    if not found.covers(config.portal.name):
        known = ", ".join(found.names) or "no name"
        message = f"The certificate is for {known}, not for {config.portal.name}."
        hint = "Set name = to a name in it, or get another."
        yield Finding(f"{table}.certificate", message, hint, ("portal.name",))


def _access(config: SiteConfig) -> Iterator[Finding]:
    methods, plan = config.access.methods, config.access.plan
    if twice := [method for method in dict.fromkeys(methods) if methods.count(method) > 1]:
        yield Finding("access.methods", f'"{twice[0]}" stands there twice.', "Name each way in once.")
    ids = [one.id for one in config.plan]
    if plan is not None and plan not in ids:
        written = ("plan", *(f"plan[{number}].id" for number in range(1, len(ids) + 1)))
        yield Finding("access.plan", f'There is no plan "{plan}".', f"There are: {', '.join(ids)}.", written)


def _calendar(config: SiteConfig) -> Iterator[Finding]:
    hint = 'Like "mon-fri 16:00-22:00"; docs/site-toml.md has more examples.'
    for sentence in hours.mistakes(config.hours.open):
        yield Finding("hours.open", sentence, hint)
    for number, plan in enumerate(config.plan, 1):
        for sentence in hours.mistakes(plan.hours or ()):
            yield Finding(f"plan[{number}].hours", sentence, hint)
    for number, closed in enumerate(config.closed, 1):
        if closed.last is not None and closed.last < closed.first:
            message = f"The last day, {closed.last}, comes before the first, {closed.first}."
            key, because = f"closed[{number}].last", (f"closed[{number}].first",)
            yield Finding(key, message, "For a single day leave `last` out.", because)


def _names(key: str, texts: tuple[str, ...]) -> Iterator[Finding]:
    for number, text in enumerate(texts, 1):
        if host_name(text) is None:
            hint = 'Write a name with a dot, like "kaltimprov.go.id": no address, no http://, no *, accents as xn--.'
            yield Finding(key, f'Entry {number}, "{text}", is not a host name.', hint)


def _garden(config: SiteConfig) -> Iterator[Finding]:
    yield from _names("garden.names", config.garden.names)
    blocked = Blocklist(each(structs.replace(config.block, file=None)))
    for number, text in enumerate(config.garden.names, 1):
        if blocked.covers(text):
            message = f"Entry {number}, {text}, is blocked by block.names, and what is blocked nobody reaches."
            yield Finding("garden.names", message, "Take it out of one of the two.", ("block.names",))
    lan = _network(config)
    for number, text in enumerate(config.garden.networks, 1):
        key, entry = "garden.networks", f"Entry {number}, {text},"
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            hint = 'Like "103.10.144.0/24", "103.10.144.7" or "2001:db8:7::/48"; host names belong in `names`.'
            yield Finding(key, f'Entry {number}, "{text}", is not an address or network.', hint)
            continue
        if network.prefixlen < (8 if network.version == 4 else 16):
            hint = "Name the networks that people shall reach without login."
            yield Finding(key, f"{entry} is so large that hardly anybody would need to log in.", hint)
        elif str(network) != text and network.network_address != _address(text):
            yield Finding(key, f"{entry} has bits set outside its prefix.", f'Did you mean "{network}"?')
        elif network.is_multicast or network.is_loopback or network.is_link_local or network.is_unspecified:
            yield Finding(key, f"{entry} does not lie behind the uplink.", "Leave it out.")
        elif lan and network.version == 4 and network.overlaps(lan):
            hint = "People reach the gateway itself anyway; each other is what `isolate` decides."
            yield Finding(key, f"{entry} overlaps the LAN ({lan}).", hint, ("lan.address",))


def _address(network: str) -> object:
    try:
        return ipaddress.ip_interface(network).ip
    except ValueError:
        return None


def _block(config: SiteConfig, *, files: bool) -> Iterator[Finding]:
    block, name = config.block, config.portal.name
    yield from _names("block.names", block.names)
    own = "The portal's own name falls under it; nobody would find the portal any more"
    if Blocklist(each(structs.replace(block, file=None))).covers(name):
        yield Finding("block.names", f"{own} ({name}).", "Take that entry out.", ("portal.name",))
    if not files or block.file is None:
        return
    try:
        listed, wrong = read_file(block.file)
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        hint = "Put the file there, readable for root, or leave the key out."
        yield Finding("block.file", f"The list {block.file} cannot be used: {why}.", hint)
        return
    if wrong:
        number, text = wrong[0]
        more = f" Nor are {len(wrong) - 1} more of its lines." if len(wrong) > 1 else ""
        message = f'Line {number} of {block.file}, "{text[:60]}", is not a host name.{more}'
        yield Finding("block.file", message, "One name a line, without addresses, http:// or *; # starts a comment.")
    elif Blocklist(listed).covers(name):
        yield Finding("block.file", f"{own} ({name}).", f"Take it out of {block.file}.", ("portal.name",))


def _staff(config: SiteConfig) -> Iterator[Finding]:
    staff, portal = config.staff, config.portal
    for key, port in (("portal.port", portal.port), ("portal.tls_port", portal.tls_port)):
        if staff.port == port:
            message = f"The staff pages cannot use port {port}, which is {key}."
            yield Finding("staff.port", message, "The usual one is 8444.", (key,))
            break
    yield from _reserved("staff.port", staff.port)
    yield from _pair("staff", staff.certificate, staff.key)
    if staff.speed_test_url and not _is_http(staff.speed_test_url):
        hint = "It must be plain http, or empty for no speed test."
        yield Finding("staff.speed_test_url", f'"{staff.speed_test_url}" is not an http:// address.', hint)


def _office(config: SiteConfig) -> Iterator[Finding]:
    if config.office.key is None:
        if config.log.nat:
            message = "The NAT log is on, and there is no office key to seal it for."
            hint = "Set office.key to the line that `gerbang office key` printed at the office, or log.nat to false."
            yield Finding("log.nat", message, hint, ("office.key",))
        return
    from portal import sealing  # noqa: PLC0415

    try:
        sealing.parse_office_key(config.office.key)
    except sealing.SealingError as error:
        yield Finding("office.key", error.message, error.hint)


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
        yield from _after_budget(plan, key)


def _after_budget(plan: Plan, key: str) -> Iterator[Finding]:
    """The slow rates matter where there is a budget, and the plan goes on after it."""
    if plan.after_budget != "slow" or (plan.daily_minutes is None and plan.daily_megabytes is None):
        return
    for name, slow, rate in (
        ("down_kbit", plan.slow_down_kbit, plan.down_kbit),
        ("up_kbit", plan.slow_up_kbit, plan.up_kbit),
    ):
        if rate is not None and slow > rate:
            message = f"{slow} kbit/s after the budget is more than the plan's {name} = {rate} before."
            yield Finding(f"{key}.slow_{name}", message, f"Set it to {rate} or less.", (f"{key}.{name}",))
        if plan.guaranteed_kbit > slow:
            message = f"{plan.guaranteed_kbit} kbit/s at least is more than slow_{name} = {slow} at most."
            hint = f"Set it to {slow} or less, or the slow rate higher."
            yield Finding(f"{key}.guaranteed_kbit", message, hint, (f"{key}.slow_{name}",))
            break


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
