"""The static rules as a pure function of the configuration: frozen values whose text is what ``iptables -S`` prints.

It must not know how a rule gets into the kernel (netctl.kernel.rules) nor who is admitted: that is in the sets.

Own chains only, jumped to from position 1 of the built-in ones:
    filter  FORWARD      who may pass: members of both directions' sets, and everybody to the walled garden and its
                         answers back; all else is refused, established or not, and the blocked address to members too
    filter  INPUT        what a device may ask of the gateway; what nobody else may
    nat     PREROUTING   port 80 of those who are not members, but not the garden's, of the gateway's own addresses
                         and of the blocked address -> the portal
    nat     POSTROUTING  masquerade of the LAN's private addresses
    mangle  PREROUTING   drop what comes from the LAN under an address that is not of the LAN, and unasked from outside
    mangle  FORWARD      count in the sets, take the HTB class from them, clamp the MSS
What the garden and the blocked address need costs a member's packet nothing: the one is asked where membership has
failed, the other is a comparison that each rule makes anyway.
Port 443 is never redirected except on the gateway's own addresses. Refusal is a TCP reset or an ICMP answer, never
silence (0.2 s instead of 20 s until a phone notices), but for strangers on the uplink and a DNS flood.
"""

from __future__ import annotations

import ipaddress
from typing import Final, Literal

from msgspec import Struct

from netctl.api.types import GatewayConfig
from netctl.kernel.garden import GARDEN4, GARDEN6
from netctl.kernel.sets import DN4, DN6, ROOT_MAJOR, UP4, UP6
from netctl.kernel.shaping import GARDEN_MINOR
from netctl.ops import Direction

Family = Literal[4, 6]
Value = str | tuple[str, ...]
Options = tuple[tuple[str, Value], ...]

PREFIX: Final = "GERBANG_"
TABLES: Final = ("filter", "nat", "mangle")  # in the order in which they are put in: what refuses comes first
VERDICTS: Final = ("ACCEPT", "DROP", "RETURN")
BUILT_IN: Final = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
NEW_CONNECTIONS_PER_S: Final = 100  # of one device to the portal; a page needs one
_UP, _DOWN, _INPUT, _LAN = PREFIX + "UP", PREFIX + "DOWN", PREFIX + "INPUT", PREFIX + "LAN"
_DNS, _PORTAL, _UNASKED = PREFIX + "DNS", PREFIX + "PORTAL", PREFIX + "UNASKED"
_GARDEN_UP, _GARDEN_DOWN = PREFIX + "GARDEN_UP", PREFIX + "GARDEN_DOWN"
_PREROUTING, _POSTROUTING = PREFIX + "PREROUTING", PREFIX + "POSTROUTING"


class Match(Struct, frozen=True):
    """One ``-m``: an option's value is a string, several words, or a tuple that begins with ``!`` (negated)."""

    name: str
    options: Options


class Rule(Struct, frozen=True, kw_only=True):
    """One rule; its text is the line that ``iptables -S`` prints. In-interface and destination may begin with ``!``."""

    table: str
    chain: str
    target: str
    options: Options = ()
    source: str | None = None
    destination: str | None = None
    in_interface: str | None = None
    out_interface: str | None = None
    protocol: str | None = None
    matches: tuple[Match, ...] = ()

    def __str__(self) -> str:
        words = ["-A", self.chain]
        if self.source:
            words += ["-s", self.source]
        if self.destination:
            words += ["!"] if self.destination.startswith("!") else []
            words += ["-d", self.destination.removeprefix("!")]
        if self.in_interface:
            words += ["!"] if self.in_interface.startswith("!") else []
            words += ["-i", self.in_interface.removeprefix("!")]
        if self.out_interface:
            words += ["-o", self.out_interface]
        if self.protocol:
            words += ["-p", self.protocol]
        for match in self.matches:
            words += ["-m", match.name, *_words(match.options)]
        return " ".join([*words, "-j", self.target, *_words(self.options)])


def _words(options: Options) -> list[str]:
    words: list[str] = []
    for name, value in options:
        values = (value,) if isinstance(value, str) else value
        if values[0] == "!":
            words.append("!")
            values = values[1:]
        words += [f"--{name}", *(v for v in values if v)]
    return words


