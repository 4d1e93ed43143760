"""Reads the whole database for damage, and notes what it finds beside it. It must not know what tables hold.

The note, ``gerbang.db.damaged``, stops every process from using a file that may lack rows: who is online would
otherwise be decided by what is left of it. It goes when the file is found whole again.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from portal.store import db
from portal.store.db import StoreError


def check(path: Path) -> None:
    """Raises StoreError if the database is damaged or cannot be read.

    https://sqlite.org/pragma.html#pragma_integrity_check: unlike quick_check it finds rows that an index lacks, each
    of them a person who would be cut off. 100 000 sessions take some 50 ms on a PC.
    """
    note = db.damage_note_of(path)
    try:
        findings = _findings(path)
    except StoreError as error:
        if error.code != db.DATABASE_CORRUPT:
            raise
        findings = [error.message]
    try:
        if not findings:
            note.unlink(missing_ok=True)
            return
        note.write_text("\n".join(findings) + "\n", encoding="utf-8")
    except OSError as error:
        raise db.store_error(error, path) from error
    raise db.damaged(path)


def _findings(path: Path) -> list[str]:
    connection = db.connect_any_version(path)
    try:
        db.check_identity(connection, path)
        rows = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)")]
    except sqlite3.Error as error:
        raise db.store_error(error, path) from error
    finally:
        connection.close()
    return [] if rows == ["ok"] else rows
