"""One scripted day in the village, and the report of it: every figure is compared with what phones and script know.

Power goes, the gateway is started again in order, the line fails, the wall clock is not set, set, wrong and set again.
The day passes in some minutes (tests.village.timemachine); what the phones do takes as long as it does.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from portal import sealing
from portal.domain.rollup import DayFigures, HourFigures, Line, SessionFilter, SessionRecord
from portal.meter import TICK_S
from portal.store import rollups
from portal.store.db import Database
from tests.village.gateway import DATA, RUN, GerbangGateway
from tests.village.internet import WEB
from tests.village.measure import Tap
from tests.village.phone import Phone
from tests.village.timemachine import TimeMachine
from tests.village.village import Village

pytestmark = pytest.mark.timeout(600)

ZONE = ZoneInfo("Asia/Makassar")
OFFICE = sealing.new_office_secret()
SITE = {
    "site": {"timezone": ZONE.key},
    "office": {"key": OFFICE.key.line},
    "uplink": {"provider": "Telkom", "link": "fibre"},
    "lan": {"lease_minutes": 10_080},  # the phones and dnsmasq live in the machine's time
    "plan": [{"id": "warga", "name": "Warga", "down_kbit": 20_000, "up_kbit": 10_000, "session_minutes": "unlimited",
              "idle_minutes": "unlimited"}],
}  # fmt: skip
HEARTBEAT_S = 60.0
CHECK_S = 20.0  # the line is checked every 15 s
NOTICED_S = 2.5 * TICK_S
DAY_S = 86_400.0
PACKET = 100  # a late acknowledgement: a session of nothing else is no hundred times as large
LINES = ("Jalur baik", "Jalur putus", "Gateway mati", "Belum diketahui", "Di luar catatan")  # and two that must be 0


@dataclass
class Stay:
    """What the script knows of a session; bytes are the phone's own count, headers included."""

    phone: int
    began: float
    ended: float | None = None
    reason: str | None = None
    up: int = 0
    down: int = 0
    continues: bool = False


@dataclass
class Diary:
    stays: list[Stay] = field(default_factory=list)
    off: list[tuple[float, float]] = field(default_factory=list)
    down: list[tuple[float, float]] = field(default_factory=list)
    moved: list[tuple[float, int, int]] = field(default_factory=list)  # until when, bytes up, bytes down

    def running(self, phone: int) -> Stay:
        return next(stay for stay in self.stays if stay.phone == phone and stay.ended is None)


