"""`gerbang office` and `gerbang outbox`, from the key to the acknowledgement, as technician and office type them."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from portal import privileges, sealing
from portal.batchfiles import StickError
from portal.cli import gerbang
from portal.clock import now as real_now
from portal.store.db import Database
from tests.unit.outbox.conftest import FIRST, Figures, at
from tests.unit.outbox.making import SITE

PASSPHRASE = "lima kata yang panjang\n"


def run(*words: str | Path, given: str = PASSPHRASE, status: int = 0) -> Result:
    result = CliRunner().invoke(gerbang, [str(word) for word in words], input=given)
    assert result.exit_code == status, result.output
    return result


def told(*words: str | Path, status: int = 0) -> Any:
    return json.loads(run(*words, "--json", status=status).stdout)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The private half's file, and the public line."""
    file = tmp_path_factory.mktemp("office") / "office.key"
    return file, told("office", "key", file, "--stdin")["line"]


@pytest.fixture
def gateway(
    tmp_path: Path, database: Database, office: tuple[Path, str], figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> list[str | Path]:
    """The options of a gateway with four days to tell, in whose boot NTP has set the clock."""
    site = tmp_path / "site.toml"
    site.write_text(f'[site]\ncode = "{SITE}"\n[office]\nkey = "{office[1]}"\n')
    with database.write() as db:
        db.execute("UPDATE meta SET trusted_boot_id = ?", (real_now().boot_id,))
    monkeypatch.setattr("portal.clock.now", lambda: at_boot(4))
    monkeypatch.setattr(privileges, "account", lambda _: pwd.getpwuid(os.getuid()))
    sealing.load_or_make_signing(tmp_path / "data" / "staff", os.getuid(), os.getgid())
    return ["--site", site, "--data-dir", tmp_path / "data", "--run-dir", tmp_path / "run"]


def at_boot(days: int) -> Any:
    import datetime as dt
    from dataclasses import replace

    return replace(at(FIRST + dt.timedelta(days=days)), boot_id=real_now().boot_id)


def test_the_key_is_made_once_and_its_line_is_taken_by_check(tmp_path: Path) -> None:
    file = tmp_path / "office.key"
    said = run("office", "key", file, "--stdin").output
    line = said.split('key = "')[1].split('"')[0]
    assert sealing.unlock(file.read_bytes(), PASSPHRASE.strip()).key == sealing.parse_office_key(line)
    assert file.stat().st_mode & 0o777 == 0o600
    site = tmp_path / "site.toml"
    site.write_text(f'[site]\ncode = "{SITE}"\n' + said.partition("\n\n")[2])
    run("check", site)
    site.write_text(site.read_text().replace(line[-5:], line[-4:] + line[-5]))
    assert "office key" in run("check", site, status=78).stderr
    before = file.read_bytes()
    assert "not overwritten" in run("office", "key", file, "--stdin", status=73).stderr
    assert file.read_bytes() == before
    run("office", "key", tmp_path / "other.key", "--stdin", given="short\n", status=65)
    assert not (tmp_path / "other.key").exists()


def test_from_the_gateway_to_the_office_and_back(
    tmp_path: Path, gateway: list[str | Path], office: tuple[Path, str]
) -> None:
    assert told("outbox", *gateway)["batches"] == 0
    stick, file = tmp_path / "usb", office[0]
    stick.mkdir()
    done = told("outbox", "export", stick, *gateway)
    assert (done["batches"], done["written"], done["there"]) == (12, 12, 0)
    assert told("outbox", "export", stick, *gateway)["there"] == 12
    state = told("outbox", *gateway)
    assert (state["batches"], state["number"], state["day"]) == (12, 12, "2026-11-04")
    assert state["fingerprint"] in run("outbox", *gateway).output
    known = ("--gateway", state["fingerprint"])

    assert "All are good." in run("outbox", "check", stick, *known).output
    checked = told("outbox", "check", stick, "--key", file, "--stdin", *known)
    assert checked["good"]
    assert checked["chains"][0]["days"] == ["2026-11-01", "2026-11-04"]
    assert not told("outbox", "check", stick, "--gateway", "0000", status=65)["good"]

    output = tmp_path / "records.ndjson"
    assert "records" in run("outbox", "open", stick, "--key", file, "--stdin", "--output", output).output
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert sum(one["kind"] == "session" for one in records) == 32
    assert records[0]["origin"]["site"] == SITE
    assert output.stat().st_mode & 0o777 == 0o600

    ack = tmp_path / "office.ack"
    assert told("office", "ack", stick, "--key", file, "--stdin", "--out", ack)["batches"] == 12
    assert told("outbox", "ack", ack, *gateway)["removed"] == 12
    assert told("outbox", *gateway)["batches"] == 0
    assert told("outbox", *gateway)["dropped"]["batches"] == 0


def test_a_damaged_directory_is_told_and_the_good_ones_are_opened(
    tmp_path: Path, gateway: list[str | Path], office: tuple[Path, str]
) -> None:
    stick = tmp_path / "usb"
    stick.mkdir()
    run("outbox", "export", stick, *gateway)
    first, second, *_ = sorted(stick.iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    found = told("outbox", "check", stick, status=65)
    assert {one["code"] for one in found["findings"]} == {"truncated", "begins"}
    output = tmp_path / "records.ndjson"
    run("outbox", "open", stick, "--key", office[0], "--stdin", "--output", output, status=65)
    assert len(output.read_text().splitlines()) > 50


def test_a_stick_that_fails_says_how_far_it_came(
    tmp_path: Path, gateway: list[str | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run("outbox", "export", tmp_path / "no such", *gateway, status=73)
    assert "no such directory" in said.stderr
    assert "0 of 12" in said.stderr

    def full(*_: object) -> None:
        raise StickError(OSError(28, "full"), 7)

    monkeypatch.setattr("portal.batchfiles.export", full)
    said = run("outbox", "export", tmp_path, *gateway, status=73)
    assert "7 of 12 batches are on it" in said.stderr


def test_who_may_not_sign_exports_what_there_is(
    tmp_path: Path, gateway: list[str | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("outbox", "export", tmp_path / "data", *gateway)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sealing, "load_signing", refuse)
    stick = tmp_path / "usb"
    stick.mkdir()
    said = run("outbox", "export", stick, *gateway)
    assert "12 batches written" in said.output
    assert "only root can sign" in said.stderr
    assert told("outbox", *gateway)["number"] == 12


def test_it_is_said_when_the_clock_is_waited_for(tmp_path: Path, gateway: list[str | Path], database: Database) -> None:
    with database.write() as db:
        db.execute("UPDATE meta SET trusted_boot_id = ''")
    assert "until NTP has set the clock" in run("outbox", "export", tmp_path, *gateway).stderr


def refuse(_: Path) -> None:
    raise PermissionError


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("outbox", "check", "no such"), 66),
        (("outbox", "check", ".", "--key", "no such"), 66),
        (("outbox", "ack", "no such"), 66),
        (("office", "key", "no/such/office.key", "--stdin"), 73),
    ],
)
def test_what_is_not_there_is_said(words: tuple[str, ...], status: int, gateway: list[str | Path]) -> None:
    said = run(*words, *(gateway if words[1] == "ack" else ()), status=status)
    assert "cannot be" in said.stderr


def test_a_wrong_passphrase_or_file_is_said(tmp_path: Path, office: tuple[Path, str]) -> None:
    wrong = run(
        "outbox", "check", tmp_path, "--key", office[0], "--stdin", given="another one, quite long\n", status=65
    )
    assert "passphrase is wrong" in wrong.stderr
    (tmp_path / "x").write_text("{}")
    assert "no private key" in run("outbox", "check", tmp_path, "--key", tmp_path / "x", "--stdin", status=65).stderr


def test_an_acknowledgement_of_another_office_is_refused(
    tmp_path: Path, gateway: list[str | Path], office: tuple[Path, str]
) -> None:
    run("outbox", "export", tmp_path, *gateway)
    other, ack = tmp_path / "other.key", tmp_path / "other.ack"
    run("office", "key", other, "--stdin")
    found = told("office", "ack", tmp_path, "--key", other, "--stdin", "--out", ack, status=65)
    assert {one["code"] for one in found["findings"]} == {"sealed"}
    assert found["batches"] == 0
    assert "not signed by the office" in run("outbox", "ack", ack, *gateway, status=65).stderr
    assert told("outbox", *gateway)["batches"] == 12
