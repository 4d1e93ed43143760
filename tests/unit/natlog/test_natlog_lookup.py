"""`gerbang natlog`: who had an address when, told to who holds the office's key, and never without its traces."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pwd
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from netctl.kernel.base import Flow
from portal import natlook, privileges, sealing
from portal.cli import gerbang
from portal.domain.journal import Kind
from portal.natlog import NatLog
from portal.paths import Paths
from portal.store import audit, journal
from portal.store.db import Database
from tests.unit.natlog.gateway import ANI, BUDI, MAC_OF, OFFICE, OUTER, PSEUDONYM_OF, REMOTE, SITE, Gateway
from tests.unit.portal.fakes import Clock

PASSPHRASE = "lima kata yang panjang"
AT = "2033-05-18T11:33:30"  # ten seconds after fakes.Clock starts, on the site's clock


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the office's private key."""
    file = tmp_path_factory.mktemp("office") / "office.key"
    file.write_bytes(OFFICE.locked(PASSPHRASE))
    return file


@dataclasses.dataclass
class Desk:
    """The command line on a gateway that has seen both people's connections."""

    paths: Paths
    site: Path
    key: Path
    database: Database
    out: Path

    def run(self, *words: object, status: int = 0, given: str = PASSPHRASE) -> Result:
        places = () if "--from" in words else ("--site", self.site, "--data-dir", self.paths.data)
        words = (*words, *places)
        result = CliRunner().invoke(gerbang, ["natlog", *map(str, words)], input=given + "\n")
        assert result.exit_code == status, result.output
        return result

    def look(self, *words: object, status: int = 0, at: str = AT, address: str = OUTER, **more: Any) -> Result:
        key = more.pop("key", self.key)
        act = ("--key", key, "--stdin", "--reason", "B/12/X/2033", "--by", "Penyidik Rahmat", "--out", self.out)
        return self.run("lookup", "--address", address, "--at", at, *act, *words, status=status, **more)

    def told(self, *words: object, **more: Any) -> Any:
        return json.loads(self.look(*words, "--json", **more).stdout)

    def acts(self) -> list[tuple[str, Any]]:
        """The audit trail, the oldest entry first."""
        with self.database.read() as db:
            return [(one.action, json.loads(one.after or "null")) for one in reversed(audit.latest(db, 100))]