class Day:
    """The village's day: moves time, lets phones act, and keeps the diary."""

    def __init__(self, village: Village, day: dt.date, taps: ExitStack) -> None:
        assert isinstance(village.gateway, GerbangGateway)
        self.village, self.gateway, self.day = village, village.gateway, day
        self.machine = TimeMachine(self.gateway, self.at("05:58"))
        self.diary = Diary()
        self._taps = taps
        self._tap_of: dict[int, Tap] = {}
        self._told: dict[int, tuple[int, int]] = {}
        self._unread = False

    def at(self, clock: str, *, later_days: int = 0) -> float:
        time_of_day = dt.time.fromisoformat(clock)
        return dt.datetime.combine(self.day + dt.timedelta(later_days), time_of_day, ZONE).timestamp()

    def go(self, clock: str, *, later_days: int = 0, ticks: float = 1.2) -> None:
        """It is then, and the meter has noticed; it has read before what people did until then."""
        if self._unread:
            time.sleep(1.1 * TICK_S)
            self._unread = False
        self.machine.pass_until(self.at(clock, later_days=later_days))
        time.sleep(ticks * TICK_S)

    def join(self) -> Phone:
        (phone,) = self.village.add_phones(1)
        phone.dhcp()
        return phone

    def login(self, phone: Phone) -> None:
        phone.login()
        self.diary.stays.append(Stay(phone.number, self.machine.true()))
        time.sleep(0.2)  # the last packets of the redirected probe, which the tap would take for the Internet's
        self._tap_of[phone.number] = self._taps.enter_context(Tap(phone))
        self._told[phone.number] = (0, 0)

    def fetch(self, phone: Phone, octets: int, times: int = 1) -> None:
        for _ in range(times):
            answer = phone.http(f"http://{WEB}/bytes?n={octets}")
            assert len(answer.body) == octets
        self._count(phone.number)

    def send(self, phone: Phone, octets: int) -> None:
        phone.http(f"http://{WEB}/sink", method="POST", body=bytes(octets))
        self._count(phone.number)

    def logout(self, phone: Phone) -> None:
        phone.logout(f"{self.gateway.url}status")
        self._end(phone.number, "logout")

    def _count(self, number: int) -> None:
        """Add what the phone's cable carried since the last time to its session."""
        time.sleep(0.3)
        self._unread = True
        tap, stay = self._tap_of[number], self.diary.running(number)
        up, down = self._told[number]
        stay.up += tap.up_bytes - up
        stay.down += tap.down_bytes - down
        self.diary.moved.append((self.machine.true(), tap.up_bytes - up, tap.down_bytes - down))
        self._told[number] = (tap.up_bytes, tap.down_bytes)

    def _end(self, number: int, reason: str) -> Stay:
        self._count(number)
        stay = self.diary.running(number)
        stay.ended, stay.reason = self.machine.true(), reason
        return stay

    def reboot(self, back: str, reason: str) -> None:
        """The machine goes and comes back; who was online goes on."""
        online = [stay.phone for stay in self.diary.stays if stay.ended is None]
        gone = self.machine.true()
        if reason == "power":
            for number in online:
                self._end(number, reason)
            self.gateway.crash()
        else:
            assert self.gateway.stop() == 0
            for number in online:
                self._end(number, reason)
        self.machine.reboot(self.at(back))
        self.gateway.start()
        began = self.machine.true()
        self.diary.off.append((gone, began))
        for number in online:
            phone = self.village.phones[number - 1]
            phone.wait_online(timeout_s=10)
            self.diary.stays.append(Stay(number, began, continues=True))
            self._count(number)

    def until(self, state: str) -> None:
        end_s = time.monotonic() + 45
        while self.gateway.sql("SELECT state FROM uplink") != [{"state": state}]:
            assert time.monotonic() < end_s, f"the line is not said to be {state}"
            time.sleep(0.2)

    def cut_line(self, until: str) -> None:
        cut = self.machine.true()
        self.village.internet.unplugged(True)
        self.until("down")
        self.go(until)
        self.village.internet.unplugged(False)
        self.diary.down.append((cut, self.machine.true()))
        self.until("up")


@dataclass
class Report:
    day: DayFigures
    hours: list[HourFigures]
    sessions: list[SessionRecord]
    text: str  # of `gerbang report`, plain CSV of the days
    kept: list[dict[str, Any]]  # what `gerbang housekeeping` says of its parts
    log: dict[str, Any]  # what `gerbang journal verify` says
    rebuilt: dict[str, Any]  # what `gerbang rollup rebuild` says
    office: list[dict[str, Any]]  # the records that the office reads from a technician's stick


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[Day, Report]]:
    with Village(phones=0, ipv6=False, site=SITE, start=False) as village, ExitStack() as taps:
        day = Day(village, dt.datetime.now(ZONE).date() + dt.timedelta(1), taps)
        live_through(day)
        yield day, report_of(day)


