"""What housekeeping does in one go, and that its parts fail for themselves: portal.housekeeping."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any

import pytest

from portal import housekeeping
from portal.admission import Gate
from portal.housekeeping import Part
from portal.paths import Paths
from portal.retention import Retention
from portal.store.db import Database, StoreError
from tests.unit.portal.conftest import CONFIG

Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(autouse=True)
def niceness(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append)
    return asked


def keep(paths: Paths) -> dict[str, Part]:
    return {part.name: part for part in housekeeping.keep(CONFIG, paths, None)}


def test_the_log_is_taken_into_the_figures(gate: Gate, paths: Paths, query: Query, niceness: list[int]) -> None:
    gate.enter_by_terms("02:00:00:00:00:01", "10.77.0.9", "1")
    found = keep(paths)
    assert found["rollups"].done["entries"] >= 1
    assert all(part.error is None for part in found.values())
    assert query("SELECT count(*) FROM record_session WHERE continues IS NULL") == [(1,)]
    assert keep(paths)["rollups"].done == {}, "there is nothing more to do"
    assert niceness == [housekeeping.NICE] * 2


def test_each_part_fails_for_itself(gate: Gate, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.enter_by_terms("02:00:00:00:00:01", "10.77.0.9", "1")

    def full(*_: object) -> dict[str, int]:
        raise StoreError("database-full", "The disk is full.")

    def mistaken(*_: object) -> dict[str, int]:
        raise ZeroDivisionError

    monkeypatch.setattr(housekeeping, "_catch_up", mistaken)
    monkeypatch.setattr(Retention, "run", full)
    found = keep(paths)
    assert "mistake" in (found["rollups"].error or "")
    assert "database-full" in (found["retention"].error or "")
    assert found["outbox"].error is None
    assert found["database"].error is None


def test_never_two_at_once(paths: Paths, database: Database) -> None:
    keep(paths)
    with (paths.data / housekeeping.LOCK).open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(housekeeping.Busy):
            keep(paths)
    assert keep(paths)["rollups"].error is None


def test_without_a_database_every_part_says_so(paths: Paths) -> None:
    for file in paths.data.glob("gerbang.db*"):
        file.unlink()
    assert all(part.error for part in keep(paths).values() if part.name != "outbox")
