"""Tell which connections begin and end, as a process of its own: ``python -m netctl.kernel.flows``.

It must not know who may pass, nor keep anything.

It listens to connection tracking (NFNLGRP_CONNTRACK_NEW, _DESTROY) and reads the messages with pyroute2, whose import
costs 22 MB: so it runs only where the NAT log is switched on, and the daemon does not load it. Each sighting goes as
RECORD into the pipe that is its stdout; nothing is written to it but when a whole record fits, and what does not fit is
counted. The kernel counts what it had to drop itself. When it begins, every hour, and after a loss, it also tells of
the connections that are open: whoever reads needs to look no further back than that, and what was missed comes back.
It ends with its stdin.

Numbers: include/uapi/linux/netfilter/nfnetlink_conntrack.h, nfnetlink_compat.h.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from netctl.api.errors import KERNEL, NetctlError
from netctl.kernel.base import Flow, Sighting
from netctl.kernel.child import start
from netctl.kernel.wire import NETLINK_NETFILTER, Message, Netlink

RECORD: Final = struct.Struct("<BBBxIQ16s16s16sHHH2x")
"""Flow's place in KINDS, family (4, 6), protocol, events lost before, boot ms; inner, outer, remote; their ports."""
KINDS: Final = (Flow.BEGIN, Flow.OPEN, Flow.END)
PIPE_BYTES: Final = 1 << 20  # net.pipe-max-size of an ordinary kernel: 14000 records
MAX_TAKEN: Final = 8192  # at once: the daemon has logins to see to, and what waits longer is counted
RELIST_S: Final = 3600.0
RELIST_AFTER_LOSS_S: Final = 60.0
NICE: Final = 5  # it may fall behind and lose something; who is online may not
_GROUPS: Final = 1 << 0 | 1 << 2  # NF_NETLINK_CONNTRACK_NEW, _DESTROY
_CT_NEW, _CT_GET, _CT_DELETE = 1 << 8 | 0, 1 << 8 | 1, 1 << 8 | 2
_FAMILY: Final = {socket.AF_INET: ("V4", 4), socket.AF_INET6: ("V6", 6)}
_NLMSG_HEADER: Final = 16
_PIPE_BUF: Final = 4096  # pipe(7): up to so much is written whole or not at all
_HINT: Final = "Its own sentence stands in the log before this one."
_MAX_LOST: Final = (1 << 32) - 1


# --- in the daemon --------------------------------------------------------------------------------------------------


def unpack(data: bytes) -> tuple[list[Sighting], int]:
    """Whole records of a pipe, and how many events were lost before or between them."""
    found: list[Sighting] = []
    lost = 0
    for kind, family, protocol, missed, at_boot_ms, inner, outer, remote, *ports in RECORD.iter_unpack(data):
        lost += missed
        if family == 0:
            continue  # it tells of a loss alone
        af, size = (socket.AF_INET, 4) if family == 4 else (socket.AF_INET6, 16)
        names = [socket.inet_ntop(af, address[:size]) for address in (inner, outer, remote)]
        found.append(
            Sighting(KINDS[kind], at_boot_ms, protocol, names[0], ports[0], names[1], ports[1], names[2], ports[2])
        )
    return found, lost


