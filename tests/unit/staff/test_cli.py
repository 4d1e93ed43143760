"""`gerbang staff`: who there is, and a new password that fits the staff pages' own check."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from portal import cli
from portal.paths import Paths
from portal.staffing import Staffing
from portal.staffkey import StaffKey
from portal.store.db import Database
from tests.unit.staff.conftest import PASSWORD

Gerbang = Callable[..., Result]


@pytest.fixture
def gerbang(paths: Paths, key: StaffKey) -> Gerbang:
    (paths.data / "site.toml").write_text('[site]\ncode = "64.03.01.2001"\n')
    paths.staff.mkdir()
    (paths.staff / "key").write_bytes(bytes(range(32)))
    places = ["--run-dir", str(paths.run), "--data-dir", str(paths.data), "--site", str(paths.data / "site.toml")]
    return lambda verb, *rest: CliRunner().invoke(cli.gerbang, ["staff", verb, *places, *rest])


@pytest.fixture
def told(gerbang: Gerbang) -> Callable[..., Any]:
    return lambda *arguments: json.loads(gerbang(*arguments, "--json").stdout)


def test_list(gerbang: Gerbang, told: Callable[..., Any]) -> None:
    assert [(one["name"], one["role"], one["must_change"]) for one in told("list")] == [
        ("ani", "operator", False),
        ("tono", "technician", False),
        ("rina", "reviewer", False),
    ]
    assert "argon2" not in gerbang("list", "--json").stdout
    assert "tono" in gerbang("list").stdout


def test_reset_gives_a_password_that_works_once_and_must_be_changed(
    told: Callable[..., Any], paths: Paths, key: StaffKey
) -> None:
    password = told("reset", "tono")["done"]["password"]
    database = Database(paths.database)
    staffing = Staffing(database, key)
    assert staffing.log_in("tono", PASSWORD) is None
    token = staffing.log_in("tono", password)
    assert token is not None
    session = staffing.session(token, click=True)
    assert session is not None
    assert session.user.must_change
    with database.read() as db:
        row = db.execute("SELECT actor, role, action, object, before || after FROM audit").fetchone()
    database.close()
    assert row[1:4] == ("cli", "staff.reset", "staff tono")
    assert password not in row[4]


def test_refusals(gerbang: Gerbang, told: Callable[..., Any], paths: Paths) -> None:
    assert gerbang("reset", "budi").exit_code == 65
    assert told("reset", "budi")["error"]["code"] == "staff-unknown"
    assert "ani, tono, rina" in told("reset", "budi")["error"]["hint"]
    Path(paths.staff / "key").unlink()
    assert gerbang("reset", "tono").exit_code == 69
    assert told("reset", "tono")["error"]["code"] == "staff-key"
