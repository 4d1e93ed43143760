"""Makes the batches for the office, and keeps the outbox in bounds. It must not know SQL, files or records' form.

Batches tell of local days that are over, known from a clock that NTP has set, because what may be told of a day depends
on all of it. What has changed since it was told is told again, as a new revision of that day and class. Each day is a
transaction of its own, so that nobody waits long to write.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from portal import sealing
from portal.config import SiteConfig
from portal.domain import batch, batchrecords, localtime, suppression
from portal.domain.batch import Class, Dropped, Header, Previous, Sealed
from portal.domain.batchrecords import Record
from portal.domain.journal import Entry, Kind
from portal.domain.model import Now
from portal.domain.rollup import DayFigures, SessionFilter
from portal.sealing import OfficeKey, SigningKey
from portal.store import journal, rollups
from portal.store import outbox as store
from portal.store.db import Database
from portal.store.outbox import Epoch, Held, Stored

GRACE_S: Final = 3600.0  # after midnight: what is still under way comes in, so that few days are told twice
ENTRIES: Final = 2000  # of the log, taken into the figures in one transaction
SETTLED_DAYS: Final = 7
"""Single entries of days so long ago are not looked at again: unlike sessions, none is still to come."""
_DAY_S: Final = 86_400.0
_ALL: Final = 1 << 31
_KINDS: Final = {
    Class.SAMPLES: (Kind.SAMPLE,),
    Class.ACTS: (Kind.ACT,),
    Class.NOTICES: (Kind.ERASURE, Kind.LOST, Kind.DROPPED),
}


@dataclass(frozen=True, slots=True)
class Filled:
    """Batches that were made, and how many went for want of room or because nobody took them in time."""

    made: int
    dropped: int


@dataclass(frozen=True, slots=True)
class State:
    """What is held for the office. ``epoch`` is the present one, ``gateway`` the public key that signs in it."""

    held: Held
    epoch: Epoch | None
    gateway: bytes | None


def state(db: sqlite3.Connection, gateway: bytes | None = None) -> State:
    """``gateway``: the key that signs now, where one may know that; else the epoch that was last used says."""
    epoch = store.last_used_epoch(db) if gateway is None else store.present_epoch(db, gateway)
    return State(store.held(db), epoch, epoch.gateway if gateway is None and epoch is not None else gateway)


@dataclass(frozen=True, slots=True)
class _Maker:
    """What all batches of one call have in common."""

    config: SiteConfig
    office: OfficeKey
    signing: SigningKey
    zone: ZoneInfo
    now: Now
    today: dt.date  # the first day that is not over

    def days_kept(self, kind: Class) -> int:
        """For so many days the log still holds all of what batches of this class are made of."""
        log = self.config.log
        kept = {Class.SESSIONS: log.sessions_days, Class.SAMPLES: log.samples_days, Class.ACTS: log.acts_days}
        return min(log.outbox_days, kept.get(kind, log.outbox_days))


@dataclass(frozen=True, slots=True)
class _Parcel:
    """What there is to tell of a day, of one class; it becomes one batch or several."""

    kind: Class
    day: dt.date
    revision: int
    lines: list[bytes]
    missing_s: int
    digest: bytes


def fill(database: Database, config: SiteConfig, signing: SigningKey, now: Now) -> Filled:
    """Put what is over and was not told yet into batches; drop what is too old or too much. Raises StoreError.

    Cheap where there is nothing to do. Nothing is made without office.key, and nothing happens while the clock is not
    known to be right.
    """
    zone = ZoneInfo(config.site.timezone)
    with database.read() as db:
        if not store.clock_is_trusted(db, now.boot_id):
            return Filled(0, 0)
    made = dropped = 0
    if config.office.key is not None:
        office = sealing.parse_office_key(config.office.key)
        today = localtime.local_date(now.wall_s - GRACE_S, zone)
        made, dropped = _make_all(database, _Maker(config, office, signing, zone, now, today))
    with database.write() as db:
        dropped += _thin(db, config, signing, now)
    return Filled(made, dropped)


def _make_all(database: Database, maker: _Maker) -> tuple[int, int]:
    """(made, dropped)"""
    yesterday = (maker.today - dt.timedelta(days=1)).isoformat()
    with database.read() as db:
        epoch = store.present_epoch(db, maker.signing.public)
    looked = epoch.day if epoch is not None and epoch.office == maker.office.fingerprint else ""
    if looked == yesterday:
        return 0, 0
    with database.write() as db:
        _epoch(db, maker)  # a new one tells all again
    taken = ENTRIES
    while taken == ENTRIES:
        with database.write() as db:
            taken = rollups.catch_up(db, maker.zone, ENTRIES)
    with database.read() as db:
        first = rollups.first_day(db, maker.zone)
        begin = max(first or maker.today, maker.today - dt.timedelta(days=maker.config.log.outbox_days))
        lead = begin - dt.timedelta(days=suppression.LEAD_DAYS)
        until = localtime.local_date(maker.now.wall_s, maker.zone)
        days = {one.day: one for one in rollups.days(db, maker.zone, lead, until)}
    made = dropped = 0
    teller = _Teller(maker, begin, days, looked)
    for day in (lead + dt.timedelta(days=number) for number in range((maker.today - lead).days)):
        with database.read() as db:
            parcels = teller.of_day(db, day)
        if parcels:
            with database.write() as db:
                made += sum(_add(db, maker, one) for one in parcels)
                dropped += _thin(db, maker.config, maker.signing, maker.now)
    with database.write() as db:
        epoch = _epoch(db, maker)
        store.note_looked(db, epoch.id, yesterday, maker.office.fingerprint)
        store.forget_sent(db, begin.isoformat())
    return made, dropped


# --- what there is to tell ------------------------------------------------------------------------------------------


class _Teller:
    """What there is to tell of days from ``begin`` on; it is asked in their order, and for LEAD_DAYS before."""

    def __init__(self, maker: _Maker, begin: dt.date, days: Mapping[dt.date, DayFigures], looked: str) -> None:
        """``looked``: the last day that was looked at before."""
        self._maker = maker
        self._begin = begin
        self._days = days
        settled = maker.today - dt.timedelta(days=SETTLED_DAYS)
        self._entries_from = max(begin, min(settled, dt.date.fromisoformat(looked) if looked else begin))
        self._hidden = suppression.hidden_days(days.values())
        self._rows = suppression.SessionRows(self._hidden, maker.zone, maker.now.wall_s)

    def of_day(self, db: sqlite3.Connection, day: dt.date) -> list[_Parcel]:
        """Of each class what was not told of this day yet, or is another than was told."""
        figures, office = self._days.get(day), self._maker.office.fingerprint
        entries: list[tuple[float, bool, Entry]] = []
        if day >= self._entries_from:
            entries = rollups.entries_of(
                db, self._maker.zone, day, [kind for kinds in _KINDS.values() for kind in kinds]
            )
        missing_s = 0 if figures is None else batchrecords.missing_s(figures)
        found = []
        for kind in Class:
            kept = self._begin <= day > self._maker.today - dt.timedelta(days=self._maker.days_kept(kind))
            if (not kept and kind is not Class.SESSIONS) or (kind in _KINDS and day < self._entries_from):
                continue  # part of it may be erased by now, or nothing changes any more
            records = self._records(db, kind, day, entries)
            if not kept:
                continue  # these sessions only say which later days may be told
            lines = batch.lines_of(records)
            digest = hashlib.sha256(b"".join((f"{missing_s}\n".encode(), *lines))).digest()
            before = store.sent(db, day.isoformat(), kind)
            withheld = bool(records) and records[0]["kind"] == batchrecords.WITHHELD
            if before is None:
                due, revision = bool(lines), 1
            else:
                last, for_office, told = before
                due = for_office != office or (told != digest and not withheld)  # what was told is not taken back
                revision = last + 1
            if due:
                found.append(_Parcel(kind, day, revision, lines, missing_s, digest))
        return found

    def _records(
        self, db: sqlite3.Connection, kind: Class, day: dt.date, entries: Sequence[tuple[float, bool, Entry]]
    ) -> list[Record]:
        zone, figures = self._maker.zone, self._days.get(day)
        match kind:
            case Class.ROLLUPS:
                if figures is None:
                    return []
                return batchrecords.rollups(figures, rollups.hours(db, zone, day, day), self._hidden)
            case Class.SESSIONS:
                found = rollups.sessions(db, zone, SessionFilter(first=day, last=day), limit=_ALL)
                return batchrecords.sessions(found, self._rows.of_day(day, found), day)
            case Class.STRETCHES:
                start, end = (localtime.day_start(one, zone) for one in (day, day + dt.timedelta(days=1)))
                return batchrecords.stretches(rollups.stretches(db, zone, start, end))
            case _:
                few = figures is not None and suppression.few(figures.devices)
                of_kind = [one for one in entries if one[2].kind in _KINDS[kind]]
                return batchrecords.of_entries(of_kind, hidden=few)


# --- making ---------------------------------------------------------------------------------------------------------


def _epoch(db: sqlite3.Connection, maker: _Maker) -> Epoch:
    """The present one; a new one where the database or the signing key is another than those of the last."""
    found = store.present_epoch(db, maker.signing.public)
    return found or store.begin_epoch(db, maker.now.wall_s, maker.signing.public)


def _add(db: sqlite3.Connection, maker: _Maker, parcel: _Parcel) -> int:
    """Its batches, and that they were made; how many there are. None where somebody else has made them meanwhile."""
    told = store.sent(db, parcel.day.isoformat(), parcel.kind)
    if parcel.revision != (1 if told is None else told[0] + 1):
        return 0
    parts = batch.packed(parcel.lines)
    at = 0
    for part, (count, content) in enumerate(parts, 1):
        counts = Counter(msgspec.json.decode(line)["kind"] for line in parcel.lines[at : at + count])
        _add_one(db, maker, parcel, content, part=part, parts=len(parts), counts=dict(counts))
        at += count
    office = maker.office.fingerprint
    day, revision = parcel.day.isoformat(), parcel.revision
    store.note_sent(db, day, parcel.kind, revision=revision, office=office, digest=parcel.digest)
    return len(parts)


def _add_one(
    db: sqlite3.Connection,
    maker: _Maker,
    parcel: _Parcel,
    content: bytes,
    *,
    part: int,
    parts: int,
    counts: dict[str, int],
) -> None:
    epoch = _epoch(db, maker)
    last = epoch if epoch.made else store.last_used_epoch(db)
    _, journal_head = journal.head(db)
    site, gateway, number = maker.config.site.code, maker.signing.public.hex(), epoch.made + 1
    sealed = sealing.seal(maker.office, batch.seal_info(site, gateway, epoch.id, number), content)
    header = Header(
        format=batch.FORMAT,
        site=site,
        zone=maker.config.site.timezone,
        gateway=gateway,
        office=maker.office.fingerprint,
        epoch=epoch.id,
        epoch_began=batch.moment(epoch.began_wall_s),
        number=number,
        made=batch.moment(maker.now.wall_s),
        previous=None if last is None else Previous(last.id, last.made, last.head),
        journal=journal_head.hex(),
        kind=parcel.kind,
        day=parcel.day.isoformat(),
        revision=parcel.revision,
        part=part,
        parts=parts,
        missing_s=parcel.missing_s,
        counts=counts,
        sealed=Sealed(len(sealed), batch.sha256(sealed)),
        dropped=Dropped(epoch.dropped_batches, epoch.dropped_records),
        oldest=store.oldest(db, epoch.id) or number,
    )
    head = batch.header_bytes(header)
    signature = maker.signing.sign(batch.FORMAT, head)
    content = batch.to_file(head, signature, sealed)
    if len(head) > batch.MAX_HEADER_BYTES or len(content) > batch.MAX_FILE_BYTES:
        raise ValueError(f"A batch of {len(content)} bytes, {len(head)} of them header, is too large.")
    store.add(
        db,
        Stored(epoch.id, number, head, signature, sealed),
        kind=parcel.kind,
        made_wall_s=maker.now.wall_s,
        size=len(content),
        head=batch.sha256(head),
    )


# --- bounds ---------------------------------------------------------------------------------------------------------


def _thin(db: sqlite3.Connection, config: SiteConfig, signing: SigningKey, now: Now) -> int:
    """Remove what is too old; then, while there is too much, drop what batches of the least needed class hold.

    Of what is dropped the header stays, until it is too old too or there is no room even for headers. How much went
    is counted in the journal and in the headers of later batches.
    """
    gone: list[Header] = []
    for old in store.made_before(db, now.wall_s - config.log.outbox_days * _DAY_S):
        store.remove(db, old.epoch, old.number)
        if old.sealed is not None:
            gone.append(_header(old))
    excess = store.held(db).disk_bytes - most_bytes(config)
    if excess > 0:
        for one, size in store.droppable(db):
            if excess <= 0:
                break
            signature = signing.sign(batch.DROPPED, one.header)
            hollow = len(batch.to_file(one.header, signature, None))
            store.hollow(db, one.epoch, one.number, signature=signature, size=hollow)
            gone.append(_header(one))
            excess -= size
        for one in store.oldest_first(db) if excess > 0 else ():
            if excess <= 0:
                break
            store.remove(db, one.epoch, one.number)
            excess -= len(batch.to_file(one.header, one.signature, None)) + store.ROW_BYTES
    _count(db, gone, signing, now)
    return len(gone)


def most_bytes(config: SiteConfig) -> int:
    """What all batches may take up on the disk."""
    return config.log.outbox_megabytes * 1_000_000


def to_file(stored: Stored) -> bytes:
    """A batch as the file that leaves."""
    return batch.to_file(stored.header, stored.signature, stored.sealed)


def _header(stored: Stored) -> Header:
    return msgspec.json.decode(stored.header, type=Header)


def _count(db: sqlite3.Connection, gone: Sequence[Header], signing: SigningKey, now: Now) -> None:
    if not gone:
        return
    classes = Counter(header.kind.value for header in gone)
    journal.append(db, Kind.DROPPED, {"batches": dict(classes), "records": dict(_sum(gone))}, now)
    epoch = store.present_epoch(db, signing.public) or store.begin_epoch(db, now.wall_s, signing.public)
    store.count_dropped(db, epoch.id, len(gone), _sum(gone))


def _sum(headers: Sequence[Header]) -> Counter[str]:
    total: Counter[str] = Counter()
    for header in headers:
        total.update(header.counts)
    return total
