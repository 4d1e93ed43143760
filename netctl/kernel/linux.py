"""The real kernel behind netctl.kernel.base.Kernel: puts the parts of this package together. It must not know people.

One object belongs to one network namespace: that of the thread that made it. Its methods may be called from any thread
of that namespace, one change at a time; ``whois`` may be called at any time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from netctl.api.errors import UNSUPPORTED, NetctlError
from netctl.api.types import Feature, GatewayConfig
from netctl.kernel import bridge, connections, flows, garden, links, neighbours, probe, rules, sets, shaping, xtables
from netctl.kernel.base import Member, Observed, Sighting
from netctl.kernel.child import Child
from netctl.kernel.memory import Memory
from netctl.kernel.ruleset import TABLES, Family, Rule, ruleset
from netctl.kernel.wire import NETLINK_NETFILTER, NETLINK_ROUTE, Message, Netlink, Refusal, refused
from netctl.ops import ClassRates, DelClass, DelMember, DelNeighbour, Direction, Op, SetClass, SetMember, SetNeighbour

MAX_FLUSHES: Final = 256  # conntrack walks its whole table for each address


class LinuxKernel:
    """The kernel of the network namespace that this object is made in. See netctl.kernel.base.Kernel."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._lan = ipaddress.IPv4Interface(config.lan_address).network
        self._lock = threading.RLock()
        self._features: tuple[Feature, ...] | None = None
        self._digests: dict[Family, str] = {}
        self._link = {Direction.DOWN: config.link_down_kbit, Direction.UP: config.link_up_kbit}
        self._events: Netlink | None = None
        self._listener = flows.Listener()
        self._memory_path = Path(config.state_path + ".before")
        try:
            self._netfilter = Netlink(NETLINK_NETFILTER)
            self._route = Netlink(NETLINK_ROUTE)
            self._ask = Netlink(NETLINK_ROUTE)  # its own, so that whois never waits for a batch
        except OSError as exc:
            raise NetctlError(UNSUPPORTED, f"this kernel has no netlink for it: {exc.strerror}") from exc

    # --- what there is ------------------------------------------------------------------------------------------------

    def probe(self) -> tuple[Feature, ...]:
        with self._lock:
            notes = Memory.load(self._memory_path).notes.items()
            return (
                *self._found(),
                *(Feature(name=name, present=not why, required=False, detail=why) for name, why in notes),
            )

    def _found(self) -> tuple[Feature, ...]:
        if self._features is None:
            with _kernel("try its features"):
                self._features = probe.probe(self._config, self._netfilter, self._route)
        return self._features

    def _has(self, name: str) -> bool:
        return probe.present(self._found(), name)

    def _families(self) -> tuple[Family, ...]:
        return (4, 6) if self._has(probe.IPV6) else (4,)

    def _sets(self) -> tuple[sets.SetSpec, ...]:
        try:
            return sets.specs(self._lan, self._has(probe.IP_MAC_HASH))
        except ValueError as exc:
            raise NetctlError(UNSUPPORTED, str(exc), "Give the LAN a /16 or smaller in site.toml.") from exc

    def _rules(self, family: Family) -> tuple[Rule, ...]:
        keyed_by_mac = family == 4 or self._has(probe.IP_MAC_HASH)
        nat = family == 4 or self._has(probe.NAT6)
        return ruleset(self._config, family, keyed_by_mac, nat, probe.has_garden(self._found()))

    def _gardens(self) -> tuple[garden.Garden, ...]:
        if not probe.has_garden(self._found()):
            return ()
        families = self._families()
        both = garden.gardens(self._config.garden_networks)
        return tuple(one for one, family in zip(both, (4, 6), strict=True) if family in families)

    def _digest(self, family: Family) -> str:
        """Of the rules as they are asked for; they do not change while this object lives."""
        if family not in self._digests:
            text = "\n".join(f"{rule.table} {rule}" for rule in self._rules(family))
            self._digests[family] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return self._digests[family]

    def _index(self, direction: Direction) -> int:
        config = self._config
        return links.interface_index(config.lan_interface if direction is Direction.DOWN else config.uplink_interface)

    def _egress(self, direction: Direction) -> shaping.Egress:
        config = self._config
        index, mtu = self._index(direction), links.mtu(config.lan_interface, config.uplink_interface)
        leaf = "fq_codel" if self._has(probe.FQ_CODEL) else "bfifo"
        return shaping.Egress(index, direction, self._link[direction], mtu, leaf)

    # --- standing and falling -----------------------------------------------------------------------------------------

    def put_rules(self) -> None:
        with self._lock:
            self._must_have_all()
            with _kernel("put its rules"):
                memory = Memory.load(self._memory_path)
                self._put_sets(memory)
                self._put_rules(memory)
                memory.save(self._memory_path)

    def _must_have_all(self) -> None:
        lacking = [f for f in self._found() if f.required and not f.present]
        if lacking:
            names = ", ".join(f.name for f in lacking)
            raise NetctlError(
                UNSUPPORTED,
                f"this kernel lacks {names}: {lacking[0].detail}",
                "Use Debian's kernel, or load the modules; `netctl doctor` lists every feature.",
            )

    def setup(self) -> None:
        with self._lock:
            self._must_have_all()
            for direction in Direction:
                self._index(direction)
            with _kernel("set up the gateway"):
                if not self._intact():
                    self._set_up()

    def _set_up(self) -> None:
        """Refusing rules and empty sets first, forwarding last: at no moment does anybody pass who is not admitted."""
        memory = Memory.load(self._memory_path)
        self._put_sets(memory)
        lan = self._index(Direction.DOWN)
        missing = links.missing_addresses(self._config, links.lan_addresses(self._route, lan))
        config = self._config
        with Child("netctl.kernel.links") as child:
            child.order(links.Order(lan=config.lan_interface, uplink=config.uplink_interface, addresses=missing))
            self._put_rules(memory)
            report = child.report(links.Report)
        memory.addresses = sorted({*memory.addresses, *report.added})
        memory.notes = {
            "offloads off": "; ".join(report.warnings),
            "room for neighbours": links.raise_neighbour_limits(),
        }
        to_switch = links.to_switch(links.switches(config))
        memory.switches = {**{path: before for path, before, _ in to_switch}, **memory.switches}
        memory.save(self._memory_path)  # before the first is switched: teardown must know how it was
        self._put_classes()
        links.switch(to_switch)

    def _put_sets(self, memory: Memory) -> None:
        netlink, gardens = self._netfilter, self._gardens()
        broken = [spec.name for spec in self._sets() if sets.as_specified(netlink, spec) is False]
        broken += [one.name for one in gardens if garden.as_specified(netlink, one) is False]
        if broken:
            self._put_rules(memory, without_sets=True)
            self._must(netlink, [sets.destroy_message(name) for name in broken], "replace its sets")
        absent = [sets.create_message(spec) for spec in self._sets() if sets.as_specified(netlink, spec) is None]
        absent += [garden.create_message(one) for one in gardens if garden.as_specified(netlink, one) is None]
        self._must(netlink, absent, "create its sets")
        for one in gardens:
            self._must(netlink, garden.fill_messages(one, garden.contents(netlink, one)), f"fill {one.name}")

    def _put_rules(self, memory: Memory, without_sets: bool = False) -> None:
        """Those of each family whose rules do not stand as asked for."""
        families = [one for one in self._families() if without_sets or not self._rules_stand(memory, one)]
        wanted = {family: self._rules(family) for family in families}
        if without_sets:
            wanted = {f: tuple(rule for rule in wanted[f] if "gerbang_" not in str(rule)) for f in families}
        self._order_rules(wanted)
        if not without_sets:
            memory.standing |= {str(f): (self._digest(f), xtables.fingerprint(f)) for f in families}

    def _order_rules(self, wanted: Mapping[Family, tuple[Rule, ...]]) -> None:
        if not wanted:
            return
        with Child("netctl.kernel.rules") as child:
            child.order(rules.Order(parts=tuple(rules.Part(f, wanted[f], self._tables(f)) for f in wanted)))
            child.report(rules.Report)

    def _rules_stand(self, memory: Memory, family: Family) -> bool:
        return memory.standing.get(str(family)) == (self._digest(family), xtables.fingerprint(family))

    def _tables(self, family: Family) -> tuple[str, ...]:
        return TABLES if family == 4 or self._has(probe.NAT6) else tuple(t for t in TABLES if t != "nat")

    def _put_classes(self) -> None:
        for direction in Direction:
            egress = self._egress(direction)
            messages = []
            if not shaping.root_stands(self._route, egress):
                self._route.transact([shaping.delete_root_message(egress.index)])
                messages.append(shaping.root_message(egress))
            messages += shaping.fixed_messages(egress)
            self._must(self._route, messages, f"shape the {direction.value} direction")

    def keep_apart(self) -> tuple[str, ...]:
        with self._lock, _kernel("isolate the ports of its bridge"):
            if not self._config.isolate:
                self._let_together(Memory.load(self._memory_path))
                return ()
            ports = [port for port in bridge.ports(self._route, self._index(Direction.DOWN)) if not port.isolated]
            if ports:
                memory = Memory.load(self._memory_path)
                memory.isolated = sorted({*memory.isolated, *(port.name for port in ports)})
                memory.save(self._memory_path)
                self._isolate(ports, True)
            return tuple(port.name for port in ports)

    def _isolated(self) -> list[bridge.Port]:
        """The ports that are isolated and were not before we came."""
        ours = Memory.load(self._memory_path).isolated
        ports = bridge.ports(self._route, self._index(Direction.DOWN)) if ours else ()
        return [port for port in ports if port.isolated and port.name in ours]

    def _let_together(self, memory: Memory) -> None:
        """Put back how the ports were that we isolated."""
        if memory.isolated:
            self._isolate(self._isolated(), False)
            memory.isolated = []
            memory.save(self._memory_path)

    def _isolate(self, ports: Sequence[bridge.Port], on: bool) -> None:
        refusals = self._route.transact([bridge.isolate_message(port, on) for port in ports])
        self._raise(refusals, "isolate the ports of its bridge", ignore=(errno.ENODEV,))  # unplugged meanwhile

    def teardown(self) -> None:
        with self._lock, _kernel("take the gateway down"):
            memory = Memory.load(self._memory_path)
            with contextlib.suppress(NetctlError):  # a bridge that is gone has no ports
                self._let_together(memory)
            known = [path for path, _ in links.switches(self._config)]
            links.switch(links.to_switch([(path, memory.switches[path]) for path in known if path in memory.switches]))
            self._order_rules(dict.fromkeys(self._families(), ()))
            names = (sets.UP4, sets.DN4, sets.UP6, sets.DN6, garden.GARDEN4, garden.GARDEN6)
            gone = self._netfilter.transact([sets.destroy_message(name) for name in names])
            self._raise(gone, "remove its sets", ignore=(errno.ENOENT,))
            self._clear_interfaces(memory)
            self._memory_path.unlink(missing_ok=True)

    def _clear_interfaces(self, memory: Memory) -> None:
        for direction in Direction:
            with contextlib.suppress(NetctlError):  # an interface that is gone took its qdisc along
                egress = self._egress(direction)
                if shaping.root_stands(self._route, egress):
                    self._must(self._route, [shaping.delete_root_message(egress.index)], "remove its qdiscs")
        with contextlib.suppress(NetctlError):
            index = self._index(Direction.DOWN)
            _, pinned = neighbours.table(self._route, index)
            forgotten = self._route.transact([neighbours.forget_message(index, ip) for ip in pinned])
            self._raise(forgotten, "remove its neighbours", ignore=(errno.ENOENT,))
            if memory.addresses:
                with Child("netctl.kernel.links") as child:
                    remove = tuple(a for a in memory.addresses if a in links.own_addresses(self._config))
                    child.order(links.Order(lan=self._config.lan_interface, uplink="", remove=remove))
                    child.report(links.Report)

    def take_sightings(self) -> tuple[Sequence[Sighting], int]:
        if not self._config.log_connections:
            return (), 0
        with self._lock, _kernel("tell about connections"):
            return self._listener.take()

    def close(self) -> None:
        self._listener.close()
        for socket in (self._netfilter, self._route, self._ask, self._events):
            if socket is not None:
                socket.close()

    # --- looking ------------------------------------------------------------------------------------------------------

    def observe(self) -> Observed:
        with self._lock, _kernel("read its state"):
            lan = self._index(Direction.DOWN)
            classes, passed, shaped = self._classes()
            valid, pinned = neighbours.table(self._route, lan)
            return Observed(
                members=sets.members(self._netfilter, self._sets()),
                classes=classes,
                neighbours=valid,
                pinned=pinned,
                intact=shaped and self._rest_intact(lan),
                passed=passed,
            )

    def members(self) -> Mapping[str, Member]:
        with self._lock, _kernel("read its counters"):
            return sets.members(self._netfilter, self._sets())

    def passed(self) -> Mapping[int, tuple[int, int]]:
        with self._lock, _kernel("read its counters"):
            return shaping.passed(self._route, self._index(Direction.DOWN), Direction.DOWN)

    def _classes(self) -> tuple[dict[tuple[Direction, int], ClassRates], dict[int, tuple[int, int]], bool]:
        classes: dict[tuple[Direction, int], ClassRates] = {}
        passed: dict[int, tuple[int, int]] = {}
        intact = True
        for direction in Direction:
            users, left, stands = shaping.observe(self._route, self._egress(direction))
            classes.update({(direction, minor): rates for minor, rates in users.items()})
            intact = intact and stands
            if direction is Direction.DOWN:
                passed = left
        return classes, passed, intact

    def _intact(self) -> bool:
        return self._classes()[2] and self._rest_intact(self._index(Direction.DOWN))

    def _rest_intact(self, lan: int) -> bool:
        memory = Memory.load(self._memory_path)
        return (
            links.forwarding_stands()
            and all(sets.as_specified(self._netfilter, spec) for spec in self._sets())
            and all(garden.stands(self._netfilter, one) for one in self._gardens())
            and not links.missing_addresses(self._config, links.lan_addresses(self._route, lan))
            and all(self._rules_stand(memory, family) for family in self._families())
        )

    def link_bytes(self) -> tuple[int, int]:
        with self._lock, _kernel("read the link's counters"):
            down, up = (shaping.passed_bytes(self._route, self._index(d), d) for d in (Direction.DOWN, Direction.UP))
            return down, up

    def whois(self, ip: str) -> str | None:
        try:
            return neighbours.whois(self._ask, self._index(Direction.DOWN), ip)
        except OSError as exc:
            raise refused(f"say who has {ip}", exc) from exc
        except ValueError:
            return None

    def neighbour_events(self) -> int:
        with self._lock:
            if self._events is None:
                self._events = Netlink(NETLINK_ROUTE, neighbours.RTMGRP_NEIGH)
            return self._events.fileno()

    def drain_events(self) -> Sequence[tuple[str, str]]:
        self.neighbour_events()
        assert self._events is not None  # noqa: S101 - opened by the line above
        index = self._index(Direction.DOWN)
        try:
            return list(dict.fromkeys(neighbours.events(self._events, index)))
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:
                raise refused("tell about neighbours", exc) from exc
        with self._lock, _kernel("list its neighbours"):
            return list(neighbours.table(self._route, index)[0].items())

    def lan_prefixes(self) -> tuple[str, ...]:
        with self._lock, _kernel("read its addresses"):
            found = links.lan_addresses(self._route, self._index(Direction.DOWN))
            ipv6 = sorted({str(a.network) for a in found if a.version == 6})
            return (str(self._lan), *ipv6)

    def dump(self) -> tuple[str, ...]:
        observed = self.observe()
        with self._lock, _kernel("read its state"):
            lines = [str(s) for s in self._sets() if sets.as_specified(self._netfilter, s)]
            gardens = [one for one in self._gardens() if garden.as_specified(self._netfilter, one)]
            lines += [str(one) for one in gardens]
            lines += [f"port {port.name} isolated" for port in self._isolated()]
            lines += [f"garden {network}" for one in gardens for network in garden.contents(self._netfilter, one)]
            lines += [
                f"{family} {rule.table} {rule}"
                for family in self._families()
                if xtables.fingerprint(family)
                for rule in self._rules(family)
            ]
        lines += [
            f"member {m.ip} {m.mac or '-'} class {m.minor:#x} grant {m.grant}" + ("" if m.complete else " incomplete")
            for m in observed.members.values()
        ]
        lines += [
            f"class {direction.value} {minor:#x} {rates}" for (direction, minor), rates in observed.classes.items()
        ]
        lines += [f"neighbour {ip} {mac}" for ip, mac in observed.pinned.items()]
        if not observed.intact:
            lines.append("not intact: setup has something to mend")
        return tuple(sorted(lines))

    # --- changing -----------------------------------------------------------------------------------------------------

    def apply(self, ops: Sequence[Op]) -> None:
        with self._lock, _kernel("carry out operations"):
            for kind, run in itertools.groupby(ops, type):
                self._appliers[kind](self, list(run))

    def shape_link(self, down_kbit: int | None, up_kbit: int | None) -> None:
        with self._lock, _kernel("shape the link"):
            before, self._link = self._link, {Direction.DOWN: down_kbit, Direction.UP: up_kbit}
            for direction, kbit in self._link.items():
                if kbit != before[direction]:
                    messages = shaping.fixed_messages(self._egress(direction))
                    self._must(self._route, messages, f"shape the {direction.value} direction")

    def _set_classes(self, ops: list[SetClass]) -> None:
        egress = {direction: self._egress(direction) for direction in Direction}
        pairs = [
            (message, op) for op in ops for message in shaping.class_messages(egress[op.direction], op.minor, op.rates)
        ]
        self._send(self._route, pairs)

    def _del_classes(self, ops: list[DelClass]) -> None:
        egress = {direction: self._egress(direction) for direction in Direction}
        pairs = [(shaping.delete_message(egress[op.direction], op.minor), op) for op in ops]
        self._send(self._route, pairs, ignore=(errno.ENOENT,))

    def _set_members(self, ops: list[SetMember]) -> None:
        self._members(sets.upsert(self._sets(), ops), ops)

    def _del_members(self, ops: list[DelMember]) -> None:
        self._members(sets.delete(self._sets(), ops), ops)

    def _members(self, messages: list[Message], ops: Sequence[Op]) -> None:
        for refusal in self._netfilter.transact(messages):
            if not sets.harmless(refusal):
                which = str(ops[0]) if len(ops) == 1 else f"one of {len(ops)} members, `{ops[0]}` the first"
                raise refused(f"carry out `{which}`", refusal)

    def _set_neighbours(self, ops: list[SetNeighbour]) -> None:
        index = self._index(Direction.DOWN)
        self._send(self._route, [(neighbours.pin_message(index, op.ip, op.mac), op) for op in ops])

    def _del_neighbours(self, ops: list[DelNeighbour]) -> None:
        index = self._index(Direction.DOWN)
        pairs = [(neighbours.unpin_message(index, op.ip), op) for op in ops]
        self._send(self._route, pairs, ignore=(errno.ENOENT,))

    _appliers: Final[dict[type, Callable[[Any, list[Any]], None]]] = {
        SetClass: _set_classes,
        DelClass: _del_classes,
        SetMember: _set_members,
        DelMember: _del_members,
        SetNeighbour: _set_neighbours,
        DelNeighbour: _del_neighbours,
    }

    def _send(self, netlink: Netlink, pairs: Sequence[tuple[Message, Op]], ignore: Iterable[int] = ()) -> None:
        for refusal in netlink.transact([message for message, _ in pairs]):
            if refusal.errno not in ignore:
                raise refused(f"carry out `{pairs[refusal.index][1]}`", refusal)

    def _must(self, netlink: Netlink, messages: Sequence[Message], what: str) -> None:
        self._raise(netlink.transact(messages), what)

    def _raise(self, refusals: Sequence[Refusal], what: str, ignore: Iterable[int] = ()) -> None:
        for refusal in refusals:
            if refusal.errno not in ignore:
                raise refused(what, refusal)

    def flush_connections(self, ips: Sequence[str]) -> None:
        # Hygiene: the refusals of a kernel before 6.8 change nothing that matters.
        with self._lock, contextlib.suppress(OSError):
            ipv4 = [ip for ip in ips if ":" not in ip]
            self._netfilter.transact([connections.flush_message(ip) for ip in ipv4[:MAX_FLUSHES]])


@contextlib.contextmanager
def _kernel(what: str) -> Any:
    """Turn what the system refuses into a sentence."""
    try:
        yield
    except OSError as exc:
        raise refused(what, exc) from exc
