"""CPU nanoseconds per forwarded packet, netctl's datapath against plain NAT, with 1, 100 and 1000 admitted users.

It must not know rates and goodput. Method: a C program floods 64-byte UDP packets through the gateway, on one core;
veth runs the whole path in the sender's context, so its thread's CPU time plus what ksoftirqd added is the path's
cost (sender and sink are a constant part of it). Plain and shaped alternate within a run; the best of each counts,
because everything that disturbs a run makes it dearer. The measured user stands in the middle of the list.

Virtual interfaces have no queue, so plain NAT on them has none to pay for. Each card has one: a second plain NAT, with
the cheapest that there is, says what the gateway adds on a real box.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.line import INTERNET_ADDRESS, WAN_ADDRESS, Line, grant, netctl_only, plain_nat, received_packets
from bench.result import Reach, Result
from tests.village.netns import Namespace

SIZES = (1, 100, 1000)
ROUNDS = 5
PACKETS = 60_000
PORT = 5002
MUCH_KBIT = 10_000_000
CHEAPEST_QUEUE = "pfifo"
CORE = "0"
Round = tuple[float, float]
"""ns per packet: up, down."""


def _ksoftirqd_ns() -> int:
    """CPU time of the ksoftirqd threads: first field of schedstat (Documentation/scheduler/sched-stats.rst)."""
    total = 0
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().startswith("ksoftirqd/"):
                total += int((comm.parent / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def _ns_per_packet(flood: str, sender: Namespace, source: str, target: str, sink: Namespace) -> float:
    arrived = received_packets(sink)
    softirq = _ksoftirqd_ns()
    command = ["taskset", "-c", CORE, flood, source, str(PORT), target, str(PORT), str(PACKETS)]
    spent = int(sender.run(command).stdout) + _ksoftirqd_ns() - softirq
    arrived = received_packets(sink) - arrived
    if arrived < PACKETS * 0.99:
        raise RuntimeError(f"of {PACKETS} packets only {arrived} reached {sink.label}: the figure would be too good")
    return spent / PACKETS


class _Flooded:
    """Both ends of one line with a bound, unread sink each, and the NAT mapping that the way back needs."""

    def __init__(self, parts: Line, flood: str) -> None:
        self.parts, self.flood = parts, flood
        self.client = parts.clients[0]
        self.outside = parts.internet.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.outside.bind((INTERNET_ADDRESS, PORT))
        self.inside = self.client.ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.inside.bind((self.client.ip, PORT))

    def round(self) -> Round:
        up = _ns_per_packet(self.flood, self.client.ns, self.client.ip, INTERNET_ADDRESS, self.parts.internet)
        down = _ns_per_packet(self.flood, self.parts.internet, INTERNET_ADDRESS, WAN_ADDRESS, self.client.ns)
        return up, down

    def close(self) -> None:
        self.outside.close()
        self.inside.close()


def cpu_per_packet() -> Iterator[Result]:
    middle = max(SIZES) // 2
    with tempfile.TemporaryDirectory(prefix="gerbang-bench-") as directory:
        flood = str(Path(directory) / "flood")
        subprocess.run(["gcc", "-O2", "-o", flood, str(Path(__file__).with_name("flood.c"))], check=True)
        with (
            plain_nat([middle]) as plain_line,
            plain_nat([middle], queue=CHEAPEST_QUEUE) as queued_line,
            netctl_only([middle]) as shaped_line,
        ):
            plain, queued, shaped = (_Flooded(one, flood) for one in (plain_line, queued_line, shaped_line))
            for size in SIZES:
                first = middle - size // 2
                users = range(first, first + size)
                shaped_line.admit([grant(n, down_kbit=MUCH_KBIT, up_kbit=MUCH_KBIT) for n in users])
                for each in (plain, queued, shaped):
                    each.round()  # warm: caches, neighbour entries, conntrack
                rounds = [(plain.round(), queued.round(), shaped.round()) for _ in range(ROUNDS)]
                bare, with_queue, ours = zip(*rounds, strict=True)
                yield _compared(f"cpu_per_packet_{size}_users", bare, ours, "plain", Reach(at_least=0.85))
                name, what = f"cpu_per_packet_queue_{size}_users", f"plain with {CHEAPEST_QUEUE} on both interfaces"
                yield _compared(name, with_queue, ours, what, Reach())
            for each in (plain, queued, shaped):
                each.close()


def _compared(name: str, plain: Sequence[Round], ours: Sequence[Round], what: str, reach: Reach) -> Result:
    best_plain, best_ours = _best(plain), _best(ours)
    return Result(
        name,
        best_plain / best_ours,
        "plain/ours",
        reach,
        baseline=1.0,
        samples=[sum(p) / sum(o) for p, o in zip(plain, ours, strict=True)],
        note=f"{best_plain:.0f} ns a packet {what}, {best_ours:.0f} ns shaped and counted; up and down",
    )


def _best(rounds: Sequence[Round]) -> float:
    """ns per packet: the best round of each way, both ways averaged."""
    return sum(min(way) for way in zip(*rounds, strict=True)) / 2