class Listener:
    """Keeps the process running, and takes what it tells. Safe to use from one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def take(self) -> tuple[list[Sighting], int]:
        """What waits in the pipe; never blocks. Where the process had died, what it told, one loss, and a new process.

        Raises NetctlError where it died before it told anything.
        """
        if self._process is None:
            self._begin()
            return [], 0
        ended = self._process.poll()  # before what it wrote last is read
        found, lost = unpack(self._whole_records())
        if ended is not None and len(found) < MAX_TAKEN:
            self.close()
            self._begin()
            if not found:
                raise NetctlError(KERNEL, f"The process that hears of connections ended with code {ended}.", _HINT)
            lost += 1
        return found, lost

    def _begin(self) -> None:
        self._process = start("netctl.kernel.flows")
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        os.set_blocking(self._process.stdout.fileno(), False)
        with contextlib.suppress(OSError):  # a kernel that allows less: it holds less
            fcntl.fcntl(self._process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def _whole_records(self) -> bytes:
        assert self._process is not None and self._process.stdout is not None  # noqa: S101
        data = self._rest
        with contextlib.suppress(BlockingIOError):
            data += os.read(self._process.stdout.fileno(), MAX_TAKEN * RECORD.size - len(data))
        whole = len(data) - len(data) % RECORD.size
        self._rest = data[whole:]
        return data[:whole]

    def close(self) -> None:
        """End the process; the next ``take`` starts another."""
        process, self._process, self._rest = self._process, None, b""
        if process is not None:
            process.kill()
            process.communicate()


# --- in the process of its own --------------------------------------------------------------------------------------


def pack(sighting: Sighting | None, lost: int) -> bytes:
    """One record; of no sighting, what was lost alone."""
    if sighting is None:
        return RECORD.pack(0, 0, 0, lost, 0, b"", b"", b"", 0, 0, 0)
    ipv6 = ":" in sighting.inner
    af = socket.AF_INET6 if ipv6 else socket.AF_INET
    addresses = (socket.inet_pton(af, text) for text in (sighting.inner, sighting.outer, sighting.remote))
    return RECORD.pack(
        KINDS.index(sighting.flow),
        6 if ipv6 else 4,
        sighting.protocol,
        lost,
        sighting.at_boot_ms,
        *addresses,
        sighting.inner_port,
        sighting.outer_port,
        sighting.remote_port,
    )


class Decoder:
    """Reads connection tracking's messages with pyroute2."""

    def __init__(self) -> None:
        from pyroute2.netlink.nfnetlink.nfctsocket import nfct_msg  # noqa: PLC0415 - see above

        self._message: Any = nfct_msg

    def sighting(self, flow: Flow, at_boot_ms: int, data: bytes, start: int) -> Sighting | None:
        """What a message tells whose payload begins at ``start``; None where it is of nothing that leaves.

        A connection that leaves is answered from where it was sent to; one that is led to the portal is not. IPv4
        leaves under another address than it came with (netctl.kernel.ruleset), all other IPv4 stays on the gateway.
        """
        message = self._message(data, offset=start - _NLMSG_HEADER)
        message.decode()
        version, number = _FAMILY.get(message["nfgen_family"], ("", 0))
        original, reply = message.get_attr("CTA_TUPLE_ORIG"), message.get_attr("CTA_TUPLE_REPLY")
        if not number or original is None or reply is None:
            return None
        inner, inner_port, remote, remote_port = _ends(original, version)
        answering, _, outer, outer_port = _ends(reply, version)
        if answering != remote or (number == 4 and outer == inner):
            return None
        protocol = int(original.get_attr("CTA_TUPLE_PROTO").get_attr("CTA_PROTO_NUM"))
        if protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):  # the number of an echo stands for its ports
            name = "CTA_PROTO_ICMP_ID" if protocol == socket.IPPROTO_ICMP else "CTA_PROTO_ICMPV6_ID"
            numbers = [tuple_.get_attr("CTA_TUPLE_PROTO").get_attr(name) or 0 for tuple_ in (original, reply)]
            inner_port, outer_port, remote_port = numbers[0], numbers[1], 0
        return Sighting(flow, at_boot_ms, protocol, inner, inner_port, outer, outer_port, remote, remote_port)


def _ends(tuple_: Any, version: str) -> tuple[str, int, str, int]:
    """Source and destination of one direction, addresses and ports (0: there are none)."""
    addresses, ports = tuple_.get_attr("CTA_TUPLE_IP"), tuple_.get_attr("CTA_TUPLE_PROTO")
    return (
        addresses.get_attr(f"CTA_IP_{version}_SRC"),
        ports.get_attr("CTA_PROTO_SRC_PORT") or 0,
        addresses.get_attr(f"CTA_IP_{version}_DST"),
        ports.get_attr("CTA_PROTO_DST_PORT") or 0,
    )