@pytest.fixture
def desk(
    paths: Paths,
    key: Path,
    database: Database,
    log: NatLog,
    gateway: Gateway,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """Ani spoke through port 40001 from 11:33:25 to 11:33:35, Budi through the same from 11:38:20, and on."""
    log.tick()
    clock.forward(5)
    gateway.see(port=40_001)
    clock.forward(10)
    gateway.see(flow=Flow.END, port=40_001)
    clock.forward(285)
    log.flush()
    gateway.see(inner=BUDI, port=40_001)
    clock.forward(60)
    log.flush()
    site = tmp_path / "site.toml"
    site.write_text(f'[site]\ncode = "{SITE}"\n[office]\nkey = "{OFFICE.key.line}"\n[log]\nnat = true\n')
    monkeypatch.setattr(privileges, "account", lambda _: pwd.getpwuid(os.getuid()))
    sealing.load_or_make_signing(paths.staff, os.getuid(), os.getgid())
    return Desk(paths, site, key, database, tmp_path / "protocol.json")


# --- the answer -------------------------------------------------------------------------------------------------------


def test_who_had_the_address_and_port_then_is_told_and_nobody_else(desk: Desk) -> None:
    found = desk.told("--port", 40_001, "--to", REMOTE, "--window", 5)
    (one,) = found["connections"]
    assert one == {
        "session": 41,
        "device": PSEUDONYM_OF[41],
        "mac": MAC_OF[41],
        "protocol": "tcp",
        "inner": ANI,
        "inner_port": 40_001,
        "outer": OUTER,
        "outer_port": 40_001,
        "to": REMOTE,
        "to_port": 443,
        "from": "2033-05-18T11:33:25.000+08:00",
        "begin_seen": True,
        "until": "2033-05-18T11:33:35.000+08:00",
        "end_seen": True,
        "open_then": "yes",
        "clock_certain": False,
    }
    assert (found["uncovered"], found["lost_at_least"], found["faults"], found["not_opened"]) == ([], 0, [], [])


def test_another_time_is_another_person_and_an_offset_is_understood(desk: Desk) -> None:
    found = desk.told("--port", 40_001, "--window", 1, at="2033-05-18T03:38:25+00:00")
    assert [(one["session"], one["end_seen"]) for one in found["connections"]] == [(42, False)]


def test_a_time_with_nobody_is_told_as_such(desk: Desk) -> None:
    said = desk.look("--window", 1, at="2033-05-18T11:35:00").output
    assert "Nobody that the log has seen." in said


def test_what_the_log_does_not_cover_is_said(desk: Desk) -> None:
    found = desk.told("--window", 60, at="2033-05-18T11:33:20")
    assert found["uncovered"] == [["2033-05-18T11:32:20.000+08:00", "2033-05-18T11:33:20.000+08:00"]]


def test_a_device_whose_address_was_erased_has_its_pseudonym_left(desk: Desk) -> None:
    with desk.database.write() as db:
        db.execute("DELETE FROM session")
    (one,) = desk.told("--port", 40_001)["connections"]
    assert (one["mac"], one["device"]) == (None, PSEUDONYM_OF[41])


def test_a_chunk_that_was_altered_is_named_and_the_rest_is_told(desk: Desk) -> None:
    with desk.database.write() as db:
        db.execute("UPDATE nat_chunk SET sealed = zeroblob(100) WHERE number = 1")
    found = desk.told("--window", 3600)
    assert [one["session"] for one in found["connections"]] == [42]
    assert "Chunk 1 was altered." in found["faults"]


def test_a_chunk_that_is_missing_is_named(desk: Desk, log: NatLog, gateway: Gateway, clock: Clock) -> None:
    for _ in range(2):
        gateway.see()
        clock.forward(60)
        log.flush()
    with desk.database.write() as db:
        db.execute("DELETE FROM nat_chunk WHERE number = 3")
    found = desk.told("--window", 1, at="2033-05-18T11:40:00")
    assert found["faults"] == ["Chunks 3 to 3 are missing."]
    assert found["uncovered"]


# --- its traces -------------------------------------------------------------------------------------------------------


def test_the_look_up_is_in_the_audit_trail_and_the_journal_before_and_after_without_what_was_found(desk: Desk) -> None:
    told = desk.told("--port", 40_001)
    (first, asked), (second, answered) = desk.acts()
    assert (first, second) == ("natlog.lookup", "natlog.answer")
    assert (asked["by"], asked["reason"]) == ("Penyidik Rahmat", "B/12/X/2033")
    assert {name: asked.get(name) for name in told["asked"]} == told["asked"]
    assert asked["address"] == OUTER
    assert answered["connections"] == len(told["connections"]) == 1
    assert answered["protocol_sha256"] == hashlib.sha256(desk.out.read_bytes()).hexdigest()
    with desk.database.read() as db:
        acts = [entry.body["action"] for entry in journal.entries(db) if entry.kind is Kind.ACT]
    assert acts == ["natlog.lookup", "natlog.answer"]
    for text in (json.dumps(desk.acts()), desk.out.read_text()):
        assert not any(secret in text for secret in (ANI, REMOTE, *MAC_OF.values(), *PSEUDONYM_OF.values()))


def test_the_protocol_is_signed_by_the_office_and_the_gateway_and_holds_the_answers_hash(desk: Desk) -> None:
    told = desk.told("--port", 40_001)
    content = desk.out.read_bytes()
    gateway = sealing.load_signing(desk.paths.staff).public
    assert natlook.check_protocol(content, OFFICE.key.signing, gateway)
    assert not natlook.check_protocol(content, gateway, OFFICE.key.signing)
    for wrong in (
        content.replace(b"Rahmat", b"Rohmat"),
        content.replace(b'"connections": 1', b'"connections": 0'),
        b"{}",
    ):
        assert wrong != content
        assert not natlook.check_protocol(wrong, OFFICE.key.signing, gateway)
    protocol = json.loads(content)["protocol"]
    answer = json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    assert protocol["answer_sha256"] == hashlib.sha256(answer).hexdigest()
    assert (protocol["site"], protocol["by"], protocol["reason"]) == (SITE, "Penyidik Rahmat", "B/12/X/2033")
    assert desk.out.stat().st_mode & 0o777 == 0o600


def nothing_found(result: Result) -> None:
    for text in (result.output, result.stderr):
        assert not any(secret in text for secret in (ANI, *MAC_OF.values(), *PSEUDONYM_OF.values()))


@pytest.mark.parametrize("refused", [1, 2])
def test_without_an_audit_entry_there_is_no_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
    """Refused at the first entry, or at the second."""
    written = []
    write = audit.write

    def sometimes(db: sqlite3.Connection, **values: Any) -> Any:
        written.append(values["action"])
        if len(written) == refused:
            raise sqlite3.OperationalError("database or disk is full")
        return write(db, **values)

    monkeypatch.setattr(audit, "write", sometimes)
    nothing_found(desk.look("--port", 40_001, status=69))
    assert len(written) == refused
    assert not desk.out.exists()


def test_nothing_is_opened_before_the_audit_entry_is_on_the_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    find = natlook.find

    def watched(*values: Any) -> Any:
        opened.append([action for action, _ in desk.acts()])
        return find(*values)

    monkeypatch.setattr(natlook, "find", watched)
    desk.look("--port", 40_001)
    assert opened == [["natlog.lookup"]]


def test_without_a_protocol_there_is_no_answer(desk: Desk) -> None:
    desk.out = desk.out.parent / "no" / "where"
    nothing_found(desk.look("--port", 40_001, status=73))
    assert [action for action, _ in desk.acts()] == ["natlog.lookup"]


def test_a_protocol_is_never_overwritten(desk: Desk) -> None:
    desk.out.write_text("older")
    nothing_found(desk.look(status=73))
    assert desk.out.read_text() == "older"
    assert desk.acts() == []


# --- who may ----------------------------------------------------------------------------------------------------------


def test_a_wrong_passphrase_opens_nothing(desk: Desk) -> None:
    nothing_found(desk.look(status=65, given="another passphrase"))
    assert not desk.out.exists()


def test_another_offices_key_opens_nothing_and_that_is_said(desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(sealing.new_office_secret().locked(PASSPHRASE))
    result = desk.look(status=65, key=other)
    nothing_found(result)
    assert OFFICE.key.fingerprint in result.stderr
    assert not desk.out.exists()


def test_only_who_can_sign_for_the_gateway_may_look_up_there(desk: Desk) -> None:
    (desk.paths.staff / "signing").unlink()
    (desk.paths.staff / "signing").mkdir()
    nothing_found(desk.look(status=77))


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--at", "yesterday"), 65, "is no time"),
        (("--address", "router"), 65, "is no IP address"),
        (("--to", "10.0.0.0/8"), 65, "is no IP address"),
        (("--at", "2031-01-01T00:00:00"), 65, "nothing of that time"),
        (("--window", "3601"), 2, "3600"),
        (("--reason", " "), 65, "--reason"),
        (("--by", "x" * 201), 65, "--by"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(desk: Desk, words: tuple[str, ...], status: int, said: str) -> None:
    result = desk.look(*words, status=status)
    nothing_found(result)
    assert said in result.stderr
    assert desk.acts() == []


# --- elsewhere --------------------------------------------------------------------------------------------------------


def test_an_export_is_looked_up_at_the_office_with_the_same_answer(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "natlog.export"
    desk.run("export", file)
    assert [action for action, _ in desk.acts()] == ["natlog.export"]
    here = desk.told("--port", 40_001)
    desk.out.unlink()
    there = desk.told("--port", 40_001, "--from", file)
    (one,), (other,) = here["connections"], there["connections"]
    assert other == {**one, "mac": None}
    assert natlook.check_protocol(desk.out.read_bytes(), OFFICE.key.signing, None)
    content = file.read_bytes()
    assert not any(secret.encode() in content for secret in (ANI, OUTER, REMOTE, "40001", *PSEUDONYM_OF.values()))


def test_an_export_that_was_changed_or_cut_is_refused(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "natlog.export"
    desk.run("export", file)
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    for wrong in (
        content[:-1][:-20],
        b"".join(lines[:1] + lines[2:]),
        content.replace(b'"certain":false', b'"certain":true'),
        b"",
        b"{}\n",
    ):
        file.write_bytes(wrong)
        result = desk.look("--from", file, status=65)
        assert "no whole export" in result.stderr


# --- its state --------------------------------------------------------------------------------------------------------


def test_the_state_says_from_when_to_when_and_how_much(desk: Desk) -> None:
    told = json.loads(desk.run("--json").stdout)
    assert (told["on"], told["chunks"], told["connections"], told["days"]) == (True, 2, 2, 90)
    assert told["since_wall_s"] == pytest.approx(2_000_000_000, abs=1)
    assert told["until_wall_s"] == pytest.approx(2_000_000_360, abs=1)
    assert "2033-05-18 11:33" in desk.run().output


def test_verify_names_what_is_missing(desk: Desk) -> None:
    assert "2 chunks, none missing or altered." in desk.run("verify").output
    with desk.database.write() as db:
        db.execute("DELETE FROM nat_chunk WHERE number = 1")
    assert "Chunks 1 to 1 are missing." in desk.run("verify", status=69).output
