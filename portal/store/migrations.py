"""The database's schema, as steps that are applied once each and in order. It must not know what sessions mean.

Importing this module loads sqlite-utils, which costs some 16 MB: only the short-lived child of portal.store.setup does.
A step is never changed once released; a new one raises portal.store.db.SCHEMA_VERSION and sets ``user_version``.
"""

from __future__ import annotations

import secrets
import sqlite3
import uuid

from sqlite_utils import Database, Migrations

from portal.domain import codes, journal
from portal.store import db, logtables

steps = Migrations("gerbang")


@steps()  # type: ignore[untyped-decorator, unused-ignore]
def step_1_sessions(database: Database) -> None:
    for statement in (
        # One row. ``boot_id`` is the boot that running sessions' times are of, ``seen_boot_s`` the last moment of it
        # that reached the disk: after a power cut, a session has left what it had left then.
        """
        CREATE TABLE meta (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            epoch TEXT NOT NULL,
            generation INTEGER NOT NULL,
            boot_id TEXT NOT NULL,
            seen_boot_s REAL NOT NULL
        ) STRICT
        """,
        # AUTOINCREMENT: the id names kernel counters, so none is ever used twice.
        """
        CREATE TABLE session (
            id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 4294967295),
            mac TEXT NOT NULL CHECK (length(mac) = 17),
            ipv4 TEXT,
            plan TEXT NOT NULL,
            method TEXT NOT NULL,
            terms_version TEXT NOT NULL,
            started_wall_s REAL NOT NULL,
            boot_id TEXT NOT NULL,
            deadline_boot_s REAL,
            active_boot_s REAL NOT NULL,
            up_bytes INTEGER NOT NULL DEFAULT 0 CHECK (up_bytes >= 0),
            down_bytes INTEGER NOT NULL DEFAULT 0 CHECK (down_bytes >= 0),
            ended_wall_s REAL,
            end_reason TEXT,
            CHECK ((ended_wall_s IS NULL) = (end_reason IS NULL))
        ) STRICT
        """,
        # What netctl demands of a state: each device and each address once.
        "CREATE UNIQUE INDEX session_running_mac ON session (mac) WHERE ended_wall_s IS NULL",
        "CREATE UNIQUE INDEX session_running_ipv4 ON session (ipv4) WHERE ended_wall_s IS NULL AND ipv4 IS NOT NULL",
        # The reading of each kernel counter that the session's bytes include.
        """
        CREATE TABLE counter (
            boot_id TEXT NOT NULL,
            session_id INTEGER NOT NULL REFERENCES session (id) ON DELETE CASCADE,
            ip TEXT NOT NULL,
            up_bytes INTEGER NOT NULL,
            down_bytes INTEGER NOT NULL,
            up_packets INTEGER NOT NULL,
            down_packets INTEGER NOT NULL,
            sent_boot_s REAL NOT NULL,
            received_boot_s REAL NOT NULL,
            PRIMARY KEY (session_id, boot_id, ip)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE uplink (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            state TEXT NOT NULL,
            boot_id TEXT NOT NULL,
            since_boot_s REAL
        ) STRICT
        """,
    ):
        database.conn.execute(statement)
    database.conn.execute("INSERT INTO meta VALUES (1, ?, 0, '', 0)", (str(uuid.uuid4()),))
    # Ids start anywhere: the kernel may still hold counters of another database's sessions, and must not be mistaken.
    database.conn.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('session', ?)", (secrets.randbelow(1 << 31),)
    )
    database.conn.execute(f"PRAGMA application_id = {db.APPLICATION_ID}")
    database.conn.execute("PRAGMA user_version = 1")


