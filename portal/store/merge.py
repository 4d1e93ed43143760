"""Puts a database from a backup in the place of the present one, and cuts off nobody online. It knows the schema.

The backup decides about people, vouchers, accounts and rules. What it cannot know is carried over from the present:
running sessions with their counters, what was used today, who of the staff is logged in, and the whole usage log and
audit trail, which nobody shortens by restoring an older one. The result has an epoch of its own, and session ids beyond
all that either database gave out, so that netctl takes neither its generations nor its grants for older ones.
"""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from portal import clock, wholefile
from portal.domain.model import EndReason, Now
from portal.store import audit, db, journalcarry, natlog, outbox, recovery, sessions, setup
from portal.store.db import StoreError

ID_GAP: Final = 65_536
MAX_ID: Final = 0xFFFF_FFFF  # as the session table has it
_AUDIT: Final = "wall_s, boot_id, boot_s, actor, role, action, object, before, after"


@dataclass(frozen=True, slots=True)
class Merged:
    """``kept``: where the replaced database is now (None: there was none). ``carried`` sessions went on, ``ended`` were
    running in the backup and are not any more. ``staff_from_backup``: its staff users hold, else the present ones."""

    kept: str | None
    carried: int
    ended: int
    staff_from_backup: bool


@dataclass(frozen=True, slots=True)
class Restore:
    """``new``: a database of this version, checked, that nobody else uses; ``staff``: its staff passwords hold here."""

    new: Path
    created_wall_s: float
    staff: bool
    by: str
    role: str
    what: dict[str, Any]  # for the audit trail


def check_and_migrate(path: Path, migrate: Callable[[sqlite3.Connection], None], pristine: Path) -> int:
    """Make a database that came from elsewhere one of this version; the version that it had. Raises StoreError.

    ``pristine``: where a new one may be built to compare with. What is in the file is believed to be rows at most: its
    schema must be, to the letter, what the migrations make, so that no trigger or view of a stranger's is ever run.
    """
    with contextlib.closing(db.connect_any_version(path)) as connection:
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            version = db.schema_version(connection)
            if version > db.SCHEMA_VERSION:
                hint = "Install the Gerbang that made the backup, or a newer one."
                message = f"The backup's database has version {version}, newer than {db.SCHEMA_VERSION}."
                raise StoreError(db.DATABASE, message, hint)
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
            if found != ["ok"]:
                raise StoreError(db.DATABASE_CORRUPT, f"The backup's database is damaged: {found[0]}.", _ELSE)
            if any(connection.execute("SELECT 1 FROM sqlite_schema WHERE type IN ('trigger', 'view')")):
                raise StoreError(db.DATABASE_CORRUPT, "The backup's database holds programs.", _ELSE)
            migrate(connection)
            with contextlib.closing(sqlite3.connect(setup.build(pristine, migrate))) as new:
                if _schema(connection) != _schema(new):
                    raise StoreError(db.DATABASE_CORRUPT, "The backup's database has other tables than ours.", _ELSE)
            if broken := connection.execute("PRAGMA foreign_key_check").fetchone():
                message = f"The backup's database contradicts itself in {broken[0]}."
                raise StoreError(db.DATABASE_CORRUPT, message, _ELSE)
            db.check_identity(connection, path)
        except sqlite3.Error as error:
            raise db.store_error(error, path) from error
    return version


_ELSE: Final = "Use another backup; this one was not made by Gerbang, or was changed since."


