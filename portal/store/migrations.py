"""The database's schema, as steps that are applied once each and in order. It must not know what sessions mean.

Importing this module loads sqlite-utils, which costs some 16 MB: only the short-lived child of portal.store.setup does.
A step is never changed once released; a new one raises portal.store.db.SCHEMA_VERSION and sets ``user_version``.
"""

from __future__ import annotations

import secrets
import sqlite3
import uuid

from sqlite_utils import Database, Migrations

from portal.store import db

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


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the steps that are missing, each in its own transaction. ``connection`` must be in autocommit mode."""
    steps.apply(Database(connection))