@steps()  # type: ignore[untyped-decorator, unused-ignore]
def step_2_people(database: Database) -> None:
    for statement in (
        # ``day`` is the last local day known from a trusted clock, ``trusted_wall_s`` the last such moment, in boot
        # ``trusted_boot_id``: a clock that lost its time neither gives a second budget nor opens a closed site.
        "ALTER TABLE meta ADD COLUMN day TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE meta ADD COLUMN trusted_wall_s REAL NOT NULL DEFAULT 0",
        "ALTER TABLE meta ADD COLUMN trusted_boot_id TEXT NOT NULL DEFAULT ''",
        # Up to when (in this boot) everybody's time online stands in person_day: one row to write for all of them.
        "ALTER TABLE meta ADD COLUMN counted_boot_s REAL NOT NULL DEFAULT 0",
        """
        CREATE TABLE voucher_batch (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            plan TEXT NOT NULL,
            devices INTEGER NOT NULL CHECK (devices >= 1),
            valid_from_wall_s REAL,
            valid_until_wall_s REAL,
            note TEXT NOT NULL,
            created_wall_s REAL NOT NULL,
            created_by TEXT NOT NULL
        ) STRICT
        """,
        # The code is kept as it is, because sheets are printed again; who reads the database is inside the gate anyway.
        """
        CREATE TABLE voucher (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            batch_id INTEGER NOT NULL REFERENCES voucher_batch (id),
            code TEXT NOT NULL UNIQUE CHECK (length(code) = 8),
            voided_wall_s REAL
        ) STRICT
        """,
        "CREATE INDEX voucher_batch_id ON voucher (batch_id)",
        # Devices that a voucher has let in, for good: never more rows than the batch's ``devices``.
        """
        CREATE TABLE voucher_device (
            voucher_id INTEGER NOT NULL REFERENCES voucher (id),
            mac TEXT NOT NULL CHECK (length(mac) = 17),
            bound_wall_s REAL NOT NULL,
            PRIMARY KEY (voucher_id, mac)
        ) STRICT, WITHOUT ROWID
        """,
        # A name and password of an office: kantor, sekolah, puskesmas.
        """
        CREATE TABLE account (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE COLLATE NOCASE,
            password_hash TEXT NOT NULL,
            plan TEXT NOT NULL,
            note TEXT NOT NULL,
            disabled INTEGER NOT NULL DEFAULT 0,
            created_wall_s REAL NOT NULL,
            changed_wall_s REAL NOT NULL
        ) STRICT
        """,
        # Who a budget belongs to, whatever devices it is used on; ``code`` is the return code. ``counted_boot_s``
        # (in meta.boot_id): time online is counted from there, or from meta.counted_boot_s where that is later; NULL
        # while nothing of theirs is online.
        """
        CREATE TABLE person (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            code TEXT NOT NULL UNIQUE CHECK (length(code) = 8),
            method TEXT NOT NULL,
            plan TEXT NOT NULL,
            voucher_id INTEGER UNIQUE REFERENCES voucher (id),
            account_id INTEGER UNIQUE REFERENCES account (id),
            created_wall_s REAL NOT NULL,
            counted_boot_s REAL
        ) STRICT
        """,
        "CREATE INDEX person_online ON person (id) WHERE counted_boot_s IS NOT NULL",
        """
        CREATE TABLE person_day (
            person_id INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
            day TEXT NOT NULL,
            seconds REAL NOT NULL DEFAULT 0 CHECK (seconds >= 0),
            up_bytes INTEGER NOT NULL DEFAULT 0 CHECK (up_bytes >= 0),
            down_bytes INTEGER NOT NULL DEFAULT 0 CHECK (down_bytes >= 0),
            PRIMARY KEY (person_id, day)
        ) STRICT, WITHOUT ROWID
        """,
        # ``person_id`` used it last, ``terms_person_id`` by a tap: a voucher in between gives no second budget.
        # ``rule`` is what an operator said of this MAC; ``moved_wall_s`` when a return code took its place, until told.
        """
        CREATE TABLE device (
            mac TEXT PRIMARY KEY CHECK (length(mac) = 17),
            person_id INTEGER REFERENCES person (id) ON DELETE SET NULL,
            terms_person_id INTEGER REFERENCES person (id) ON DELETE SET NULL,
            seen_wall_s REAL,
            moved_wall_s REAL,
            rule TEXT CHECK (rule IN ('allow', 'block')),
            rule_plan TEXT,
            note TEXT NOT NULL DEFAULT '',
            ruled_wall_s REAL,
            ruled_by TEXT
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX device_person ON device (person_id)",
        "CREATE INDEX device_terms_person ON device (terms_person_id)",
        "CREATE INDEX device_rule ON device (rule) WHERE rule IS NOT NULL",
        "ALTER TABLE session ADD COLUMN person_id INTEGER REFERENCES person (id) ON DELETE SET NULL",
        "CREATE INDEX session_running_person ON session (person_id) WHERE ended_wall_s IS NULL",
        # What an operator opened or closed, beside the hours of site.toml; ``until_wall_s`` NULL: until cancelled.
        """
        CREATE TABLE closure (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL CHECK (kind IN ('open', 'close')),
            from_wall_s REAL NOT NULL,
            until_wall_s REAL CHECK (until_wall_s > from_wall_s),
            reason TEXT NOT NULL,
            created_wall_s REAL NOT NULL,
            created_by TEXT NOT NULL,
            cancelled_wall_s REAL
        ) STRICT
        """,
        # Village news; ``body`` is Markdown.
        """
        CREATE TABLE notice (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            from_wall_s REAL,
            until_wall_s REAL,
            changed_wall_s REAL NOT NULL,
            changed_by TEXT NOT NULL
        ) STRICT
        """,
        # Who waits while the site is full, on the boot clock; ``called_boot_s``: a place is kept for this device.
        """
        CREATE TABLE waiting (
            mac TEXT PRIMARY KEY CHECK (length(mac) = 17),
            boot_id TEXT NOT NULL,
            since_boot_s REAL NOT NULL,
            seen_boot_s REAL NOT NULL,
            called_boot_s REAL
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE staff_user (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE COLLATE NOCASE,
            role TEXT NOT NULL CHECK (role IN ('operator', 'technician', 'reviewer')),
            password_hash TEXT NOT NULL,
            must_change INTEGER NOT NULL DEFAULT 1,
            disabled INTEGER NOT NULL DEFAULT 0,
            created_wall_s REAL NOT NULL,
            changed_wall_s REAL NOT NULL
        ) STRICT
        """,
        # ``token_hash`` is an HMAC-SHA-256 of the cookie's token, so that a copied database opens no page.
        """
        CREATE TABLE staff_session (
            token_hash BLOB PRIMARY KEY CHECK (length(token_hash) = 32),
            user_id INTEGER NOT NULL REFERENCES staff_user (id) ON DELETE CASCADE,
            boot_id TEXT NOT NULL,
            began_boot_s REAL NOT NULL,
            seen_boot_s REAL NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        # Every administrative act; nothing here is ever changed. ``before`` and ``after`` are JSON or NULL.
        """
        CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            wall_s REAL NOT NULL,
            boot_id TEXT NOT NULL,
            boot_s REAL NOT NULL,
            actor TEXT NOT NULL,
            role TEXT NOT NULL,
            action TEXT NOT NULL,
            object TEXT NOT NULL,
            before TEXT,
            after TEXT
        ) STRICT
        """,
        # What of the way to the Internet fails first (gateway, dns, http), and how it was in the last minute.
        "ALTER TABLE uplink ADD COLUMN failing TEXT",
        "ALTER TABLE uplink ADD COLUMN latency_ms REAL",
        "ALTER TABLE uplink ADD COLUMN loss REAL",
    ):
        database.conn.execute(statement)
    running = "SELECT id, mac, plan, method, started_wall_s FROM session WHERE ended_wall_s IS NULL"
    for session_id, mac, plan, method, started_wall_s in database.conn.execute(running).fetchall():
        person_id = database.conn.execute(
            "INSERT INTO person (code, method, plan, created_wall_s, counted_boot_s) "
            "VALUES (?, ?, ?, ?, (SELECT seen_boot_s FROM meta))",
            (codes.new_code(), method, plan, started_wall_s),
        ).lastrowid
        database.conn.execute("UPDATE session SET person_id = ? WHERE id = ?", (person_id, session_id))
        database.conn.execute(
            "INSERT INTO device (mac, person_id, terms_person_id) VALUES (?, ?, ?)", (mac, person_id, person_id)
        )
    database.conn.execute("PRAGMA user_version = 2")


@steps()  # type: ignore[untyped-decorator, unused-ignore]
def step_3_log(database: Database) -> None:
    for statement in logtables.STATEMENTS:
        database.conn.execute(statement)
    running = "SELECT id, plan, method, started_wall_s FROM session WHERE ended_wall_s IS NULL ORDER BY id"
    boot_id, seen_boot_s = database.conn.execute("SELECT boot_id, seen_boot_s FROM meta").fetchone()
    before, boot_ms, kind = journal.GENESIS, round(seen_boot_s * 1000), journal.Kind.BEGIN.value
    for seq, (session_id, plan, method, started_wall_s) in enumerate(database.conn.execute(running).fetchall(), 1):
        device, wall_ms = secrets.token_hex(8), round(started_wall_s * 1000)
        database.conn.execute("UPDATE session SET device = ? WHERE id = ?", (device, session_id))
        text = journal.text_of({"s": session_id, "d": device, "plan": plan, "method": method, "after": None})
        before = journal.hash_of(
            before, text, seq=seq, kind=kind, boot_id=boot_id, boot_ms=boot_ms, wall_ms=wall_ms, trusted=False
        )
        database.conn.execute(
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?, 0, ?, ?)", (seq, kind, boot_id, boot_ms, wall_ms, text, before)
        )
    database.conn.execute("PRAGMA user_version = 3")


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the steps that are missing, each in its own transaction. ``connection`` must be in autocommit mode."""
    steps.apply(Database(connection))