def live_through(day: Day) -> None:
    """The script."""
    machine, gateway = day.machine, day.gateway
    machine.show(25.0)  # a Pi's clock without power: 1970
    gateway.start()
    ani = day.join()
    day.login(ani)
    day.fetch(ani, 300_000)
    day.go("06:10")
    machine.show(None)
    machine.trust(True)  # NTP comes
    time.sleep(1.5 * TICK_S)
    budi, citra, dewi = day.join(), day.join(), day.join()
    citra.http("http://connectivitycheck.gstatic.com/generate_204")  # sees the page, taps nothing
    assert citra.http(gateway.url).status == 200
    day.go("07:59:35")
    day.fetch(ani, 500_000)
    day.go("08:00:05")
    day.fetch(ani, 200_000)
    day.login(budi)
    day.send(budi, 400_000)
    day.go("09:00")
    day.cut_line("09:30")
    day.go("10:07")
    day.fetch(budi, 700_000, times=2)
    day.go("11:59:30")
    day.fetch(ani, 100_000)
    day.fetch(budi, 100_000)
    time.sleep(1.5 * TICK_S)
    day.go("12:05")  # totals are on the disk
    day.reboot("13:00", "power")
    day.fetch(budi, 250_000)
    day.go("13:06")
    machine.trust(True)
    time.sleep(1.5 * TICK_S)
    day.go("15:00")
    machine.trust(False)
    machine.show(machine.true() + 3 * DAY_S)  # somebody sets the date, and nobody trusts it
    time.sleep(1.5 * TICK_S)
    day.fetch(budi, 300_000)
    day.logout(budi)
    machine.show(None)
    machine.trust(True)
    time.sleep(1.5 * TICK_S)
    day.go("18:00")
    day.fetch(ani, 150_000)
    day.reboot("18:02", "restart")
    machine.trust(True)
    time.sleep(1.5 * TICK_S)
    day.go("19:00")
    eka, fitri = day.join(), day.join()
    day.login(eka)
    day.login(fitri)
    day.fetch(eka, 120_000)
    day.send(fitri, 90_000)
    day.go("20:30")
    day.logout(eka)
    day.logout(fitri)
    day.go("21:30")
    day.login(dewi)
    day.fetch(dewi, 600_000)
    day.go("22:15")
    day.logout(ani)
    day.go("23:58:30")
    day.fetch(dewi, 350_000)
    day.logout(dewi)
    day.go("00:00:10", later_days=1)
    day.go("02:00", later_days=1)  # the day is told when it is well over


PASSPHRASE = "sebuah kata sandi kantor"


def command(day: Day, *words: str, stdin: str = "") -> str:
    """What a command of the gateway prints; it must succeed."""
    clocks = [f"{name}={value}" for name, value in day.gateway.environment.items()]
    line = ["env", *clocks, *day.gateway.command(*words)]
    done = day.gateway.box.run(["sh", "-c", 'printf "%s\n" "$0" | "$@"', stdin, *line], timeout_s=60)
    assert done.returncode == 0, f"{words}: {done.stderr or done.stdout}"
    return done.stdout


def report_of(day: Day) -> Report:
    date = day.day
    places = ("--run-dir", str(RUN), "--data-dir", str(DATA))
    kept = json.loads(command(day, "housekeeping", "--json", *places))
    printed = command(day, "report", "--month", date.isoformat()[:7], "--format", "csv", *places)
    day.gateway.box.write("/run/stick/office.key", OFFICE.locked(PASSPHRASE).decode())
    command(day, "outbox", "export", "/run/stick", *places)
    opened = ("--key", "/run/stick/office.key", "--output", "/run/opened.ndjson", "--stdin")
    command(day, "outbox", "open", "/run/stick", *opened, stdin=PASSPHRASE)
    lines = day.gateway.box.read("/run/opened.ndjson").splitlines()

    def read() -> tuple[DayFigures, list[HourFigures], list[SessionRecord]]:
        with closing(Database(DATA / "gerbang.db")) as database:
            with database.write() as db:
                rollups.catch_up(db, ZONE)
            with database.read() as db:
                (figures,) = rollups.days(db, ZONE, date, date)
                chosen = SessionFilter(first=date, last=date)
                return figures, rollups.hours(db, ZONE, date, date), rollups.sessions(db, ZONE, chosen, limit=100)

    return Report(
        *day.gateway.box.call(read),
        text=printed,
        kept=kept,
        log=json.loads(command(day, "journal", "verify", "--json", *places)),
        rebuilt=json.loads(command(day, "rollup", "rebuild", "--json", *places)),
        office=[json.loads(line) for line in lines],
    )


def seconds_online(stays: list[Stay], from_s: float, until_s: float) -> list[int]:
    """How many were online in each whole second."""
    return [
        sum(stay.began <= second < (until_s if stay.ended is None else stay.ended) for stay in stays)
        for second in range(int(from_s), int(until_s))
    ]


def test_sessions_are_those_that_the_phones_had(told: tuple[Day, Report]) -> None:
    day, report = told
    records = sorted(report.sessions, key=lambda record: record.id)
    stays = day.diary.stays
    assert [record.reason for record in records] == [stay.reason for stay in stays]
    assert [record.continues is not None for record in records] == [stay.continues for stay in stays]
    names = {stay.phone: record.device for stay, record in zip(stays, records, strict=True)}
    assert [record.device for record in records] == [names[stay.phone] for stay in stays], "one name for one phone"
    assert len(set(names.values())) == len(names)
    for stay, record in zip(stays, records, strict=True):
        assert record.certain
        assert record.began_wall_s == pytest.approx(stay.began, abs=NOTICED_S)
        if stay.ended is None:
            assert record.ended_wall_s is None
        else:
            late_s = HEARTBEAT_S + TICK_S if stay.reason == "power" else NOTICED_S
            assert record.ended_wall_s == pytest.approx(stay.ended, abs=late_s)


