"""Just enough DNS (RFC 1035) for a phone: ask one name, read the addresses. It must not know sockets or leases."""

from __future__ import annotations

import ipaddress
import struct

A, AAAA, TXT = 1, 28, 16
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5


def query(name: str, kind: int, ident: int) -> bytes:
    """The wire form of one recursive question."""
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split("."))
    return struct.pack("!6H", ident, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def _skip_name(data: bytes, at: int) -> int:
    while (length := data[at]) != 0:
        if length & 0xC0:  # a pointer ends the name
            return at + 2
        at += 1 + length
    return at + 1


def answer(data: bytes, kind: int) -> tuple[int, int, list[str]]:
    """(ident, response code, addresses of ``kind``) of a reply."""
    ident, flags, questions, answers, _, _ = struct.unpack_from("!6H", data)
    at = 12
    for _ in range(questions):
        at = _skip_name(data, at) + 4
    found = []
    for _ in range(answers):
        at = _skip_name(data, at)
        record, _, _, length = struct.unpack_from("!2HIH", data, at)
        at += 10
        if record == kind and kind in (A, AAAA):
            found.append(str(ipaddress.ip_address(data[at : at + length])))
        at += length
    return ident, flags & 0xF, found
