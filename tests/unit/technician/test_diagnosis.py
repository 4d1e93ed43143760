"""Why a phone can, or cannot, get on: each thing that can be in the way gives its own sentence, in both languages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from netctl.api.errors import UNREACHABLE, NetctlError
from portal import staffkey
from portal.config import Access, Plan, Site, SiteConfig
from portal.domain.model import (
    CLOCK_NOT_SET,
    BudgetLeft,
    EndReason,
    Now,
    Opening,
    Person,
    Place,
    Session,
    Uplink,
    UplinkState,
    Visit,
)
from portal.domain.office import Batch, Device, Voucher
from portal.leases import Lease
from portal.paths import Paths
from portal.store.db import Database
from portal.technician import diagnosis, words
from portal.technician.diagnosis import Facts
from tests.unit.technician.conftest import Query

MAC, OTHER, IP = "02:00:00:00:00:01", "02:00:00:00:00:02", "10.77.0.9"
NOW = Now("boot", 5000.0, 1.8e9)
ZONE = ZoneInfo("Asia/Makassar")
LEFT = BudgetLeft(None, None, False, 1.8e9 + 3600)
SPENT = BudgetLeft(0.0, None, True, 1.8e9 + 3600)
SESSION = Session(
    id=7,
    mac=MAC,
    ipv4=IP,
    plan="warga",
    method="terms",
    terms_version="1",
    started_wall_s=1.8e9 - 600,
    boot_id="boot",
    deadline_boot_s=None,
    remaining_s=None,
    active_boot_s=4990.0,
    up_bytes=0,
    down_bytes=0,
    ended_wall_s=None,
    end_reason=None,
)
VISIT = Visit(
    mac=MAC,
    session=None,
    person=None,
    plan="warga",
    opening=Opening(True, None),
    left=LEFT,
    rule=None,
    moved_wall_s=None,
    place=None,
    full=False,
)
DEVICE = Device(MAC, None, 1.7e9, None, None, None, "", None, None)
PRESENT = Facts(
    mac=MAC,
    ip=IP,
    lease=Lease(IP, "1800003600"),
    neighbour=MAC,
    netctl=None,
    members=(),
    classes={"0x10": "down rate 64 ceil 5000 kbit / up rate 64 ceil 2000 kbit"},
    visit=VISIT,
    after_budget="stop",
    plan_name="Warga",
    device=DEVICE,
    voucher=None,
    account_off=False,
    past=(),
    acts=(),
    uplink=Uplink(UplinkState.UP, None),
    capacity=None,
    now=NOW,
)
ONLINE = replace(PRESENT, visit=replace(VISIT, session=SESSION), members=((IP, "0x10", True),))
VOUCHER = Voucher(3, "ABCDEFGH", Batch(2, "warga", 1, None, None, "", 1.0, "x"), 1.0, 1)
PERSON = Person(1, "ABCDEFGH", "voucher", "warga", 3, None)
BLOCKED = replace(DEVICE, rule="block", note="maling", ruled_by="ani")


def seen(**changes: Any) -> Facts:
    return replace(PRESENT, visit=replace(VISIT, **changes))


CASES = {
    "online": ONLINE,
    "tap": PRESENT,
    "netctl": replace(ONLINE, netctl="No netctl."),
    "blocked": replace(seen(rule="block"), device=BLOCKED),
    "address": replace(ONLINE, neighbour=OTHER),
    "kernel": replace(ONLINE, members=()),
    "uplink": replace(ONLINE, uplink=Uplink(UplinkState.DOWN, 1.8e9 - 60)),
    "silent": replace(ONLINE, neighbour=None),
    "slow": replace(ONLINE, visit=replace(ONLINE.visit, left=SPENT), after_budget="slow"),
    "clock": seen(opening=Opening(False, None, CLOCK_NOT_SET)),
    "closed": seen(opening=Opening(False, 1.8e9 + 7200, "Libur")),
    "budget": seen(left=SPENT),
    "called": replace(seen(place=Place(0, True), full=True), capacity=5),
    "queue": replace(seen(place=Place(2, False), full=True), capacity=5),
    "full": replace(seen(full=True), capacity=5),
    "voucher-void": replace(seen(person=PERSON), voucher=VOUCHER),
    "voucher-expired": replace(
        seen(person=PERSON),
        voucher=replace(VOUCHER, voided_wall_s=None, batch=replace(VOUCHER.batch, valid_until_wall_s=1.0)),
    ),
    "account-off": replace(seen(person=PERSON), account_off=True),
    "never": replace(PRESENT, lease=None, ip=None, neighbour=None, device=None),
    "away": replace(PRESENT, lease=None, ip=None, neighbour=None),
    "moved": replace(seen(moved_wall_s=1.8e9 - 60, person=PERSON)),
}


@pytest.mark.parametrize("language", ["id", "en"])
@pytest.mark.parametrize("code", CASES)
def test_each_thing_in_the_way_has_its_own_sentence(code: str, language: str) -> None:
    found = diagnosis.conclude(CASES[code], words.like(language), ZONE)
    assert found.code == code
    assert found.well == (code in ("online", "slow"))
    said = [found.conclusion, found.todo, *(step.message for step in found.steps)]
    assert not any(text.startswith("why.") or "%(" in text for text in said), said
    assert len({found.conclusion, found.todo}) == 2


def test_every_conclusion_that_has_a_sentence_can_be_reached() -> None:
    catalogue = words.english().messages._catalog  # type: ignore[attr-defined]
    named = {key.split(".")[2] for key in catalogue if isinstance(key, str) and key.startswith("why.end.")}
    assert named == set(CASES)


@pytest.mark.parametrize("members", [((IP, "0x10", False),), ((IP, "0x99", True),)])
def test_half_a_member_or_one_without_a_rate_is_the_kernels_fault(members: Any) -> None:
    assert diagnosis.conclude(replace(ONLINE, members=members), words.english(), ZONE).code == "kernel"


def test_what_was_before_is_told_with_its_reason() -> None:
    over = replace(SESSION, ended_wall_s=1.8e9 - 60, end_reason=EndReason.IDLE)
    found = diagnosis.conclude(replace(PRESENT, past=(over,)), words.english(), ZONE)
    assert "it was silent for long" in " ".join(step.message for step in found.steps)


class Netctl:
    """netctl's answers, or its absence."""

    def __init__(self, *, away: bool = False) -> None:
        self._away = away

    def whois(self, ip: str) -> str | None:
        if self._away:
            raise NetctlError(UNREACHABLE, "No netctl.", "")
        return MAC if ip == IP else None

    def dump(self) -> tuple[str, ...]:
        if self._away:
            raise NetctlError(UNREACHABLE, "No netctl.", "")
        return (
            f"member {IP} {MAC} class 0x10 grant 7",
            "class down 0x10 rate 64 ceil 5000 kbit",
            "class up 0x10 rate 8",
        )


