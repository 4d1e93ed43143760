"""Make the kernel like the last accepted desired state, and keep it so: validate, persist, compare, apply, mend.

It must not know sockets or how an operation is done. One thread calls it; every observation also mends.

The engine compares with its model of the kernel (netctl.model), which each tick replaces by an observation. A
difference that the tick finds and that the model does not explain is drift: somebody else changed our state.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from netctl import __version__, statefile, witness
from netctl.api.errors import BAD_REQUEST, KERNEL, UNSUPPORTED, NetctlError
from netctl.api.types import (
    Applied,
    Connections,
    Counter,
    DesiredState,
    Feature,
    GatewayConfig,
    Grant,
    Link,
    Status,
    Usage,
)
from netctl.kernel.base import Kernel
from netctl.ledger import Ledger
from netctl.model import Model
from netctl.ops import DelMember, Op, SetClass, SetMember
from netctl.plan import Surroundings, counters, forwarded_ipv6, is_live, live, places, plan, rates
from netctl.validate import Validator

log = logging.getLogger("netctl")

FRESH_S: Final = 0.5  # a single grant's usage may be this old: a page view must not read everybody's counters
ANY_PREFIX: Final = ("::/0",)
LEARN_EVERY_S: Final = 0.1  # the first new IPv6 address is admitted at once, a flood of them in batches
PREFIXES_EVERY_S: Final = 1.0  # addresses outside the LAN's known prefixes make the engine look for new ones so often
MAX_REFUSALS: Final = 8  # after so many refused operations in a row of single tries, it is not the operations


def boot_clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_boot_id() -> str:
    """Name of this boot (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def dry_run(config: GatewayConfig, kernel: Kernel, state: DesiredState) -> tuple[str, ...]:
    """The lines of what a daemon that starts now would do with this state; only reads. Raises as apply does."""
    Validator(config).check(state, {})
    now = boot_clock()
    around = Surroundings(now, now, config.link_down_kbit, config.link_up_kbit, kernel.lan_prefixes())
    return tuple(str(op) for op in plan(state, kernel.observe(), around))


class Engine:
    """Owner of the kernel's Gerbang state. Methods raise NetctlError; after one, the engine goes on working."""

    def __init__(
        self,
        config: GatewayConfig,
        kernel: Kernel,
        clock: Callable[[], float] = boot_clock,
        boot_id: str | None = None,
    ) -> None:
        self._config = config
        self._kernel = kernel
        self._clock = clock
        self._boot_id = boot_id or read_boot_id()
        self._path = Path(config.state_path)
        self._validator = Validator(config)
        self._started_boot_s = clock()
        self._link = (config.link_down_kbit, config.link_up_kbit)
        self._features: tuple[Feature, ...] = ()
        self._prefixes: tuple[str, ...] = ()
        self._state: DesiredState | None = None
        self._grants: dict[int, Grant] = {}
        self._macs: frozenset[str] = frozenset()
        self._dirty: set[str] | None = None  # devices to compare; None: all. Empty: the state is in force
        self._sharers = 0
        self._unsaved = False
        self._model: Model | None = None
        self._in_doubt = False  # a batch failed half way: the model may be wrong
        self._ledger = Ledger()
        self._seen: dict[str, float] = {}
        self._drift = 0
        self._drift_total = 0
        self._last_apply_ms = 0.0
        self._problems: dict[str, str] = {}
        self._next_tick_boot_s = 0.0
        self._next_deadline_boot_s: float | None = None
        self._next_learn_boot_s = 0.0
        self._learn_pending = False
        self._next_prefixes_boot_s = 0.0
        self._witness: witness.Witness | None = None  # while the log of connections is on

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the static part stand, then go on from the state of this boot: whoever was online stays so.

        Raises NetctlError ``unsupported`` where the kernel lacks a needed feature, ``kernel`` where it refuses.
        """
        self._features = self._kernel.probe()
        missing = [f for f in self._features if f.required and not f.present]
        if missing:
            what = "; ".join(f"{f.name} ({f.detail})" for f in missing)
            raise NetctlError(UNSUPPORTED, f"This kernel lacks {what}.", "Use one that has it; see `netctl doctor`.")
        self._kernel.setup()
        self._features = self._kernel.probe()  # what only shows when it stands
        self._restore()
        self.tick()
        if self._model is None:
            raise NetctlError(KERNEL, self._problems["kernel"], "See `netctl doctor`.")

    def stop(self, keep: bool) -> None:
        """End: with ``keep`` users stay online (deadlines hold), else everything of ours is removed."""
        if not keep:
            self._kernel.teardown()
            statefile.remove(self._path)
        self._kernel.close()

    def wake_in_s(self) -> float:
        """Seconds until ``due`` has something to do."""
        times = [self._next_tick_boot_s]
        if self._next_deadline_boot_s is not None:
            times.append(self._next_deadline_boot_s)
        if self._learn_pending:
            times.append(self._next_learn_boot_s)
        return max(0.0, min(times) - self._clock())

    def due(self) -> None:
        """Do what time asks for: the tick, the end of a grant, addresses learned. Never raises NetctlError."""
        now = self._clock()
        if now >= self._next_tick_boot_s:
            self.tick()
            return
        ended = self._next_deadline_boot_s is not None and now >= self._next_deadline_boot_s
        if ended or (self._learn_pending and now >= self._next_learn_boot_s):
            self._quietly(lambda: self._reconcile(look=False))

    # --- requests -------------------------------------------------------------------------------------------------

    def apply(self, state: DesiredState) -> Applied:
        """Accept the whole state and make it stand.

        An older generation of the same epoch is answered with the newer one that is in force. The same generation with
        other grants is applied: time alone may end a grant. ``refused``: nothing of it was used. ``kernel``: the
        state is accepted, what could be done is done, and each tick tries the rest again.
        """
        started = time.perf_counter()
        current = self._state
        if current is not None and state.epoch == current.epoch and state.generation < current.generation:
            state = current
        elif state != current:
            self._validator.check(state, self._grants)
            self._accept(state)
        if self._dirty is not None and not self._dirty:
            return Applied(generation=state.generation, ops=0)
        done = self._reconcile(look=False)
        self._last_apply_ms = (time.perf_counter() - started) * 1e3
        log.log(
            logging.INFO if done else logging.DEBUG, "generation %d: %d grants, %d changes in %.1f ms",
            state.generation, len(state.grants), done, self._last_apply_ms,
        )  # fmt: skip
        return Applied(generation=state.generation, ops=done)

    def plan(self, state: DesiredState) -> tuple[str, ...]:
        """The lines of what apply would do. Raises ``refused`` like it; does nothing."""
        self._validator.check(state, self._grants)
        model = self._current_model()
        return tuple(str(op) for op in plan(state, model.view(), self._around(model, self._clock())))

    def whois(self, ip: str) -> str | None:
        """MAC of a valid neighbour; an IPv4 address written the IPv6 way (RFC 4291 2.5.5.2) is taken as IPv4."""
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            raise NetctlError(BAD_REQUEST, f"{ip!r} is no IP address.") from None
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return self._kernel.whois(str(mapped or address))

    def usage(self, grant: int | None) -> Usage:
        """Counters of all members, and of those removed lately. Of one grant: at most FRESH_S old."""
        now = self._clock()
        if grant is None or now - self._ledger.read_boot_s > FRESH_S:
            self._ledger.read(self._kernel.members(), self._kernel.passed(), now)
        values = self._ledger.values(grant)
        return Usage(
            boot_id=self._boot_id,
            counters=tuple(
                Counter(grant=g, ip=ip, up_bytes=ub, down_bytes=db, up_packets=up, down_packets=dp)
                for (g, ip), (ub, db, up, dp) in sorted(values.items())
            ),
        )

    def status(self) -> Status:
        return Status(
            version=__version__,
            boot_id=self._boot_id,
            epoch=self._state.epoch if self._state else None,
            generation=self._state.generation if self._state else 0,
            grants=len(self._grants),
            members=len(self._model.members) if self._model else 0,
            drift=self._drift,
            drift_total=self._drift_total,
            last_apply_ms=round(self._last_apply_ms, 3),
            uptime_s=round(self._clock() - self._started_boot_s, 1),
            lan_interface=self._config.lan_interface,
            uplink_interface=self._config.uplink_interface,
            lan_prefixes=self._prefixes,
            link_down_kbit=self._link[0],
            link_up_kbit=self._link[1],
            features=self._features,
            problem=" ".join(self._problems.values()) or None,
        )

    def shape_link(self, down_kbit: int | None, up_kbit: int | None) -> Link:
        """The link's rates from now on, None: as configured. ``kernel``: each tick tries them again.

        Only devices whose class depends on the difference are touched: as a rule none.
        """
        before, after = self._link, (down_kbit or self._config.link_down_kbit, up_kbit or self._config.link_up_kbit)
        if before != after:
            self._link = after
            grants, sharers = self._grants.values(), self._sharers
            self._touch(g.mac for g in grants if rates(g, *before, sharers) != rates(g, *after, sharers))
            self._kernel.shape_link(*after)
            if self._dirty:
                self._quietly(lambda: self._reconcile(look=False))
        return self.link()

    def link(self) -> Link:
        down_bytes, up_bytes = self._kernel.link_bytes()
        return Link(down_kbit=self._link[0], up_kbit=self._link[1], down_bytes=down_bytes, up_bytes=up_bytes)

    def connections(self, stream: str, after: int, most: int) -> Connections:
        """What was seen of members' connections after a number; what is before is forgotten."""
        self._see_connections()
        if self._witness is None:
            return witness.nothing(self._boot_id)
        return self._witness.take(stream, after, most, self._boot_id)

    def dump(self) -> tuple[str, ...]:
        return self._kernel.dump()

    # --- what happens by itself -----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Observe, count drift, mend. Never raises NetctlError: what went wrong stands in Status.problem."""
        self._keep_apart()
        self._see_connections()
        self._quietly(lambda: self._reconcile(look=True))
        self._next_tick_boot_s = self._clock() + self._config.tick_s

    def _keep_apart(self) -> None:
        """Ports that came since the last tick get isolated; if they cannot, all else goes on."""
        try:
            ports = self._kernel.keep_apart()
        except NetctlError as error:
            self._problems["isolate"] = f"Devices on the LAN may reach each other: {error.message}."
            log.error("%s", self._problems["isolate"])
        else:
            self._problems.pop("isolate", None)
            if ports:
                log.info("isolated from each other: %s", ", ".join(ports))

    def _see_connections(self) -> None:
        """Take in what the kernel has seen while it is known whose the addresses are; without it all else goes on."""
        if not self._config.log_connections:
            return
        now_boot_ms = round(self._clock() * 1000)
        if self._witness is None:
            self._witness = witness.Witness(now_boot_ms)
        try:
            seen, lost = self._kernel.take_sightings()
        except NetctlError as error:
            if "connections" not in self._problems:
                log.error("%s %s", error.message, error.hint)
            self._problems["connections"] = f"Connections are not logged: {error.message}"
            self._witness.lose(1)
            return
        self._problems.pop("connections", None)
        if lost:
            log.warning("Connections: %d sightings lost, %d since start.", lost, self._witness.lose(lost))
        members = self._model.members if self._model else {}
        present = {ip: member.grant for ip, member in members.items()}
        self._witness.see(seen, present, {ip: grant for grant, ip in self._ledger.kept}, self._prefixes, now_boot_ms)

    def neighbour_events(self) -> int:
        """Descriptor to wait on; when readable, call ``learn``."""
        return self._kernel.neighbour_events()

    def learn(self) -> None:
        """Take in neighbours that turned valid; admit new IPv6 addresses of granted devices."""
        try:
            events = self._kernel.drain_events()
        except NetctlError as error:
            log.warning("Neighbour events were lost: %s", error)
            self._next_tick_boot_s = self._clock()
            return
        model = self._model
        if model is None:
            return
        now = self._clock()
        strangers = (ip for ip, mac in events if mac in self._macs and not forwarded_ipv6(ip, self._prefixes))
        if now >= self._next_prefixes_boot_s and any(forwarded_ipv6(ip, ANY_PREFIX) for ip in strangers):
            self._next_prefixes_boot_s = now + PREFIXES_EVERY_S
            self._quietly(self._look_for_prefixes)
        for ip, mac in events:
            if not forwarded_ipv6(ip, self._prefixes):
                continue
            if model.neighbours.get(ip) == mac:
                continue  # an entry that ages, or that was unpinned, is no sign of life
            model.hear(ip, mac)
            if mac in self._macs:
                self._seen[ip] = now
                self._touch((mac,))
                self._learn_pending = True
        if self._learn_pending and now >= self._next_learn_boot_s:
            self._quietly(lambda: self._reconcile(look=False))

    # --- inside ---------------------------------------------------------------------------------------------------

    def _look_for_prefixes(self) -> None:
        """The provider may have delegated a prefix since the last tick; devices use it at once."""
        self._prefixes = self._kernel.lan_prefixes()

    def _restore(self) -> None:
        try:
            saved = statefile.load(self._path, self._boot_id)
            if saved is None:
                return
            try:
                self._validator.check(saved.state, {})
            except NetctlError as error:
                raise statefile.set_aside(self._path, error.message) from error
        except statefile.BrokenStatefileError as error:
            self._problems["statefile"] = f"{error} Users stay as they are until the portal's next push."
            log.error("%s", self._problems["statefile"])
            return
        self._accept(saved.state)
        self._ledger = Ledger(saved.retired)

    def _accept(self, state: DesiredState) -> None:
        before, after = self._grants, {g.id: g for g in state.grants}
        self._touch(g.mac for g in state.grants if before.get(g.id) != g)
        self._touch(g.mac for g in before.values() if after.get(g.id) != g)
        if self._state is None:
            self._dirty = None  # also whatever else the kernel holds
        self._state = state
        self._grants = after
        self._macs = frozenset(g.mac for g in state.grants)
        self._unsaved = True

    def _touch(self, macs: Iterable[str]) -> None:
        if self._dirty is not None:
            self._dirty.update(macs)

    def _reconcile(self, look: bool) -> int:
        """Bring the kernel to the state; number of operations. Raises what the kernel refuses, after trying the rest.

        With ``look`` the kernel is read first and everything compared, else the model, and of it what changed.
        """
        try:
            if look or self._model is None or self._in_doubt:
                now, ops = self._compare_all()
                self._keep_ended(ops, fresh=True)
            else:
                now, ops = self._compare_changed(self._model)
                self._keep_ended(ops, fresh=False)
            self._persist()
            self._carry_out(ops)
        except NetctlError as error:
            self._dirty = None
            self._learn_pending = False
            self._next_deadline_boot_s = None  # the next tick tries again; nothing spins meanwhile
            self._problems["kernel"] = f"{error.message} {error.hint}".strip()
            raise
        self._settled(now)
        return len(ops)

    def _compare_all(self) -> tuple[float, list[Op]]:
        before = self._model
        intact = self._look()
        now = self._clock()
        ops = self._plan(self._current_model(), now)
        self._count_drift(ops, before, intact, now)
        return now, ops

    def _compare_changed(self, model: Model) -> tuple[float, list[Op]]:
        """The plan for the devices that were touched; for all where the share of the link changes with their number."""
        now = self._clock()
        if self._next_deadline_boot_s is not None and now >= self._next_deadline_boot_s:
            self._touch(g.mac for g in self._grants.values() if not is_live(g, now))
        sharers = len(live(self._grants.values(), now))
        if self._state is None or self._dirty is None or places(sharers) != places(self._sharers):
            return now, self._plan(model, now)
        macs = self._dirty
        state = msgspec.structs.replace(self._state, grants=tuple(g for g in self._state.grants if g.mac in macs))
        around = replace(self._around(model, now), sharers=sharers, taken=model.minors_except(macs))
        return now, plan(state, model.part(macs), around)

    def _plan(self, model: Model, now_boot_s: float) -> list[Op]:
        return plan(self._state, model.view(), self._around(model, now_boot_s))

    def _around(self, model: Model, now_boot_s: float) -> Surroundings:
        return Surroundings(
            now_boot_s=now_boot_s,
            observed_boot_s=model.as_of_boot_s,
            link_down_kbit=self._link[0],
            link_up_kbit=self._link[1],
            lan_prefixes=self._prefixes,
            retired=self._ledger.kept,
            seen=self._seen,
        )

    def _current_model(self) -> Model:
        if self._model is None:
            raise NetctlError(KERNEL, self._problems.get("kernel", "The kernel's state could not be read."))
        return self._model

    def _look(self) -> bool:
        """Replace the model by an observation, retire counters of members that are gone. False: setup had to mend."""
        found = self._kernel.observe()
        intact = found.intact
        if not intact:
            log.warning("Rules, sets or root classes were changed by somebody else; making them stand again")
            self._kernel.setup()
            found = self._kernel.observe()
        self._prefixes = self._kernel.lan_prefixes()
        now = self._clock()
        before = self._model.members if self._model else {}
        for ip, member in before.items():
            there = found.members.get(ip)
            if there is None or there.grant != member.grant or not there.complete:
                self._ledger.keep(member, now)
                self._unsaved = True
            elif ":" in ip and counters(there) != counters(member):
                self._seen[ip] = now
        self._seen = {ip: at for ip, at in self._seen.items() if ip in found.members or ip in found.neighbours}
        self._ledger.read(found.members, found.passed, now)
        self._ledger.prune(self._grants, now)
        self._model = Model.of(found, now, {g.id: g.mac for g in self._grants.values()})
        self._in_doubt = False
        return intact

    def _count_drift(self, ops: Sequence[Op], before: Model | None, intact: bool, now_boot_s: float) -> None:
        """Operations that would not be needed had the kernel been as the engine left it."""
        model = self._current_model()
        odd: list[Op] = []
        if ops and before is not None:
            explained = set(self._plan(replace(before, neighbours=model.neighbours), now_boot_s))
            odd = [op for op in ops if op not in explained]
        elif ops:  # start: no memory to compare with; what a pause alone brings about is left out
            for op in ops:
                learned = isinstance(op, SetMember) and ":" in op.ip and op.ip not in model.members
                reshaped = isinstance(op, SetClass) and (op.direction, op.minor) in model.classes  # by shape_link
                if isinstance(op, DelMember | SetClass | SetMember) and not learned and not reshaped:
                    odd.append(op)
        self._drift = len(odd) + (not intact)
        self._drift_total += self._drift
        if odd:
            log.warning("Drift of %d mended, the first: %s", len(odd), odd[0])

    def _carry_out(self, ops: Sequence[Op]) -> None:
        """Let the kernel do the operations; if it refuses, try each alone, so that one cannot stop the others."""
        if not ops:
            return
        self._see_connections()  # of whom the addresses were until now
        try:
            self._kernel.apply(ops)
        except NetctlError as error:
            log.warning("%s", error)
            self._in_doubt = True
            self._one_by_one()
        else:
            self._current_model().record(ops, self._clock())
        self._forget_connections(ops)

    def _one_by_one(self) -> None:
        self._look()
        model = self._current_model()
        ops = self._plan(model, self._clock())
        self._keep_ended(ops, fresh=True)
        refusals: list[NetctlError] = []
        for op in ops:
            try:
                self._kernel.apply([op])
                model.record([op], self._clock())
            except NetctlError as error:
                refusals.append(error)
                if len(refusals) == MAX_REFUSALS:
                    break
        if refusals:
            self._in_doubt = True
            raise refusals[0]

    def _keep_ended(self, ops: Sequence[Op], fresh: bool) -> None:
        """Keep the counters that these operations end; the kernel is asked for their last value unless just read."""
        model = self._current_model()
        ended = []
        for op in ops:
            if isinstance(op, DelMember | SetMember):
                member = model.members.get(op.ip)
                if member is not None and not (isinstance(op, SetMember) and op.grant == member.grant):
                    ended.append(member)
        if not ended:
            return
        now = self._clock()
        if not fresh:
            self._ledger.read(self._kernel.members(), self._kernel.passed(), now)
        for member in ended:
            self._ledger.keep(member, now)
        self._unsaved = True

    def _settled(self, now: float) -> None:
        """The state of ``now`` is in force: find the next time to wake up."""
        self._dirty = set()
        self._sharers = len(live(self._grants.values(), now))
        if self._learn_pending:
            self._learn_pending = False
            self._next_learn_boot_s = now + LEARN_EVERY_S
        deadlines = (g.deadline_boot_s for g in self._grants.values())
        self._next_deadline_boot_s = min((d for d in deadlines if d is not None and d > now), default=None)
        self._problems.pop("kernel", None)

    def _persist(self) -> None:
        if self._state is None or not self._unsaved:
            return
        saved = statefile.Saved(boot_id=self._boot_id, state=self._state, retired=self._ledger.saved())
        try:
            statefile.save(self._path, saved)
            self._unsaved = False
            self._problems.pop("statefile", None)
        except OSError as error:
            # An old file would cut off, at a restart, who came since: better none, then all stay until the next push.
            message = f"The state file {self._path} cannot be written: {error.strerror}."
            log.error("%s", message)
            self._problems["statefile"] = message
            try:
                statefile.remove(self._path)
            except OSError:
                log.exception("The old state file stays")

    def _forget_connections(self, ops: Sequence[Op]) -> None:
        gone = [op.ip for op in ops if isinstance(op, DelMember)]
        if gone:
            try:
                self._kernel.flush_connections(gone)
            except NetctlError as error:
                log.warning("Connections of %d addresses were not forgotten: %s", len(gone), error)

    def _quietly(self, work: Callable[[], object]) -> None:
        try:
            work()
        except NetctlError as error:
            log.error("%s", error)
