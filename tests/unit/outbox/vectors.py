"""Prints the test vectors of docs/export-format.md: `python -m tests.unit.outbox.vectors`; what is sealed is random."""

from __future__ import annotations

import json

from portal import acknowledge, sealing
from portal.domain import batch, batchcheck, journal
from portal.domain.batch import Class
from tests.unit.outbox.making import GATEWAY, OFFICE, Maker

RECORDS: list[dict[str, object]] = [
    {
        "kind": "sample",
        "id": "1",
        "at": "2026-11-23T23:55:00.000Z",
        "certain": True,
        "online": 7,
        "latency_ms": 41.5,
        "loss": 0.0,
    },
    {
        "kind": "sample",
        "id": "2",
        "at": "2026-11-24T00:00:00.004Z",
        "certain": True,
        "online": "<5",
        "latency_ms": None,
        "loss": 1.0,
    },
]
ENTRIES = (
    (1, "start", 5_000, 1_795_400_000_000, 0, {"site": "64.03.01.2001", "link": "radio", "provider": "Jaringan Ünik"}),
    (2, "begin", 65_250, 1_795_400_060_250, 1, {"s": 7, "d": "00112233aabbccdd", "plan": "warga", "after": None}),
)
BOOT = "5f3a1c9e-0b7d-4f7e-9a51-3f1f0f6f2c11"


def main() -> None:
    maker = Maker()
    content = maker.add(RECORDS, kind=Class.SAMPLES)
    found = batch.from_file(content)
    before = journal.GENESIS
    for seq, kind, boot_ms, wall_ms, trusted, body in ENTRIES:
        text = journal.text_of(body)
        before = journal.hash_of(
            before, text, seq=seq, kind=kind, boot_id=BOOT, boot_ms=boot_ms, wall_ms=wall_ms, trusted=bool(trusted)
        )
        print(json.dumps([seq, kind, BOOT, boot_ms, wall_ms, trusted, text], ensure_ascii=False), before.hex())
    chain = batchcheck.Chain(GATEWAY.public.hex(), found.header.epoch, [found])
    for title, text in {
        "line": OFFICE.key.line,
        "office fingerprint": OFFICE.key.fingerprint,
        "sealing public": OFFICE.key.sealing.hex(),
        "signing public": OFFICE.key.signing.hex(),
        "gateway public": GATEWAY.public.hex(),
        "gateway fingerprint": sealing.fingerprint(GATEWAY.public),
        "file name": batch.file_name(found.header),
        "header": found.head.decode(),
        "signature": found.signature.hex(),
        "sealed": (found.body or b"").hex(),
        "records": b"".join(batch.lines_of(RECORDS)).decode(),
        "dropped signature": GATEWAY.sign(batch.DROPPED, found.head).hex(),
        "ack": acknowledge.make([chain], OFFICE, 1_795_600_000).decode(),
        "secret": OFFICE.locked("lima kata yang panjang").decode(),
    }.items():
        print(f"--- {title}\n{text}")


if __name__ == "__main__":
    main()
