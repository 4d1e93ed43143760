"""`gerbang rollup` on a real database: how far the figures go, and all of them made again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.village_year import Year
from portal import cli


@pytest.fixture
def data(village: Year, tmp_path: Path) -> Path:
    for file in village.path.parent.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "site.toml").write_text('[site]\ncode = "64.02.12.2003"\n')
    return tmp_path


def run(data: Path, *words: str) -> dict[str, Any]:
    places = ("--site", data / "site.toml", "--data-dir", data, "--run-dir", data, "--json")
    answer = CliRunner().invoke(cli.gerbang, ["rollup", *words, *map(str, places)])
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_it_is_said_how_far_the_figures_go_and_making_them_again_changes_nothing(data: Path) -> None:
    made = run(data, "rebuild")
    assert made["changed"] is False
    state = run(data)
    assert (state["taken_in"], state["not_taken_in"]) == (made["entries"], 0)
    assert state["first_day"] == "2026-01-01"


def test_a_figure_that_somebody_changed_is_made_right_again_and_said(data: Path) -> None:
    run(data, "rebuild")
    with closing(sqlite3.connect(data / "gerbang.db")) as db, db:
        (right,) = db.execute("SELECT sessions FROM day_figures WHERE day = '2026-01-10'").fetchone()
        db.execute("UPDATE day_figures SET sessions = sessions + 1 WHERE day = '2026-01-10'")
    assert run(data, "rebuild")["changed"] is True
    with closing(sqlite3.connect(data / "gerbang.db")) as db:
        assert db.execute("SELECT sessions FROM day_figures WHERE day = '2026-01-10'").fetchone() == (right,)
    assert run(data, "rebuild")["changed"] is False
