"""The tables of the usage log as the schema's third step makes them: each a statement, with what its columns mean.

A part of portal.store.migrations, apart because it is long. It must not know how rows come and go.
"""

from __future__ import annotations

from typing import Final

_JOURNAL: Final = (
    # The usage log (portal.domain.journal). ``seq`` has no gaps but those that a tomb names; nothing is ever changed.
    """
    CREATE TABLE journal (
        seq INTEGER PRIMARY KEY CHECK (seq >= 1),
        kind TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        boot_ms INTEGER NOT NULL,
        wall_ms INTEGER NOT NULL,
        trusted INTEGER NOT NULL CHECK (trusted IN (0, 1)),
        body TEXT NOT NULL,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    ) STRICT
    """,
    # The few that say when the gateway ran: found without reading all that lies between them.
    "CREATE INDEX journal_runs ON journal (seq) WHERE kind IN ('start', 'stop')",
    # Where entries were erased or lost; ``last_hash`` is the last one's, which the next one is chained to.
    """
    CREATE TABLE journal_tomb (
        first_seq INTEGER PRIMARY KEY CHECK (first_seq >= 1),
        last_seq INTEGER NOT NULL CHECK (last_seq >= first_seq),
        last_hash BLOB NOT NULL CHECK (length(last_hash) = 32)
    ) STRICT
    """,
    # Makes pseudonyms of MACs, for one local month each; erased with it.
    """
    CREATE TABLE pseudonym_key (
        month TEXT PRIMARY KEY CHECK (length(month) = 7),
        key BLOB NOT NULL CHECK (length(key) = 32)
    ) STRICT, WITHOUT ROWID
    """,
    # The heartbeat's wall clock, beside ``seen_boot_s``: when a session ended that the power cut.
    "ALTER TABLE meta ADD COLUMN seen_wall_s REAL NOT NULL DEFAULT 0",
    # The local day up to whose ``counted_boot_s`` time is counted, and to which what follows belongs.
    "ALTER TABLE meta ADD COLUMN counted_day TEXT NOT NULL DEFAULT ''",
    "UPDATE meta SET counted_day = day",
    # What the device is called in the log: the pseudonym of the month in which its session began.
    "ALTER TABLE session ADD COLUMN device TEXT NOT NULL DEFAULT ''",
    # What the journal has last said of the session's bytes: an entry is added only where there is more.
    "ALTER TABLE session ADD COLUMN told_up_bytes INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE session ADD COLUMN told_down_bytes INTEGER NOT NULL DEFAULT 0",
    # By day first, so that what a flush writes for everybody who is online lies together: an SD card writes pages.
    "ALTER TABLE person_day RENAME TO person_day_2",
    """
    CREATE TABLE person_day (
        person_id INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
        day TEXT NOT NULL,
        seconds REAL NOT NULL DEFAULT 0 CHECK (seconds >= 0),
        up_bytes INTEGER NOT NULL DEFAULT 0 CHECK (up_bytes >= 0),
        down_bytes INTEGER NOT NULL DEFAULT 0 CHECK (down_bytes >= 0),
        PRIMARY KEY (day, person_id)
    ) STRICT, WITHOUT ROWID
    """,
    "INSERT INTO person_day SELECT person_id, day, seconds, up_bytes, down_bytes FROM person_day_2",
    "DROP TABLE person_day_2",
)

