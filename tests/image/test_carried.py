"""What is carried from a box by hand: batches to the office on a stick, a backup to the box that replaces this one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.image.conftest import NewPlace
from tests.image.disk import make_stick, read_stick
from tests.image.machine import PATIENCE, Machine, NotReached
from tests.image.place import PAGE_S, READY_WITHIN_S, SITE, Place
from tests.village.gateway import merged
from tests.village.phone import Phone
from tests.village.staffbrowser import StaffBrowser

PASSPHRASE = "kunci kantor untuk percobaan"
DAY_S = 86_400
STICK = "/run/stick"


@pytest.mark.long
def test_the_office_gets_its_batches_on_a_stick_and_says_so_on_one(new_place: NewPlace, tmp_path: Path) -> None:
    key = tmp_path / "office.key"
    line = at_the_office("office", "key", key)["line"]
    place = new_place(site=merged(SITE, {"office": {"key": line}}), phones=1, usb=True)
    box, (phone,) = place.machine, place.phones
    place.boot()
    phone.dhcp()
    place.wait_clock()
    phone.login()
    assert phone.logout(f"{place.gateway.url}status").status == 303
    place.shut_down()
    place.time.ahead_s = DAY_S  # of a day that is not over there is nothing to tell
    place.boot()
    place.wait_clock()

    stick = tmp_path / "stick"
    with_stick(place, stick, f"gerbang outbox export {STICK}")
    batches = read_stick(stick, tmp_path / "archive")
    fingerprint = json.loads(box.run("gerbang outbox --json"))["fingerprint"]
    found = at_the_office("outbox", "check", batches, "--key", key, "--gateway", fingerprint)
    assert found["good"] and len(found["chains"]) == 1
    records = tmp_path / "records.ndjson"
    at_the_office("outbox", "open", batches, "--key", key, "--output", records)
    kinds = [json.loads(record)["kind"] for record in records.read_text().splitlines()]
    assert kinds.count("withheld") == 1 and "session" not in kinds, "a day's only session would tell who that was"

    ack = tmp_path / "office.ack"
    told = at_the_office("office", "ack", batches, "--key", key, "--out", ack)["batches"]
    before = json.loads(box.run("gerbang outbox --json"))["batches"]
    said = with_stick(place, tmp_path / "second", f"gerbang outbox ack {STICK}/{ack.name}", ack)
    assert json.loads(said)["removed"] == told > 0
    assert json.loads(box.run("gerbang outbox --json"))["batches"] == before - told


@pytest.mark.long
def test_a_backup_goes_back_by_the_page_and_to_the_box_that_comes_instead(new_place: NewPlace) -> None:
    old = new_place(phones=2)
    old.boot()
    old.dhcp_all()
    first, second = old.phones
    first.login()
    desk = old.technician()
    early = voucher(old)
    backup = by_page(desk)
    late = voucher(old)
    second.login()

    page = restore(desk, backup, what="people")
    assert "2 sesi berlanjut" in page, page
    assert first.is_online() and second.is_online()
    assert codes(old) == {early}, "what was made since is not in it"
    assert late not in codes(old)
    assert "Kesehatan" in desk.get("/technician"), "still logged in"
    old.assert_whole()
    old.power_off()

    new = new_place(site={"site": {"code": SITE["site"]["code"], "name": "Kotak pengganti"}}, phones=1)
    new.boot()
    new.phones[0].dhcp()
    desk = new.technician()
    page = restore(desk, backup, what="all")
    assert "/technician/config" in page, page
    desk.wait("/technician/config", "/technician/config/confirm", READY_WITHIN_S)
    assert desk.post("/technician/config/confirm")[0] == 303
    assert codes(new) == {early}
    (phone,) = new.phones
    log_in(phone)
    new.assert_whole()
    new.shut_down()
    assert b"Desa Uji" in new.disk.get("site.toml"), "so a new card can be made of this one"
    new.boot()
    phone.wait_online(timeout_s=60)
    assert new.machine.run("cat /data/site/site.toml").count("Desa Uji") == 1


@pytest.mark.long
def test_a_database_that_is_damaged_is_put_right_by_a_backup(new_place: NewPlace) -> None:
    place = new_place(phones=1)
    box, (phone,) = place.machine, place.phones
    place.boot()
    phone.dhcp()
    code = voucher(place)
    box.run("gerbang backup --out /run/backup")
    backup = box.run("base64 /run/backup")
    box.run("dd if=/dev/urandom of=/data/gerbang/gerbang.db bs=4096 count=8 conv=notrunc && sync")
    place.power_off()
    box.power_on()
    wait_for_doctor(box, r"^fail  database .*not an SQLite database", r"^ok    daemon ")
    assert not phone.is_online(timeout_s=5), "a gateway that cannot tell who is in lets nobody in"
    here = box.mark()
    box.run("base64 -d >/run/backup", stdin=backup)
    box.run("gerbang restore /run/backup", timeout_s=PAGE_S * PATIENCE)
    place.wait_ready(since=here)
    assert codes(place) == {code}
    phone.dhcp()
    log_in(phone)
    place.assert_whole()


# --- at the box ------------------------------------------------------------------------------------------------------


def log_in(phone: Phone) -> None:
    """Once the guest pages, which start anew with another configuration, are there."""
    end_s = time.monotonic() + PAGE_S * PATIENCE
    while True:
        try:
            phone.login()
        except OSError:
            assert time.monotonic() < end_s
        else:
            phone.wait_online(timeout_s=30)
            return


def wait_for_doctor(box: Machine, *findings: str) -> None:
    end_s, said = time.monotonic() + READY_WITHIN_S * PATIENCE, ""
    while not all(re.search(finding, said, re.M) for finding in findings):
        assert time.monotonic() < end_s, said
        with suppress(NotReached):
            said = box.try_run(["gerbang", "doctor"]).stdout
        time.sleep(2)


def with_stick(place: Place, path: Path, command: str, *files: Path) -> str:
    """Plug in a new stick with these files, mount it as the manual says, run the command, take it out again."""
    make_stick(path, *files)
    place.machine.plug_stick(path)
    place.machine.run(f"mkdir -p {STICK} && until mount LABEL=FLASHDISK {STICK} 2>/dev/null; do sleep 1; done")
    said = place.machine.run(f"{command} --json")
    place.machine.run(f"umount {STICK}")
    place.machine.pull_stick()
    return said


def by_page(desk: StaffBrowser) -> bytes:
    desk.get("/technician/backup")
    status, content = desk.post("/technician/backup")
    assert status == 200 and content[:2] == b"\x1f\x8b", content[:300]
    return content


def restore(desk: StaffBrowser, backup: bytes, what: str) -> str:
    desk.get("/technician/backup")
    status, page = desk.upload("/technician/restore", backup, what=what)
    main = page[page.find(b"<main") :].decode()
    assert status == 200, main[:2000]
    return main


def voucher(place: Place) -> str:
    (made,) = json.loads(place.machine.run("gerbang voucher create --count 1 --plan warga --json"))["vouchers"]
    return str(made["code"]).replace("-", "")


def codes(place: Place) -> set[str]:
    return {row["code"] for row in place.gateway.sql("SELECT code FROM voucher")}


# --- at the office ---------------------------------------------------------------------------------------------------


def at_the_office(*words: str | Path) -> Any:
    """A command of the program on the office's computer; what it answers as JSON."""
    command = [sys.executable, "-m", "portal.cli", *map(str, words), "--stdin", "--json"]
    done = subprocess.run(command, input=f"{PASSPHRASE}\n", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
