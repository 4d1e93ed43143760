"""Who comes in, as whom and in whose place: every way in, through the gate, with the meter beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from portal import passwords
from portal.admission import Gate
from portal.config import Access, Hours, Plan, SiteConfig
from portal.domain import codes
from portal.domain.model import EndReason, Place, Refusal, Session
from portal.domain.uplink import UplinkView
from portal.gatekeeper import Refused
from portal.paths import Paths
from portal.store import accounts, closures, devices, vouchers
from portal.store.db import Database
from tests.unit.portal.conftest import CONFIG, Allow, OpenGate, OpenMeter
from tests.unit.portal.fakes import Clock, Netctl

Query = Callable[..., list[tuple[Any, ...]]]
VIEW = UplinkView()
EVERY_WAY = ("terms", "voucher", "account")
WARGA = Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=2000, session_minutes=480, idle_minutes=60)
PAIR = Plan(id="pair", name="Dua", devices=2, down_kbit=3000, up_kbit=1000)
STAFF = Plan(id="kantor", name="Kantor", down_kbit=9000, up_kbit=9000, priority="high", hours=("always",), devices=2)
SITE = msgspec.structs.replace(CONFIG, plan=(WARGA, PAIR, STAFF), access=Access(methods=EVERY_WAY))
PASSWORD = "sandi yang panjang"


def site(**changes: Any) -> SiteConfig:
    return msgspec.structs.replace(SITE, **changes)


def with_plan(**changes: Any) -> SiteConfig:
    """The site with another first plan."""
    return site(plan=(msgspec.structs.replace(WARGA, **changes), PAIR, STAFF))


def mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def ip(number: int) -> str:
    return f"10.77.1.{number}"


def tap(gate: Gate, number: int) -> Session:
    return gate.enter_by_terms(mac(number), ip(number), "1")


def code(gate: Gate, number: int, text: str) -> Session:
    return gate.enter_by_code(mac(number), ip(number), text)


def return_code(gate: Gate, number: int) -> str:
    person = gate.visit(mac(number)).person
    assert person is not None
    return person.code


def refusal(ask: Callable[[], object]) -> Refusal:
    with pytest.raises(Refused) as error:
        ask()
    return error.value.refusal


def ends(query: Query) -> list[str | None]:
    return [row[0] for row in query("SELECT end_reason FROM session ORDER BY id")]


@pytest.fixture
def gate(open_gate: OpenGate) -> Gate:
    return open_gate(SITE)


@pytest.fixture
def voucher(database: Database, clock: Clock) -> Callable[..., str]:
    def make(devices: int = 1, plan: str = "warga", first: float | None = None, last: float | None = None) -> str:
        with database.write() as db:
            _, (made,) = vouchers.create(
                db, count=1, plan=plan, devices=devices, valid_from_wall_s=first, valid_until_wall_s=last, note="",
                created_by="test", now=clock(),
            )  # fmt: skip
        return made.code

    return make


@pytest.fixture
def kantor(database: Database, clock: Clock) -> str:
    with database.write() as db:
        accounts.add(db, name="kantor", password_hash=passwords.hash_new(PASSWORD), plan="kantor", note="", now=clock())
    return "kantor"


@pytest.fixture
def block(database: Database, clock: Clock) -> Callable[[int], None]:
    def rule(number: int) -> None:
        with database.write() as db:
            devices.set_rule(db, mac(number), rule="block", rule_plan=None, note="", ruled_by="test", now=clock())

    return rule


# --- a tap ------------------------------------------------------------------------------------------------------------


def test_a_device_keeps_its_person_and_return_code(gate: Gate) -> None:
    assert gate.visit(mac(1)).person is None
    session = tap(gate, 1)
    first = gate.visit(mac(1)).person
    assert first is not None
    assert codes.parse(codes.shown(first.code).lower()) == first.code
    assert session.person_id == first.id
    gate.logout(session)
    assert tap(gate, 1).person_id == first.id
    assert tap(gate, 2).person_id != first.id


def test_a_voucher_in_between_gives_no_second_budget(gate: Gate, voucher: Callable[..., str]) -> None:
    first = tap(gate, 1)
    with_voucher = code(gate, 1, voucher())
    assert with_voucher.person_id != first.person_id
    gate.logout(with_voucher)
    assert tap(gate, 1).person_id == first.person_id


def test_a_way_that_the_site_does_not_offer(open_gate: OpenGate, kantor: str, voucher: Callable[..., str]) -> None:
    only_vouchers = open_gate(site(access=Access(methods=("voucher",))))
    assert refusal(lambda: tap(only_vouchers, 1)) is Refusal.METHOD
    assert refusal(lambda: only_vouchers.enter_by_account(mac(1), ip(1), kantor, PASSWORD)) is Refusal.METHOD
    only_terms = open_gate(site(access=Access(methods=("terms",))))
    assert refusal(lambda: code(only_terms, 1, voucher())) is Refusal.CODE_WRONG


def test_a_blocked_device_stays_out_whatever_it_shows(
    gate: Gate, kantor: str, voucher: Callable[..., str], block: Callable[[int], None]
) -> None:
    tap(gate, 2)
    block(1)
    for ask in (
        lambda: tap(gate, 1),
        lambda: code(gate, 1, voucher()),
        lambda: code(gate, 1, return_code(gate, 2)),
        lambda: gate.enter_by_account(mac(1), ip(1), kantor, PASSWORD),
        lambda: gate.enter_by_rule(mac(1), ip(1)),
        lambda: gate.wait(mac(1)),
    ):
        assert refusal(ask) is Refusal.BLOCKED
    assert gate.visit(mac(1)).rule == "block"


def test_a_session_at_another_address_is_renewed_and_one_that_ended_is_not(gate: Gate, netctl: Netctl) -> None:
    session = tap(gate, 1)
    assert gate.renew(session, ip(9)).ipv4 == ip(9)
    assert netctl.state.grants[0].ipv4 == ip(9)  # type: ignore[union-attr]
    gate.logout(session)
    assert gate.renew(session, ip(10)).end_reason is EndReason.LOGOUT
    assert netctl.online() == []


def test_who_is_refused_costs_no_write(open_gate: OpenGate, paths: Paths, voucher: Callable[..., str]) -> None:
    gate = open_gate(site(access=Access(methods=EVERY_WAY, capacity=1)))
    tap(gate, 1)
    used = voucher()
    size = (paths.data / "gerbang.db-wal").stat().st_size
    for number in range(2, 7):
        assert refusal(lambda number=number: tap(gate, number)) is Refusal.FULL  # type: ignore[misc]
        assert refusal(lambda number=number: code(gate, number, "ABCD-2345")) is Refusal.CODE_WRONG  # type: ignore[misc]
    assert (paths.data / "gerbang.db-wal").stat().st_size == size
    assert gate.visit(mac(2)).person is None, "nobody is made of somebody who was refused"
    assert refusal(lambda: code(gate, 2, used)) is Refusal.FULL


# --- vouchers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3])
def test_exactly_n_devices_get_in_at_the_same_moment_through_two_processes(
    open_gate: OpenGate, voucher: Callable[..., str], netctl: Netctl, query: Query, n: int
) -> None:
    gates = open_gate(SITE), open_gate(SITE)
    text = codes.shown(voucher(devices=n))
    start = threading.Barrier(20)

    def enter(number: int) -> Refusal | None:
        start.wait()
        try:
            code(gates[number % 2], number, text)
        except Refused as refused:
            return refused.refusal
        return None

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(enter, range(20)))
    assert answers.count(None) == n
    assert answers.count(Refusal.CODE_USED) == 20 - n
    assert len(netctl.online()) == n
    assert query("SELECT count(*) FROM voucher_device") == [(n,)]
    assert query("SELECT count(*) FROM person") == [(1,)], "one voucher is one person"


def test_a_bound_device_comes_back_and_no_other(gate: Gate, voucher: Callable[..., str]) -> None:
    text = voucher()
    gate.logout(code(gate, 1, text))
    assert refusal(lambda: code(gate, 2, text)) is Refusal.CODE_USED
    assert code(gate, 1, text).plan == "warga"


def test_a_voucher_has_its_time(gate: Gate, voucher: Callable[..., str], clock: Clock, open_meter: OpenMeter) -> None:
    first, last = clock.now.wall_s + 3600, clock.now.wall_s + 7200
    text = voucher(first=first, last=last)
    with pytest.raises(Refused) as error:
        code(gate, 1, text)
    assert (error.value.refusal, error.value.until_wall_s) == (Refusal.CODE_EARLY, first)
    clock.forward(3600)
    session = code(gate, 1, text)
    clock.forward(3600)
    open_meter(SITE).tick(VIEW)
    assert gate.session(session.mac) is None, "its time ends for who is online, too"
    with pytest.raises(Refused) as error:
        code(gate, 1, text)
    assert (error.value.refusal, error.value.until_wall_s) == (Refusal.CODE_LATE, last)


def test_a_clock_that_lost_its_time_opens_no_voucher_that_has_ended(
    gate: Gate, voucher: Callable[..., str], clock: Clock, open_meter: OpenMeter
) -> None:
    text = voucher(last=clock.now.wall_s - 10)
    tap(gate, 9)
    open_meter(SITE).stop(VIEW)  # notes the trusted clock
    clock.reboot(wall_s=0.0)
    assert refusal(lambda: code(gate, 1, text)) is Refusal.CODE_LATE


def test_a_withdrawn_voucher_is_wrong_and_ends_whom_it_let_in(
    gate: Gate, voucher: Callable[..., str], database: Database, clock: Clock, open_meter: OpenMeter, query: Query
) -> None:
    text = voucher(devices=2)
    code(gate, 1, text)
    back = return_code(gate, 1)
    with database.write() as db:
        found = vouchers.by_code(db, text)
        assert found is not None
        vouchers.void(db, found.id, clock())
    open_meter(SITE).tick(VIEW)
    assert ends(query) == ["voided"]
    for wrong in (text, back, "ABCD-EFGH", "", "?" * 1000, codes.new_code()):
        assert refusal(lambda wrong=wrong: code(gate, 2 + len(wrong) % 7, wrong)) is Refusal.CODE_WRONG  # type: ignore[misc]


# --- return codes -----------------------------------------------------------------------------------------------------


def test_a_return_code_moves_the_session_with_the_time_it_has_left(
    gate: Gate, clock: Clock, netctl: Netctl, query: Query
) -> None:
    first = tap(gate, 1)
    clock.forward(3600)
    moved = code(gate, 2, codes.shown(return_code(gate, 1)).lower())
    assert moved.person_id == first.person_id
    assert moved.deadline_boot_s == pytest.approx(first.deadline_boot_s, abs=0.01)
    assert netctl.online() == [mac(2)]
    assert ends(query) == ["moved", None]
    old = gate.visit(mac(1))
    assert old.session is None
    assert old.moved_wall_s == pytest.approx(clock.now.wall_s)
    gate.told_moved(mac(1))
    assert gate.visit(mac(1)).moved_wall_s is None
    assert gate.visit(mac(2)).moved_wall_s is None


def test_who_lost_a_code_to_somebody_takes_the_place_back_with_a_tap(gate: Gate, netctl: Netctl) -> None:
    tap(gate, 1)
    code(gate, 2, return_code(gate, 1))
    tap(gate, 1)
    assert netctl.online() == [mac(1)]
    assert gate.visit(mac(2)).moved_wall_s is not None


def test_a_plan_for_two_devices_moves_the_one_that_was_silent_longest(
    open_gate: OpenGate, open_meter: OpenMeter, clock: Clock, netctl: Netctl
) -> None:
    config = with_plan(devices=2)
    gate, meter = open_gate(config), open_meter(config)
    first, text = tap(gate, 1), return_code(open_gate(config), 1)
    clock.forward(60)
    code(gate, 2, text)
    assert netctl.online() == [mac(1), mac(2)]
    clock.forward(60)
    netctl.send(first.id, 10, 10)
    meter.stop(VIEW)
    code(gate, 3, text)
    assert netctl.online() == [mac(1), mac(3)]


def test_a_vouchers_return_code_takes_the_moved_devices_place_for_good(
    gate: Gate, voucher: Callable[..., str], netctl: Netctl, query: Query
) -> None:
    text = voucher()
    code(gate, 1, text)
    code(gate, 2, return_code(gate, 1))
    assert netctl.online() == [mac(2)]
    assert query("SELECT mac FROM voucher_device") == [(mac(2),)]
    assert refusal(lambda: code(gate, 1, text)) is Refusal.CODE_USED
    assert code(gate, 2, text).mac == mac(2)


def test_a_rule_is_on_a_mac_and_its_return_code_opens_nothing(gate: Gate, allow: Allow) -> None:
    allow(mac(1), PAIR)
    gate.enter_by_rule(mac(1), ip(1))
    assert refusal(lambda: code(gate, 2, return_code(gate, 1))) is Refusal.CODE_WRONG


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_an_account_has_its_plan_and_as_many_devices_as_that_allows(gate: Gate, kantor: str, netctl: Netctl) -> None:
    one = gate.enter_by_account(mac(1), ip(1), kantor, PASSWORD)
    two = gate.enter_by_account(mac(2), ip(2), "KANTOR", PASSWORD)
    assert (one.plan, one.person_id) == ("kantor", two.person_id)
    assert refusal(lambda: gate.enter_by_account(mac(3), ip(3), kantor, PASSWORD)) is Refusal.DEVICES
    assert gate.enter_by_account(mac(1), ip(1), kantor, PASSWORD).id == one.id
    gate.logout(one)
    gate.enter_by_account(mac(3), ip(3), kantor, PASSWORD)
    assert netctl.online() == [mac(2), mac(3)]


def test_a_wrong_password_an_unknown_and_a_disabled_name_are_the_same_work_and_answer(
    gate: Gate, kantor: str, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[bool] = []
    verify = passwords.verify
    monkeypatch.setattr(passwords, "verify", lambda *given: checked.append(True) or verify(*given))
    assert refusal(lambda: gate.enter_by_account(mac(1), ip(1), kantor, "falsch")) is Refusal.ACCOUNT_WRONG
    assert refusal(lambda: gate.enter_by_account(mac(1), ip(1), "nobody", PASSWORD)) is Refusal.ACCOUNT_WRONG
    with database.write() as db:
        accounts.set_disabled(db, 1, True, clock())
    assert refusal(lambda: gate.enter_by_account(mac(1), ip(1), kantor, PASSWORD)) is Refusal.ACCOUNT_WRONG
    assert len(checked) == 3


def test_a_password_that_is_looked_at_holds_up_nobody(gate: Gate, kantor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looking, go_on = threading.Event(), threading.Event()
    verify = passwords.verify

    def slow(*given: Any) -> bool:
        looking.set()
        assert go_on.wait(10)
        return verify(*given)

    monkeypatch.setattr(passwords, "verify", slow)
    with ThreadPoolExecutor(1) as threads:
        office = threads.submit(gate.enter_by_account, mac(1), ip(1), kantor, PASSWORD)
        assert looking.wait(10)
        assert tap(gate, 2).mac == mac(2)
        assert not office.done()
        go_on.set()
        assert office.result().plan == "kantor"


def test_an_account_that_is_disabled_while_its_password_is_looked_at_opens_nothing(
    gate: Gate, kantor: str, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = passwords.verify

    def disable(*given: Any) -> bool:
        with database.write() as db:
            accounts.set_disabled(db, 1, True, clock())
        return verify(*given)

    monkeypatch.setattr(passwords, "verify", disable)
    assert refusal(lambda: gate.enter_by_account(mac(1), ip(1), kantor, PASSWORD)) is Refusal.ACCOUNT_WRONG


# --- attempts ---------------------------------------------------------------------------------------------------------


def test_five_wrong_ones_and_the_device_waits_even_with_a_right_one(
    gate: Gate, voucher: Callable[..., str], kantor: str, clock: Clock
) -> None:
    text = voucher(devices=9)
    for _ in range(4):
        assert refusal(lambda: code(gate, 1, "ABCD-EFGH")) is Refusal.CODE_WRONG
    assert refusal(lambda: gate.enter_by_account(mac(1), ip(1), kantor, "x")) is Refusal.ACCOUNT_WRONG
    with pytest.raises(Refused) as error:
        code(gate, 1, text)
    assert error.value.refusal is Refusal.ATTEMPTS
    assert 0 < (error.value.wait_s or 0) <= 600
    assert code(gate, 2, text).mac == mac(2), "another device is not meant"
    assert tap(gate, 1).mac == mac(1), "nor is a tap"
    clock.forward(error.value.wait_s or 0)
    assert code(gate, 1, text).mac == mac(1)


def test_made_up_macs_are_stopped_by_the_sites_limit(gate: Gate, voucher: Callable[..., str]) -> None:
    seen = [refusal(lambda number=number: code(gate, number, codes.new_code())) for number in range(1, 80)]  # type: ignore[misc]
    assert seen == [Refusal.CODE_WRONG] * 60 + [Refusal.ATTEMPTS] * 19


def test_a_code_that_is_used_up_or_early_is_no_wrong_attempt(gate: Gate, voucher: Callable[..., str]) -> None:
    text = voucher()
    code(gate, 1, text)
    for _ in range(20):
        assert refusal(lambda: code(gate, 2, text)) is Refusal.CODE_USED


# --- hours ------------------------------------------------------------------------------------------------------------


def test_a_closed_site_says_until_when_and_cuts_no_plan_of_its_own_hours(
    open_gate: OpenGate, open_meter: OpenMeter, kantor: str, clock: Clock, query: Query, netctl: Netctl
) -> None:
    config = site(hours=Hours(open=("mon-sun 07:00-22:00",)))
    gate, meter = open_gate(config), open_meter(config)
    closes_wall_s = 2_000_000_000.0 + 37_600  # 2033-05-18 22.00 in Makassar
    clock.set_wall(closes_wall_s - 60)
    tap(gate, 1)
    gate.enter_by_account(mac(2), ip(2), kantor, PASSWORD)
    assert gate.visit(mac(1)).opening.until_wall_s == closes_wall_s
    clock.forward(60)
    meter.tick(VIEW)
    assert ends(query) == ["closed", None]
    assert netctl.online() == [mac(2)]
    with pytest.raises(Refused) as error:
        tap(gate, 1)
    assert (error.value.refusal, error.value.until_wall_s) == (Refusal.CLOSED, closes_wall_s + 9 * 3600)
    assert not gate.visit(mac(1)).opening.is_open


def test_an_operators_word_is_heard_at_once_and_shown(gate: Gate, database: Database, clock: Clock) -> None:
    with database.write() as db:
        closures.add(
            db, kind=closures.ClosureKind.CLOSE, from_wall_s=clock.now.wall_s - 1, until_wall_s=None,
            reason="Rapat desa", created_by="test", now=clock(),
        )  # fmt: skip
    with pytest.raises(Refused) as error:
        tap(gate, 1)
    assert (error.value.refusal, error.value.reason) == (Refusal.CLOSED, "Rapat desa")


def test_without_a_clock_only_what_never_closes_is_open(
    open_gate: OpenGate, open_meter: OpenMeter, kantor: str, clock: Clock
) -> None:
    config = site(hours=Hours(open=("mon-sun 00:00-23:00",)))
    gate, meter = open_gate(config), open_meter(config)
    tap(gate, 1)
    meter.stop(VIEW)
    clock.reboot(wall_s=60.0)  # 1970
    assert refusal(lambda: tap(gate, 3)) is Refusal.CLOSED
    assert gate.enter_by_account(mac(2), ip(2), kantor, PASSWORD).plan == "kantor"
    clock.set_wall(2_000_003_600.0)  # NTP came
    assert tap(gate, 3).plan == "warga"


# --- a full site ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(open_gate: OpenGate) -> Gate:
    return open_gate(FULL_AT_TWO)


FULL_AT_TWO = site(access=Access(methods=EVERY_WAY, capacity=2))


def test_a_full_site_calls_the_longest_waiting_and_keeps_the_place(
    small: Gate, open_meter: OpenMeter, clock: Clock, netctl: Netctl
) -> None:
    meter = open_meter(FULL_AT_TWO)
    first, _ = tap(small, 1), tap(small, 2)
    assert refusal(lambda: tap(small, 3)) is Refusal.FULL
    assert small.wait(mac(3)) == Place(ahead=0, called=False)
    clock.forward(1)
    assert small.wait(mac(4)) == Place(ahead=1, called=False)
    assert small.visit(mac(4)).place == Place(ahead=1, called=False)
    small.logout(first)
    assert refusal(lambda: tap(small, 5)) is Refusal.FULL, "those who wait come first"
    meter.tick(VIEW)
    place = small.visit(mac(3)).place
    assert place is not None
    assert (place.ahead, place.called) == (0, True)
    assert refusal(lambda: tap(small, 4)) is Refusal.FULL
    tap(small, 3)
    assert netctl.online() == [mac(2), mac(3)]
    assert small.visit(mac(3)).place is None


def test_who_does_not_look_loses_the_place_and_who_looks_keeps_it(small: Gate, clock: Clock) -> None:
    first, _ = tap(small, 1), tap(small, 2)
    small.wait(mac(3))
    for _ in range(10):
        clock.forward(20)
        small.wait(mac(4))
    small.logout(first)
    assert small.wait(mac(4)).called
    assert small.visit(mac(3)).place is None


def test_who_waits_is_written_down_seldom(small: Gate, paths: Paths, clock: Clock) -> None:
    tap(small, 1), tap(small, 2)
    small.wait(mac(3))
    size = (paths.data / "gerbang.db-wal").stat().st_size
    clock.forward(20)
    assert small.wait(mac(3)) == Place(ahead=0, called=False)
    assert (paths.data / "gerbang.db-wal").stat().st_size == size


def test_a_full_site_lets_in_offices_rules_and_who_only_changes_devices(
    small: Gate, kantor: str, allow: Allow, netctl: Netctl
) -> None:
    tap(small, 1), tap(small, 2)
    small.wait(mac(9))
    small.enter_by_account(mac(3), ip(3), kantor, PASSWORD)
    allow(mac(4), PAIR)
    small.enter_by_rule(mac(4), ip(4))
    code(small, 5, return_code(small, 1))
    assert netctl.online() == [mac(2), mac(3), mac(4), mac(5)]


def test_who_came_in_beyond_the_limit_needs_a_place_to_stay_in_another_way(
    small: Gate, netctl: Netctl, voucher: Callable[..., str], kantor: str, allow: Allow
) -> None:
    first, _ = tap(small, 1), tap(small, 2)
    allow(mac(3), PAIR)
    small.enter_by_rule(mac(3), ip(3))
    office = small.enter_by_account(mac(4), ip(4), kantor, PASSWORD)
    for number in (3, 4):
        text = voucher()
        assert refusal(lambda number=number, text=text: code(small, number, text)) is Refusal.FULL  # type: ignore[misc]
    assert netctl.online() == [mac(1), mac(2), mac(3), mac(4)], "and stays in as before"
    code(small, 2, voucher())  # who has a place keeps it
    small.logout(first)
    small.logout(office)
    code(small, 3, voucher())
    assert netctl.online() == [mac(2), mac(3)]


def test_a_site_without_a_limit_keeps_no_queue(gate: Gate, query: Query) -> None:
    assert gate.wait(mac(1)) == Place(ahead=0, called=True)
    assert query("SELECT count(*) FROM waiting") == [(0,)]