class Outlet:
    """The pipe to the daemon. ``write`` gives what took the bytes whole, or raises BlockingIOError."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._lost = 0  # not told yet
        self._batch: list[bytes] = []

    def lose(self, count: int) -> None:
        self._lost += count

    def put(self, sighting: Sighting) -> None:
        told = min(self._lost, _MAX_LOST)
        self._lost -= told
        self._batch.append(pack(sighting, told))
        if len(self._batch) == _PIPE_BUF // RECORD.size:
            self.flush()

    def flush(self) -> None:
        """All that waits, or nothing: then it is lost, and counted."""
        if not self._batch and self._lost:
            told = min(self._lost, _MAX_LOST)
            self._lost -= told
            self._batch.append(pack(None, told))
        batch, self._batch = self._batch, []
        if not batch:
            return
        try:
            self._write(b"".join(batch))
        except BlockingIOError:
            for record in batch:
                family, told = RECORD.unpack(record)[1], RECORD.unpack(record)[3]
                self._lost += told + (family != 0)


class Drops:
    """Counts what the kernel could not put into a socket's buffer: the column Drops of /proc/net/netlink."""

    def __init__(self, descriptor: int) -> None:
        self._inode = str(os.fstat(descriptor).st_ino)
        self._before = self._now()

    def _now(self) -> int:
        for line in Path("/proc/thread-self/net/netlink").read_text(encoding="ascii").splitlines():
            columns = line.split()
            if columns[-1] == self._inode:
                return int(columns[-2])
        return 0

    def new(self) -> int:
        """Since the last call; 1 at least, since it is asked where the kernel says that there were some."""
        before, self._before = self._before, self._now()
        return max(1, self._before - before)


def boot_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def open_now(decoder: Decoder) -> Iterator[Sighting]:
    """The connections that are open. Raises OSError."""
    netlink = Netlink(NETLINK_NETFILTER)
    try:
        now = boot_ms()
        for data, start, _ in netlink.dump(Message(_CT_GET, 0, bytes((socket.AF_UNSPEC, 0, 0, 0)))):
            if (sighting := decoder.sighting(Flow.OPEN, now, data, start)) is not None:
                yield sighting
    finally:
        netlink.close()


def heard(netlink: Netlink, decoder: Decoder) -> Iterator[Sighting]:
    """What waits in the socket. Raises OSError ENOBUFS where the kernel had to drop events."""
    for kind, data, at, _ in netlink.events():
        flow = Flow.END if kind == _CT_DELETE else Flow.BEGIN
        if kind in (_CT_NEW, _CT_DELETE) and (sighting := decoder.sighting(flow, boot_ms(), data, at)):
            yield sighting


def listen(outlet: Outlet, stdin: int) -> None:
    """Tell until stdin ends. Raises OSError where the kernel does not tell."""
    decoder = Decoder()
    netlink = Netlink(NETLINK_NETFILTER, _GROUPS)  # before the first list: nothing may begin unseen in between
    os.set_blocking(netlink.fileno(), False)
    drops = Drops(netlink.fileno())
    relist_s = time.monotonic()
    while True:
        wait_s = max(0.0, relist_s - time.monotonic())
        ready, _, _ = select.select([netlink.fileno(), stdin], [], [], wait_s)
        if stdin in ready and not os.read(stdin, 1):
            return
        try:
            _put(outlet, heard(netlink, decoder))
            if time.monotonic() >= relist_s:
                relist_s = time.monotonic() + RELIST_S
                _put(outlet, open_now(decoder))
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:
                raise
            outlet.lose(drops.new())
            outlet.flush()
            relist_s = min(relist_s, time.monotonic() + RELIST_AFTER_LOSS_S)


def _put(outlet: Outlet, sightings: Iterable[Sighting]) -> None:
    try:
        for sighting in sightings:
            outlet.put(sighting)
    finally:
        outlet.flush()


def main() -> int:
    os.nice(NICE)
    stdout = sys.stdout.fileno()
    os.set_blocking(stdout, False)
    try:
        listen(Outlet(lambda data: os.write(stdout, data)), sys.stdin.fileno())
    except BrokenPipeError:
        return 0  # the daemon is gone
    except Exception as exc:  # pyroute2 raises many kinds; each ends as one sentence
        print(f"netctl: Connections cannot be heard: {exc or type(exc).__name__}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
