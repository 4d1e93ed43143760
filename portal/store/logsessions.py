"""Reads the records of sessions, and the log's entries of a day. It must not know figures.

Whoever shows them calls portal.store.rollups.catch_up before. Every function works inside the transaction of the
connection it is given; ``zone`` is site.timezone, whose days these are.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Collection
from typing import Any
from zoneinfo import ZoneInfo

from portal.domain import tally
from portal.domain.journal import Entry, Kind
from portal.domain.rollup import SessionFilter, SessionRecord
from portal.store import journal, records
from portal.store.records import Boot


def sessions(
    db: sqlite3.Connection, zone: ZoneInfo, chosen: SessionFilter, *, limit: int = 50, before: int | None = None
) -> list[SessionRecord]:
    """Those with the largest ids first, which are the newest; ``before``: with smaller ids than this one."""
    where, values = _where(zone, chosen)
    rows = db.execute(
        f"""
        SELECT id, device, plan, method, began_wall_ms, ended_wall_ms, up_bytes, down_bytes, reason, continues, certain
        FROM record_session JOIN record_boot ON number = boot
        WHERE {where} AND id < :before ORDER BY +id DESC LIMIT :limit
        """,  # noqa: S608 - constants of this module
        {**values, "before": (1 << 62) if before is None else before, "limit": limit},
    )
    return [_record(row) for row in rows]


def session_count(db: sqlite3.Connection, zone: ZoneInfo, chosen: SessionFilter) -> int:
    where, values = _where(zone, chosen)
    return int(db.execute(f"SELECT count(*) FROM record_session WHERE {where}", values).fetchone()[0])  # noqa: S608


def _where(zone: ZoneInfo, chosen: SessionFilter) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {"from": tally.day_ms(chosen.first, zone)[0], "until": tally.day_ms(chosen.last, zone)[1]}
    where = "began_wall_ms >= :from AND began_wall_ms < :until"
    for column in ("plan", "method", "reason", "device"):
        if (wanted := getattr(chosen, column)) is not None:
            where += f" AND {column} = :{column}"
            values[column] = wanted
    return where, values


def _record(row: tuple[Any, ...]) -> SessionRecord:
    session_id, device, plan, method, began_ms, ended_ms, up_bytes, down_bytes, reason, continues, certain = row
    return SessionRecord(
        id=session_id,
        device=device,
        plan=plan,
        method=method,
        began_wall_s=began_ms / 1000,
        ended_wall_s=None if ended_ms is None else ended_ms / 1000,
        up_bytes=up_bytes,
        down_bytes=down_bytes,
        reason=reason,
        continues=continues,
        certain=bool(certain),
    )


def entries_of(
    db: sqlite3.Connection, zone: ZoneInfo, day: dt.date, kinds: Collection[Kind]
) -> list[tuple[float, bool, Entry]]:
    """(wall clock, corrected where known; certain; entry) of the log's entries that were written on a local day."""
    from_ms, until_ms = tally.day_ms(day, zone)
    found = []
    for boot in records.boots_within(db, from_ms, until_ms):
        first_seq, last_seq = records.seqs_of(db, boot)
        begin, end = (_seek(db, boot, first_seq, last_seq, moment) for moment in (from_ms, until_ms))
        for entry in journal.entries(db, begin - 1, end):
            wall_ms = boot.clock.wall_ms(entry.boot_ms)
            if entry.kind in kinds and entry.boot_id == boot.boot_id and from_ms <= wall_ms < until_ms:
                found.append((wall_ms / 1000, boot.clock.certain, entry))
    return found


def _seek(db: sqlite3.Connection, boot: Boot, first_seq: int, last_seq: int, wall_ms: int) -> int:
    """The number of an entry of the boot, such that those on either side of that moment are on either side of it."""
    while first_seq < last_seq:
        middle = (first_seq + last_seq) // 2
        row = db.execute("SELECT boot_ms FROM journal WHERE seq BETWEEN ? AND ?", (middle, last_seq)).fetchone()
        if row is None or boot.clock.wall_ms(row[0]) >= wall_ms:
            last_seq = middle
        else:
            first_seq = middle + 1
    return first_seq
