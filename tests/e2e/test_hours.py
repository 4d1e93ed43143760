"""Opening hours on the real gateway, by a wall clock that the test turns: the end of the day, and a box without one."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from portal.meter import TICK_S
from tests.e2e.conftest import NewPhone, phones_of
from tests.e2e.test_office_cli import office
from tests.village.gateway import GerbangGateway
from tests.village.phone import Phone
from tests.village.village import Village
from tests.village.wallclock import WallClock

ZONE = ZoneInfo("Asia/Makassar")
SITE = {
    "site": {"timezone": ZONE.key},
    "hours": {"open": ["mon-fri 16:00-22:00"]},
    "plan": [
        {"id": "warga", "name": "Warga", "down_kbit": 5000, "up_kbit": 2000},
        {"id": "puskesmas", "name": "Puskesmas", "hours": ["always"], "daily_minutes": 600},
    ],
}
EPOCH_S = 25.0  # where a Pi's clock stands after a power cut, some seconds into the boot


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()


@pytest.fixture
def village() -> Iterator[Village]:
    """Not started: each test has its own clock."""
    with Village(phones=0, ipv6=False, site=SITE, start=False) as v:
        yield v


@pytest.fixture
def gateway(village: Village) -> GerbangGateway:
    assert isinstance(village.gateway, GerbangGateway)
    return village.gateway


@pytest.fixture
def new_phone(village: Village) -> Iterator[NewPhone]:
    with phones_of(village) as new:
        yield new


def tap(phone: Phone, gateway: GerbangGateway) -> int:
    """What a tap gets that no button on the page invites to."""
    return phone.http(f"{gateway.url}login", method="POST").status


def wait_offline(phone: Phone, timeout_s: float) -> None:
    end_s = time.monotonic() + timeout_s
    while phone.is_online(timeout_s=1):
        assert time.monotonic() < end_s, "still online"
        time.sleep(0.1)


def test_the_end_of_the_hours_cuts_residents_and_not_the_puskesmas(
    gateway: GerbangGateway, new_phone: NewPhone
) -> None:
    clock = WallClock(gateway, at("2027-03-01T21:59:30"))  # a Monday
    gateway.start()
    resident, nurse = new_phone(), new_phone()
    office(gateway, "device", "allow", nurse.mac, "--plan", "puskesmas")
    nurse.wait_online(timeout_s=2 * TICK_S)
    resident.login()
    clock.turn(at("2027-03-01T21:59:58"))
    assert resident.is_online()
    wait_offline(resident, 2 + TICK_S + 2)
    (session,) = gateway.sql("SELECT ended_wall_s, end_reason FROM session WHERE mac = ?", resident.mac)
    assert session["end_reason"] == "closed"
    assert at("2027-03-01T22:00") <= session["ended_wall_s"] <= at("2027-03-01T22:00") + TICK_S + 1
    page = resident.http(gateway.url).text
    assert "Tutup sampai besok pukul 16.00" in page
    assert "/login" not in page
    assert tap(resident, gateway) != 303
    assert not resident.is_online(timeout_s=1)
    assert nurse.is_online()

    clock.turn(at("2027-03-02T16:00:01"))
    resident.login()
    assert resident.is_online()


def test_a_clock_that_starts_in_1970_and_later_jumps_to_now(gateway: GerbangGateway, new_phone: NewPhone) -> None:
    """Closed hours stay closed until the time is known; who is always open is online all along, and counted once."""
    clock = WallClock(gateway, EPOCH_S)
    gateway.start()
    resident, nurse = new_phone(), new_phone()
    office(gateway, "device", "allow", nurse.mac, "--plan", "puskesmas")
    nurse.wait_online(timeout_s=2 * TICK_S)
    (session,) = gateway.sql("SELECT id, active_boot_s FROM session WHERE mac = ?", nurse.mac)
    began_boot_s = session["active_boot_s"]
    page = resident.http(gateway.url).text
    assert "Jam di alat Wi-Fi ini belum benar" in page
    assert tap(resident, gateway) != 303
    time.sleep(TICK_S)
    assert not resident.is_online(timeout_s=1)

    clock.turn(at("2027-03-01T17:00"))
    resident.login()
    assert resident.is_online()
    assert nurse.is_online()
    (still,) = gateway.sql("SELECT id FROM session WHERE mac = ? AND ended_wall_s IS NULL", nurse.mac)
    assert still["id"] == session["id"], "one session from 1970 until now"

    clock.turn(EPOCH_S)  # and back again: nobody knows any more whether these are open hours
    wait_offline(resident, TICK_S + 2)
    assert nurse.is_online()
    clock.turn(at("2027-03-02T16:30"))
    stopping_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert gateway.stop() == 0
    stopped_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    used = gateway.sql("SELECT day, seconds FROM person_day JOIN session USING (person_id) WHERE mac = ?", nurse.mac)
    seconds = sum(row["seconds"] for row in used)
    assert stopping_boot_s - began_boot_s - 0.1 <= seconds <= stopped_boot_s - began_boot_s + 0.1
    assert {row["day"] for row in used} <= {"1970-01-01", "2027-03-01", "2027-03-02"}
