"""A gateway's data directory with a database, as setup leaves it. It must not start processes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from portal import staffkey
from portal.paths import Paths
from portal.store import migrations, setup

SITE = """[site]
code = "64.03.01.2001"
name = "Desa Uji"
[uplink]
interface = "wan0"
"""

Query = Callable[..., list[tuple[object, ...]]]


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fresh") / "gerbang.db"
    setup.create_or_migrate(path, migrations.migrate)
    return path.parent


@pytest.fixture
def paths(tmp_path: Path, fresh: Path) -> Paths:
    """With site.toml in the run directory, and a staff key."""
    run, data = tmp_path / "run", tmp_path / "data"
    run.mkdir()
    data.mkdir()
    for file in fresh.iterdir():
        (data / file.name).write_bytes(file.read_bytes())
    found = Paths(run, data)
    found.site.write_text(SITE)
    staffkey.load_or_make(found.staff, os.getuid(), os.getgid())
    return found


@pytest.fixture
def query(paths: Paths) -> Query:
    """Read and write the database as another program would."""

    def run(sql: str, *values: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(paths.database, isolation_level=None)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    return run
