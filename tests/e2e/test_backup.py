"""Backup and restore on the whole gateway: nobody online is cut off, and a replacement box knows everybody."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.village import story
from tests.village.box import DATA
from tests.village.gateway import RUN, SITE_FILE, GerbangGateway
from tests.village.village import Village

PLACES = ("--run-dir", str(RUN), "--data-dir", str(DATA))
FILE = Path("/run/backup.tar.gz")


@pytest.fixture(scope="module")
def village() -> Iterator[Village]:
    with Village(phones=3, site={"plan": [story.PLAN]}) as found:
        found.dhcp_all()
        yield found


@pytest.fixture
def gateway(village: Village) -> GerbangGateway:
    assert isinstance(village.gateway, GerbangGateway)
    return village.gateway


def run(gateway: GerbangGateway, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
    return gateway.box.run(gateway.command(verb, *options, *PLACES, "--site", str(SITE_FILE)), timeout_s=60)


def back_up(gateway: GerbangGateway, path: Path = FILE) -> None:
    (gateway.box.root / str(path).lstrip("/")).unlink(missing_ok=True)
    done = run(gateway, "backup", "--out", str(path))
    assert done.returncode == 0, done.stderr


def restored(gateway: GerbangGateway, *options: str, path: Path = FILE) -> dict[str, Any]:
    done = run(gateway, "restore", str(path), "--json", *options)
    assert done.returncode == 0, done.stderr + gateway.log()[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def codes(gateway: GerbangGateway) -> set[str]:
    return {str(row["code"]) for row in gateway.sql("SELECT code FROM person")}


def test_a_restore_of_an_older_backup_cuts_off_nobody(village: Village, gateway: GerbangGateway) -> None:
    first, second, _ = village.phones
    first.login()
    known = codes(gateway)
    back_up(gateway)
    second.login()
    epoch = gateway.netctl().status().epoch
    before = {row["mac"]: row["id"] for row in gateway.sql("SELECT mac, id FROM session WHERE ended_wall_s IS NULL")}
    told = restored(gateway)
    assert told["running"] is True
    assert (told["restored"]["carried"], told["restored"]["site_changed"]) == (2, False)
    end_s = time.monotonic() + 15
    while gateway.netctl().status().epoch == epoch:
        assert first.is_online() and second.is_online(), "not for a moment"
        assert time.monotonic() < end_s, gateway.log()[-2000:]
    assert first.is_online() and second.is_online()
    after = {row["mac"]: row["id"] for row in gateway.sql("SELECT mac, id FROM session WHERE ended_wall_s IS NULL")}
    assert after == before, "the kernel's counters go on"
    assert known < codes(gateway), "who came later is still somebody"
    assert gateway.netctl().status().drift_total == 0
    assert Path(told["restored"]["kept"]).name.startswith("replaced-")
    village.phones[2].login()
    assert village.phones[2].is_online(), "new people come in as before"
    (entry,) = gateway.sql("SELECT role, after FROM audit WHERE action = 'backup.restore'")
    assert entry["role"] == "cli" and json.loads(str(entry["after"]))["sessions_carried"] == 2


def test_a_replacement_box_takes_it_before_its_first_start(village: Village, gateway: GerbangGateway) -> None:
    known = codes(gateway)
    back_up(gateway)
    content = (gateway.box.root / str(FILE).lstrip("/")).read_bytes()
    with Village(phones=1, site={"plan": [story.PLAN]}, start=False) as other:
        new = other.gateway
        assert isinstance(new, GerbangGateway)
        (new.box.root / str(FILE).lstrip("/")).write_bytes(content)
        told = restored(new)
        assert told["running"] is False and told["restored"]["site_changed"] is True
        assert new.box.read(SITE_FILE) == gateway.box.read(SITE_FILE)
        new.start()
        assert known <= codes(new)
        phone = other.phones[0]
        phone.dhcp()
        phone.login()
        assert phone.is_online()
        end_s = time.monotonic() + 20  # the staff pages are the last to start
        while "STAFF" not in new.box.run(["ls", str(DATA)]).stdout and time.monotonic() < end_s:
            time.sleep(0.1)
        assert "STAFF" in new.box.run(["ls", str(DATA)]).stdout, (
            "first passwords are made: the old box's hold there only"
        )
        assert new.stop() == 0


def test_another_sites_backup_is_refused_and_a_broken_one_too(village: Village, gateway: GerbangGateway) -> None:
    back_up(gateway)
    copy = gateway.box.root / str(FILE).lstrip("/")
    own = gateway.box.read(SITE_FILE)
    before = gateway.data.joinpath("gerbang.db").stat().st_ino
    gateway.box.write(SITE_FILE, own.replace("64.03.01.2001", "64.03.01.2002"))
    try:
        done = run(gateway, "restore", str(FILE))
    finally:
        gateway.box.write(SITE_FILE, own)
    assert done.returncode == 69 and "The backup is of 64.03.01.2001" in done.stderr and "--force-site" in done.stderr
    copy.write_bytes(copy.read_bytes()[:-500])
    done = run(gateway, "restore", str(FILE))
    assert done.returncode == 69 and "cannot be read" in done.stderr
    assert gateway.data.joinpath("gerbang.db").stat().st_ino == before
    assert [path.name for path in gateway.data.glob(".restore-*")] == []
    assert village.phones[0].is_online()


def test_a_changed_site_file_in_it_is_tried_and_goes_back(village: Village, gateway: GerbangGateway) -> None:
    own = gateway.box.read(SITE_FILE)
    gateway.box.write(SITE_FILE, own.replace("5000", "4000"))
    try:
        back_up(gateway)
    finally:
        gateway.box.write(SITE_FILE, own)
    told = restored(gateway)
    assert told["restored"]["site_changed"] is True
    end_s = time.monotonic() + 15
    while not any("ceil 4000 " in line for line in gateway.netctl().dump()):
        assert time.monotonic() < end_s, gateway.log()[-2000:]
        time.sleep(0.1)
    revert = gateway.box.run(gateway.command("config", "revert", "--run-dir", str(RUN), "--data-dir", str(DATA)))
    assert revert.returncode == 0, revert.stderr
    assert gateway.box.read(SITE_FILE) == own
    assert village.phones[0].is_online()
    assert restored(gateway, "--keep-site")["restored"]["site_changed"] is False


def test_the_bundle_of_a_busy_gateway_names_nobody(village: Village, gateway: GerbangGateway) -> None:
    out = Path("/run/bundle.tar.gz")
    done = run(gateway, "bundle", "--out", str(out))
    assert done.returncode == 0, done.stderr
    text = gateway.box.run(["tar", "-xzOf", str(out)]).stdout
    assert '"drift"' in text and "member <ip" in text and "netctl" in text
    secrets = [value for phone in village.phones for value in (phone.mac, phone.address, *phone.ipv6_addresses())]
    for secret in (*secrets, *codes(gateway), "Desa Uji"):
        assert secret not in text, secret
