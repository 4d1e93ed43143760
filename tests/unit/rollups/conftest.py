"""A database that nothing was written to, and a made-up month of a village. It must not start processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from bench.village_year import Year, make_year
from portal.domain.journal import Kind
from portal.domain.model import Now
from portal.store import journal, migrations, setup
from portal.store.db import Database

ZONE: Final = ZoneInfo("Asia/Makassar")
PROJECTION: Final = (
    "projection", "record_boot", "record_clock", "record_line", "record_provider", "record_lost", "record_session",
    "record_use", "record_sample", "record_funnel", "hour_figures", "day_figures",
)  # fmt: skip


def dump(db: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that is made of the log."""
    return {table: sorted(db.execute(f"SELECT * FROM {table}"), key=repr) for table in PROJECTION}


class Log:
    """Writes entries; ``boot`` and ``at_s`` (of its clock) are when, ``wall_s`` is what the wall clock shows at 0."""

    def __init__(self, db: sqlite3.Connection, boot: str = "a", wall_s: float = 1_793_664_000.0) -> None:
        self.db, self.boot, self.wall_s = db, boot, wall_s  # 3 November 2026, 08:00 in Makassar

    def __call__(self, kind: Kind, at_s: float, **body: Any) -> int:
        return journal.append(self.db, kind, body, Now(self.boot, at_s, self.wall_s + at_s))

    def starts(self, at_s: float, seen_s: float | None = None, provider: str = "Telkom") -> None:
        seen_ms = None if seen_s is None else round(seen_s * 1000)
        said = {"site": "1", "version": "1", "zone": ZONE.key, "link": "fibre"}
        self(Kind.START, at_s, provider=provider, seen_ms=seen_ms, **said)

    def boots(self, at_s: float, before: str | None = None, seen_s: float | None = None) -> None:
        seen_ms = None if seen_s is None else round(seen_s * 1000)
        self(Kind.BOOT, at_s, before=before, seen_ms=seen_ms, clean=False)
        self.starts(at_s)

    def line(self, at_s: float, state: str) -> None:
        self(Kind.UPLINK, at_s, state=state, failing=None, at_ms=round(at_s * 1000))

    def begins(self, at_s: float, session: int, device: str = "d", after: int | None = None) -> None:
        self(Kind.BEGIN, at_s, s=session, d=device, plan="warga", method="terms", after=after)

    def moved(self, at_s: float, session: int, up: int, down: int) -> None:
        self(Kind.INTERIM, at_s + 0.1, s=session, up=up, down=down, at_ms=round(at_s * 1000))

    def ends(
        self, at_s: float, session: int, up: int = 0, down: int = 0, reason: str = "logout", boot: str = ""
    ) -> None:
        at_ms = round(at_s * 1000)
        self(Kind.END, at_s, s=session, reason=reason, up=up, down=down, at_ms=at_ms, boot=boot or self.boot)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "gerbang.db"
    setup.create_or_migrate(path, migrations.migrate)
    return path


@pytest.fixture
def db(empty: Path, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A write transaction that is never committed."""
    for file in empty.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    database = Database(tmp_path / empty.name)
    with database.write() as connection:
        yield connection
    database.close()


@pytest.fixture(scope="session")
def village(tmp_path_factory: pytest.TempPathFactory) -> Year:
    """Thirty-six days of a small village, over the end of a month."""
    return make_year(tmp_path_factory.mktemp("village") / "gerbang.db", seed=7, days=36, devices=20, logins=60)