def ruleset(
    config: GatewayConfig, family: Family, keyed_by_mac: bool, nat: bool = True, garden: bool = True
) -> tuple[Rule, ...]:
    """All rules of one family in order.

    ``keyed_by_mac``: its up set holds (address, MAC); ``nat``: there is a nat table; ``garden``: there are its sets.
    """
    up, down = (UP4, DN4) if family == 4 else (UP6, DN6)
    sender = _set(up, "src,src" if keyed_by_mac else "src")
    rules = [
        *_filter_forward(config, family, sender, _set(down, "dst")),
        *(_garden(config, family, _set(down, "src")) if garden else ()),
        *_refuse_the_rest(family),
        *_filter_input(config, family, sender),
        *(_nat(config, family, sender, garden) if nat else ()),
        *_forged(config, family, sender),
        *_mangle(config, family, sender, _set(down, "dst")),
    ]
    return tuple(sorted(rules, key=lambda rule: TABLES.index(rule.table)))


def extensions(rules: tuple[Rule, ...]) -> tuple[tuple[str, str], ...]:
    """The kernel's extensions that the rules need, ("match" | "target", name), sorted."""
    needed = {("match", match.name) for rule in rules for match in rule.matches}
    needed |= {("target", r.target) for r in rules if r.target not in VERDICTS and not r.target.startswith(PREFIX)}
    return tuple(sorted(needed))


# --- words ------------------------------------------------------------------------------------------------------------


def _set(name: str, key: str) -> tuple[str, str]:
    return (name, key)


def _member(of: tuple[str, str], *, absent: bool = False) -> Match:
    """Membership without counting: mangle's SET has counted the packet already, or it is not the Internet's."""
    return Match("set", (("match-set", ("!", *of) if absent else of), ("update-counters", ("!", ""))))


def _established(*, absent: bool = False) -> Match:
    states = "RELATED,ESTABLISHED"
    return Match("conntrack", (("ctstate", ("!", states) if absent else states),))


def _port(protocol: str, number: int) -> Match:
    return Match(protocol, (("dport", str(number)),))


def _portal_ports(config: GatewayConfig) -> list[int]:
    ports = (config.portal_port, config.portal_tls_port, config.staff_port)
    return sorted({port for port in ports if port is not None})


def _blocked(config: GatewayConfig, family: Family) -> str | None:
    return f"{config.block_address}/32" if config.block_address and family == 4 else None


def _in_garden(family: Family, key: str) -> Match:
    return _member(_set(GARDEN4 if family == 4 else GARDEN6, key))


