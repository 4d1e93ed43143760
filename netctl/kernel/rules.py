"""Put the rules into the kernel with python-iptables, as a run-once process: ``python -m netctl.kernel.rules``.

It must not be imported by the daemon for its iptc part, and must not know who is admitted.

Never in the daemon, never in a thread, never both families in one process: python-iptables ends the process where two
families meet, crashes with threads, and its autocommit swallows refusals. Loading it is half of the time, so that is
done once; then each family has a fork, and both work at once. The process reads one Order as JSON from stdin and takes
iptables' own lock; the forks commit table by table, read back what the kernel holds and compare; one Report goes out as
JSON. Other programs' chains and rules are neither decoded nor changed.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from netctl.kernel import optiontables
from netctl.kernel.ruleset import BUILT_IN, PREFIX, TABLES, VERDICTS, Family, Rule

SONAMES: Final = {
    "c": "libc.so.6",
    "ip4tc": "libip4tc.so.2",
    "ip6tc": "libip6tc.so.2",
    "xtables": "libxtables.so.12",
}
LOCK: Final = "/run/xtables.lock"  # iptables(8), --wait
LOCK_WAIT_S: Final = 10.0
PR_SET_PDEATHSIG: Final = 1  # prctl(2)


class Part(Struct, frozen=True):
    """Make exactly these rules of a family stand in these tables (no rules: remove all of ours)."""

    family: Family
    rules: tuple[Rule, ...]
    tables: tuple[str, ...] = TABLES


class Order(Struct, frozen=True):
    """At most one part for each family."""

    parts: tuple[Part, ...]


class Report(Struct, frozen=True):
    """A sentence about what went wrong; '' where nothing did."""

    error: str = ""


def main() -> int:
    try:
        iptc = _import_iptc()
    except Exception as exc:
        _say(Report(error=f"The firewall's rules cannot be written here: python-iptables does not load ({exc})."))
        return os.EX_UNAVAILABLE
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        with _lock():
            errors = [_ended(*child) for child in [_begun(iptc, part) for part in order.parts]]
    except OSError as exc:  # no lock, no process
        errors = [str(exc)]
    return _say(Report(error=" ".join(filter(None, errors))))


def _begun(iptc: Any, part: Part) -> tuple[Family, int, int]:
    """A process that makes one family's rules stand: the family, its pid, and the pipe on which it says what failed."""
    told, telling = os.pipe()
    parent = os.getpid()
    if pid := os.fork():
        os.close(telling)
        return part.family, pid, told
    status = os.EX_SOFTWARE
    try:
        _end_with(parent)
        os.write(telling, _stand(iptc, part).encode())
        status = os.EX_OK
    finally:
        os._exit(status)


