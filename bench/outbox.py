"""What batches for the office cost: their size on the card, and the time that a night takes.

The village is made up (bench.village_year), long enough that 90 days lie in the outbox. It must not know what is told.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from zoneinfo import ZoneInfo

from msgspec import structs

from bench.result import Reach, Result
from bench.village_year import make_year
from portal import outbox, sealing
from portal.config import Office
from portal.domain import batch, localtime
from portal.domain.model import Now
from portal.store import outbox as store
from portal.store import rollups
from portal.store.db import Database

DAYS = 130


def outbox_of_90_days() -> Iterator[Result]:
    """The first time that an office has a key, and a night later; 60 devices and 180 sessions a day."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gerbang.db"
        year = make_year(path, days=DAYS)
        with closing(Database(path)) as database:
            zone = ZoneInfo(year.config.site.timezone)
            with database.write() as db:
                rollups.catch_up(db, zone)
                db.execute("UPDATE meta SET trusted_boot_id = boot_id")
                (boot_id,) = db.execute("SELECT boot_id FROM meta").fetchone()
            config = structs.replace(year.config, office=Office(key=sealing.new_office_secret().key.line))
            signing = sealing.SigningKey(bytes(32))

            def night(day: dt.date) -> float:
                """Seconds that it takes; at two o'clock, when the day before is over."""
                now = Now(boot_id, 1e9, localtime.day_start(day, zone) + 7200)
                began = time.monotonic()
                outbox.fill(database, config, signing, now)
                return time.monotonic() - began

            first_s = night(year.last)
            with database.read() as db:
                held = store.held(db)
                largest = max(len(outbox.to_file(one)) for one in store.read(db, store.numbers(db)))
            note = f"{held.batches} batches; 180 sessions and 288 samples a day; files {held.bytes / 1e6:.2f} MB"
            yield Result("outbox_90_days_mb", held.disk_bytes / 1e6, "MB", Reach(at_most=200), note=note)
            yield Result("outbox_largest_batch", largest, "bytes", Reach(at_most=batch.MAX_FILE_BYTES))
            yield Result("outbox_first_fill_s", first_s, "s", note="90 days at once, each a transaction")
            yield Result(
                "outbox_night_s", night(year.last + dt.timedelta(days=1)), "s", note="one day told, 90 looked at"
            )
