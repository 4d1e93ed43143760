"""`gerbang journal` on a real database: what it finds, shows and exports, and how it exits."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from portal import cli, cli_journal
from portal.domain.journal import Kind
from portal.domain.model import Now
from portal.store import audit, journal, migrations, sessions, setup
from portal.store.db import Database

SITE = """
[site]
code = "64.03.01.2001"
name = "Desa Uji"
timezone = "Asia/Makassar"
"""
WALL_S = 1_790_000_000.0  # 2026-09-21 22:13:20 in Makassar
RAW_S = 1000.0

Gerbang = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of ten entries: NTP comes after the third, in a boot that began in 1970."""
    monkeypatch.delenv("SUDO_USER", raising=False)
    path = tmp_path / "data/gerbang.db"
    path.parent.mkdir()
    setup.create_or_migrate(path, migrations.migrate)
    (tmp_path / "site.toml").write_text(SITE)
    early, late = Now("boot", 20.0, RAW_S + 20), Now("boot", 60.0, WALL_S + 60)
    with contextlib.closing(Database(path)) as database, database.write() as db:
        sessions.note_time(db, early)
        journal.append(db, Kind.START, {"site": "64.03.01.2001", "seen_ms": None}, early)
        journal.append(db, Kind.SAMPLE, {"online": 1, "latency_ms": 12.5, "loss": None}, early)
        db.execute("UPDATE meta SET trusted_boot_id = 'boot'")
        journal.append(db, Kind.CLOCK, {"offset_ms": round(WALL_S * 1000)}, late)
        who = {"actor": "siti", "role": "operator", "action": "hours.close", "object": "site"}
        audit.write(db, **who, before=None, after={"reason": "hujan"}, now=late)
        for online in range(5):
            journal.append(db, Kind.SAMPLE, {"online": online, "latency_ms": None, "loss": None}, late)
    return tmp_path


@pytest.fixture
def gerbang(home: Path) -> Gerbang:
    def run(verb: str, *rest: object) -> Result:
        places = ["--run-dir", str(home), "--data-dir", str(home / "data")]
        return CliRunner().invoke(cli.gerbang, ["journal", verb, *places, *map(str, rest)])

    return run


def sql(home: Path, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(home / "data/gerbang.db")) as db, db:
        return db.execute(statement, values).fetchall()


def findings(result: Result) -> list[tuple[str, int, int]]:
    assert result.exit_code == os.EX_DATAERR
    return [(found["wrong"], found["first"], found["last"]) for found in json.loads(result.stdout)["findings"]]


def test_a_whole_log_is_said_to_be_and_its_head_is_given(gerbang: Gerbang) -> None:
    done = gerbang("verify")
    assert done.exit_code == os.EX_OK, done.stderr
    assert "The log is whole: 10 entries." in done.stdout
    head = done.stdout.split()[-1]
    assert gerbang("verify", "--head", head).exit_code == os.EX_OK
    assert json.loads(gerbang("verify", "--json").stdout)["head"] == head


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("UPDATE journal SET wall_ms = wall_ms + 1 WHERE seq = 7", ("altered", 7, 7)),
        ("UPDATE journal SET body = replace(body, '12.5', '2.5') WHERE seq = 3", ("altered", 3, 3)),
        ("UPDATE journal SET body = CAST(x'7bff7d' AS TEXT) WHERE seq = 3", ("altered", 3, 3)),
        ("UPDATE journal SET kind = 'nothing' WHERE seq = 8", ("altered", 8, 8)),
        ("DELETE FROM journal WHERE seq IN (6, 7)", ("missing", 6, 7)),
        ("INSERT INTO journal_tomb SELECT 1, 1, hash FROM journal WHERE seq = 1", ("order", 1, 1)),
        ("UPDATE audit SET actor = 'budi'", ("audit", 5, 5)),
        ("DELETE FROM audit", ("audit", 5, 5)),
    ],
)
def test_what_is_wrong_is_named(home: Path, gerbang: Gerbang, change: str, wrong: tuple[str, int, int]) -> None:
    sql(home, change)
    assert findings(gerbang("verify", "--json"))[0] == wrong


def test_a_log_that_was_cut_short_is_found_by_its_head(home: Path, gerbang: Gerbang) -> None:
    head = json.loads(gerbang("verify", "--json").stdout)["head"]
    sql(home, "DELETE FROM journal WHERE seq > 8")
    assert gerbang("verify").exit_code == os.EX_OK
    assert findings(gerbang("verify", "--head", head, "--json")) == [("missing", 9, 10)]


def test_a_hash_alone_is_enough_to_hold_a_log_against(home: Path, gerbang: Gerbang) -> None:
    """Reports name no number: how many entries there are between two of them would tell how many people hide."""
    hashes = [entry["hash"] for entry in json.loads(gerbang("show", "--json").stdout)]
    assert [gerbang("verify", "--head", one.upper()).exit_code for one in hashes] == [os.EX_OK] * 10
    file = home / "log.ndjson"
    assert gerbang("export", file).exit_code == os.EX_OK
    assert gerbang("verify", file, "--head", hashes[4]).exit_code == os.EX_OK
    sql(home, "DELETE FROM journal WHERE seq > 8")
    assert gerbang("verify", "--head", hashes[7]).exit_code == os.EX_OK
    assert findings(gerbang("verify", "--head", hashes[8], "--json")) == [("unknown", 1, 8)]
    assert gerbang("verify", "--head", hashes[8]).stderr.startswith("No entry has the hash that was given: ")


