"""Reads host names of the block list, from site.toml and from a file of many, and knows which hosts fall under them.

It must not know dnsmasq, Flask or what a page says. A name stands for itself and all names below it. A hundred thousand
of them are kept as hashes, 0.8 MB, and not as 10 MB of text: two different names fall together once in 10^14 lists.
"""

from __future__ import annotations

import bisect
import hashlib
import logging
import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from portal.config import Block, SiteConfig

ADDRESS: Final = "192.0.2.1"  # what blocked names resolve to; RFC 5737: nobody's, so a phone's cache can do no harm
MOST_BYTES: Final = 32 << 20  # a million names; more would not fit into a small gateway's memory
# RFC 1123 2.1, with the underscore that lists of real names have, and at least one dot: "com" would be half the world.
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")

log = logging.getLogger("gerbang.blocklist")


def host_name(text: str) -> str | None:
    """The name as it is compared, in small letters and without a dot at the end; None where it is no host name."""
    name = text.strip().lower().removesuffix(".")
    return name if _HOST.fullmatch(name) else None


def under(name: str) -> Iterator[str]:
    """``name`` and the names above it: a.b.example, b.example, example."""
    while name:
        yield name
        name = name.partition(".")[2]


def parse(lines: Iterable[str]) -> Iterator[tuple[int, str, str | None]]:
    """Of a list of one name a line: line number from 1, what stands there, and the name (None: it is none).

    ``#`` starts a comment; empty lines are left out.
    """
    for number, line in enumerate(lines, 1):
        if text := line.partition("#")[0].strip():
            yield number, text, host_name(text)


def read_file(path: str | Path) -> tuple[list[str], list[tuple[int, str]]]:
    """Names of such a file, and its lines that are none: (number, text).

    OSError where it cannot be read, ValueError where it is no text or larger than MOST_BYTES.
    """
    with Path(path).open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8 text") from None
    found = list(parse(text.splitlines()))
    wrong = [(number, line) for number, line, name in found if name is None]
    return [name for _, _, name in found if name is not None], wrong


def each(block: Block) -> Iterator[str]:
    """All blocked names as they stand there; what is none is left out. It never holds a whole list in memory.

    A file that cannot be read is said in the log and left out: `gerbang check` refuses it, and one that vanishes later
    must not keep a whole village offline.
    """
    yield from filter(None, map(host_name, block.names))
    if block.file is not None:
        try:
            with Path(block.file).open(encoding="utf-8", errors="replace") as lines:
                yield from (name for _, _, name in parse(lines) if name is not None)
        except OSError as error:
            log.error("The block list %s is not in force: %s.", block.file, error.strerror or error)


def names(block: Block) -> list[str]:
    """All blocked names in order, without those that another one covers."""
    found = set(each(block))
    return sorted(name for name in found if not any(above in found for above in under(name.partition(".")[2])))


def is_used(block: Block) -> bool:
    """Does this site block anything?"""
    return bool(block.names or block.file)


class Blocklist:
    """Which hosts are blocked. ``covers`` costs a search for each label of the host."""

    def __init__(self, blocked: Iterable[str]) -> None:
        hashes = array("Q", map(_hash, blocked))
        self._hashes = array("Q", sorted(hashes))

    @classmethod
    def load(cls, config: SiteConfig) -> Blocklist:
        """That of this site; read once, at start."""
        return cls(each(config.block))

    def __len__(self) -> int:
        return len(self._hashes)

    def covers(self, host: str) -> bool:
        """Is this host, or a name above it, blocked? ``host`` is a name in any spelling, without a port."""
        name = host_name(host) if self._hashes else None
        return name is not None and any(self._has(_hash(part)) for part in under(name))

    def _has(self, wanted: int) -> bool:
        at = bisect.bisect_left(self._hashes, wanted)
        return at < len(self._hashes) and self._hashes[at] == wanted


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("ascii"), digest_size=8).digest(), "big")
