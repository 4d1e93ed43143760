"""Several processes let people in at once, as guest and guest-tls do: what is decided is decided once."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from netctl.api.errors import UNREACHABLE, NetctlError
from netctl.api.types import Applied, DesiredState, Status, Usage
from portal import clock
from portal.admission import Gate
from portal.config import Access, Site, SiteConfig
from portal.gatekeeper import GateError, Refused
from portal.paths import Paths
from portal.store import sessions, setup, vouchers
from portal.store.db import Database

PROCESSES, DEVICES_EACH, PLACES = 4, 8, 5
CONFIG = SiteConfig(site=Site(code="64.03.01.2001"), access=Access(methods=("terms", "voucher"), capacity=20))


class NetctlOfNobody:
    """Takes every state: what the database says is what is looked at."""

    def apply(self, state: DesiredState) -> Applied:
        return Applied(generation=state.generation, ops=0)

    def whois(self, ip: str) -> str | None:
        return None

    def usage(self, grant: int | None = None) -> Usage:
        raise NetctlError(UNREACHABLE, "No netctl.")

    def status(self) -> Status:
        raise NetctlError(UNREACHABLE, "No netctl.")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    setup.ensure(tmp_path / "gerbang.db")
    return Paths(tmp_path, tmp_path)


def in_processes(paths: Paths, code: str | None) -> Counter[str]:
    """Every process lets in its devices as fast as it can, with a voucher or (None) by a tap; the answers."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(PROCESSES), context.SimpleQueue()

    def enter(process: int, barrier: Barrier) -> None:
        gate = Gate(CONFIG, paths, NetctlOfNobody())
        gate.start()
        barrier.wait(30)
        for device in range(DEVICES_EACH):
            mac, ipv4 = f"02:00:00:00:{process:02x}:{device:02x}", f"10.77.{process + 1}.{device}"
            try:
                if code is None:
                    gate.enter_by_terms(mac, ipv4, "1")
                else:
                    gate.enter_by_code(mac, ipv4, code)
                answers.put("in")
            except Refused as refused:
                answers.put(refused.refusal.value)
            except GateError as error:
                answers.put(str(error))
        gate.close()

    children = [context.Process(target=enter, args=(number, barrier)) for number in range(PROCESSES)]
    for child in children:
        child.start()
    for child in children:  # their answers fit into the pipe
        child.join(60)
        assert child.exitcode == 0
    return Counter(answers.get() for _ in range(PROCESSES * DEVICES_EACH))


def running(paths: Paths) -> int:
    with Database(paths.database).read() as connection:
        return sessions.count_not_ended(connection)


def test_exactly_as_many_devices_as_a_voucher_is_for(paths: Paths) -> None:
    with Database(paths.database).write() as connection:
        now = clock.now()
        sessions.note_time(connection, now)
        _, (voucher,) = vouchers.create(
            connection, count=1, plan="warga", devices=PLACES, valid_from_wall_s=None, valid_until_wall_s=None,
            note="", created_by="test", now=now,
        )  # fmt: skip
    assert in_processes(paths, voucher.code) == {"in": PLACES, "code-used": PROCESSES * DEVICES_EACH - PLACES}
    assert running(paths) == PLACES


def test_exactly_as_many_people_as_the_site_has_room_for(paths: Paths) -> None:
    assert in_processes(paths, None) == {"in": 20, "full": PROCESSES * DEVICES_EACH - 20}
    assert running(paths) == 20
