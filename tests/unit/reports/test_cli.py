"""`gerbang report` on a real database: what it writes, what it hides, how it refuses."""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from portal import cli
from portal.domain import localtime
from portal.domain.journal import Kind
from portal.domain.model import Now
from portal.domain.suppression import Hidden
from portal.store import journal, migrations, setup
from tests.unit.reports import sources

SITE = """
[site]
code = "64.03.01.2001"
name = "Desa Uji"
[uplink]
provider = "Telkom"
link = "satellite"
[office]
name = "Diskominfo"
"""
WITA = ZoneInfo("Asia/Makassar")
START_S = localtime.day_start(dt.date(2026, 10, 1), WITA)
BOOT = "b0070000-0000-4000-8000-000000000001"
UPTIME_S = 1_000.0

Gerbang = Callable[..., Result]


def at(day: int, hour: float) -> Now:
    """On that day of October 2026, in the one boot of these tests."""
    passed_s = (day - 1) * 86_400 + hour * 3600
    return Now(BOOT, UPTIME_S + passed_s, START_S + passed_s)


@contextmanager
def log_of(path: Path) -> Iterator[Callable[..., int]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield lambda now, kind, **body: journal.append(db, kind, body, now)
        db.execute("COMMIT")


def write_log(path: Path) -> None:
    """Ten devices on the 1st and the 3rd, two on the 2nd, each online for half an hour."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE meta SET boot_id = ?, trusted_boot_id = ?, seen_boot_s = ?", (BOOT, BOOT, at(3, 23).boot_s))
    with log_of(path) as tell:
        first = at(1, 0)
        tell(first, Kind.BOOT, before=None, seen_ms=None, clean=False)
        tell(
            first,
            Kind.START,
            site="64.03.01.2001",
            version="1",
            zone="Asia/Makassar",
            provider="Telkom",
            link="satellite",
            seen_ms=None,
        )
        tell(first, Kind.CLOCK, offset_ms=round((first.wall_s - first.boot_s) * 1000))
        tell(first, Kind.UPLINK, state="up", failing=None, at_ms=round(first.boot_s * 1000))
        session = 0
        for day, devices in ((1, 10), (2, 2), (3, 10)):
            for device in range(devices):
                session += 1
                begin, end = at(day, 8 + device / 60), at(day, 8.5 + device / 60)
                tell(begin, Kind.BEGIN, s=session, d=f"{device:016x}", plan="warga", method="terms", after=None)
                tell(
                    end,
                    Kind.END,
                    s=session,
                    reason="logout",
                    up=1_000 * device,
                    down=70_000_001 * device,
                    boot=BOOT,
                    at_ms=round(end.boot_s * 1000),
                )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SUDO_USER", raising=False)
    data = tmp_path / "data"
    data.mkdir()
    setup.create_or_migrate(data / "gerbang.db", migrations.migrate)
    write_log(data / "gerbang.db")
    (tmp_path / "site.toml").write_text(SITE)
    return tmp_path


@pytest.fixture
def report(home: Path) -> Gerbang:
    def run(*arguments: object) -> Result:
        places = ("--site", home / "site.toml", "--run-dir", home, "--data-dir", home / "data")
        return CliRunner().invoke(cli.gerbang, list(map(str, ("report", *places, *arguments))))

    return run


def audit(home: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home / "data/gerbang.db")) as db:
        return db.execute("SELECT action, object FROM audit ORDER BY id").fetchall()


def test_a_table_on_standard_output(report: Gerbang) -> None:
    found = report("--month", "2026-10", "--format", "csv")
    assert found.exit_code == os.EX_OK, found.stderr
    head, first, second, third, *later = sources.from_csv(found.stdout_bytes)
    assert head[:4] == ["Tanggal", "Perangkat (perangkat)", "Sesi (sesi)", "Lama sesi (median) (detik)"]
    assert first[:4] == [dt.date(2026, 10, 1), 10, 10, 1800]
    assert first[6:8] == [45_000, 45 * 70_000_001]
    assert second[1:8] == [Hidden.FEW, *[Hidden.WITHHELD] * 6]
    assert third[:3] == [dt.date(2026, 10, 3), 10, 10]
    assert all(row[1] == 0 for row in later)


def test_sums_leave_the_hidden_day_out(report: Gerbang) -> None:
    rows = sources.from_csv_id(report("--month", "2026-10", "--format", "csv-id", "--table", "ringkasan").stdout_bytes)
    told = {(row[0], row[1]): row[2] for row in rows}
    assert told["Penggunaan", "Sesi"] == 20
    assert told["Penggunaan", "Unduh"] == 2 * 45 * 70_000_001
    assert told["Penggunaan", "Lama sesi (median)"] == 1800
    assert told["Catatan", "Hari yang disamarkan"] == 1


def test_the_sessions_of_the_hidden_day_are_not_told(report: Gerbang) -> None:
    rows = sources.from_csv(report("--month", "2026-10", "--format", "csv", "--table", "sesi").stdout_bytes)[1:]
    assert [row[0] for row in rows].count(dt.date(2026, 10, 1)) == 10
    (hidden,) = [row for row in rows if row[0] == dt.date(2026, 10, 2)]
    assert set(hidden[1:]) == {Hidden.WITHHELD}
    assert len(rows) == 21


def test_a_workbook_and_pages_to_print_into_files(report: Gerbang, home: Path) -> None:
    for form, begins in (("xlsx", b"PK"), ("html", b"<!doctype html>")):
        out = home / f"report.{form}"
        found = report("--year", "2026", "--format", form, "--out", out, "--json")
        assert found.exit_code == os.EX_OK, found.stderr
        assert json.loads(found.stdout) == {"file": str(out), "bytes": out.stat().st_size}
        assert out.read_bytes().startswith(begins)
    sheets = sources.from_xlsx((home / "report.xlsx").read_bytes())
    page = sources.from_html((home / "report.html").read_text())
    assert [row[2] for row in sheets["Ringkasan"][1:] if row[1] == "Sesi"] == [20]
    assert [row[1] for row in page["ringkasan"] if row[0] == "Sesi"] == [20]
    assert audit(home) == [("report.export", "report gerbang-64.03.01.2001-2026")] * 2


def test_a_file_that_is_there_is_left_alone(report: Gerbang, home: Path) -> None:
    out = home / "report.csv"
    out.write_text("mine")
    found = report("--month", "2026-10", "--format", "csv", "--out", out, "--json")
    assert found.exit_code == os.EX_CANTCREAT and json.loads(found.stdout)["error"]["code"] == "file"
    assert out.read_text() == "mine" and audit(home) == []


def test_a_directory_that_is_not_there_is_said(report: Gerbang, home: Path) -> None:
    found = report("--month", "2026-10", "--format", "csv", "--out", home / "nowhere/report.csv")
    assert found.exit_code == os.EX_CANTCREAT and "nowhere" in found.stderr


def test_a_month_without_a_log_is_no_report_of_zeros(report: Gerbang) -> None:
    found = report("--month", "2024-02", "--format", "csv")
    assert found.exit_code == os.EX_DATAERR and found.stdout == ""
    assert "2024-02-01 to 2024-02-29" in found.stderr


@pytest.mark.parametrize(
    "wrong",
    [(), ("--month", "2026-10", "--year", "2026"), ("--month", "2026-13"), ("--month", "Oktober"), ("--year", "26")],
)
def test_wrong_periods_are_said(report: Gerbang, wrong: tuple[str, ...]) -> None:
    found = report(*wrong, "--format", "csv")
    assert found.exit_code == 2 and "month" in found.stderr.lower() + "month" * (
        "--year" in wrong
    )  # main() makes it 64
