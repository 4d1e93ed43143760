"""The office's commands as root types them, on a running gateway and beside one: what they do, and what they leave."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from portal.store import setup
from tests.e2e.conftest import NewPhone
from tests.village.gateway import DATA, RUN, GerbangGateway
from tests.village.phone import Phone

PHONE = "5c:e9:1e:00:00:01"
SITE = '[site]\ncode = "64.03.01.2001"\n'


def office(gateway: GerbangGateway, group: str, verb: str, *arguments: str) -> Any:
    """The JSON answer of a command inside the gateway's box."""
    places = ["--run-dir", str(RUN), "--data-dir", str(DATA), "--json"]
    done = gateway.box.run(gateway.command(group, verb, *places, *arguments))
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_a_block_cuts_that_phone_at_once_until_it_is_cleared(gateway: GerbangGateway, new_phone: NewPhone) -> None:
    one, other = new_phone(), new_phone()
    one.login()
    other.login()
    answer = office(gateway, "device", "block", one.mac, "--note", "uji")
    assert answer["warning"] is None, "netctl has it in force when the command returns"
    assert not one.is_online(timeout_s=1)
    assert other.is_online()
    ((ended,),) = (row.values() for row in gateway.sql("SELECT end_reason FROM session WHERE mac = ?", one.mac))
    assert ended == "blocked"
    assert [one.mac] == [row["mac"] for row in office(gateway, "device", "list", "--rules")]
    office(gateway, "device", "clear", one.mac)
    one.login()
    assert one.is_online()
    running = {row["mac"]: row["id"] for row in office(gateway, "session", "list")}
    office(gateway, "session", "end", str(running[one.mac]))
    assert not one.is_online(timeout_s=1)
    office(gateway, "session", "end", other.mac)
    acts = gateway.sql("SELECT role, action FROM audit WHERE object LIKE '%' || ? ORDER BY id", one.mac)
    assert acts == [{"role": "cli", "action": "device.block"}, {"role": "cli", "action": "device.clear"}]


def test_closing_cuts_and_cancelling_brings_back(gateway: GerbangGateway, phone: Phone) -> None:
    phone.login()
    act = office(gateway, "hours", "close", "--reason", "Rapat desa", "--until", "2099-12-31")
    try:
        assert not phone.is_online(timeout_s=1)
        shown = office(gateway, "hours", "show")
        assert [plan["closed_reason"] for plan in shown["plans"]] == ["Rapat desa"]
    finally:
        office(gateway, "hours", "cancel", str(act["done"]["id"]))
    assert office(gateway, "hours", "show")["plans"][0]["open"]


def test_vouchers_are_printed_where_only_root_may_write(gateway: GerbangGateway) -> None:
    gateway.box.write(Path("/run/root-only/.keep"), "")
    (gateway.box.root / "run/root-only").chmod(0o700)
    made = office(gateway, "voucher", "create", "--count", "40", "--plan", "warga", "--out", "/run/root-only/sheet.pdf")
    assert len(made["vouchers"]) == 40
    sheet = gateway.box.root / "run/root-only/sheet.pdf"
    assert sheet.read_bytes().startswith(b"%PDF-") and sheet.stat().st_uid == 0
    assert office(gateway, "voucher", "void", "--batch", str(made["batch"]["id"]))["done"]["voided"] == 40


# --- beside a gateway that does not run -----------------------------------------------------------------------------


@pytest.fixture
def home() -> Iterator[Path]:
    """A data directory as `gerbang run` makes it, and a configuration, where the portal's user gets to."""
    home = Path(tempfile.mkdtemp())
    try:
        home.chmod(0o755)
        (home / "site.toml").write_text(SITE)
        user = pwd.getpwnam("gerbang")
        data = home / "data"
        data.mkdir()
        os.chown(data, user.pw_uid, user.pw_gid)
        data.chmod(0o2770)
        setup.ensure(data / "gerbang.db")
        yield home
    finally:
        shutil.rmtree(home)


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def gerbang(home: Path, *arguments: str, wrapper: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.prefix) / "bin" / "gerbang")
    places = ["--run-dir", str(home), "--data-dir", str(home / "data"), "--json"]
    command = [*wrapper, program, *arguments, *places]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


def owners(home: Path) -> dict[str, str]:
    return {entry.name: f"{entry.owner()}:{entry.group()}" for entry in (home / "data").iterdir()}


def test_what_root_does_leaves_nothing_that_the_portal_cannot_write(home: Path) -> None:
    before = owners(home)
    assert set(before.values()) == {"gerbang:gerbang"}
    assert gerbang(home, "notice", "add", "--title", "Kabar", "--body", "Isi").returncode == 0
    assert owners(home) == before
    # While somebody else has it open, log and shared memory stay: made by root's command, they are the portal's.
    with_log = sqlite3.connect(home / "data/gerbang.db", isolation_level=None)
    try:
        assert gerbang(home, "device", "block", PHONE).returncode == 0
        with_log.execute("BEGIN")
        with_log.execute("SELECT count(*) FROM audit").fetchall()
        assert gerbang(home, "device", "clear", PHONE).returncode == 0
        found = owners(home)
        assert {"gerbang.db-wal", "gerbang.db-shm"} <= set(found)
        assert set(found.values()) == {"gerbang:gerbang"}
        for name in ("gerbang.db-wal", "gerbang.db-shm"):
            assert (home / "data" / name).stat().st_mode & 0o660 == 0o660
    finally:
        with_log.close()
    assert owners(home) == before


def test_a_link_in_the_portals_directory_leads_root_nowhere(home: Path) -> None:
    """Who took over the portal could put one there, to have root write elsewhere."""
    secret = home / "roots.db"
    shutil.copy(home / "data/gerbang.db", secret)
    secret.chmod(0o600)
    kept = secret.read_bytes()
    (home / "data/gerbang.db").unlink()
    (home / "data/gerbang.db").symlink_to(secret)
    done = gerbang(home, "device", "block", PHONE)
    assert done.returncode == os.EX_UNAVAILABLE
    assert json.loads(done.stdout)["error"]["code"] == "database"
    assert secret.read_bytes() == kept


def test_who_has_no_rights_is_told_so(home: Path) -> None:
    if subprocess.run(
        [*NOBODY, sys.executable, "-c", "import portal.cli"], check=False, capture_output=True
    ).returncode:
        pytest.skip("this source tree is closed to other users")
    done = gerbang(home, "device", "list", wrapper=NOBODY)
    assert done.returncode == os.EX_NOPERM
    assert "sudo" in json.loads(done.stdout)["error"]["hint"]
