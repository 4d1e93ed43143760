"""The office's commands on a real database: what they answer, in text and JSON, and how they exit. netctl is away."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from portal import cli
from portal.domain import codes
from portal.store import migrations, setup

SITE = """
[site]
code = "64.03.01.2001"
name = "Desa Uji"
[access]
methods = ["terms", "voucher"]
[[plan]]
id = "warga"
name = "Warga"
down_kbit = 5000
[[plan]]
id = "puskesmas"
name = "Puskesmas"
hours = ["always"]
"""
PHONE = "5c:e9:1e:00:00:01"

Gerbang = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("portal.sync.RETRY_AFTER_S", 0.0)
    monkeypatch.delenv("SUDO_USER", raising=False)
    data = tmp_path / "data"
    data.mkdir()
    setup.create_or_migrate(data / "gerbang.db", migrations.migrate)
    (tmp_path / "site.toml").write_text(SITE)
    return tmp_path


@pytest.fixture
def gerbang(home: Path) -> Gerbang:
    def run(*arguments: object, typed: str | None = None) -> Result:
        group, *rest = map(str, arguments)
        verb, *rest = rest
        places = ["--run-dir", str(home), "--data-dir", str(home / "data")]
        return CliRunner().invoke(cli.gerbang, [group, verb, *places, *rest], input=typed)

    return run


@pytest.fixture
def told(gerbang: Gerbang) -> Callable[..., Any]:
    """The JSON answer of a command that works."""

    def ask(*arguments: object, typed: str | None = None) -> Any:
        found = gerbang(*arguments, "--json", typed=typed)
        assert found.exit_code == os.EX_OK, (found.stdout, found.stderr)
        return json.loads(found.stdout)

    return ask


Told = Callable[..., Any]


def audit(home: Path) -> list[tuple[str, str, str]]:
    connection = sqlite3.connect(home / "data/gerbang.db")
    try:
        return connection.execute("SELECT actor, role, action FROM audit ORDER BY id").fetchall()
    finally:
        connection.close()


def test_vouchers_from_making_to_voiding(gerbang: Gerbang, told: Told, home: Path) -> None:
    made = told("voucher", "create", "--count", 3, "--plan", "warga", "--devices", 2, "--valid-until", "2099-12-31")
    assert made["batch"]["devices"] == 2
    assert made["batch"]["valid_until_wall_s"] == 4102416000.0  # 2100-01-01 00:00 in Makassar
    first, second, _ = (voucher["code"] for voucher in made["vouchers"])
    assert codes.parse(first)
    batch = made["batch"]["id"]
    (listed,) = told("voucher", "list")
    assert (listed["total"], listed["unused"], listed["void"]) == (3, 3, 0)

    shown = told("voucher", "show", first.lower().replace("-", " "))
    assert (shown["code"], shown["state"], shown["macs"]) == (first, "unused", [])
    assert "2100-01-01 00:00" in gerbang("voucher", "show", first).stdout
    assert first in gerbang("voucher", "show", batch).stdout

    assert told("voucher", "void", first)["done"]["batch"] == batch
    assert [voucher["state"] for voucher in told("voucher", "show", batch)["vouchers"]] == ["void", "unused", "unused"]
    assert next(voucher["code"] for voucher in told("voucher", "print", batch, "--out", "-")) == second
    assert told("voucher", "void", "--batch", batch)["done"]["voided"] == 2
    nothing = gerbang("voucher", "print", batch, "--out", home / "again.pdf", "--json")
    assert nothing.exit_code == os.EX_DATAERR and not (home / "again.pdf").exists()
    assert json.loads(nothing.stdout)["error"]["code"] == "batch-spent"


def test_codes_alone_go_to_standard_output(gerbang: Gerbang) -> None:
    found = gerbang("voucher", "create", "--count", 5, "--plan", "warga", "--out", "-")
    lines = found.stdout.splitlines()
    assert len(set(lines)) == 5 and all(codes.parse(line) for line in lines)


@pytest.mark.parametrize(("suffix", "begins"), [("pdf", b"%PDF-"), ("html", b"<!doctype html>")])
@pytest.mark.parametrize("paper", ["a4", "receipt"])
def test_sheets_are_written(gerbang: Gerbang, home: Path, suffix: str, begins: bytes, paper: str) -> None:
    out = home / f"sheet.{suffix}"
    found = gerbang("voucher", "create", "--count", 2, "--plan", "warga", "--out", out, "--paper", paper)
    assert found.exit_code == os.EX_OK, found.stderr
    assert out.read_bytes().startswith(begins)
    assert str(out) in found.stdout


def test_a_sheet_that_cannot_be_written_makes_no_vouchers(gerbang: Gerbang, told: Told, home: Path) -> None:
    for out in (home / "sheet.docx", home / "nowhere/sheet.pdf"):
        found = gerbang("voucher", "create", "--count", 2, "--plan", "warga", "--out", out)
        assert found.exit_code == 2  # click's; main() makes 64 of it
        assert str(out) in found.stderr
    assert told("voucher", "list") == []


def test_vouchers_that_nobody_could_use_are_said(gerbang: Gerbang, home: Path) -> None:
    (home / "site.toml").write_text(SITE.replace('"terms", "voucher"', '"terms"'))
    found = gerbang("voucher", "create", "--count", 1, "--plan", "warga")
    assert found.exit_code == os.EX_OK and "access.methods" in found.stderr


def test_refused_acts_exit_65_with_a_code(gerbang: Gerbang, home: Path) -> None:
    wrong = [
        (("voucher", "create", "--count", 5000, "--plan", "warga"), "number-range"),
        (("voucher", "create", "--count", 5, "--plan", "gratis"), "plan-unknown"),
        (("voucher", "create", "--count", 5, "--plan", "warga", "--valid-until", "besok"), "moment-wrong"),
        (("voucher", "show", "ABCD-EFGH"), "voucher-unknown"),
        (("voucher", "show", "77"), "batch-unknown"),
        (("voucher", "void", "ABCD-EFGH"), "voucher-unknown"),
        (("device", "block", "telepon Budi"), "mac-wrong"),
        (("device", "clear", PHONE), "device-no-rule"),
        (("session", "end", "4"), "session-unknown"),
        (("hours", "cancel", "4"), "closure-unknown"),
        (("hours", "close", "--reason", "Rapat", "--until", "2001-01-01"), "moment-past"),
        (("notice", "delete", "4"), "notice-unknown"),
        (("notice", "edit", "4", "--title", "Kabar"), "notice-unknown"),
        (("plan", "show", "gratis"), "plan-unknown"),
        (("account", "disable", "kantor"), "account-unknown"),
    ]
    for arguments, code in wrong:
        found = gerbang(*arguments, "--json")
        assert found.exit_code == os.EX_DATAERR, arguments
        assert json.loads(found.stdout)["error"]["code"] == code
        said = gerbang(*arguments)
        assert said.exit_code == os.EX_DATAERR and said.stdout == "" and said.stderr.count("\n") == 2
    assert audit(home) == []


def test_accounts(gerbang: Gerbang, told: Told) -> None:
    made = told("account", "add", "kantor", "--plan", "warga", "--stdin", typed="kucing hujan 5\n")
    assert made["done"]["name"] == "kantor" and "password_hash" not in made["done"]
    (listed,) = told("account", "list")
    assert (listed["name"], listed["online"], listed["disabled"]) == ("kantor", 0, False)
    assert "argon2" not in json.dumps(listed) + gerbang("account", "list").stdout
    asked = gerbang("account", "password", "kantor", typed="anggrek hitam 9\nanggrek hitam 9\n")
    assert asked.exit_code == os.EX_OK and "anggrek" not in asked.stdout + asked.stderr
    told("account", "disable", "kantor")
    assert "disabled" in gerbang("account", "list").stdout
    told("account", "enable", "kantor")
    assert gerbang("account", "add", "x", "--plan", "warga", "--stdin", typed="kucing\n").exit_code == os.EX_DATAERR


def test_devices(gerbang: Gerbang, told: Told) -> None:
    blocked = told("device", "block", PHONE.upper(), "--note", "menyebar virus")
    assert blocked["done"]["rule"] == "block"
    assert "netctl" in blocked["warning"]  # which is away here
    told("device", "allow", "5c-e9-1e-00-00-02", "--plan", "puskesmas", "--note", "dr. Ani")
    assert {(one["mac"], one["rule_plan"]) for one in told("device", "list", "--rules")} == {
        (PHONE, None),
        ("5c:e9:1e:00:00:02", "puskesmas"),
    }
    assert "allow puskesmas" in gerbang("device", "list").stdout
    assert told("device", "show", PHONE)["known"]["note"] == "menyebar virus"
    told("device", "clear", PHONE)
    assert len(told("device", "list", "--rules")) == 1
    unknown = told("device", "show", "5c:e9:1e:00:00:09")
    assert unknown["known"] is None and unknown["session"] is None


def test_hours(gerbang: Gerbang, told: Told) -> None:
    before = {plan["id"]: plan["open"] for plan in told("hours", "show")["plans"]}
    assert before == {"warga": True, "puskesmas": True}
    act = told("hours", "close", "--reason", "Rapat desa", "--until", "2099-01-31")["done"]["id"]
    shown = told("hours", "show")
    assert {plan["id"]: plan["open"] for plan in shown["plans"]} == {"warga": False, "puskesmas": True}
    assert shown["plans"][0]["closed_reason"] == "Rapat desa"
    assert shown["acts"][0]["created_by"] and "Rapat desa" in gerbang("hours", "show").stdout
    told("hours", "cancel", act)
    assert told("hours", "show")["acts"] == []
    assert told("hours", "open", "--from", "2099-01-01", "--until", "2099-01-01")["done"]["id"] == act + 1


def test_plans(gerbang: Gerbang, told: Told) -> None:
    assert [(plan["id"], plan["online"], plan["open"]) for plan in told("plan", "list")] == [
        ("warga", 0, True),
        ("puskesmas", 0, True),
    ]
    assert told("plan", "show", "warga")["down_kbit"] == 5000
    assert "no limit" in gerbang("plan", "show", "puskesmas").stdout


def test_notices(gerbang: Gerbang, told: Told) -> None:
    number = told("notice", "add", "--title", "Posyandu", typed="Senin **pukul 8**\n")["done"]["id"]
    told("notice", "edit", number, "--title", "Posyandu Melati", "--until", "2099-01-31")
    (listed,) = told("notice", "list")
    assert listed["until_wall_s"] is not None
    assert told("notice", "edit", number, "--until", "none")["done"]["until_wall_s"] is None
    assert (listed["title"], listed["body"], listed["shown"]) == ("Posyandu Melati", "Senin **pukul 8**", True)
    assert "Posyandu Melati" in gerbang("notice", "list").stdout
    told("notice", "delete", number)
    assert gerbang("notice", "list").stdout == "There are no notices.\n"


def test_sessions_of_nobody(gerbang: Gerbang, told: Told) -> None:
    assert told("session", "list") == []
    assert gerbang("session", "list").stdout == "Nobody is online.\n"


def test_acts_are_audited_with_the_name_before_sudo(
    gerbang: Gerbang, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "sari")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    gerbang("device", "block", PHONE)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # anybody can set a variable
    gerbang("device", "clear", PHONE)
    (first, second) = audit(home)
    assert first == ("sari", "cli", "device.block")
    assert second[0] != "sari"


def test_who_may_not_open_the_database_is_told_so(
    gerbang: Gerbang, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = gerbang("device", "block", PHONE, "--json")
    assert found.exit_code == os.EX_NOPERM
    assert "sudo" in json.loads(found.stdout)["error"]["hint"]


def test_without_a_database_or_a_site_it_is_said(gerbang: Gerbang, home: Path) -> None:
    for name in ("gerbang.db", "gerbang.db.epoch"):
        (home / "data" / name).unlink()
    missing = gerbang("device", "list", "--json")
    assert missing.exit_code == os.EX_UNAVAILABLE
    assert json.loads(missing.stdout)["error"]["code"] == "database"
    (home / "site.toml").write_text("[site]\ncode = 5\n")
    wrong = gerbang("device", "list", "--json")
    assert wrong.exit_code == os.EX_CONFIG and "site.code" in json.loads(wrong.stdout)["error"]["message"]


def test_nothing_is_left_beside_the_database(gerbang: Gerbang, home: Path) -> None:
    before = sorted(entry.name for entry in (home / "data").iterdir())
    gerbang("notice", "add", "--title", "Kabar", "--body", "Isi")
    gerbang("device", "list")
    assert sorted(entry.name for entry in (home / "data").iterdir()) == before
