"""Speak raw netlink: attributes, many messages in one send, dumps read by offset. It must not know sets or classes.

pyroute2 needs 0.4 ms to encode one message and 22 MB to be imported; the daemon sends hundreds in one system call and
reads back thousands every few seconds. So the few messages of the hot path are written here, and everything rare
is done with pyroute2 in a child process (netctl.kernel.links).

Layout: include/uapi/linux/netlink.h (nlmsghdr, nlattr, nlmsgerr). Numbers are in host byte order unless an attribute
carries NLA_F_NET_BYTEORDER.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from netctl.api.errors import KERNEL, NetctlError

NETLINK_ROUTE: Final = 0
NETLINK_NETFILTER: Final = 12

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_ECHO: Final = 0x8
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400

NESTED: Final = 0x8000
NET_BYTEORDER: Final = 0x4000
_TYPE_MASK: Final = 0x3FFF

_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NLMSG_MIN_TYPE: Final = 0x10
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10  # do not echo the request in an error
_NETLINK_EXT_ACK: Final = 11  # add the kernel's own sentence
_NETLINK_GET_STRICT_CHK: Final = 12  # dumps honour the filter in the request's header
_SO_RCVBUFFORCE: Final = 33
_NLM_F_CAPPED: Final = 0x100
_NLM_F_ACK_TLVS: Final = 0x200
_NLMSGERR_ATTR_MSG: Final = 1

_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_RECV_BYTES: Final = 1 << 18
_SEND_BYTES: Final = 96 * 1024  # below the default net.core.wmem_default of 208 KiB, which netlink sends whole
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Message:
    """One request without its header's length, sequence and port: those belong to the socket.

    ``instead``: what is asked for where the kernel refuses this one.
    """

    kind: int
    flags: int
    body: bytes
    instead: Message | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The kernel's answer to message ``index`` of a batch: a positive errno and its own words, where it gave some."""

    index: int
    errno: int
    words: str

    def __str__(self) -> str:
        return self.words or (os.strerror(self.errno) if self.errno < 4096 else f"ipset error {self.errno}")


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute: length, type, payload, padding to 4 bytes."""
    return _ATTR.pack(len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    return attr(kind | NESTED, b"".join(attributes))


def spans(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type without flags, payload start, payload end) of every attribute between two offsets."""
    while start + 4 <= end:
        length, kind = _ATTR.unpack_from(data, start)
        if length < 4:
            return
        yield kind & _TYPE_MASK, start + 4, start + length
        start += (length + 3) & ~3


