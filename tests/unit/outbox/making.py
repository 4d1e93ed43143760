"""Batches with fixed keys, as files or in an outbox. It must not know how the gateway chooses what to tell."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from portal import sealing
from portal.domain import batch
from portal.domain.batch import Class, Dropped, Header, Previous, Sealed
from portal.sealing import OfficeSecret, SigningKey
from portal.store import outbox as store
from portal.store.outbox import Stored

OFFICE = OfficeSecret(bytes(range(32)), bytes(range(32, 64)))
GATEWAY = SigningKey(bytes(range(64, 96)))
SITE = "64.03.01.2001"
EPOCH = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
OTHER_EPOCH = "2c8d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
BEGAN = "2026-11-25T16:00:00Z"


@dataclass
class Maker:
    """One gateway's outbox of one epoch."""

    epoch: str = EPOCH
    began: str = BEGAN
    signing: SigningKey = GATEWAY
    previous: Previous | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    headers: list[Header] = field(default_factory=list)

    def add(
        self,
        records: Sequence[dict[str, object]],
        *,
        kind: Class = Class.SESSIONS,
        day: str = "2026-11-24",
        revision: int = 1,
        part: int = 1,
        parts: int = 1,
        missing_s: int = 0,
    ) -> bytes:
        number = len(self.headers) + 1
        ((_, content),) = batch.packed(batch.lines_of(records))
        gateway = self.signing.public.hex()
        sealed = sealing.seal(OFFICE.key, batch.seal_info(SITE, gateway, self.epoch, number), content)
        counts: dict[str, int] = {}
        for record in records:
            counts[str(record["kind"])] = counts.get(str(record["kind"]), 0) + 1
        header = Header(
            format=batch.FORMAT,
            site=SITE,
            zone="Asia/Makassar",
            gateway=gateway,
            office=OFFICE.key.fingerprint,
            epoch=self.epoch,
            epoch_began=self.began,
            number=number,
            made="2026-11-25T16:00:01Z",
            previous=self.previous,
            journal=f"{number:064x}",
            kind=kind,
            day=day,
            revision=revision,
            part=part,
            parts=parts,
            missing_s=missing_s,
            counts=counts,
            sealed=Sealed(len(sealed), batch.sha256(sealed)),
            dropped=Dropped(),
            oldest=1,
        )
        head = batch.header_bytes(header)
        content = batch.to_file(head, self.signing.sign(batch.FORMAT, head), sealed)
        self.files[batch.file_name(header)] = content
        self.headers.append(header)
        self.previous = Previous(self.epoch, number, batch.sha256(head))
        return content

    def fill(self, count: int) -> Maker:
        """So many small batches."""
        for number in range(count):
            self.add(
                [{"kind": "stretch", "id": str(number)}], kind=Class.STRETCHES, day=f"2026-10-{number % 28 + 1:02}"
            )
        return self

    def drop(self, number: int) -> None:
        """As the gateway does where there is no room."""
        header = self.headers[number - 1]
        head = batch.header_bytes(header)
        self.files[batch.file_name(header)] = batch.to_file(head, self.signing.sign(batch.DROPPED, head), None)


def hold(db: sqlite3.Connection, count: int, wall_s: float) -> Maker:
    """Put into an outbox so many batches of a new epoch, the second one dropped since."""
    epoch = store.begin_epoch(db, wall_s, GATEWAY.public)
    maker = Maker(epoch=epoch.id).fill(count)
    maker.drop(2)
    for header, content in zip(maker.headers, maker.files.values(), strict=True):
        found = batch.from_file(content)
        stored = Stored(epoch.id, header.number, found.head, found.signature, found.body)
        head = batch.sha256(found.head)
        store.add(db, stored, kind=header.kind, made_wall_s=wall_s, size=len(content), head=head)
    store.note_looked(db, epoch.id, "2026-11-24", OFFICE.key.fingerprint)
    return maker