def _end_with(parent: int) -> None:
    """A process that netctl gives up on and kills shall not live on in its forks, which hold the lock as it did."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before that
        os._exit(os.EX_UNAVAILABLE)


def _stand(iptc: Any, part: Part) -> str:
    try:
        for name in part.tables:
            Table(iptc, part.family, name, part.rules).make_stand()
    except Exception as exc:  # iptc raises bare exceptions of many kinds; each ends as one sentence
        return f"IPv{part.family}: {exc}"
    return ""


def _ended(family: Family, pid: int, told: int) -> str:
    with os.fdopen(told, "rb") as pipe:
        sentence = pipe.read().decode("utf-8", "replace")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return sentence if status == os.EX_OK else f"IPv{family}: what writes its rules ended with {status}."


def _say(report: Report) -> int:
    sys.stdout.buffer.write(msgspec.json.encode(report))
    sys.stdout.buffer.flush()
    return 1 if report.error else 0


def _import_iptc() -> Any:
    """Import python-iptables without what makes it slow, 0.05 s instead of 0.3.

    That is setuptools' distutils (it has another way), and a dozen runs of ldconfig and gcc to find four libraries
    whose names are known and one that lies beside it.
    """
    # An import of it then raises ModuleNotFoundError.
    sys.modules["distutils"] = None  # type: ignore[assignment]
    search = ctypes.util.find_library

    def find(name: str) -> str | None:
        return None if "xtwrapper" in name else _loadable(SONAMES.get(name)) or search(name)

    ctypes.util.find_library = find
    if "XTABLES_LIBDIR" not in os.environ:
        found = sorted(Path("/usr/lib").glob("*/xtables"))
        if not any(file for folder in found for file in folder.glob("libxt_*.so")):
            raise ImportError("there are no extensions in /usr/lib/*/xtables")
        os.environ["XTABLES_LIBDIR"] = str(found[0])
    import iptc  # noqa: PLC0415 - only this process may load it

    # A jump to a chain makes iptc look for it in all tables; looking at a table creates it, and with it a hook that
    # every packet passes. These two are not used.
    for table in (iptc.Table, iptc.Table6):
        table.existing_table_names.update({"raw": False, "security": False})
    optiontables.mend(iptc)
    return iptc


def _loadable(soname: str | None) -> str | None:
    try:
        return ctypes.CDLL(soname)._name if soname else None
    except OSError:
        return None


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    deadline = time.monotonic() + LOCK_WAIT_S
    with Path(os.environ.get("XTABLES_LOCKFILE", LOCK)).open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another program holds {LOCK} for more than {LOCK_WAIT_S:.0f} s") from None
                time.sleep(0.02)
        yield


class Table:
    """One table of one family, between what stands and what shall stand of ours in it."""

    def __init__(self, iptc: Any, family: int, name: str, rules: Sequence[Rule]) -> None:
        self._iptc, self._family, self._name = iptc, family, name
        self._rules = [rule for rule in rules if rule.table == name]
        self._table = (iptc.Table if family == 4 else iptc.Table6)(name)
        self._table.autocommit = False
        self._table.refresh()
        names = [rule.chain for rule in self._rules if rule.chain.startswith(PREFIX)]
        self._wanted = list(dict.fromkeys(names))

    def make_stand(self) -> bool:
        """True where the table had to be changed. Raises where the kernel refuses, or holds something else after."""
        if self._stands():
            return False
        self._rebuild()
        self._table.commit()
        self._table.refresh()
        if not self._stands():
            raise RuntimeError(f"table {self._name}: the kernel holds other rules than those just committed")
        return True

    def _own_chains(self) -> list[str]:
        return [chain.name for chain in self._table.chains if chain.name.startswith(PREFIX)]

    def _built_in(self) -> list[str]:
        return [name for name in BUILT_IN if self._table.builtin_chain(name)]

    def _rebuild(self) -> None:
        table = self._table
        for chain in self._built_in():
            jumps = [i for i, entry in enumerate(self._entries(chain)) if self._target(entry).startswith(PREFIX)]
            for position in reversed(jumps):
                self._delete(chain, position)
        standing = self._own_chains()
        for chain in standing:
            table.flush_entries(chain)
        for chain in standing:
            if chain not in self._wanted:
                table.delete_chain(chain)
        for chain in self._wanted:
            if chain not in standing:
                table.create_chain(chain)
        for chain in [*self._wanted, *self._built_in()]:
            for position, rule in enumerate(r for r in self._rules if r.chain == chain):
                self._iptc.Chain(table, chain).insert_rule(self._build(rule), position)

    def _stands(self) -> bool:
        if sorted(self._own_chains()) != sorted(self._wanted):
            return False
        for chain in [*self._wanted, *self._built_in()]:
            wanted = [rule for rule in self._rules if rule.chain == chain]
            entries = self._entries(chain)
            ours, others = entries[: len(wanted)], entries[len(wanted) :]
            if chain in self._wanted and others:
                return False
            if any(self._target(entry).startswith(PREFIX) for entry in others):
                return False
            if len(ours) != len(wanted) or not all(map(self._same, ours, wanted)):
                return False
        return True

    def _entries(self, chain: str) -> list[Any]:
        entries, entry = [], self._table.first_rule(chain)
        while entry:
            entries.append(entry)
            entry = self._table.next_rule(entry)
        return entries

    def _target(self, entry: Any) -> str:
        return (self._table.get_target(entry) or b"").decode()

    def _delete(self, chain: str, position: int) -> None:
        library = self._table._iptc
        delete = library.iptc_delete_num_entry
        if delete(chain.encode(), position, self._table._handle) != 1:
            raise RuntimeError(f"table {self._name}: cannot delete the jump in {chain}: {self._table.strerror()}")

    def _same(self, entry: Any, rule: Rule) -> bool:
        """Byte by byte, but for counters and what the kernel keeps for itself inside extensions."""
        built = self._build(rule)
        if self._target(entry) != rule.target:
            return False
        ours, theirs = bytes(built.rule), ctypes.string_at(ctypes.addressof(entry), entry.next_offset)
        if len(ours) != len(theirs) or built.entry.target_offset != entry.target_offset:
            return False
        packet = ctypes.sizeof(built.entry.ip if self._family == 4 else built.entry.ipv6)
        parts, offset = [], type(built.entry).elems.offset
        for match in built.matches:
            parts.append((offset, match.usersize))
            offset += match.size
        # A verdict's or jump's target holds an offset inside the table: its name was compared above.
        if not (rule.target in VERDICTS or rule.target.startswith(PREFIX)):
            parts.append((offset, built.target.usersize))
        return ours[:packet] == theirs[:packet] and all(
            _extension(ours, at, size) == _extension(theirs, at, size) for at, size in parts
        )

    def _build(self, rule: Rule) -> Any:
        built = self._iptc.Rule() if self._family == 4 else self._iptc.Rule6()
        if rule.source:
            built.src = rule.source
        if rule.destination:
            built.dst = rule.destination
        if rule.in_interface:
            built.in_interface = rule.in_interface
        if rule.out_interface:
            built.out_interface = rule.out_interface
        if rule.protocol:
            built.protocol = "58" if rule.protocol == "ipv6-icmp" else rule.protocol
        for match in rule.matches:
            _set_options(built.create_match(match.name), match.options)
        _set_options(built.create_target(rule.target), rule.options)
        built.final_check()
        return built


def _extension(blob: bytes, at: int, size: int) -> tuple[bytes, bytes, bytes]:
    """Size, name and data of a match or target (struct xt_entry_match): behind the name's NUL stands anything."""
    return blob[at : at + 2], blob[at + 2 : at + 31].split(b"\0")[0], blob[at + 31 : at + size]


def _set_options(extension: Any, options: Sequence[tuple[str, Any]]) -> None:
    for name, value in options:
        extension.set_parameter(name.replace("-", "_"), value if isinstance(value, str) else list(value))


if __name__ == "__main__":
    sys.exit(main())
