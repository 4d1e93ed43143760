"""How long each page takes that a phone may get, at a gateway with 500 devices known and 200 online.

It must not know how a page is made: a phone asks, and looks at whether it is the page that was meant.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench import visits
from bench.crowd import go, log_out
from bench.office import ONLINE, Office, check_grants, fill, furnish, office, wait_grants
from bench.result import Reach, Result
from bench.visits import Answer, Ask, Script, Visit, VisitError
from portal import clock
from portal.domain import budget
from portal.domain.siterules import SiteRules
from portal.store import people
from portal.store.db import Database
from tests.village.phone import Phone

REACH_MS = 15.0
ROUNDS = 40
WRONG_TRIES = 4  # of one phone, one less than it may try
PASSWORD = "lima-sendok-beras-ketan"
BLOCKED_NAME = "judi.example"
DAY_MEGABYTES = 500
SITE = {
    "access": {"methods": ["terms", "voucher", "account"], "capacity": ONLINE + 1},
    "block": {"names": [BLOCKED_NAME]},
    "plan": [
        {
            "id": "warga",
            "name": "Warga",
            "down_kbit": 5000,
            "up_kbit": 2000,
            "daily_minutes": 240,
            "daily_megabytes": DAY_MEGABYTES,
            "after_budget": "stop",
        },
        {"id": "tamu", "name": "Tamu", "down_kbit": 2000, "up_kbit": 1000, "daily_megabytes": 50},
        {"id": "kantor", "name": "Kantor desa", "hours": ["always"], "devices": 20},
    ],
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page: who asks, what, and what shows that the answer is it."""

    name: str
    phone: Phone
    ask: Ask
    holds: str
    status: int = 200


def ask(phone: Phone, what: Ask) -> tuple[Answer, float]:
    """The answer to one request on a connection of its own, and the milliseconds to its last byte."""
    answers: list[Answer] = []

    def script(_: Visit) -> Script:
        answers.append((yield what))

    (visit,) = go([phone], script)
    if visit.error or not answers:
        raise VisitError(visit.error or "no answer")
    return answers[0], visit.ms(answers[0].at_s)


def time_of(page: Page, rounds: int = ROUNDS) -> list[float]:
    """Milliseconds of each round; RuntimeError where the answer is another page."""
    times = []
    for _ in range(rounds):
        answer, took_ms = ask(page.phone, page.ask)
        text = answer.text()
        if answer.status != page.status or page.holds not in text:
            said = " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.S).split())
            raise RuntimeError(f"{page.name}: {answer.status}, and not {page.holds!r} but {said[:300]!r}")
        times.append(took_ms)
    return times


def guest_pages() -> Iterator[Result]:
    """The worst page's median; and for itself a wrong password, whose hash costs time on purpose."""
    medians: dict[str, float] = {}
    with office(12, SITE) as at:
        new, inside, blocked, spent, moved, mover, *wrong = at.phones
        fill(at, ONLINE - 2)
        furnish(at)
        at.act.add_account("kantor", PASSWORD, "kantor")
        at.act.block(blocked.mac, "mengunduh terus")
        at.enter(inside)
        _spend(at, spent)
        _move(at, moved, mover)
        wait_grants(at.gateway, ONLINE)
        for page in (
            *_as_usual(at, new, inside),
            Page("device blocked", blocked, get(at), "HP ini tidak bisa masuk"),
            Page("budget spent", spent, get(at), "Jatah Anda hari ini sudah habis"),
            Page("moved away", moved, get(at), "Kode Anda dipakai di HP lain"),
        ):
            medians[page.name] = statistics.median(time_of(page))
        medians |= _wrong(at, wrong[:3], "code wrong", "code", {"code": "ABCDEFGH"}, "Kode ini tidak benar")
        medians |= _wrong(
            *(at, wrong[3:], "account wrong", "account", {"name": "kantor", "password": "salah-sekali"}),
            "Nama akun atau kata sandi salah",
        )
        # Each page is measured before the next thing is done there.
        for page in itertools.chain(_too_often(at, wrong[0]), _in_the_queue(at, new, wrong[0]), _closed(at, new)):
            medians[page.name] = statistics.median(time_of(page))
    password_ms = medians.pop("account wrong")
    each = ", ".join(f"{name} {took:.1f}" for name, took in sorted(medians.items(), key=lambda one: -one[1]))
    yield Result(
        "guest_pages_ms",
        max(medians.values()),
        "ms",
        Reach(at_most=REACH_MS),
        samples=list(medians.values()),
        note=f"the worst of these pages' medians: {each}",
    )
    yield Result("guest_wrong_password_ms", password_ms, "ms", note="one Argon2id with 19 MiB, so that guessing costs")


