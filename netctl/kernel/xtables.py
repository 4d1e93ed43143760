"""Ask the kernel what it has of iptables, and whether our rules still stand. It must not change anything.

getsockopt is what libiptc itself uses, and costs microseconds; so the daemon can look at every tick without the
processes that python-iptables needs. Structures: include/uapi/linux/netfilter/x_tables.h, netfilter_ipv{4,6}/.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import socket
import struct
from typing import Final, Literal

from netctl.kernel.ruleset import BUILT_IN, PREFIX, TABLES, Family

_SO_GET_INFO, _SO_GET_ENTRIES = 64, 65
_SO_GET_REVISION: Final = {4: {"match": 66, "target": 67}, 6: {"match": 68, "target": 69}}
_REVISIONS: Final = {"SET": 3}  # the first that maps skbprio; of the others any will do
_LEVEL: Final = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
_DOMAIN: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_INFO = struct.Struct("=32sI5I5III")  # struct ipt_getinfo
_OFFSETS: Final = {4: 88, 6: 140}  # of target_offset in struct ipt_entry, ip6t_entry
_COUNTERS: Final = {4: (92, 112), 6: (144, 168)}  # comefrom and counters, up to the first match
_TARGET_BYTES: Final = 32  # struct xt_entry_target without data


def has_extension(family: Family, kind: Literal["match", "target"] | str, name: str) -> bool:
    """Does the kernel have this match or target? Loads its module where it is one."""
    request = struct.pack("=29sB", name.encode(), _REVISIONS.get(name, 0))
    try:
        _get(family, _SO_GET_REVISION[family][kind], request)
    except OSError as exc:
        return exc.errno == errno.EPROTONOSUPPORT and name not in _REVISIONS  # there, but in other revisions
    return True


def has_table(family: Family, name: str) -> bool:
    try:
        _info(family, name)
    except OSError:
        return False
    return True


def fingerprint(family: Family) -> str:
    """A digest of our chains and of our jumps at the heads of the built-in ones, counters left out; '' for none.

    Other programs' rules do not enter it, unless one stands before a jump of ours.
    """
    digest = hashlib.blake2b(digest_size=16)
    found = False
    for name in TABLES:
        try:
            parts = _own_parts(family, name)
        except OSError:
            continue
        for part in parts:
            found = True
            digest.update(part)
    return digest.hexdigest() if found else ""


def _own_parts(family: Family, name: str) -> list[bytes]:
    hooks, blob = _entries(family, name)
    at = _OFFSETS[family]
    chain_at: dict[int, str] = {offset: BUILT_IN[hook] for hook, offset in hooks.items()}
    entries: list[tuple[int, int, int]] = []
    offset = 0
    while offset < len(blob):
        target, following = struct.unpack_from("=HH", blob, offset + at)
        if _name(blob, offset + target) == "ERROR":  # stands before a user chain and holds its name (or ends the table)
            label = blob[offset + target + _TARGET_BYTES : offset + following].split(b"\0")[0].decode()
            chain_at[offset + following] = label
        else:
            entries.append((offset, offset + target, offset + following))
        offset += following
    parts = []
    chain, heads = "", False
    for start, target, end in entries:
        if start in chain_at:
            chain, heads = chain_at[start], True
        jump = _jump(blob, target, chain_at)
        ours = chain.startswith(PREFIX)
        heads = heads and jump.startswith(PREFIX)
        if not ours and not heads:
            continue
        entry = bytearray(blob[start:end])
        first, last = _COUNTERS[family]
        entry[first:last] = bytes(last - first)
        if jump:  # its data is an offset, which moves with other programs' rules
            entry[target - start + _TARGET_BYTES :] = jump.encode()
        parts.append(f"{name} {chain} ".encode() + bytes(entry))
    return parts


def _name(blob: bytes, target: int) -> str:
    return blob[target + 2 : target + 31].split(b"\0")[0].decode()


def _jump(blob: bytes, target: int, chain_at: dict[int, str]) -> str:
    """Name of the chain that a standard target jumps to, '' for a verdict or another target."""
    if _name(blob, target):
        return ""
    return chain_at.get(struct.unpack_from("=i", blob, target + _TARGET_BYTES)[0], "")


def _entries(family: Family, name: str) -> tuple[dict[int, int], bytes]:
    """({hook number: offset of its first entry}, the entries) of a table. Raises OSError."""
    for _ in range(5):
        info = _info(family, name)
        size = info[13]
        request = struct.pack("=32sIxxxx", name.encode(), size) + bytes(size)
        try:
            answer = _get(family, _SO_GET_ENTRIES, request)
        except OSError as exc:
            if exc.errno == errno.EAGAIN:  # the table changed in between
                continue
            raise
        valid = info[1]
        return {hook: info[2 + hook] for hook in range(5) if valid & 1 << hook}, answer[40:]
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _info(family: Family, name: str) -> tuple[int, ...]:
    info: tuple[int, ...] = _INFO.unpack(_get(family, _SO_GET_INFO, name.encode().ljust(_INFO.size, b"\0")))
    return info


def _get(family: Family, option: int, request: bytes) -> bytes:
    """getsockopt that also reads its buffer, which Python's own cannot. Raises OSError."""
    buffer = ctypes.create_string_buffer(request, len(request))
    length = ctypes.c_uint32(len(request))
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(_DOMAIN[family], socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as raw:
        if libc.getsockopt(raw.fileno(), _LEVEL[family], option, buffer, ctypes.byref(length)) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    return buffer.raw
