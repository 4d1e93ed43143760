"""The real staff pages on 127.0.0.1 with a database of their own and a netctl in memory: gunicorn, TLS, no kernel.

Run as ``python -m tests.e2e.staff_server '<json>'`` it prints its port and serves until SIGTERM or until its parent
ends. ``staff_server()`` starts it so and stops it again.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PR_SET_PDEATHSIG = 1
NAME = "gerbang.lan"
PASSWORD = "tiga kata biasa"
USERS = {"ani": "operator", "tono": "technician", "rina": "reviewer"}
NOTICE = "Sabtu **8 Agustus** pukul 08.00 di balai desa. Bawa:\n\n- buku KIA\n- kartu keluarga\n"


@contextmanager
def staff_server(at: str | None = None, **options: Any) -> Iterator[int]:
    """Start a server in a process of its own, with its data in ``at``; gives its port.

    Options: ``online``, ``known`` (devices), ``vouchers``, ``notices``, ``empty`` (nothing of it), ``hours``,
    ``log`` (the usage log of so many days from 1 January 2026 on), ``box`` (with the service of updates, as on an
    installed image), ``forbid_source`` (nothing of the program may be read once it serves).
    """
    with tempfile.TemporaryDirectory(prefix="gerbang-staff-") if at is None else nullcontext(at) as directory:
        told = json.dumps({**options, "directory": directory, "parent": os.getpid()})
        command = [sys.executable, "-m", "tests.e2e.staff_server", told]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                assert line, f"the server did not start (exit status {server.wait(10)})"
                yield int(line)
            finally:
                server.terminate()
                try:
                    server.wait(15)
                except subprocess.TimeoutExpired:
                    server.kill()
                    raise


def main(options: dict[str, Any]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != options["parent"]:
        sys.exit("the parent has gone")

    from portal import listener, selfsigned, staffkey, wsgi
    from portal.config import Access, Closed, Hours, Office, Plan, Site, SiteConfig
    from portal.paths import Paths
    from portal.staff.app import create_app
    from portal.staff.shared import Shared
    from portal.staff.start import MAX_BODY_BYTES
    from portal.store import setup
    from portal.store.db import Database
    from tests.unit.outbox.making import OFFICE

    here = Path(options["directory"])
    paths = Paths(here, here)
    config = SiteConfig(
        site=Site(code="64.03.01.2001", name="Desa Muara Kaman Ulu"),
        access=Access(methods=("terms", "voucher")),
        office=Office(key=OFFICE.key.line),
        hours=Hours(open=("mon-fri 00:00-12:00 12:05-24:00", "sat sun 08:00-12:00 13:00-22:00"))
        if options.get("hours")
        else Hours(),
        closed=(Closed(first=_day(30), last=_day(31), reason="Libur akhir tahun"),) if options.get("hours") else (),
        plan=(
            Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=1500),
            Plan(id="puskesmas", name="Puskesmas Pembantu", session_minutes=None, hours=("always",)),
        ),
    )
    key = staffkey.load_or_make(paths.staff, os.getuid(), os.getgid())
    certificate = paths.staff / "certificate.pem"
    selfsigned.ensure(certificate, [NAME, "127.0.0.1"], os.getuid(), os.getgid())
    paths.site.write_text('[site]\ncode = "64.03.01.2001"\nname = "Desa Muara Kaman Ulu"\n')
    if options.get("log"):
        from bench.village_year import make_year

        make_year(paths.database, days=options["log"], devices=20, logins=40)
    setup.ensure(paths.database)
    netctl = _busy_netctl()
    shared = Shared(config, paths, key, Database(paths.database), netctl)
    _fill(shared, options)
    shared.database.close()
    netctl.seed()
    if options.get("box"):
        _be_a_box(here, paths)
    found = listener.listen("::ffff:127.0.0.1", 0)
    tls = wsgi.tls_context(certificate, certificate)
    prepared = wsgi.Prepared(create_app(shared), shared, tls, "gerbang-staff", MAX_BODY_BYTES)
    if options.get("forbid_source"):
        from tests.e2e.guest_server import forbid_source

        forbid_source()
    print(found.getsockname()[1], flush=True)
    wsgi.run(prepared, found, here)


def _day(ahead: int) -> Any:
    import datetime as dt

    return dt.date.today() + dt.timedelta(days=ahead)


def _busy_netctl() -> Any:
    """A netctl whose counters go on by themselves, each device at a pace of its own."""
    from netctl.api.types import Counter, Usage
    from portal import clock
    from tests.unit.portal.fakes import Clock, Netctl

    class Busy(Netctl):
        def seed(self) -> None:
            self.began_s = time.monotonic()

        def usage(self, grant: int | None = None) -> Usage:
            seconds = time.monotonic() - self.began_s
            return Usage(
                boot_id=clock.boot_id(),
                counters=tuple(
                    Counter(
                        grant=one.id,
                        ip=one.ipv4 or "10.77.0.2",
                        up_bytes=int(seconds * 1000 * (one.id % 7)),
                        down_bytes=int(seconds * 9000 * (one.id % 11)),
                        up_packets=1,
                        down_packets=1,
                    )
                    for one in (self.state.grants if self.state else ())
                ),
            )

    return Busy(Clock())


def _be_a_box(here: Path, paths: Any) -> None:
    """The service of updates at its socket, in a thread; what it keeps is below ``here``."""
    import socket
    import threading

    from portal.staff import technician_update
    from portal.update import asking
    from portal.update.places import Places
    from portal.update.service import Service

    at = Places(update=here / "update", boot=here / "boot", run=here / "run")
    at.incoming.mkdir(parents=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(here / "update.sock"))
    listening.listen()
    asking.SOCKET = here / "update.sock"  # type: ignore[misc]
    technician_update.Places = lambda: at  # type: ignore[assignment, misc]
    threading.Thread(target=Service(at, paths, frozenset()).serve, args=(listening,), daemon=True).start()


def _fill(shared: Any, options: dict[str, Any]) -> None:
    """Users, and what a village did today."""
    from portal import passwords
    from portal.domain.model import EndReason, UplinkState
    from portal.domain.staff import Role
    from portal.domain.uplink import UplinkView
    from portal.store import people, pseudonyms, rollups, sessions, staff
    from tests.unit.outbox.making import hold

    chance, now = random.Random(4), shared.read_clock()
    with shared.database.write() as db:
        sessions.note_time(db, now)
        for name, role in USERS.items():
            stands_for = shared.key.password(name, Role(role), PASSWORD)
            staff.add(db, name, Role(role), passwords.hash_new(stands_for), now)
        db.execute("UPDATE staff_user SET must_change = 0")
        if options.get("empty"):
            return
        hold(db, 40, now.wall_s)
        sessions.set_uplink(db, UplinkView(UplinkState.UP, now.boot_s - 7200), now)
        online, known = options.get("online", 12), options.get("known", 20)
        for number in range(known):
            mac = f"5c:e9:1e:00:{number // 256:02x}:{number % 256:02x}"
            plan = "puskesmas" if number % 9 == 4 else "warga"
            person = people.create(db, method="terms", plan=plan, now=now)
            session = sessions.begin(
                db,
                mac=mac,
                ipv4=f"10.77.{1 + number // 250}.{2 + number % 250}" if number < online else None,
                plan=plan,
                method="terms",
                terms_version="1",
                limit_s=None if plan == "puskesmas" else 28_800,
                now=now,
                device=pseudonyms.of(db, mac, people.moment(db, now, shared.zone).day[:7]),
                person_id=person.id,
            )
            people.remember_device(db, mac, person, now)
            began_wall_s = now.wall_s - chance.uniform(60, 6 * 3600)
            db.execute("UPDATE session SET started_wall_s = ? WHERE id = ?", (began_wall_s, session.id))
            if number >= online:
                sessions.end(db, session.id, EndReason.LOGOUT, now, shared.zone)
            day = people.moment(db, now, shared.zone).day
            up_bytes, down_bytes = chance.randrange(10**7), chance.randrange(10**9)
            people.add_bytes(db, session.id, day, up_bytes, down_bytes)
            db.execute(
                "UPDATE session SET up_bytes = ?, down_bytes = ? WHERE id = ?", (up_bytes, down_bytes, session.id)
            )
    acting = shared.administration("ani", "operator")
    for title in ("Posyandu", "Jadwal puskesmas pembantu")[: options.get("notices", 2)]:
        acting.write_notice(title, NOTICE)
    acting.create_vouchers(options.get("vouchers", 60), "warga", devices=2, note="Karang Taruna")
    acting.block("5c:e9:1e:00:99:01", "mengunduh terus-menerus")
    acting.close("Rapat desa", now.wall_s + 86_400, now.wall_s + 90_000)
    with shared.database.write() as db:
        rollups.catch_up(db, shared.zone)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