CONFIG = SiteConfig(site=Site(code="64.03.01.2001"), access=Access(), plan=(Plan(id="warga", name="Warga"),))


@pytest.fixture
def ask(paths: Paths, query: Query) -> Any:
    query("INSERT INTO device (mac) VALUES (?)", MAC)
    paths.leases.parent.mkdir()
    paths.leases.write_text(f"1800003600 {MAC} {IP} * *\n")
    key = staffkey.load(paths.staff)

    def run(asked: str, netctl: Netctl | None = None, *, with_key: bool = True) -> Any:
        database = Database(paths.database)
        try:
            return diagnosis.diagnose(
                asked,
                CONFIG,
                paths,
                database,
                words.english(),
                key=key if with_key else None,
                netctl=netctl or Netctl(),
                now=NOW,
            )
        finally:
            database.close()

    run.name = key.pseudonym(MAC, "2027-01")  # type: ignore[attr-defined]
    return run


def test_a_device_is_found_by_every_name_it_has(ask: Any) -> None:
    for asked in (MAC, MAC.upper().replace(":", "-"), f"  {IP} ", ask.name, ask.name.lower()):
        assert ask(asked).mac == MAC, asked
    assert ask(IP, Netctl(away=True)).mac == MAC, "by its lease"


def test_what_names_nobody_is_nobody(ask: Any) -> None:
    for asked in ("", "x", "10.77.0.200", "' OR 1=1 --", "ZZZZZ", "ff:ff:ff:ff:ff:ff"):
        assert ask(asked) is None
    assert ask(ask.name, with_key=False) is None


def test_the_kernels_tables_are_read_as_netctl_dumps_them(ask: Any) -> None:
    found = ask(MAC)
    (stray,) = [step for step in found.steps if step.code == "member-stray"]
    assert IP in stray.message
    assert ask(MAC, Netctl(away=True)).code == "netctl"