# How far each device of today came; written into the journal as counts, and erased the day after.
_ARRIVALS: Final = (
    """
    CREATE TABLE arrival (
        day TEXT NOT NULL,
        mac TEXT NOT NULL CHECK (length(mac) = 17),
        os TEXT NOT NULL,
        saw INTEGER NOT NULL DEFAULT 0,
        online INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (day, mac)
    ) STRICT, WITHOUT ROWID
    """,
    # One row. Sessions were looked at up to entry ``seq`` of the journal; days up to ``day`` are over, ``told`` is what
    # the journal was told last, ``beyond`` how often a day had no room for a device. In boot ``boot_id``, NTP has set
    # the wall clock ``offset_ms`` ahead of the boot clock.
    """
    CREATE TABLE arrival_mark (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        seq INTEGER NOT NULL DEFAULT 0,
        day TEXT NOT NULL DEFAULT '',
        told TEXT NOT NULL DEFAULT '',
        beyond INTEGER NOT NULL DEFAULT 0,
        boot_id TEXT NOT NULL DEFAULT '',
        offset_ms INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "INSERT INTO arrival_mark (id) VALUES (1)",
    # One row. The last local day that erasing has seen, and how many there were since the clock leapt.
    """
    CREATE TABLE erasure_seen (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        day TEXT NOT NULL DEFAULT '',
        days INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "INSERT INTO erasure_seen (id) VALUES (1)",
)

# What portal.store.rollups makes of the journal; it can be made again at any time.
_RECORDS: Final = (
    # One row, once something was taken in: up to which entry (with its boot and boot_ms), and for which zone. Days
    # before ``kept_from`` are of entries that were erased; their figures stay as they are.
    """
    CREATE TABLE projection (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        seq INTEGER NOT NULL,
        boot INTEGER,
        boot_ms INTEGER,
        zone TEXT NOT NULL,
        kept_from TEXT NOT NULL
    ) STRICT
    """,
    # ``first_ms`` to ``last_ms`` of its clock are known, ``from_wall_ms`` to ``until_wall_ms`` of the wall clock.
    """
    CREATE TABLE record_boot (
        number INTEGER PRIMARY KEY,
        boot_id TEXT NOT NULL UNIQUE,
        first_seq INTEGER NOT NULL,
        guess_ms INTEGER NOT NULL,
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        from_wall_ms INTEGER NOT NULL,
        until_wall_ms INTEGER NOT NULL,
        started INTEGER NOT NULL,
        stopped INTEGER NOT NULL,
        ran_ms INTEGER NOT NULL,
        line TEXT NOT NULL,
        certain INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE record_clock (
        boot INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        offset_ms INTEGER NOT NULL,
        PRIMARY KEY (boot, at_ms)
    ) STRICT, WITHOUT ROWID
    """,
    # From ``at_ms`` on the line was so; from there on it was this provider's.
    """
    CREATE TABLE record_line (
        boot INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        line TEXT NOT NULL,
        PRIMARY KEY (boot, at_ms)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE record_provider (
        boot INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        name TEXT NOT NULL,
        link TEXT NOT NULL,
        PRIMARY KEY (boot, at_ms)
    ) STRICT, WITHOUT ROWID
    """,
    # Lost entries, and the moments of those around them where they are known.
    """
    CREATE TABLE record_lost (
        first_seq INTEGER PRIMARY KEY,
        last_seq INTEGER NOT NULL,
        boot INTEGER,
        boot_ms INTEGER,
        until_boot INTEGER,
        until_boot_ms INTEGER
    ) STRICT
    """,
    # ``*_ms`` are of the boot's clock, ``*_wall_ms`` what that is on the wall clock as far as known.
    """
    CREATE TABLE record_session (
        id INTEGER PRIMARY KEY,
        device TEXT NOT NULL,
        plan TEXT NOT NULL,
        method TEXT NOT NULL,
        boot INTEGER NOT NULL,
        began_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        last_ms INTEGER NOT NULL,
        began_wall_ms INTEGER NOT NULL,
        ended_wall_ms INTEGER,
        last_wall_ms INTEGER NOT NULL,
        up_bytes INTEGER NOT NULL,
        down_bytes INTEGER NOT NULL,
        reason TEXT,
        continues INTEGER
    ) STRICT
    """,
    "CREATE INDEX record_session_began ON record_session (began_wall_ms)",
    "CREATE INDEX record_session_ended ON record_session (ended_wall_ms)",
    # What all sessions together moved up to then, since they were last asked.
    """
    CREATE TABLE record_use (
        boot INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        up_bytes INTEGER NOT NULL,
        down_bytes INTEGER NOT NULL,
        PRIMARY KEY (boot, at_ms)
    ) STRICT, WITHOUT ROWID
    """,
    # Latency in tenths of milliseconds, loss in thousandths.
    """
    CREATE TABLE record_sample (
        boot INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        latency INTEGER,
        loss INTEGER,
        PRIMARY KEY (boot, at_ms)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE TABLE record_funnel (day TEXT PRIMARY KEY, os TEXT NOT NULL) STRICT, WITHOUT ROWID",
    # Nothing here is of a person. ``latency`` and ``loss`` are all samples' in order, with commas.
    """
    CREATE TABLE hour_figures (
        began_wall_ms INTEGER PRIMARY KEY,
        day TEXT NOT NULL,
        hour INTEGER NOT NULL,
        devices INTEGER NOT NULL,
        sessions INTEGER NOT NULL,
        peak_online INTEGER NOT NULL,
        p95_online INTEGER NOT NULL,
        up_bytes INTEGER NOT NULL,
        down_bytes INTEGER NOT NULL,
        off_ms INTEGER NOT NULL,
        down_ms INTEGER NOT NULL,
        degraded_ms INTEGER NOT NULL,
        up_ms INTEGER NOT NULL,
        unknown_ms INTEGER NOT NULL,
        lost_ms INTEGER NOT NULL,
        before_ms INTEGER NOT NULL,
        latency TEXT NOT NULL,
        loss TEXT NOT NULL,
        provider TEXT NOT NULL,
        link TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX hour_figures_day ON hour_figures (day)",
    # ``lengths`` are whole seconds of the sessions that ended, in order; ``online``: {how many: milliseconds}; JSON.
    """
    CREATE TABLE day_figures (
        day TEXT PRIMARY KEY,
        devices INTEGER NOT NULL,
        sessions INTEGER NOT NULL,
        lengths TEXT NOT NULL,
        online TEXT NOT NULL,
        up_bytes INTEGER NOT NULL,
        down_bytes INTEGER NOT NULL,
        certain INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)

# Batches for the office (portal.domain.batch).
_OUTBOX: Final = (
    # Numbers count from 1 in each epoch. A new one begins with another database (``database_epoch`` is meta.epoch then)
    # or another signing key, so that no number ever stands for two batches. ``made`` is the last number, ``head`` its
    # header's hash. ``dropped_records`` is JSON, by kind. ``day`` is the last local day that was looked at, sealed for
    # ``office`` (the fingerprint of its key).
    """
    CREATE TABLE outbox_epoch (
        id TEXT PRIMARY KEY CHECK (length(id) = 36),
        began_wall_s REAL NOT NULL,
        database_epoch TEXT NOT NULL,
        gateway BLOB NOT NULL CHECK (length(gateway) = 32),
        made INTEGER NOT NULL DEFAULT 0,
        head TEXT NOT NULL DEFAULT '',
        dropped_batches INTEGER NOT NULL DEFAULT 0,
        dropped_records TEXT NOT NULL DEFAULT '{}',
        day TEXT NOT NULL DEFAULT '',
        office TEXT NOT NULL DEFAULT ''
    ) STRICT
    """,
    # ``sealed`` NULL: dropped, and ``signature`` says so. ``bytes``: of the file that is made of it.
    """
    CREATE TABLE outbox_batch (
        epoch TEXT NOT NULL REFERENCES outbox_epoch (id),
        number INTEGER NOT NULL CHECK (number >= 1),
        class TEXT NOT NULL,
        made_wall_s REAL NOT NULL,
        bytes INTEGER NOT NULL,
        header TEXT NOT NULL,
        signature BLOB NOT NULL CHECK (length(signature) = 64),
        sealed BLOB,
        PRIMARY KEY (epoch, number)
    ) STRICT
    """,
    # What was put into batches of each day and class, so that it is put there again only where it has changed.
    """
    CREATE TABLE outbox_sent (
        day TEXT NOT NULL,
        class TEXT NOT NULL,
        revision INTEGER NOT NULL CHECK (revision >= 1),
        office TEXT NOT NULL,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        PRIMARY KEY (day, class)
    ) STRICT, WITHOUT ROWID
    """,
)

# Who spoke with which address when, sealed for the office; the rest says when that was, and chains it.
_NAT_LOG: Final = (
    """
    CREATE TABLE nat_chunk (
        number INTEGER PRIMARY KEY CHECK (number >= 1),
        boot_id TEXT NOT NULL,
        from_boot_ms INTEGER NOT NULL,
        until_boot_ms INTEGER NOT NULL,
        offset_ms INTEGER NOT NULL,
        trusted INTEGER NOT NULL,
        stream TEXT NOT NULL,
        last INTEGER NOT NULL,
        count INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        stream_lost INTEGER NOT NULL,
        office TEXT NOT NULL,
        before BLOB NOT NULL CHECK (length(before) = 32),
        hash BLOB NOT NULL CHECK (length(hash) = 32),
        sealed BLOB NOT NULL
    ) STRICT
    """,
    # One row. Chunks up to number ``gone`` were erased or, for want of room, dropped: ``dropped`` connections.
    """
    CREATE TABLE nat_log (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        bytes INTEGER NOT NULL,
        gone INTEGER NOT NULL,
        gone_hash BLOB NOT NULL CHECK (length(gone_hash) = 32),
        dropped INTEGER NOT NULL
    ) STRICT
    """,
    "INSERT INTO nat_log VALUES (1, 0, 0, zeroblob(32), 0)",
)

STATEMENTS: Final = (*_JOURNAL, *_ARRIVALS, *_RECORDS, *_OUTBOX, *_NAT_LOG)