def test_each_session_has_the_bytes_that_its_phone_counted(told: tuple[Day, Report]) -> None:
    day, report = told
    records = sorted(report.sessions, key=lambda record: record.id)
    for stay, record in zip(day.diary.stays, records, strict=True):
        assert record.up_bytes == pytest.approx(stay.up, rel=0.01, abs=PACKET)
        assert record.down_bytes == pytest.approx(stay.down, rel=0.01, abs=PACKET)


def test_the_day_s_figures(told: tuple[Day, Report]) -> None:
    day, report = told
    stays, figures = day.diary.stays, report.day
    assert figures.day == day.day
    assert figures.certain
    assert figures.devices == len({stay.phone for stay in stays}) == 5
    assert figures.sessions == len(stays), "one that goes on after the gateway was off is another"
    online = seconds_online(stays, day.at("00:00"), day.at("00:00", later_days=1))
    assert figures.peak_online == max(online)
    assert figures.p95_online == sorted(online)[int(len(online) * 0.95)]
    assert figures.up_bytes == pytest.approx(sum(stay.up for stay in stays), rel=0.01)
    assert figures.down_bytes == pytest.approx(sum(stay.down for stay in stays), rel=0.01)
    lengths = [stay.ended - stay.began for stay in stays if stay.ended is not None]
    assert figures.median_session_s == pytest.approx(statistics.median(lengths), abs=HEARTBEAT_S)
    step = figures.funnel["android"]
    assert (step.joined, step.saw, step.online) == (6, 6, 5), "all tapped but Citra, who only looked"


def test_the_line_s_day(told: tuple[Day, Report]) -> None:
    day, report = told
    seconds = report.day.seconds
    assert sum(seconds.values()) == pytest.approx(DAY_S, abs=0.01)
    off_s = sum(until - since for since, until in day.diary.off)
    down_s = sum(until - since for since, until in day.diary.down)
    assert seconds[Line.OFF] == pytest.approx(off_s, abs=2 * HEARTBEAT_S)
    assert seconds[Line.DOWN] == pytest.approx(down_s, abs=2 * CHECK_S)
    assert seconds[Line.BEFORE] == pytest.approx(day.at("05:58") - day.at("00:00"), abs=30)
    assert seconds.get(Line.LOST, 0.0) == seconds.get(Line.DEGRADED, 0.0) == 0.0
    assert report.day.quality.latency_p50_ms is not None
    assert report.day.quality.latency_p50_ms < 100
    assert {hour.provider.name for hour in report.hours} == {"Telkom"}


def test_the_hours_add_up_and_bytes_stand_in_theirs(told: tuple[Day, Report]) -> None:
    day, report = told
    hours = {hour.hour: hour for hour in report.hours}
    assert sum(hour.up_bytes for hour in report.hours) == report.day.up_bytes
    assert sum(hour.down_bytes for hour in report.hours) == report.day.down_bytes
    # Until NTP came, nobody knew where an hour ends: what people did from 05:58 was told at 06:10.
    for first, last in ((0, 6), *((hour, hour) for hour in range(7, 24))):
        began, ended = day.at(f"{first:02}:00"), day.at(f"{last:02}:00") + 3600
        moved = [(up, down) for at, up, down in day.diary.moved if began <= at < ended]
        told_up = sum(hours[hour].up_bytes for hour in range(first, last + 1))
        told_down = sum(hours[hour].down_bytes for hour in range(first, last + 1))
        assert told_up == pytest.approx(sum(up for up, _ in moved), rel=0.01, abs=PACKET), f"until {last} h"
        assert told_down == pytest.approx(sum(down for _, down in moved), rel=0.01, abs=PACKET), f"until {last} h"
    assert hours[7].down_bytes > 500_000 < hours[8].up_bytes + hours[8].down_bytes, "the seconds before eight are its"
    assert hours[3].devices == 0
    assert hours[8].peak_online == 2