def attributes(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """Payloads by type. Where a type repeats, the last wins (lists are walked with ``spans``)."""
    found: dict[int, bytes] = {}
    while start + 4 <= end:
        length, kind = _ATTR.unpack_from(data, start)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = data[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


class Netlink:
    """One netlink socket in the calling thread's network namespace. Safe to use from several threads."""

    def __init__(self, protocol: int, groups: int = 0) -> None:
        self._lock = threading.Lock()
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._socket.bind((0, groups))
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
            except PermissionError:  # not root of the initial user namespace: the ceiling of rmem_max applies
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self._socket.settimeout(_TIMEOUT_S)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def transact(self, messages: Sequence[Message]) -> list[Refusal]:
        """Send the messages, in order and in as few sends as fit; return those that the kernel refused.

        The kernel works through all of one send whatever it refuses; what is to be asked instead is sent after that.
        Only the last message asks for an answer: the kernel answers refused ones unasked and in order, so the last
        answer is the end.
        """
        refused: list[Refusal] = []
        with self._lock:
            start = 0
            while start < len(messages):
                end, size = start, 0
                while end < len(messages) and (end == start or size + len(messages[end].body) + 20 <= _SEND_BYTES):
                    size += len(messages[end].body) + 20
                    end += 1
                refused += self._exchange(messages, start, end)
                start = end
        again = [(refusal.index, other) for refusal in refused if (other := messages[refusal.index].instead)]
        if again:
            final = [refusal for refusal in refused if messages[refusal.index].instead is None]
            for refusal in self.transact([other for _, other in again]):
                final.append(replace(refusal, index=again[refusal.index][0]))
            return final
        return refused

    def _exchange(self, messages: Sequence[Message], start: int, end: int) -> list[Refusal]:
        first = self._sequence + 1
        self._sequence += end - start
        parts = []
        for index in range(start, end):
            message = messages[index]
            flags = message.flags | NLM_F_REQUEST | (NLM_F_ACK if index == end - 1 else 0)
            length = 16 + len(message.body)
            parts.append(_HEADER.pack(length, message.kind, flags, first + index - start, 0))
            parts.append(message.body + b"\0" * (-length % 4))
        self._socket.send(b"".join(parts))
        refused: list[Refusal] = []
        last = self._sequence
        while True:
            data = self._socket.recv(_RECV_BYTES)
            offset = 0
            while offset < len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
                if kind == _NLMSG_ERROR and first <= sequence <= last:
                    errno = -_ERRNO.unpack_from(data, offset + 16)[0]
                    if errno:
                        words = _words(data, offset, length, flags)
                        refused.append(Refusal(start + sequence - first, errno, words))
                    if sequence == last:
                        return refused
                offset += (length + 3) & ~3

    def get(self, message: Message) -> bytes | None:
        """The payload of the one answer to ``message``, None where there is no such thing. Raises OSError.

        An acknowledgement is asked for as well: to some questions (a built-in qdisc) the kernel has nothing else to
        say; and an echo: without it the kernel tells a qdisc only to those who listen to all changes.
        """
        with self._lock:
            self._sequence += 1
            length = 16 + len(message.body)
            flags = message.flags | NLM_F_REQUEST | NLM_F_ACK | NLM_F_ECHO
            self._socket.send(_HEADER.pack(length, message.kind, flags, self._sequence, 0) + message.body)
            answer = None
            while True:
                data = self._socket.recv(_RECV_BYTES)
                length, kind, _, sequence, _ = _HEADER.unpack_from(data, 0)
                if sequence != self._sequence:
                    continue
                if kind != _NLMSG_ERROR:
                    answer = data[16:length]
                    continue
                errno = -_ERRNO.unpack_from(data, 16)[0]
                if errno in (0, 2, 19):  # none, ENOENT, ENODEV
                    return answer
                raise OSError(errno, os.strerror(errno))

    def dump(self, message: Message) -> list[tuple[bytes, int, int]]:
        """Every answer to a dump request as (buffer, payload start, payload end). Raises OSError.

        A dump that a change interrupted is asked for again, twice at most: the next tick sees what it missed.
        """
        with self._lock:
            for _ in range(2):
                found, interrupted = self._dump_once(message)
                if not interrupted:
                    break
            else:
                found, _ = self._dump_once(message)
            return found

    def _dump_once(self, message: Message) -> tuple[list[tuple[bytes, int, int]], bool]:
        self._sequence += 1
        length = 16 + len(message.body)
        flags = message.flags | NLM_F_REQUEST | NLM_F_DUMP
        self._socket.send(_HEADER.pack(length, message.kind, flags, self._sequence, 0) + message.body)
        found: list[tuple[bytes, int, int]] = []
        interrupted = False
        while True:
            data = self._socket.recv(_RECV_BYTES)
            offset = 0
            while offset < len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
                if sequence == self._sequence:
                    interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                    if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                        errno = -_ERRNO.unpack_from(data, offset + 16)[0] if length >= 20 else 0
                        if errno:
                            raise OSError(errno, os.strerror(errno) if errno < 4096 else f"ipset error {errno}")
                        return found, interrupted
                    found.append((data, offset + 16, offset + length))
                offset += (length + 3) & ~3

    def events(self) -> Iterator[tuple[int, bytes, int, int]]:
        """(message type, buffer, payload start, payload end) of what waits in the socket; never blocks.

        Raises OSError ENOBUFS where the kernel had to drop events.
        """
        while True:
            try:
                # Not recv with MSG_DONTWAIT: a Python socket with a timeout waits that long all the same.
                data = os.read(self._socket.fileno(), _RECV_BYTES)
            except BlockingIOError:
                return
            offset = 0
            while offset < len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
                if kind >= _NLMSG_MIN_TYPE:
                    yield kind, data, offset + 16, offset + length
                offset += (length + 3) & ~3


def _words(data: bytes, offset: int, length: int, flags: int) -> str:
    """The kernel's sentence in an extended acknowledgement (NLMSGERR_ATTR_MSG), or ''."""
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    start = offset + 36 if flags & _NLM_F_CAPPED else offset + 20 + _HEADER.unpack_from(data, offset + 20)[0]
    words = attributes(data, start, offset + length).get(_NLMSGERR_ATTR_MSG, b"")
    return words.rstrip(b"\0").decode("utf-8", "replace")


def refused(what: str, why: object, hint: str = "") -> NetctlError:
    """The error for something that the kernel refused: ``what`` was being done, ``why`` the kernel's answer."""
    return NetctlError(KERNEL, f"the kernel refused to {what}: {why}", hint)
