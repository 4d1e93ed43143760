"""A gateway in the middle of its life: 500 devices known, 200 online, two weeks of sessions, notices, vouchers.

It must not know measures. A few phones are real; the other devices were let in by the portal's own code and say
nothing, which to the gateway is the same as a phone in a pocket.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.crowd import crowd, go, on_disk, online
from portal import clock, site
from portal.administration import Administration
from portal.config import SiteConfig
from portal.domain import localtime
from portal.domain.model import EndReason
from portal.domain.siterules import SiteRules
from portal.entrance import Caller, Entrance
from portal.paths import Paths
from portal.store import people, sessions
from portal.store.db import Database
from tests.village.gateway import GerbangGateway
from tests.village.phone import Phone
from tests.village.village import Village

KNOWN, ONLINE = 500, 200
DAYS = 14
DAY_S, HOUR_S = 86_400.0, 3_600.0
DAY_BYTES = (3_000_000, 60_000_000)
NOTICE = (
    "Puskesmas buka **Senin sampai Sabtu**, pukul 07.30 sampai 14.00. Bawa kartu BPJS dan KTP.\n\n"
    "* Posyandu balita: Selasa minggu kedua\n* Vaksin: Kamis\n\nTanya ke [layanan desa](http://layanan.example/)."
)


@dataclass(frozen=True, slots=True)
class Office:
    """``act``: what the village's office does there, as its staff pages do. ``paths``: as this process reaches them."""

    village: Village
    gateway: GerbangGateway
    paths: Paths
    config: SiteConfig
    act: Administration

    @property
    def phones(self) -> list[Phone]:
        return self.village.phones

    def enter(self, *phones: Phone) -> None:
        """Real phones come in by a tap; RuntimeError if one does not."""
        for visit in go(phones, online):
            if visit.error:
                raise RuntimeError(f"phone {phones[visit.number].number}: {visit.error}")

    def new_codes(self, plan: str, count: int) -> list[str]:
        """Of vouchers for one device each."""
        return [voucher.code for voucher in self.act.create_vouchers(count, plan).value.vouchers]


@contextmanager
def office(phones: int, site_tables: Mapping[str, Any]) -> Iterator[Office]:
    """A gateway with this site and so many real phones, and nobody else yet: see ``fill``."""
    with (
        on_disk() as data,
        crowd(phones, data_dir=data, site=site_tables, ipv6=False) as village,
        office_of(village, data) as at,
    ):
        yield at


@contextmanager
def office_of(village: Village, data: Path) -> Iterator[Office]:
    """Of a gateway that runs, with its database in ``data``."""
    gateway = village.gateway
    assert isinstance(gateway, GerbangGateway)
    paths = Paths(gateway.run_dir, data)
    config = site.load(paths.site)
    act = Administration(config, paths, "bench", "cli")
    try:
        yield Office(village, gateway, paths, config, act)
    finally:
        act.close_database()


def fill(at: Office, running: int, *, known: int = KNOWN) -> None:
    """Make ``known`` devices known, the first ``running`` of them online, and wait until the kernel lets those pass."""
    before = at.gateway.netctl().status().grants
    _let_in(at.paths.database, SiteRules(at.config), running, known)
    wait_grants(at.gateway, before + running)


def furnish(at: Office) -> None:
    """What an office has by and by: notices, batches of vouchers, a device kept out, a closure to come."""
    for number in range(3):
        at.act.write_notice(title=f"Pengumuman {number + 1}", body=NOTICE)
    for number in range(10):
        at.act.create_vouchers(40, at.config.plan[0].id, note=f"Kelompok {number + 1}")
    at.act.block(_mac(KNOWN), "mengunduh terus")
    begin_s = time.time() + DAY_S
    at.act.close("Rapat desa", begin_s, begin_s + HOUR_S)


def wait_grants(gateway: GerbangGateway, count: int, timeout_s: float = 30) -> None:
    """Until the kernel lets exactly so many sessions pass."""
    end_s = time.monotonic() + timeout_s
    while (grants := gateway.netctl().status().grants) != count:
        if time.monotonic() > end_s:
            raise TimeoutError(f"{grants} sessions are in the kernel, not {count}:\n{gateway.log()[-2000:]}")
        time.sleep(0.05)


def check_grants(gateway: GerbangGateway, count: int) -> None:
    """RuntimeError where another number of sessions is in the kernel: the figures would mean nothing."""
    if (grants := gateway.netctl().status().grants) != count:
        raise RuntimeError(f"{grants} sessions are in the kernel, not {count}")


def _mac(number: int) -> str:
    return f"06:67:00:00:{number >> 8:02x}:{number & 255:02x}"


def _let_in(path: Path, rules: SiteRules, running: int, known: int) -> None:
    now, entrance, database = clock.now(), Entrance(rules), Database(path)
    with database.write() as db:
        leases = {row[0] for row in db.execute("SELECT ipv4 FROM session WHERE ended_wall_s IS NULL")}
        free = (address for number in range(1024) if (address := f"10.77.{8 + (number >> 8)}.{number & 255}"))
        for number in reversed(range(known)):
            address = next(one for one in free if one not in leases)
            session, _ = entrance.by_terms(db, now, Caller(_mac(number), address), rules.terms_version)
            assert session.person_id is not None
            if number >= running:
                sessions.end(db, session.id, EndReason.LOGOUT, now, rules.zone)
            for days_ago in range(1, DAYS + 1):
                then = replace(now, wall_s=now.wall_s - days_ago * DAY_S)
                db.execute(
                    "INSERT INTO session (mac, plan, method, terms_version, started_wall_s, boot_id, active_boot_s, "
                    "ended_wall_s, end_reason, person_id) VALUES (?, ?, 'terms', '1', ?, 'earlier', 0, ?, 'idle', ?)",
                    (session.mac, session.plan, then.wall_s - HOUR_S, then.wall_s, session.person_id),
                )
                day = localtime.local_date(then.wall_s, rules.zone).isoformat()
                people.add_bytes(db, session.id, day, *DAY_BYTES)
        sessions.next_generation(db)
    database.close()