def test_every_figure_of_the_report_that_the_office_gets(told: tuple[Day, Report]) -> None:
    """Each column of the day against phones and script; counts of fewer than five are hidden."""
    day, report = told
    stays = day.diary.stays
    headings, *rows = csv.reader(report.text.splitlines())
    (row,) = [row for row in rows if row[0] == day.day.isoformat()]
    cells = dict(zip(headings, row, strict=True))
    online = seconds_online(stays, day.at("00:00"), day.at("00:00", later_days=1))
    lengths = [stay.ended - stay.began for stay in stays if stay.ended is not None]
    assert len(lengths) >= 5 > max(online) > 0
    exact = {
        "Tanggal": day.day.isoformat(),
        "Perangkat (perangkat)": str(len({stay.phone for stay in stays})),
        "Sesi (sesi)": str(len(stays)),
        "Puncak bersamaan (perangkat)": "<5",
        "Bersamaan, persentil ke-95 (perangkat)": "<5",
        "Tersambung ke Wi-Fi (perangkat)": "6",
        "Melihat halaman (perangkat)": "6",
        "Masuk ke internet (perangkat)": "5",
        "Jalur terganggu (detik)": "0",
        "Catatan hilang (detik)": "0",
        "Kehilangan paket (median) (persen)": "0.0",
        "Jam pasti": "ya",
    }
    assert {heading: cells.pop(heading) for heading in exact} == exact
    found = {heading: float(cell) for heading, cell in cells.items()}
    assert found.pop("Lama sesi (median) (detik)") == pytest.approx(statistics.median(lengths), abs=HEARTBEAT_S)
    assert found.pop("Unggah (byte)") == pytest.approx(sum(stay.up for stay in stays), rel=0.01)
    assert found.pop("Unduh (byte)") == pytest.approx(sum(stay.down for stay in stays), rel=0.01)
    off_s = sum(until - since for since, until in day.diary.off)
    down_s = sum(until - since for since, until in day.diary.down)
    before_s = day.at("05:58") - day.at("00:00")
    share = found.pop("Ketersediaan internet (persen)")
    assert share == pytest.approx(100 * (1 - (off_s + down_s) / (DAY_S - before_s)), abs=0.3)
    states = {name: found.pop(f"{name} (detik)") for name in LINES}
    assert sum(states.values()) == DAY_S
    assert states["Jalur putus"] == pytest.approx(down_s, abs=2 * CHECK_S)
    assert states["Gateway mati"] == pytest.approx(off_s, abs=2 * HEARTBEAT_S)
    assert states["Di luar catatan"] == pytest.approx(before_s, abs=30)
    assert states["Belum diketahui"] < 3 * CHECK_S, "at each start, until the line was looked at"
    latency_ms = found.pop("Tundaan (median) (milidetik)")
    assert 0 < latency_ms <= found.pop("Tundaan, persentil ke-95 (milidetik)") < 1000
    assert 0 <= found.pop("Kehilangan paket, persentil ke-95 (persen)") <= 100
    assert found == {}, "columns of which nothing is known here"


def test_housekeeping_did_all_and_the_log_is_whole(told: tuple[Day, Report]) -> None:
    _, report = told
    assert [part["error"] for part in report.kept] == [None] * len(report.kept)
    assert {"rollups", "retention", "outbox"} <= {part["name"] for part in report.kept}
    assert report.log["whole"] is True
    assert report.rebuilt["changed"] is False


def test_the_office_reads_the_same_from_a_stick(told: tuple[Day, Report]) -> None:
    day, report = told
    ended = [record for record in report.office if record["kind"] == "session" and record["ended"]]
    stays = [record for record in report.sessions if record.ended_wall_s is not None]
    for way in ("up_bytes", "down_bytes"):
        assert sorted(record[way] for record in ended) == sorted(getattr(record, way) for record in stays)
    (figures,) = [record for record in report.office if record["kind"] == "day"]
    assert (figures["devices"], figures["sessions"]) == (report.day.devices, report.day.sessions)
    assert (figures["up_bytes"], figures["down_bytes"]) == (report.day.up_bytes, report.day.down_bytes)
    text = json.dumps(report.office)
    assert not any(phone.mac in text or phone.address in text for phone in day.village.phones)