def get(at: Office, path: str = "") -> Ask:
    return visits.get(at.gateway.url + path)


def _as_usual(at: Office, new: Phone, inside: Phone) -> Iterator[Page]:
    """Of an open site with room, to somebody who was never here and to somebody who is online."""
    yield Page("landing", new, get(at), "Selamat datang")
    yield Page("landing in English", new, get(at, "?lang=en"), 'action="/login?lang=en"')
    yield Page("info", new, get(at, "info"), "Pengumuman 3")
    yield Page("notice", new, get(at, "info/1"), "Posyandu")
    (code,) = at.new_codes("tamu", 1)
    yield Page("voucher", new, get(at, f"v/{code}"), 'action="/code"')
    yield Page("voucher wrong", new, get(at, "v/ABCDEFGH"), "Kode ini tidak benar", 403)
    yield Page("name blocked", new, get(at, f"blocked?name={BLOCKED_NAME}"), BLOCKED_NAME)
    yield Page("API", new, get(at, "api/captive"), '"captive": true')
    yield Page("status", inside, get(at, "status"), "Anda sudah masuk")
    yield Page("return code", inside, get(at, "return"), "Kode kembali Anda")
    yield Page("voucher when online", inside, get(at, f"v/{code}"), "HP ini sudah masuk")
    yield Page("API when online", inside, get(at, "api/captive"), '"captive": false')


def _too_often(at: Office, phone: Phone) -> Iterator[Page]:
    form = visits.post(at.gateway.url + "code", {"code": "ABCDEFGH"})
    ask(phone, form)  # the last one that it may try
    yield Page("tried too often", phone, form, "Terlalu banyak percobaan yang salah", 429)


def _in_the_queue(at: Office, new: Phone, last: Phone) -> Iterator[Page]:
    """The last place is taken, somebody waits, and is called."""
    at.enter(last)
    yield Page("full", new, get(at), "Sedang penuh")
    ask(new, visits.post(at.gateway.url + "wait", {}))
    yield Page("waiting", new, get(at), "Anda yang paling depan")
    log_out([last], at.gateway.url)
    check_grants(at.gateway, ONLINE)
    yield Page("called", new, get(at), "Giliran Anda!")


def _closed(at: Office, new: Phone) -> Iterator[Page]:
    """An operator closes; whoever was online is not any more."""
    at.act.close("Rapat desa")
    wait_grants(at.gateway, 0)
    yield Page("closed", new, get(at), "Rapat desa")


def _wrong(
    at: Office, phones: Sequence[Phone], name: str, path: str, fields: dict[str, str], holds: str
) -> dict[str, float]:
    """The page after a wrong attempt, as often as each of these phones may try."""
    form = visits.post(at.gateway.url + path, fields)
    times = [took for phone in phones for took in time_of(Page(name, phone, form, holds, 403), WRONG_TRIES)]
    return {name: statistics.median(times)}


def _spend(at: Office, phone: Phone) -> None:
    """The day's budget of whoever has this phone is used up."""
    at.enter(phone)
    log_out([phone], at.gateway.url)
    with contextlib.closing(Database(at.paths.database)) as database, database.write() as db:
        day = people.moment(db, clock.now(), SiteRules(at.config).zone).day
        (session_id,) = db.execute("SELECT max(id) FROM session WHERE mac = ?", (phone.mac,)).fetchone()
        people.add_bytes(db, session_id, day, 0, budget.BYTES_PER_MEGABYTE * DAY_MEGABYTES)


def _move(at: Office, old: Phone, new: Phone) -> None:
    """The return code of the old phone is typed on the new one."""
    at.enter(old)
    (row,) = at.gateway.sql("SELECT code FROM person JOIN device ON person_id = person.id WHERE mac = ?", old.mac)
    answer, _ = ask(new, visits.post(at.gateway.url + "code", {"code": row["code"]}))
    if answer.status != 303:
        raise RuntimeError(f"the return code got {answer.status}")