def _schema(connection: sqlite3.Connection) -> set[tuple[str, str, str | None]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'")
    return {(kind, name, sql and " ".join(sql.split())) for kind, name, sql in rows}


def replace_with(path: Path, restore: Restore, now: Callable[[], Now] = clock.now) -> Merged:
    """Put ``restore.new`` at ``path``. Call it as the owner of the directory. Raises StoreError; nothing is lost then.

    While the present database is read, and until the new one stands in its place, nobody can write; who waits to is
    sent to the new one (portal.store.db.Database).
    """
    try:
        with setup.locked(path.parent), _held(path) as holder:
            new = sqlite3.connect(restore.new, isolation_level=None)
            try:
                new.execute("PRAGMA synchronous = FULL")
                if holder is not None:
                    new.execute("ATTACH ? AS old", (f"{path.resolve()}",))
                exists = path.exists()
                new.execute("BEGIN")
                merged, epoch = _merge(
                    new, restore, now(), has_old=holder is not None, log_is_lost=exists and holder is None
                )
                new.execute("COMMIT")
                if holder is not None:
                    new.execute("DETACH old")
                new.execute("PRAGMA journal_mode = WAL")
            finally:
                new.close()
            restore.new.chmod(setup.MODE)
            db.write_marker(path, epoch)
            kept = recovery.keep_aside(path, "replaced") if exists else None
            restore.new.rename(path)
            wholefile.sync(path.parent)
            db.damage_note_of(path).unlink(missing_ok=True)
            return Merged(**(asdict(merged) | {"kept": kept and str(kept)}))
    except (sqlite3.Error, OSError) as error:
        raise db.store_error(error, path) from error


@contextlib.contextmanager
def _held(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection that lets nobody else write to the present database; None where there is none that can be read."""
    try:
        connection = db.connect(path)
    except StoreError as error:
        if error.code == db.BUSY:
            raise
        yield None
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.close()


def _merge(
    new: sqlite3.Connection, restore: Restore, now: Now, *, has_old: bool, log_is_lost: bool
) -> tuple[Merged, str]:
    """Everything in one transaction of ``new``; the present database is attached as ``old``.

    ``log_is_lost``: there is a present one, and it cannot be read.
    """
    new.row_factory = sqlite3.Row
    epoch = str(uuid.uuid4())
    if has_old:  # the log that stays tells how they went on and ended
        ended = new.execute(
            "UPDATE session SET ended_wall_s = ?, end_reason = ? WHERE ended_wall_s IS NULL",
            (restore.created_wall_s, EndReason.STAFF.value),
        ).rowcount
        journalcarry.take_over(new)
    else:
        ended = journalcarry.end_running(new, EndReason.STAFF)
    new.execute("UPDATE person SET counted_boot_s = NULL")
    new.execute("DELETE FROM waiting")
    new.execute("DELETE FROM staff_session")
    new.execute("UPDATE meta SET epoch = ?, generation = generation + 1", (epoch,))
    _raise_ids(new, has_old)
    carried = 0
    if has_old:
        new.execute(
            """
            UPDATE main.meta AS m SET boot_id = o.boot_id, seen_boot_s = o.seen_boot_s, seen_wall_s = o.seen_wall_s,
                counted_boot_s = o.counted_boot_s, counted_day = o.counted_day, day = max(m.day, o.day),
                generation = max(m.generation, o.generation) + 1,
                trusted_wall_s = max(m.trusted_wall_s, o.trusted_wall_s), trusted_boot_id = o.trusted_boot_id
            FROM old.meta AS o
            """
        )
        carried = _carry_sessions(new, now)
        new.execute(
            """
            INSERT INTO person_day (person_id, day, seconds, up_bytes, down_bytes)
            SELECT p.id, d.day, d.seconds, d.up_bytes, d.down_bytes
            FROM old.person_day d JOIN old.person q ON q.id = d.person_id JOIN main.person p ON p.code = q.code
            WHERE true
            ON CONFLICT (person_id, day) DO UPDATE SET seconds = max(seconds, excluded.seconds),
                up_bytes = max(up_bytes, excluded.up_bytes), down_bytes = max(down_bytes, excluded.down_bytes)
            """
        )
        new.execute("DELETE FROM uplink")
        new.execute("INSERT INTO uplink SELECT * FROM old.uplink")
        new.execute(
            f"INSERT INTO audit ({_AUDIT}) SELECT {_AUDIT} FROM old.audit o "  # noqa: S608
            "WHERE NOT EXISTS (SELECT 1 FROM main.audit a WHERE a.wall_s = o.wall_s AND a.boot_id = o.boot_id "
            "AND a.boot_s = o.boot_s AND a.actor = o.actor AND a.role = o.role AND a.action = o.action "
            "AND a.object = o.object AND a.before IS o.before AND a.after IS o.after) ORDER BY o.id"
        )
        natlog.take_over(new)
        outbox.take_over(new)
    if not restore.staff:
        _keep_present_staff(new, has_old)
    elif has_old:
        new.execute(
            """
            INSERT INTO staff_session (token_hash, user_id, boot_id, began_boot_s, seen_boot_s)
            SELECT s.token_hash, u.id, s.boot_id, s.began_boot_s, s.seen_boot_s
            FROM old.staff_session s JOIN old.staff_user o ON o.id = s.user_id
            JOIN main.staff_user u ON u.name = o.name AND u.role = o.role AND u.password_hash = o.password_hash
            WHERE NOT u.disabled
            """
        )
    sessions.note_time(new, now)
    if log_is_lost:
        journalcarry.lose_tail(new, now)
    said = {**restore.what, "sessions_carried": carried, "sessions_ended": ended, "staff_from_backup": restore.staff}
    who = {"actor": restore.by, "role": restore.role, "action": "backup.restore", "object": "database"}
    audit.write(new, **who, before=None, after=said, now=now)
    if broken := new.execute("PRAGMA foreign_key_check").fetchone():
        raise StoreError(
            db.DATABASE_CORRUPT, f"Backup and present database contradict each other in {broken[0]}.", _ELSE
        )
    return Merged(None, carried, ended, restore.staff), epoch


def _raise_ids(new: sqlite3.Connection, has_old: bool) -> None:
    """The next session's id lies beyond every one that either database gave out."""
    query = "SELECT seq FROM main.sqlite_sequence WHERE name = 'session'"
    if has_old:
        query += " UNION ALL SELECT seq FROM old.sqlite_sequence WHERE name = 'session'"
    highest = max((row[0] for row in new.execute(query)), default=0)
    following = highest + ID_GAP if highest + ID_GAP < MAX_ID - ID_GAP else ID_GAP
    new.execute("UPDATE main.sqlite_sequence SET seq = ? WHERE name = 'session'", (following,))


def _carry_sessions(new: sqlite3.Connection, now: Now) -> int:
    """Who is online now stays so. A session keeps its id, and with it its counters in the kernel, where it can."""
    running = new.execute("SELECT * FROM old.session WHERE ended_wall_s IS NULL ORDER BY id").fetchall()
    persons: dict[int, int] = {}
    for row in running:
        values = dict(row)
        if values["person_id"] is not None:
            if values["person_id"] not in persons:
                persons[values["person_id"]] = _person(new, values["person_id"])
            values["person_id"] = persons[values["person_id"]]
        same = new.execute("SELECT mac, started_wall_s FROM main.session WHERE id = ?", (row["id"],)).fetchone()
        if same is not None and (same["mac"], same["started_wall_s"]) == (row["mac"], row["started_wall_s"]):
            new.execute("DELETE FROM main.counter WHERE session_id = ?", (row["id"],))
            new.execute("DELETE FROM main.session WHERE id = ?", (row["id"],))
        elif same is not None:
            (values["id"],) = new.execute(
                "UPDATE main.sqlite_sequence SET seq = seq + 1 WHERE name = 'session' RETURNING seq"
            ).fetchone()
            journalcarry.move(new, row["id"], values, now)
        _insert(new, "session", values)
        if values["id"] == row["id"]:
            new.execute("INSERT INTO main.counter SELECT * FROM old.counter WHERE session_id = ?", (row["id"],))
        new.execute(
            """
            INSERT INTO main.device (mac, person_id, terms_person_id, seen_wall_s)
            SELECT mac, ?1, (SELECT id FROM main.person WHERE id = ?1 AND method = 'terms'), seen_wall_s
            FROM old.device WHERE mac = ?2
            ON CONFLICT (mac) DO UPDATE SET person_id = excluded.person_id, seen_wall_s = excluded.seen_wall_s,
                terms_person_id = coalesce(excluded.terms_person_id, terms_person_id)
            """,
            (values["person_id"], row["mac"]),
        )
    return len(running)


def _person(new: sqlite3.Connection, old_id: int) -> int:
    """The id in the backup's database of somebody who is online now: found by code, voucher or account, else added."""
    old = dict(new.execute("SELECT * FROM old.person WHERE id = ?", (old_id,)).fetchone())
    found = new.execute("SELECT id FROM main.person WHERE code = ?", (old["code"],)).fetchone()
    if found is None:
        # The backup may not know the voucher or account: the session that it gave goes on all the same.
        for column, table, name in (("voucher_id", "voucher", "code"), ("account_id", "account", "name")):
            if old[column] is not None:
                row = new.execute(
                    f"SELECT n.id FROM main.{table} n JOIN old.{table} o ON o.{name} = n.{name} WHERE o.id = ?",  # noqa: S608
                    (old[column],),
                ).fetchone()
                old[column] = None if row is None else row[0]
                found = found or (
                    row and new.execute(f"SELECT id FROM main.person WHERE {column} = ?", (row[0],)).fetchone()  # noqa: S608
                )
    if found is not None:
        new.execute("UPDATE main.person SET counted_boot_s = ? WHERE id = ?", (old["counted_boot_s"], found[0]))
        return int(found[0])
    del old["id"]
    return _insert(new, "person", old)


def _keep_present_staff(new: sqlite3.Connection, has_old: bool) -> None:
    """The present staff users stay, since the backup's passwords hold on another gateway only."""
    new.execute("DELETE FROM main.staff_user")  # without any, the next start makes the first ones
    if has_old:
        new.execute("INSERT INTO main.staff_user SELECT * FROM old.staff_user")
        new.execute("INSERT INTO main.staff_session SELECT * FROM old.staff_session")


def _insert(new: sqlite3.Connection, table: str, values: dict[str, Any]) -> int:
    columns = ", ".join(values)
    cursor = new.execute(
        f"INSERT INTO main.{table} ({columns}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608 - our own names
        tuple(values.values()),
    )
    return int(cursor.lastrowid or 0)