def test_people_are_told_number_kind_and_corrected_time(home: Path, gerbang: Gerbang) -> None:
    sql(home, "UPDATE journal SET body = '{}' WHERE seq = 3")
    done = gerbang("verify")
    assert done.exit_code == os.EX_DATAERR
    assert done.stderr == "Entry 3 (sample, 2026-09-21 22:13:40) was altered: its contents do not fit its hash.\n"
    assert done.stdout == ""


def test_a_head_that_is_none_is_wrong_use(gerbang: Gerbang) -> None:
    for wrong in ("7:abc", "abc", f"0:{'a' * 64}", f":{'a' * 64}"):
        assert "64 hexadecimal digits" in gerbang("verify", "--head", wrong).stderr


def test_entries_show_both_times_and_which_to_believe(gerbang: Gerbang) -> None:
    lines = gerbang("show").stdout.splitlines()
    assert len(lines) == 10
    early, late = lines[2].split("  "), lines[5].split("  ")
    assert [cell.strip() for cell in early if cell.strip()] == [
        "3", "2026-09-21 22:13:40", "1970-01-01 08:17:00", "corrected", "sample", "latency_ms=12.5 loss=null online=1",
    ]  # fmt: skip
    assert [cell.strip() for cell in late if cell.strip()][:4] == [
        "6", "2026-09-21 22:14:20", "2026-09-21 22:14:20", "set",
    ]  # fmt: skip


def test_entries_are_chosen_by_kind_number_and_corrected_time(gerbang: Gerbang) -> None:
    def seqs(*options: object) -> list[int]:
        return [entry["seq"] for entry in json.loads(gerbang("show", "--json", *options).stdout)]

    assert seqs("--kind", "act", "--kind", "clock") == [4, 5]
    assert seqs("--kind", "sample", "--limit", 2) == [9, 10]
    assert seqs("--from", "2026-09-21T22:14", "--until", "2026-09-21") == [4, 5, 6, 7, 8, 9, 10]
    assert seqs("--until", "2026-09-21T22:14") == [1, 2, 3]


def test_followers_see_what_comes_until_they_stop_it(
    home: Path, gerbang: Gerbang, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter([True, False])

    def sleep(_: float) -> None:
        if not next(turns):
            raise KeyboardInterrupt
        with contextlib.closing(Database(home / "data/gerbang.db")) as database, database.write() as db:
            journal.append(db, Kind.STOP, {}, Now("boot", 70.0, WALL_S + 70))

    monkeypatch.setattr(cli_journal.time, "sleep", sleep)
    done = gerbang("follow", "-n", 2)
    assert done.exit_code == os.EX_OK
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["9", "10", "11"]


@pytest.mark.parametrize("name", ["log.ndjson", "log.ndjson.gz"])
def test_an_exported_log_is_checked_like_the_one_in_the_database(home: Path, gerbang: Gerbang, name: str) -> None:
    file = home / name
    assert "10 entries" in gerbang("export", file).stdout
    assert file.stat().st_mode & 0o777 == 0o600
    assert gerbang("export", file).exit_code == os.EX_CANTCREAT, "nothing is overwritten"
    assert gerbang("verify", file).stdout == gerbang("verify").stdout
    content = gzip.decompress(file.read_bytes()) if name.endswith("gz") else file.read_bytes()
    lines = content.splitlines(keepends=True)

    def verified(content: bytes) -> Result:
        other = file.with_name(f"other-{name}")
        other.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        return gerbang("verify", other, "--json")

    assert findings(verified(content.replace(b"12.5", b"12.6"))) == [("altered", 3, 3)]
    assert findings(verified(b"".join([*lines[:4], *lines[5:]]))) == [("missing", 4, 4)]
    assert findings(verified(b"".join([*lines[:4], lines[5], lines[4], *lines[6:]])))[0] == ("order", 4, 4)
    assert findings(verified(b"".join(lines[:-2]))) == [("missing", 9, 10)]
    file.with_name("short.ndjson").write_bytes(b"".join(lines[:-2]))
    short = gerbang("verify", file.with_name("short.ndjson"), "--head", json.loads(lines[3])["hash"], "--json")
    assert findings(short) == [("missing", 9, 10)], "one head that fits is not enough"
    for broken in (content[:-5], b"", b"PK\3\4", lines[0] + b'{"seq":"\xff"}\n', b"".join([*lines[:3], b"{}\n"])):
        done = verified(broken)
        assert done.exit_code == os.EX_DATAERR
        assert json.loads(done.stdout)["error"]["code"] == "journal-file"
    file.write_bytes(file.read_bytes()[:-9])
    assert gerbang("verify", file).exit_code == os.EX_DATAERR


def test_an_export_that_cannot_be_made_leaves_no_file(home: Path, gerbang: Gerbang) -> None:
    (home / "data/gerbang.db").unlink()
    assert gerbang("export", home / "log.ndjson").exit_code == os.EX_UNAVAILABLE
    assert not (home / "log.ndjson").exists()
    assert gerbang("verify", home / "none").exit_code == os.EX_NOINPUT
