"""Seals what netctl has seen of connections, chunk by chunk, for the office alone. It must not know who asks for it.

The meter calls it at each tick, where log.nat is on and nowhere else. What is not sealed yet waits in netctl's memory:
nothing of it is on the disk, and a power cut loses CHUNK_S at most. netctl is told to forget only what is on the disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from netctl.api.types import Connections
from portal import clock, sealing
from portal.config import SiteConfig
from portal.domain import natlog
from portal.domain.model import Now
from portal.domain.natlog import Head
from portal.store import natlog as store
from portal.store import sessions
from portal.store.db import Database

log = logging.getLogger("gerbang.natlog")

CHUNK_S: Final = 600.0
CHUNK_SIGHTINGS: Final = 8192  # half of what netctl keeps


class Source(Protocol):
    """What it needs of netctl.api.client.Client."""

    def connections(self, stream: str, after: int, most: int) -> Connections: ...


def prepare(config: SiteConfig) -> None:
    """Load what sealing needs, while the source can be read. site.toml was checked: the key is one."""
    sealing.seal(_office(config), b"", b"")


def _office(config: SiteConfig) -> sealing.OfficeKey:
    if config.office.key is None:
        raise ValueError("The NAT log needs office.key in site.toml.")
    return sealing.parse_office_key(config.office.key)


class NatLog:
    """Of one meter."""

    def __init__(
        self, config: SiteConfig, netctl: Source, database: Database, read_clock: Callable[[], Now] = clock.now
    ) -> None:
        self._site = config.site.code
        self._office = _office(config)
        self._most_bytes = config.log.nat_megabytes * 1_000_000
        self._netctl = netctl
        self._database = database
        self._read_clock = read_clock
        self._newest: Head | None = None
        self._resumed = False
        self._waits_since_boot_s: float | None = None

    def tick(self) -> None:
        """Seal a chunk where one is due. Raises StoreError, NetctlError: the next tick tries again, nothing is lost."""
        self._resume()
        found = self._ask(0)
        now_boot_s = self._read_clock().boot_s
        if not found.waiting and found.lost == self._lost_before(found):
            self._waits_since_boot_s = None
            return
        if self._waits_since_boot_s is None:
            self._waits_since_boot_s = now_boot_s
        if found.waiting >= CHUNK_SIGHTINGS or now_boot_s - self._waits_since_boot_s >= CHUNK_S:
            self.flush()

    def flush(self) -> None:
        """Seal all that waits. Raises StoreError, NetctlError."""
        self._resume()
        while True:
            found = self._ask(CHUNK_SIGHTINGS)
            if found.records or found.lost > self._lost_before(found):
                self._seal(found)
            if not found.waiting:
                self._waits_since_boot_s = None
                return

    def stop(self) -> None:
        """Seal all that waits, and let the database go. Raises StoreError, NetctlError."""
        try:
            self.flush()
        finally:
            self._database.close()

    def _resume(self) -> None:
        """Go on after the last chunk on the disk, whoever wrote it."""
        if not self._resumed:
            with self._database.read() as db:
                self._newest = store.newest(db)
            self._resumed = True

    def _ask(self, most: int) -> Connections:
        newest = self._newest
        return self._netctl.connections(newest.stream if newest else "", newest.last if newest else 0, most)

    def _goes_on(self, found: Connections) -> Head | None:
        """The newest chunk, where this stream has one."""
        return self._newest if self._newest is not None and self._newest.stream == found.stream else None

    def _lost_before(self, found: Connections) -> int:
        """What chunks say already of this stream's losses."""
        before = self._goes_on(found)
        return before.stream_lost if before else 0

    def _seal(self, found: Connections) -> None:
        if found.stream is None:  # netctl was started without the switch, and will be started anew
            return
        before = self._goes_on(found)
        seen = natlog.spans(found.records)
        with self._database.write() as db:
            now = self._read_clock()
            sessions.note_time(db, now)
            head = Head(
                number=store.next_number(db),
                boot_id=found.boot_id,
                from_boot_ms=before.until_boot_ms if before else found.since_boot_ms,
                until_boot_ms=found.until_boot_ms,
                offset_ms=round((now.wall_s - now.boot_s) * 1000),
                trusted=store.clock_is_trusted(db, now),
                stream=found.stream,
                last=found.last,
                count=len(seen),
                lost=found.lost - self._lost_before(found),
                stream_lost=found.lost,
                office=self._office.fingerprint,
            )
            content = natlog.pack(seen, store.devices(db, sorted({span.session for span in seen})))
            store.add(db, head, self._site, sealing.seal(self._office, head.info(self._site), content))
            dropped = store.drop_to(db, self._most_bytes)
        self._newest = head
        if head.lost:
            log.warning("NAT log: %d sightings of connections or more were lost.", head.lost)
        if dropped:
            log.warning("NAT log: full; the oldest %d connections were dropped.", dropped)