def _per_source(name: str, per_s: int, burst: int) -> Match:
    """At most ``per_s`` of each source address.

    The rate is part of the table's name, because a new rule that finds a table of its name takes it over with
    the rate of the old rule (net/netfilter/xt_hashlimit.c, htable_find_get).
    """
    return Match(
        "hashlimit",
        (
            ("hashlimit-upto", f"{per_s}/sec"),
            ("hashlimit-burst", str(burst)),
            ("hashlimit-mode", "srcip"),
            ("hashlimit-name", f"gerbang_{name}_{per_s}"),
            ("hashlimit-htable-max", "65536"),
            # forgotten once the bucket is full again; python-iptables needs it given
            ("hashlimit-htable-expire", str(max(1000, burst * 1000 // per_s))),
        ),
    )


def _too_many_connections(config: GatewayConfig, family: Family) -> Match:
    """One address has more tracked connections that came past this rule than a device may have."""
    return Match(
        "connlimit",
        (
            ("connlimit-above", str(config.connections_per_device)),
            ("connlimit-mask", "32" if family == 4 else "128"),
            ("connlimit-saddr", ""),
        ),
    )


def _reject(chain: str, family: Family) -> list[Rule]:
    """Refuse everything that comes here."""
    prohibited = "icmp-admin-prohibited" if family == 4 else "icmp6-adm-prohibited"
    return [
        Rule(table="filter", chain=chain, protocol="tcp", target="REJECT", options=(("reject-with", "tcp-reset"),)),
        Rule(table="filter", chain=chain, target="REJECT", options=(("reject-with", prohibited),)),
    ]


# --- tables -----------------------------------------------------------------------------------------------------------


def _filter_forward(
    config: GatewayConfig, family: Family, sender: tuple[str, str], receiver: tuple[str, str]
) -> list[Rule]:
    lan, uplink, blocked = config.lan_interface, config.uplink_interface, _blocked(config, family)
    return [
        Rule(table="filter", chain="FORWARD", in_interface=lan, target=_UP),
        Rule(table="filter", chain="FORWARD", out_interface=lan, target=_DOWN),
        Rule(
            table="filter",
            chain=_UP,
            destination=blocked and f"!{blocked}",
            out_interface=uplink,
            matches=(_member(sender),),
            target="ACCEPT",
        ),
        Rule(table="filter", chain=_DOWN, in_interface=uplink, matches=(_member(receiver),), target="ACCEPT"),
    ]


def _garden(config: GatewayConfig, family: Family, members_address: tuple[str, str]) -> list[Rule]:
    """Who is no member reaches what is in the garden's set and is answered from there, through the garden's class.

    Not from a member's address: the answers would go to that member and be counted there.
    """
    uplink, blocked = config.uplink_interface, _blocked(config, family)

    def rule(chain: str, target: str, *matches: Match, options: Options = (), **more: str | None) -> Rule:
        return Rule(table="filter", chain=chain, target=target, matches=matches, options=options, **more)

    def through(root: int) -> Options:
        return (("set-class", f"{root:04x}:{GARDEN_MINOR:04x}"),)

    up, down = ROOT_MAJOR[Direction.UP], ROOT_MAJOR[Direction.DOWN]
    to, answer = _in_garden(family, "dst"), (_in_garden(family, "src"), _established())
    return [
        rule(_UP, _GARDEN_UP, to, out_interface=uplink, destination=blocked and f"!{blocked}"),
        rule(_DOWN, _GARDEN_DOWN, *answer, in_interface=uplink),
        rule(_GARDEN_UP, "RETURN", _member(members_address)),
        # A connection is memory of the gateway's, and nobody has said who this is.
        rule(_GARDEN_UP, "RETURN", Match("conntrack", (("ctstate", "NEW"),)), _too_many_connections(config, family)),
        rule(_GARDEN_UP, "CLASSIFY", options=through(up)),
        rule(_GARDEN_UP, "ACCEPT"),
        rule(_GARDEN_DOWN, "CLASSIFY", options=through(down)),
        rule(_GARDEN_DOWN, "ACCEPT"),
    ]


def _refuse_the_rest(family: Family) -> list[Rule]:
    return [*_reject(_UP, family), *_reject(_DOWN, family)]


def _filter_input(config: GatewayConfig, family: Family, sender: tuple[str, str]) -> list[Rule]:
    lan, ports = config.lan_interface, _portal_ports(config)
    portal = Match("multiport", (("dports", ",".join(map(str, ports))),))
    reset = (("reject-with", "tcp-reset"),)
    unreachable = "icmp-port-unreachable" if family == 4 else "icmp6-port-unreachable"
    new = (("tcp-flags", ("!", "FIN,SYN,RST,ACK", "SYN")),)
    limit = config.dns_per_device_per_s
    dhcp, icmp = (67, "icmp") if family == 4 else (547, "ipv6-icmp")

    def rule(chain: str, target: str, options: Options = (), **more: object) -> Rule:
        return Rule(table="filter", chain=chain, target=target, options=options, **more)  # type: ignore[arg-type]

    return [
        rule("INPUT", _INPUT),
        rule(_INPUT, _LAN, in_interface=lan),
        rule(_INPUT, "REJECT", reset, in_interface="!lo", protocol="tcp", matches=(portal,)),
        *(
            rule(
                _INPUT,
                "REJECT",
                reset if protocol == "tcp" else (("reject-with", unreachable),),
                in_interface=config.uplink_interface,
                protocol=protocol,
                matches=(_port(protocol, 53),),
            )
            for protocol in ("udp", "tcp")
        ),
        *(rule(_LAN, _DNS, protocol=p, matches=(_port(p, 53),)) for p in ("udp", "tcp")),
        rule(_LAN, _PORTAL, protocol="tcp", matches=(portal,)),
        # After DNS: an established tunnel through the resolver must not escape its limit.
        rule(_LAN, "ACCEPT", matches=(_established(),)),
        rule(_LAN, "ACCEPT", protocol="udp", matches=(_port("udp", dhcp),)),
        rule(_LAN, "ACCEPT", protocol=icmp),
        *_reject(_LAN, family),
        rule(_DNS, "ACCEPT", matches=(_member(sender),)),
        rule(_DNS, "ACCEPT", matches=(_per_source("dns", limit, 3 * limit),)),
        rule(_DNS, "DROP"),  # silence slows a resolver down, a refusal would speed it up
        rule(_PORTAL, "ACCEPT", protocol="tcp", matches=(Match("tcp", new),)),
        rule(_PORTAL, "REJECT", reset, protocol="tcp", matches=(_too_many_connections(config, family),)),
        rule(
            _PORTAL,
            "ACCEPT",
            matches=(_per_source("portal", NEW_CONNECTIONS_PER_S, 3 * NEW_CONNECTIONS_PER_S),),
        ),
        rule(_PORTAL, "REJECT", reset, protocol="tcp"),
    ]


def _nat(config: GatewayConfig, family: Family, sender: tuple[str, str], garden: bool) -> list[Rule]:
    blocked = _blocked(config, family)
    own = Match("addrtype", (("dst-type", "LOCAL"),))
    private = _private(config, family)  # a delegated prefix is public and passes as it is

    def redirect(port: int, to: int, *matches: Match, destination: str | None = None) -> Rule:
        return Rule(
            table="nat",
            chain=_PREROUTING,
            destination=destination,
            protocol="tcp",
            matches=(_port("tcp", port), *matches),
            target="REDIRECT",
            options=(("to-ports", str(to)),),
        )

    rules = [
        Rule(table="nat", chain="PREROUTING", in_interface=config.lan_interface, protocol="tcp", target=_PREROUTING),
        *([redirect(80, config.portal_port, destination=blocked)] if blocked else ()),
        redirect(80, config.portal_port, own),
    ]
    if config.portal_tls_port is not None:
        rules.append(redirect(443, config.portal_tls_port, own))
    if garden:
        stay = (_port("tcp", 80), _in_garden(family, "dst"))
        rules.append(Rule(table="nat", chain=_PREROUTING, protocol="tcp", matches=stay, target="RETURN"))
    rules.append(redirect(80, config.portal_port, _member(sender, absent=True)))
    if private is not None:
        rules += [
            Rule(table="nat", chain="POSTROUTING", out_interface=config.uplink_interface, target=_POSTROUTING),
            Rule(table="nat", chain=_POSTROUTING, source=private, target="MASQUERADE"),
        ]
    return rules


def _forged(config: GatewayConfig, family: Family, sender: tuple[str, str]) -> list[Rule]:
    """Drop forged senders before anything answers them: a refusal, a DNS answer or a SYN-ACK would go to the uplink.

    Such an answer carries what an unknown device wrote to whom it likes (an ICMP error quotes it), and the gateway's
    name is on it. What the configuration names is of the LAN at the price of one comparison; of other addresses
    (a delegated prefix, a technician's second network) the routing table says it, and members need not be asked.
    """

    def rule(target: str, source: str | None = None, *matches: Match) -> Rule:
        return Rule(table="mangle", chain=_PREROUTING, target=target, source=source, matches=matches)

    private = _private(config, family)
    known = [rule("RETURN", private)] if private else []
    jump = Rule(table="mangle", chain="PREROUTING", in_interface=config.lan_interface, target=_PREROUTING)
    # Who asks for an address by IPv4 has none yet; ip6t_rpfilter itself lets :: and link-local senders pass.
    known.append(rule("RETURN", "0.0.0.0/32") if family == 4 else rule("RETURN", None, _member(sender)))
    return [jump, *known, rule("DROP", None, Match("rpfilter", (("invert", ""),)))]


def _private(config: GatewayConfig, family: Family) -> str | None:
    """The LAN's network that only the gateway knows, None where it has none in this family."""
    if family == 4:
        return str(ipaddress.ip_interface(config.lan_address).network)
    return str(ipaddress.ip_network(config.ula_prefix)) if config.ula_prefix else None


def _unasked(config: GatewayConfig, family: Family) -> list[Rule]:
    """Drop what nobody asked for before it reaches a phone or costs its owner a byte.

    All IPv4 of the LAN is masqueraded: before NAT has turned it back nothing from the uplink is addressed to the LAN,
    which is one comparison. An IPv6 phone may have a public address: there connection tracking must say it.
    """
    if family == 6:
        return [Rule(table="mangle", chain=_DOWN, matches=(_established(absent=True),), target="DROP")]
    lan = _private(config, family)
    return [
        Rule(
            table="mangle", chain="PREROUTING", in_interface=config.uplink_interface, destination=lan, target=_UNASKED
        ),
        Rule(table="mangle", chain=_UNASKED, target="DROP"),
    ]


def _mangle(config: GatewayConfig, family: Family, sender: tuple[str, str], receiver: tuple[str, str]) -> list[Rule]:
    lan, uplink = config.lan_interface, config.uplink_interface
    syn = Match("tcp", (("tcp-flags", ("SYN,RST", "SYN")),))

    def account(chain: str, members: tuple[str, str]) -> list[Rule]:
        return [
            Rule(table="mangle", chain=chain, target="SET", options=(("map-set", members), ("map-prio", ""))),
            Rule(
                table="mangle",
                chain=chain,
                protocol="tcp",
                matches=(syn,),
                target="TCPMSS",
                options=(("clamp-mss-to-pmtu", ""),),
            ),
        ]

    return [
        Rule(table="mangle", chain="FORWARD", in_interface=lan, out_interface=uplink, target=_UP),
        Rule(table="mangle", chain="FORWARD", in_interface=uplink, out_interface=lan, target=_DOWN),
        *account(_UP, sender),
        *_unasked(config, family),
        *account(_DOWN, receiver),
    ]
