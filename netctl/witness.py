"""Keeps what was seen of members' connections until the portal has taken it. It must not know why, nor keep much.

Sightings are numbered; who takes them says up to which number it has them for good, so that asking twice does no harm.
What is not taken in time is lost, the oldest first, and counted.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from netctl.api.types import Connection, Connections
from netctl.kernel.base import Flow, Sighting

MAX_KEPT: Final = 16_384  # some 5 MB


class Witness:
    """``now_boot_ms`` is when it begins to look."""

    def __init__(self, now_boot_ms: int, most: int = MAX_KEPT) -> None:
        self._stream = secrets.token_hex(8)
        self._since_boot_ms = self._until_boot_ms = now_boot_ms
        self._kept: deque[Connection] = deque()
        self._most = most
        self._last = 0  # number of the newest
        self._lost = 0

    def lose(self, count: int) -> int:
        """So many were not seen; how many that are now, altogether."""
        self._lost += count
        return self._lost

    def see(
        self,
        sightings: Iterable[Sighting],
        grant_of: Mapping[str, int],
        gone: Mapping[str, int],
        lan: Sequence[str],
        now_boot_ms: int,
    ) -> None:
        """Keep those of members that leave the LAN, and the ends of those who were members just now (``gone``).

        Both are address -> grant. When a member goes, its connections are taken down after it.
        """
        inside = [ipaddress.ip_network(prefix) for prefix in lan]
        for seen in sightings:
            grant = grant_of.get(seen.inner) or (gone.get(seen.inner) if seen.flow is Flow.END else None)
            if grant is None or any(ipaddress.ip_address(seen.remote) in network for network in inside):
                continue
            self._kept.append(_connection(seen, grant))
            self._last += 1
            if len(self._kept) > self._most:
                self._kept.popleft()
                self._lost += 1
        self._until_boot_ms = now_boot_ms

    def take(self, stream: str, after: int, most: int, boot_id: str) -> Connections:
        """Forget those up to number ``after`` where that is of this stream, and give the next ones."""
        if stream == self._stream:
            while self._kept and self._last - len(self._kept) < after:
                self._kept.popleft()
        first = self._last - len(self._kept) + 1
        records = tuple(self._kept[place] for place in range(min(most, len(self._kept))))
        waiting = len(self._kept) - len(records)
        return Connections(
            boot_id=boot_id,
            stream=self._stream,
            since_boot_ms=self._since_boot_ms,
            until_boot_ms=records[-1].at_boot_ms if records and waiting else self._until_boot_ms,
            records=records,
            last=first + len(records) - 1,
            waiting=waiting,
            lost=self._lost,
        )


def nothing(boot_id: str) -> Connections:
    """The answer where nobody looks."""
    return Connections(
        boot_id=boot_id, stream=None, since_boot_ms=0, until_boot_ms=0, records=(), last=0, waiting=0, lost=0
    )


def _connection(seen: Sighting, grant: int) -> Connection:
    return Connection(
        flow=seen.flow.value,
        at_boot_ms=seen.at_boot_ms,
        grant=grant,
        protocol=seen.protocol,
        inner=seen.inner,
        inner_port=seen.inner_port,
        outer=seen.outer,
        outer_port=seen.outer_port,
        remote=seen.remote,
        remote_port=seen.remote_port,
    )
